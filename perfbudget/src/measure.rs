//! Measuring: a discarded warm-up and eleven timed runs.
//!
//! Inside the clock is the operation and nothing else: making its input, settling the allocator,
//! and dropping input and output are outside.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::accounting::{Accounting, Others, RoundReadings};
use crate::allocator::{self, Discipline, InForce};
use crate::pace;
use crate::record::{SampleTimes, nanoseconds};
use crate::statistics;

/// Timed runs a round. More would make a gate dearer for little: 21 or 51 take a third off the
/// variance at two to five times the cost.
pub const SAMPLES: usize = 11;

/// The samples of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    samples: [Duration; SAMPLES],
}

impl Measurement {
    /// The trimmed mean: the 2 smallest and the 2 largest samples dropped, the other 7 averaged.
    #[must_use]
    pub fn mean(&self) -> Duration {
        statistics::trimmed_mean(&self.samples)
    }

    /// The median of the samples.
    #[must_use]
    pub fn median(&self) -> Duration {
        statistics::median(&self.samples)
    }

    /// The smallest sample.
    #[must_use]
    pub fn min(&self) -> Duration {
        self.samples.iter().min().copied().unwrap_or_default()
    }

    /// The largest sample.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.samples.iter().max().copied().unwrap_or_default()
    }

    /// The coefficient of variation of all samples, in per cent.
    #[must_use]
    pub fn cv_percent(&self) -> f64 {
        statistics::cv_percent(&self.samples)
    }

    /// The samples in the order in which they were taken.
    #[must_use]
    pub fn samples(&self) -> &[Duration; SAMPLES] {
        &self.samples
    }
}

/// Times `op`: one discarded run, then 11 timed ones. For cold work, which leaves the process;
/// for work in the process see [`trimmed_mean_warm`].
///
/// ```
/// let measured = perfbudget::trimmed_mean(|| {
///     std::process::Command::new("true").status().is_ok()
/// });
/// assert_eq!(measured.samples().len(), 11);
/// assert!(measured.min() <= measured.mean());
/// ```
///
/// # Panics
/// With `op`'s panic.
pub fn trimmed_mean<T>(mut op: impl FnMut() -> T) -> Measurement {
    round(None, 1, &mut || (), &mut |()| op())
}

/// Times `op` with the allocator kept from doing put-off work inside the clock: one discarded
/// run, then 11 timed ones.
///
/// ```
/// let measured = perfbudget::trimmed_mean_warm(|| (0..10_000_u64).collect::<Vec<_>>());
/// println!("{:?} to collect ten thousand numbers", measured.mean());
/// ```
///
/// # Panics
/// With `op`'s panic.
pub fn trimmed_mean_warm<T>(mut op: impl FnMut() -> T) -> Measurement {
    round(Some(allocator::discipline()), 1, &mut || (), &mut |()| op())
}

/// [`trimmed_mean`] of an operation that wants a fresh input for each run. `setup` is outside the
/// clock, and so is dropping what it made and what `op` returns.
///
/// # Panics
/// With `setup`'s or `op`'s panic.
pub fn trimmed_mean_with_setup<I, T>(
    mut setup: impl FnMut() -> I,
    mut op: impl FnMut(&mut I) -> T,
) -> Measurement {
    round(None, 1, &mut setup, &mut op)
}

/// [`trimmed_mean_warm`] of an operation that wants a fresh input for each run. `setup` is outside
/// the clock, and so is dropping what it made and what `op` returns, which can't borrow from the
/// input:
///
/// ```
/// let sorted = perfbudget::trimmed_mean_warm_with_setup(
///     || (0..10_000_u64).rev().collect::<Vec<_>>(),
///     |numbers| numbers.sort_unstable(),
/// );
/// println!("{:?} to sort ten thousand numbers", sorted.mean());
/// ```
///
/// ```compile_fail
/// perfbudget::trimmed_mean_warm_with_setup(
///     || vec![1],
///     |numbers| numbers.iter(), // would outlive the numbers
/// );
/// ```
///
/// # Panics
/// With `setup`'s or `op`'s panic.
pub fn trimmed_mean_warm_with_setup<I, T>(
    mut setup: impl FnMut() -> I,
    mut op: impl FnMut(&mut I) -> T,
) -> Measurement {
    round(Some(allocator::discipline()), 1, &mut setup, &mut op)
}

