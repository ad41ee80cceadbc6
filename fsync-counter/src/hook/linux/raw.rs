//! System calls without the C library: the hook stands where the C library's functions would be,
//! so that calling those would come back to it. None of these touches `errno`.

use std::arch::asm;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::time::Duration;

use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off64_t, size_t};

pub(crate) use crate::hook::interception::RawResult;

/// Issues a system call.
///
/// # Safety
/// That of the system call: the kernel does what its arguments say with this process's memory.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn system_call(number: c_long, arguments: [c_long; 6]) -> RawResult {
    let [a, b, c, d, e, f] = arguments;
    let answer: c_long;
    // SAFETY: the x86_64 Linux convention: number in rax, arguments in rdi, rsi, rdx, r10, r8 and
    // r9, answer in rax; the kernel changes rcx and r11 and nothing else, this code r9. Its
    // effects on memory are the caller's to vouch for.
    unsafe {
        asm!(
            "syscall",
            "xor r9d, r9d",
            inlateout("rax") number => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            // Nothing may find the mark of a forwarded sync there (`FORWARDED`).
            inlateout("r9") f => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    decode(answer)
}

/// Issues a system call.
///
/// # Safety
/// That of the system call: the kernel does what its arguments say with this process's memory.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn system_call(number: c_long, arguments: [c_long; 6]) -> RawResult {
    let [a, b, c, d, e, f] = arguments;
    let answer: c_long;
    // SAFETY: the aarch64 Linux convention: number in x8, arguments in x0 to x5, answer in x0; the
    // kernel changes no other register, this code x5. Its effects on memory are the caller's to
    // vouch for.
    unsafe {
        asm!(
            "svc 0",
            // Nothing may find the mark of a forwarded sync there (`FORWARDED`).
            "mov x5, xzr",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            inlateout("x5") f => _,
            options(nostack),
        );
    }
    decode(answer)
}

/// The kernel's answers from -4095 to -1 are errors.
fn decode(answer: c_long) -> RawResult {
    match c_int::try_from(answer) {
        Ok(error @ -4095..=-1) => Err(-error),
        _ => Ok(answer),
    }
}

/// Bit for bit, as a register holds it. (`cast_signed` is newer than this crate's `rust-version`.)
#[expect(clippy::cast_possible_wrap, reason = "a register has no sign")]
fn register(size: size_t) -> c_long {
    size as c_long
}

fn address(pointer: *const c_void) -> c_long {
    register(pointer.addr())
}

/// The sixth argument of a sync that the hook forwards. No sync has so many: the kernel ignores it,
/// and a kernel scope knows by it what went through the hook.
pub(crate) const FORWARDED: c_long = 0x6673_796e_6368_6f6b;

pub(crate) fn fsync(fd: c_int) -> RawResult {
    // SAFETY: reads and writes no memory of this process.
    unsafe { system_call(libc::SYS_fsync, [fd.into(), 0, 0, 0, 0, FORWARDED]) }
}

pub(crate) fn fdatasync(fd: c_int) -> RawResult {
    // SAFETY: reads and writes no memory of this process.
    unsafe { system_call(libc::SYS_fdatasync, [fd.into(), 0, 0, 0, 0, FORWARDED]) }
}

pub(crate) fn msync(start: *mut c_void, length: size_t, flags: c_int) -> RawResult {
    let arguments = [
        address(start),
        register(length),
        flags.into(),
        0,
        0,
        FORWARDED,
    ];
    // SAFETY: writes mapped memory out and changes none; an address that is not mapped is refused.
    unsafe { system_call(libc::SYS_msync, arguments) }
}

pub(crate) fn sync_file_range(
    fd: c_int,
    offset: off64_t,
    bytes: off64_t,
    flags: c_uint,
) -> RawResult {
    let arguments = [fd.into(), offset, bytes, flags.into(), 0, FORWARDED];
    // SAFETY: reads and writes no memory of this process.
    unsafe { system_call(libc::SYS_sync_file_range, arguments) }
}

pub(crate) fn syncfs(fd: c_int) -> RawResult {
    // SAFETY: reads and writes no memory of this process.
    unsafe { system_call(libc::SYS_syncfs, [fd.into(), 0, 0, 0, 0, FORWARDED]) }
}

pub(crate) fn sync() -> RawResult {
    // SAFETY: takes no arguments.
    unsafe { system_call(libc::SYS_sync, [0, 0, 0, 0, 0, FORWARDED]) }
}

