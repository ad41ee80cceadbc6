//! Whose syncs a scope counts, and from when to when.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use fsync_counter::{FsyncCounter, Operation, Scope, SyncCounts};
use tempfile::tempdir;

use crate::alone::alone;

/// The three ways in which the standard library syncs: `fsync` and `fdatasync` of a file, `fsync`
/// of a directory.
fn sync_each_way(dir: &Path) {
    let file = File::create(dir.join("file")).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
}

#[track_caller]
fn assert_sees_each_way(scope: &Scope) {
    let dir = tempdir().unwrap();
    let seen = scope.observe(|| sync_each_way(dir.path()));
    assert_eq!(
        seen.counts(),
        SyncCounts::new().files(2).dirs(1),
        "{}",
        seen.events()
    );
    let operations: Vec<_> = seen.events().iter().map(|event| event.operation).collect();
    assert_eq!(
        operations,
        [Operation::Fsync, Operation::Fdatasync, Operation::Fsync]
    );
}

#[test]
fn a_thread_scope_sees_the_standard_library() {
    assert_sees_each_way(&Scope::thread());
}

#[test]
fn a_path_scope_sees_the_standard_library() {
    let dir = tempdir().unwrap();
    let seen = Scope::under(dir.path()).observe(|| sync_each_way(dir.path()));
    assert_eq!(
        seen.counts(),
        SyncCounts::new().files(2).dirs(1),
        "{}",
        seen.events()
    );
}

#[test]
fn a_process_scope_sees_the_standard_library_and_every_thread() {
    alone(
        "scopes::a_process_scope_sees_the_standard_library_and_every_thread",
        || {
            assert_sees_each_way(&Scope::process());

            let dir = tempdir().unwrap();
            let counter = FsyncCounter::process();
            thread::scope(|threads| {
                for _ in 0..3 {
                    threads.spawn(|| File::open(dir.path()).unwrap().sync_all().unwrap());
                }
            });
            assert_eq!(counter.counts(), SyncCounts::new().dirs(3));
        },
    );
}

#[test]
fn a_thread_scope_leaves_out_other_threads() {
    let dir = tempdir().unwrap();
    let seen = Scope::thread().observe(|| {
        thread::scope(|threads| {
            threads.spawn(|| sync_each_way(dir.path()));
        });
    });
    assert_eq!(seen.counts(), SyncCounts::new());
    assert!(seen.events().is_empty());
}

#[test]
fn a_path_scope_goes_by_whole_names() {
    let dir = tempdir().unwrap();
    let [root, sibling] = ["out", "outbox"].map(|name| dir.path().join(name));
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(&sibling).unwrap();

    let seen = Scope::under(&root).observe(|| {
        sync_each_way(&sibling);
        sync_each_way(&root);
        sync_each_way(&root.join("a/b"));
        File::open(dir.path()).unwrap().sync_all().unwrap();
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(4).dirs(2));
}

#[test]
fn a_path_scope_may_be_one_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    let file = File::create(&path).unwrap();
    let seen = Scope::under(&path).observe(|| {
        file.sync_all().unwrap();
        File::open(dir.path()).unwrap().sync_all().unwrap();
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
}

#[test]
fn a_path_scope_through_a_symlink_is_the_place_behind_it() {
    let dir = tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();

    for root in [&real, &link] {
        for way in [&real, &link] {
            let seen = Scope::under(root).observe(|| sync_each_way(way));
            assert_eq!(seen.counts(), SyncCounts::new().files(2).dirs(1));
            let real = real.canonicalize().unwrap();
            for event in seen.events() {
                assert!(event.path.unwrap().starts_with(&real));
            }
        }
    }
}

#[test]
fn a_path_that_does_not_exist_is_said() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("missing");
    for open in [
        (|path| drop(FsyncCounter::under(path))) as fn(&Path),
        |path| Scope::under(path).observe(|| ()).value,
        |path| drop(fsync_counter::stub_under(path)),
    ] {
        let panic = catch_unwind(|| open(&missing)).unwrap_err();
        assert_eq!(
            *panic.downcast::<String>().unwrap(),
            format!(
                "failed to open a path scope for {}: No such file or directory (os error 2)\n\
                 the path must exist when the scope opens",
                missing.display()
            )
        );
    }
}

#[test]
fn a_path_scope_is_canonical_when_it_opens_not_when_it_is_made() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("later");
    let scope = Scope::under(&root);
    fs::create_dir(&root).unwrap();
    let seen = scope.observe(|| sync_each_way(&root));
    assert_eq!(seen.counts(), SyncCounts::new().files(2).dirs(1));
    // And may be used again.
    assert_eq!(scope.observe(|| ()).counts(), SyncCounts::new());
}

