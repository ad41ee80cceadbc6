//! Gates: a budget, the code that it guards, and the decision.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::thread;

use crate::accounting::{Accounting, Evidence};
use crate::allocator::{self, Discipline};
use crate::bounds;
use crate::budget::{Budget, Class, FLOOR};
use crate::host;
use crate::measure::{self, AccountedRound, Measurement};
use crate::message;
use crate::multiplier::{Chosen, Multiplier};
use crate::record::{Host, Record, RoundTimes, SCHEMA, WallTime, nanoseconds};
use crate::run;
use crate::tmpfs;
use crate::turn::{self, Turn};
use crate::verdict::{Denied, RoundFigures, Verdict, verdict};

/// A named budget, before it is given the code to guard.
///
/// ```
/// use std::time::Duration;
/// use perfbudget::{Budget, Gate};
///
/// const SORT: Budget = Budget::warm(Duration::from_micros(310)); // where and when observed
///
/// // #[test]
/// fn perf_sort() {
///     Gate::new("docs/sort", SORT)
///         .batch(4)
///         .setup(|| (0..50_000_u64).rev().collect::<Vec<_>>())
///         .run(|numbers| {
///             numbers.sort_unstable();
///             assert_eq!(numbers[0], 0); // a sort that does nothing must not pass
///         });
/// }
/// perf_sort();
/// ```
#[derive(Debug)]
#[must_use = "a gate decides in `run` or `check`"]
pub struct Gate {
    name: String,
    budget: Budget,
    served_elsewhere: bool,
    place: &'static Location<'static>,
}

impl Gate {
    /// A walltime gate (Tier 1). Names are words of lower-case letters, digits and dashes,
    /// separated by slashes, and belong to one gate of a workspace: `outbox/drain-25`.
    ///
    /// # Panics
    /// When the name is of another form, and when the budget's base or batch is zero.
    #[track_caller]
    pub fn new(name: impl Into<String>, budget: Budget) -> Self {
        let name = checked_name(name.into());
        assert!(
            !budget.base().is_zero(),
            "gate {name}: its budget is zero, which nothing can be within\n\
             give it the median that was observed"
        );
        let gate = Self {
            name,
            budget,
            served_elsewhere: false,
            place: Location::caller(),
        };
        gate.batch(budget.operations())
    }

    /// A count gate (Tier 2): what was done, not how long it took.
    ///
    /// # Panics
    /// When the name is not of the form that [`Gate::new`] wants.
    #[track_caller]
    pub fn counts(name: impl Into<String>) -> CountGate {
        CountGate {
            name: checked_name(name.into()),
            evidence: Vec::new(),
            place: Location::caller(),
        }
    }

    /// Makes a sample of `n` operations, each with an input of its own, for work that is short of
    /// a third of a millisecond: on its own the [`FLOOR`] would let it grow unseen.
    ///
    /// # Panics
    /// When `n` is zero.
    #[track_caller]
    pub fn batch(mut self, n: u32) -> Self {
        assert!(
            n != 0,
            "gate {}: a batch of zero operations measures nothing",
            self.name
        );
        self.budget = self.budget.batch(n);
        self
    }

    /// Says that what the operation waits for goes on whether this process has a CPU or not: work
    /// for a process that is not a child of this one, like a database server, or something that
    /// the operation spins, yields or polls for.
    ///
    /// The kernel books such work elsewhere, so that waiting for a CPU excuses nothing: on a busy
    /// machine the gate is `undecided` where another would be `contended`.
    pub fn served_elsewhere(mut self) -> Self {
        self.served_elsewhere = true;
        self
    }

    /// Makes a fresh input for every operation, outside the clock.
    pub fn setup<I, S: FnMut() -> I>(self, setup: S) -> PreparedGate<S> {
        PreparedGate { gate: self, setup }
    }

    /// Measures `op` and decides.
    ///
    /// # Panics
    /// At the caller's line, with everything that is known, when the verdict fails; with `op`'s
    /// panic; when another gate of the run has the name.
    #[track_caller]
    pub fn run<T>(self, op: impl FnMut() -> T) {
        self.setup(|| ()).run(without_input(op));
    }

