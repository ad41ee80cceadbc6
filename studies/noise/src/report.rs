//! The report: a document for a newcomer, made from the results alone.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::fs;
use std::io;
use std::path::Path;

use perfbudget::record::Nanoseconds;
use shared::statistics::{cv_percent, lower_bound, median, quantile, upper_bound};

use crate::loads::Load;
use crate::ops::Op;
use crate::plots;
use crate::results::{Cell, Gated, Results, Round, Variant};
use crate::study;
use crate::summary::{Tally, csv, estimates};
use crate::tools::{self, Tool};

/// A way to decide whether code keeps to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One timed run.
    Assert,
    /// criterion's estimate.
    Criterion,
    /// divan's estimate.
    Divan,
    /// The trimmed mean of a gate's first round.
    Wall,
    /// A gate's verdict.
    Gate,
}

impl Way {
    /// All, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Assert,
        Self::Criterion,
        Self::Divan,
        Self::Wall,
        Self::Gate,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assert => "assert!(elapsed < limit)",
            Self::Criterion => "criterion",
            Self::Divan => "divan",
            Self::Wall => "wall alone",
            Self::Gate => "perfbudget",
        }
    }
}

/// How often code fails by each way to decide: events of trials.
#[derive(Clone, Debug, Default)]
pub struct FalseFailures {
    gates: Tally,
    criterion: Share,
    divan: Share,
}

impl FalseFailures {
    /// Of the gates that are chosen, and of the estimates of the 5 ms operation against the same
    /// limit.
    fn of(results: &Results, op: Op, load: Load, variant: Variant) -> Self {
        let gates = Tally::of(results, |cell| {
            cell == Cell {
                op,
                ms: 5,
                variant,
                load,
            }
        });
        let limit = limit_ns(results, op, variant);
        let over = |tool| {
            let all = estimates(results, tool, |e| e.op == op && e.load == load);
            let over = all.iter().filter(|e| e.estimate_ns > limit).count();
            Share(over as u64, all.len() as u64)
        };
        Self {
            gates,
            criterion: over(Tool::Criterion),
            divan: over(Tool::Divan),
        }
    }

    fn share(&self, way: Way) -> Share {
        match way {
            Way::Assert => Share(self.gates.bare_over, self.gates.n),
            Way::Criterion => self.criterion,
            Way::Divan => self.divan,
            Way::Wall => Share(self.gates.wall_over, self.gates.n),
            Way::Gate => Share(self.gates.over, self.gates.n),
        }
    }

    /// In per cent; `None` where nothing was run.
    #[must_use]
    pub fn percent(&self, way: Way) -> Option<f64> {
        let Share(events, trials) = self.share(way);
        (trials > 0).then(|| 100.0 * events as f64 / trials as f64)
    }
}

/// The limit of the 5 ms operation.
fn limit_ns(results: &Results, op: Op, variant: Variant) -> f64 {
    let idle = results.header.observed(op, 5000).map_or(0, |o| o.idle_ns);
    variant.limit_ns(op, idle) as f64
}

/// Events of trials, as a percentage of which no more digits are shown than it has.
#[derive(Clone, Copy, Debug, Default)]
struct Share(u64, u64);

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(events, trials) = *self;
        if trials == 0 {
            return f.pad("–");
        }
        let percent = 100.0 * events as f64 / trials as f64;
        if events == 0 || events == trials {
            write!(f, "{percent:.0} %")
        } else if trials < 200 {
            // Never rounded to all or none.
            write!(f, "{:.0} %", percent.clamp(1.0, 99.0))
        } else if (0.1..99.9).contains(&percent) {
            write!(f, "{percent:.1} %")
        } else {
            write!(f, "{percent:.3} %")
        }
    }
}

/// A ratio with two digits behind the point.
struct Ratio(f64);

impl Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:.2}", self.0)
        } else {
            f.pad("–")
        }
    }
}

/// A percentage that is not of events.
struct Percent(f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:.1} %", self.0)
        } else {
            f.pad("–")
        }
    }
}

struct Time(f64);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            Nanoseconds(self.0 as u64).fmt(f)
        } else {
            f.pad("–")
        }
    }
}

