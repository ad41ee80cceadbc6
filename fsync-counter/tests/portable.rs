//! What every hook promises, on every platform that has one, and what the others say.
//!
//! `FSYNC_COUNTER_TEST_HOOK=portable cargo test -p fsync-counter --test portable --lib` runs, on
//! Linux, the hook that macOS and FreeBSD have.

use fsync_counter::{HookError, check_linkage};

#[cfg(supported)]
#[test]
fn this_program_is_hooked() {
    assert_eq!(check_linkage(), Ok(()));
}

#[cfg(not(supported))]
#[test]
fn without_a_hook_the_error_is_typed_and_the_first_use_panics_with_it() {
    let error = check_linkage().expect_err("there is no hook");
    assert!(matches!(error, HookError::Unsupported { .. }), "{error:?}");
    let uses: [fn(); 3] = [
        || drop(fsync_counter::FsyncCounter::thread()),
        || drop(fsync_counter::stub()),
        || drop(fsync_counter::Scope::process().observe(|| ())),
    ];
    for first_use in uses {
        let panic = std::panic::catch_unwind(first_use).expect_err("it panics");
        assert_eq!(panic.downcast_ref::<String>(), Some(&error.to_string()));
    }
    let refused = fsync_counter::KernelScope::open().expect_err("there is no kernel scope");
    assert!(
        matches!(
            refused,
            fsync_counter::KernelScopeUnavailable::Unsupported { .. }
        ),
        "{refused:?}"
    );
}

#[test]
fn the_error_says_what_to_do() {
    let error = HookError::Unsupported { why: "reasons" }.to_string();
    assert_eq!(
        error,
        "syncs can't be counted here: reasons\n\
         leave these tests out where `fsync_counter::check_linkage()` returns an error"
    );
}

#[cfg(supported)]
mod hooked {
    use std::fs::{self, File};
    use std::io::Error;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    use fsync_counter::{
        Action, FileClass, FsyncCounter, Operation, Outcome, Scope, SyncCounts, stub, stub_thread,
        stub_under,
    };