    /// Measures `op`, decides and returns the record, whatever the verdict.
    ///
    /// # Panics
    /// With `op`'s panic; when another gate of the run has the name.
    #[track_caller]
    pub fn check<T>(self, op: impl FnMut() -> T) -> Record {
        self.setup(|| ()).check(without_input(op))
    }
}

fn without_input<T>(mut op: impl FnMut() -> T) -> impl FnMut(&mut ()) -> T {
    move |()| op()
}

/// A walltime gate whose operation gets a fresh input. From [`Gate::setup`].
#[derive(Debug)]
#[must_use = "a gate decides in `run` or `check`"]
pub struct PreparedGate<S> {
    gate: Gate,
    setup: S,
}

impl<I, S: FnMut() -> I> PreparedGate<S> {
    /// As [`Gate::batch`].
    ///
    /// # Panics
    /// When `n` is zero.
    #[track_caller]
    pub fn batch(mut self, n: u32) -> Self {
        self.gate = self.gate.batch(n);
        self
    }

    /// As [`Gate::served_elsewhere`].
    pub fn served_elsewhere(mut self) -> Self {
        self.gate = self.gate.served_elsewhere();
        self
    }

    /// As [`Gate::run`]. What `op` returns is dropped outside the clock and can't borrow from the
    /// input.
    ///
    /// # Panics
    /// As [`Gate::run`], and with the panic of the setup.
    #[track_caller]
    pub fn run<T>(self, op: impl FnMut(&mut I) -> T) {
        conclude(&self.check(op));
    }

    /// As [`Gate::check`].
    ///
    /// # Panics
    /// As [`Gate::check`], and with the panic of the setup.
    #[track_caller]
    pub fn check<T>(mut self, mut op: impl FnMut(&mut I) -> T) -> Record {
        let gate = self.gate;
        let decision = Decision::begin(&gate.name, gate.place);
        let outcome = match host::why_not_timed() {
            None => measured(&gate, &mut self.setup, &mut op),
            Some(why) => {
                let mut input = (self.setup)();
                op(&mut input);
                Outcome::not_measured(gate.budget.class(), why)
            }
        };
        decision.end(outcome.into_record(&gate))
    }
}

/// A count gate. From [`Gate::counts`].
#[derive(Debug)]
#[must_use = "a gate decides in `exactly` or `check`"]
pub struct CountGate {
    name: String,
    evidence: Vec<String>,
    place: &'static Location<'static>,
}

impl CountGate {
    /// Lines that explain the counts when they are not what was expected: the events that were
    /// counted. The first 40 are kept.
    pub fn evidence(mut self, lines: impl IntoIterator<Item = impl Display>) -> Self {
        const KEPT: usize = 40;
        let mut lines = lines.into_iter();
        let kept = lines.by_ref().take(KEPT).map(|line| line.to_string());
        self.evidence = kept.collect();
        match lines.count() {
            0 => {}
            more => self.evidence.push(format!("… and {more} more")),
        }
        self
    }

