//! `observe` as a user meets it: on a package of its own, which Cargo builds with this workspace's
//! `Cargo.lock` and without a network. No figure is asserted but lower bounds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{base, code, err, out, workspace};

const GATES: &str = r#"
//! Gates to observe.
use std::time::{Duration, Instant};
use perfbudget::{Budget, Gate};

const QUICK: Budget = Budget::warm(Duration::from_secs(10)); // guessed, far too long
const OVER: Budget = Budget::warm(Duration::from_nanos(1)); // guessed, far too short

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

#[test]
fn perf_tiny_quick() {
    Gate::new("tiny/quick", QUICK).batch(2).run(|| spin(Duration::from_micros(50)));
}

#[test]
fn perf_tiny_over() {
    Gate::new("tiny/over", OVER).run(|| spin(Duration::from_millis(2)));
}

#[test]
fn perf_tiny_broken() {
    Gate::new("tiny/broken", QUICK).run(|| panic!("it broke in the clock"));
}

#[test]
fn perf_tiny_syncs() {
    Gate::counts("tiny/syncs").exactly([("files", 2)], [("files", 3)]);
}

#[test]
fn perf_early() {
    panic!("it broke before its gate");
}

/// Is started as `cargo test` starts it, at multiplier 1.0 and with nothing denied.
#[test]
fn perf_tiny_start() {
    let var = |name| std::env::var(name).unwrap_or_default();
    let here = std::env::current_dir().unwrap();
    assert_eq!(here, std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(var("CARGO_MANIFEST_DIR"), env!("CARGO_MANIFEST_DIR"));
    assert_eq!(var("CARGO_PKG_NAME"), "tiny");
    assert_eq!(var("TINY_SAYS"), "from the configuration");
    assert_eq!(var("PERF_BUDGET_MULTIPLIER"), "1.0");
    assert_eq!(var("PERFBUDGET_DENY"), "");
    assert_eq!(var("NEXTEST_RUN_ID"), "");
    Gate::counts("tiny/start").exactly([("starts", 1)], [("starts", 1)]);
}

#[test]
fn perf_pair() {
    Gate::counts("tiny/pair-a").exactly([("rows", 1)], [("rows", 1)]);
    Gate::counts("tiny/pair-b").exactly([("rows", 2)], [("rows", 2)]);
}

/// Not named as a gate: only a record tells where this one is.
#[test]
fn unnamed() {
    Gate::counts("tiny/hidden").exactly([("rows", 1)], [("rows", 1)]);
}
"#;

/// A directory for the packages, which Cargo keeps for these tests: what it has built once is there
/// the next time.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("observe")
        .join(name)
}

/// A package of these files. Tests run at once, in threads and in processes: one writes, and only
/// what has changed.
fn package(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = kept(name);
    fs::create_dir_all(&directory).expect("made");
    let lock = File::create(directory.join("lock")).expect("a lock");
    lock.lock().expect("locked");
    for (file, text) in files {
        // Cargo completes its lock file: compared is what was written, not what is there.
        let written = directory.join("written").join(file);
        if fs::read_to_string(&written).is_ok_and(|before| before == *text) {
            continue;
        }
        for path in [directory.join(file), written] {
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
    }
    directory
}

fn tiny() -> PathBuf {
    let manifest = format!(
        "[package]\nname = \"tiny\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\
         [lib]\npath = \"lib.rs\"\ndoctest = false\n\
         [dev-dependencies]\nperfbudget = {{ path = {:?} }}\n\
         [workspace]\n\
         # Optimised enough to be timed, and quick to build.\n\
         [profile.perf]\ninherits = \"release\"\nopt-level = 1\ncodegen-units = 16\n",
        workspace().join("perfbudget")
    );
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).expect("read");
    package(
        "tiny",
        &[
            ("Cargo.toml", &manifest),
            ("Cargo.lock", &lock),
            (
                ".cargo/config.toml",
                "[env]\nTINY_SAYS = \"from the configuration\"\n\
                 [target.'cfg(not(windows))']\nrunner = [\"no-such-runner\"]\n",
            ),
            ("lib.rs", "//! Nothing.\n"),
            ("tests/perf.rs", GATES),
        ],
    )
}

/// The tool, started in a package, with an environment that is to make no difference.
fn observe_in(package: &Path, arguments: &[&str]) -> Output {
    let no_records = TempDir::new().expect("a directory");
    command(package, no_records.path())
        .args(arguments)
        .output()
        .expect("the command starts")
}

fn command(package: &Path, records: &Path) -> Command {
    let tool = Path::new(env!("CARGO_BIN_EXE_cargo-perfbudget"));
    command_of(tool, package, records)
}

fn command_of(tool: &Path, package: &Path, records: &Path) -> Command {
    let mut command = Command::new(tool);
    command
        .args(["perfbudget", "observe", "--dir"])
        .arg(records)
        .current_dir(package)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", kept("target"))
        .env("PERF_BUDGET_MULTIPLIER", "7")
        .env("PERFBUDGET_DENY", "contended,undecided,not_measured")
        .env("PERFBUDGET_RUN_ID", "another")
        .env("NEXTEST_RUN_ID", "another")
        .env("NEXTEST_TEST_NAME", "another");
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "CLICOLOR_FORCE",
        "LLVM_PROFILE_FILE",
        "RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    command
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap_or_else(|error| panic!("{error}: {}", err(output)))
}