/// Writes the document, and beside it a directory of its name with the plots and the figures of
/// every cell.
///
/// # Errors
/// When there are no results, or a file can't be written.
pub fn write(results: &Path, document: &Path) -> io::Result<()> {
    let results = Results::read(results)?;
    let beside = document.with_extension("");
    fs::create_dir_all(&beside)?;
    let drawn = |drawn: Result<(), Box<dyn std::error::Error>>| {
        drawn.map_err(|error| io::Error::other(error.to_string()))
    };
    let panels = [
        (
            Variant::Unchanged,
            "Unchanged code of 5 ms that fails at a limit of 3 ×",
        ),
        (Variant::Tight, "… and at a limit of 1.2 ×"),
    ]
    .map(|(variant, title)| {
        let of = |load| (load, FalseFailures::of(&results, Op::Cpu, load, variant));
        (title, Load::ALL.map(of).to_vec())
    });
    drawn(plots::false_failures(
        &beside.join("false-failures.svg"),
        &panels,
    ))?;
    drawn(plots::wall_and_hi(
        &beside.join("wall-and-hi.svg"),
        &results,
    ))?;
    drawn(plots::slow_code(&beside.join("slow-code.svg"), &results))?;
    fs::write(beside.join("cells.csv"), csv(&results))?;
    fs::write(document, markdown(&results))
}

/// The document.
fn markdown(results: &Results) -> String {
    let mut text = String::new();
    for section in [
        introduction,
        goals,
        unchanged,
        spread,
        slow,
        not_taken_out,
        cost,
        method,
    ] {
        section(&mut text, results).expect("a string grows");
    }
    text
}

fn introduction(text: &mut String, results: &Results) -> fmt::Result {
    let header = &results.header;
    writeln!(
        text,
        "# Noise study\n\n\
         A gate is to fail when the *code* got slower, not when the machine was busy. How well does \
         it tell the two apart? Here are gates of code that did not change and of code that is \
         1.5 × over its limit, on an idle machine and beside five kinds of load, with the other \
         ways that people decide by run in between.\n\n\
         Made by `make noise-study` (`scripts/noise-study`), which anyone can run; every cell is in \
         [noise-study/cells.csv](noise-study/cells.csv).\n\n\
         {}, {} cores, {}, {}, {}. {} gate runs{}.",
        header.cpu,
        header.cores,
        capitalised(&header.system),
        if header.rustc.is_empty() {
            "an unnamed compiler"
        } else {
            &header.rustc
        },
        header.date,
        results.gates.len(),
        if header.quick {
            ", **quick: too few to rest anything on**"
        } else {
            ""
        },
    )?;
    if let Some(load) = header.load_1m.filter(|load| *load > 0.5) {
        writeln!(
            text,
            "\n**The machine was not idle** when this began: {load:.1} tasks ran."
        )?;
    }
    for (at, again) in results.again.iter().enumerate() {
        if results.again[at + 1..]
            .iter()
            .any(|later| later.of == again.of)
        {
            continue;
        }
        let load = again
            .load_1m
            .map_or_else(String::new, |load| format!(", {load:.1} tasks running"));
        writeln!(
            text,
            "\nMeasured again on {}{load}: the cells `{}`.",
            again.date, again.of
        )?;
    }
    if let Some(bounds) = &header.bounds {
        writeln!(text, "\nOf the bounds of the code's own time: {bounds}.")?;
    }
    Ok(())
}

/// The rows of the goals' table.
struct Goals<'a>(&'a mut String);

impl Goals<'_> {
    fn row(
        &mut self,
        figure: &str,
        goal: &str,
        measured: impl Display,
        bound: impl Display,
        reached: bool,
    ) -> fmt::Result {
        let reached = if reached { "reached" } else { "MISSED" };
        writeln!(
            self.0,
            "| {figure} | {goal} | {measured} | {bound} | {reached} |"
        )
    }

    /// Events that should not be.
    fn at_most(
        &mut self,
        figure: &str,
        goal: (&str, f64),
        events: u64,
        trials: u64,
    ) -> fmt::Result {
        let share = events as f64 / trials.max(1) as f64;
        self.row(
            figure,
            goal.0,
            format_args!("{events} of {trials}"),
            format_args!("≤ {:.2} %", 100.0 * upper_bound(events, trials)),
            trials > 0 && share <= goal.1,
        )
    }

    /// Code that should be caught.
    fn caught(&mut self, figure: &str, tally: &Tally) -> fmt::Result {
        self.row(
            figure,
            "≥ 99.9 %",
            format_args!("{} of {}{}", tally.over, tally.n, excuses(tally)),
            format_args!("≥ {:.2} %", 100.0 * lower_bound(tally.over, tally.n)),
            tally.n > 0 && tally.over as f64 >= 0.999 * tally.n as f64,
        )
    }
}

