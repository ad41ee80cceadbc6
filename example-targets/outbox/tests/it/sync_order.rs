//! The order of a drain's syncs, renames and removals, which is the whole of its safety: what is
//! removed stands durably somewhere else before.
//!
//! Seen at the C library and not at the seam, so that it is the order in which the kernel was
//! called. The syncs are stubbed: what a disk does with them is not looked at.

use std::fs::File;
use std::io;
use std::path::Path;

use fsync_counter::{Observed, Scope, Step, SyncCounts, stub_under};
use outbox::{Disk, Drained, Event, Outbox, SystemClock, SystemDisk};
use tempfile::TempDir;

const PARENT: &str = "parent";

/// A drain of one record, on that disk.
fn drain_on(disk: impl Disk + 'static) -> Observed<Drained> {
    let root = TempDir::new().unwrap();
    let _disk = stub_under(root.path());
    let outbox = Outbox::with_seams(root.path(), PARENT, disk, SystemClock).unwrap();
    outbox.commit(Event::new("child", "turn 1")).unwrap();
    let drain = Scope::under(root.path())
        .with_entries()
        .observe(|| outbox.drain().unwrap());
    assert_eq!(drain.value.len(), 1);
    drain
}

/// The write-ahead file is durable, content and name, before the inbox is removed: the records
/// are always in one of the two.
fn staged_before_the_inbox_is_removed() -> [Step<'static>; 4] {
    [
        Step::file("parent/wal.tmp"),
        Step::renamed("parent/wal.jsonl"),
        Step::dir("parent"),
        Step::removed("parent/inbox.jsonl"),
    ]
}

/// The marks are durable before the write-ahead file is forgotten: a turn that was handed over is
/// not handed over again.
fn marked_before_the_wal_is_removed() -> [Step<'static>; 5] {
    [
        Step::removed("parent/inbox.jsonl"),
        Step::file("parent/ledger.tmp"),
        Step::renamed("parent/ledger.json"),
        Step::dir("parent").occurrence(2),
        Step::removed("parent/wal.jsonl"),
    ]
}

#[test]
fn a_drain_removes_nothing_that_is_not_durable_elsewhere() {
    let events = drain_on(SystemDisk).events();
    events.assert_order(staged_before_the_inbox_is_removed());
    events.assert_order(marked_before_the_wal_is_removed());
}

/// Disks that make a drain do the same syncs at the wrong moment, or leave some out.
#[derive(Clone, Copy)]
enum Defect {
    /// A file is synced when it has its name.
    LateFiles,
    /// A directory is synced before the name is in it.
    EarlyDirectories,
    NoDirectories,
}

impl Disk for Defect {
    fn sync_file(&self, file: &File) -> io::Result<()> {
        match self {
            Self::LateFiles => Ok(()),
            _ => SystemDisk.sync_file(file),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if matches!(self, Self::EarlyDirectories) {
            File::open(to.parent().unwrap())?.sync_all()?;
        }
        SystemDisk.rename(from, to)?;
        match self {
            Self::LateFiles => File::open(to)?.sync_all(),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        match self {
            Self::LateFiles => SystemDisk.sync_directory(directory),
            Self::EarlyDirectories | Self::NoDirectories => Ok(()),
        }
    }
}

/// Two of these drains have the counts of a right one: only their order tells.
#[test]
fn a_drain_in_the_wrong_order_is_told_what_came_too_early_or_never() {
    let right = SyncCounts::new().files(2).dirs(2);
    for (defect, counts, wrong) in [
        (
            Defect::LateFiles,
            right,
            "step 1: file parent/wal.tmp: no event matches",
        ),
        (
            Defect::EarlyDirectories,
            right,
            "<- step 3: directory parent, before step 2",
        ),
        (
            Defect::NoDirectories,
            right.dirs(0),
            "step 3: directory parent: no event matches",
        ),
    ] {
        let drain = drain_on(defect);
        assert_eq!(drain.counts(), counts);
        let order = drain.events().order(staged_before_the_inbox_is_removed());
        let text = order.expect_err("a defect").to_string();
        assert!(text.contains(wrong), "{wrong:?} is not in:\n{text}");
    }
}
