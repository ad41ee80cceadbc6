//! `PERF_BUDGET_MULTIPLIER=auto`: the multiplier that reference work makes, here against the machine
//! on which the bases were observed.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::budget::Class;
use crate::config::{self, Config, ConfigError, FILE_NAME, Machine};
use crate::host;
use crate::machine;
use crate::multiplier::{Chosen, MULTIPLIER_ENV, Multiplier};
use crate::record::{Nanoseconds, nanoseconds};

/// A faster machine gets no narrower limits: a base is a fact of one machine, and what is not
/// proportional to these works would fail on it.
const MIN: f64 = 1.0;
/// A machine this much slower is so unlike the other that a multiplier says little.
const MAX: f64 = 8.0;

/// The multiplier for gates of a class; worked out once a process.
pub(crate) fn for_class(class: Class) -> Chosen {
    static COLD: OnceLock<Chosen> = OnceLock::new();
    static WARM: OnceLock<Chosen> = OnceLock::new();
    let chosen = match class {
        Class::Cold => &COLD,
        Class::Warm => &WARM,
    };
    chosen.get_or_init(|| work_out(class)).clone()
}

/// The larger of both classes', with what there is to say against either.
pub(crate) fn for_any_class() -> Chosen {
    let mut chosen = larger(for_class(Class::Warm), for_class(Class::Cold));
    // A gate says it as its verdict.
    if let Some(why) = host::why_not_timed() {
        chosen
            .warnings
            .push(format!("{MULTIPLIER_ENV}={}", not_timed(&why)));
    }
    chosen
}

fn not_timed(why: &str) -> String {
    format!("auto: not worked out, 1.0 holds: {why}")
}

fn larger(one: Chosen, other: Chosen) -> Chosen {
    let (mut larger, smaller) = if other.multiplier > one.multiplier {
        (other, one)
    } else {
        (one, other)
    };
    for warning in smaller.warnings {
        if !larger.warnings.contains(&warning) {
            larger.warnings.push(warning);
        }
    }
    larger
}

fn work_out(class: Class) -> Chosen {
    let machine = match observed_on(config::find_from(&config::start_directory()).as_deref()) {
        Ok(machine) => machine,
        Err(why) => return ignored(&why),
    };
    if let Some(why) = host::why_not_timed() {
        return Chosen {
            source: Some(not_timed(&why)),
            ..Chosen::default()
        };
    }
    match class {
        Class::Warm => ratio("cpu work", machine::cpu_time(), machine.cpu_score, &machine),
        Class::Cold => match machine::process_time() {
            Ok(time) => ratio("process work", time, machine.process_score, &machine),
            Err(error) => ignored(&error.to_string()),
        },
    }
}

