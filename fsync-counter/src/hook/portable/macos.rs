//! macOS: `fcntl`, by which programs sync there (`F_FULLFSYNC`, `F_BARRIERFSYNC`; the standard
//! library's `sync_all` and `sync_data` are the former), and where a descriptor leads
//! (`F_GETPATH`). All of `fcntl(2)`. Untested.
//!
//! `fcntl` is variadic. On x86_64 a variadic function gets its integer arguments where one with
//! fixed arguments does. On Apple's aarch64 it does not: arguments after the fixed ones are on the
//! stack ("Writing ARM64 code for Apple platforms", "Update code that passes arguments to variadic
//! functions"). There the function is a few instructions that load the first of them into the
//! register of a third fixed argument. A caller that passes none has something else on its stack at
//! that place, which may be read, and which no command that takes no argument looks at.

// A definition of `fcntl` with other arguments than its declaration: see above.
#![allow(
    unknown_lints,
    invalid_runtime_symbol_definitions,
    reason = "see above; older compilers don't know the lint"
)]

use std::hint::black_box;
use std::ptr;

use libc::{c_int, c_void};

use super::super::interception::{RawResult, value, witnessed};
use super::{Call, Next, PATH_MAX, intercept, result};
use crate::event::Operation;
use crate::linkage::HookError;

pub(super) use libc::__error as errno_location;

/// A command of `fcntl` that syncs.
#[derive(Clone, Copy)]
pub(in crate::hook) enum SyncCommand {
    /// As `fsync`, and the drive writes its cache out.
    Full,
    /// As `fsync`, and the drive writes in this order what is written before and after.
    Barrier,
}

impl SyncCommand {
    fn of(command: c_int) -> Option<Self> {
        match command {
            libc::F_FULLFSYNC => Some(Self::Full),
            libc::F_BARRIERFSYNC => Some(Self::Barrier),
            _ => None,
        }
    }

    fn number(self) -> c_int {
        match self {
            Self::Full => libc::F_FULLFSYNC,
            Self::Barrier => libc::F_BARRIERFSYNC,
        }
    }

    pub(super) fn operation(self) -> Operation {
        match self {
            Self::Full => Operation::FullFsync,
            Self::Barrier => Operation::BarrierFsync,
        }
    }
}

type Fcntl = unsafe extern "C" fn(c_int, c_int, ...) -> c_int;

/// The C library's.
fn next_fcntl() -> Result<Fcntl, c_int> {
    static FCNTL: Next = Next::new(c"fcntl");
    let next = FCNTL.address()?;
    // SAFETY: the C library's function of this name has this signature.
    Ok(unsafe { std::mem::transmute::<*mut c_void, Fcntl>(next) })
}

pub(super) fn forward(fd: c_int, command: SyncCommand) -> RawResult {
    let next = next_fcntl()?;
    // SAFETY: takes any descriptor, and no argument that it would follow.
    result(unsafe { next(fd, command.number(), 0) })
}

#[cfg(target_arch = "x86_64")]
// SAFETY: as for `fsync`, and for the third argument see the top of the file.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: this function's caller's promises.
    unsafe { fsync_counter_fcntl(fd, command, argument) }
}

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl _fcntl",
    ".p2align 2",
    "_fcntl:",
    "ldr x2, [sp]",
    "b {hook}",
    hook = sym fsync_counter_fcntl,
);

/// `fcntl` with its third argument in a register. It has a name of its own in the program because
/// that is what makes the linker take this file in.
///
/// # Safety
/// That of `fcntl` with this command.
// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync_counter_fcntl(
    fd: c_int,
    command: c_int,
    argument: *mut c_void,
) -> c_int {
    if let Some(command) = SyncCommand::of(command) {
        return intercept(Call::Fcntl(fd, command));
    }
    match next_fcntl() {
        // SAFETY: the caller's own arguments, as it passed them: one that is an `int` stands in the
        // lower half of the word.
        Ok(next) => unsafe { next(fd, command, argument) },
        Err(errno) => c_int::try_from(value(Err(errno))).unwrap_or(-1),
    }
}

pub(super) fn thread_id() -> u32 {
    let mut id = 0_u64;
    // SAFETY: 0 is the calling thread; writes one number.
    unsafe { libc::pthread_threadid_np(0, &raw mut id) };
    u32::try_from(id).unwrap_or(u32::MAX)
}

/// Writes the path of a descriptor; its length, 0 where the kernel does not tell.
pub(super) fn path_of(fd: c_int, path: &mut [u8; PATH_MAX]) -> usize {
    let Ok(next) = next_fcntl() else {
        return 0;
    };
    // SAFETY: the kernel writes at most `MAXPATHLEN` bytes, which is the length, with a zero at
    // their end.
    if unsafe { next(fd, libc::F_GETPATH, path.as_mut_ptr()) } == -1 {
        return 0;
    }
    path.iter().position(|byte| *byte == 0).unwrap_or(0)
}

/// The part of the proof of linkage that concerns `fcntl`.
pub(super) fn prove() -> Result<(), HookError> {
    let fcntl: Fcntl = libc::fcntl;
    for command in [SyncCommand::Full, SyncCommand::Barrier] {
        // SAFETY: no descriptor has this number: whoever answers touches nothing.
        witnessed("fcntl", || unsafe {
            black_box(fcntl)(-1, command.number(), ptr::null_mut::<c_void>())
        })?;
    }
    Ok(())
}