    /// One test at a time: stubs are the process's, and what can't be placed counts in every path scope.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn save(directory: &Path) {
        let file = File::create(directory.join("a")).unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        File::open(directory).unwrap().sync_all().unwrap();
    }

    /// What the standard library's ways to sync are called here.
    fn operations() -> [Operation; 3] {
        if cfg!(target_os = "macos") {
            [Operation::FullFsync; 3]
        } else {
            [Operation::Fsync, Operation::Fdatasync, Operation::Fsync]
        }
    }

    #[test]
    fn the_standard_library_is_seen_by_every_scope() {
        let _alone = alone();
        let dir = directory();
        let expected = SyncCounts::new().files(2).dirs(1);
        let by_thread = Scope::thread().observe(|| save(dir.path()));
        assert_eq!(by_thread.counts(), expected, "{}", by_thread.events());
        let by_path = Scope::under(dir.path()).observe(|| {
            thread::scope(|scope| {
                scope.spawn(|| save(dir.path()));
            });
        });
        assert_eq!(by_path.counts(), expected, "{}", by_path.events());
        let process = FsyncCounter::process();
        save(dir.path());
        assert!(process.file_syncs() >= 2 && process.dir_syncs() >= 1);
    }

    #[test]
    fn events_have_operation_class_path_and_outcome() {
        let _alone = alone();
        let dir = directory();
        let root = dir.path().canonicalize().unwrap();
        let seen = Scope::under(dir.path()).observe(|| save(dir.path()));
        let events: Vec<_> = seen
            .events()
            .into_iter()
            .map(|event| (event.operation, event.class, event.path, event.outcome))
            .collect();
        let [all, data, directory] = operations();
        let file = || Some(root.join("a"));
        let done = Outcome::Succeeded;
        assert_eq!(
            events,
            [
                (all, FileClass::File, file(), done),
                (data, FileClass::File, file(), done),
                (directory, FileClass::Directory, Some(root.clone()), done),
            ]
        );
        let ids: Vec<_> = seen.events().iter().map(|event| event.process).collect();
        assert_eq!(ids, [std::process::id(); 3]);
    }

    #[test]
    fn a_mapping_is_synced_with_its_kind_and_flags() {
        let _alone = alone();
        let dir = directory();
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.path().join("mapped"))
            .unwrap();
        file.set_len(4096).unwrap();
        // SAFETY: nobody else knows the file, which stays as long as it is.
        let mut mapping = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
        mapping[0] = 1;
        let seen = Scope::thread().observe(|| {
            mapping.flush().unwrap();
            mapping.flush_async().unwrap();
        });
        let events = seen.events().into_iter();
        let events: Vec<_> = events.map(|event| (event.operation, event.flags)).collect();
        let flags = |flags: libc::c_int| u32::from_ne_bytes(flags.to_ne_bytes());
        assert_eq!(
            events,
            [
                (Operation::Msync, flags(libc::MS_SYNC)),
                (Operation::MsyncAsync, flags(libc::MS_ASYNC)),
            ]
        );
    }

    #[test]
    fn a_path_scope_has_nothing_of_its_neighbours() {
        let _alone = alone();
        let (dir, other) = (directory(), directory());
        let seen = Scope::under(dir.path()).observe(|| save(other.path()));
        assert_eq!(seen.counts(), SyncCounts::new(), "{}", seen.events());
    }

    #[test]
    fn the_c_librarys_functions_are_seen() {
        let _alone = alone();
        let dir = directory();
        let file = File::create(dir.path().join("a")).unwrap();
        let fd = file.as_raw_fd();
        let seen = Scope::under(dir.path()).observe(|| {
            // SAFETY: `file` is open.
            assert_eq!(unsafe { libc::fsync(fd) }, 0);
        });
        assert_eq!(seen.counts(), SyncCounts::new().files(1));
        assert_eq!(seen.events()[0].operation, Operation::Fsync);
    }

    #[cfg(target_os = "macos")]
    #[test]
    fn commands_of_fcntl_are_syncs_and_the_others_do_what_they_did() {
        let _alone = alone();
        let dir = directory();
        let file = File::create(dir.path().join("a")).unwrap();
        let fd = file.as_raw_fd();
        let seen = Scope::under(dir.path()).observe(|| {
            // SAFETY: `file` is open; no argument.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_BARRIERFSYNC) }, 0);
            // SAFETY: as above.
            let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 200) };
            assert!(copy >= 200, "{copy}");
            // SAFETY: as above.
            let flags = unsafe { libc::fcntl(copy, libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC);
            // SAFETY: nobody else has the copy.
            unsafe { libc::close(copy) };
        });
        assert_eq!(seen.counts(), SyncCounts::new().files(1));
        assert_eq!(seen.events()[0].operation, Operation::BarrierFsync);
    }

    #[test]
    fn a_failed_sync_counts_and_has_its_errno() {
        let _alone = alone();
        let failed = Scope::thread().observe(|| {
            // SAFETY: no descriptor has this number.
            let answer = unsafe { libc::fsync(-1) };
            (answer, Error::last_os_error().raw_os_error())
        });
        assert_eq!(failed.value, (-1, Some(libc::EBADF)));
        assert_eq!(failed.counts(), SyncCounts::new().unknown(1));
        assert_eq!(failed.events()[0].class, FileClass::Unknown(libc::EBADF));
        assert_eq!(failed.events()[0].outcome, Outcome::Failed(libc::EBADF));
    }

    /// The flags of `errno` before a sync that succeeds are there after it.
    #[test]
    fn errno_is_left_alone() {
        let _alone = alone();
        let dir = directory();
        let file = File::create(dir.path().join("a")).unwrap();
        let left = |sync: &dyn Fn()| {
            // SAFETY: no descriptor has this number: sets `errno`.
            unsafe { libc::close(-1) };
            sync();
            Error::last_os_error().raw_os_error()
        };
        let sync = || file.sync_all().unwrap();
        assert_eq!(left(&sync), Some(libc::EBADF));
        let _counter = FsyncCounter::under(dir.path());
        assert_eq!(left(&sync), Some(libc::EBADF));
    }

    #[test]
    fn a_pipe_is_nowhere_and_a_mapping_is_seen() {
        let _alone = alone();
        let dir = directory();
        let (reader, _writer) = std::io::pipe().unwrap();
        let counter = FsyncCounter::under(dir.path());
        let by_thread = Scope::thread().observe(|| {
            // SAFETY: the pipe is open.
            unsafe { libc::fsync(reader.as_raw_fd()) }
        });
        assert_eq!(by_thread.counts().other, 1, "{}", by_thread.events());
        assert_eq!(counter.counts(), SyncCounts::new());

        let file = File::create_new(dir.path().join("a")).unwrap();
        file.set_len(4096).unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .open(dir.path().join("a"))
            .unwrap();
        // SAFETY: the file is this test's alone.
        let map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
        let by_thread = Scope::thread().observe(|| map.flush().unwrap());
        let counts = by_thread.counts();
        assert_eq!(counts.files + counts.unknown, 1, "{}", by_thread.events());
        assert_eq!(counter.counts(), counts, "{}", counter.events());
    }

    #[test]
    fn stubs_answer_and_are_counted() {
        let _alone = alone();
        let dir = directory();
        let counter = FsyncCounter::under(dir.path());
        let outcomes = || {
            save(dir.path());
            let events = counter.events();
            counter.reset();
            events.iter().map(|event| event.outcome).collect::<Vec<_>>()
        };
        assert_eq!(outcomes(), [Outcome::Succeeded; 3]);
        let process = stub();
        assert_eq!(outcomes(), [Outcome::Stubbed; 3]);
        drop(process);
        let thread = stub_thread();
        assert_eq!(outcomes(), [Outcome::Stubbed; 3]);
        drop(thread);
        let path = stub_under(dir.path());
        assert_eq!(outcomes(), [Outcome::Stubbed; 3]);
        drop(path);
        assert_eq!(outcomes(), [Outcome::Succeeded; 3]);
    }

    #[test]
    fn the_nth_sync_fails_waits_and_calls() {
        let _alone = alone();
        fn mark() {
            fs::write(std::env::temp_dir(), "").unwrap_err();
        }
        let dir = directory();
        let counter = FsyncCounter::under(dir.path());
        counter.at_sync(1, Action::Errno(libc::EIO));
        counter.at_sync(2, Action::Wait(Duration::from_millis(30)));
        counter.at_sync(3, Action::Call(mark));
        let file = File::create(dir.path().join("a")).unwrap();
        let failed = file.sync_all().unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(libc::EIO));
        let start = Instant::now();
        file.sync_all().unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30));
        file.sync_all().unwrap();
        assert_eq!(counter.file_syncs(), 3);
    }

    #[test]
    fn entries_are_noted_or_refused() {
        let _alone = alone();
        let dir = directory();
        let path = |name| dir.path().join(name);
        File::create(path("new")).unwrap();
        let scope = Scope::under(dir.path()).with_entries();
        let noted = std::panic::catch_unwind(|| {
            scope.observe(|| fs::rename(path("new"), path("old")).unwrap())
        });
        if cfg!(linux_hook) {
            assert_eq!(noted.unwrap().events()[0].operation, Operation::Rename);
        } else {
            let panic = noted.expect_err("a list without them would say that there were none");
            let text = panic.downcast_ref::<&str>().expect("a text");
            assert!(text.contains("on Linux only"), "{text}");
        }
    }

    #[test]
    fn calls_of_the_thread_are_counted_without_a_scope() {
        let _alone = alone();
        let dir = directory();
        let before = fsync_counter::calls_on_this_thread();
        save(dir.path());
        assert_eq!(fsync_counter::calls_on_this_thread() - before, 3);
    }
}
