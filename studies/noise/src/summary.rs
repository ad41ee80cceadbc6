//! Counts and distributions of gate runs, of one cell or of many together.

use std::fmt::Write;

use perfbudget::Verdict;
use shared::statistics::{cv_percent, median};

use crate::results::{Cell, Estimated, Excuse, Gated, Results};
use crate::tools::Tool;

/// What came of a number of gate runs. Times are nanoseconds; those of a round are the first
/// round's, which every run has, so that no verdict chooses among them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Gate runs.
    pub n: u64,
    /// Verdicts `within`.
    pub within: u64,
    /// Verdicts `contended`.
    pub contended: u64,
    /// Verdicts `over`.
    pub over: u64,
    /// Verdicts `undecided`.
    pub undecided: u64,
    /// Of these, those that would have been `over` had a hypervisor taken nothing from them.
    pub by_steal: u64,
    /// And those that would have been had others used no CPU, either.
    pub by_others: u64,
    /// Runs of which the first round's wall was over the limit.
    pub wall_over: u64,
    /// Runs before which the bare timing was over the limit.
    pub bare_over: u64,
    /// Rounds of all gates that passed as `within` or `contended`.
    pub passing_rounds: u64,
    /// Trimmed means of wall.
    pub wall: Vec<f64>,
    /// Trimmed means of the lower bound.
    pub lo: Vec<f64>,
    /// Trimmed means of the upper bound.
    pub hi: Vec<f64>,
    /// Bare timings.
    pub bare: Vec<f64>,
    /// What the gates took in all.
    pub spent: Vec<f64>,
}

impl Tally {
    /// Of the runs in the cells that are chosen.
    #[must_use]
    pub fn of(results: &Results, chosen: impl Fn(Cell) -> bool) -> Self {
        let mut tally = Self::default();
        for gated in results.gates.iter().filter(|gated| chosen(gated.cell)) {
            tally.add(gated);
        }
        tally
    }

    fn add(&mut self, gated: &Gated) {
        let run = &gated.run;
        self.n += 1;
        match run.verdict {
            Verdict::Within => self.within += 1,
            Verdict::Contended => self.contended += 1,
            Verdict::Over => self.over += 1,
            _ => self.undecided += 1,
        }
        self.by_steal += u64::from(run.excuse == Some(Excuse::Steal));
        self.by_others += u64::from(run.excuse == Some(Excuse::Others));
        if matches!(run.verdict, Verdict::Within | Verdict::Contended) {
            self.passing_rounds += run.rounds.len() as u64;
        }
        self.bare_over += u64::from(run.bare > gated.limit_ns);
        self.bare.push(run.bare as f64);
        self.spent.push(run.spent as f64);
        if let Some(first) = run.rounds.first() {
            self.wall_over += u64::from(first.wall > gated.limit_ns);
            self.wall.push(first.wall as f64);
            self.lo.push(first.lo as f64);
            self.hi.push(first.hi as f64);
        }
    }

    /// Gates that passed as `within` or `contended`.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.within + self.contended
    }
}

/// The other tool's estimates of what is chosen.
#[must_use]
pub fn estimates(
    results: &Results,
    tool: Tool,
    chosen: impl Fn(&Estimated) -> bool,
) -> Vec<&Estimated> {
    results
        .estimates
        .iter()
        .filter(|estimated| estimated.tool == tool && chosen(estimated))
        .collect()
}

/// Every cell on a line, for whoever wants to see more than the report shows.
#[must_use]
pub fn csv(results: &Results) -> String {
    let mut cells: Vec<(Cell, u64)> = results
        .gates
        .iter()
        .map(|gated| (gated.cell, gated.limit_ns))
        .collect();
    cells.sort_unstable();
    cells.dedup();
    let mut text = String::from(
        "op,ms,variant,load,limit_ns,n,within,contended,over,undecided,wall_over,bare_over,\
         wall_median_ns,wall_cv_percent,lo_median_ns,hi_median_ns,hi_cv_percent,spent_median_ns\n",
    );
    for (cell, limit_ns) in cells {
        let tally = Tally::of(results, |other| other == cell);
        let load = serde_json::to_value(cell.load).expect("a name");
        writeln!(
            text,
            "{},{},{},{},{limit_ns},{},{},{},{},{},{},{},{:.0},{:.2},{:.0},{:.0},{:.2},{:.0}",
            cell.op,
            cell.ms,
            cell.variant.name(),
            load.as_str().unwrap_or_default(),
            tally.n,
            tally.within,
            tally.contended,
            tally.over,
            tally.undecided,
            tally.wall_over,
            tally.bare_over,
            median(&tally.wall),
            cv_percent(&tally.wall),
            median(&tally.lo),
            median(&tally.hi),
            cv_percent(&tally.hi),
            median(&tally.spent),
        )
        .expect("a string grows");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::results::tests::{CELL, gated, header};

    #[test]
    fn runs_are_counted_by_verdict_and_by_wall_alone() {
        // The limit is 100.
        let results = Results {
            header: header(),
            gates: vec![
                gated(CELL, Verdict::Within, 90, 90),
                gated(CELL, Verdict::Contended, 150, 90),
                gated(CELL, Verdict::Undecided, 150, 120),
                gated(CELL, Verdict::Over, 150, 150),
            ],
            estimates: Vec::new(),
            done: BTreeSet::new(),
            again: Vec::new(),
        };
        let tally = Tally::of(&results, |cell| cell == CELL);
        assert_eq!(
            (tally.n, tally.passed(), tally.over, tally.undecided),
            (4, 2, 1, 1)
        );
        assert_eq!(
            (tally.wall_over, tally.bare_over, tally.passing_rounds),
            (3, 3, 2)
        );
        assert_eq!(Tally::of(&results, |cell| cell != CELL).n, 0);
        let csv = csv(&results);
        assert_eq!(csv.lines().count(), 2);
        assert!(
            csv.contains("cpu,5,slow,busy4,100,4,1,1,1,1,3,3,150,"),
            "{csv}"
        );
        let columns: BTreeSet<_> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns.len(), 1);
    }
}
