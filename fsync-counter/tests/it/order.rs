//! Assertions on the order of what really happened.

use std::fs::{self, File};
use std::panic;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use fsync_counter::{Scope, Step, stub_thread};
use tempfile::tempdir;

use crate::alone::alone;

/// Replaces `current` by a file that was synced, or was not, and syncs the directory.
fn replace(dir: &Path, syncs_first: bool) {
    let new = File::create(dir.join("new")).unwrap();
    if syncs_first {
        new.sync_all().unwrap();
    }
    fs::rename(dir.join("new"), dir.join("current")).unwrap();
    if !syncs_first {
        new.sync_all().unwrap();
    }
    File::open(dir).unwrap().sync_all().unwrap();
}

#[test]
fn a_file_is_synced_before_it_gets_its_name() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let steps = || {
        [
            Step::matching("the new file", |event| event.operation.is_sync()),
            Step::renamed("current"),
            Step::dir(&root),
        ]
    };
    let scope = Scope::under(&root).with_entries();
    let right = scope.observe(|| replace(&root, true));
    right.events().assert_order(steps());

    let wrong = scope.observe(|| replace(&root, false)).events();
    let text = wrong.order(steps()).unwrap_err().to_string();
    let number = |at: usize| wrong[at].sequence;
    let root = root.display();
    let lines = [
        "not in the order that was asked for".to_owned(),
        format!(
            "#{} rename file {root}/current  <- step 2: renamed to current, before step 1",
            number(0)
        ),
        format!(
            "#{} fsync file {root}/current   <- step 1: the new file",
            number(1)
        ),
        format!(
            "#{} fsync directory {root}      <- step 3: directory {root}",
            number(2)
        ),
    ];
    assert_eq!(text.lines().count(), lines.len(), "{text}");
    for (line, expected) in text.lines().zip(&lines) {
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(line), words(expected), "{text}");
    }
}

#[test]
fn a_list_that_overflowed_is_in_no_order() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let _disk = stub_thread();
    let sync = |times: usize| {
        let seen = Scope::under(dir.path()).observe(|| {
            (0..times).for_each(|_| file.sync_data().unwrap());
        });
        seen.events().order([Step::file("file")])
    };
    assert_eq!(sync(1024), Ok(()));
    let text = sync(1025).unwrap_err().to_string();
    let first = "the order can't be known: the latest event did not fit into the list\n";
    assert!(text.starts_with(first), "{text}");
}

/// The panic names the line of the assertion, not one of this crate.
#[test]
fn an_assertion_fails_where_it_stands() {
    alone("order::an_assertion_fails_where_it_stands", || {
        static FILE: Mutex<String> = Mutex::new(String::new());
        static LINE: AtomicU32 = AtomicU32::new(0);
        panic::set_hook(Box::new(|panic| {
            let place = panic.location().unwrap();
            *FILE.lock().unwrap() = place.file().to_owned();
            LINE.store(place.line(), Ordering::SeqCst);
        }));
        let events = Scope::thread().observe(|| ()).events();
        let before = line!();
        let failed = panic::catch_unwind(|| events.assert_order([Step::file("a")]));
        drop(panic::take_hook());
        assert!(failed.is_err());
        assert_eq!(*FILE.lock().unwrap(), file!());
        assert_eq!(LINE.load(Ordering::SeqCst), before + 1);
    });
}
