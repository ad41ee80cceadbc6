//! `open`, `rename`, `unlink` and their relatives do what the C library's own do, which stand
//! behind the hook: the same answers, the same `errno`, the same files.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use fsync_counter::FsyncCounter;
use tempfile::{TempDir, tempdir};

use crate::alone::{alone, child, is_child};
use crate::c_library as c;

/// What is there before each call: files, directories, links. In memory, where that is possible:
/// it is made hundreds of times.
fn furnished() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempdir());
    let dir = dir.unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), "text").unwrap();
    fs::write(path("other"), "other text").unwrap();
    fs::create_dir_all(path("full/of")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    symlink("file", path("link")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    dir
}

/// All names below a directory, with what they are and hold.
fn contents(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let name = path.strip_prefix(dir).unwrap().display();
            names.push(format!("{name} {:o} {text}", metadata.mode()));
        }
    }
    names.sort();
    names
}

/// An answer of a function that returns -1 and `errno`, or a value.
fn answered<T: TryInto<i64>>(call: impl FnOnce() -> T) -> Result<i64, c_int> {
    match call().try_into() {
        Ok(-1) => Err(c::errno()),
        answer => Ok(answer.unwrap_or(i64::MAX)),
    }
}

/// Runs the same on two equal directories, and expects the same answers and contents.
fn assert_same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    hooked: impl FnOnce(&Path) -> T,
    own: impl FnOnce(&Path) -> T,
) {
    let [with_hook, without] = [furnished(), furnished()];
    assert_eq!(hooked(with_hook.path()), own(without.path()), "{what}");
    assert_eq!(
        contents(with_hook.path()),
        contents(without.path()),
        "{what}"
    );
}

/// The same with no scope open, with one that is told, and with one that notes entries.
fn in_each_scope(check: fn()) {
    check();
    let _by_thread = FsyncCounter::thread();
    check();
    let _with_entries = FsyncCounter::thread().with_entries();
    check();
}

/// What the kernel says of a descriptor: its status and own flags, its mode, what it is. It is
/// closed.
fn opened(fd: c_int) -> (c_int, c_int, u32, u64) {
    let file = c::opened(fd);
    // SAFETY: of an open descriptor.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: of an open descriptor.
    let own = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) };
    let metadata = file.metadata().unwrap();
    (status, own, metadata.mode(), metadata.nlink())
}

type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
type OpenIn = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
type Open2 = unsafe extern "C" fn(*const c_char, c_int) -> c_int;
type OpenIn2 = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;

/// Names and flags that open, create, and fail in every way.
fn opening() -> Vec<(&'static str, c_int, c_uint)> {
    let write = libc::O_WRONLY;
    let create = write | libc::O_CREAT;
    vec![
        ("file", libc::O_RDONLY, 0),
        ("file", libc::O_RDONLY | libc::O_CLOEXEC, 0),
        ("file", libc::O_RDWR | libc::O_APPEND | libc::O_NONBLOCK, 0),
        ("file", write | libc::O_TRUNC, 0),
        ("file", write | libc::O_DSYNC, 0),
        ("file", libc::O_RDWR | libc::O_SYNC | libc::O_NOATIME, 0),
        ("file", libc::O_PATH | libc::O_CLOEXEC, 0),
        ("file", libc::O_DIRECTORY, 0),
        ("file", create | libc::O_EXCL, 0o600),
        ("file/below", libc::O_RDONLY, 0),
        ("empty", libc::O_DIRECTORY, 0),
        ("empty", write, 0),
        ("empty", libc::O_TMPFILE | libc::O_RDWR, 0o640),
        (
            "empty",
            libc::O_TMPFILE | libc::O_RDWR | libc::O_EXCL,
            0o4711,
        ),
        ("empty", libc::O_TMPFILE, 0o600),
        ("link", libc::O_RDONLY, 0),
        ("link", libc::O_RDONLY | libc::O_NOFOLLOW, 0),
        ("link", libc::O_PATH | libc::O_NOFOLLOW, 0),
        ("dangling", libc::O_RDONLY, 0),
        ("dangling", create, 0o604),
        ("new", libc::O_RDONLY, 0),
        ("new", create, 0o777),
        ("new", create | libc::O_EXCL | libc::O_CLOEXEC, 0o600),
        ("new", create | libc::O_TRUNC, 0o6755),
        ("new", create | libc::O_DSYNC, 0o100_200),
        ("nowhere/new", create, 0o600),
        ("", libc::O_RDONLY, 0),
    ]
}