    /// Compares what was observed with what the code says. The order is ignored, a key that is
    /// absent is 0, a key that is repeated adds up.
    ///
    /// ```
    /// use perfbudget::Gate;
    ///
    /// let observed = [("files", 1), ("dirs", 2), ("files", 1)];
    /// Gate::counts("docs/save-syncs").exactly([("files", 2), ("dirs", 2)], observed);
    /// ```
    ///
    /// # Panics
    /// At the caller's line, with each count beside what was expected, when they differ; when
    /// another gate of the run has the name.
    #[track_caller]
    pub fn exactly(
        self,
        expected: impl IntoIterator<Item = (&'static str, u64)>,
        observed: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        conclude(&self.check(expected, observed));
    }

    /// Records that it could not be counted here, and why: a server that is not installed, say. It
    /// passes and is shown, or fails where `PERFBUDGET_DENY` has `not_measured`.
    ///
    /// ```
    /// use perfbudget::Gate;
    ///
    /// # let is_installed = false;
    /// if !is_installed {
    ///     return Gate::counts("orders/commit-syncs").not_measured("PostgreSQL is not installed");
    /// }
    /// ```
    ///
    /// # Panics
    /// At the caller's line when this run denies it; when another gate of the run has the name.
    #[track_caller]
    pub fn not_measured(self, why: impl Into<String>) {
        let decision = Decision::begin(&self.name, self.place);
        conclude(&decision.end(Record {
            tier: 2,
            verdict: Verdict::NotMeasured,
            not_measured: Some(why.into()),
            ..blank()
        }));
    }

    /// As [`exactly`](CountGate::exactly), and returns the record, whatever the verdict.
    ///
    /// # Panics
    /// When another gate of the run has the name.
    #[track_caller]
    pub fn check(
        self,
        expected: impl IntoIterator<Item = (&'static str, u64)>,
        observed: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> Record {
        let decision = Decision::begin(&self.name, self.place);
        let (expected, counts) = (summed(expected), summed(observed));
        decision.end(Record {
            tier: 2,
            verdict: if expected == counts {
                Verdict::Exact
            } else {
                Verdict::Differs
            },
            counts,
            expected,
            evidence: self.evidence,
            ..blank()
        })
    }
}

fn summed(pairs: impl IntoIterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (key, n) in pairs {
        if n != 0 {
            let sum: &mut u64 = sums.entry(key.to_owned()).or_default();
            *sum = sum.saturating_add(n);
        }
    }
    sums
}

#[track_caller]
fn checked_name(name: String) -> String {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    assert!(
        name.split('/').all(is_word),
        "{name:?} is not the name of a gate\n\
         names are words of a-z, 0-9 and -, separated by /: \"outbox/drain-25\""
    );
    name
}

/// Fails the test when the record says so.
#[track_caller]
fn conclude(record: &Record) {
    let (denied, _warned_in_the_record) = Denied::from_env();
    if record.verdict.is_failure() || denied.contains(record.verdict) {
        let command = run::command_for(record);
        panic!("{}", message::failure(record, &command));
    }
}

/// The frame around a gate's decision: its name is claimed before anything runs, and its record
/// is completed and written after.
struct Decision {
    name: String,
    place: &'static Location<'static>,
    directory: Option<PathBuf>,
    /// Against the run's environment and the test's name.
    warnings: Vec<String>,
}

/// A panic of the setup or the operation says nothing of the gate that it happened in.
impl Drop for Decision {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "gate {}: a panic before its verdict, in its setup or its operation: no record",
                self.name
            );
        }
    }
}

impl Decision {
    #[track_caller]
    fn begin(name: &str, place: &'static Location<'static>) -> Self {
        let (directory, mut warnings) = run::directory();
        match run::claim(name, place, directory.as_deref()) {
            Err(two_places) => panic!("{two_places}"),
            Ok(Some(other_test)) => warnings.push(format!(
                "it replaces the record of the test {other_test}: a gate that several tests call \
                 wants a name for each of them"
            )),
            Ok(None) => {}
        }
        Self {
            name: name.to_owned(),
            place,
            directory,
            warnings,
        }
    }

    fn end(mut self, mut record: Record) -> Record {
        record.gate.clone_from(&self.name);
        if record.tier != 1 {
            record.host = host::host();
        }
        record.test = run::test_place(self.place);
        run::run_id().clone_into(&mut record.run_id);
        record.at = run::now();
        record.warnings.append(&mut self.warnings);
        record.warnings.extend(Denied::from_env().1);
        if !run::is_named_as_a_gate(&record.test) {
            record.warnings.push(format!(
                "its test {} is not named perf_…: what runs the gates by their names leaves it out",
                record.test.path
            ));
        }
        let saved = save(&mut record, self.directory.as_deref());
        eprintln!("{}\n  {saved}", message::one_line(&record));
        record
    }
}

/// Writes the record; says where, or why not.
fn save(record: &mut Record, directory: Option<&Path>) -> String {
    let Some(directory) = directory else {
        return format!(
            "no record: {} is not set (a project sets it in .cargo/config.toml, [env])",
            run::DIR_ENV
        );
    };
    match record.write(directory) {
        Ok(()) => {
            run::release(&record.gate, directory);
            let path = directory.join(Record::file_name(&record.gate));
            format!("record: {}", path.display())
        }
        Err(error) => {
            let warning = format!(
                "failed to write its record to {}: {error}",
                directory.display()
            );
            record.warnings.push(warning);
            "no record".to_owned()
        }
    }
}

/// What measuring came to.
struct Outcome {
    verdict: Verdict,
    not_measured: Option<String>,
    rounds: Vec<AccountedRound>,
    figures: Vec<RoundFigures>,
    chosen: Chosen,
    allocator: Option<String>,
    evidence: Evidence,
    turn: Option<Turn>,
}

