//! `PERF_BUDGET_MULTIPLIER=auto`, in packages that have a `perfbudget.toml` and in some that don't.

use std::path::Path;
use std::time::Duration;

use perfbudget::{Budget, Gate, Record};

use crate::child::{Run, is_child};

const WARM: Budget = Budget::warm(Duration::from_secs(1));
const COLD: Budget = Budget::cold(Duration::from_secs(1));

#[test]
fn child_of_each_class() {
    if is_child() {
        Gate::new("tests/warm", WARM).run(|| ());
        Gate::new("tests/cold", COLD).run(|| ());
    }
}

/// A package with this file, and one of its tests run with `auto`.
fn run_with(file: Option<&str>, test: &str, variables: &[(&str, &str)]) -> (Run, String) {
    let run = Run::new();
    let package = run.dir.path().join("package");
    std::fs::create_dir(&package).expect("made");
    if let Some(text) = file {
        std::fs::write(package.join("perfbudget.toml"), text).expect("written");
    }
    // Below it, so that the file is looked for above.
    let member = package.join("crates/member");
    std::fs::create_dir_all(&member).expect("made");
    let mut all = vec![
        ("PERF_BUDGET_MULTIPLIER", "auto"),
        ("CARGO_MANIFEST_DIR", member.to_str().expect("a text")),
    ];
    all.extend(variables);
    let output = run.test(test, &all);
    assert!(output.passed, "{}", output.text);
    (run, output.text)
}

fn of_each_class(file: Option<&str>, variables: &[(&str, &str)]) -> [Record; 2] {
    let (run, _) = run_with(file, "auto::child_of_each_class", variables);
    [run.record("tests/warm"), run.record("tests/cold")]
}

