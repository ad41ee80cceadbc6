//! Linux: this crate's definitions of the C library's sync functions. Those of `open` and its
//! relatives are in `durable`, those of `rename` and `unlink` in `entries`.
//!
//! A test binary that names the crate defines `fsync` and its relatives itself. The linker
//! resolves every call to them in the binary (the standard library's, a bundled C library's) to
//! these, and the dynamic linker those of shared libraries, because the binary comes first in its
//! search. They note the call and forward it by a raw system call: there is no `dlsym`, which
//! finds nothing in a static binary.
//!
//! A hook runs on any thread, at any time (see `interception`). So it takes no lock and allocates
//! nothing, and it leaves `errno` as it found it unless the call fails.
//!
//! What the C library's functions do and these don't: being points of thread cancellation.

mod descriptors;
mod durable;
mod entries;
pub(crate) mod ids;
mod path;
pub(crate) mod place;
pub(crate) mod raw;
pub(crate) mod threads;

use std::fs::File;
use std::hint::black_box;

use libc::{c_int, c_long, c_uint, c_void, off64_t, size_t};

use super::interception::{
    self, Proving, RawResult, next_sequence, note_and_forward, this_thread, value, witness,
    witnessed,
};
use crate::event::Operation;
use crate::linkage::HookError;
use crate::watch::Sighting;
use place::Placement;
pub(super) use raw::{errno, set_errno, wait};

/// Renames and removals are noted: see `entries`.
pub(crate) fn notes_entries() -> bool {
    true
}

/// Makes ready what watched syncs are cheaper with, before a scope opens: a hook can't.
pub(crate) fn prepare() {
    descriptors::open_folder();
    ids::remember_until_fork();
}

/// One intercepted call: what it is and what forwards it.
#[derive(Clone, Copy)]
enum Call {
    Fsync(c_int),
    Fdatasync(c_int),
    Msync(*mut c_void, size_t, c_int),
    SyncFileRange(c_int, off64_t, off64_t, c_uint),
    Syncfs(c_int),
    Sync,
}

impl Call {
    fn operation(self) -> Operation {
        match self {
            Self::Fsync(_) => Operation::Fsync,
            Self::Fdatasync(_) => Operation::Fdatasync,
            Self::Msync(_, _, flags) => operation_of_msync(flags),
            Self::SyncFileRange(..) => Operation::SyncFileRange,
            Self::Syncfs(_) => Operation::Syncfs,
            Self::Sync => Operation::Sync,
        }
    }

    /// The flags of those that take some, as `Event::flags` has them.
    fn flags(self) -> u32 {
        match self {
            Self::Msync(_, _, bits) => flags(bits.into()),
            Self::SyncFileRange(_, _, _, bits) => bits,
            Self::Fsync(_) | Self::Fdatasync(_) | Self::Syncfs(_) | Self::Sync => 0,
        }
    }

    fn forward(self) -> RawResult {
        match self {
            Self::Fsync(fd) => raw::fsync(fd),
            Self::Fdatasync(fd) => raw::fdatasync(fd),
            Self::Msync(address, length, flags) => raw::msync(address, length, flags),
            Self::SyncFileRange(fd, offset, bytes, flags) => {
                raw::sync_file_range(fd, offset, bytes, flags)
            }
            Self::Syncfs(fd) => raw::syncfs(fd),
            Self::Sync => raw::sync(),
        }
    }
}

/// What an `msync` with these flags asks for.
pub(crate) fn operation_of_msync(flags: c_int) -> Operation {
    if flags & libc::MS_SYNC == 0 {
        Operation::MsyncAsync
    } else {
        Operation::Msync
    }
}

/// The way of every intercepted sync.
#[inline]
fn intercept(call: Call) -> c_int {
    interception::answer(interception::intercept(
        |thread_is_stubbed| watched(call, thread_is_stubbed),
        || forward(call),
    ))
}

/// Passes a call to the kernel.
fn forward(call: Call) -> RawResult {
    let result = call.forward();
    threads::note();
    result
}