/// One round of samples of `batch` operations each.
fn round<I, T>(
    discipline: Option<&dyn Discipline>,
    batch: u32,
    setup: &mut impl FnMut() -> I,
    op: &mut impl FnMut(&mut I) -> T,
) -> Measurement {
    let samples = samples(Sampler::new(batch), discipline, None, setup, op);
    measurement(&samples)
}

/// A round with what the kernel's books say of it.
pub(crate) struct AccountedRound {
    pub(crate) measurement: Measurement,
    pub(crate) samples: [SampleTimes; SAMPLES],
    /// Of the samples, where it was asked for.
    pub(crate) pace: Option<Duration>,
    pub(crate) readings: RoundReadings,
}

/// One round of samples of `batch` operations each, accounted for. The first of a gate also looks
/// for work that is out of the clock's sight.
pub(crate) fn accounted_round<I, T>(
    accounting: &mut Accounting,
    is_first: bool,
    discipline: Option<&dyn Discipline>,
    batch: u32,
    setup: &mut impl FnMut() -> I,
    op: &mut impl FnMut(&mut I) -> T,
) -> AccountedRound {
    accounting.begin_round();
    let sampler = Sampler {
        is_paced: pace::is_wanted(),
        ..Sampler::new(batch)
    };
    let samples = samples(sampler, discipline, Some(accounting), setup, op);
    let measurement = measurement(&samples);
    let readings = accounting.end_round(is_first.then(|| measurement.mean()));
    let mut times = samples.map(|sample| sample.times);
    add_others(&mut times, &readings.others);
    AccountedRound {
        measurement,
        samples: times,
        pace: mean_pace(&samples),
        readings,
    }
}

/// What was read of others in the warm-up, which has no sample, and in each sample.
fn add_others(samples: &mut [SampleTimes], others: &[Others]) {
    for (sample, others) in samples.iter_mut().zip(others.iter().skip(1)) {
        sample.foreign_cpu_ns = others.foreign_ns;
        sample.spare_cpu_ns = others.spare_ns;
        sample.begins_quiet = others.begins_quiet;
    }
}

/// What was read of one sample.
#[derive(Clone, Copy, Default)]
struct Sample {
    wall: Duration,
    times: SampleTimes,
    /// The time of the fixed work just before it and just after it: the mean.
    pace: Option<Duration>,
}

fn measurement(samples: &[Sample; SAMPLES]) -> Measurement {
    Measurement {
        samples: samples.map(|sample| sample.wall),
    }
}

/// The trimmed mean, as the samples have it.
fn mean_pace(samples: &[Sample]) -> Option<Duration> {
    let paces: Option<Vec<Duration>> = samples.iter().map(|sample| sample.pace).collect();
    paces.map(|paces| statistics::trimmed_mean(&paces))
}

/// A discarded warm-up and the samples.
fn samples<I, T>(
    mut sampler: Sampler<I, T>,
    discipline: Option<&dyn Discipline>,
    mut accounting: Option<&mut Accounting>,
    setup: &mut impl FnMut() -> I,
    op: &mut impl FnMut(&mut I) -> T,
) -> [Sample; SAMPLES] {
    let discipline = discipline.map(InForce::begin);
    let discipline = discipline.as_ref();
    let mut samples = [Sample::default(); SAMPLES];
    // From the same depth of the stack, so that the samples touch no page of it first.
    sampler.sample(discipline, accounting.as_deref_mut(), setup, op);
    for sample in &mut samples {
        *sample = sampler.sample(discipline, accounting.as_deref_mut(), setup, op);
    }
    samples
}