#[test]
fn scopes_nest_and_overlap_and_each_counts_for_itself() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let sync = || file.sync_all().unwrap();

    let outer = FsyncCounter::under(dir.path());
    sync();
    let first = FsyncCounter::thread();
    sync();
    let second = FsyncCounter::under(dir.path().join("file"));
    sync();
    assert_eq!(first.file_syncs(), 2);
    drop(first); // before the one that was opened after it
    sync();
    assert_eq!(second.file_syncs(), 2);
    outer.reset();
    sync();
    assert_eq!(second.file_syncs(), 3);
    assert_eq!(outer.file_syncs(), 1);

    let nested = Scope::thread().observe(|| {
        sync();
        let inner = Scope::thread().observe(sync);
        sync();
        inner.counts()
    });
    assert_eq!(nested.value, SyncCounts::new().files(1));
    assert_eq!(nested.counts(), SyncCounts::new().files(3));
}

#[test]
fn many_scopes_at_once_all_see_a_sync_and_how_it_ended() {
    use fsync_counter::Outcome;
    let dir = tempdir().unwrap();
    let many: Vec<_> = (0..100).map(|_| FsyncCounter::under(dir.path())).collect();
    sync_each_way(dir.path());
    for counter in &many {
        assert_eq!(counter.counts(), SyncCounts::new().files(2).dirs(1));
        for event in counter.events() {
            assert_eq!(event.outcome, Outcome::Succeeded);
        }
    }
}

#[test]
fn a_guard_moves_between_threads_and_is_shared() {
    let dir = tempdir().unwrap();
    let sync = || File::open(dir.path()).unwrap().sync_all().unwrap();

    let path = FsyncCounter::under(dir.path());
    let mine = FsyncCounter::thread();
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                sync();
                assert!(path.dir_syncs() >= 1);
                assert_eq!(mine.dir_syncs(), 0);
            });
        }
    });
    sync();
    assert_eq!(path.dir_syncs(), 5);

    // It goes on counting the thread that opened it, wherever it is read and closed.
    let (mine, dirs) = thread::scope(|threads| {
        let moved = threads.spawn(move || {
            sync();
            let dirs = mine.dir_syncs();
            (mine, dirs)
        });
        moved.join().unwrap()
    });
    assert_eq!(dirs, 1);
    thread::scope(|threads| {
        threads.spawn(move || drop(mine));
    });
}

#[test]
fn reset_starts_over() {
    let dir = tempdir().unwrap();
    let counter = FsyncCounter::under(dir.path());
    sync_each_way(dir.path());
    assert_eq!((counter.file_syncs(), counter.dir_syncs()), (2, 1));
    counter.reset();
    assert_eq!(counter.counts(), SyncCounts::new());
    assert!(counter.events().is_empty());
    sync_each_way(dir.path());
    assert_eq!((counter.file_syncs(), counter.dir_syncs()), (2, 1));
}

/// Only syncs that some scope saw have a number: numbers that go on without a gap show that
/// none was open meanwhile.
#[test]
fn a_panic_in_an_observed_closure_closes_the_scope() {
    alone(
        "scopes::a_panic_in_an_observed_closure_closes_the_scope",
        || {
            let dir = tempdir().unwrap();
            let sync = || File::open(dir.path()).unwrap().sync_all().unwrap();
            let sequence = || Scope::thread().observe(sync).events()[0].sequence;

            let before = sequence();
            for scope in [Scope::thread(), Scope::process(), Scope::under(dir.path())] {
                let observed = catch_unwind(AssertUnwindSafe(|| {
                    scope.observe(|| {
                        sync();
                        panic!("on purpose");
                    })
                }));
                assert!(observed.is_err());
                sync();
                sync();
            }
            assert_eq!(sequence(), before + 3 + 1);
        },
    );
}
