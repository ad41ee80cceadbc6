//! Four processes, several threads in each, all commit to and drain one outbox.
//!
//! A worker process is this test binary again, told by the environment to run one test only.
//! `make outbox-stress` has each do 10,000 operations and not 1,000.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use outbox::{Event, Outbox, SystemClock};

use crate::support::{Fault, FaultyDisk};

const ROOT_VARIABLE: &str = "OUTBOX_TEST_WORKER_ROOT";
const NUMBER_VARIABLE: &str = "OUTBOX_TEST_WORKER_NUMBER";

const READY: &str = "worker is ready";

/// How many operations a process does.
const OPERATIONS_VARIABLE: &str = "OUTBOX_STRESS_OPERATIONS";
const OPERATIONS: usize = 1_000;

const PROCESSES: usize = 4;
const COMMITTERS: usize = 3;
const DRAINERS: usize = 2;

fn operations() -> usize {
    std::env::var(OPERATIONS_VARIABLE).map_or(OPERATIONS, |number| number.parse().unwrap())
}

/// Three operations of five: commits of one committer.
fn commits() -> usize {
    operations() * 3 / 5 / COMMITTERS
}

/// Two operations of five: drains of one drainer.
fn drains() -> usize {
    operations() * 2 / 5 / DRAINERS
}

fn open(root: &Path) -> Outbox {
    let disk: Arc<FaultyDisk> = FaultyDisk::new(Fault::None);
    Outbox::with_seams(root.join("outbox"), "parent", disk, SystemClock).unwrap()
}

/// The signal of the given commit of a committer, and its child: a new one for every even
/// commit, one of the committer's own for every odd one.
fn event(process: usize, committer: usize, commit: usize) -> Event {
    let child = if commit.is_multiple_of(2) {
        format!("{process}-{committer}-{commit}")
    } else {
        format!("{process}-{committer}")
    };
    Event::new(child, format!("{commit:05}"))
}

fn log(drained: &[outbox::Turn]) -> String {
    drained
        .iter()
        .map(|turn| format!("{} {}\n", turn.child, turn.signal))
        .collect()
}

/// Does nothing unless the test below starts it in a process of its own.
#[test]
fn worker() {
    let Some(root) = std::env::var_os(ROOT_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let process: usize = std::env::var(NUMBER_VARIABLE).unwrap().parse().unwrap();
    // Some threads share a handle, some have one of their own.
    let shared = open(&root);
    println!("{READY}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let received = std::thread::scope(|scope| {
        for committer in 0..COMMITTERS {
            let (root, shared) = (&root, &shared);
            scope.spawn(move || {
                let own = open(root);
                let outbox = if committer == 0 { shared } else { &own };
                for commit in 0..commits() {
                    outbox.commit(event(process, committer, commit)).unwrap();
                }
            });
        }
        let drainers: Vec<_> = (0..DRAINERS)
            .map(|drainer| {
                let (root, shared) = (&root, &shared);
                scope.spawn(move || {
                    let own = open(root);
                    let outbox = if drainer == 0 { shared } else { &own };
                    (0..drains())
                        .map(|_| {
                            let drained = outbox.drain().unwrap();
                            assert_eq!(drained.dead_letters(), 0);
                            assert!(!drained.recovered());
                            log(&drained)
                        })
                        .collect::<String>()
                })
            })
            .collect();
        drainers
            .into_iter()
            .map(|drainer| drainer.join().unwrap())
            .collect::<String>()
    });
    fs::write(root.join(format!("received-{process}")), received).unwrap();
}

#[test]
fn every_commit_of_many_processes_is_delivered_once_or_replaced_by_a_later_one() {
    let root = tempfile::tempdir().unwrap();
    let mut workers: Vec<_> = (0..PROCESSES)
        .map(|process| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "concurrency::worker", "--nocapture"])
                .env(ROOT_VARIABLE, root.path())
                .env(NUMBER_VARIABLE, process.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    // They start together: each says that it is ready, and waits for its input to end.
    for worker in &mut workers {
        let mut output = BufReader::new(worker.stdout.as_mut().unwrap()).lines();
        assert!(output.any(|line| line.unwrap().contains(READY)));
    }
    for worker in &mut workers {
        drop(worker.stdin.take());
    }
    for worker in workers {
        assert!(worker.wait_with_output().unwrap().status.success());
    }
    let mut received = log(&open(root.path()).drain().unwrap());
    for process in 0..PROCESSES {
        let log = fs::read_to_string(root.path().join(format!("received-{process}"))).unwrap();
        received.push_str(&log);
    }

    let mut seen = HashSet::new();
    let mut by_child: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in received.lines() {
        assert!(seen.insert(line), "{line} was delivered twice");
        let (child, signal) = line.split_once(' ').unwrap();
        by_child
            .entry(child.into())
            .or_default()
            .push(signal.into());
    }
    for process in 0..PROCESSES {
        for committer in 0..COMMITTERS {
            for commit in 0..commits() {
                let event = event(process, committer, commit);
                let delivered = by_child.get(event.child()).map_or(&[][..], Vec::as_slice);
                // The greatest signal of a child is its last: nothing replaced that one.
                assert!(
                    delivered
                        .iter()
                        .any(|signal| signal.as_str() >= event.signal()),
                    "{event:?} is gone; delivered: {delivered:?}"
                );
            }
        }
    }
}
