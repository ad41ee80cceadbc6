//! macOS and FreeBSD: this crate's definitions of the C library's sync functions, written from
//! what those systems document. They have been compiled and never run there; Linux runs all of this
//! but the files of the two systems (`FSYNC_COUNTER_TEST_HOOK=portable`).
//!
//! As on Linux a test binary that names the crate defines `fsync` and its relatives itself, and the
//! linker resolves the calls in the binary to these: a definition in the program comes before one in
//! a library. On FreeBSD the calls of shared libraries follow, by the order of the dynamic linker's
//! search. On macOS they don't: a library's calls are bound to the library they were linked with
//! (two-level namespace, `ld(1)`).
//!
//! Neither system wants programs to make system calls by themselves, so a call is forwarded to the
//! next definition behind this one (`dlsym(3)`, `RTLD_NEXT`), found once; a program that has none,
//! because it is linked statically, is refused by the proof.
//!
//! What the Linux hook does and this one does not: notice what is durable without a sync, note
//! renames and removals, and tell where a mapping belongs (an `msync` counts as `unknown`).

#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "freebsd")]
use freebsd as system;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;

use std::ffi::CStr;
use std::fs::File;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use libc::{c_int, c_void, size_t};

use super::interception::{
    self, Proving, RawResult, next_sequence, note_and_forward, this_thread, witnessed,
};
use crate::event::{FileClass, Operation};
use crate::linkage::HookError;
use crate::watch::{Place, Sighting};

/// Renames and removals are not noted.
pub(crate) fn notes_entries() -> bool {
    false
}

/// Nothing is made ready: each call asks the kernel.
pub(crate) fn prepare() {}

pub(super) fn errno() -> c_int {
    // SAFETY: always succeeds; the pointer is this thread's and valid while it runs.
    let place = unsafe { system::errno_location() };
    // SAFETY: see above; it is initialised when the thread starts.
    unsafe { *place }
}

pub(super) fn set_errno(errno: c_int) {
    // SAFETY: always succeeds; the pointer is this thread's and valid while it runs.
    let place = unsafe { system::errno_location() };
    // SAFETY: see above.
    unsafe { *place = errno };
}

/// Waits at least so long, whatever signals arrive.
pub(super) fn wait(duration: Duration) {
    let before = errno();
    let mut left = libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    };
    loop {
        let wanted = left;
        // SAFETY: reads one `timespec` and writes another.
        let answer = unsafe { libc::nanosleep(&raw const wanted, &raw mut left) };
        if answer == 0 || errno() != libc::EINTR {
            break;
        }
    }
    set_errno(before);
}

/// One intercepted call: what it is and what forwards it.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Fsync(c_int),
    Fdatasync(c_int),
    Msync(*mut c_void, size_t, c_int),
    Sync,
    /// `fcntl` with `F_FULLFSYNC` or `F_BARRIERFSYNC`.
    #[cfg(target_os = "macos")]
    Fcntl(c_int, macos::SyncCommand),
}

impl Call {
    fn operation(self) -> Operation {
        match self {
            Self::Fsync(_) => Operation::Fsync,
            Self::Fdatasync(_) => Operation::Fdatasync,
            Self::Msync(_, _, flags) if flags & libc::MS_ASYNC != 0 => Operation::MsyncAsync,
            Self::Msync(..) => Operation::Msync,
            Self::Sync => Operation::Sync,
            #[cfg(target_os = "macos")]
            Self::Fcntl(_, command) => command.operation(),
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Msync(_, _, bits) => u32::from_ne_bytes(bits.to_ne_bytes()),
            _ => 0,
        }
    }

