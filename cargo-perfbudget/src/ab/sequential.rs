//! When a comparison that goes on may be looked at, and at what level.
//!
//! A test that is repeated until it is significant ends significant. So the looks are planned before
//! anything is measured, and every look of every gate has an equal share of the level (Bonferroni's
//! inequality). Then, with a probability of at least 1 - alpha, *all* intervals of *all* looks have
//! the true change in them, and whatever is concluded from them, at whatever look, is right.

/// Looks at most: each of them costs level, and the last is the one that has most to go by.
const LOOKS_MAX: usize = 3;

/// The level of one look at one gate.
pub(crate) fn level(alpha: f64, gates: u32, looks: u32) -> f64 {
    alpha / (f64::from(gates.max(1)) * f64::from(looks.max(1)))
}

/// After how many blocks there is a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan(Vec<u32>);

impl Plan {
    /// One look, after all blocks.
    #[cfg(test)]
    pub(crate) fn fixed(blocks: u32) -> Self {
        Self(vec![blocks])
    }

    /// Looks from `least` to `most` blocks, each at twice as many as the one before, and none that
    /// comes too early for the rank test to reach its level.
    pub(crate) fn between(least: u32, most: u32, alpha: f64, gates: u32) -> Self {
        let mut looks = vec![most];
        while let Some(earlier) = looks.last().map(|next| next / 2)
            && looks.len() < LOOKS_MAX
            && earlier >= least.max(1)
        {
            looks.push(earlier);
        }
        looks.reverse();
        // Without the earliest the others have more of the level, and need fewer blocks.
        while looks.len() > 1 && {
            let n = u32::try_from(looks.len()).unwrap_or(u32::MAX);
            looks[0] < super::statistics::blocks_needed(level(alpha, gates, n))
        } {
            looks.remove(0);
        }
        Self(looks)
    }

    /// How many there are in all: what the level is shared among.
    pub(crate) fn looks(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is one after as many blocks.
    pub(crate) fn is_look(&self, blocks: u32) -> bool {
        self.0.contains(&blocks)
    }

    /// The blocks of the last.
    pub(crate) fn last(&self) -> u32 {
        self.0.last().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_shared_among_gates_and_looks() {
        assert!((level(0.06, 3, 2) - 0.01).abs() < 1e-15);
        assert!((level(0.05, 0, 0) - 0.05).abs() < 1e-15);
    }

    #[test]
    fn looks_double_and_none_is_too_early() {
        assert_eq!(Plan::between(8, 32, 0.05, 1), Plan(vec![8, 16, 32]));
        assert_eq!(Plan::between(8, 20, 0.05, 1), Plan(vec![10, 20]));
        assert_eq!(Plan::between(1, 64, 0.05, 1), Plan(vec![16, 32, 64]));
        // With 3 looks at 10 gates 2 / 2^n must be at most 0.05 / 30: 11 blocks.
        assert_eq!(Plan::between(8, 40, 0.05, 10), Plan(vec![20, 40]));
        assert_eq!(Plan::between(8, 44, 0.05, 10), Plan(vec![11, 22, 44]));
        assert_eq!(Plan::between(8, 8, 0.05, 1), Plan::fixed(8));
        // Too few altogether: the decision will say so.
        assert_eq!(Plan::between(2, 4, 0.05, 1), Plan::fixed(4));
        assert_eq!(Plan::between(0, 0, 0.05, 1), Plan::fixed(0));
        assert_eq!(Plan::between(9, 3, 0.05, 1), Plan::fixed(3));
    }

    #[test]
    fn a_plan_knows_its_looks() {
        let plan = Plan::between(8, 32, 0.05, 1);
        assert_eq!((plan.looks(), plan.last()), (3, 32));
        assert!(plan.is_look(16) && !plan.is_look(17));
    }
}
