//! Counts that stay exact while many threads sync: runtimes, pools, tests in parallel.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Barrier, mpsc};
use std::thread;

use fsync_counter::{FsyncCounter, Incomplete, Operation, Scope, SyncCounts, stub_under};
use tempfile::tempdir;

const THREADS: usize = 16;

#[test]
fn tokio_files_are_counted_by_path_and_not_by_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let dir = tempdir().unwrap();
    let by_thread = FsyncCounter::thread();
    let by_path = Scope::under(dir.path()).observe(|| {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..40)
                .map(|n| {
                    let path = dir.path().join(n.to_string());
                    tokio::spawn(async move {
                        let file = tokio::fs::File::create(path).await.unwrap();
                        file.sync_all().await.unwrap();
                        file.sync_data().await.unwrap();
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let folder = tokio::fs::File::open(dir.path()).await.unwrap();
            folder.sync_all().await.unwrap();
        });
    });
    assert_eq!(by_path.counts(), SyncCounts::new().files(80).dirs(1));
    assert_eq!(by_thread.counts(), SyncCounts::new());
}

#[test]
fn a_thread_pool_is_counted_by_path_and_not_by_thread() {
    let dir = tempdir().unwrap();
    let by_thread = FsyncCounter::thread();
    let by_path = FsyncCounter::under(dir.path());
    // The pool is older than the job that it syncs for, as in a real program.
    thread::scope(|threads| {
        let (done, finished) = mpsc::channel();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (jobs, work) = mpsc::channel::<File>();
                let done = done.clone();
                threads.spawn(move || {
                    for file in work {
                        file.sync_all().unwrap();
                        done.send(()).unwrap();
                    }
                });
                jobs
            })
            .collect();
        for n in 0..100 {
            let file = File::create(dir.path().join(n.to_string())).unwrap();
            workers[n % workers.len()].send(file).unwrap();
        }
        assert_eq!(finished.iter().take(100).count(), 100);
        assert_eq!(by_path.counts(), SyncCounts::new().files(100));
    });
    assert_eq!(by_thread.counts(), SyncCounts::new());
}

/// Counts one directory once, while others sync theirs: what one of many tests does.
fn count_own_directory(dir: &Path, file: &File, folder: &File, round: u64) {
    let (files, dirs) = (1 + round % 3, round % 2);
    let seen = Scope::under(dir).observe(|| {
        for _ in 0..files {
            file.sync_all().unwrap();
        }
        for _ in 0..dirs {
            folder.sync_all().unwrap();
        }
    });
    let expected = SyncCounts::new().files(files).dirs(dirs);
    assert_eq!(seen.counts(), expected, "{}", seen.events());
    let events = seen.events();
    assert_eq!(events.len() as u64, expected.total());
    for event in &events {
        let path = event.path.as_deref().unwrap();
        assert!(
            path.starts_with(dir),
            "{event} is not below {}",
            dir.display()
        );
    }
}

/// 16 threads, each with a directory of its own below `parent`, 1,000 rounds.
fn count_in_parallel(parent: &Path, rounds: u64) {
    let start = Barrier::new(THREADS);
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                let dir = tempfile::tempdir_in(parent).unwrap();
                let path = dir.path().canonicalize().unwrap();
                let file = File::create(path.join("file")).unwrap();
                let folder = File::open(&path).unwrap();
                let mine = FsyncCounter::thread();
                start.wait();
                for round in 0..rounds {
                    count_own_directory(&path, &file, &folder, round);
                }
                let expected = (0..rounds).fold(SyncCounts::new(), |sum, round| {
                    sum.files(sum.files + 1 + round % 3)
                        .dirs(sum.dirs + round % 2)
                });
                assert_eq!(mine.counts(), expected);
            });
        }
    });
}

#[test]
fn sixteen_threads_each_count_their_own_directory_in_memory() {
    let memory = Path::new("/dev/shm");
    let elsewhere = tempdir().unwrap();
    if memory.is_dir() {
        count_in_parallel(memory, 1_000);
    } else {
        count_in_parallel(elsewhere.path(), 100);
    }
}

#[test]
fn sixteen_threads_each_count_their_own_directory_stubbed() {
    let dir = tempdir().unwrap();
    let _disk = stub_under(dir.path());
    count_in_parallel(dir.path(), 1_000);
}

/// Each thread its own directory and scope, while the others rename, remove and open theirs.
#[test]
fn sixteen_threads_each_note_their_own_entries_and_durable_files() {
    let parent = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempdir())
        .unwrap();
    let start = Barrier::new(THREADS);
    let count = || {
        let dir = tempfile::tempdir_in(&parent).unwrap();
        let root = dir.path().canonicalize().unwrap();
        let [old, new] = ["old", "new"].map(|name| root.join(name));
        start.wait();
        for round in 0..100 {
            let seen = Scope::under(&root).with_entries().observe(|| {
                let mut options = File::options();
                let options = options.write(true).create(true).truncate(true);
                options.custom_flags(libc::O_DSYNC).open(&old).unwrap();
                std::fs::rename(&old, &new).unwrap();
                if round % 2 == 0 {
                    std::fs::remove_file(&new).unwrap();
                }
            });
            let told = seen.events();
            let told: Vec<_> = told
                .iter()
                .map(|e| (e.operation, e.path.as_ref()))
                .collect();
            let all = [Operation::Rename, Operation::Unlink].map(|one| (one, Some(&new)));
            assert_eq!(told, all[..2 - round % 2], "{}", seen.events());
            let path = Some(old.clone());
            assert_eq!(seen.incomplete(), [Incomplete::DurableOpen { path }]);
        }
    };
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(count);
        }
    });
}
