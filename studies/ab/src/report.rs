//! The report: a document for a newcomer, made from the results alone.

use std::fmt::{self, Display, Write};
use std::fs;
use std::io;
use std::path::Path;

use shared::statistics::{lower_bound, median, quantile, upper_bound};

use crate::cells::{Cell, HALF_OF_2, HALF_OF_5, Way};
use crate::loads::Load;
use crate::plots;
use crate::results::{Compared, Header, Results, Said};
use crate::ways;

/// What some comparisons said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) n: u64,
    pub(crate) slower: u64,
    pub(crate) faster: u64,
    pub(crate) no_difference: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn of<'a>(compared: impl IntoIterator<Item = &'a Compared>) -> Self {
        let mut tally = Self::default();
        for one in compared {
            tally.n += 1;
            *match one.said {
                Said::Slower => &mut tally.slower,
                Said::Faster => &mut tally.faster,
                Said::NoDifference => &mut tally.no_difference,
                Said::Unknown => &mut tally.unknown,
                Said::Failed => &mut tally.failed,
            } += 1;
        }
        tally
    }

    /// Of code that did not change: that it did, or a failure.
    pub(crate) fn false_alarms(self) -> u64 {
        self.slower + self.faster + self.failed
    }
}

impl Results {
    /// Those that fit, in the order of the run.
    pub(crate) fn all(&self, is_it: impl Fn(Cell) -> bool) -> Vec<&Compared> {
        let fits = |one: &&Compared| is_it(one.cell);
        self.compared.iter().filter(fits).collect()
    }
}

/// The cell of a change at half its size, or of none at half of 5 %.
pub(crate) fn cell(way: Way, slower_percent: u64, load: Load) -> Cell {
    Cell {
        way,
        slower_percent,
        threshold_permille: if slower_percent == 2 {
            HALF_OF_2
        } else {
            HALF_OF_5
        },
        load,
    }
}

/// Events of trials.
#[derive(Clone, Copy)]
struct Share(u64, u64);

impl Share {
    fn percent(self) -> f64 {
        100.0 * self.0 as f64 / self.1.max(1) as f64
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 == 0 {
            f.write_str("–")
        } else {
            write!(f, "{} of {}", self.0, self.1)
        }
    }
}

/// A row of the table of goals.
struct Goal {
    what: String,
    goal: String,
    measured: String,
    bound: String,
    reached: Option<bool>,
}

impl Goal {
    /// At most so many per cent of something bad.
    fn at_most(what: &str, share: Share, percent: f64) -> Self {
        Self {
            what: what.to_owned(),
            goal: format!("≤ {percent} %"),
            measured: format!("{share} ({:.1} %)", share.percent()),
            bound: format!("≤ {:.2} %", 100.0 * upper_bound(share.0, share.1)),
            reached: (share.1 > 0).then(|| share.percent() <= percent),
        }
    }

    /// At least so many per cent of something good.
    fn at_least(what: &str, share: Share, percent: f64) -> Self {
        Self {
            what: what.to_owned(),
            goal: format!("≥ {percent} %"),
            measured: format!("{share} ({:.1} %)", share.percent()),
            bound: format!("≥ {:.1} %", 100.0 * lower_bound(share.0, share.1)),
            reached: (share.1 > 0).then(|| share.percent() >= percent),
        }
    }

    /// Just to be said.
    fn said(what: &str, measured: String) -> Self {
        Self {
            what: what.to_owned(),
            goal: "stated".to_owned(),
            measured,
            bound: String::new(),
            reached: None,
        }
    }
}

/// Writes the document, its plots and its figures.
///
/// # Errors
/// When a file can't be read or written.
pub fn write(results: &Path, to: &Path) -> io::Result<()> {
    let results = Results::read(results)?;
    let name = to.file_stem().unwrap_or_default().to_string_lossy();
    let directory = to.with_file_name(&*name);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("comparisons.csv"), csv(&results))?;
    let drawn = |error: Box<dyn std::error::Error>| io::Error::other(error.to_string());
    plots::said(&directory.join("said.svg"), &results).map_err(drawn)?;
    plots::estimates(&directory.join("estimates.svg"), &results).map_err(drawn)?;
    fs::write(to, document(&results, &name))
}

