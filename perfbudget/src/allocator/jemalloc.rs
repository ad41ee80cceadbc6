//! jemalloc, by tikv-jemalloc-sys, with which tikv-jemallocator is built. Feature `jemalloc`.
//!
//! It gives memory back by decay: unused dirty pages become muzzy (`MADV_FREE`) and muzzy pages
//! clean (`MADV_DONTNEED`) along a curve of some seconds, each arena for itself. Whichever call
//! comes when a step of the curve is due pays for it, or a background thread does. Both times are
//! set to -1 ("never") in every arena and for arenas to come, background threads are stopped, and
//! afterwards everything is what it was.
//!
//! What a thread frees goes to its cache first, and to the arena when the cache is full. Before each
//! sample the cache is flushed, so that a sample finds in the arena what the one before has freed.
//!
//! Even so jemalloc may take memory that was not touched before: it does not split a free region
//! that is more than 64 times as large as what is wanted (`opt.lg_extent_max_active_fit`), joins
//! free regions of 16 KiB and more with their neighbours at once, and needs many runs until there
//! are enough regions of each size (20,000 boxes: dozens of page faults in each of the first
//! twenty). So after the warm-up as much memory as it faulted in is touched once more and freed, in
//! small pieces, which stay what small blocks are taken from, and as much in large ones, which
//! become one; and that again, since the first time takes memory for jemalloc's own books. What is
//! left is at most a handful of page faults in eleven samples.

use std::ffi::{CStr, c_uint};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use tikv_jemalloc_sys::{mallctl, mallctlbymib, mallctlnametomib};

use super::Discipline;

pub(super) struct Jemalloc;

/// What [`Discipline::begin`] found.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    background_threads: bool,
    /// For arenas to come.
    to_come: Decay,
    /// By the number of the arena; `None` for one that was not in use.
    arenas: Vec<Option<Decay>>,
}

/// Milliseconds, -1 for never.
#[derive(Clone, Copy)]
struct Decay {
    dirty_ms: isize,
    muzzy_ms: isize,
}

const NEVER: Decay = Decay {
    dirty_ms: -1,
    muzzy_ms: -1,
};

/// `MALLCTL_ARENAS_ALL` (jemalloc.h).
const ALL_ARENAS: usize = 4096;

impl Discipline for Jemalloc {
    fn name(&self) -> &'static str {
        "jemalloc"
    }

    fn begin(&self) {
        make_the_arena_of_large_blocks();
        let before = Before {
            background_threads: background_threads(false),
            to_come: decay_of_arenas_to_come(NEVER),
            // Those to come are to be like the others already: none comes unseen in between.
            arenas: (0..arenas()).map(|n| decay_of_arena(n, NEVER)).collect(),
        };
        purge();
        #[cfg(target_os = "linux")]
        reserve::start();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    }

    fn settle(&self) {
        flush();
        #[cfg(target_os = "linux")]
        reserve::fill();
    }

    fn end(&self) {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(before) = before else {
            return;
        };
        decay_of_arenas_to_come(before.to_come);
        for number in 0..arenas() {
            let known = before.arenas.get(number).copied().flatten();
            decay_of_arena(number, known.unwrap_or(before.to_come));
        }
        background_threads(before.background_threads);
    }
}

/// Whether Rust's allocations end in this jemalloc: it is asked whose a block is, and answers of
/// any address.
pub(super) fn serves_the_global_allocator() -> bool {
    static SERVES: OnceLock<bool> = OnceLock::new();
    *SERVES.get_or_init(|| {
        let block = black_box(Box::new(0_u64));
        let mut address: *const u64 = &raw const *block;
        let mut arena: c_uint = 0;
        let mut length = size_of::<c_uint>();
        // SAFETY: `arenas.lookup` takes an address, which it does not follow, and writes an
        // `unsigned`.
        let answer = unsafe {
            mallctl(
                c"arenas.lookup".as_ptr(),
                (&raw mut arena).cast(),
                &raw mut length,
                (&raw mut address).cast(),
                size_of::<*const u64>(),
            )
        };
        answer == 0
    })
}

