//! Renames and removals of names, for the scopes that note them.

use std::ffi::c_int;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use fsync_counter::{Action, FileClass, FsyncCounter, Operation, Outcome, Scope, SyncCounts};
use tempfile::{TempDir, tempdir};

use crate::alone::alone;
use crate::c_library as c;

/// A directory, and its canonical path.
fn directory() -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    (dir, root)
}

fn at(file: &Path) -> (File, std::ffi::CString) {
    let parent = File::open(file.parent().unwrap()).unwrap();
    (parent, c::path(file.file_name().unwrap().as_ref()))
}

fn succeeded(answer: impl Into<i64>) {
    assert_eq!(answer.into(), 0, "{}", std::io::Error::last_os_error());
}

type Rename = fn(&Path, &Path);

const WAYS_TO_RENAME: [(&str, Rename); 6] = [
    ("std", |old, new| fs::rename(old, new).unwrap()),
    ("rename", |old, new| {
        let (old, new) = (c::path(old), c::path(new));
        // SAFETY: the paths are C strings.
        succeeded(unsafe { libc::rename(old.as_ptr(), new.as_ptr()) });
    }),
    ("renameat", |old, new| {
        let ((from, old), (to, new)) = (at(old), at(new));
        let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
        // SAFETY: the names are C strings.
        succeeded(unsafe { libc::renameat(from, old.as_ptr(), to, new.as_ptr()) });
    }),
    ("renameat2", |old, new| {
        let ((from, old), (to, new)) = (at(old), at(new));
        let (from, to, flags) = (from.as_raw_fd(), to.as_raw_fd(), libc::RENAME_NOREPLACE);
        // SAFETY: the names are C strings.
        succeeded(unsafe { libc::renameat2(from, old.as_ptr(), to, new.as_ptr(), flags) });
    }),
    ("syscall(SYS_renameat)", |old, new| {
        let ((from, old), (to, new)) = (at(old), at(new));
        let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
        let (old, new) = (old.as_ptr(), new.as_ptr());
        // SAFETY: the names are C strings.
        succeeded(unsafe { libc::syscall(libc::SYS_renameat, from, old, to, new) });
    }),
    ("syscall(SYS_renameat2)", |old, new| {
        let ((from, old), (to, new)) = (at(old), at(new));
        let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
        let (old, new) = (old.as_ptr(), new.as_ptr());
        // SAFETY: the names are C strings.
        succeeded(unsafe { libc::syscall(libc::SYS_renameat2, from, old, to, new, 0) });
    }),
];

type Remove = fn(&Path);

const WAYS_TO_REMOVE_A_FILE: [(&str, Remove); 5] = [
    ("std", |path| fs::remove_file(path).unwrap()),
    ("unlink", |path| {
        let path = c::path(path);
        // SAFETY: the path is a C string.
        succeeded(unsafe { libc::unlink(path.as_ptr()) });
    }),
    ("unlinkat", |path| {
        let (parent, name) = at(path);
        // SAFETY: the name is a C string.
        succeeded(unsafe { libc::unlinkat(parent.as_raw_fd(), name.as_ptr(), 0) });
    }),
    ("remove", |path| {
        let path = c::path(path);
        // SAFETY: the path is a C string.
        succeeded(unsafe { libc::remove(path.as_ptr()) });
    }),
    ("syscall(SYS_unlinkat)", |path| {
        let (parent, name) = at(path);
        let (fd, name) = (parent.as_raw_fd(), name.as_ptr());
        // SAFETY: the name is a C string.
        succeeded(unsafe { libc::syscall(libc::SYS_unlinkat, fd, name, 0) });
    }),
];