fn document(results: &Results, name: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    _ = head(&mut text, results, name)
        .and_then(|()| goals(&mut text, results))
        .and_then(|()| how(&mut text))
        .and_then(|()| side_by_side(&mut text, results, name))
        .and_then(|()| by_pace(&mut text, results))
        .and_then(|()| by_build(&mut text, results))
        .and_then(|()| takes(&mut text, results));
    text
}

fn machine(header: &Header) -> String {
    format!(
        "{}, {} cores, {}, {}, {}",
        header.cpu, header.cores, header.system, header.rustc, header.date
    )
}

fn head(text: &mut String, results: &Results, name: &str) -> fmt::Result {
    let header = &results.header;
    writeln!(
        text,
        "# A/B study\n\n\
         A comparison is to say *slower* when code got slower, never when it did not, and *inconclusive* \
         when it can't know. How often is each of that so? Here `cargo perfbudget compare` decides \
         on code that is the same, 2 % slower and 5 % slower, on a quiet machine and beside busy \
         processes, with tango-bench, criterion and perfgate on the same code in the same run.\n\n\
         Made by `make ab-study` (`scripts/ab-study`), which anyone can run; every comparison is in \
         [{name}/comparisons.csv]({name}/comparisons.csv).\n\n\
         {}. {} comparisons.\n",
        machine(header),
        results.compared.len()
    )?;
    let begun = [header].into_iter().chain(&results.resumed);
    for header in begun {
        if let Some(load) = header.load_1m.filter(|load| *load > 0.5) {
            writeln!(
                text,
                "**The machine was not quiet** when this began: {load} tasks ran.\n"
            )?;
        }
    }
    if !results.resumed.is_empty() {
        let times = results.resumed.len();
        let times = if times == 1 {
            "once".to_owned()
        } else {
            format!("{times} times")
        };
        writeln!(text, "It was broken off and taken up again {times}.\n")?;
    }
    if header.quick {
        writeln!(
            text,
            "**A quick run**: too few comparisons to say anything.\n"
        )?;
    }
    Ok(())
}

