//! Scopes: whose allocations to count, and for how long.

use std::hint::black_box;
use std::sync::OnceLock;

use super::AllocationCounts;
use super::process;
use super::thread;
use crate::Observed;

/// Whose allocations to count; [`observe`](AllocationScope::observe) counts them while a closure
/// runs.
///
/// Scopes nest and overlap, on one thread and on several; each counts for itself. The test binary
/// needs [`CountingAllocator`](crate::CountingAllocator) as its global allocator.
///
/// ```rust,standalone_crate
/// use perfbudget::{AllocationCounts, AllocationScope, CountingAllocator, Gate};
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator::new(std::alloc::System);
///
/// // #[test]
/// fn perf_app_parse_allocations() {
///     let text = "1 2 3 ".repeat(1_000);
///     let sum = AllocationScope::thread()
///         .observe(|| text.split_whitespace().map(|n| n.parse::<u64>().unwrap()).sum::<u64>());
///     assert_eq!(sum.value, 6_000); // the work was done
///     Gate::counts("app/parse-allocations").exactly(AllocationCounts::new(), sum.counts());
/// }
///
/// fn main() {
///     perf_app_parse_allocations();
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a scope counts only in `observe`"]
pub struct AllocationScope(Reach);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Thread,
    Process,
}

impl AllocationScope {
    /// What the calling thread asks for itself; not what is asked by threads that it starts or by
    /// a runtime's pool. Right for tests that run in parallel.
    pub const fn thread() -> Self {
        Self(Reach::Thread)
    }

    /// What every thread of the process asks for, those of tests that run at the same time
    /// included: for a test that is alone in its process, as cargo-nextest runs it.
    ///
    /// A request is in the counts when it was made between the scope's opening and its closing by
    /// the program's own order: by a thread that was started, or told to go on, in the scope, and
    /// was joined, or said that it was done, in the scope. Of others it is as chance has it. Such
    /// a thread is the test harness's own: it starts the thread of a test, and then allocates
    /// twice as it begins to wait for it, which a scope that a test opens at once may see. So
    /// count by thread where the work is one thread's.
    pub const fn process() -> Self {
        Self(Reach::Process)
    }

    /// Runs `f` and counts. What `f` returns is dropped by the caller, after the scope has closed.
    /// When `f` panics, the scope closes and the panic goes on.
    ///
    /// # Panics
    /// When the program's global allocator is not a
    /// [`CountingAllocator`](crate::CountingAllocator), and when 64 scopes of the process are open
    /// already.
    #[track_caller]
    pub fn observe<T>(&self, f: impl FnOnce() -> T) -> Observed<T, AllocationCounts> {
        require_the_allocator();
        match self.0 {
            Reach::Thread => {
                let watch = thread::Watch::open();
                let value = f();
                Observed::new(value, watch.counts())
            }
            Reach::Process => {
                let Some(watch) = process::Watch::open() else {
                    panic!(
                        "{} scopes of the process are open, and there is no room for another\n\
                         close some, or count by thread",
                        process::SLOTS
                    );
                };
                let value = f();
                Observed::new(value, watch.counts())
            }
        }
    }
}

/// Proves, once a process, that the program's allocations come by here: a count of those that
/// don't would be a zero that looks like a passed test.
#[track_caller]
fn require_the_allocator() {
    static COUNTS: OnceLock<bool> = OnceLock::new();
    let counts = *COUNTS.get_or_init(|| {
        let watch = thread::Watch::open();
        drop(black_box(Vec::<u8>::with_capacity(1)));
        watch.counts()
            == AllocationCounts::new()
                .allocations(1)
                .deallocations(1)
                .bytes(1)
                .peak_bytes(1)
    });
    assert!(
        counts,
        "this program's global allocator does not count, so that a count would be a silent zero\n\
         add to the test binary: #[global_allocator] static ALLOCATOR: \
         perfbudget::CountingAllocator = perfbudget::CountingAllocator::new(std::alloc::System);"
    );
}
