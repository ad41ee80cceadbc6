//! Bounds on the time that is the code's own doing, from what was read of a round.
//!
//! The kernel says how long a thread was ready to run and waited for a CPU (*run delay*). That
//! alone is no excuse: code that starts eight busy threads delays itself. So:
//!
//! - **hi**: of a sample's run delay, what exceeds the CPU time of our other tasks was caused by
//!   others, as ours can't have held a CPU for longer than they ran: `hi = wall − max(0, run delay
//!   − own)`, and never less than the CPU time that the measuring thread itself took.
//! - **lo**, at least: what others may still have delayed, hidden in `hi`, is bounded in three ways,
//!   and lo is the greatest of the three lower bounds. An advocate of the code may take a *budget*
//!   from any samples, and what is known of single samples only from those; a lower bound is the
//!   least trimmed mean, and the least median, that the advocate can reach.
//!   1. A budget for all: the least of the run delay of our tasks that is not taken out yet, where
//!      it is known for all of them; the CPU time that others had; the CPU time that ours left over;
//!      the run delay of all tasks of the machine.
//!   2. The measuring thread's run delay that is not taken out yet, from the samples that it was in,
//!      and a budget for what our other tasks waited: the same four, the first without it.
//!   3. From each sample the CPU time that others had in it, or that ours left over in it.
//!
//!   The time that a hypervisor took is added to each budget.
//!
//! For single-threaded code the first budget is next to nothing: lo is hi.

use std::cmp::Reverse;
use std::time::Duration;

use crate::record::{Delays, SampleTimes};
use crate::statistics;
use crate::verdict::{Centre, RoundFigures};

/// A round's wall and bounds. Both are wall where no sample has run delay; where only some have
/// none, a reading failed, and what is not known of them is not held against the code.
pub(crate) fn figures(samples: &[SampleTimes], delays: &Delays) -> RoundFigures {
    let walls: Vec<Duration> = samples
        .iter()
        .map(|sample| Duration::from_nanos(sample.wall_ns))
        .collect();
    let wall = centre(&walls);
    if samples.iter().all(|sample| sample.run_delay_ns.is_none()) {
        return RoundFigures {
            wall,
            lo: wall,
            hi: wall,
        };
    }
    let bounds: Vec<(Duration, Option<u64>)> = samples
        .iter()
        .map(|sample| hi_and_rest(sample, delays))
        .collect();
    let his: Vec<Duration> = bounds.iter().map(|(hi, _)| *hi).collect();
    let rests: Option<Vec<u64>> = bounds.iter().map(|(_, rest)| *rest).collect();

    let others_waited = delays.other_tasks_delay_ns;
    let all_waited = rests.as_ref().zip(others_waited).map(|(rests, others)| {
        let add = |sum: u64, rest: &u64| sum.saturating_add(*rest);
        rests.iter().fold(others, add)
    });
    let by_budget = least(&his, budget(all_waited, delays));
    let by_own_waiting =
        rests.map(|rests| least(&less(&his, &rests), budget(others_waited, delays)));
    let by_others_time = foreign_at_most(samples, delays)
        .map(|foreign| least(&less(&his, &foreign), delays.steal_ns));
    let lo =
        [by_own_waiting, by_others_time]
            .into_iter()
            .flatten()
            .fold(by_budget, |one, other| Centre {
                trimmed_mean: one.trimmed_mean.max(other.trimmed_mean),
                median: one.median.max(other.median),
            });
    RoundFigures {
        wall,
        lo,
        hi: centre(&his),
    }
}

/// The least that can be reached by taking `budget` nanoseconds from any samples.
fn least(samples: &[Duration], budget: u64) -> Centre {
    let budget = Duration::from_nanos(budget);
    Centre {
        trimmed_mean: statistics::least_trimmed_mean(samples, budget),
        median: statistics::least_median(samples, budget),
    }
}

/// Each sample less so many nanoseconds.
fn less(samples: &[Duration], nanoseconds: &[u64]) -> Vec<Duration> {
    let pairs = samples.iter().zip(nanoseconds);
    pairs
        .map(|(sample, less)| sample.saturating_sub(Duration::from_nanos(*less)))
        .collect()
}