fn goals(text: &mut String, results: &Results) -> fmt::Result {
    let of = |cell: Cell| results.all(|c| c == cell);
    let tally = |slower, load| Tally::of(of(cell(Way::Gate, slower, load)));
    let seconds = |cell: Cell, share: f64| {
        let all: Vec<f64> = of(cell)
            .iter()
            .filter_map(|one| one.measuring_seconds)
            .collect();
        quantile(&all, share)
    };
    let within = |cell: Cell, limit: f64| {
        let all = of(cell);
        let is_found = |one: &&&Compared| {
            one.said == Said::Slower && one.measuring_seconds.is_some_and(|s| s <= limit)
        };
        Share(all.iter().filter(is_found).count() as u64, all.len() as u64)
    };
    let same = tally(0, Load::Quiet);
    let ours = |way| matches!(way, Way::Gate | Way::Commands);
    let changed = Tally::of(results.all(|c| ours(c.way) && c.slower_percent > 0));
    let all_same = Tally::of(results.all(|c| ours(c.way) && c.slower_percent == 0));
    let busy = tally(5, Load::OneBusy);
    let (five, two) = (
        cell(Way::Gate, 5, Load::Quiet),
        cell(Way::Gate, 2, Load::Quiet),
    );
    let rows = [
        Goal::at_most(
            "same code: rejected, or failed",
            Share(same.slower + same.failed, same.n),
            1.0,
        ),
        Goal::at_most(
            "same code: accepted as an improvement",
            Share(same.faster, same.n),
            1.0,
        ),
        Goal::said(
            "same code: inconclusive",
            format!(
                "{} ({:.1} %)",
                Share(same.unknown, same.n),
                Share(same.unknown, same.n).percent()
            ),
        ),
        Goal::at_most(
            "slower code called faster, all loads and sizes, gates and commands",
            Share(changed.faster, changed.n),
            0.0,
        ),
        Goal::at_least(
            "5 % slower, quiet: found within 2 s",
            within(five, 2.0),
            95.0,
        ),
        Goal::at_least(
            "5 % slower, one core busy: found",
            Share(busy.slower, busy.n),
            80.0,
        ),
        Goal::at_most(
            "5 % slower, one core busy: neither found nor inconclusive",
            Share(busy.n - busy.slower - busy.unknown, busy.n),
            0.0,
        ),
        Goal::at_least(
            "2 % slower, quiet: found within 10 s",
            within(two, 10.0),
            90.0,
        ),
        Goal::said(
            "same code, all loads and thresholds, gates and commands: called changed",
            Share(all_same.false_alarms(), all_same.n).to_string(),
        ),
        Goal::said(
            "comparisons that failed, gates and commands",
            Share(all_same.failed + changed.failed, all_same.n + changed.n).to_string(),
        ),
        Goal::said(
            "measuring, 5 % slower, quiet: median, 95 in 100",
            format!("{:.2} s, {:.2} s", seconds(five, 0.5), seconds(five, 0.95)),
        ),
        Goal::said(
            "measuring, 2 % slower, quiet: median, 95 in 100",
            format!("{:.2} s, {:.2} s", seconds(two, 0.5), seconds(two, 0.95)),
        ),
    ];
    writeln!(
        text,
        "## Figures to reach\n\n\
         Of comparisons of one gate, with a threshold of half the true change (2.5 % where there is \
         none) and everything else as it is by default. Bounds are one-sided, exact, at 95 % \
         (Clopper and Pearson 1934): what was seen would be this rare at worse rates.\n\n\
         | figure | goal | measured | 95 % bound | |\n|---|---|---|---|---|"
    )?;
    for row in rows {
        let reached = match row.reached {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "",
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {reached} |",
            row.what, row.goal, row.measured, row.bound
        )?;
    }
    writeln!(text)
}

fn how(text: &mut String) -> fmt::Result {
    writeln!(
        text,
        "## What a comparison is\n\n\
         One run of `cargo perfbudget compare` of two directories that have one gate, by the tool as \
         users have it: it builds (there is nothing left to build), lists, finds the gate, measures in \
         blocks, looks when it planned to, and decides. What it decided is read from its \
         `decision.json`; *measuring* is the time from its line `measuring …` to its line `the report \
         is …`. Error rates are of whole runs of the tool, however often it looked.\n\n\
         The code sorts pages of numbers, {} of them in a third of a millisecond; slower code has more \
         pages, 1 % of them for 1 % of the time ([its source](../studies/ab/sides/subject/src/lib.rs)). \
         *Same code* is the same source, not the same file twice: there are {} builds of it beside the \
         baseline's, which take turns, each under another version number, so that symbols have other \
         names and a program another layout, as two revisions have.\n\n\
         - **compare, a gate**: all by default, but for `--max-repetitions {}` where the threshold is \
         1 %.\n\
         - **compare, commands**: the work 130 times in a process, `--min-repetitions {one_look} \
         --max-repetitions {one_look}`. Copies of one file, as for the other tools; of the same code \
         the same file.\n\
         - **tango-bench 0.9.0**: `compare -t {}`, the noise threshold as above. Baseline and candidate \
         are copies of one file here, which read the amount of work in their names: they have the same \
         layout.\n\
         - **criterion 0.8.2**: `--save-baseline` and then `--baseline`, {} s of warm-up and {} s of \
         measurement each (by itself it takes 3 and 5), 100 samples, the noise threshold as above. \
         Copies of one file, too.\n\
         - **perfgate-cli 0.18.1**: `paired --repeat {} --fail-on-regression` with the threshold, of \
         the same commands. It has no word for what got faster; its rule is applied to that as well.\n\n\
         criterion, tango-bench and perfgate do not tell *no difference* from *not known*; they are \
         counted under the former. All kinds of comparisons take turns in twenty rounds.\n",
        subject::PAGES,
        crate::sides::builds(0),
        ways::REPETITIONS_FOR_2,
        ways::TANGO_SECONDS,
        ways::CRITERION_WARM_UP,
        ways::CRITERION_MEASUREMENT,
        ways::PERFGATE_PAIRS,
        one_look = ways::REPETITIONS_OF_ONE_LOOK,
    )
}