/// Blocks above `opt.oversize_threshold` have an arena of their own, with other times than the
/// rest. It is made when the first of them is: here, so that its times are known when they are put
/// back.
fn make_the_arena_of_large_blocks() {
    if let Some(bytes) = change::<usize>(c"opt.oversize_threshold", None).filter(|n| *n > 0) {
        // Not touched: no page of it comes into being.
        drop(black_box(Vec::<u8>::with_capacity(bytes)));
    }
}

/// How many arenas there may be.
fn arenas() -> usize {
    change::<c_uint>(c"arenas.narenas", None).unwrap_or(0) as usize
}

/// Sets whether background threads run; whether they did. Where jemalloc is built without them
/// there are none.
fn background_threads(run: bool) -> bool {
    match change::<bool>(c"background_thread", None) {
        Some(true) if !run => change(c"background_thread", Some(false)),
        Some(false) if run => change(c"background_thread", Some(true)),
        unchanged => unchanged,
    }
    .unwrap_or(false)
}

fn decay_of_arenas_to_come(decay: Decay) -> Decay {
    Decay {
        dirty_ms: change(c"arenas.dirty_decay_ms", Some(decay.dirty_ms)).unwrap_or(-1),
        muzzy_ms: change(c"arenas.muzzy_decay_ms", Some(decay.muzzy_ms)).unwrap_or(-1),
    }
}

/// Sets the times of an arena; those that it had, or `None` where it is not in use.
fn decay_of_arena(number: usize, decay: Decay) -> Option<Decay> {
    Some(Decay {
        dirty_ms: change_of_arena(c"arena.0.dirty_decay_ms", number, Some(decay.dirty_ms))?,
        muzzy_ms: change_of_arena(c"arena.0.muzzy_decay_ms", number, Some(decay.muzzy_ms))?,
    })
}

/// Gives the calling thread's cache to its arena.
fn flush() {
    perform(c"thread.tcache.flush", None);
}

/// Gives back what is free, and first the calling thread's cache.
fn purge() {
    flush();
    perform(c"arena.0.purge", Some(ALL_ARENAS));
}

/// A value that jemalloc's controls read and write.
///
/// # Safety
/// Whatever jemalloc writes for a control of this type in its manual is a value of it.
unsafe trait Value: Copy {}
// SAFETY: `bool` in C too, 0 or 1.
unsafe impl Value for bool {}
// SAFETY: any bits are an integer.
unsafe impl Value for c_uint {}
// SAFETY: as above.
unsafe impl Value for usize {}
// SAFETY: as above.
unsafe impl Value for isize {}

/// Reads a control that has this type in jemalloc's manual, and sets it where a value is given;
/// what it was, or `None` where jemalloc refuses.
fn change<T: Value>(name: &CStr, value: Option<T>) -> Option<T> {
    change_of(name, None, value)
}

/// The same of a control of one arena, whose name is given for arena 0.
fn change_of_arena<T: Value>(name: &CStr, arena: usize, value: Option<T>) -> Option<T> {
    change_of(name, Some(arena), value)
}

fn change_of<T: Value>(name: &CStr, arena: Option<usize>, mut value: Option<T>) -> Option<T> {
    let path = Path::of(name, arena)?;
    let mut old = MaybeUninit::<T>::uninit();
    let mut old_length = size_of::<T>();
    let (new, new_length) = match &mut value {
        Some(value) => (ptr::from_mut(value).cast(), size_of::<T>()),
        None => (ptr::null_mut(), 0),
    };
    // SAFETY: the path is as long as is said; jemalloc reads and writes at most the lengths given,
    // and refuses what has another length than the control's type.
    let answer = unsafe {
        mallctlbymib(
            path.parts.as_ptr(),
            path.length,
            old.as_mut_ptr().cast(),
            &raw mut old_length,
            new,
            new_length,
        )
    };
    // SAFETY: jemalloc has written a value of the control's type, which is `T` (`Value`).
    (answer == 0 && old_length == size_of::<T>()).then(|| unsafe { old.assume_init() })
}

