//! A process that is killed at a sync loses nothing and delivers nothing twice.
//!
//! First the syncs of an operation are counted, then it is run in a child process once for each of
//! them, and the child kills itself (`SIGKILL`) in that sync, before the kernel sees it. What the
//! test then finds is what any other process would find. This shows atomicity across a kill;
//! what a loss of power leaves is another matter.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use fsync_counter::{Action, FsyncCounter, Scope};
use outbox::{Event, Outbox};
use tempfile::TempDir;

const PARENT: &str = "parent";

/// The child's orders: its operation, the sync that kills it, and where.
const OPERATION_ENV: &str = "OUTBOX_KILL_OPERATION";
const SYNC_ENV: &str = "OUTBOX_KILL_SYNC";
const ROOT_ENV: &str = "OUTBOX_KILL_ROOT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// Opens the outbox, creating it where it is missing, and commits a turn of `late`.
    Commit,
    /// Commits a turn of `late` with which the inbox outgrows its limit.
    LongCommit,
    Drain,
    Sweep,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Commit, Self::LongCommit, Self::Drain, Self::Sweep];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn run(self, root: &Path) {
        let outbox = open(root);
        match self {
            Self::Commit => commit(&outbox, "late", "1"),
            Self::LongCommit => commit_long(&outbox, "late", "1"),
            Self::Drain => drop(outbox.drain().expect("drained")),
            Self::Sweep => drop(outbox.sweep().expect("swept")),
        }
    }

    /// The syncs that it issues, counted on a copy of what `prepare` makes.
    fn syncs(self, prepare: impl Fn(&Path)) -> u64 {
        let root = root();
        prepare(root.path());
        let counts = Scope::under(root.path())
            .observe(|| self.run(root.path()))
            .counts();
        assert_eq!(counts.unknown + counts.other, 0, "{counts:?}");
        counts.total()
    }

    /// Runs in a child that is killed in its sync number `sync`.
    fn run_and_die_at(self, sync: u64, root: &Path) {
        let status = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "sync_kills::child_that_is_killed"])
            .env(OPERATION_ENV, self.name())
            .env(SYNC_ENV, sync.to_string())
            .env(ROOT_ENV, root)
            .output()
            .expect("this binary starts")
            .status;
        assert_eq!(
            status.signal(),
            Some(libc::SIGKILL),
            "{self:?} must be killed at its sync {sync}: {status}"
        );
    }
}

/// Not a test of its own: the child process of the others.
#[test]
fn child_that_is_killed() {
    let Some(root) = std::env::var_os(ROOT_ENV) else {
        return;
    };
    let orders = |name| std::env::var(name).expect("orders");
    let operation = orders(OPERATION_ENV);
    let operation = Operation::ALL.into_iter().find(|o| o.name() == operation);
    let counter = FsyncCounter::under(&root);
    counter.at_sync(
        orders(SYNC_ENV).parse().expect("a number"),
        Action::Call(die),
    );
    operation.expect("an operation").run(Path::new(&root));
}

fn die() {
    // SAFETY: sends a signal to this process, which has no handler for it and can have none.
    unsafe { libc::raise(libc::SIGKILL) };
}

fn root() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn open(root: &Path) -> Outbox {
    Outbox::open(root, PARENT).expect("an outbox")
}

fn commit(outbox: &Outbox, child: &str, turn: &str) {
    outbox.commit(Event::new(child, turn)).expect("committed");
}

/// Commits a summary of which three take an inbox past the 64 KiB from which it is compacted.
fn commit_long(outbox: &Outbox, child: &str, turn: &str) {
    let event = Event::new(child, turn).with_summary("x".repeat(30_000));
    outbox.commit(event).expect("committed");
}

/// Three children have each committed a turn.
fn three_pending(root: &Path) {
    let outbox = open(root);
    for child in ["a", "b", "c"] {
        commit(&outbox, child, "1");
    }
}

/// A line that was torn.
const DAMAGED: &[u8] = b"{\"child\":\"d";

/// Beside them a line that no drain can deliver.
fn three_pending_and_a_damaged_line(root: &Path) {
    three_pending(root);
    let inbox = open(root).path().join("inbox.jsonl");
    let mut text = std::fs::read(&inbox).expect("read");
    text.extend_from_slice(DAMAGED);
    text.push(b'\n');
    std::fs::write(&inbox, text).expect("written");
}

/// And before them two turns that are replaced, so long that a third compacts the inbox.
fn nearly_compacted(root: &Path) {
    let outbox = open(root);
    commit_long(&outbox, "b", "2");
    commit_long(&outbox, "b", "3");
    three_pending_and_a_damaged_line(root);
}

/// Children of what a drain delivers, which must be none twice and each one's last turn.
fn drained(root: &Path) -> BTreeSet<String> {
    let drained = open(root).drain().expect("drained");
    let children: BTreeSet<String> = drained.iter().map(|t| t.child.to_string()).collect();
    assert_eq!(children.len(), drained.len(), "{drained:?}");
    assert!(drained.iter().all(|t| t.signal == "1"), "{drained:?}");
    children
}

fn set(children: &[&str]) -> BTreeSet<String> {
    children.iter().map(ToString::to_string).collect()
}

/// Everything once, and then nothing more.
#[track_caller]
fn assert_delivers(root: &Path, children: &[&str]) {
    assert_eq!(drained(root), set(children));
    assert_eq!(drained(root), set(&[]), "delivered twice");
    assert_eq!(open(root).pending().expect("read"), []);
}