/// 1.0, and the first of the warnings says why.
fn is_ignored(record: &Record, why: &str) {
    assert_eq!(record.multiplier, Some(1.0));
    assert_eq!(record.multiplier_source, None);
    let warning = record.warnings.first().map_or("", String::as_str);
    for text in [
        "PERF_BUDGET_MULTIPLIER=auto is ignored, 1.0 holds: ",
        why,
        "; `cargo perfbudget calibrate-machine`, run where the bases were observed,",
    ] {
        assert!(warning.contains(text), "{text} is not in:\n{warning}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_1_and_named_with_line_and_key() {
    for (text, why) in [
        ("", "perfbudget.toml has no [machine];"),
        ("[machine\n", "perfbudget.toml:1: "),
        (
            "[machine]\n\ncpu_score = \"1\"\n",
            "perfbudget.toml:3: machine.cpu_score: expected a positive number, found a string;",
        ),
        (
            "[machine]\nscore = 1\n",
            "perfbudget.toml:2: machine.score: unknown key; known are cpu, cores, observed, ",
        ),
        (
            "[machine]\ncpu_score = 1\nprocess_score = 0\n",
            "perfbudget.toml:3: machine.process_score: expected a positive number, found 0;",
        ),
    ] {
        for record in of_each_class(Some(text), &[]) {
            is_ignored(&record, why);
        }
    }
}

#[test]
fn without_a_file_it_is_1_and_says_where_it_looked() {
    for record in of_each_class(None, &[]) {
        let package = Path::new("package").join("crates").join("member");
        let why = format!("{} or above it;", package.display());
        is_ignored(&record, &why);
    }
}

const UNLIKE: &str = "[machine]\ncpu = \"a model\"\ncpu_score = 1e-6\nprocess_score = 1e12\n";

#[cfg(debug_assertions)]
#[test]
fn a_debug_build_does_no_work_and_says_so_in_the_source() {
    for record in of_each_class(Some(UNLIKE), &[]) {
        assert_eq!(record.multiplier, Some(1.0));
        let source = record.multiplier_source.expect("a source");
        let start = "auto: not worked out, 1.0 holds: this is a debug build";
        assert!(source.starts_with(start), "{source}");
        assert!(!record.warnings.iter().any(|w| w.contains("MULTIPLIER")));
    }
    let (_, text) = run_with(Some(UNLIKE), "auto::child_asks_without_a_class", &[]);
    let warning = "1.0: PERF_BUDGET_MULTIPLIER=auto: not worked out, 1.0 holds: this is a debug";
    assert!(text.contains(warning), "{text}");
}

#[test]
fn child_asks_without_a_class() {
    if is_child() {
        let (multiplier, warnings) = perfbudget::Multiplier::from_env();
        println!("{multiplier}: {}", warnings.join("; "));
    }
}

/// Reference work is done where time is measured.
#[cfg(not(debug_assertions))]
mod timed {
    use super::*;

    use perfbudget::{config, machine};

    fn has(record: &Record, warning: &str) -> bool {
        record.warnings.iter().any(|w| w.contains(warning))
    }

    #[test]
    fn red_each_class_has_its_own_work_and_clamps() {
        let [warm, cold] = of_each_class(Some(UNLIKE), &[]);
        assert_eq!((warm.multiplier, cold.multiplier), (Some(8.0), Some(1.0)));
        assert_eq!(warm.limit_ns, Some(24_000_000_000));
        assert_eq!(cold.limit_ns, Some(5_000_000_000));
        let source = warm.multiplier_source.as_deref().expect("a source");
        assert!(source.starts_with("auto: cpu work "), "{source}");
        let end = "(perfbudget.toml, a model); never more than 8.0";
        assert!(source.ends_with(end), "{source}");
        assert!(has(&warm, "times as long as on the machine"));
        assert!(has(&warm, "=auto came to 8.0: above 4"));
        let source = cold.multiplier_source.as_deref().expect("a source");
        assert!(source.starts_with("auto: process work "), "{source}");
        assert!(source.ends_with("; never less than 1.0"), "{source}");
        assert!(!has(&cold, "MULTIPLIER"), "{:?}", cold.warnings);

        let swapped = "[machine]\ncpu_score = 1e12\nprocess_score = 1e-6\n";
        let [warm, cold] = of_each_class(Some(swapped), &[]);
        assert_eq!((warm.multiplier, cold.multiplier), (Some(1.0), Some(8.0)));
    }

    #[test]
    fn red_without_a_class_the_larger_holds() {
        let (_, text) = run_with(Some(UNLIKE), "auto::child_asks_without_a_class", &[]);
        assert!(
            text.contains("8.0: PERF_BUDGET_MULTIPLIER=auto: "),
            "{text}"
        );
    }

    #[test]
    fn red_work_that_cannot_be_done_is_1_with_the_reason() {
        let [warm, cold] = of_each_class(Some(UNLIKE), &[("PATH", "/nowhere")]);
        assert_eq!(warm.multiplier, Some(8.0));
        is_ignored(&cold, "failed to run true: it is in no directory of PATH;");
    }

    /// The times are taken once a process: what the file says of them holds for its gates.
    #[test]
    fn red_child_writes_what_it_measures() {
        if is_child() {
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            let text = format!(
                "[machine]\ncpu_score = {}\nprocess_score = {}\n",
                micros(machine::cpu_time()) / 2.0,
                micros(machine::process_time().expect("a process")) / 3.0
            );
            let file = config::start_directory().join(config::FILE_NAME);
            std::fs::write(file, text).expect("written");
            Gate::new("tests/warm", WARM).run(|| ());
            Gate::new("tests/cold", COLD).run(|| ());
        }
    }

    #[test]
    fn red_a_machine_that_takes_twice_as_long_has_twice_the_limit() {
        let child = "auto::timed::red_child_writes_what_it_measures";
        // The nearest file counts, not the one above it.
        let (run, text) = run_with(Some("[nonsense]\n"), child, &[]);
        let (warm, cold) = (run.record("tests/warm"), run.record("tests/cold"));
        assert_eq!((warm.multiplier, cold.multiplier), (Some(2.0), Some(3.0)));
        assert_eq!(warm.limit_ns, Some(6_000_000_000));
        assert_eq!(cold.limit_ns, Some(15_000_000_000));
        assert!(
            text.contains("\n  multiplier 2.0, auto: cpu work "),
            "{text}"
        );
        assert!(!has(&warm, "MULTIPLIER") && !has(&cold, "MULTIPLIER"));
    }
}