/// Rounds until the verdict is clear.
fn measured<I, T>(
    gate: &Gate,
    setup: &mut impl FnMut() -> I,
    op: &mut impl FnMut(&mut I) -> T,
) -> Outcome {
    let budget = gate.budget;
    let discipline = discipline_for(budget.class());
    let turn = turn::take();
    // The reference work of `auto` is a load like any other: in the gate's own turn.
    let chosen = Multiplier::for_class(budget.class());
    let limit = budget.limit(chosen.multiplier);
    let mut accounting = Accounting::new(gate.served_elsewhere);
    let mut rounds: Vec<AccountedRound> = Vec::new();
    let mut figures = Vec::new();
    let verdict = loop {
        let round = measure::accounted_round(
            &mut accounting,
            rounds.is_empty(),
            discipline,
            budget.operations(),
            setup,
            op,
        );
        figures.push(bounds::figures(&round.samples, &round.readings.delays));
        rounds.push(round);
        if let Some(verdict) = verdict(&figures, limit) {
            break verdict;
        }
    };
    Outcome {
        verdict,
        not_measured: None,
        rounds,
        figures,
        chosen,
        allocator: discipline.map(|d| d.name().to_owned()),
        evidence: accounting.evidence(),
        turn: Some(turn),
    }
}

fn discipline_for(class: Class) -> Option<&'static dyn Discipline> {
    match class {
        Class::Cold => None,
        Class::Warm => Some(allocator::discipline()),
    }
}

impl Outcome {
    fn not_measured(class: Class, why: String) -> Self {
        Self {
            verdict: Verdict::NotMeasured,
            not_measured: Some(why),
            rounds: Vec::new(),
            figures: Vec::new(),
            chosen: Multiplier::for_class(class),
            allocator: None,
            evidence: Evidence::default(),
            turn: None,
        }
    }

    fn into_record(self, gate: &Gate) -> Record {
        let budget = gate.budget;
        let deciding = self.rounds.last().map(|round| &round.measurement);
        let mut warnings = self.chosen.warnings;
        warnings.extend(verdict_warning(self.verdict).map(str::to_owned));
        if budget.is_floored() {
            warnings.push(floor_warning(budget));
        }
        warnings.extend(deciding.and_then(|m| generous_base_warning(m, budget)));
        // What an operation left behind runs beside the next ones, as a neighbour does.
        warnings.extend(
            (self.rounds.first().and_then(out_of_sight_warning))
                .or_else(|| self.rounds.last().and_then(neighbour_warning)),
        );
        warnings.extend(self.turn.as_ref().and_then(Turn::warning));
        if tmpfs::used_on_a_disk() {
            warnings
                .push("its fixtures are not in memory: the disk is inside the clock".to_owned());
        }
        let bounds = self.rounds.last().and_then(|r| r.readings.why_wall.clone());
        Record {
            tier: 1,
            class: Some(budget.class()),
            base_ns: Some(nanoseconds(budget.base())),
            batch: Some(budget.operations()),
            factor: Some(budget.class().factor()),
            floor_ns: Some(nanoseconds(FLOOR)),
            multiplier: Some(self.chosen.multiplier.get()),
            multiplier_source: self.chosen.source,
            limit_ns: Some(nanoseconds(budget.limit(self.chosen.multiplier))),
            wall_ns: deciding.map(wall_time),
            lo_ns: self.figures.last().map(|f| nanoseconds(f.lo.trimmed_mean)),
            hi_ns: self.figures.last().map(|f| nanoseconds(f.hi.trimmed_mean)),
            bounds: bounds.map(|why| format!("no better than wall: {why}")),
            served_elsewhere: gate.served_elsewhere,
            samples: self
                .rounds
                .last()
                .map(|round| round.samples.to_vec())
                .unwrap_or_default(),
            rounds: self
                .figures
                .iter()
                .zip(&self.rounds)
                .map(|(figures, round)| round_times(figures, round))
                .collect(),
            verdict: self.verdict,
            not_measured: self.not_measured,
            allocator: self.allocator,
            warnings,
            host: Host {
                quota_cpus: self.evidence.quota_cpus,
                throttled_ns: self.evidence.throttled_ns,
                steal_ns: self.evidence.steal_ns,
                voluntary_switches: self.evidence.voluntary_switches,
                involuntary_switches: self.evidence.involuntary_switches,
                alone: self.turn.as_ref().map(Turn::is_alone),
                ..host::host()
            },
            ..blank()
        }
    }
}

