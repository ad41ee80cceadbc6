//! What every hook does with a call, whatever the platform: note it, run what is armed for it,
//! stub it or forward it, note how it ended. And the state by which a hook knows whether to.
//!
//! A hook runs on any thread, at any time: also in a signal handler, while a thread is being torn
//! down, and between `fork` and `exec`. So this takes no lock and allocates nothing; its
//! thread-local state is constant-initialised and has no destructor.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libc::{c_int, c_long};

use super::platform::{errno, set_errno, wait};
use crate::action::{Action, Due};
use crate::event::Outcome;
use crate::linkage::HookError;
use crate::registry;
use crate::watch::{Noted, Sighting};

/// What the system answered: a value, or an `errno`.
pub(crate) type RawResult = Result<c_long, c_int>;

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

/// The number of an event that is being noted.
pub(super) fn next_sequence() -> u64 {
    SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1
}

/// Whether this thread is proving the linkage, so that the call is to have no effect.
#[inline]
pub(super) fn witness() -> bool {
    let is_proving = DIVERTED.get() & PROVING != 0;
    if is_proving {
        WITNESSED.set(WITNESSED.get() + 1);
    }
    is_proving
}

/// The way of every intercepted sync: `watched`, told whether this thread is stubbed, while a watch
/// is open, else `forward`, else nothing. `None`: a stub answered, or a witness.
#[inline]
pub(super) fn intercept(
    watched: impl FnOnce(bool) -> RawResult,
    forward: impl FnOnce() -> RawResult,
) -> Option<RawResult> {
    if witness() {
        return None;
    }
    let diverted = DIVERTED.get();
    CALLS.set(CALLS.get() + 1);
    if registry::any_open() {
        Some(watched(diverted != 0))
    } else if diverted != 0 || PROCESS_STUBS.load(Ordering::Relaxed) != 0 {
        None
    } else {
        Some(forward())
    }
}

/// What becomes of a sync that watches see. `can_fail` says whether an armed `errno` can answer it.
pub(super) fn note_and_forward(
    sighting: &Sighting<'_>,
    thread_is_stubbed: bool,
    can_fail: bool,
    forward: &dyn Fn() -> RawResult,
) -> RawResult {
    // The actions run after the walk, not in it: a walk holds the watches open, and an action may
    // take long, sync by itself or never return.
    let mut due = DueActions::default();
    let mut notes = Notes::default();
    let mut path_is_stubbed = false;
    registry::for_each_open(|slot, watch| {
        notes.add(slot, watch.before(sighting, |armed| due.add(armed)));
        path_is_stubbed |= watch.stubs(sighting);
    });
    let injected = due.run();

    let (result, outcome) = if let Some(errno) = injected.filter(|_| can_fail) {
        (Err(errno), Outcome::Failed(errno))
    } else if thread_is_stubbed
        || path_is_stubbed
        || PROCESS_STUBS.load(Ordering::Relaxed) != 0
        || injected.is_some()
    {
        (Ok(0), Outcome::Stubbed)
    } else {
        let result = forward();
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

/// A result as the C library gives it: -1 and `errno` for a failure.
#[inline]
pub(super) fn value(result: RawResult) -> c_long {
    match result {
        Ok(value) => value,
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

/// The result of a sync as the C library gives it, which has no value to return.
#[inline]
pub(super) fn answer(result: Option<RawResult>) -> c_int {
    match result {
        Some(Err(errno)) => {
            set_errno(errno);
            -1
        }
        Some(Ok(_)) | None => 0,
    }
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
                    let before = errno();
                    function();
                    set_errno(before);
                }
                Action::Errno(errno) => injected = injected.or(Some(*errno)),
                Action::Wait(duration) => wait(*duration),
            }
        }
        injected
    }
}

/// Whether the hook witnesses this call.
pub(super) fn witnessed<T>(
    function: &'static str,
    call: impl FnOnce() -> T,
) -> Result<(), HookError> {
    let before = WITNESSED.get();
    call();
    if WITNESSED.get() == before {
        return Err(HookError::NotLinked { function });
    }
    Ok(())
}

/// While it lives, the hook only witnesses this thread's calls.
pub(super) struct Proving(());

impl Proving {
    pub(super) fn start() -> Self {
        DIVERTED.set(DIVERTED.get() | PROVING);
        Self(())
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        DIVERTED.set(DIVERTED.get() & !PROVING);
    }
}
