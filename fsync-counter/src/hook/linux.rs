//! Linux: this crate's definitions of the C library's sync functions. Those of `open` and its
//! relatives are in `durable`, those of `rename` and `unlink` in `entries`.
//!
//! A test binary that names the crate defines `fsync` and its relatives itself. The linker
//! resolves every call to them in the binary (the standard library's, a bundled C library's) to
//! these, and the dynamic linker those of shared libraries, because the binary comes first in its
//! search. They note the call and forward it by a raw system call: there is no `dlsym`, which
//! finds nothing in a static binary.
//!
//! A hook runs on any thread, at any time: also in a signal handler, while a thread is being torn
//! down, and between `fork` and `exec`. So it takes no lock and allocates nothing; its
//! thread-local state is constant-initialised and has no destructor; and it leaves `errno` as it
//! found it unless the call fails.
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

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libc::{c_int, c_long, c_uint, c_void, off64_t, size_t};

use crate::action::{Action, Due};
use crate::event::{Operation, Outcome};
use crate::linkage::HookError;
use crate::registry;
use crate::watch::{Noted, Sighting};
use place::Placement;
use raw::RawResult;

/// How many guards stub the whole process.
static PROCESS_STUBS: AtomicU32 = AtomicU32::new(0);
/// The sequence of the latest event that any watch saw.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);
/// The key of the latest thread that asked for one.
static THREAD_KEYS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Sync calls of this thread, whether anybody watches or not.
    static CALLS: Cell<u64> = const { Cell::new(0) };
    /// How many guards stub this thread; the highest bit is set while it proves the linkage.
    static DIVERTED: Cell<u32> = const { Cell::new(0) };
    /// Calls that reached the hook while this thread proved the linkage.
    static WITNESSED: Cell<u32> = const { Cell::new(0) };
    /// This thread's key, 0 before it has one.
    static KEY: Cell<u64> = const { Cell::new(0) };
}

const PROVING: u32 = 1 << 31;

pub(crate) fn this_thread() -> u64 {
    KEY.with(|key| {
        if key.get() == 0 {
            key.set(THREAD_KEYS.fetch_add(1, Ordering::Relaxed) + 1);
        }
        key.get()
    })
}

/// Makes ready what watched syncs are cheaper with, before a scope opens: a hook can't.
pub(crate) fn prepare() {
    descriptors::open_folder();
    ids::remember_until_fork();
}

pub(crate) fn calls_on_this_thread() -> u64 {
    CALLS.get()
}