#[test]
fn a_gate_within_and_one_over_are_both_observed() {
    let output = observe_in(
        &tiny(),
        &["tiny/quick", "tiny/over", "--processes", "3", "--json"],
    );
    assert_eq!(code(&output), 0, "{}", err(&output));
    let gates = &json(&output)["gates"];
    for (gate, at_least, name) in [(&gates[0], 50e3, "QUICK"), (&gates[1], 2e6, "OVER")] {
        let processes = gate["processes"].as_array().expect("processes");
        assert_eq!(processes.len(), 3);
        for process in processes {
            assert!(process["wall_ns"].as_f64() >= Some(at_least), "{process}");
        }
        let line = gate["line"].as_str().expect("a line");
        let start = format!("const {name}: Budget = Budget::warm(Duration::from_");
        assert!(line.starts_with(&start), "{line}");
        assert!(line.contains(", median of 3 processes, "), "{line}");
        // What the gate says of its guessed base is superseded.
        let warnings = gate["warnings"].to_string();
        assert!(!warnings.contains("its base is"), "{warnings}");
        assert!(!warnings.contains("the floor of"), "{warnings}");
        assert_eq!(gate["test"]["package"], "tiny");
    }
    assert_eq!(gates[0]["batch"], 2);
    assert_eq!(gates[0]["processes"][0]["verdict"], "within");
    assert_eq!(gates[1]["present"]["base_ns"], 1);
    assert_ne!(gates[1]["processes"][0]["verdict"], "within");
}

