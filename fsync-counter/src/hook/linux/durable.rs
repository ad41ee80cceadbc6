//! Durability that no sync call asks for: files opened with `O_SYNC` or `O_DSYNC`, writes with
//! `RWF_SYNC` or `RWF_DSYNC`, and the set-up of io_uring and of asynchronous I/O, through which
//! syncs go that are no system calls.
//!
//! Every call is forwarded as it is. Only when it asked for one of these, succeeded, and a watch is
//! open, is anything more done: the open watches take note. All others cost a look at their flags.
//!
//! `open` and `openat` are variadic: their mode is there only where the flags create a file. As
//! with `syscall`, a definition with fixed arguments is right on x86_64 and aarch64 Linux, where
//! a variadic function gets its integer arguments in the registers in which one with fixed
//! arguments does. A mode that was not passed is whatever stood in that register, and the kernel
//! ignores it for the same flags for which the C library does not read it.
//!
//! What the C library's `open` does besides the system call: it is a point of thread cancellation,
//! which this one is not. `O_LARGEFILE`, which musl adds and glibc does not on these architectures,
//! is the kernel's to add: on 64 bits it does so by itself. `fopen`, `opendir` and the dynamic
//! linker of a shared C library don't go through `open`, and could not ask for durability either.
//!
//! A descriptor can't come to ask for it later: `fcntl(F_SETFL)` leaves both flags as they were.

// From Rust 1.99 on a definition of `open` with other arguments than the standard library's
// declaration, which is variadic, is an error unless it is allowed. Why it is right is said above.
#![allow(
    unknown_lints,
    invalid_runtime_symbol_definitions,
    reason = "see above; compilers before 1.98 don't know the lint"
)]

use std::hint::black_box;

use libc::{c_char, c_int, c_long, iovec, mode_t, off64_t, ssize_t};

use super::place::Placement;
use super::raw::{self, RawResult};
use super::{ids, int, this_thread, value, witness, witnessed};
use crate::linkage::HookError;
use crate::notices::{Notice, NoticeKind};
use crate::registry;

/// `O_SYNC` is two bits, one of which is `O_DSYNC`; the kernel takes either for a wish.
const DURABLE_OPEN: c_int = libc::O_SYNC | libc::O_DSYNC;
const DURABLE_WRITE: c_int = libc::RWF_SYNC | libc::RWF_DSYNC;

/// Whether what is written through a descriptor with these flags is durable.
const fn opens_durably(flags: c_int) -> bool {
    let writes = flags & (libc::O_WRONLY | libc::O_RDWR);
    flags & DURABLE_OPEN != 0
        && flags & libc::O_PATH == 0
        && (writes == libc::O_WRONLY || writes == libc::O_RDWR)
}

/// The way of every function that opens.
#[inline]
fn open_in(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    if witness() {
        return int(value(Err(libc::ECANCELED)));
    }
    let result = raw::openat(directory, path, flags, mode);
    if opens_durably(flags) {
        note_of_file(NoticeKind::DurableOpen, result);
    }
    int(value(result))
}

/// The way of every function that writes with flags.
#[inline]
fn write_with(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off64_t,
    flags: c_int,
) -> ssize_t {
    if witness() {
        return size(value(Err(libc::ECANCELED)));
    }
    // Without flags as musl does it: no kernel is too old for it.
    let result = match (flags, offset) {
        (0, -1) => raw::writev(fd, parts, count),
        (0, _) => raw::pwritev(fd, parts, count, offset),
        _ => match raw::pwritev2(fd, parts, count, offset, flags) {
            Err(libc::ENOSYS) if cfg!(target_env = "gnu") => Err(libc::ENOTSUP),
            result => result,
        },
    };
    if flags & DURABLE_WRITE != 0 {
        note_of_file(NoticeKind::DurableWrite, result.map(|_| fd.into()));
    }
    size(value(result))
}

/// What the C library's functions for writing return is as wide as a register.
#[expect(clippy::cast_possible_truncation, reason = "as wide as a register")]
fn size(answer: c_long) -> ssize_t {
    answer as ssize_t
}

