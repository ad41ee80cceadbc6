//! Whether the statistics hold what they promise: on numbers drawn from known distributions, from a
//! fixed seed.

use super::{Difference, independent, paired};

/// Numbers that are the same in every run: SplitMix64 (Steele, Lea, Flood, "Fast splittable
/// pseudorandom number generators", 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// The logarithm of a time on a machine that is sometimes disturbed: always upwards.
    pub(crate) fn disturbed(&mut self) -> f64 {
        let spike = if self.uniform() < 0.1 {
            self.uniform()
        } else {
            0.0
        };
        0.02 * self.normal() + spike
    }
}

const RUNS: u32 = 2000;

/// Of the runs: how many show a difference, and how many have the true one outside the interval.
struct Rates {
    shown: f64,
    missed: f64,
}

fn rates(truth: f64, alpha: f64, mut one: impl FnMut() -> Option<Difference>) -> Rates {
    let (mut shown, mut missed) = (0, 0);
    for _ in 0..RUNS {
        let difference = one().expect("numbers");
        shown += u32::from(difference.is_shown(alpha));
        missed += u32::from(!(difference.low <= truth && truth <= difference.high));
    }
    Rates {
        shown: f64::from(shown) / f64::from(RUNS),
        missed: f64::from(missed) / f64::from(RUNS),
    }
}

/// What a rate may come to by chance: three standard errors.
fn by_chance(rate: f64) -> f64 {
    3.0 * (rate * (1.0 - rate) / f64::from(RUNS)).sqrt()
}

fn blocks(random: &mut Random, n: usize, truth: f64, noise: fn(&mut Random) -> f64) -> Vec<f64> {
    (0..n)
        .map(|_| truth + noise(random) - noise(random))
        .collect()
}

/// The two sides of a block are disturbed alike, so their difference is symmetric and the test
/// exact, whatever the disturbance is.
#[test]
fn paired_errors_are_at_most_as_many_as_promised() {
    let mut random = Random::new(1);
    for noise in [Random::normal, Random::disturbed] {
        for (n, alpha) in [(6, 0.05), (9, 0.05), (12, 0.01), (20, 0.05)] {
            for truth in [0.0, 0.05] {
                let run = || paired(&blocks(&mut random, n, truth, noise), alpha);
                let rates = rates(truth, alpha, run);
                assert!(
                    rates.missed <= alpha + by_chance(alpha),
                    "{n}: {}",
                    rates.missed
                );
                if truth < 0.01 {
                    assert!(
                        rates.shown <= alpha + by_chance(alpha),
                        "{n}: {}",
                        rates.shown
                    );
                }
            }
        }
    }
}

/// An interval that covers always is no use: with 20 blocks the level is nearly reached.
#[test]
fn paired_intervals_are_no_wider_than_they_must_be() {
    let mut random = Random::new(2);
    let run = || paired(&blocks(&mut random, 20, 0.0, Random::normal), 0.05);
    let rates = rates(0.0, 0.05, run);
    assert!(
        rates.missed >= 0.04 && rates.shown >= 0.04,
        "{}",
        rates.missed
    );
}

/// Whole numbers of a clock: most differences are tied.
#[test]
fn ties_cost_no_errors() {
    let mut random = Random::new(3);
    let mut tick =
        |n: usize| -> Vec<f64> { (0..n).map(|_| (random.normal() * 1.5).round()).collect() };
    let rates_of_blocks = rates(0.0, 0.05, || paired(&tick(10), 0.05));
    assert!(
        rates_of_blocks.shown <= 0.05 + by_chance(0.05),
        "{}",
        rates_of_blocks.shown
    );
    assert!(
        rates_of_blocks.missed <= 0.05 + by_chance(0.05),
        "{}",
        rates_of_blocks.missed
    );
    let rates_of_sides = rates(0.0, 0.05, || independent(&tick(8), &tick(8), 0.05));
    assert!(
        rates_of_sides.shown <= 0.05 + by_chance(0.05),
        "{}",
        rates_of_sides.shown
    );
}

/// Sides of different sizes and spreads. With both conditions fewer errors are made than with
/// either.
#[test]
fn independent_errors_are_at_most_as_many_as_promised() {
    let mut random = Random::new(4);
    for (m, n, wider) in [(4, 4, 1.0), (6, 10, 2.0), (10, 6, 2.0), (12, 12, 3.0)] {
        let mut side = |n: usize, deviation: f64| -> Vec<f64> {
            (0..n).map(|_| deviation * random.normal()).collect()
        };
        let rates = rates(0.0, 0.05, || {
            independent(&side(m, 1.0), &side(n, wider), 0.05)
        });
        assert!(
            rates.missed <= 0.055 + by_chance(0.05),
            "{m} {n}: {}",
            rates.missed
        );
        assert!(rates.missed >= 0.02, "{m} {n}: {}", rates.missed);
        assert!(
            rates.shown <= 0.05 + by_chance(0.05),
            "{m} {n}: {}",
            rates.shown
        );
    }
}

/// Three gates at three looks each, all unchanged: how often any of the nine shows a difference.
#[test]
fn the_level_holds_for_the_family() {
    let mut random = Random::new(5);
    let (gates, looks) = (3, [8, 16, 32]);
    let each = crate::ab::sequential::level(0.05, gates, 3);
    let mut wrong = 0;
    for _ in 0..RUNS / 2 {
        let any = (0..gates).any(|_| {
            let blocks = blocks(&mut random, 32, 0.0, Random::normal);
            looks
                .iter()
                .any(|n| paired(&blocks[..*n], each).is_some_and(|d| d.is_shown(each)))
        });
        wrong += u32::from(any);
    }
    let rate = f64::from(wrong) / f64::from(RUNS / 2);
    assert!(rate <= 0.05, "{rate}");
}

/// A comparison of twelve blocks on a machine whose processes differ by one per cent.
#[test]
fn five_per_cent_are_found() {
    let mut random = Random::new(6);
    let quiet = |random: &mut Random| 0.01 * random.normal();
    let run = || paired(&blocks(&mut random, 12, 0.05, quiet), 0.05);
    let rates = rates(0.05, 0.05, run);
    assert!(rates.shown > 0.999, "{}", rates.shown);
}