/// Why the rest of the code that should be caught was not proved guilty.
fn excuses(tally: &Tally) -> String {
    let of = |n: u64, what: &str| {
        if n == 0 {
            String::new()
        } else {
            format!("; {n} undecided for {what}")
        }
    };
    let by_steal = of(tally.by_steal, "the time that a hypervisor took");
    by_steal + &of(tally.by_others, "the CPU time of others")
}

fn goals(text: &mut String, results: &Results) -> fmt::Result {
    let of_ms = |op, ms, variant, load| {
        Tally::of(results, |cell| {
            (cell.op, cell.ms, cell.variant, cell.load) == (op, ms, variant, load)
        })
    };
    let of = |op, variant, load| of_ms(op, 1, variant, load);
    let idle = of(Op::Cpu, Variant::Unchanged, Load::Idle);
    let busy = of(Op::Cpu, Variant::Unchanged, Load::Busy4);
    writeln!(
        text,
        "\n## Figures to reach\n\n\
         Code of about 1 ms where nothing else is said; single-threaded code computes. Bounds are one-sided, exact, at 95 % \
         (Clopper and Pearson 1934): what was seen would be this rare at worse rates.\n\n\
         | figure | goal | measured | 95 % bound | |\n|---|---|---|---|---|"
    )?;
    let mut goals = Goals(text);
    goals.at_most(
        "unchanged, idle: false failures",
        ("0", 0.0),
        idle.over,
        idle.n,
    )?;
    goals.at_most(
        "unchanged, beside 4 × cores: false failures",
        ("0", 0.0),
        busy.over,
        busy.n,
    )?;
    goals.at_most(
        "unchanged, beside 4 × cores: undecided",
        ("≤ 1 %", 0.01),
        busy.undecided,
        busy.n,
    )?;
    let ratio = median(&busy.hi) / median(&idle.hi);
    goals.row(
        "hi beside 4 × cores ÷ hi idle, medians",
        "0.90 … 1.10",
        Ratio(ratio),
        "",
        (0.9..=1.1).contains(&ratio),
    )?;
    for op in [Op::Cpu, Op::Sleep, Op::Lock, Op::Threads] {
        let figure = format!("1.5 × over, {}, idle: caught", op.title());
        goals.caught(&figure, &of(op, Variant::Slow, Load::Idle))?;
    }
    let threads = of_ms(Op::Threads, 5, Variant::Slow, Load::Idle);
    goals.caught(
        "1.5 × over, own busy threads of 5 ms, idle: caught",
        &threads,
    )?;
    for op in [Op::Cpu, Op::Sleep] {
        let figure = format!("1.5 × over, {}, beside 4 × cores: caught", op.title());
        goals.caught(&figure, &of(op, Variant::Slow, Load::Busy4))?;
    }
    let slow = Tally::of(results, |cell| cell.variant == Variant::Slow);
    goals.at_most(
        "1.5 × over, every operation and load: passed as within or contended",
        ("0", 0.0),
        slow.passed(),
        slow.n,
    )?;
    for (figure, tally) in [("idle", &idle), ("beside 4 × cores", &busy)] {
        let rounds = tally.passing_rounds as f64 / tally.passed() as f64;
        goals.row(
            &format!("rounds of a passing gate, {figure}, mean"),
            "1",
            format_args!("{rounds:.3}"),
            "",
            rounds < 1.005,
        )?;
    }
    Ok(())
}