/// Notes what a call through `syscall` has done, as the same function of the C library would be
/// noted.
pub(super) fn note_call(number: c_long, arguments: [c_long; 6], result: RawResult) {
    match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open if opens_durably(int(arguments[1])) => {
            note_of_file(NoticeKind::DurableOpen, result);
        }
        libc::SYS_openat if opens_durably(int(arguments[2])) => {
            note_of_file(NoticeKind::DurableOpen, result);
        }
        libc::SYS_openat2 if result.is_ok() && registry::any_open() => {
            let how = super::pointer(arguments[2]).cast::<u64>();
            // SAFETY: the flags are the first field of the caller's `open_how`, which the kernel
            // has just read at this address; it is the caller's memory until this returns.
            let flags = unsafe { how.read_unaligned() };
            if c_int::try_from(flags).is_ok_and(opens_durably) {
                note_of_file(NoticeKind::DurableOpen, result);
            }
        }
        libc::SYS_pwritev2 if int(arguments[5]) & DURABLE_WRITE != 0 => {
            note_of_file(NoticeKind::DurableWrite, result.map(|_| arguments[0]));
        }
        libc::SYS_io_uring_setup => note_of_nothing(NoticeKind::IoUring, result),
        libc::SYS_io_setup => note_of_nothing(NoticeKind::Aio, result),
        _ => {}
    }
}

/// Has the open watches note what a successful call did to the file of the descriptor in its
/// result.
#[inline]
fn note_of_file(kind: NoticeKind, descriptor: RawResult) {
    if let (Ok(fd), true) = (descriptor, registry::any_open()) {
        tell_of_file(kind, int(fd));
    }
}

#[cold]
#[inline(never)]
fn tell_of_file(kind: NoticeKind, fd: c_int) {
    let (_, process) = ids::thread_and_process();
    let mut placement = Placement::default();
    placement.find_descriptor(fd, process);
    tell(kind, &placement);
}

/// The same for a successful call that can't be placed.
fn note_of_nothing(kind: NoticeKind, result: RawResult) {
    if result.is_ok() && registry::any_open() {
        tell(kind, &Placement::default());
    }
}

#[cold]
#[inline(never)]
fn tell(kind: NoticeKind, placement: &Placement) {
    let notice = Notice {
        kind,
        place: placement.place,
        path: placement.path(),
        caller: this_thread(),
    };
    registry::for_each_open(|_, watch| watch.notice(&notice));
}

// SAFETY: no other definition with this name exists in the crate graph (`links` in Cargo.toml), and
// every caller passes what is read here: see the top of the file. The path is passed on to the
// kernel and never followed here.
#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_in(libc::AT_FDCWD, path, flags, mode)
}

// SAFETY: as for `open`.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_in(libc::AT_FDCWD, path, flags, mode)
}

// SAFETY: as for `open`.
#[unsafe(no_mangle)]
extern "C" fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_in(directory, path, flags, mode)
}

// SAFETY: as for `open`.
#[unsafe(no_mangle)]
extern "C" fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_in(directory, path, flags, mode)
}

// SAFETY: as for `open`, and the parts are the kernel's to read, like the path.
#[unsafe(no_mangle)]
extern "C" fn pwritev2(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off64_t,
    flags: c_int,
) -> ssize_t {
    write_with(fd, parts, count, offset, flags)
}

/// glibc's further names: the one for offsets of 64 bits, and those that C code calls when it is
/// compiled with `_FORTIFY_SOURCE` and passes no mode.
#[cfg(target_env = "gnu")]
mod gnu {
    use super::{c_char, c_int, iovec, off64_t, open_in, raw, ssize_t, write_with};

    // SAFETY: as for `open`.
    #[unsafe(no_mangle)]
    extern "C" fn pwritev64v2(
        fd: c_int,
        parts: *const iovec,
        count: c_int,
        offset: off64_t,
        flags: c_int,
    ) -> ssize_t {
        write_with(fd, parts, count, offset, flags)
    }

    // SAFETY: as for `open`.
    #[unsafe(no_mangle)]
    extern "C" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
        refuse_missing_mode(b"open", flags);
        open_in(libc::AT_FDCWD, path, flags, 0)
    }

    // SAFETY: as for `open`.
    #[unsafe(no_mangle)]
    extern "C" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
        refuse_missing_mode(b"open64", flags);
        open_in(libc::AT_FDCWD, path, flags, 0)
    }

    // SAFETY: as for `open`.
    #[unsafe(no_mangle)]
    extern "C" fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
        refuse_missing_mode(b"openat", flags);
        open_in(directory, path, flags, 0)
    }

    // SAFETY: as for `open`.
    #[unsafe(no_mangle)]
    extern "C" fn __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
        refuse_missing_mode(b"openat64", flags);
        open_in(directory, path, flags, 0)
    }

    /// Whether these flags may create a file, so that a mode belongs to them.
    const fn creates(flags: c_int) -> bool {
        flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
    }

    /// Ends the process as glibc does when a file would be created with a mode that nobody chose.
    #[inline]
    fn refuse_missing_mode(function: &[u8], flags: c_int) {
        if creates(flags) {
            raw::write_to_stderr(b"*** invalid ");
            raw::write_to_stderr(function);
            raw::write_to_stderr(b" call: O_CREAT or O_TMPFILE without mode ***: terminated\n");
            std::process::abort();
        }
    }
}