fn side_by_side(text: &mut String, results: &Results, name: &str) -> fmt::Result {
    writeln!(
        text,
        "## Side by side\n\n![what was said of the same and of slower code]({name}/said.svg)\n\n\
         Found is *slower*, false is *slower* or *faster* of the same code, wrong is *faster* of slower \
         code. Seconds are those of the whole comparison, medians.\n\n\
         | beside | tool | same code: false | not known | 5 % slower: found | wrong | not known | \
         seconds |\n|---|---|---|---|---|---|---|---|"
    )?;
    for load in Load::ALL {
        for way in Way::ALL {
            let same = results.all(|c| c == cell(way, 0, load));
            let slower = results.all(|c| c == cell(way, 5, load));
            if same.is_empty() && slower.is_empty() {
                continue;
            }
            let seconds: Vec<f64> = same.iter().chain(&slower).map(|one| one.seconds).collect();
            let (same, slower) = (Tally::of(same), Tally::of(slower));
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {:.1} |",
                load.title(),
                way.title(),
                Share(same.false_alarms(), same.n),
                Share(same.unknown, same.n),
                Share(slower.slower, slower.n),
                Share(slower.faster, slower.n),
                Share(slower.unknown, slower.n),
                median(&seconds)
            )?;
        }
    }
    writeln!(
        text,
        "\n2 %, quiet, with a threshold of 1 %:\n\n\
         | tool | same code: false | not known | 2 % slower: found | wrong | not known | seconds |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for way in Way::ALL {
        let two = results.all(|c| c == cell(way, 2, Load::Quiet));
        if two.is_empty() {
            continue;
        }
        let same = Tally::of(results.all(|c| {
            let cell = cell(way, 0, Load::Quiet);
            c == Cell {
                threshold_permille: HALF_OF_2,
                ..cell
            }
        }));
        let seconds: Vec<f64> = two.iter().map(|one| one.seconds).collect();
        let two = Tally::of(two);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} |",
            way.title(),
            Share(same.false_alarms(), same.n),
            Share(same.unknown, same.n),
            Share(two.slower, two.n),
            Share(two.faster, two.n),
            Share(two.unknown, two.n),
            median(&seconds)
        )?;
    }
    writeln!(
        text,
        "\n![the estimates of each tool]({name}/estimates.svg)\n\n\
         | beside | tool | same code: estimates, middle 90 % | 5 % slower: estimates, middle 90 % |\n\
         |---|---|---|---|"
    )?;
    for load in Load::ALL {
        for way in Way::ALL {
            let middle = |slower| {
                let estimates = percents(results, cell(way, slower, load));
                match estimates.len() {
                    0 => "–".to_owned(),
                    _ => format!(
                        "{:+.1} … {:+.1} %",
                        quantile(&estimates, 0.05),
                        quantile(&estimates, 0.95)
                    ),
                }
            };
            let (same, slower) = (middle(0), middle(5));
            if same != "–" || slower != "–" {
                let (beside, tool) = (load.title(), way.title());
                writeln!(text, "| {beside} | {tool} | {same} | {slower} |")?;
            }
        }
    }
    writeln!(text)
}

/// What a cell's comparisons estimated.
pub(crate) fn percents(results: &Results, cell: Cell) -> Vec<f64> {
    let all = results.all(|c| c == cell);
    all.iter().filter_map(|one| one.percent).collect()
}