fn creates(flags: c_int) -> bool {
    flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

fn open_the_same() {
    let functions: [(&CStr, Open); 2] = [(c"open", libc::open), (c"open64", libc::open64)];
    for (name, hooked) in functions {
        // SAFETY: it is a function of this type.
        let own: Open = unsafe { c::own(name) };
        for (file, flags, mode) in opening() {
            let by = |open: Open| {
                move |dir: &Path| {
                    let path = c::path(&dir.join(file));
                    let path = if file.is_empty() {
                        c""
                    } else {
                        path.as_c_str()
                    };
                    // SAFETY: the path is a C string.
                    let fd = answered(|| unsafe { open(path.as_ptr(), flags, mode) });
                    fd.map(|fd| opened(c_int::try_from(fd).unwrap()))
                }
            };
            assert_same(&format!("{name:?} {file} {flags:o}"), by(hooked), by(own));
        }
        let unreadable = |open: Open| {
            // SAFETY: the kernel refuses an address that is not readable.
            answered(|| unsafe { open(std::ptr::null(), libc::O_RDONLY) })
        };
        assert_eq!(unreadable(hooked), Err(libc::EFAULT));
        assert_eq!(unreadable(own), Err(libc::EFAULT));
    }
}

fn open_the_same_in_a_directory() {
    let functions: [(&CStr, OpenIn); 2] =
        [(c"openat", libc::openat), (c"openat64", libc::openat64)];
    for (name, hooked) in functions {
        // SAFETY: it is a function of this type.
        let own: OpenIn = unsafe { c::own(name) };
        for (file, flags, mode) in opening() {
            let by = |open: OpenIn| {
                move |dir: &Path| {
                    let (dir, path) = (File::open(dir).unwrap(), c::path(file.as_ref()));
                    let dir = dir.as_raw_fd();
                    // SAFETY: the path is a C string.
                    let fd = answered(|| unsafe { open(dir, path.as_ptr(), flags, mode) });
                    fd.map(|fd| opened(c_int::try_from(fd).unwrap()))
                }
            };
            assert_same(&format!("{name:?} {file} {flags:o}"), by(hooked), by(own));
        }
        let nowhere = |open: OpenIn| {
            // SAFETY: the path is a C string.
            answered(|| unsafe { open(-1, c"file".as_ptr(), libc::O_RDONLY) })
        };
        assert_eq!(nowhere(hooked), Err(libc::EBADF));
        assert_eq!(nowhere(own), Err(libc::EBADF));
    }
}

fn open_the_same_without_a_mode() {
    let of_path: [(&CStr, Open2); 2] = [
        (c"__open_2", c::fortified::__open_2),
        (c"__open64_2", c::fortified::__open64_2),
    ];
    let in_directory: [(&CStr, OpenIn2); 2] = [
        (c"__openat_2", c::fortified::__openat_2),
        (c"__openat64_2", c::fortified::__openat64_2),
    ];
    for (file, flags, _) in opening() {
        if creates(flags) {
            continue; // ends the process, below
        }
        for (name, hooked) in of_path {
            // SAFETY: it is a function of this type.
            let own: Open2 = unsafe { c::own(name) };
            let by = |open: Open2| {
                move |dir: &Path| {
                    let path = c::path(&dir.join(file));
                    // SAFETY: the path is a C string.
                    let fd = answered(|| unsafe { open(path.as_ptr(), flags) });
                    fd.map(|fd| opened(c_int::try_from(fd).unwrap()))
                }
            };
            assert_same(&format!("{name:?} {file} {flags:o}"), by(hooked), by(own));
        }
        for (name, hooked) in in_directory {
            // SAFETY: it is a function of this type.
            let own: OpenIn2 = unsafe { c::own(name) };
            let by = |open: OpenIn2| {
                move |dir: &Path| {
                    let (dir, path) = (File::open(dir).unwrap(), c::path(file.as_ref()));
                    let dir = dir.as_raw_fd();
                    // SAFETY: the path is a C string.
                    let fd = answered(|| unsafe { open(dir, path.as_ptr(), flags) });
                    fd.map(|fd| opened(c_int::try_from(fd).unwrap()))
                }
            };
            assert_same(&format!("{name:?} {file} {flags:o}"), by(hooked), by(own));
        }
    }
}

#[test]
fn files_open_as_the_c_library_opens_them() {
    in_each_scope(open_the_same);
    in_each_scope(open_the_same_in_a_directory);
    in_each_scope(open_the_same_without_a_mode);
}

/// A file created with a mode that nobody chose: both end the process, with the same words.
#[test]
fn a_missing_mode_ends_the_process() {
    const TEST: &str = "same_answers::a_missing_mode_ends_the_process";
    const FUNCTION: &str = "FSYNC_COUNTER_FUNCTION";
    let functions = ["__open_2", "__open64_2", "__openat_2", "__openat64_2"];
    if is_child(TEST) {
        let asked = std::env::var(FUNCTION).unwrap();
        let (who, name) = asked.split_once(' ').unwrap();
        let at = functions.iter().position(|known| *known == name).unwrap();
        let own = CString::new(name).unwrap();
        let flags = if at % 2 == 0 {
            libc::O_CREAT
        } else {
            libc::O_TMPFILE
        };
        let path = c"/nowhere/at/all".as_ptr();
        let is_own = who == "own";
        if at < 2 {
            let mut open = [c::fortified::__open_2 as Open2, c::fortified::__open64_2][at];
            if is_own {
                // SAFETY: it is a function of this type.
                open = unsafe { c::own(&own) };
            }
            // SAFETY: the path is a C string.
            unsafe { open(path, flags) };
        } else {
            let hooked = [
                c::fortified::__openat_2 as OpenIn2,
                c::fortified::__openat64_2,
            ];
            let mut open = hooked[at - 2];
            if is_own {
                // SAFETY: it is a function of this type.
                open = unsafe { c::own(&own) };
            }
            // SAFETY: the path is a C string.
            unsafe { open(libc::AT_FDCWD, path, flags) };
        }
        unreachable!("it returned");
    }
    for function in functions {
        let ended = ["own", "hooked"].map(|who| {
            let ended = child(TEST)
                .env(FUNCTION, format!("{who} {function}"))
                .output()
                .unwrap();
            (
                ended.status.signal(),
                String::from_utf8(ended.stderr).unwrap(),
            )
        });
        assert_eq!(ended[0].0, Some(libc::SIGABRT), "{}", ended[0].1);
        assert!(ended[0].1.contains("without mode"), "{}", ended[0].1);
        assert_eq!(ended[0], ended[1]);
    }
}

type WriteWith = unsafe extern "C" fn(c_int, *const libc::iovec, c_int, i64, c_int) -> isize;

fn write_the_same() {
    let functions: [(&CStr, WriteWith); 2] = [
        (c"pwritev2", libc::pwritev2),
        (c"pwritev64v2", libc::pwritev64v2),
    ];
    let parts = [io::IoSlice::new(b"new "), io::IoSlice::new(b"words")];
    for (name, hooked) in functions {
        // SAFETY: it is a function of this type.
        let own: WriteWith = unsafe { c::own(name) };
        for (count, offset, flags) in [
            (2, 0, 0),
            (2, 2, 0),
            (2, -1, 0),
            (2, -2, 0),
            (2, 5_000_000_000, 0),
            (2, 1, libc::RWF_DSYNC),
            (2, -1, libc::RWF_SYNC),
            (1, 0, libc::RWF_APPEND),
            (2, 0, 1 << 30),
            (0, 0, 0),
            (-1, 0, 0),
            (-1, 0, libc::RWF_DSYNC),
        ] {
            let by = |write: WriteWith| {
                move |dir: &Path| {
                    let mut file = File::options().write(true).open(dir.join("file")).unwrap();
                    io::Seek::seek(&mut file, io::SeekFrom::Start(3)).unwrap();
                    let (fd, parts) = (file.as_raw_fd(), parts.as_ptr().cast());
                    // SAFETY: an `IoSlice` has the layout of an `iovec`, and both live.
                    let written = answered(|| unsafe { write(fd, parts, count, offset, flags) });
                    let length = file.metadata().unwrap().len();
                    file.set_len(length.min(100)).unwrap(); // to be compared
                    (
                        written,
                        length,
                        io::Seek::stream_position(&mut file).unwrap(),
                    )
                }
            };
            let what = format!("{name:?} {count} {offset} {flags}");
            assert_same(&what, by(hooked), by(own));
        }
        let refused = |write: WriteWith, fd: c_int, flags: c_int| {
            // SAFETY: the kernel refuses an address that is not readable.
            answered(|| unsafe { write(fd, std::ptr::null(), 1, 0, flags) })
        };
        let file = tempfile::tempfile().unwrap();
        for flags in [0, libc::RWF_DSYNC] {
            for fd in [-1, file.as_raw_fd()] {
                let answer = refused(own, fd, flags);
                assert!(answer.is_err());
                assert_eq!(refused(hooked, fd, flags), answer, "{fd} {flags}");
            }
        }
    }
}

#[test]
fn parts_are_written_as_the_c_library_writes_them() {
    in_each_scope(write_the_same);
}

/// Which of two names is given to the other; what there is of each kind, and what there is not.
const RENAMES: [(&str, &str); 12] = [
    ("file", "new"),
    ("file", "other"),
    ("file", "file"),
    ("file", "empty"),
    ("file", "nowhere/new"),
    ("missing", "new"),
    ("empty", "new"),
    ("full", "empty"),
    ("empty", "full"),
    ("full", "full/of/itself"),
    ("link", "dangling"),
    ("", "new"),
];

type Rename = unsafe extern "C" fn(*const c_char, *const c_char) -> c_int;
type RenameIn = unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char) -> c_int;
type RenameWith = unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, c_uint) -> c_int;

