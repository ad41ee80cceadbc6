//! What happens inside the clock of a measurement.

use std::iter::Sum;
use std::panic::{AssertUnwindSafe, catch_unwind};

use perfbudget::{SAMPLES, trimmed_mean, trimmed_mean_warm};

use crate::kernel::{page_faults, watched};

type Operation = fn() -> usize;

/// What happens inside the clock of some samples together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InsideTheClock {
    pub(crate) page_faults: u64,
    pub(crate) given_back: u64,
    pub(crate) taken: u64,
}

impl Sum for InsideTheClock {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            page_faults: sum.page_faults + one.page_faults,
            given_back: sum.given_back + one.given_back,
            taken: sum.taken + one.taken,
        })
    }
}

/// Of each sample; the warm-up is not in it.
pub(crate) type Samples = [InsideTheClock; SAMPLES];

/// Asserts that no sample gives memory back, and that those after the first `settling` have no more
/// page faults than this together. The trimmed mean drops two samples.
#[track_caller]
pub(crate) fn assert_quiet(name: &str, samples: &Samples, settling: usize, faults_max: u64) {
    let gives_back = samples.iter().any(|sample| sample.given_back > 0);
    let settled: InsideTheClock = samples[settling..].iter().copied().sum();
    let is_quiet = settled.page_faults <= faults_max && settled.taken == 0;
    assert!(!gives_back && is_quiet, "{name}: {samples:?}");
}

/// With the discipline for the program's allocator.
pub(crate) fn warm(operation: Operation) -> Samples {
    measured(operation, |counted| _ = trimmed_mean_warm(counted))
}

/// Without.
pub(crate) fn as_it_comes(operation: Operation) -> InsideTheClock {
    measured(operation, |counted| _ = trimmed_mean(counted))
        .into_iter()
        .sum()
}

fn measured(
    operation: Operation,
    measure: impl FnOnce(&mut dyn FnMut() -> usize) + Send,
) -> Samples {
    watched(|calls| {
        // Not in a `Vec`, which would be one block more for the allocator.
        let mut runs = [InsideTheClock::default(); SAMPLES + 1];
        let mut run = 0;
        measure(&mut || {
            let before = (page_faults(), calls.given_back(), calls.taken());
            let result = operation();
            runs[run] = InsideTheClock {
                page_faults: page_faults() - before.0,
                given_back: calls.given_back() - before.1,
                taken: calls.taken() - before.2,
            };
            run += 1;
            result
        });
        assert_eq!(run, SAMPLES + 1);
        runs[1..].try_into().expect("all but the warm-up")
    })
}

/// Measures what panics in its third run; `inside` runs before that, inside the clock.
pub(crate) fn panicking(inside: impl Fn()) {
    let mut runs = 0;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        trimmed_mean_warm(|| {
            inside();
            runs += 1;
            assert!(runs < 3, "the operation's own panic");
        })
    }));
    assert!(ended.is_err());
    assert_eq!(runs, 3);
}