/// For how long others can have had a CPU in each sample, at most: what they had where that was
/// read, and what our threads left over.
fn foreign_at_most(samples: &[SampleTimes], delays: &Delays) -> Option<Vec<u64>> {
    let foreign = foreign_by_sample(samples, delays);
    let each = samples.iter().enumerate().map(|(n, sample)| {
        let foreign = foreign.as_ref().map(|foreign| foreign[n]);
        [foreign, sample.spare_cpu_ns].into_iter().flatten().min()
    });
    each.collect()
}

/// The CPU time that others had in each sample, where it was read for each and is all that could
/// have delayed it; a hypervisor also delays the books.
fn foreign_by_sample(samples: &[SampleTimes], delays: &Delays) -> Option<Vec<u64>> {
    if delays.throttled_ns > 0 || delays.steal_ns > 0 || delays.foreign_cpu_ns.is_none() {
        return None;
    }
    let each = samples.iter().enumerate().map(|(n, sample)| {
        // What a CPU's books do not show yet, they show at its next tick at the latest, all at
        // once: in one of the samples that begin before that, for each CPU that may lag. When
        // nobody is at work they show all.
        let mut later = Vec::new();
        let mut since: u64 = 0;
        let mut next = samples[n + 1..].iter();
        while since < delays.foreign_lag_ns {
            let Some(next) = next.next() else {
                later.push(delays.foreign_missing_ns);
                break;
            };
            if next.begins_quiet {
                break;
            }
            later.push(next.foreign_cpu_ns?);
            since = since.saturating_add(next.wall_ns);
        }
        later.sort_unstable_by_key(|foreign| Reverse(*foreign));
        let foreign = later
            .into_iter()
            .take(delays.foreign_lag_cpus)
            .fold(sample.foreign_cpu_ns?, u64::saturating_add);
        Some(foreign)
    });
    each.collect()
}

fn centre(samples: &[Duration]) -> Centre {
    Centre {
        trimmed_mean: statistics::trimmed_mean(samples),
        median: statistics::median(samples),
    }
}

/// A sample's upper bound, and the run delay that it still has inside, where it is known.
fn hi_and_rest(sample: &SampleTimes, delays: &Delays) -> (Duration, Option<u64>) {
    let wall = sample.wall_ns;
    let Some(run_delay) = sample.run_delay_ns.map(|run_delay| run_delay.min(wall)) else {
        return (Duration::from_nanos(wall), None);
    };
    let excused = if delays.hi_is_wall.is_some() {
        0
    } else {
        // What was not read is not needed: without run delay there is nothing to set it against.
        let own = sample
            .own_cpu_ns
            .unwrap_or(0)
            .saturating_add(delays.own_cpu_slack_ns);
        run_delay
            .saturating_sub(own)
            .min(wall.saturating_sub(sample.cpu_ns.unwrap_or(0)))
    };
    (
        Duration::from_nanos(wall - excused),
        Some(run_delay.saturating_sub(excused)),
    )
}