/// As the C library declares those that the `libc` crate does not.
#[cfg(target_env = "gnu")]
mod declared {
    use super::{c_char, c_int};

    unsafe extern "C" {
        pub(super) fn __open_2(path: *const c_char, flags: c_int) -> c_int;
        pub(super) fn __open64_2(path: *const c_char, flags: c_int) -> c_int;
        pub(super) fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
        pub(super) fn __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    }
}

/// The part of the proof of linkage (`super::prove`) that concerns these functions. Whoever else
/// answers is asked to open a file that has no name, or to write to no descriptor.
pub(super) fn prove() -> Result<(), HookError> {
    const NO_NAME: *const c_char = c"".as_ptr();

    type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
    let opening: [(&'static str, Open); 2] = [("open", libc::open), ("open64", libc::open64)];
    for (name, function) in opening {
        // SAFETY: the path is a C string, and no file has an empty one.
        witnessed(name, || unsafe {
            black_box(function)(NO_NAME, libc::O_RDONLY)
        })?;
    }
    type OpenIn = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
    let opening: [(&'static str, OpenIn); 2] =
        [("openat", libc::openat), ("openat64", libc::openat64)];
    for (name, function) in opening {
        // SAFETY: as for `open`.
        witnessed(name, || unsafe {
            black_box(function)(libc::AT_FDCWD, NO_NAME, libc::O_RDONLY)
        })?;
    }
    type Write = unsafe extern "C" fn(c_int, *const iovec, c_int, off64_t, c_int) -> ssize_t;
    let writing: &[(&'static str, Write)] = &[
        ("pwritev2", libc::pwritev2),
        #[cfg(target_env = "gnu")]
        ("pwritev64v2", libc::pwritev64v2),
    ];
    for (name, function) in writing {
        // SAFETY: no descriptor has this number, and there is nothing to be written.
        witnessed(name, || unsafe {
            black_box(*function)(-1, std::ptr::null(), 0, 0, 0)
        })?;
    }
    #[cfg(target_env = "gnu")]
    {
        type Open2 = unsafe extern "C" fn(*const c_char, c_int) -> c_int;
        let opening: [(&'static str, Open2); 2] = [
            ("__open_2", declared::__open_2),
            ("__open64_2", declared::__open64_2),
        ];
        for (name, function) in opening {
            // SAFETY: as for `open`.
            witnessed(name, || unsafe {
                black_box(function)(NO_NAME, libc::O_RDONLY)
            })?;
        }
        type OpenIn2 = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;
        let opening: [(&'static str, OpenIn2); 2] = [
            ("__openat_2", declared::__openat_2),
            ("__openat64_2", declared::__openat64_2),
        ];
        for (name, function) in opening {
            // SAFETY: as for `open`.
            witnessed(name, || unsafe {
                black_box(function)(libc::AT_FDCWD, NO_NAME, libc::O_RDONLY)
            })?;
        }
    }
    // The standard library may live in a shared library of its own.
    witnessed("open64", || std::fs::File::open(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_write_opens_durably() {
        for durable in [libc::O_DSYNC, libc::O_SYNC, libc::O_SYNC & !libc::O_DSYNC] {
            assert!(opens_durably(durable | libc::O_WRONLY));
            assert!(opens_durably(durable | libc::O_RDWR | libc::O_CREAT));
            assert!(!opens_durably(durable | libc::O_RDONLY));
            assert!(!opens_durably(durable | libc::O_ACCMODE)); // for `ioctl` only
            assert!(!opens_durably(durable | libc::O_WRONLY | libc::O_PATH));
        }
        assert!(!opens_durably(
            libc::O_RDWR | libc::O_CREAT | libc::O_DIRECT
        ));
    }
}