/// An intercepted call while at least one watch is open.
#[cold]
#[inline(never)]
fn watched(call: Call, thread_is_stubbed: bool) -> RawResult {
    let (thread, process) = ids::thread_and_process();
    let mut placement = Placement::default();
    placement.find(call, process);
    let sighting = Sighting {
        sequence: next_sequence(),
        operation: call.operation(),
        flags: call.flags(),
        class: placement.class,
        place: placement.place,
        path: placement.path(),
        caller: this_thread(),
        thread,
        process,
    };
    let can_fail = !matches!(call, Call::Sync);
    note_and_forward(&sighting, thread_is_stubbed, can_fail, &|| forward(call))
}

// SAFETY: no other definition with this name exists in the crate graph (`links` in Cargo.toml),
// and the signature is the C library's, so that every caller passes what is read here.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    intercept(Call::Fsync(fd))
}

// SAFETY: as for `fsync`.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    intercept(Call::Fdatasync(fd))
}

// SAFETY: as for `fsync`. The address is passed on to the kernel and never followed here.
#[unsafe(no_mangle)]
extern "C" fn msync(address: *mut c_void, length: size_t, flags: c_int) -> c_int {
    intercept(Call::Msync(address, length, flags))
}

// SAFETY: as for `fsync`.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: c_int, offset: off64_t, bytes: off64_t, flags: c_uint) -> c_int {
    intercept(Call::SyncFileRange(fd, offset, bytes, flags))
}

// SAFETY: as for `fsync`.
#[unsafe(no_mangle)]
extern "C" fn syncfs(fd: c_int) -> c_int {
    intercept(Call::Syncfs(fd))
}

// SAFETY: as for `fsync`.
#[unsafe(no_mangle)]
extern "C" fn sync() {
    intercept(Call::Sync);
}

/// The C library's `syscall`, which is variadic. On x86_64 and aarch64 Linux a variadic function
/// gets its integer arguments where one with fixed arguments does, so that reading six of them is
/// right: those that a caller did not pass are whatever stood there, and the kernel ignores them,
/// as it does when the C library's own `syscall` passes all six on.
///
/// # Safety
/// That of the system call with this number.
// SAFETY: the name is defined once (`links`); the calling convention is argued above.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let call = match number {
        libc::SYS_fsync => Call::Fsync(int(a)),
        libc::SYS_fdatasync => Call::Fdatasync(int(a)),
        libc::SYS_msync => Call::Msync(pointer(a), size(b), int(c)),
        libc::SYS_sync_file_range => Call::SyncFileRange(int(a), b, c, flags(d)),
        libc::SYS_syncfs => Call::Syncfs(int(a)),
        libc::SYS_sync => Call::Sync,
        _ => {
            let arguments = [a, b, c, d, e, f];
            // SAFETY: the caller vouches for the meaning of the call, as for the C library's.
            let forward = || unsafe { raw::system_call(number, arguments) };
            let result = match entries::Change::by_call(number, arguments) {
                Some(change) => change.watched(forward),
                None => forward(),
            };
            durable::note_call(number, arguments, result);
            return value(result);
        }
    };
    c_long::from(intercept(call))
}

/// The low half of a register, which is all that the kernel reads of an `int` argument.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn int(register: c_long) -> c_int {
    register as c_int
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as for `int`"
)]
fn flags(register: c_long) -> c_uint {
    register as c_uint
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as wide as a register, without its sign"
)]
fn size(register: c_long) -> size_t {
    register as size_t
}

fn pointer(register: c_long) -> *mut c_void {
    std::ptr::without_provenance_mut(size(register))
}

