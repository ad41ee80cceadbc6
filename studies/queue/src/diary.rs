//! What was published of the queue that this one re-creates: a diary of its optimisation, on
//! Postgres, by its author and on its author's machine. Quoted, not measured here.

/// A step of the diary, with the actions per second after it by number of instances.
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// Instances, and actions per second.
    pub rates: &'static [(u64, f64)],
    /// What else the diary says of it.
    pub note: &'static str,
}

const fn step(name: &'static str, rates: &'static [(u64, f64)], note: &'static str) -> Step {
    Step { name, rates, note }
}

/// All, in order. Runs were stopped after 10 seconds, those of 500,000 instances after 60.
pub const STEPS: [Step; 10] = [
    step(
        "before",
        &[(1_000, 701.0), (500_000, 56.0)],
        "no clean exit at 500,000",
    ),
    step(
        "unstarted instances claimed with `SKIP LOCKED`",
        &[(1_000, 686.0), (500_000, 97.0)],
        "",
    ),
    step(
        "best-effort inbox cache",
        &[(1_000, 753.0), (500_000, 99.0)],
        "",
    ),
    step(
        "batched completions",
        &[(1_000, 750.0), (500_000, 114.0)],
        "1,090 with 16 workers; hangs at the end at 500,000",
    ),
    step("one batch across instances", &[(1_000, 1_635.0)], ""),
    step("batched starts", &[(10_000, 617.0), (50_000, 523.0)], ""),
    step(
        "cached graph during start",
        &[(10_000, 1_314.0), (50_000, 708.0)],
        "",
    ),
    step(
        "delete on completion, log queue",
        &[(10_000, 1_112.0), (50_000, 729.0)],
        "",
    ),
    step(
        "start loop apart from the dispatch loop",
        &[(10_000, 2_319.0), (50_000, 2_165.0)],
        "",
    ),
    step(
        "`UNNEST` arrays, redundant index dropped",
        &[(10_000, 2_553.0), (50_000, 2_396.0)],
        "the end result",
    ),
];

/// The first step: what the diary set out from.
#[must_use]
pub fn before() -> &'static Step {
    &STEPS[0]
}

/// The last step: the diary's end result.
#[must_use]
pub fn end() -> &'static Step {
    &STEPS[STEPS.len() - 1]
}

impl Step {
    /// Actions per second with so many instances, where the diary has it.
    #[must_use]
    pub fn rate(&self, instances: u64) -> Option<f64> {
        let found = self.rates.iter().find(|(n, _)| *n == instances);
        found.map(|(_, rate)| *rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_that_were_published() {
        assert_eq!(before().rates, [(1_000, 701.0), (500_000, 56.0)]);
        assert_eq!(end().rates, [(10_000, 2_553.0), (50_000, 2_396.0)]);
        assert_eq!(end().rate(1_000), None);
    }
}