fn unchanged(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Unchanged code: how often does it fail?\n\n\
         The limit at multiplier 1.0 is 3 × what the code takes idle (5 × for a child process). \
         1.2 × is a limit that nobody should set, to make it hard. *Wall alone* is the trimmed mean \
         of a gate's first round, from the same samples. Undecided gates pass, and warn.\n\n\
         ![false failures by load](noise-study/false-failures.svg)"
    )?;
    for (variant, limit) in [(Variant::Unchanged, "3 ×"), (Variant::Tight, "1.2 ×")] {
        writeln!(
            text,
            "\nComputing for 5 ms, limit {limit}:\n\n\
             | load | `assert!` | criterion | divan | wall alone | perfbudget | undecided | \
             gates, criterion, divan |\n|---|---|---|---|---|---|---|---|"
        )?;
        for load in Load::ALL {
            let failures = FalseFailures::of(results, Op::Cpu, load, variant);
            let [bare, criterion, divan, wall, gate] = Way::ALL.map(|way| failures.share(way));
            writeln!(
                text,
                "| {load} | {bare} | {criterion} | {divan} | {wall} | {gate} | {} | {}, {}, {} |",
                Share(failures.gates.undecided, failures.gates.n),
                failures.gates.n,
                criterion.1,
                divan.1,
            )?;
        }
    }
    for (variant, limit) in [
        (Variant::Unchanged, "that of the class"),
        (Variant::Tight, "1.2 ×"),
    ] {
        writeln!(
            text,
            "\nAll operations and lengths together, limit {limit}:\n\n\
             | load | `assert!` | wall alone | perfbudget | undecided | gates |\n\
             |---|---|---|---|---|---|"
        )?;
        for load in Load::ALL {
            let tally = Tally::of(results, |c| {
                c.load == load && c.variant == variant && !is_headline(c)
            });
            gate_row(text, &load, &tally)?;
        }
        writeln!(
            text,
            "\nBeside 4 × cores, by operation, limit {limit}:\n\n\
             | operation | `assert!` | wall alone | perfbudget | undecided | gates |\n\
             |---|---|---|---|---|---|"
        )?;
        for op in Op::ALL {
            let tally = Tally::of(results, |cell| {
                (cell.op, cell.load, cell.variant) == (op, Load::Busy4, variant)
            });
            gate_row(text, &op.title(), &tally)?;
        }
    }
    Ok(())
}

/// Cells with so many runs that they would drown the others of a sum.
fn is_headline(cell: Cell) -> bool {
    study::headlines()
        .iter()
        .any(|(headline, _)| *headline == cell)
}

fn gate_row(text: &mut String, name: &dyn Display, tally: &Tally) -> fmt::Result {
    if tally.n == 0 {
        return Ok(());
    }
    let share = |events| Share(events, tally.n);
    writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {} |",
        share(tally.bare_over),
        share(tally.wall_over),
        share(tally.over),
        share(tally.undecided),
        tally.n
    )
}

/// The 5 ms operation, whatever its limit: each gate's first round is the same measurement.
fn five_ms(results: &Results, op: Op, load: Load) -> Tally {
    Tally::of(results, |cell| {
        (cell.op, cell.ms, cell.load) == (op, 5, load)
    })
}

fn spread(text: &mut String, results: &Results) -> fmt::Result {
    let idle = five_ms(results, Op::Cpu, Load::Idle);
    writeln!(
        text,
        "\n## Spread\n\n\
         Computing for 5 ms. CV is the deviation over the mean, of figures that should all be the \
         same; wall and hi are the trimmed means of a gate's first round, ÷ idle of their medians, \
         and hi's worst in twenty.\n\n\
         ![wall and hi by load](noise-study/wall-and-hi.svg)\n\n\
         | load | wall ÷ idle | hi ÷ idle | hi, 95th of 100 | CV of `assert!` | criterion | divan | \
         wall | hi | gates |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for load in Load::ALL {
        let tally = five_ms(results, Op::Cpu, load);
        let [criterion, divan] = Tool::ALL.map(|tool| {
            let all = estimates(results, tool, |e| e.op == Op::Cpu && e.load == load);
            let all: Vec<f64> = all.iter().map(|e| e.estimate_ns).collect();
            Percent(cv_percent(&all))
        });
        writeln!(
            text,
            "| {load} | {} | {} | {} | {} | {criterion} | {divan} | {} | {} | {} |",
            Ratio(median(&tally.wall) / median(&idle.wall)),
            Ratio(median(&tally.hi) / median(&idle.hi)),
            Ratio(quantile(&tally.hi, 0.95) / median(&idle.hi)),
            Percent(cv_percent(&tally.bare)),
            Percent(cv_percent(&tally.wall)),
            Percent(cv_percent(&tally.hi)),
            tally.n
        )?;
    }
    Ok(())
}

