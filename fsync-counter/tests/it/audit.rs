//! The audit names who is missed, and what to do.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use fsync_counter::{Caller, Operation, SyncCounts, audit};
use tempfile::tempdir;

use crate::c_library as c;

#[test]
fn who_is_missed_is_named_with_the_cure() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    let file = File::create(&path).unwrap();
    let found = audit(|| {
        file.sync_all().unwrap();
        for _ in 0..3 {
            rustix::fs::fsync(&file).unwrap();
        }
        assert_eq!(c::fsync_by_hand(file.as_raw_fd()), 0);
        Command::new("sync").arg("-d").arg(&path).status().unwrap()
    });
    let found = found.unwrap_or_else(|refused| panic!("{refused}"));
    assert!(found.value.success());
    assert_eq!(found.hook(), SyncCounts::new().files(1));
    assert_eq!(found.kernel(), SyncCounts::new().files(6));

    let text = found.to_string();
    assert!(
        text.starts_with("hook 1, kernel 6: 5 syncs that the hook does not see\n"),
        "{text}"
    );
    let child = found
        .missed()
        .iter()
        .find(|line| matches!(line.caller, Caller::Child { .. }))
        .expect("a line for the child");
    assert_eq!(child.to_string(), "1 × fdatasync by a child process, sync");
    // Without optimisation rustix's functions stand for themselves; with it they may be inlined.
    if cfg!(debug_assertions) {
        let rustix = &found.missed()[0];
        assert!(matches!(&rustix.caller, Caller::Rustix { .. }), "{text}");
        assert_eq!((rustix.operation, rustix.syncs), (Operation::Fsync, 3));
        assert!(text.contains("use-libc"), "{text}");
        let by_hand = found
            .missed()
            .iter()
            .find(|line| matches!(&line.caller, Caller::Inline { function: Some(name) } if name.ends_with("fsync_by_hand")));
        assert_eq!(by_hand.map(|line| line.syncs), Some(1), "{text}");
    }
}

#[test]
fn nothing_missed_is_said() {
    let file = tempfile::tempfile().unwrap();
    let found = audit(|| file.sync_all().unwrap()).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(found.missed(), []);
    assert_eq!(found.to_string(), "hook 1, kernel 1: the hook sees all");
}