fn by_pace(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "## The pace of the core\n\n\
         A virtual machine with nothing else to do is not yet a quiet one: another one on the same \
         core slows its code for milliseconds or for minutes, and no book of this kernel tells of \
         it. `compare` has every process time fixed work beside its samples, and takes out of \
         the times what goes along with it ([how](ab-decisions.md#the-pace-of-the-core)). The same \
         comparisons of a gate, as they were measured and at one pace: how their processes vary (*max \
         CV*, of the side with more; medians), and the middle 90 % of their estimates.\n\n\
         | beside | slower by | comparisons | max CV, as measured | at one pace | estimates, as \
         measured | at one pace |\n|---|---|---|---|---|---|---|"
    )?;
    for load in Load::ALL {
        for slower in [0, 2, 5] {
            let all = results.all(|c| c == cell(Way::Gate, slower, load));
            let paced = all.iter().filter_map(|one| {
                let now = [one.percent?, one.cv_percent?];
                let before = one.as_measured?;
                Some([[before.percent, before.cv_percent], now])
            });
            let paced: Vec<_> = paced.collect();
            if paced.is_empty() {
                continue;
            }
            let column = |when: usize, figure: usize| -> Vec<f64> {
                paced.iter().map(|one| one[when][figure]).collect()
            };
            let [cv, estimates] = [
                [0, 1].map(|when| format!("{:.1} %", median(&column(when, 1)))),
                [0, 1].map(|when| {
                    let all = column(when, 0);
                    let [low, high] = [0.05, 0.95].map(|share| quantile(&all, share));
                    format!("{low:+.1} … {high:+.1} %")
                }),
            ];
            writeln!(
                text,
                "| {} | {slower} % | {} of {} | {} | {} | {} | {} |",
                load.title(),
                paced.len(),
                all.len(),
                cv[0],
                cv[1],
                estimates[0],
                estimates[1]
            )?;
        }
    }
    writeln!(text)
}

fn by_build(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "## The layouts\n\n\
         The same code under another version number is another program: the medians of the estimates, by the \
         candidate's build. What they differ by is no noise of the moment; no number of repetitions \
         takes it out, and a threshold below it is not to be had.\n\n\
         | build | same code | comparisons | called changed |\n|---|---|---|---|"
    )?;
    let same = results.all(|c| c == cell(Way::Gate, 0, Load::Quiet));
    for build in 0..crate::sides::builds(0) {
        let of_build: Vec<&Compared> = same
            .iter()
            .filter(|one| one.build == build)
            .copied()
            .collect();
        let estimates: Vec<f64> = of_build.iter().filter_map(|one| one.percent).collect();
        let tally = Tally::of(of_build);
        writeln!(
            text,
            "| {build} | {:+.2} % | {} | {} |",
            median(&estimates),
            tally.n,
            tally.false_alarms()
        )?;
    }
    writeln!(text)
}

fn takes(text: &mut String, results: &Results) -> fmt::Result {
    let (mut seconds, mut measuring) = (Vec::new(), Vec::new());
    for one in results.all(|c| c == cell(Way::Gate, 0, Load::Quiet)) {
        seconds.push(one.seconds);
        measuring.extend(one.measuring_seconds);
    }
    writeln!(
        text,
        "## What a comparison costs\n\n\
         Of one gate of a third of a millisecond, the same code, quiet: {:.2} s of measuring (median; {:.2} s \
         in 95 of 100), {:.2} s with Cargo finding that nothing is to be built and the tests being \
         listed and run once.\n\n\
         ## What this does not show\n\n\
         One function that computes on one thread, on one machine; a gate quiet and beside one busy \
         process, commands also beside as many as there are cores. Gates that wait for a disk vary more, \
         and are *inconclusive* more often; so are many gates in one comparison, which share the error \
         rate. A hypervisor's neighbours were as they were.",
        median(&measuring),
        quantile(&measuring, 0.95),
        median(&seconds)
    )
}