    fn forward(self) -> RawResult {
        type OfDescriptor = unsafe extern "C" fn(c_int) -> c_int;
        type Msync = unsafe extern "C" fn(*mut c_void, size_t, c_int) -> c_int;
        static FSYNC: Next = Next::new(c"fsync");
        static FDATASYNC: Next = Next::new(c"fdatasync");
        static MSYNC: Next = Next::new(c"msync");
        static SYNC: Next = Next::new(c"sync");
        match self {
            Self::Fsync(fd) => {
                let next = FSYNC.address()?;
                // SAFETY: the C library's function of this name has this signature.
                let next = unsafe { std::mem::transmute::<*mut c_void, OfDescriptor>(next) };
                // SAFETY: takes any number, as the caller's own call does.
                result(unsafe { next(fd) })
            }
            Self::Fdatasync(fd) => {
                let next = FDATASYNC.address()?;
                // SAFETY: as for `fsync`.
                let next = unsafe { std::mem::transmute::<*mut c_void, OfDescriptor>(next) };
                // SAFETY: as for `fsync`.
                result(unsafe { next(fd) })
            }
            Self::Msync(address, length, flags) => {
                let next = MSYNC.address()?;
                // SAFETY: as for `fsync`.
                let next = unsafe { std::mem::transmute::<*mut c_void, Msync>(next) };
                // SAFETY: the caller's arguments, whose own call this is.
                result(unsafe { next(address, length, flags) })
            }
            Self::Sync => {
                let next = SYNC.address()?;
                // SAFETY: as for `fsync`; what a system returns here is not looked at.
                let next = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn()>(next) };
                next();
                Ok(0)
            }
            #[cfg(target_os = "macos")]
            Self::Fcntl(fd, command) => macos::forward(fd, command),
        }
    }
}

/// An answer of the C library.
fn result(answer: c_int) -> RawResult {
    if answer == -1 {
        Err(errno())
    } else {
        Ok(answer.into())
    }
}

/// The definition behind this crate's, found when it is first wanted.
struct Next {
    name: &'static CStr,
    /// Null before it is found. Whoever finds it stores the same.
    address: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// `ENOSYS` where there is none.
    fn address(&self) -> Result<*mut c_void, c_int> {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return Ok(known);
        }
        // SAFETY: the name is a C string; the answer is null or a function of the C library, which
        // stays loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            return Err(libc::ENOSYS);
        }
        self.address.store(found, Ordering::Relaxed);
        Ok(found)
    }
}

/// The way of every intercepted sync.
fn intercept(call: Call) -> c_int {
    interception::answer(interception::intercept(
        |thread_is_stubbed| watched(call, thread_is_stubbed),
        || call.forward(),
    ))
}

/// An intercepted call while at least one watch is open.
#[cold]
#[inline(never)]
fn watched(call: Call, thread_is_stubbed: bool) -> RawResult {
    let before = errno();
    let placement = Placement::of(call);
    set_errno(before);
    let sighting = Sighting {
        sequence: next_sequence(),
        operation: call.operation(),
        flags: call.flags(),
        class: placement.class,
        place: placement.place,
        path: placement.path(),
        caller: this_thread(),
        thread: system::thread_id(),
        process: std::process::id(),
    };
    let can_fail = !matches!(call, Call::Sync);
    let result = note_and_forward(&sighting, thread_is_stubbed, can_fail, &|| call.forward());
    if result.is_ok() {
        set_errno(before);
    }
    result
}

/// The longest path that these systems give for a descriptor (`MAXPATHLEN`).
pub(super) const PATH_MAX: usize = 1024;

/// What a call is asked of, and where in the file system that is.
struct Placement {
    class: FileClass,
    place: Place,
    path: [u8; PATH_MAX],
    length: usize,
}

impl Placement {
    fn of(call: Call) -> Self {
        let mut placement = Self {
            class: FileClass::Other,
            place: Place::Unplaced,
            path: [0; PATH_MAX],
            length: 0,
        };
        match call {
            Call::Fsync(fd) | Call::Fdatasync(fd) => placement.find(fd),
            #[cfg(target_os = "macos")]
            Call::Fcntl(fd, _) => placement.find(fd),
            // Which file is mapped there is not asked.
            Call::Msync(..) => placement.class = FileClass::Unknown(libc::ENOTSUP),
            Call::Sync => {}
        }
        placement
    }

