//! `calibrate-machine`: what it writes and what it refuses. Builds that are not optimised don't
//! measure.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::{code, err, out};

fn calibrate(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().expect("it starts")
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"));
    command
        .args(["perfbudget", "calibrate-machine"])
        .args(arguments)
        .current_dir(directory)
        .env_remove("CLICOLOR_FORCE")
        .env_remove("LLVM_PROFILE_FILE");
    command
}

#[test]
fn bad_arguments_exit_with_2_and_help_tells_the_exit_codes() {
    let here = TempDir::new().expect("a directory");
    for arguments in [
        &["--no-such-option"][..],
        &["--file"],
        &["--one-process", "--dry-run"],
    ] {
        assert_eq!(code(&calibrate(here.path(), arguments)), 2, "{arguments:?}");
    }
    let help = calibrate(here.path(), &["--help"]);
    assert_eq!(code(&help), 0);
    let text = out(&help);
    assert!(
        text.contains("Exit codes:\n  0  the scores are written"),
        "{text}"
    );
    assert!(!text.contains("one-process"), "{text}");
}

#[cfg(debug_assertions)]
#[test]
fn a_debug_build_refuses_and_writes_nothing() {
    let here = TempDir::new().expect("a directory");
    for arguments in [
        &["--file", "x.toml"][..],
        &["--dry-run"],
        &["--one-process"],
    ] {
        let output = calibrate(here.path(), arguments);
        assert_eq!(code(&output), 1);
        let text = err(&output);
        assert!(text.contains("this is a debug build of the tool"), "{text}");
        assert!(text.contains("\nbuild it with --release"), "{text}");
    }
    assert_eq!(std::fs::read_dir(here.path()).expect("read").count(), 0);
}

#[cfg(not(debug_assertions))]
mod timed {
    use super::*;

    use perfbudget::config::Config;
    use serde_json::Value;

    /// A workspace, and the directory of a member of it.
    fn workspace() -> (TempDir, std::path::PathBuf) {
        let root = TempDir::new().expect("a directory");
        std::fs::write(root.path().join("Cargo.toml"), "[workspace]\n").expect("written");
        let member = root.path().join("member");
        std::fs::create_dir(&member).expect("made");
        (root, member)
    }

    #[test]
    fn red_the_scores_are_written_beside_the_workspace_and_can_be_read() {
        let (root, member) = workspace();
        let file = root.path().join("perfbudget.toml");
        let dry = calibrate(&member, &["--dry-run"]);
        assert_eq!(code(&dry), 0, "{}", err(&dry));
        assert!(
            out(&dry).contains("not written (--dry-run): "),
            "{}",
            out(&dry)
        );
        assert!(!file.exists());

        let output = calibrate(&member, &[]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert!(out(&output).contains("\nwritten   "), "{}", out(&output));
        let machine = Config::read(&file)
            .expect("read")
            .machine
            .expect("a machine");
        assert!(machine.cpu_score > 1.0 && machine.process_score > 1.0);
        assert_eq!(machine.observed, Some(perfbudget::config::today()));
        let text = std::fs::read_to_string(&file).expect("read");
        assert!(text.contains("in microseconds"), "{text}");

        // Where it is now, and with what else is in it.
        std::fs::write(&file, format!("{text}\n[policy] # ours\n")).expect("written");
        let output = calibrate(&member, &["--json"]);
        let json: Value = serde_json::from_str(&out(&output)).expect("JSON alone on stdout");
        assert_eq!(json["written"], true);
        assert_eq!(json["processes"], 31);
        let text = std::fs::read_to_string(&file).expect("read");
        assert!(text.ends_with("\n[policy] # ours\n"), "{text}");
        let machine = Config::read(&file)
            .expect("read")
            .machine
            .expect("a machine");
        let json = &json["machine"];
        assert_eq!(json["cpu_score"].as_f64(), Some(machine.cpu_score));
        assert_eq!(json["process_score"].as_f64(), Some(machine.process_score));
        assert_eq!(json["cpu"].as_str(), machine.cpu.as_deref());
    }

    #[test]
    fn red_a_file_that_cannot_be_used_exits_with_1_and_stays() {
        let (root, member) = workspace();
        let file = root.path().join("x.toml");
        let text = "[machine]\n\ncpu_score = 0\n";
        std::fs::write(&file, text).expect("written");
        let output = calibrate(&member, &["--file", "../x.toml"]);
        assert_eq!(code(&output), 1);
        assert_eq!(
            err(&output),
            "error: ../x.toml:3: machine.cpu_score: expected a positive number, found 0\n"
        );
        assert_eq!(std::fs::read_to_string(&file).expect("read"), text);
        let output = calibrate(&member, &["--file", "none/x.toml"]);
        assert_eq!(code(&output), 1);
        assert!(
            err(&output).contains("failed to write none/x.toml: "),
            "{}",
            err(&output)
        );
    }

    #[test]
    fn red_work_that_cannot_be_done_exits_with_1() {
        let (root, member) = workspace();
        let output = command(&member, &[])
            .env("PATH", "/nowhere")
            .output()
            .expect("it starts");
        assert_eq!(code(&output), 1);
        let text = err(&output);
        assert!(
            text.contains("true: it is in no directory of PATH"),
            "{text}"
        );
        assert!(!root.path().join("perfbudget.toml").exists());
    }
}