fn csv(results: &Results) -> String {
    let mut text =
        "tool,slower_percent,threshold_percent,beside,build,said,estimate_percent,max_cv_percent,\
         estimate_as_measured_percent,max_cv_as_measured_percent,seconds,measuring_seconds\n"
            .to_owned();
    let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.3}"));
    for one in &results.compared {
        _ = writeln!(
            text,
            "{},{},{},{},{},{:?},{},{},{},{},{:.3},{}",
            one.cell.way.title().replace(',', ""),
            one.cell.slower_percent,
            one.cell.threshold_percent(),
            one.cell.load.title(),
            one.build,
            one.said,
            number(one.percent),
            number(one.cv_percent),
            number(one.as_measured.map(|before| before.percent)),
            number(one.as_measured.map(|before| before.cv_percent)),
            one.seconds,
            number(one.measuring_seconds)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells;
    use crate::results::AsMeasured;

    fn results(said: impl Fn(Cell) -> Said) -> Results {
        let compared = cells::plan(true).into_iter().map(|task| Compared {
            cell: task.cell,
            build: task.build,
            said: said(task.cell),
            percent: Some(task.cell.slower_percent as f64),
            cv_percent: Some(3.0),
            as_measured: Some(AsMeasured {
                percent: 4.0,
                cv_percent: 12.0,
            }),
            word: String::new(),
            seconds: 1.5,
            measuring_seconds: Some(1.0),
        });
        Results {
            header: Header {
                date: "2026-11-21".into(),
                cpu: "a CPU".into(),
                cores: 2,
                system: "Linux 6".into(),
                rustc: "rustc 1".into(),
                load_1m: Some(0.9),
                quick: true,
            },
            resumed: Vec::new(),
            compared: compared.collect(),
        }
    }

    fn row<'a>(text: &'a str, begin: &str) -> &'a str {
        text.lines()
            .find(|line| line.starts_with(begin))
            .unwrap_or_else(|| panic!("{begin}: {text}"))
    }

    #[test]
    fn what_is_right_reaches_every_goal() {
        let right = results(|cell| match cell.slower_percent {
            0 => Said::NoDifference,
            _ => Said::Slower,
        });
        let text = document(&right, "ab-study");
        assert_eq!(text.matches("| reached |").count(), 7, "{text}");
        assert!(!text.contains("MISSED"), "{text}");
        assert!(
            text.contains("not quiet") && text.contains("A quick run"),
            "{text}"
        );
        assert!(row(&text, "| same code: rejected").contains("| 0 of 20 (0.0 %) |"));
        assert!(row(&text, "| quiet | tango-bench").contains("| 0 of 4 | 0 of 4 | 4 of 4 |"));
    }

    #[test]
    fn what_is_wrong_misses_every_goal() {
        let wrong = results(|cell| match (cell.slower_percent, cell.load) {
            (0, _) => Said::Slower,
            (_, Load::Quiet) => Said::Faster,
            _ => Said::NoDifference,
        });
        let text = document(&wrong, "ab-study");
        // That the same code is not called faster is all that is right.
        assert_eq!(text.matches("| MISSED |").count(), 6, "{text}");
        assert!(row(&text, "| slower code called faster").contains("MISSED"));
    }

    #[test]
    fn what_is_found_too_late_is_not_found() {
        let mut late = results(|_| Said::Slower);
        for one in &mut late.compared {
            one.measuring_seconds = Some(2.5);
        }
        let text = document(&late, "ab-study");
        assert!(
            row(&text, "| 5 % slower, quiet").contains("MISSED"),
            "{text}"
        );
        assert!(
            row(&text, "| 2 % slower, quiet").contains("reached"),
            "{text}"
        );
    }

    #[test]
    fn what_the_pace_took_is_beside_what_is_left() {
        let mut all = results(|_| Said::Slower);
        let text = document(&all, "ab-study");
        let of_five = row(&text, "| quiet | 5 % | 10 of 10 ");
        assert!(
            of_five.contains("| 12.0 % | 3.0 % | +4.0 … +4.0 % | +5.0 … +5.0 % |"),
            "{of_five}"
        );
        for one in &mut all.compared {
            one.as_measured = None;
        }
        assert!(!document(&all, "ab-study").contains("| quiet | 5 % |"));
    }

    #[test]
    fn every_comparison_is_a_line_of_the_figures() {
        let results = results(|_| Said::Unknown);
        let text = csv(&results);
        assert_eq!(text.lines().count(), results.compared.len() + 1);
        let columns = |line: &str| line.split(',').count();
        assert!(text.lines().all(|line| columns(line) == 12), "{text}");
    }
}