#[test]
fn without_json_it_is_text_with_the_line() {
    let output = observe_in(&tiny(), &["tiny/quick", "--processes", "2"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    for part in [
        "tiny/quick  tier 1 warm, perf_tiny_quick in tiny, tests/perf.rs:",
        "  present     base 10.0 s: limit 2 × 30.0 s, headroom ",
        "  floor       it could grow to ",
        "\nconst QUICK: Budget = Budget::warm(Duration::from_",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    let progress = err(&output);
    assert!(
        progress.contains("observing tiny/quick in 2 processes\n"),
        "{progress}"
    );
    // Its test is named after it, and no other was run.
    assert!(!progress.contains("finding tiny/quick"), "{progress}");
}

#[test]
fn a_test_without_a_record_is_an_error_with_what_it_printed() {
    let output = observe_in(&tiny(), &["tiny/broken", "tiny/syncs", "--processes", "2"]);
    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(
        text.contains("error: failed to observe tiny/broken: it left no record in process 1 of 2"),
        "{text}"
    );
    assert!(text.contains("it broke in the clock"), "{text}");
    // The other one is observed all the same.
    assert!(out(&output).contains("\ntiny/syncs"), "{}", out(&output));
}

#[test]
fn a_count_gate_says_what_it_counted() {
    let output = observe_in(&tiny(), &["tiny/syncs", "--processes", "2"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert!(
        text.contains("counted     3 files, in 2 processes"),
        "{text}"
    );
    assert!(text.contains("expected    2 files"), "{text}");
    assert!(
        text.ends_with("\n.exactly([(\"files\", 3)], observed)\n"),
        "{text}"
    );
}

#[test]
fn a_test_is_started_as_cargo_starts_it() {
    let below = tiny().join("tests");
    let output = observe_in(&below, &["tiny/start", "--processes", "1", "--json"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(json(&output)["gates"][0]["counts"]["starts"], 1);
}

/// In its own workspace the build replaces the tool while it runs.
#[cfg(unix)]
#[test]
fn a_build_that_removes_the_tool_does_not_disturb_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().expect("a directory");
    let tool = directory.path().join("tool");
    fs::copy(env!("CARGO_BIN_EXE_cargo-perfbudget"), &tool).expect("copied");
    let cargo = directory.path().join("cargo");
    let script = "#!/bin/sh\nrm -f \"$TOOL\"\nexec \"$REAL_CARGO\" \"$@\"\n";
    fs::write(&cargo, script).expect("written");
    fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).expect("allowed");
    let package = tiny();
    let output = command_of(&tool, &package, directory.path())
        .args(["tiny/quick", "--processes", "1"])
        .env("CARGO", &cargo)
        .env("REAL_CARGO", env!("CARGO"))
        .env("TOOL", &tool)
        .output()
        .expect("the command starts");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(!tool.exists());
}

#[test]
fn a_name_that_no_gate_has_is_said_with_those_near_to_it() {
    let output = observe_in(&tiny(), &["tiny/quik"]);
    assert_eq!((code(&output), out(&output).as_str()), (1, ""));
    let text = err(&output);
    assert!(
        text.contains("failed to find the gate tiny/quik\nnear to it: tiny/quick"),
        "{text}"
    );
    // It might have been in this one.
    assert!(
        text.contains("the test perf_early in tiny failed before a gate began"),
        "{text}"
    );
    assert!(text.contains("it broke before its gate"), "{text}");
}

#[test]
fn all_are_the_gates_whose_tests_are_named_so() {
    let output = observe_in(&tiny(), &["--all", "--processes", "1", "--json"]);
    assert_eq!(code(&output), 1);
    let observed = json(&output);
    let gates = observed["gates"].as_array().expect("gates").iter();
    let mut names: Vec<&str> = gates
        .map(|gate| gate["gate"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "tiny/over",
            "tiny/pair-a",
            "tiny/pair-b",
            "tiny/quick",
            "tiny/start",
            "tiny/syncs"
        ]
    );
    let errors = observed["errors"].to_string();
    assert_eq!(
        observed["errors"].as_array().expect("errors").len(),
        2,
        "{errors}"
    );
    assert!(
        errors.contains("perf_early") && errors.contains("tiny/broken"),
        "{errors}"
    );
}

#[test]
fn gates_of_one_test_are_observed_together() {
    let gates = ["tiny/pair-b", "tiny/pair-a", "tiny/pair-b"];
    let output = observe_in(&tiny(), &[&gates[..], &["--processes", "1"]].concat());
    assert_eq!(code(&output), 0, "{}", err(&output));
    let progress = err(&output);
    assert!(
        progress.contains("observing tiny/pair-b, tiny/pair-a in 1 process\n"),
        "{progress}"
    );
    assert_eq!(out(&output).matches(".exactly([").count(), 2);
}

#[test]
fn a_record_tells_where_a_gate_is() {
    let tiny = tiny();
    let records = TempDir::new().expect("a directory");
    let run = |records: &Path| {
        let mut command = command(&tiny, records);
        command
            .args(["tiny/hidden", "--processes", "1"])
            .output()
            .expect("the command starts")
    };
    assert_eq!(code(&run(records.path())), 1);

    let mut record = base("tiny/hidden", "unnamed", "exact");
    record["test"]["package"] = "tiny".into();
    let directory = records.path().join("run-1");
    fs::create_dir(&directory).expect("made");
    fs::write(directory.join("tiny.hidden.json"), record.to_string()).expect("written");
    let output = run(records.path());
    assert_eq!(code(&output), 0, "{}", err(&output));
}

#[test]
fn what_is_not_measured_is_an_error_with_the_reason() {
    let no_records = TempDir::new().expect("a directory");
    let output = command(&tiny(), no_records.path())
        .arg("tiny/quick")
        .env("LLVM_PROFILE_FILE", "/dev/null")
        .output()
        .expect("the command starts");
    assert_eq!((code(&output), out(&output).as_str()), (1, ""));
    let text = err(&output);
    assert!(
        text.contains("it was not measured\nLLVM_PROFILE_FILE is set"),
        "{text}"
    );
}

#[test]
fn without_a_profile_perf_it_is_release_and_without_gates_it_says_so() {
    let bare = package(
        "bare",
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"bare\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                 [lib]\npath = \"lib.rs\"\ndoctest = false\n[workspace]\n",
            ),
            ("lib.rs", "//! Nothing.\n#[test]\nfn adds() {}\n"),
        ],
    );
    let elsewhere = TempDir::new().expect("a directory");
    let manifest = bare.join("Cargo.toml");
    let manifest = manifest.to_str().expect("text");
    let output = observe_in(elsewhere.path(), &["--all", "--manifest-path", manifest]);
    let text = err(&output);
    assert_eq!(code(&output), 1, "{text}");
    assert!(
        text.contains("there is no profile `perf` here: building with `release`"),
        "{text}"
    );
    assert!(
        text.contains("of 0 tests named perf_… none left a record"),
        "{text}"
    );

    let output = observe_in(&bare, &["a/b", "--profile", "nope"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("there is no profile `nope`"),
        "{}",
        err(&output)
    );

    let output = observe_in(&bare, &["a/b", "--features", "nope"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("failed to build the tests"),
        "{}",
        err(&output)
    );
}

#[test]
fn bad_arguments_exit_with_2_and_help_has_an_example() {
    let here = TempDir::new().expect("a directory");
    for arguments in [
        &[][..],
        &["Not A Gate"],
        &["a//b"],
        &["a/b", "--all"],
        &["a/b", "--processes", "0"],
    ] {
        let output = observe_in(here.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", err(&output));
    }
    let help = observe_in(here.path(), &["--help"]);
    assert_eq!(code(&help), 0);
    let text = out(&help);
    assert!(
        text.contains("$ cargo perfbudget observe outbox/drain-25"),
        "{text}"
    );
}

#[test]
fn what_cargo_starts_is_not_for_people() {
    let help = Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"))
        .arg("--help")
        .output()
        .expect("the command starts");
    let text = out(&help);
    assert!(text.contains("observe "), "{text}");
    assert!(!text.contains("note-how-cargo-starts"), "{text}");
}
