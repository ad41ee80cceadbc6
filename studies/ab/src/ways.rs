//! The ways to compare, each as its users run it, and what it said.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::cells::{Cell, HALF_OF_2, Task, Way};
use crate::results::{AsMeasured, Compared, Said};
use crate::sides::Places;

/// perfgate's pairs of commands.
pub(crate) const PERFGATE_PAIRS: &str = "10";
/// Seconds that tango-bench measures for.
pub(crate) const TANGO_SECONDS: &str = "1";
/// criterion's settings: a third and a fifth of what it does by itself, in seconds.
pub(crate) const CRITERION_WARM_UP: &str = "1";
pub(crate) const CRITERION_MEASUREMENT: &str = "1";
/// Processes of each side at most, for a change of 2 %: the default is too few for that.
pub(crate) const REPETITIONS_FOR_2: &str = "192";
/// For commands, which take longer than a gate: one look.
pub(crate) const REPETITIONS_OF_ONE_LOOK: &str = "32";

/// What a tool came to.
struct Outcome {
    said: Said,
    percent: Option<f64>,
    cv_percent: Option<f64>,
    as_measured: Option<AsMeasured>,
    word: String,
    measuring_seconds: Option<f64>,
}

/// Compares once.
///
/// # Errors
/// When the tool failed, or said nothing that can be understood.
pub(crate) fn compare(task: Task, places: &Places) -> io::Result<Compared> {
    let begun = Instant::now();
    let Task { cell, build } = task;
    let outcome = match cell.way {
        Way::Gate | Way::Commands => by_compare(task, places),
        Way::Tango => by_tango(cell, places),
        Way::Criterion => by_criterion(cell, places),
        Way::Perfgate => by_perfgate(cell, places),
    }?;
    Ok(Compared {
        cell,
        build,
        said: outcome.said,
        percent: outcome.percent,
        cv_percent: outcome.cv_percent,
        as_measured: outcome.as_measured,
        word: outcome.word,
        seconds: begun.elapsed().as_secs_f64(),
        measuring_seconds: outcome.measuring_seconds,
    })
}