/// The machine that a file tells of, or why there is none.
fn observed_on(file: Option<&Path>) -> Result<Machine, String> {
    let file = file.ok_or_else(|| {
        format!(
            "there is no {FILE_NAME} in {} or above it",
            config::start_directory().display()
        )
    })?;
    let config = Config::read(file).map_err(|error| match error {
        ConfigError::Read { ref source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    })?;
    config
        .machine
        .ok_or_else(|| format!("{} has no [machine]", file.display()))
}

fn ignored(why: &str) -> Chosen {
    Chosen {
        warnings: vec![format!(
            "{MULTIPLIER_ENV}=auto is ignored, 1.0 holds: {why}; \
             `cargo perfbudget calibrate-machine`, run where the bases were observed, writes {FILE_NAME}"
        )],
        ..Chosen::default()
    }
}

/// Time here over time there, to the hundredth, within [`MIN`] and [`MAX`].
fn ratio(work: &str, here: Duration, score: f64, machine: &Machine) -> Chosen {
    let there = Duration::try_from_secs_f64(score / 1e6).unwrap_or(Duration::MAX);
    // Of the score as it stands: what it rounds to may be zero.
    let ratio = here.as_secs_f64() * 1e6 / score;
    let hundredths = (ratio.clamp(MIN, MAX) * 100.0).round() / 100.0;
    let mut source = format!(
        "auto: {work} {} here, {} where the bases were observed ({})",
        Nanoseconds(nanoseconds(here)),
        Nanoseconds(nanoseconds(there)),
        described(machine)
    );
    let mut warnings = Vec::new();
    if ratio < MIN {
        source.push_str("; never less than 1.0");
    } else if ratio > MAX {
        source.push_str("; never more than 8.0");
        warnings.push(format!(
            "{MULTIPLIER_ENV}=auto: the {work} takes {ratio:.3e} times as long as on the machine \
             where the bases were observed, {MAX:.1} holds: observe the bases on a machine like \
             this one, or run `cargo perfbudget calibrate-machine` where they were"
        ));
    }
    let multiplier = Multiplier::of(hundredths);
    warnings.extend(multiplier.suspicion("=auto came to"));
    Chosen {
        multiplier,
        source: Some(source),
        warnings,
    }
}

/// The file, the model and the date, as far as it tells.
fn described(machine: &Machine) -> String {
    let told = [machine.cpu.as_deref(), machine.observed.as_deref()];
    let mut words = vec![FILE_NAME];
    words.extend(told.into_iter().flatten());
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Duration = Duration::from_micros(1_930);

    fn epyc() -> Machine {
        let text = "[machine]\ncpu = \"AMD EPYC\"\nobserved = \"2026-11-21\"\n\
                    cpu_score = 1\nprocess_score = 1\n";
        let config = Config::parse(text, Path::new(FILE_NAME)).expect("a file");
        config.machine.expect("a machine")
    }

    fn of_score(score: f64) -> Chosen {
        ratio("cpu work", HERE, score, &epyc())
    }

    #[test]
    fn the_multiplier_is_time_here_over_time_there_and_says_so() {
        let chosen = of_score(965.0);
        assert_eq!(chosen.multiplier, Multiplier::of(2.0));
        assert_eq!(
            chosen.source.as_deref(),
            Some(
                "auto: cpu work 1.93 ms here, 965 µs where the bases were observed \
                 (perfbudget.toml, AMD EPYC, 2026-11-21)"
            )
        );
        assert!(chosen.warnings.is_empty());
        let to_the_hundredth = of_score(1_210.0).multiplier;
        assert_eq!(to_the_hundredth, Multiplier::of(1.6));
    }

    #[test]
    fn a_faster_machine_gets_1_and_only_the_source_says_it() {
        for score in [1_931.0, 1e12, f64::MAX] {
            let chosen = of_score(score);
            assert_eq!(chosen.multiplier, Multiplier::ONE, "{score}");
            let source = chosen.source.expect("a source");
            assert!(source.ends_with("; never less than 1.0"), "{source}");
            assert!(chosen.warnings.is_empty());
        }
        assert!(
            !of_score(1_930.0)
                .source
                .expect("a source")
                .contains("never")
        );
    }

    #[test]
    fn a_machine_that_is_too_slow_gets_8_and_is_warned_about() {
        for score in [1_930.0 / 8.1, 1e-6, f64::MIN_POSITIVE] {
            let chosen = of_score(score);
            assert_eq!(chosen.multiplier, Multiplier::of(8.0), "{score}");
            let source = chosen.source.expect("a source");
            assert!(source.ends_with("; never more than 8.0"), "{source}");
            let [clamped, large] = &chosen.warnings[..] else {
                panic!("{:?}", chosen.warnings);
            };
            assert!(clamped.contains("times as long"), "{clamped}");
            assert!(
                large.starts_with("PERF_BUDGET_MULTIPLIER=auto came to 8.0: above 4"),
                "{large}"
            );
        }
        let large = of_score(1_930.0 / 8.0).warnings;
        assert_eq!(large.len(), 1, "{large:?}");
        assert!(of_score(1_930.0 / 4.0).warnings.is_empty());
    }

    #[test]
    fn what_the_file_does_not_tell_is_left_out() {
        let machine = Machine {
            cpu: None,
            observed: None,
            ..epyc()
        };
        let source = ratio("process work", HERE, 1.0, &machine).source;
        let source = source.expect("a source");
        assert!(source.contains("observed (perfbudget.toml);"), "{source}");
    }

    #[test]
    fn of_two_classes_the_larger_holds_with_the_warnings_of_both() {
        let chosen = |number: f64, warnings: &[&str]| Chosen {
            multiplier: Multiplier::of(number),
            source: Some(format!("of {number}")),
            warnings: warnings.iter().map(ToString::to_string).collect(),
        };
        let both = [chosen(1.5, &["same", "small"]), chosen(2.0, &["same"])];
        let [one, other] = both;
        for larger in [larger(one.clone(), other.clone()), larger(other, one)] {
            assert_eq!(larger.multiplier, Multiplier::of(2.0));
            assert_eq!(larger.source.as_deref(), Some("of 2"));
            assert_eq!(larger.warnings, ["same", "small"]);
        }
    }

    #[test]
    fn without_a_machine_it_is_1_with_the_reason_and_the_cure() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(FILE_NAME);
        std::fs::write(&file, "[policy]\n").expect("written");
        let why = observed_on(Some(&file)).expect_err("no machine");
        assert!(why.ends_with("perfbudget.toml has no [machine]"), "{why}");
        std::fs::write(&file, "[machine]\ncpu_score = 0\n").expect("written");
        let why = observed_on(Some(&file)).expect_err("no score");
        let place = "perfbudget.toml:2: machine.cpu_score: expected a positive number, found 0";
        assert!(why.ends_with(place), "{why}");
        let why = observed_on(None).expect_err("no file");
        assert!(why.starts_with("there is no perfbudget.toml in "), "{why}");
        let chosen = ignored(&why);
        assert_eq!((chosen.multiplier, chosen.source), (Multiplier::ONE, None));
        assert!(chosen.warnings[0].contains("cargo perfbudget calibrate-machine"));
    }
}