/// What there is to say against a verdict that passes without proof.
fn verdict_warning(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Contended => Some("the machine was busy: wall is over its limit, the code is not"),
        Verdict::Undecided => Some(
            "three rounds neither cleared it nor proved it guilty: run it again on a quiet machine",
        ),
        _ => None,
    }
}

/// Work that goes on when the clock has stopped is not in the measurement.
fn out_of_sight_warning(round: &AccountedRound) -> Option<String> {
    let what = round.readings.out_of_sight.as_ref()?;
    Some(format!("{what}: that work is outside the clock"))
}

/// Another test beside it in the process is load that only its end takes away.
fn neighbour_warning(round: &AccountedRound) -> Option<String> {
    let name = round.readings.neighbour.as_ref()?;
    Some(format!(
        "the thread {name:?} of its process ran beside it: run the gates with nextest, or with \
         --test-threads=1"
    ))
}

/// A base that is many times what it takes guards nothing.
fn generous_base_warning(measurement: &Measurement, budget: Budget) -> Option<String> {
    const SUSPICIOUS: f64 = 10.0;
    let base = budget.base().as_secs_f64() * f64::from(budget.operations());
    let ratio = base / measurement.mean().as_secs_f64().max(1e-9);
    (ratio > SUSPICIOUS).then(|| {
        format!(
            "its base is {ratio:.0} times what it takes: observe it again, or see that the work is \
             done"
        )
    })
}

/// How much a gate whose limit is the floor could grow, and the batch that gives it a limit of its
/// own.
fn floor_warning(budget: Budget) -> String {
    let floor = FLOOR.as_secs_f64();
    let base = budget.base().as_secs_f64();
    format!(
        "the floor of {FLOOR:?} sets its limit, not its base: it could grow to {:.0} times its \
         base unseen; a batch of {:.0} or more gives it a limit of its own",
        (floor / (base * f64::from(budget.operations()))).floor(),
        (floor / (base * f64::from(budget.class().factor()))).ceil()
    )
}

fn wall_time(measurement: &Measurement) -> WallTime {
    WallTime {
        trimmed_mean: nanoseconds(measurement.mean()),
        median: nanoseconds(measurement.median()),
        min: nanoseconds(measurement.min()),
        max: nanoseconds(measurement.max()),
        cv_percent: measurement.cv_percent(),
    }
}

fn round_times(figures: &RoundFigures, round: &AccountedRound) -> RoundTimes {
    RoundTimes {
        wall_ns: nanoseconds(figures.wall.trimmed_mean),
        wall_median_ns: nanoseconds(figures.wall.median),
        lo_ns: nanoseconds(figures.lo.trimmed_mean),
        lo_median_ns: nanoseconds(figures.lo.median),
        hi_ns: nanoseconds(figures.hi.trimmed_mean),
        hi_median_ns: nanoseconds(figures.hi.median),
        pace_ns: round.pace.map(nanoseconds),
        samples: round.samples.to_vec(),
        delays: round.readings.delays.clone(),
    }
}

/// A record of nothing, for the fields that a tier does not have.
pub(crate) fn blank() -> Record {
    Record {
        schema: SCHEMA.to_owned(),
        gate: String::new(),
        tier: 0,
        class: None,
        base_ns: None,
        batch: None,
        factor: None,
        floor_ns: None,
        multiplier: None,
        multiplier_source: None,
        limit_ns: None,
        wall_ns: None,
        lo_ns: None,
        hi_ns: None,
        bounds: None,
        served_elsewhere: false,
        samples: Vec::new(),
        rounds: Vec::new(),
        verdict: Verdict::NotMeasured,
        not_measured: None,
        allocator: None,
        counts: BTreeMap::new(),
        expected: BTreeMap::new(),
        evidence: Vec::new(),
        host: Default::default(),
        warnings: Vec::new(),
        test: Default::default(),
        run_id: String::new(),
        at: String::new(),
    }
}