/// A command free of what would change what the tools do and say.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "PERFBUDGET_DENY",
        "PERFBUDGET_DIR",
        "PERFBUDGET_RUN_ID",
        "PERF_BUDGET_MULTIPLIER",
        "RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn failed(output: &Output) -> io::Error {
    io::Error::other(format!(
        "it ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn by_compare(Task { cell, build }: Task, places: &Places) -> io::Result<Outcome> {
    let out = places.directory.join("comparison");
    let policy = places.directory.join("policy.toml");
    let threshold = cell.threshold_percent();
    fs::write(
        &policy,
        format!(
            "[policy]\nexpect = \"no_regression\"\nprimary_threshold_percent = {threshold:?}\n"
        ),
    )?;
    let mut command = command(&places.tool);
    command.args(["perfbudget", "compare"]);
    if cell.way == Way::Gate {
        command.arg("--baseline").arg(places.baseline());
        command
            .arg("--candidate")
            .arg(places.candidate(cell.slower_percent, build));
        if cell.threshold_permille == HALF_OF_2 {
            command.args(["--max-repetitions", REPETITIONS_FOR_2]);
        }
    } else {
        command
            .arg("--baseline-cmd")
            .arg(places.program("by-command", 0));
        command
            .arg("--candidate-cmd")
            .arg(places.program("by-command", cell.slower_percent));
        for bound in ["--min-repetitions", "--max-repetitions"] {
            command.args([bound, REPETITIONS_OF_ONE_LOOK]);
        }
    }
    command.arg("--policy").arg(&policy).arg("--out").arg(&out);
    command
        .current_dir(places.baseline())
        .env("CARGO_TARGET_DIR", places.directory.join("build"))
        .env("CARGO_NET_OFFLINE", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stderr = child.stderr.take().expect("piped");
    let mut all = String::new();
    let mut measured = [None, None];
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        for (begin, time) in ["measuring ", "the report is "].iter().zip(&mut measured) {
            if line.starts_with(begin) {
                *time = Some(Instant::now());
            }
        }
        all.push_str(&line);
        all.push('\n');
    }
    let status = child.wait()?;
    // A failure is a result, and not a good one.
    if status.code() == Some(1) {
        return Ok(Outcome {
            said: Said::Failed,
            percent: None,
            cv_percent: None,
            as_measured: None,
            word: all,
            measuring_seconds: None,
        });
    }
    if ![Some(0), Some(3), Some(4)].contains(&status.code()) {
        return Err(io::Error::other(format!("it ended with {status}\n{all}")));
    }
    let text = fs::read_to_string(out.join("decision.json"))?;
    let decision: Value = serde_json::from_str(&text)?;
    let (said, percent, word) = of_decision(&decision)
        .ok_or_else(|| io::Error::other(format!("it decided {decision:#}")))?;
    let [begin, end] = measured;
    let seconds = begin
        .zip(end)
        .map(|(begin, end)| (end - begin).as_secs_f64());
    Ok(Outcome {
        said,
        percent,
        cv_percent: decision["gates"][0]["max_cv_percent"].as_f64(),
        as_measured: as_measured(&decision["gates"][0]["pace"]),
        word,
        measuring_seconds: seconds,
    })
}

/// What a gate's decision says of its pace.
fn as_measured(pace: &Value) -> Option<AsMeasured> {
    Some(AsMeasured {
        percent: pace["change"]["percent"].as_f64()?,
        cv_percent: pace["max_cv_percent"].as_f64()?,
    })
}

/// Of the one gate; the decision must be the one that belongs to its status.
fn of_decision(decision: &Value) -> Option<(Said, Option<f64>, String)> {
    let [gate] = decision["gates"].as_array()?.as_slice() else {
        return None;
    };
    let status = gate["status"].as_str()?;
    let (said, verdict) = match status {
        "regressed" => (Said::Slower, "rejected"),
        "improved" => (Said::Faster, "accepted"),
        "neutral" => (Said::NoDifference, "accepted"),
        "too_noisy" | "insufficient_samples" => (Said::Unknown, "inconclusive"),
        "bad_status" => (Said::Failed, "rejected"),
        "missing_metric" => (Said::Failed, "inconclusive"),
        _ => return None,
    };
    let why = gate["why"].as_str().unwrap_or_default();
    let word = format!("{status}: {why}");
    (decision["decision"] == verdict).then(|| (said, gate["change"]["percent"].as_f64(), word))
}

fn by_tango(cell: Cell, places: &Places) -> io::Result<Outcome> {
    let output = command(&places.program("by-tango", cell.slower_percent))
        .args(["--color", "never", "compare"])
        .arg(places.program("by-tango", 0))
        .args(["-t", TANGO_SECONDS, "--noise-threshold"])
        .arg(cell.threshold_percent().to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Exit code 1 is "slower".
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(failed(&output));
    }
    let (percent, significant) = of_tango(&text).ok_or_else(|| failed(&output))?;
    let said = match (significant, percent > 0.0) {
        (false, _) => Said::NoDifference,
        (true, true) => Said::Slower,
        (true, false) => Said::Faster,
    };
    if (said == Said::Slower) != (output.status.code() == Some(1)) {
        return Err(failed(&output));
    }
    Ok(Outcome {
        said,
        percent: Some(percent),
        cv_percent: None,
        as_measured: None,
        word: text.trim().to_owned(),
        measuring_seconds: None,
    })
}

/// `pages  [ 375.5 ns ... 369.0 ns ]  -1.58%*`: the change, and whether it has the star of what is
/// significant.
fn of_tango(text: &str) -> Option<(f64, bool)> {
    let line = text.lines().find(|line| line.starts_with("pages"))?;
    let (_, change) = line.rsplit_once(']')?;
    let (percent, star) = change.trim().split_once('%')?;
    Some((percent.parse().ok()?, star.contains('*')))
}

fn by_criterion(cell: Cell, places: &Places) -> io::Result<Outcome> {
    let run = |slower_percent, stored: [&str; 2]| -> io::Result<String> {
        let output = command(&places.program("by-criterion", slower_percent))
            .arg("--bench")
            .args(stored)
            .args(["--warm-up-time", CRITERION_WARM_UP])
            .args(["--measurement-time", CRITERION_MEASUREMENT])
            .arg("--noise-threshold")
            .arg((cell.threshold_percent() / 100.0).to_string())
            .arg("--noplot")
            .env("CRITERION_HOME", places.directory.join("criterion"))
            .output()?;
        if !output.status.success() {
            return Err(failed(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(0, ["--save-baseline", "stored"])?;
    let text = run(cell.slower_percent, ["--baseline", "stored"])?;
    let (said, word) = of_criterion(&text).ok_or_else(|| io::Error::other(text.clone()))?;
    let estimates = places
        .directory
        .join("criterion/pages/change/estimates.json");
    let estimates: Value = serde_json::from_str(&fs::read_to_string(estimates)?)?;
    let change = estimates["mean"]["point_estimate"].as_f64();
    Ok(Outcome {
        said,
        percent: change.map(|share| share * 100.0),
        cv_percent: None,
        as_measured: None,
        word: word.to_owned(),
        measuring_seconds: None,
    })
}

fn of_criterion(text: &str) -> Option<(Said, &'static str)> {
    [
        (Said::Slower, "Performance has regressed."),
        (Said::Faster, "Performance has improved."),
        (Said::NoDifference, "Change within noise threshold."),
        (Said::NoDifference, "No change in performance detected."),
    ]
    .into_iter()
    .find(|(_, word)| text.contains(word))
}

fn by_perfgate(cell: Cell, places: &Places) -> io::Result<Outcome> {
    let receipt = places.directory.join("perfgate.json");
    let threshold = cell.threshold_percent();
    let output = command(&places.perfgate)
        .args(["paired", "--name", "pages", "--repeat", PERFGATE_PAIRS])
        .arg("--baseline")
        .arg(places.program("by-command", 0))
        .arg("--current")
        .arg(places.program("by-command", cell.slower_percent))
        .arg("--fail-on-regression")
        .arg(threshold.to_string())
        .arg("--out")
        .arg(&receipt)
        .output()?;
    let receipt: Value = serde_json::from_str(&fs::read_to_string(&receipt)?)?;
    let (said, percent) = of_perfgate(&receipt, threshold).ok_or_else(|| failed(&output))?;
    if (said == Said::Slower) == output.status.success() {
        return Err(failed(&output));
    }
    Ok(Outcome {
        said,
        percent: Some(percent),
        cv_percent: None,
        as_measured: None,
        word: receipt["stats"]["wall_diff_ms"]["significance"].to_string(),
        measuring_seconds: None,
    })
}

/// By its own rule, `--fail-on-regression`: the mean difference over the baseline's median, and
/// whether that is significant; the same rule for what got faster, of which it says nothing.
fn of_perfgate(receipt: &Value, threshold_percent: f64) -> Option<(Said, f64)> {
    let stats = &receipt["stats"];
    let baseline = stats["baseline_wall_ms"]["median"].as_f64()?;
    let difference = &stats["wall_diff_ms"];
    let percent = difference["mean"].as_f64()? / baseline * 100.0;
    let significant = difference["significance"]["significant"].as_bool()?;
    let said = if !significant || percent.abs() <= threshold_percent {
        Said::NoDifference
    } else if percent > 0.0 {
        Said::Slower
    } else {
        Said::Faster
    };
    Some((said, percent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_told_in_shared_terms_and_must_belong_to_its_decision() {
        let of = |status: &str, decision: &str| {
            of_decision(&json!({
                "decision": decision,
                "gates": [{"status": status, "why": "so", "change": {"percent": 4.5}}],
            }))
        };
        let (said, percent, word) = of("regressed", "rejected").expect("it");
        assert_eq!((said, percent), (Said::Slower, Some(4.5)));
        assert_eq!(word, "regressed: so");
        assert_eq!(
            of("too_noisy", "inconclusive").expect("it").0,
            Said::Unknown
        );
        assert_eq!(of("regressed", "accepted"), None);
        assert_eq!(of("bad_status", "rejected").expect("it").0, Said::Failed);
        assert_eq!(of("another", "rejected"), None);
    }

    #[test]
    fn tangos_star_says_significant() {
        let text = "pages               [ 375.5 us ... 369.0 us ]      -1.58%*\n";
        assert_eq!(of_tango(text), Some((-1.58, true)));
        assert_eq!(
            of_tango("pages [ 1 us ... 2 us ]  +0.10%\n"),
            Some((0.1, false))
        );
        assert_eq!(of_tango("other"), None);
    }

    #[test]
    fn criterion_says_one_of_four_things() {
        let (said, _) = of_criterion("x\n  Performance has regressed.\n").expect("it");
        assert_eq!(said, Said::Slower);
        let (said, _) = of_criterion("No change in performance detected.").expect("it");
        assert_eq!(said, Said::NoDifference);
        assert_eq!(of_criterion("hello"), None);
    }

    #[test]
    fn perfgate_needs_significance_and_size() {
        let of = |mean: f64, significant: bool| {
            let receipt = json!({"stats": {
                "baseline_wall_ms": {"median": 50},
                "wall_diff_ms": {"mean": mean, "significance": {"significant": significant}},
            }});
            of_perfgate(&receipt, 2.5).expect("it").0
        };
        assert_eq!(of(2.0, true), Said::Slower);
        assert_eq!(of(2.0, false), Said::NoDifference);
        assert_eq!(of(1.0, true), Said::NoDifference);
        assert_eq!(of(-2.0, true), Said::Faster);
    }
}