/// Calls every hooked function, and the standard library's, with arguments that the kernel
/// refuses, so that nothing is synced even where something else than the hook answers; the hook
/// leaves a witness and makes no system call. `sync`, which can't be refused, comes last, when
/// the rest is proved.
pub(crate) fn prove() -> Result<(), HookError> {
    const NO_FD: c_int = -1;
    // Before the proof, in which a file can't be opened. The kernel refuses to sync a device.
    let device = File::open("/dev/null");
    let _proving = Proving::start();

    // Through pointers that the compiler can't see through: it might otherwise put this module's
    // own functions in the place of those that the linker chose.
    type OfDescriptor = unsafe extern "C" fn(c_int) -> c_int;
    let of_descriptor: [(&'static str, OfDescriptor); 3] = [
        ("fsync", libc::fsync),
        ("fdatasync", libc::fdatasync),
        ("syncfs", libc::syncfs),
    ];
    for (name, function) in of_descriptor {
        // SAFETY: no descriptor has this number: whoever answers touches nothing.
        witnessed(name, || unsafe { black_box(function)(NO_FD) })?;
    }
    if !is_the_programs() {
        return Err(HookError::NotLinked { function: "fsync" });
    }
    let msync: unsafe extern "C" fn(*mut c_void, size_t, c_int) -> c_int = libc::msync;
    let both = libc::MS_ASYNC | libc::MS_SYNC;
    // SAFETY: the two flags exclude each other, so that the kernel refuses the call.
    witnessed("msync", || unsafe {
        black_box(msync)(std::ptr::null_mut(), 0, both)
    })?;
    let range: unsafe extern "C" fn(c_int, off64_t, off64_t, c_uint) -> c_int =
        libc::sync_file_range;
    // SAFETY: as for the functions of a descriptor.
    witnessed("sync_file_range", || unsafe {
        black_box(range)(NO_FD, 0, 0, 0)
    })?;
    let system_call: unsafe extern "C" fn(c_long, ...) -> c_long = libc::syscall;
    // SAFETY: as for the functions of a descriptor.
    witnessed("syscall", || unsafe {
        black_box(system_call)(libc::SYS_fsync, NO_FD)
    })?;

    // The standard library may live in a shared library of its own (`-C prefer-dynamic`).
    if let Ok(device) = &device {
        witnessed("fsync", || device.sync_all())?;
        witnessed("fdatasync", || device.sync_data())?;
    }
    durable::prove()?;
    entries::prove()?;

    let sync: unsafe extern "C" fn() = libc::sync;
    // SAFETY: takes nothing and may be called at any time.
    witnessed("sync", || unsafe { black_box(sync)() })
}

/// Whether this copy of the hook is the program's, and not that of a library which only the
/// library itself calls: one that is linked with `-Bsymbolic` binds its calls to itself, so that
/// its proof is witnessed, while the program calls something else. It is the program's if it stands
/// in the program's own file, or in the one that the program's search finds first.
#[cfg(not(target_feature = "crt-static"))]
fn is_the_programs() -> bool {
    static HERE: u8 = 0;
    let Some(own) = file_of((&raw const HERE).cast()) else {
        return true; // nobody can tell
    };
    // SAFETY: asks for a number.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) };
    let headers = std::ptr::without_provenance(usize::try_from(headers).unwrap_or(0));
    if file_of(headers) == Some(own) {
        return true;
    }
    // Not `RTLD_DEFAULT`: for such a library the search begins in the library itself.
    // SAFETY: asks for the program, which is loaded already.
    let program = unsafe { libc::dlopen(std::ptr::null(), libc::RTLD_LAZY) };
    // SAFETY: the handle is the program's; the name is a C string.
    let first = unsafe { libc::dlsym(program, c"fsync".as_ptr()) };
    file_of(first) == Some(own)
}

/// A static program is one file.
#[cfg(target_feature = "crt-static")]
fn is_the_programs() -> bool {
    true
}

/// Where the file begins, program or library, to which an address belongs.
#[cfg(not(target_feature = "crt-static"))]
fn file_of(address: *const c_void) -> Option<usize> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: looks the address up without following it, and writes one `Dl_info`.
    if unsafe { libc::dladdr(address, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: the call succeeded, so that all of it is written.
    Some(unsafe { info.assume_init() }.dli_fbase.addr())
}