const WAYS_TO_REMOVE_A_DIRECTORY: [(&str, Remove); 5] = [
    ("std", |path| fs::remove_dir(path).unwrap()),
    ("std, with what is in it", |path| {
        fs::remove_dir_all(path).unwrap()
    }),
    ("rmdir", |path| {
        let path = c::path(path);
        // SAFETY: the path is a C string.
        succeeded(unsafe { libc::rmdir(path.as_ptr()) });
    }),
    ("unlinkat", |path| {
        let (parent, name) = at(path);
        let flags = libc::AT_REMOVEDIR;
        // SAFETY: the name is a C string.
        succeeded(unsafe { libc::unlinkat(parent.as_raw_fd(), name.as_ptr(), flags) });
    }),
    ("remove", |path| {
        let path = c::path(path);
        // SAFETY: the path is a C string.
        succeeded(unsafe { libc::remove(path.as_ptr()) });
    }),
];

/// The one change of an entry that a scope noted, on this thread and just now.
#[track_caller]
fn assert_noted(
    scope: &Scope,
    change: impl FnOnce(),
    operation: Operation,
    at: (FileClass, &Path),
) {
    let seen = scope.clone().with_entries().observe(change);
    let events = seen.events();
    assert_eq!(events.len(), 1, "{events}");
    let told = (events[0].class, events[0].path.as_deref().unwrap());
    assert_eq!((events[0].operation, told), (operation, at));
    assert_eq!(events[0].outcome, Outcome::Succeeded);
    assert_eq!(seen.counts(), SyncCounts::new());
    assert_eq!(seen.incomplete(), []);
}

#[test]
fn each_way_to_rename_is_noted_at_the_new_name() {
    let (_dir, root) = directory();
    let [old, new] = ["old", "new"].map(|name| root.join(name));
    for scope in [Scope::thread(), Scope::under(&root)] {
        for (way, rename) in WAYS_TO_RENAME {
            println!("{way}");
            fs::write(&old, "").unwrap();
            let file = (FileClass::File, new.as_path());
            assert_noted(&scope, || rename(&old, &new), Operation::Rename, file);
            fs::remove_file(&new).unwrap();
        }
    }
}