/// Room for a sample's inputs and outputs, made once, so that keeping them is no allocation.
struct Sampler<I, T> {
    batch: usize,
    inputs: Vec<I>,
    outputs: Vec<T>,
    /// Whether the pace is read beside each sample.
    is_paced: bool,
}

impl<I, T> Sampler<I, T> {
    fn new(batch: u32) -> Self {
        let batch = batch as usize;
        Self {
            batch,
            inputs: Vec::with_capacity(batch),
            outputs: Vec::with_capacity(batch),
            is_paced: false,
        }
    }

    fn sample(
        &mut self,
        discipline: Option<&InForce<'_>>,
        accounting: Option<&mut Accounting>,
        setup: &mut impl FnMut() -> I,
        op: &mut impl FnMut(&mut I) -> T,
    ) -> Sample {
        self.inputs.extend((0..self.batch).map(|_| setup()));
        if let Some(discipline) = discipline {
            discipline.settle();
        }
        let pace_before = self.pace();
        let reading = accounting.map(|accounting| (accounting.before(), accounting));
        let start = Instant::now();
        for input in &mut self.inputs {
            self.outputs.push(black_box(op(black_box(input))));
        }
        let end = Instant::now();
        let wall = end.saturating_duration_since(start);
        let times = match reading {
            Some((before, accounting)) => accounting.after(&before, start, end),
            None => SampleTimes {
                wall_ns: nanoseconds(wall),
                ..SampleTimes::default()
            },
        };
        let pace = pace_before.zip(self.pace());
        self.outputs.clear();
        self.inputs.clear();
        Sample {
            wall,
            times,
            pace: pace.map(|(before, after)| (before + after) / 2),
        }
    }