/// For how long others may have delayed our tasks in the round, at most: nanoseconds. These
/// `waited` for so long, where that is known.
///
/// A task that a quota stops is still ready to run: that time is in run delay and in what our tasks
/// left over, but not in what others had.
fn budget(waited: Option<u64>, delays: &Delays) -> u64 {
    let others_had = delays
        .foreign_cpu_ns
        .map(|foreign| foreign.saturating_add(delays.throttled_ns));
    [
        waited,
        others_had,
        delays.spare_cpu_ns,
        delays.machine_delay_ns,
    ]
    .into_iter()
    .flatten()
    .min()
    .unwrap_or(u64::MAX)
    .saturating_add(delays.steal_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(wall: u64, run_delay: u64, own_cpu: u64) -> SampleTimes {
        SampleTimes {
            wall_ns: wall * MS,
            run_delay_ns: Some(run_delay * MS),
            own_cpu_ns: Some(own_cpu * MS),
            cpu_ns: Some(0),
            foreign_cpu_ns: None,
            spare_cpu_ns: None,
            begins_quiet: false,
        }
    }

    /// Of a round with the same sample eleven times: lo and hi in milliseconds. It takes nine
    /// samples to lower the trimmed mean, so that a ninth of a budget is what lo loses.
    fn lo_hi(sample: SampleTimes, delays: &Delays) -> (u64, u64) {
        let figures = figures(&[sample; 11], delays);
        // Six are enough to lower the median.
        assert!(figures.lo.median <= figures.lo.trimmed_mean);
        assert_eq!(figures.hi.trimmed_mean, figures.hi.median);
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap();
        (ms(figures.lo.trimmed_mean), ms(figures.hi.trimmed_mean))
    }

    /// The measuring thread is the only one, and all is known of it.
    fn single_threaded() -> Delays {
        Delays {
            other_tasks_delay_ns: Some(0),
            foreign_cpu_ns: Some(9_000 * MS),
            spare_cpu_ns: Some(9_000 * MS),
            ..Delays::default()
        }
    }

    #[test]
    fn waiting_behind_others_is_taken_out_of_both() {
        assert_eq!(lo_hi(sample(74, 60, 0), &single_threaded()), (14, 14));
    }

    /// design: 8 busy threads of its own beside a 14 ms operation: wall 74, run delay 60.
    #[test]
    fn waiting_behind_its_own_threads_is_its_own_doing() {
        let delays = Delays {
            foreign_cpu_ns: Some(0),
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(74, 60, 120), &delays), (74, 74));
    }

    #[test]
    fn what_both_may_have_caused_is_between_the_bounds() {
        // 60 of waiting, of which its own threads can explain 20 and others the rest.
        let (lo, hi) = lo_hi(sample(74, 60, 20), &single_threaded());
        assert_eq!(hi, 34);
        // 20 in each sample are in doubt.
        assert_eq!(lo, 14);
    }

    #[test]
    fn others_cannot_have_delayed_it_for_longer_than_they_ran() {
        let delays = Delays {
            other_tasks_delay_ns: None,
            foreign_cpu_ns: Some(9 * MS),
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(15, 0, 0), &delays), (14, 15));
        let nothing_left_over = Delays {
            spare_cpu_ns: Some(0),
            ..delays.clone()
        };
        assert_eq!(lo_hi(sample(15, 0, 0), &nothing_left_over), (15, 15));
        let nobody_waited = Delays {
            machine_delay_ns: Some(0),
            ..delays
        };
        assert_eq!(lo_hi(sample(15, 0, 0), &nobody_waited), (15, 15));
    }

    #[test]
    fn when_nothing_is_known_of_others_there_is_no_lower_bound() {
        assert_eq!(lo_hi(sample(15, 0, 0), &Delays::default()), (0, 15));
    }

    /// Eleven samples of 15 ms, others having had so much in each.
    fn lo_of_bursts(foreign: [u64; 11], change: impl FnOnce(&mut Delays)) -> (u64, u64) {
        let samples = foreign.map(|foreign| SampleTimes {
            foreign_cpu_ns: Some(foreign * MS),
            ..sample(15, 0, 0)
        });
        let mut delays = Delays {
            other_tasks_delay_ns: None,
            foreign_cpu_ns: Some(foreign.iter().sum::<u64>() * MS),
            spare_cpu_ns: None,
            foreign_lag_ns: 4 * MS,
            foreign_lag_cpus: 1,
            ..single_threaded()
        };
        change(&mut delays);
        let lo = figures(&samples, &delays).lo;
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap();
        (ms(lo.trimmed_mean), ms(lo.median))
    }

    #[test]
    fn a_burst_of_others_counts_against_the_samples_that_it_was_in() {
        // Without knowing when: 90 are ten for each of nine, and 15 for each of six.
        let burst = [0, 0, 0, 30, 30, 30, 0, 0, 0, 0, 0];
        let unknown = |delays: &mut Delays| delays.steal_ns = 1;
        assert_eq!(lo_of_bursts(burst, unknown), (4, 0));
        // It may have begun in the sample before, a tick behind in the books: four are in doubt,
        // two of which the trimmed mean drops.
        assert_eq!(lo_of_bursts(burst, |_| {}), (15 * 5 / 7, 15));
        // With books that do not lag three are, of which one counts.
        let exact = |delays: &mut Delays| delays.foreign_lag_ns = 0;
        assert_eq!(lo_of_bursts(burst, exact), (15 * 6 / 7, 15));
        // A little in each counts once in the sample, and once for the CPU that lags.
        let each = |delays: &mut Delays| {
            delays.foreign_lag_ns = 60 * MS;
            delays.foreign_cpu_ns = Some(9_000 * MS);
        };
        assert_eq!(lo_of_bursts([1; 11], each), (13, 13));
        let two = |delays: &mut Delays| {
            each(delays);
            delays.foreign_lag_cpus = 2;
        };
        assert_eq!(lo_of_bursts([1; 11], two), (12, 12));
        // Longer than a sample of lag: two before it are in doubt.
        let slow = |delays: &mut Delays| delays.foreign_lag_ns = 16 * MS;
        assert_eq!(lo_of_bursts(burst, slow), (15 * 4 / 7, 15));
    }

    #[test]
    fn a_burst_that_begins_after_a_quiet_moment_does_not_touch_what_came_before() {
        let burst = [0, 0, 0, 30, 30, 30, 0, 0, 0, 0, 0];
        let lo = |quiet: usize| {
            let mut samples = burst.map(|foreign| SampleTimes {
                foreign_cpu_ns: Some(foreign * MS),
                ..sample(15, 0, 0)
            });
            samples[quiet].begins_quiet = true;
            let delays = Delays {
                other_tasks_delay_ns: None,
                foreign_cpu_ns: Some(90 * MS),
                foreign_lag_ns: 4 * MS,
                foreign_lag_cpus: 1,
                ..Delays::default()
            };
            figures(&samples, &delays).lo.trimmed_mean.as_nanos()
        };
        // Four are in doubt, or three, of which the trimmed mean drops two.
        assert_eq!(lo(0), 15_000_000 * 5 / 7);
        assert_eq!(lo(3), 15_000_000 * 6 / 7);
        assert_eq!(lo(4), lo(0));
    }

    #[test]
    fn the_measuring_threads_waiting_counts_where_it_was() {
        // One sample waited for a whole slice of others, which its own threads may have caused.
        let mut samples = [sample(15, 0, 0); 11];
        samples[4] = sample(45, 30, 40);
        let delays = |other_tasks: Option<u64>| Delays {
            other_tasks_delay_ns: other_tasks.map(|ms| ms * MS),
            foreign_cpu_ns: Some(36 * MS),
            ..Delays::default()
        };
        let lo = |delays: &Delays| figures(&samples, delays).lo.trimmed_mean;
        assert_eq!(lo(&delays(Some(0))), Duration::from_millis(15));
        // What its other tasks waited may have been in any sample.
        assert_eq!(lo(&delays(Some(9))), Duration::from_millis(14));
        assert_eq!(lo(&delays(None)), Duration::from_millis(11));
        let unknown = SampleTimes {
            run_delay_ns: None,
            ..samples[4]
        };
        let mut with_unknown = samples;
        with_unknown[4] = unknown;
        assert_eq!(
            figures(&with_unknown, &delays(Some(0))).lo.trimmed_mean,
            Duration::from_millis(11)
        );
    }

    #[test]
    fn others_cannot_have_had_more_of_a_sample_than_was_left_over() {
        let samples = |spare: Option<u64>| {
            [SampleTimes {
                spare_cpu_ns: spare.map(|ms| ms * MS),
                ..sample(15, 0, 0)
            }; 11]
        };
        let delays = |steal: u64| Delays {
            foreign_cpu_ns: Some(9_000 * MS),
            steal_ns: steal * MS,
            ..Delays::default()
        };
        let lo = |spare, steal| figures(&samples(spare), &delays(steal)).lo.trimmed_mean;
        assert_eq!(lo(None, 0), Duration::ZERO);
        assert_eq!(lo(Some(2), 0), Duration::from_millis(13));
        // CPU time may have a hypervisor's in it.
        assert_eq!(lo(Some(2), 9), Duration::from_millis(12));
        let mut one_unknown = samples(Some(2));
        one_unknown[7].spare_cpu_ns = None;
        let lo = figures(&one_unknown, &delays(0)).lo.trimmed_mean;
        assert_eq!(lo, Duration::ZERO);
        // Of what was read of others and what was left over the less counts, in each.
        let mut both = samples(Some(2));
        for sample in &mut both {
            sample.foreign_cpu_ns = Some(MS);
        }
        both[3].foreign_cpu_ns = Some(9 * MS);
        let figures = figures(&both, &delays(0));
        assert_eq!(figures.lo.median, Duration::from_millis(14));
        assert_eq!(figures.lo.trimmed_mean, Duration::from_millis(14));
    }

    #[test]
    fn what_is_missing_at_the_end_counts_against_the_last() {
        let missing = |delays: &mut Delays| {
            delays.foreign_missing_ns = 15 * MS;
            delays.foreign_lag_ns = 30 * MS;
        };
        // The last may have had it, and the one before, with less than the lag after it.
        assert_eq!(lo_of_bursts([0; 11], missing), (15, 15));
        let with_a_burst = [30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(lo_of_bursts(with_a_burst, missing), (15 * 6 / 7, 15));
    }

    #[test]
    fn stolen_time_is_no_ones_doing() {
        let delays = Delays {
            steal_ns: 18 * MS,
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(15, 0, 0), &delays), (13, 15));
    }

    #[test]
    fn throttled_time_is_run_delay_and_not_others_doing() {
        let delays = Delays {
            throttled_ns: 60 * 11 * MS,
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(74, 60, 0), &delays), (14, 14));
        let unknown = Delays {
            other_tasks_delay_ns: None,
            foreign_cpu_ns: Some(0),
            throttled_ns: 18 * MS,
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(15, 0, 0), &unknown), (13, 15));
    }

    #[test]
    fn work_that_others_do_for_it_leaves_wall_as_its_upper_bound() {
        let delays = Delays {
            hi_is_wall: Some("served elsewhere".into()),
            foreign_cpu_ns: Some(18 * MS),
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(74, 60, 0), &delays), (72, 74));
    }

    #[test]
    fn the_time_that_the_thread_ran_is_its_own() {
        let contradicting = SampleTimes {
            cpu_ns: Some(50 * MS),
            ..sample(74, 60, 0)
        };
        assert_eq!(lo_hi(contradicting, &single_threaded()).1, 50);
    }

    #[test]
    fn the_slack_of_clocks_that_lag_counts_as_its_own() {
        let delays = Delays {
            own_cpu_slack_ns: 4 * MS,
            ..single_threaded()
        };
        assert_eq!(lo_hi(sample(74, 60, 10), &delays).1, 28);
    }

    #[test]
    fn without_run_delay_both_are_wall() {
        let unknown = SampleTimes {
            run_delay_ns: None,
            ..sample(74, 0, 0)
        };
        let figures = figures(&[unknown; 11], &single_threaded());
        assert_eq!((figures.lo, figures.hi), (figures.wall, figures.wall));
    }

    #[test]
    fn a_reading_that_failed_is_not_held_against_the_code() {
        let unknown = SampleTimes {
            run_delay_ns: None,
            ..sample(74, 0, 0)
        };
        let mut samples = [sample(74, 60, 0); 11];
        samples[5] = unknown;
        let all_others = figures(&samples, &single_threaded());
        assert_eq!(all_others.hi.median, Duration::from_millis(14));
        // Not known of one, so that only what others had limits what they may have caused.
        assert_eq!(all_others.lo.median, Duration::ZERO);
    }
}