#[test]
fn each_way_to_remove_is_noted_at_the_name_that_was() {
    let (_dir, root) = directory();
    let path = root.join("gone");
    for scope in [Scope::thread(), Scope::under(&root)] {
        for (way, remove) in WAYS_TO_REMOVE_A_FILE {
            println!("{way}");
            fs::write(&path, "").unwrap();
            let file = (FileClass::File, path.as_path());
            assert_noted(&scope, || remove(&path), Operation::Unlink, file);
            assert!(!path.exists());
        }
        for (way, remove) in WAYS_TO_REMOVE_A_DIRECTORY {
            println!("{way}");
            fs::create_dir(&path).unwrap();
            let directory = (FileClass::Directory, path.as_path());
            assert_noted(&scope, || remove(&path), Operation::Unlink, directory);
            assert!(!path.exists());
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_oldest_system_calls_are_noted_too() {
    let (_dir, root) = directory();
    let [old, new] = ["old", "new"].map(|name| root.join(name));
    let [from, to] = [&old, &new].map(|path| c::path(path));
    let scope = Scope::under(&root);
    fs::write(&old, "").unwrap();
    let file = (FileClass::File, new.as_path());
    let rename = || {
        // SAFETY: the paths are C strings.
        succeeded(unsafe { libc::syscall(libc::SYS_rename, from.as_ptr(), to.as_ptr()) });
    };
    assert_noted(&scope, rename, Operation::Rename, file);
    let unlink = || {
        // SAFETY: the path is a C string.
        succeeded(unsafe { libc::syscall(libc::SYS_unlink, to.as_ptr()) });
    };
    assert_noted(&scope, unlink, Operation::Unlink, file);
    fs::create_dir(&new).unwrap();
    let rmdir = || {
        // SAFETY: the path is a C string.
        succeeded(unsafe { libc::syscall(libc::SYS_rmdir, to.as_ptr()) });
    };
    let directory = (FileClass::Directory, new.as_path());
    assert_noted(&scope, rmdir, Operation::Unlink, directory);
}

#[test]
fn only_a_scope_that_asks_for_entries_notes_them() {
    let (_dir, root) = directory();
    let change = || {
        fs::write(root.join("a"), "").unwrap();
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::remove_file(root.join("b")).unwrap();
    };
    let without = FsyncCounter::under(&root);
    change();
    let with = FsyncCounter::under(&root).with_entries();
    change();
    assert_eq!(without.events().len(), 0);
    assert_eq!(with.events().len(), 2);
    with.reset();
    assert_eq!(with.events().len(), 0);
    change();
    assert_eq!(with.events().len(), 2);
}

#[test]
fn entries_stand_among_the_syncs_and_have_no_number() {
    let (_dir, root) = directory();
    let [old, new] = ["old", "new"].map(|name| root.join(name));
    let counter = FsyncCounter::under(&root).with_entries();
    counter.at_sync(2, Action::Errno(libc::EIO));
    let file = File::create(&old).unwrap();
    file.sync_all().unwrap();
    fs::rename(&old, &new).unwrap();
    fs::remove_file(&new).unwrap();
    file.sync_all().unwrap_err();

    let events = counter.events();
    let operations: Vec<_> = events.iter().map(|event| event.operation).collect();
    let paths: Vec<_> = events.iter().map(|event| event.path.clone()).collect();
    assert_eq!(
        operations,
        [
            Operation::Fsync,
            Operation::Rename,
            Operation::Unlink,
            Operation::Fsync
        ]
    );
    assert_eq!(
        paths,
        [&old, &new, &new, &new].map(|path| Some(path.clone()))
    );
    assert_eq!(counter.counts(), SyncCounts::new().files(2));
    assert!(
        events
            .windows(2)
            .all(|two| two[0].sequence < two[1].sequence)
    );
    let line = format!("#{} unlink file {}", events[2].sequence, new.display());
    assert_eq!(events[2].to_string(), line);
}

#[test]
fn what_failed_changed_nothing_and_is_not_noted() {
    let (_dir, root) = directory();
    fs::create_dir_all(root.join("full/of")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    let seen = Scope::under(&root).with_entries().observe(|| {
        fs::rename(root.join("missing"), root.join("new")).unwrap_err();
        fs::rename(root.join("file"), root.join("full")).unwrap_err();
        fs::remove_file(root.join("missing")).unwrap_err();
        fs::remove_file(root.join("full")).unwrap_err();
        fs::remove_dir(root.join("full")).unwrap_err();
        fs::remove_dir(root.join("file")).unwrap_err();
    });
    assert_eq!(seen.events().len(), 0, "{}", seen.events());
}

#[test]
fn an_entry_belongs_where_its_new_name_is() {
    let (_dir, root) = directory();
    for name in ["in", "out"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let [inside, outside] = ["in/file", "out/file"].map(|name| root.join(name));
    let counter = FsyncCounter::under(root.join("in")).with_entries();
    fs::write(&outside, "").unwrap();
    fs::rename(&outside, &inside).unwrap();
    fs::rename(&inside, &outside).unwrap();
    fs::remove_file(&outside).unwrap();
    let events = counter.events();
    assert_eq!(events.len(), 1, "{events}");
    assert_eq!(events[0].path.as_ref(), Some(&inside));
}

#[test]
fn paths_are_canonical_and_a_symbolic_link_is_itself() {
    let (_dir, root) = directory();
    fs::create_dir(root.join("real")).unwrap();
    symlink(root.join("real"), root.join("link")).unwrap();
    let through = |name: &str| root.join("link/../link").join(name);
    let real = root.join("real");
    let seen = Scope::under(&real).with_entries().observe(|| {
        fs::write(through("a"), "").unwrap();
        fs::rename(through("a"), through("b")).unwrap();
        symlink("b", through("c")).unwrap();
        fs::rename(through("c"), through("d")).unwrap();
        fs::remove_file(through("d")).unwrap();
        fs::remove_file(through("b")).unwrap();
    });
    let told: Vec<_> = seen
        .events()
        .into_iter()
        .map(|event| (event.class, event.path.unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (FileClass::File, real.join("b")),
            (FileClass::Other, real.join("d")),
            (FileClass::Other, real.join("d")),
            (FileClass::File, real.join("b")),
        ]
    );
}

#[test]
fn names_relative_to_the_current_directory_are_found() {
    alone(
        "entries::names_relative_to_the_current_directory_are_found",
        || {
            let (_dir, root) = directory();
            std::env::set_current_dir(&root).unwrap();
            let seen = Scope::under(&root).with_entries().observe(|| {
                fs::write("a", "").unwrap();
                fs::rename("a", "./b").unwrap();
                fs::remove_file("b").unwrap();
            });
            let paths: Vec<_> = seen.events().iter().map(|e| e.path.clone()).collect();
            assert_eq!(paths, [Some(root.join("b")), Some(root.join("b"))]);
        },
    );
}

#[test]
fn a_thread_notes_its_own_and_a_process_all() {
    alone("entries::a_thread_notes_its_own_and_a_process_all", || {
        let (_dir, root) = directory();
        let by_thread = FsyncCounter::thread().with_entries();
        let by_process = FsyncCounter::process().with_entries();
        thread::scope(|threads| {
            threads.spawn(|| {
                fs::write(root.join("a"), "").unwrap();
                fs::remove_file(root.join("a")).unwrap();
            });
        });
        assert_eq!(by_thread.events().len(), 0);
        assert_eq!(by_process.events().len(), 1);
    });
}

/// To look at an entry takes a descriptor. Where there is none left, the change is noted all the
/// same, without its path.
#[test]
fn without_a_descriptor_left_it_is_noted_without_a_path() {
    alone(
        "entries::without_a_descriptor_left_it_is_noted_without_a_path",
        || {
            let (_dir, root) = directory();
            fs::write(root.join("a"), "").unwrap();
            let limit = |soft| {
                let mut limits = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                // SAFETY: the place is for one such structure.
                succeeded(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) });
                let before = std::mem::replace(&mut limits.rlim_cur, soft);
                // SAFETY: the structure is filled.
                succeeded(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) });
                before
            };
            let by_path = FsyncCounter::under(&root).with_entries();
            let before = limit(0);
            fs::rename(root.join("a"), root.join("b")).unwrap();
            fs::remove_file(root.join("b")).unwrap();
            limit(before);
            let events = by_path.events();
            assert_eq!(events.len(), 2, "{events}");
            for event in &events {
                assert_eq!(event.class, FileClass::Unknown(libc::EMFILE));
                assert_eq!(event.path, None);
            }
        },
    );
}

#[test]
fn looking_at_entries_leaves_no_descriptor_behind() {
    alone(
        "entries::looking_at_entries_leaves_no_descriptor_behind",
        || {
            let (_dir, root) = directory();
            let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
            let counter = FsyncCounter::under(&root).with_entries();
            let before = descriptors();
            for _ in 0..10 {
                fs::write(root.join("a"), "").unwrap();
                fs::rename(root.join("a"), root.join("b")).unwrap();
                fs::remove_file(root.join("b")).unwrap();
                fs::remove_file(root.join("b")).unwrap_err();
            }
            assert_eq!(descriptors(), before);
            assert_eq!(counter.events().len(), 20);
        },
    );
}

/// Closing a descriptor of a file lets go of the process's locks on it, except where it was
/// opened to ask only.
#[test]
fn looking_at_an_entry_leaves_its_locks() {
    let (_dir, root) = directory();
    let path = root.join("file");
    let file = File::create(&path).unwrap();
    let asking = File::options().write(true).open(&path).unwrap();
    let lock = |fd: &File, command: c_int| {
        let mut lock = libc::flock {
            l_type: libc::c_short::try_from(libc::F_WRLCK).unwrap(),
            l_whence: 0,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and the place is for one such structure.
        succeeded(unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) });
        c_int::from(lock.l_type)
    };
    lock(&file, libc::F_SETLK);
    assert_eq!(lock(&asking, libc::F_OFD_GETLK), libc::F_WRLCK);
    let _counter = FsyncCounter::under(&root).with_entries();
    fs::rename(&path, root.join("renamed")).unwrap();
    fs::remove_file(root.join("renamed")).unwrap();
    assert_eq!(lock(&asking, libc::F_OFD_GETLK), libc::F_WRLCK);
}