fn rename_the_same() {
    // SAFETY: they are functions of these types.
    let own: Rename = unsafe { c::own(c"rename") };
    // SAFETY: as above.
    let own_in: RenameIn = unsafe { c::own(c"renameat") };
    // SAFETY: as above.
    let own_with: RenameWith = unsafe { c::own(c"renameat2") };
    for (old, new) in RENAMES {
        let by_path = |rename: Rename| {
            move |dir: &Path| {
                let [old, new] = [old, new].map(|name| c::path(&dir.join(name)));
                // SAFETY: the paths are C strings.
                answered(|| unsafe { rename(old.as_ptr(), new.as_ptr()) })
            }
        };
        let what = format!("{old} {new}");
        assert_same(&what, by_path(libc::rename), by_path(own));
        let by_name = |rename: RenameIn| {
            move |dir: &Path| {
                let dir = File::open(dir).unwrap();
                let [old, new] = [old, new].map(|name| c::path(name.as_ref()));
                let dir = dir.as_raw_fd();
                // SAFETY: the names are C strings.
                answered(|| unsafe { rename(dir, old.as_ptr(), dir, new.as_ptr()) })
            }
        };
        assert_same(&what, by_name(libc::renameat), by_name(own_in));
        for flags in [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE, 1 << 30] {
            let with_flags = |rename: RenameWith| {
                move |dir: &Path| {
                    let dir = File::open(dir).unwrap();
                    let [old, new] = [old, new].map(|name| c::path(name.as_ref()));
                    let dir = dir.as_raw_fd();
                    // SAFETY: the names are C strings.
                    answered(|| unsafe { rename(dir, old.as_ptr(), dir, new.as_ptr(), flags) })
                }
            };
            let what = format!("{what} {flags}");
            assert_same(&what, with_flags(libc::renameat2), with_flags(own_with));
        }
    }
    for rename in [libc::rename as Rename, own] {
        // SAFETY: the kernel refuses an address that is not readable.
        let refused = answered(|| unsafe { rename(c"file".as_ptr(), std::ptr::null()) });
        assert_eq!(refused, Err(libc::EFAULT));
    }
}