/// Does what a control without a value does. A refusal leaves things as they are: an arena that is
/// not in use has nothing to give back.
fn perform(name: &CStr, arena: Option<usize>) {
    let Some(path) = Path::of(name, arena) else {
        return;
    };
    let (old, old_length) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the path is as long as is said, and no value is read or written.
    let _refused_or_done = unsafe {
        mallctlbymib(
            path.parts.as_ptr(),
            path.length,
            old,
            old_length,
            ptr::null_mut(),
            0,
        )
    };
}

/// A control's place in jemalloc's tree.
struct Path {
    parts: [usize; 4],
    length: usize,
}

impl Path {
    /// `arena` takes the place of the 0 in a name like `arena.0.purge`.
    fn of(name: &CStr, arena: Option<usize>) -> Option<Self> {
        let mut parts = [0; 4];
        let mut length = parts.len();
        // SAFETY: the name is a C string, and jemalloc writes at most `length` parts.
        let answer =
            unsafe { mallctlnametomib(name.as_ptr(), parts.as_mut_ptr(), &raw mut length) };
        if let Some(arena) = arena {
            parts[1] = arena;
        }
        (answer == 0).then_some(Self { parts, length })
    }
}

/// Memory that was touched and is free: once, after the warm-up, as much as that took anew.
#[cfg(target_os = "linux")]
mod reserve {
    use std::cell::Cell;
    use std::hint::black_box;
    use std::mem::MaybeUninit;

    const PAGE_BYTES: usize = 4096;
    /// Joined with its neighbours when it is freed.
    const PIECE_BYTES: usize = 32 * PAGE_BYTES;
    /// 64 MiB: a warm-up that faults in more is no matter of fragments.
    const PIECES_MAX: usize = 512;
    /// Not joined, and the largest that is not.
    const SMALL_PIECE_BYTES: usize = 3 * PAGE_BYTES;
    /// 16 MiB.
    const SMALL_PIECES_MAX: usize = 1366;

    #[derive(Clone, Copy)]
    enum Stage {
        /// The next sample is the warm-up.
        WarmUp,
        /// It has run, and this thread had so many page faults before.
        Before(usize),
        Filled,
    }

    thread_local! {
        static STAGE: Cell<Stage> = const { Cell::new(Stage::Filled) };
    }

    /// Before the warm-up of a measurement by this thread.
    pub(super) fn start() {
        STAGE.set(Stage::WarmUp);
    }

    /// Before each sample.
    pub(super) fn fill() {
        match STAGE.get() {
            Stage::WarmUp => STAGE.set(Stage::Before(page_faults())),
            Stage::Before(faults) => {
                let pages = page_faults().saturating_sub(faults);
                // The first time also takes memory for jemalloc's own books.
                for _ in 0..2 {
                    fill_pages(pages);
                }
                STAGE.set(Stage::Filled);
            }
            Stage::Filled => {}
        }
    }

    fn fill_pages(pages: usize) {
        // Both at once, so that they are not the same pages.
        let large = touched::<PIECES_MAX>(PIECE_BYTES, pages);
        let small = touched::<SMALL_PIECES_MAX>(SMALL_PIECE_BYTES, pages);
        drop(large);
        super::flush();
        drop(small);
        super::flush();
    }

    /// So many pages in pieces. On the stack: a list of them would itself take a place among them.
    fn touched<const MAX: usize>(piece_bytes: usize, pages: usize) -> [Vec<u8>; MAX] {
        let mut all = [const { Vec::<u8>::new() }; MAX];
        let pieces = (pages * PAGE_BYTES).div_ceil(piece_bytes);
        for place in all.iter_mut().take(pieces) {
            let mut piece = Vec::with_capacity(piece_bytes);
            for page in piece.spare_capacity_mut().chunks_mut(PAGE_BYTES) {
                page[0].write(1);
            }
            // jemalloc begins a large block anywhere in its first page, so that it ends in one more.
            if let Some(last) = piece.spare_capacity_mut().last_mut() {
                last.write(1);
            }
            *place = black_box(piece);
        }
        all
    }

    /// Of the calling thread, those that needed no disk.
    fn page_faults() -> usize {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: writes one `rusage` to a place of that size.
        if unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } != 0 {
            return 0;
        }
        // SAFETY: the call succeeded, so that all of it is written.
        usize::try_from(unsafe { usage.assume_init() }.ru_minflt).unwrap_or(0)
    }
}