/// Opens a file. A directory of `AT_FDCWD` is the current one.
pub(crate) fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> RawResult {
    let path = address(path.cast());
    let arguments = [directory.into(), path, flags.into(), mode.into(), 0, 0];
    // SAFETY: the kernel reads a string, refuses an address that is not readable, and changes no
    // memory of this process.
    unsafe { system_call(libc::SYS_openat, arguments) }
}

/// Writes at an offset, or where the descriptor stands for an offset of -1.
pub(crate) fn pwritev2(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off64_t,
    flags: c_int,
) -> RawResult {
    let parts = address(parts.cast());
    // The offset has two halves where registers are narrower. Here the kernel ignores the second.
    let arguments = [fd.into(), parts, count.into(), offset, 0, flags.into()];
    // SAFETY: as for `openat`: it reads memory of this process and refuses what is not readable.
    unsafe { system_call(libc::SYS_pwritev2, arguments) }
}

/// As `pwritev2` without flags and with an offset.
pub(crate) fn pwritev(fd: c_int, parts: *const iovec, count: c_int, offset: off64_t) -> RawResult {
    let parts = address(parts.cast());
    let arguments = [fd.into(), parts, count.into(), offset, 0, 0];
    // SAFETY: as for `pwritev2`.
    unsafe { system_call(libc::SYS_pwritev, arguments) }
}

/// As `pwritev2` without flags, where the descriptor stands.
pub(crate) fn writev(fd: c_int, parts: *const iovec, count: c_int) -> RawResult {
    let parts = address(parts.cast());
    // SAFETY: as for `pwritev2`.
    unsafe { system_call(libc::SYS_writev, [fd.into(), parts, count.into(), 0, 0, 0]) }
}

pub(crate) fn renameat(
    old_directory: c_int,
    old: *const c_char,
    new_directory: c_int,
    new: *const c_char,
) -> RawResult {
    let [old, new] = [old, new].map(|path| address(path.cast()));
    let arguments = [old_directory.into(), old, new_directory.into(), new, 0, 0];
    // SAFETY: as for `openat`.
    unsafe { system_call(libc::SYS_renameat, arguments) }
}

pub(crate) fn renameat2(
    old_directory: c_int,
    old: *const c_char,
    new_directory: c_int,
    new: *const c_char,
    flags: c_uint,
) -> RawResult {
    let [old, new] = [old, new].map(|path| address(path.cast()));
    let [old_directory, new_directory] = [old_directory, new_directory].map(c_long::from);
    let arguments = [old_directory, old, new_directory, new, flags.into(), 0];
    // SAFETY: as for `openat`.
    unsafe { system_call(libc::SYS_renameat2, arguments) }
}

/// Removes a name; that of a directory with `AT_REMOVEDIR`.
pub(crate) fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> RawResult {
    let path = address(path.cast());
    // SAFETY: as for `openat`.
    unsafe {
        system_call(
            libc::SYS_unlinkat,
            [directory.into(), path, flags.into(), 0, 0, 0],
        )
    }
}

/// Opens what a name stands for, a symbolic link as such, only to ask about it: it can't be read
/// or written through, and closing it lets go of no lock (`O_PATH`).
pub(crate) fn open_to_ask(directory: c_int, path: *const c_char) -> Result<c_int, c_int> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let fd = openat(directory, path, flags, 0)?;
    Ok(c_int::try_from(fd).unwrap_or(-1))
}

pub(crate) fn gettid() -> u32 {
    // SAFETY: takes no arguments and always succeeds.
    id(unsafe { system_call(libc::SYS_gettid, [0; 6]) })
}

pub(crate) fn getpid() -> u32 {
    // SAFETY: takes no arguments and always succeeds.
    id(unsafe { system_call(libc::SYS_getpid, [0; 6]) })
}

fn id(answer: RawResult) -> u32 {
    answer.ok().and_then(|id| id.try_into().ok()).unwrap_or(0)
}

/// Waits at least this long, also across signals.
pub(crate) fn wait(duration: Duration) {
    let mut left = libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: c_long::from(duration.subsec_nanos()),
    };
    loop {
        let time = address((&raw mut left).cast_const().cast());
        // SAFETY: both pointers are to `left`, which lives here; the kernel reads the request
        // before it writes what remains of it, and allows them to be the same.
        match unsafe { system_call(libc::SYS_nanosleep, [time, time, 0, 0, 0, 0]) } {
            Err(libc::EINTR) => {}
            _ => return,
        }
    }
}