type Remove = unsafe extern "C" fn(*const c_char) -> c_int;
type RemoveIn = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;

fn remove_the_same() {
    let functions: [(&CStr, Remove); 3] = [
        (c"unlink", libc::unlink),
        (c"rmdir", libc::rmdir),
        (c"remove", libc::remove),
    ];
    // SAFETY: it is a function of this type.
    let own_in: RemoveIn = unsafe { c::own(c"unlinkat") };
    for name in [
        "file",
        "link",
        "dangling",
        "empty",
        "full",
        "missing",
        "file/below",
        ".",
    ] {
        for (function, hooked) in functions {
            // SAFETY: it is a function of this type.
            let own: Remove = unsafe { c::own(function) };
            let by = |remove: Remove| {
                move |dir: &Path| {
                    let path = c::path(&dir.join(name));
                    // SAFETY: the path is a C string.
                    answered(|| unsafe { remove(path.as_ptr()) })
                }
            };
            assert_same(&format!("{function:?} {name}"), by(hooked), by(own));
        }
        for flags in [0, libc::AT_REMOVEDIR, 1 << 30] {
            let by = |remove: RemoveIn| {
                move |dir: &Path| {
                    let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
                    let dir = dir.as_raw_fd();
                    // SAFETY: the name is a C string.
                    answered(|| unsafe { remove(dir, name.as_ptr(), flags) })
                }
            };
            assert_same(
                &format!("unlinkat {name} {flags}"),
                by(libc::unlinkat),
                by(own_in),
            );
        }
    }
    for (function, hooked) in functions {
        // SAFETY: it is a function of this type.
        let own: Remove = unsafe { c::own(function) };
        for remove in [hooked, own] {
            // SAFETY: the kernel refuses an address that is not readable.
            let refused = answered(|| unsafe { remove(std::ptr::null()) });
            assert_eq!(refused, Err(libc::EFAULT));
        }
    }
}