    fn pace(&self) -> Option<Duration> {
        self.is_paced.then(pace::pace).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn of_millis(samples: [u64; SAMPLES]) -> Measurement {
        Measurement {
            samples: samples.map(Duration::from_millis),
        }
    }

    #[test]
    fn what_was_read_of_others_is_kept_with_its_sample() {
        let others = |n: u64| Others {
            foreign_ns: Some(n),
            spare_ns: Some(10 + n),
            begins_quiet: n == 2,
        };
        let mut samples = [SampleTimes::default(); 3];
        add_others(&mut samples, &[others(0), others(1), others(2)]);
        let kept = samples.map(|s| (s.foreign_cpu_ns, s.spare_cpu_ns, s.begins_quiet));
        let none = (None, None, false);
        assert_eq!(
            kept,
            [(Some(1), Some(11), false), (Some(2), Some(12), true), none]
        );
    }

    #[test]
    fn the_pace_is_read_before_and_after_each_sample_where_it_is_asked_for() {
        let sample = |is_paced| {
            let mut sampler = Sampler {
                is_paced,
                ..Sampler::new(1)
            };
            let start = Instant::now();
            let sample = sampler.sample(None, None, &mut || (), &mut |()| ());
            (sample, start.elapsed())
        };
        assert_eq!(sample(false).0.pace, None);
        let (sample, elapsed) = sample(true);
        assert_eq!(sample.pace.is_some(), pace::pace().is_some());
        if let Some(pace) = sample.pace {
            assert!(!pace.is_zero() && sample.wall + 2 * pace <= elapsed);
        }
    }

    #[test]
    fn the_pace_of_a_round_is_a_trimmed_mean_of_all_or_none() {
        let samples = |paces: [Option<u64>; SAMPLES]| {
            let sample = |pace: Option<u64>| Sample {
                pace: pace.map(Duration::from_micros),
                ..Sample::default()
            };
            mean_pace(&paces.map(sample))
        };
        let mut paces = [5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 4_000].map(Some);
        assert_eq!(samples(paces), Some(Duration::from_micros(6)));
        paces[3] = None;
        assert_eq!(samples(paces), None);
    }

    #[test]
    fn figures_are_those_of_the_samples() {
        let measured = of_millis([5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 110]);
        assert_eq!(measured.mean(), Duration::from_millis(6));
        assert_eq!(measured.median(), Duration::from_millis(6));
        assert_eq!(measured.min(), Duration::from_millis(1));
        assert_eq!(measured.max(), Duration::from_millis(110));
        assert_eq!(measured.samples()[0], Duration::from_millis(5));
    }

    /// Waits by the clock that measures, so that the bound below can't be missed.
    fn take(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    type Measure = fn(&mut dyn FnMut() -> u32, &mut dyn FnMut(&mut u32) -> u32) -> Measurement;

    #[test]
    fn one_warm_up_then_eleven_samples_each_with_a_fresh_input() {
        let both: [Measure; 2] = [
            |setup, op| trimmed_mean_with_setup(setup, op),
            |setup, op| trimmed_mean_warm_with_setup(setup, op),
        ];
        for measure in both {
            let mut made = 0;
            let mut used = Vec::new();
            measure(
                &mut || {
                    made += 1;
                    made
                },
                &mut |input| {
                    used.push(*input);
                    *input
                },
            );
            assert_eq!(used, (1..=12).collect::<Vec<_>>());
        }
    }

    /// Notes what it is asked.
    struct Noting(std::sync::Mutex<Vec<&'static str>>, &'static str);

    impl Noting {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Discipline for Noting {
        fn name(&self) -> &'static str {
            self.1
        }

        fn begin(&self) {
            self.note("begin");
        }

        fn settle(&self) {
            self.note("settle");
        }

        fn end(&self) {
            self.note("end");
        }
    }

    #[test]
    fn the_discipline_begins_once_settles_between_setup_and_operation_and_ends() {
        let noting = Noting(std::sync::Mutex::default(), "in a round");
        round(Some(&noting), 2, &mut || noting.note("setup"), &mut |()| {
            noting.note("op")
        });
        let mut expected = vec!["begin"];
        for _ in 0..12 {
            expected.extend(["setup", "setup", "settle", "op", "op"]);
        }
        expected.push("end");
        assert_eq!(*noting.0.lock().unwrap(), expected);
    }

    #[test]
    fn the_discipline_ends_when_the_operation_panics() {
        let noting = Noting(std::sync::Mutex::default(), "in a panic");
        let ended = catch_unwind(AssertUnwindSafe(|| {
            round(Some(&noting), 1, &mut || (), &mut |()| panic!("no"))
        }));
        assert!(ended.is_err());
        let noted = noting.0.lock().unwrap();
        assert_eq!(noted.last(), Some(&"end"), "{noted:?}");
    }

    #[test]
    fn a_batch_is_one_sample_of_several_operations() {
        let (mut made, mut live, mut most) = (0, Vec::new(), 0);
        let measured = round(
            None,
            5,
            &mut || {
                made += 1;
                made
            },
            &mut |input| {
                live.push(*input);
                most = most.max(*input);
            },
        );
        assert_eq!(measured.samples().len(), SAMPLES);
        assert_eq!((made, live.len(), most), (60, 60, 60));
    }

    #[test]
    fn the_operation_is_inside_the_clock() {
        let measured = trimmed_mean(|| take(Duration::from_millis(2)));
        assert!(measured.min() >= Duration::from_millis(2), "{measured:?}");
    }

    #[test]
    fn setup_and_drops_are_outside_the_clock() {
        struct SlowToDrop;
        impl Drop for SlowToDrop {
            fn drop(&mut self) {
                take(Duration::from_millis(3));
            }
        }
        let measured = trimmed_mean_warm_with_setup(
            || {
                take(Duration::from_millis(3));
                SlowToDrop
            },
            |_input| SlowToDrop,
        );
        // The fastest sample, as a busy machine may stretch any of the others.
        assert!(measured.min() < Duration::from_millis(3), "{measured:?}");
    }

    #[test]
    fn a_panic_of_the_operation_goes_on() {
        let runs = Cell::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            trimmed_mean_warm(|| {
                runs.set(runs.get() + 1);
                assert!(runs.get() < 5, "the fifth run");
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(runs.get(), 5);
    }
}
