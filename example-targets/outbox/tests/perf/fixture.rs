//! Outboxes with something in them.

use std::path::Path;
use std::process::Command;

use outbox::{Event, Outbox, SystemClock, SystemDisk};
use perfbudget::TmpfsDir;
use tempfile::TempDir;

use crate::planted::Defect;

/// Where a child of [`Fixture::with_a_crashed_drain`] finds its outbox; without it that test does
/// nothing.
const CRASH_ROOT_ENV: &str = "OUTBOX_CRASH_ROOT";

pub(crate) const PARENT: &str = "parent";

/// An outbox in a directory of its own.
pub(crate) struct Fixture<D> {
    pub(crate) outbox: Outbox,
    pub(crate) dir: D,
}

/// In memory, for walltime: the disk is factored out.
impl Fixture<TmpfsDir> {
    pub(crate) fn in_memory(children: usize) -> Self {
        Self::in_dir(perfbudget::tmpfs_dir(), children)
    }
}

/// On the disk that the build is on, for counts: a real file system.
impl Fixture<TempDir> {
    pub(crate) fn on_disk(children: usize) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        Self::in_dir(dir, children)
    }

    /// An outbox whose last drain, of all but one of its children, was killed at its third sync:
    /// the records are staged and not yet marked as consumed.
    pub(crate) fn with_a_crashed_drain(children: usize) -> Self {
        let fixture = Self::on_disk(children.saturating_sub(1).max(1));
        let status = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "fixture::drain_that_is_killed"])
            .env(CRASH_ROOT_ENV, fixture.dir.path())
            .output()
            .expect("this binary starts")
            .status;
        assert!(!status.success(), "the child must die in its drain");
        assert!(
            fixture.outbox.path().join("wal.jsonl").exists(),
            "the child must die after staging"
        );
        if children > 1 {
            commit(&fixture.outbox, children - 1);
        }
        fixture
    }
}

impl<D: AsRef<Path>> Fixture<D> {
    fn in_dir(dir: D, children: usize) -> Self {
        // Made without the planted defect, which is for the measured part.
        let healthy = Outbox::open(&dir, PARENT).expect("an outbox");
        {
            let _disk = fsync_counter::stub_under(&dir);
            (0..children).for_each(|child| commit(&healthy, child));
        }
        let outbox = Outbox::with_seams(&dir, PARENT, Defect::from_env(), SystemClock);
        Self {
            outbox: outbox.expect("an outbox"),
            dir,
        }
    }
}

pub(crate) fn event(child: usize) -> Event {
    Event::new(format!("child-{child}"), format!("turn of {child}"))
        .with_summary("tests pass; two files changed")
}

fn commit(outbox: &Outbox, child: usize) {
    outbox.commit(event(child)).expect("committed");
}

/// Not a test of its own: the child process of [`Fixture::with_a_crashed_drain`], which starts
/// this binary anew for it.
#[test]
fn drain_that_is_killed() {
    let Some(root) = std::env::var_os(CRASH_ROOT_ENV) else {
        return;
    };
    let outbox = Outbox::with_seams(root, PARENT, SystemDisk, SystemClock).expect("an outbox");
    let counter = fsync_counter::FsyncCounter::under(outbox.path());
    counter.at_sync(3, fsync_counter::Action::Call(|| std::process::abort()));
    let drained = outbox.drain();
    unreachable!("it drained: {drained:?}");
}