fn slow(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Slow code: how often is it caught?\n\n\
         The code takes 1.5 × its limit, idle. Caught is the verdict `over`, the only one that \
         fails. An undecided gate passes and says so; a passing verdict `within` or `contended` is \
         an error. Work that a loaded machine makes longer is easily \"caught\" by wall, as \
         everything is: the price stands in the tables above.\n\n\
         ![slow code by operation](noise-study/slow-code.svg)"
    )?;
    for load in [Load::Idle, Load::Busy4] {
        writeln!(
            text,
            "\n{}, all lengths:\n\n\
             | operation | caught | undecided | passed | caught by `assert!` | by wall alone | gates |\n\
             |---|---|---|---|---|---|---|",
            capitalised(load.title())
        )?;
        for op in Op::ALL {
            let tally = Tally::of(results, |cell| {
                (cell.op, cell.load, cell.variant) == (op, load, Variant::Slow)
            });
            slow_row(text, &op.title(), &tally)?;
        }
    }
    writeln!(
        text,
        "\nAll operations and lengths together, the cells of the goals left out:\n\n\
         | load | caught | undecided | passed | caught by `assert!` | by wall alone | gates |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for load in Load::ALL {
        let tally = Tally::of(results, |cell| {
            cell.load == load && cell.variant == Variant::Slow && !is_headline(cell)
        });
        slow_row(text, &load, &tally)?;
    }
    writeln!(
        text,
        "\nBy the other tools' estimates, of 5 ms:\n\n\
         | operation | load | criterion | divan | estimates of each |\n|---|---|---|---|---|"
    )?;
    for op in Op::ALL {
        for load in Load::ALL {
            let failures = FalseFailures::of(results, op, load, Variant::Slow);
            let [criterion, divan] = [Way::Criterion, Way::Divan].map(|way| failures.share(way));
            if criterion.1 > 0 {
                writeln!(
                    text,
                    "| {} | {load} | {criterion} | {divan} | {} |",
                    op.title(),
                    criterion.1
                )?;
            }
        }
    }
    errors(text, results)
}

/// The cells with slow gates that passed or unchanged ones that failed, and the first of each with
/// its rounds.
fn errors(text: &mut String, results: &Results) -> fmt::Result {
    let mut wrong: BTreeMap<(Cell, &str), Vec<&Gated>> = BTreeMap::new();
    for gated in &results.gates {
        if tools::is_wrong(gated.cell.variant, gated.run.verdict) {
            let verdict = gated.run.verdict.name();
            wrong.entry((gated.cell, verdict)).or_default().push(gated);
        }
    }
    writeln!(
        text,
        "\n### Wrong verdicts\n\n\
         Unchanged code that failed and slow code that passed: {} of {} gate runs.",
        wrong.values().map(Vec::len).sum::<usize>(),
        results.gates.len()
    )?;
    if wrong.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nTheir whole records are in what the study leaves in `target/noise-study`.\n\n\
         | gate | load | verdict | gates | limit | the first: wall, lo … hi of each round |\n\
         |---|---|---|---|---|---|"
    )?;
    for ((cell, verdict), gates) in &wrong {
        let first = gates[0];
        let rounds: Vec<String> = first.run.rounds.iter().map(round).collect();
        writeln!(
            text,
            "| {cell} | {} | {verdict} | {} of {} | {} | {} |",
            cell.load,
            gates.len(),
            Tally::of(results, |other| other == *cell).n,
            Nanoseconds(first.limit_ns),
            rounds.join("; ")
        )?;
    }
    Ok(())
}

fn round(round: &Round) -> String {
    let [wall, lo, hi] = [round.wall, round.lo, round.hi].map(Nanoseconds);
    format!("{wall}, {lo} … {hi}")
}

fn slow_row(text: &mut String, name: &dyn Display, tally: &Tally) -> fmt::Result {
    if tally.n == 0 {
        return Ok(());
    }
    let share = |events| Share(events, tally.n);
    writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {} | {} |",
        share(tally.over),
        share(tally.undecided),
        share(tally.passed()),
        share(tally.bare_over),
        share(tally.wall_over),
        tally.n
    )
}