pub(crate) fn stub_process() {
    PROCESS_STUBS.fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn unstub_process() {
    PROCESS_STUBS.fetch_sub(1, Ordering::SeqCst);
}

pub(crate) fn stub_thread() {
    DIVERTED.set(DIVERTED.get() + 1);
}

pub(crate) fn unstub_thread() {
    DIVERTED.set(DIVERTED.get() - 1);
}

pub(crate) fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
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

/// Whether this thread is proving the linkage, so that the call is to have no effect.
#[inline]
fn witness() -> bool {
    let is_proving = DIVERTED.get() & PROVING != 0;
    if is_proving {
        WITNESSED.set(WITNESSED.get() + 1);
    }
    is_proving
}

/// The way of every intercepted sync.
#[inline]
fn intercept(call: Call) -> c_int {
    if witness() {
        return 0;
    }
    let diverted = DIVERTED.get();
    CALLS.set(CALLS.get() + 1);
    let result = if registry::any_open() {
        watched(call, diverted != 0)
    } else if diverted != 0 || PROCESS_STUBS.load(Ordering::Relaxed) != 0 {
        return 0;
    } else {
        forward(call)
    };
    answer(result)
}

/// Passes a call to the kernel.
fn forward(call: Call) -> RawResult {
    let result = call.forward();
    threads::note();
    result
}

/// The result of a sync as the C library gives it, which has no value to return.
fn answer(result: RawResult) -> c_int {
    int(value(result.map(|_| 0)))
}

/// A result as the C library gives it: -1 and `errno` for a failure.
#[inline]
fn value(result: RawResult) -> c_long {
    match result {
        Ok(value) => value,
        Err(errno) => {
            raw::set_errno(errno);
            -1
        }
    }
}

/// An intercepted call while at least one watch is open.
#[cold]
#[inline(never)]
fn watched(call: Call, thread_is_stubbed: bool) -> RawResult {
    let (thread, process) = ids::thread_and_process();
    let mut placement = Placement::default();
    placement.find(call, process);
    let sighting = Sighting {
        sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1,
        operation: call.operation(),
        flags: call.flags(),
        class: placement.class,
        place: placement.place,
        path: placement.path(),
        caller: this_thread(),
        thread,
        process,
    };

    // The actions run after the walk, not in it: a walk holds the watches open, and an action may
    // take long, sync by itself or never return.
    let mut due = DueActions::default();
    let mut notes = Notes::default();
    let mut path_is_stubbed = false;
    registry::for_each_open(|slot, watch| {
        notes.add(slot, watch.before(&sighting, |armed| due.add(armed)));
        path_is_stubbed |= watch.stubs(&sighting);
    });
    let injected = due.run();

    let (result, outcome) = if let Some(errno) = injected.filter(|_| !matches!(call, Call::Sync)) {
        (Err(errno), Outcome::Failed(errno))
    } else if thread_is_stubbed
        || path_is_stubbed
        || PROCESS_STUBS.load(Ordering::Relaxed) != 0
        || injected.is_some()
    {
        (Ok(0), Outcome::Stubbed)
    } else {
        let result = forward(call);
        let outcome = match result {
            Ok(_) => Outcome::Succeeded,
            Err(errno) => Outcome::Failed(errno),
        };
        (result, outcome)
    };
    registry::for_each_open(|slot, watch| {
        watch.after(sighting.sequence, notes.position(slot), outcome);
    });
    result
}

/// Where each watch noted a sync, by the number of its slot, for the way back: finding it again
/// would be a search through a thousand events. Watches beyond these few do search.
#[derive(Default)]
struct Notes {
    positions: [Option<Noted>; 32],
}

impl Notes {
    fn add(&mut self, slot: usize, noted: Noted) {
        if let Some(place) = self.positions.get_mut(slot) {
            *place = Some(noted);
        }
    }

    /// `Nowhere` also for a watch that came into its slot after the sync was noted.
    fn position(&self, slot: usize) -> Noted {
        match self.positions.get(slot) {
            Some(noted) => noted.unwrap_or(Noted::Nowhere),
            None => Noted::Somewhere,
        }
    }
}

/// What the open watches have armed for one sync. Room for a few, because a hook does not
/// allocate: scopes that nest deeper and all arm the same sync are not a case to pay for.
#[derive(Default)]
struct DueActions {
    list: [Option<Due>; 8],
}

impl DueActions {
    fn add(&mut self, due: Due) {
        if let Some(free) = self.list.iter_mut().find(|place| place.is_none()) {
            *free = Some(due);
        }
    }

    /// Runs them in the order of arming, whichever scope they are of; the first injected `errno`,
    /// if any.
    fn run(&mut self) -> Option<c_int> {
        self.list
            .sort_unstable_by_key(|due| due.map_or(u64::MAX, |due| due.armed));
        let mut injected = None;
        for due in self.list.iter().flatten() {
            match &due.action {
                Action::Call(function) => {
                    let errno = raw::errno();
                    function();
                    raw::set_errno(errno);
                }
                Action::Errno(errno) => injected = injected.or(Some(*errno)),
                Action::Wait(duration) => raw::wait(*duration),
            }
        }
        injected
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

/// Whether the hook witnesses this call.
fn witnessed<T>(function: &'static str, call: impl FnOnce() -> T) -> Result<(), HookError> {
    let before = WITNESSED.get();
    call();
    if WITNESSED.get() == before {
        return Err(HookError::NotLinked { function });
    }
    Ok(())
}

/// While it lives, the hook only witnesses this thread's calls.
struct Proving(());

impl Proving {
    fn start() -> Self {
        DIVERTED.set(DIVERTED.get() | PROVING);
        Self(())
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        DIVERTED.set(DIVERTED.get() & !PROVING);
    }
}