#[test]
fn names_change_as_the_c_library_changes_them() {
    in_each_scope(rename_the_same);
    in_each_scope(remove_the_same);
}

/// The mask of modes is the process's.
#[test]
fn a_mode_is_masked_as_ever() {
    alone("same_answers::a_mode_is_masked_as_ever", || {
        // SAFETY: takes a number.
        unsafe { libc::umask(0o027) };
        let dir = tempdir().unwrap();
        let file = File::create(dir.path().join("file")).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
    });
}

/// A kernel without `pwritev2`, or a filter that knows only older calls.
#[test]
fn a_kernel_without_the_newest_calls_is_one_for_the_hook_too() {
    const TEST: &str = "same_answers::a_kernel_without_the_newest_calls_is_one_for_the_hook_too";
    alone(TEST, || {
        refuse_calls(&[libc::SYS_pwritev2, libc::SYS_renameat2]);
        // Those without flags don't need them.
        write_the_same();
        rename_the_same();
    });
}

/// From now on the kernel knows none of these calls, on this thread.
fn refuse_calls(numbers: &[libc::c_long]) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf: 0,
        k,
    };
    // The number is the first word of what a filter is given.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for number in numbers {
        let is_it = statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            u32::try_from(*number).unwrap(),
        );
        program.push(libc::sock_filter { jf: 1, ..is_it });
        let no_such_call = u32::try_from(libc::ENOSYS).unwrap();
        program.push(statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | no_such_call,
        ));
    }
    program.push(statement(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ALLOW,
    ));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(promised, 0, "{}", io::Error::last_os_error());
    // SAFETY: the program lives until the kernel has copied it.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}