/// The commit of `late` was not acknowledged: it may be there or not, but the others must be.
/// Its child commits it again, and overall it is delivered once.
#[track_caller]
fn assert_delivers_with_late(root: &Path, commit_again: impl Fn()) {
    let mut delivered = drained(root);
    let is_there = delivered.remove("late");
    assert_eq!(delivered, set(&["a", "b", "c"]));
    assert_eq!(drained(root), set(&[]));
    commit_again();
    let expected: &[&str] = if is_there { &[] } else { &["late"] };
    assert_eq!(drained(root), set(expected), "there before: {is_there}");
    commit_again();
    assert_eq!(drained(root), set(&[]));
}

/// The damaged line was set aside, and no more than once.
#[track_caller]
fn assert_one_dead_letter(root: &Path) {
    let dead = open(root).dead_letters().expect("read");
    let lines: Vec<&[u8]> = dead.iter().map(|letter| letter.line.as_slice()).collect();
    assert_eq!(lines, [DAMAGED]);
}

#[test]
fn a_drain_killed_at_any_sync_delivers_once() {
    let syncs = Operation::Drain.syncs(three_pending);
    assert_eq!(syncs, 4);
    for sync in 1..=syncs {
        let root = root();
        three_pending(root.path());
        Operation::Drain.run_and_die_at(sync, root.path());
        assert_delivers(root.path(), &["a", "b", "c"]);
    }
}

#[test]
fn a_recovery_killed_at_any_sync_delivers_once() {
    for first in 1..=4 {
        for second in 1..=4 {
            let root = root();
            three_pending(root.path());
            Operation::Drain.run_and_die_at(first, root.path());
            commit(&open(root.path()), "d", "1");
            Operation::Drain.run_and_die_at(second, root.path());
            assert_delivers(root.path(), &["a", "b", "c", "d"]);
        }
    }
}

#[test]
fn a_turn_committed_anew_after_a_kill_takes_the_place_of_the_old() {
    for sync in 1..=4 {
        let root = root();
        three_pending(root.path());
        Operation::Drain.run_and_die_at(sync, root.path());
        let outbox = open(root.path());
        commit(&outbox, "a", "1"); // the same turn, emitted again
        commit(&outbox, "b", "2"); // a later one
        let drained = outbox.drain().expect("drained");
        let turns: BTreeSet<(String, String)> = drained
            .iter()
            .map(|turn| (turn.child.to_string(), turn.signal.to_string()))
            .collect();
        let expected = [("a", "1"), ("b", "2"), ("c", "1")]
            .map(|(child, signal)| (child.to_owned(), signal.to_owned()));
        assert_eq!(turns, BTreeSet::from(expected));
        assert_eq!(drained.len(), 3);
    }
}

#[test]
fn a_drain_killed_while_it_sets_a_line_aside_loses_neither() {
    let syncs = Operation::Drain.syncs(three_pending_and_a_damaged_line);
    assert_eq!(syncs, 6);
    for sync in 1..=syncs {
        let root = root();
        three_pending_and_a_damaged_line(root.path());
        Operation::Drain.run_and_die_at(sync, root.path());
        assert_delivers(root.path(), &["a", "b", "c"]);
        assert_one_dead_letter(root.path());
    }
}

#[test]
fn a_commit_killed_at_any_sync_loses_no_other() {
    let syncs = Operation::Commit.syncs(three_pending);
    assert_eq!(syncs, 2);
    for sync in 1..=syncs {
        let root = root();
        three_pending(root.path());
        Operation::Commit.run_and_die_at(sync, root.path());
        assert_delivers_with_late(root.path(), || commit(&open(root.path()), "late", "1"));
    }
}

#[test]
fn a_commit_that_compacts_killed_at_any_sync_loses_no_other() {
    let syncs = Operation::LongCommit.syncs(nearly_compacted);
    assert_eq!(syncs, 2);
    for sync in 1..=syncs {
        let root = root();
        nearly_compacted(root.path());
        let file = |name| open(root.path()).path().join(name);
        let length = || std::fs::metadata(file("inbox.jsonl")).expect("there").len();
        let before = length();
        Operation::LongCommit.run_and_die_at(sync, root.path());
        // It was compacting: the first sync is that of the new file, the second of its name.
        assert_eq!(file("inbox.tmp").exists(), sync == 1);
        assert_eq!(length() < before, sync == 2);
        let commit_again = || commit_long(&open(root.path()), "late", "1");
        assert_delivers_with_late(root.path(), commit_again);
        assert_one_dead_letter(root.path());
    }
}

#[test]
fn a_first_commit_killed_at_any_sync_leaves_an_outbox_that_works() {
    let syncs = Operation::Commit.syncs(|_| ());
    assert_eq!(
        syncs, 3,
        "the root, for the new directory; the inbox; its directory"
    );
    for sync in 1..=syncs {
        let root = root();
        Operation::Commit.run_and_die_at(sync, root.path());
        commit(&open(root.path()), "a", "1");
        assert!(drained(root.path()).contains("a"));
        assert_eq!(drained(root.path()), set(&[]));
    }
}

#[test]
fn a_sweep_killed_at_any_sync_loses_nothing() {
    let syncs = Operation::Sweep.syncs(three_pending_and_a_damaged_line);
    assert_eq!(syncs, 4);
    for sync in 1..=syncs {
        let root = root();
        three_pending_and_a_damaged_line(root.path());
        Operation::Sweep.run_and_die_at(sync, root.path());
        assert_delivers(root.path(), &["a", "b", "c"]);
        assert_one_dead_letter(root.path());
    }
}