fn not_taken_out(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## What the bounds do not take out\n\n\
         Waiting for a CPU can be told from computing. A slower memory bus, a shared cache that \
         others fill, a queue at the disk and a lower clock can't: the code itself takes longer \
         then, and hi grows with wall. What is left, of 5 ms, medians ÷ those of the same operation \
         idle:\n\n\
         | operation | memory hog: wall | lo | hi | disk hog: wall | lo | hi | \
         4 × cores: wall | lo | hi |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for op in Op::ALL {
        let idle = five_ms(results, op, Load::Idle);
        if idle.n == 0 {
            continue;
        }
        write!(text, "| {} |", op.title())?;
        for load in [Load::Memory, Load::Disk, Load::Busy4] {
            let tally = five_ms(results, op, load);
            write!(
                text,
                " {} | {} | {} |",
                Ratio(median(&tally.wall) / median(&idle.wall)),
                Ratio(median(&tally.lo) / median(&idle.lo)),
                Ratio(median(&tally.hi) / median(&idle.hi)),
            )?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn cost(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## What it costs\n\n\
         Computing; medians of the whole gate, process start not included. criterion and divan in \
         the settings below, process start included.\n\n\
         | | idle | beside 4 × cores |\n|---|---|---|"
    )?;
    let both = [Load::Idle, Load::Busy4];
    for (variant, what) in [
        (Variant::Unchanged, "that passes"),
        (Variant::Slow, "that fails"),
    ] {
        for ms in [1, 5, 20] {
            let [idle, busy] = both.map(|load| {
                let tally = Tally::of(results, |cell| {
                    (cell.op, cell.ms, cell.variant, cell.load) == (Op::Cpu, ms, variant, load)
                });
                Time(median(&tally.spent))
            });
            writeln!(text, "| a gate {what}, {ms} ms | {idle} | {busy} |")?;
        }
    }
    for tool in Tool::ALL {
        let [idle, busy] = both.map(|load| {
            let all = estimates(results, tool, |e| e.op == Op::Cpu && e.load == load);
            let spent: Vec<f64> = all.iter().map(|e| e.spent as f64).collect();
            Time(median(&spent))
        });
        writeln!(text, "| {}, 5 ms | {idle} | {busy} |", tool.name())?;
    }
    Ok(())
}

fn method(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## How it was done\n\n\
         **Loads** are processes of the study's own, pinned nowhere: busy ones compute, a memory \
         hog a core streams through 256 MiB, a disk hog a core writes 4 MiB and syncs, again and \
         again. Nothing is measured before all of them run.\n\n\
         **Operations** are calibrated to take 1, 5 and 20 ms on the machine as the study finds it \
         (1.6 ms where slow code wants a limit above the floor of 1 ms), and then observed: the \
         median over {} processes of two rounds each is what *idle* means here. A child process \
         can't take 1 ms; 20 ms were measured idle and, of unchanged code, beside 4 × cores. Own \
         busy threads: eight, and the measuring thread with them. A child process is waited for by \
         std, and by `perfbudget::command_status`, which reads what it waited for. The last column is what the idle \
         gates of 5 ms took in the study, ÷ what was observed before it: a machine that changed \
         shows there.\n\n\
         | operation | class | observed idle | then ÷ before |\n|---|---|---|---|",
        study::observing_processes(results.header.quick)
    )?;
    for op in Op::ALL {
        let times: Vec<String> = results
            .header
            .observed
            .iter()
            .filter(|observed| observed.op == op)
            .map(|observed| Nanoseconds(observed.idle_ns).to_string())
            .collect();
        let class = match op.class() {
            perfbudget::Class::Cold => "cold",
            perfbudget::Class::Warm => "warm",
        };
        if !times.is_empty() {
            let before = limit_ns(results, op, Variant::Unchanged) / f64::from(op.class().factor());
            let then = median(&five_ms(results, op, Load::Idle).wall);
            writeln!(
                text,
                "| {} | {class} | {} | {} |",
                op.title(),
                times.join(", "),
                Ratio(then / before)
            )?;
        }
    }
    writeln!(
        text,
        "\n**Gates** ran with multiplier 1.0, a hundred at most in a process, one process at a \
         time. Before each, one run of the operation was timed: that is the bare `assert!`, kinder \
         than in life, where the first run of a process is the one that is timed.\n\n\
         **criterion 0.8.2** ran in a process of its own per estimate, with {} ms of warm-up, {} ms \
         of measurement, {} samples and 1,000 resamples, where 3 s, 5 s, 100 and 100,000 are its \
         defaults, so that there could be more than one estimate; its slope, or its mean where it \
         has none, against the same limit. **divan 0.1.21** likewise, {} samples of one run each \
         (100 is its default), its median. Neither claims to decide: that is what people make of \
         them.\n\n\
         **The schedule** takes the loads in turn, three times over, and shuffles what runs beside \
         each, so that all ways to decide see the same conditions. The grid is sampled: cells get \
         time by the root of what a run costs, the cells of the goals a fixed number of runs. \
         Asked for were {} minutes.\n\n\
         **To repeat it**: `make noise-study` on an otherwise idle machine, `MINUTES=90` for more \
         runs; `scripts/noise-study --help` for the rest. One machine is one machine: the figures \
         are of that above.",
        tools::CRITERION_WARM_UP.as_millis(),
        tools::CRITERION_MEASUREMENT.as_millis(),
        tools::CRITERION_SAMPLES,
        tools::DIVAN_SAMPLES,
        results.header.minutes,
    )
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::results::tests::{CELL, gated, header};
    use crate::results::{Estimated, Excuse};
    use perfbudget::Verdict;

    #[test]
    fn shares_never_round_to_all_or_none() {
        for (events, trials, text) in [
            (0, 3000, "0 %"),
            (1, 3000, "0.033 %"),
            (2999, 3000, "99.967 %"),
            (3000, 3000, "100 %"),
            (1, 7, "14 %"),
            (199, 199, "100 %"),
            (198, 199, "99 %"),
            (0, 0, "–"),
        ] {
            assert_eq!(Share(events, trials).to_string(), text, "{events}/{trials}");
        }
    }

    fn results() -> Results {
        let mut header = header();
        header.observed.push(crate::results::Observed {
            op: Op::Cpu,
            nominal_us: 5000,
            amount: 1,
            idle_ns: 150,
        });
        Results {
            header,
            gates: vec![
                gated(CELL, Verdict::Over, 150, 150),
                gated(CELL, Verdict::Within, 90, 90),
            ],
            estimates: [140.0, 90.0]
                .map(|estimate_ns| Estimated {
                    tool: Tool::Divan,
                    op: Op::Cpu,
                    nominal_us: 5000,
                    load: Load::Busy4,
                    estimate_ns,
                    spent: 1,
                })
                .to_vec(),
            done: BTreeSet::new(),
            again: Vec::new(),
        }
    }

    #[test]
    fn every_way_to_decide_is_held_against_the_same_limit() {
        let failures = FalseFailures::of(&results(), Op::Cpu, Load::Busy4, Variant::Slow);
        let percent = Way::ALL.map(|way| failures.percent(way).map(|p| p.round() as i64));
        assert_eq!(percent, [Some(50), None, Some(50), Some(50), Some(50)]);
    }

    #[test]
    fn a_wrong_verdict_is_listed_and_a_goal_without_runs_is_missed() {
        let text = markdown(&results());
        assert!(
            text.contains("| cpu-5-slow | 4 × cores busy | within | 1 of 2 |"),
            "{text}"
        );
        assert!(text.contains("1 of 2 gate runs"), "{text}");
        assert!(
            text.contains("| 0 of 0 |") && text.contains("MISSED"),
            "{text}"
        );
    }

    #[test]
    fn who_is_not_caught_says_what_excused_it() {
        let mut results = results();
        let caught = Cell {
            op: Op::Sleep,
            ms: 1,
            variant: Variant::Slow,
            load: Load::Idle,
        };
        for excuse in [Some(Excuse::Steal), Some(Excuse::Others), None] {
            let mut gated = gated(caught, Verdict::Undecided, 150, 150);
            gated.run.excuse = excuse;
            results.gates.push(gated);
        }
        let text = markdown(&results);
        let expected = "| 0 of 3; 1 undecided for the time that a hypervisor took; 1 undecided \
                        for the CPU time of others |";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn every_table_has_as_many_cells_in_each_row() {
        let text = markdown(&results());
        let tables = text.split("\n\n").filter(|block| block.starts_with('|'));
        for table in tables {
            let columns: BTreeSet<_> = table.lines().map(|row| row.matches('|').count()).collect();
            assert_eq!(columns.len(), 1, "{table}");
        }
    }
}