/// The mode (file type and permissions) and the number of links of what a descriptor refers to.
pub(crate) fn mode_and_links(fd: c_int) -> Result<(u32, u64), c_int> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    let place = address(status.as_mut_ptr().cast_const().cast());
    // SAFETY: the kernel writes one `struct stat` of the native layout (the C library's on these
    // architectures) to a place of that size.
    unsafe { system_call(libc::SYS_fstat, [fd.into(), place, 0, 0, 0, 0]) }?;
    // SAFETY: the call succeeded, so that the kernel has written all of it.
    Ok(of_status(&unsafe { status.assume_init() }))
}

/// The same of what a path leads to.
pub(crate) fn mode_and_links_at(path: &CStr) -> Result<(u32, u64), c_int> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    let arguments = [
        libc::AT_FDCWD.into(),
        address(path.as_ptr().cast()),
        address(status.as_mut_ptr().cast_const().cast()),
        0,
        0,
        0,
    ];
    // SAFETY: the path is a C string; for the rest as in `mode_and_links`.
    unsafe { system_call(libc::SYS_newfstatat, arguments) }?;
    // SAFETY: the call succeeded, so that the kernel has written all of it.
    Ok(of_status(&unsafe { status.assume_init() }))
}

fn of_status(status: &libc::stat) -> (u32, u64) {
    #[cfg_attr(
        target_arch = "x86_64",
        expect(clippy::useless_conversion, reason = "32 bits wide on aarch64")
    )]
    let links = u64::from(status.st_nlink);
    (status.st_mode, links)
}

/// Reads where a link in a folder points to; how many bytes of `buffer`, from its start, it has
/// written.
pub(crate) fn read_link(
    folder: c_int,
    link: &CStr,
    buffer: &mut [MaybeUninit<u8>],
) -> Result<usize, c_int> {
    let arguments = [
        folder.into(),
        address(link.as_ptr().cast()),
        address(buffer.as_mut_ptr().cast_const().cast()),
        register(buffer.len()),
        0,
        0,
    ];
    // SAFETY: the link is a C string and the kernel writes at most `buffer.len()` bytes to it.
    let written = unsafe { system_call(libc::SYS_readlinkat, arguments) }?;
    Ok(usize::try_from(written).unwrap_or(0))
}

/// Opens a file for reading, closed on `exec`.
pub(crate) fn open_for_reading(path: &CStr) -> Result<c_int, c_int> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let fd = openat(libc::AT_FDCWD, path.as_ptr(), flags, 0)?;
    Ok(c_int::try_from(fd).unwrap_or(-1))
}

/// Reads from a descriptor; the bytes written to `buffer`, 0 at the end.
pub(crate) fn read(fd: c_int, buffer: &mut [u8]) -> Result<usize, c_int> {
    let place = address(buffer.as_mut_ptr().cast_const().cast());
    let arguments = [fd.into(), place, register(buffer.len()), 0, 0, 0];
    // SAFETY: the kernel writes at most `buffer.len()` bytes to it.
    let read = unsafe { system_call(libc::SYS_read, arguments) }?;
    Ok(usize::try_from(read).unwrap_or(0))
}

/// Writes to the standard error, as far as it goes.
#[cfg(target_env = "gnu")]
pub(crate) fn write_to_stderr(text: &[u8]) {
    let arguments = [
        libc::STDERR_FILENO.into(),
        address(text.as_ptr().cast()),
        register(text.len()),
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads `text`, which is that long.
    let _written_or_nobody_reads = unsafe { system_call(libc::SYS_write, arguments) };
}

/// Closes a descriptor that this crate opened.
pub(crate) fn close(fd: c_int) {
    // SAFETY: the caller owns the descriptor and does not use it again.
    let _closed_also_when_refused =
        unsafe { system_call(libc::SYS_close, [fd.into(), 0, 0, 0, 0, 0]) };
}

pub(crate) fn errno() -> c_int {
    // SAFETY: always succeeds; the pointer is this thread's and valid while it runs.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: see above; it is initialised when the thread starts.
    unsafe { *place }
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: always succeeds; the pointer is this thread's and valid while it runs.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    unsafe { *place = errno };
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// A system call that is made next by somebody else leaves its sixth argument as it finds it.
    #[test]
    fn the_mark_is_not_in_its_register_any_more() {
        extern "C" fn forwards() {
            assert_eq!(fsync(-1), Err(libc::EBADF));
        }
        let left: c_long;
        // SAFETY: calls a function of the C convention; r12 is nobody's but this code's.
        unsafe {
            asm!("call {}", "mov r12, r9", sym forwards, out("r12") left, clobber_abi("C"));
        }
        assert_ne!(left, FORWARDED);
    }
}