    fn path(&self) -> Option<&[u8]> {
        (self.length > 0).then(|| &self.path[..self.length])
    }

    fn find(&mut self, fd: c_int) {
        let mut status = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: writes one `stat` to a place of that size.
        if unsafe { libc::fstat(fd, status.as_mut_ptr()) } != 0 {
            self.class = FileClass::Unknown(errno());
            return;
        }
        // SAFETY: the call succeeded, so that all of it is written.
        let status = unsafe { status.assume_init() };
        self.class = match status.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileClass::File,
            libc::S_IFDIR => FileClass::Directory,
            _ => FileClass::Other,
        };
        self.length = system::path_of(fd, &mut self.path).min(PATH_MAX);
        self.place = match (self.path[0], self.class) {
            (b'/', _) if self.length > 0 => Place::AtPath,
            (_, FileClass::File | FileClass::Directory) => Place::Unplaced,
            _ => Place::Nowhere,
        };
        if self.place != Place::AtPath {
            self.length = 0;
        }
    }
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

// SAFETY: as for `fsync`. The address is passed on and never followed here.
#[unsafe(no_mangle)]
extern "C" fn msync(address: *mut c_void, length: size_t, flags: c_int) -> c_int {
    intercept(Call::Msync(address, length, flags))
}

// SAFETY: as for `fsync`.
#[unsafe(no_mangle)]
extern "C" fn sync() {
    intercept(Call::Sync);
}

/// As the C library defines it; the `libc` crate declares it for Linux and FreeBSD only.
mod declared {
    unsafe extern "C" {
        pub(super) fn fdatasync(fd: libc::c_int) -> libc::c_int;
    }
}

/// Calls every hooked function, and the standard library's, with arguments that the system
/// refuses; the hook leaves a witness and does nothing. `sync`, which can't be refused, comes
/// last. Before that, whether there is anything to forward to.
pub(crate) fn prove() -> Result<(), HookError> {
    const NO_FD: c_int = -1;
    if Call::Fsync(NO_FD).forward() == Err(libc::ENOSYS) {
        return Err(HookError::Unsupported {
            why: "behind the hook there is no C library to pass calls on to (a program that is \
                  linked statically)",
        });
    }
    let device = File::open("/dev/null");
    let _proving = Proving::start();

    // Through pointers that the compiler can't see through: see the Linux half.
    type OfDescriptor = unsafe extern "C" fn(c_int) -> c_int;
    let of_descriptor: [(&'static str, OfDescriptor); 2] =
        [("fsync", libc::fsync), ("fdatasync", declared::fdatasync)];
    for (name, function) in of_descriptor {
        // SAFETY: no descriptor has this number: whoever answers touches nothing.
        witnessed(name, || unsafe { black_box(function)(NO_FD) })?;
    }
    let msync: unsafe extern "C" fn(*mut c_void, size_t, c_int) -> c_int = libc::msync;
    let both = libc::MS_ASYNC | libc::MS_SYNC;
    // SAFETY: the two flags exclude each other, so that the kernel refuses the call.
    witnessed("msync", || unsafe {
        black_box(msync)(ptr::null_mut(), 0, both)
    })?;
    #[cfg(target_os = "macos")]
    macos::prove()?;
    if let Ok(device) = &device {
        let name = if cfg!(target_os = "macos") {
            "fcntl"
        } else {
            "fsync"
        };
        witnessed(name, || device.sync_all())?;
        witnessed(name, || device.sync_data())?;
    }
    let sync: unsafe extern "C" fn() = libc::sync;
    // SAFETY: takes nothing and may be called at any time.
    witnessed("sync", || unsafe { black_box(sync)() })
}
