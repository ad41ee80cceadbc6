//! The command: what it prints, what it says when it fails, and that failing loses nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use trajectory_log::TrajectoryReader;

use crate::storage::directory;

const COMMAND: &str = env!("CARGO_BIN_EXE_trajectory-log");

struct Cli {
    directory: TempDir,
}

impl Cli {
    fn new() -> Self {
        Self {
            directory: directory(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(COMMAND);
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("COLUMNS", "100")
            .env_remove("CLICOLOR_FORCE");
        command
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        feed(&mut self.command(arguments), input)
    }

    /// Standard output of a command that succeeds silently otherwise.
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input.as_bytes());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    }

    /// Exit status and standard error.
    fn fails(&self, arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
        let output = self.run(arguments, input);
        assert_eq!(text(&output.stdout), "");
        (output.status.code(), text(&output.stderr))
    }

    fn turns(&self) -> u64 {
        let reader = TrajectoryReader::open(self.directory.path().join("log.db")).unwrap();
        reader.counts().unwrap().turns
    }
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails may not read to the end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|n| format!("{{\"run_id\":\"run-{}\",\"turn\":{n},\"role\":\"user\",\"content\":\"turn {n}\"}}\n", n % 4))
        .collect()
}

#[test]
fn turns_go_from_append_to_tail_and_stats() {
    let cli = Cli::new();
    assert_eq!(
        cli.ok(&["append", "log.db"], &lines(0..10_000)),
        "appended 10000 turns\n"
    );
    let stats = cli.ok(&["stats", "log.db"], "");
    insta::assert_snapshot!(
        stats.split("database").next().unwrap(),
        @r"
    turns: 10000
    runs: 4
    content bytes: 88890
    "
    );
    insta::assert_snapshot!(cli.ok(&["tail", "log.db", "-n", "3"], ""), @r"
    run-1  9997  user  turn 9997
    run-2  9998  user  turn 9998
    run-3  9999  user  turn 9999
    ");
    insta::assert_snapshot!(cli.ok(&["tail", "log.db", "-n", "2", "--run", "run-1"], ""), @r"
    run-1  9993  user  turn 9993
    run-1  9997  user  turn 9997
    ");
    assert_eq!(cli.ok(&["tail", "log.db"], "").lines().count(), 10);
}

#[test]
fn json_is_what_went_in() {
    let cli = Cli::new();
    let line = r#"{"run_id":"a","turn":1,"role":"tool","content":{"z":1.10,"a":[null]}}"#;
    assert_eq!(
        cli.ok(&["append", "log.db", "--json"], line),
        "{\"appended\":1}\n"
    );
    let tail = cli.ok(&["tail", "log.db", "--json"], "");
    let (before, _) = tail.split_once(",\"accepted_at_ms\":").unwrap();
    assert_eq!(before, format!("{{\"id\":1,{}", &line[1..line.len() - 1]));
    let stats = cli.ok(&["stats", "log.db", "--json"], "");
    assert!(
        stats.starts_with("{\"turns\":1,\"runs\":1,\"content_bytes\":21,\"first_at_ms\":"),
        "{stats}"
    );
}

#[test]
fn a_person_sees_one_line_a_turn_and_long_contents_cut() {
    let cli = Cli::new();
    let line = |content: &str| {
        format!(
            "{{\"run_id\":\"a\\u001b[2J\",\"turn\":1,\"role\":\"user\",\"content\":\"{content}\"}}\n"
        )
    };
    cli.ok(
        &["append", "log.db"],
        &(line("a\\nb\\u0000é") + "\n \n" + &line(&"x".repeat(1_000))),
    );
    let tail = cli.ok(&["tail", "log.db"], "");
    let expected = format!(
        "a\\u{{1b}}[2J  1  user  a\\nb\\0é\na\\u{{1b}}[2J  1  user  {}… (1000 bytes)\n",
        "x".repeat(200)
    );
    assert_eq!(tail, expected);
}

#[test]
fn colours_are_for_terminals() {
    let cli = Cli::new();
    cli.ok(&["append", "log.db"], &lines(0..1));
    assert!(!cli.ok(&["tail", "log.db"], "").contains('\x1b'));
    let forced = |force: bool| {
        let mut tail = cli.command(&["tail", "log.db"]);
        if force {
            tail.env("CLICOLOR_FORCE", "1");
        }
        text(&tail.output().unwrap().stdout).contains('\x1b')
    };
    assert!(forced(true));
    assert!(!forced(false));
}

#[test]
fn a_line_that_is_no_turn_stops_it_and_those_before_are_there() {
    let cli = Cli::new();
    for (bad, named) in [
        (
            &b"{\"run_id\":\"a\",\"turn\":1,\"role\":\"user\"}\n"[..],
            "missing field `content`",
        ),
        (b"not JSON\n", "expected ident at line 1"),
        (
            b"{\"run_id\":\"a\",\"turn\":1,\"role\":\"\xff\",\"content\":\"\"}\n",
            "invalid unicode code point",
        ),
        (
            b"{\"run_id\":\"a\",\"turn\":1.5,\"role\":\"u\",\"content\":\"\"}\n",
            "expected u32",
        ),
        (
            b"{\"run_id\":\"a\",\"turn\":1,\"role\":\"u\",\"content\":\"cut o\n",
            "control character",
        ),
    ] {
        let db = format!("{}.db", named.len());
        let input = [lines(0..16).as_bytes(), bad, lines(0..9).as_bytes()].concat();
        let (status, error) = cli.fails(&["append", &db], &input);
        assert_eq!(status, Some(1));
        let first = error.lines().next().unwrap();
        assert!(
            first.starts_with("error: failed to understand line 17 of standard input: "),
            "{error}"
        );
        assert!(first.contains(named), "{error}");
        let second = error.lines().nth(1).unwrap();
        assert!(
            second.starts_with("  what came before it is on disk: 16 turns; "),
            "{error}"
        );
        assert!(cli.ok(&["stats", &db], "").starts_with("turns: 16\n"));
    }
}

#[test]
fn nothing_is_a_log_of_no_turns() {
    let cli = Cli::new();
    assert_eq!(cli.ok(&["append", "log.db"], ""), "appended 0 turns\n");
    assert!(cli.ok(&["stats", "log.db"], "").starts_with("turns: 0\n"));
    assert_eq!(cli.ok(&["tail", "log.db"], ""), "");
}

#[test]
fn the_configuration_comes_from_a_file_and_the_arguments_come_before_it() {
    let cli = Cli::new();
    let path = cli.directory.path().join("ppp.toml");
    let set = |toml: &str| fs::write(&path, toml).unwrap();
    set("[ppp.trajectory]\nbuffer_size = 3\ndurability = \"delete/full\"\n");
    cli.ok(&["append", "log.db", "--config", "ppp.toml"], &lines(0..10));
    assert_eq!(cli.turns(), 10);
    set("[ppp.trajectory]\nbuffer_size = 0\n");
    let (status, error) = cli.fails(&["append", "log.db", "--config", "ppp.toml"], b"");
    assert_eq!(status, Some(2));
    insta::assert_snapshot!(
        error,
        @"error: failed to use the configuration ppp.toml: line 2: ppp.trajectory.buffer_size: expected 1 to 1000000, found 0"
    );
    let (status, error) = cli.fails(&["append", "log.db", "--buffer-size", "0"], b"");
    assert_eq!(status, Some(2));
    insta::assert_snapshot!(
        error,
        @"error: failed to use the configuration: buffer_size: expected 1 to 1000000, found 0"
    );
    assert_eq!(
        cli.fails(&["append", "log.db", "--config", "no.toml"], b"")
            .0,
        Some(2)
    );
    let (status, error) = cli.fails(&["append", "log.db", "--durability", "fast"], b"");
    assert_eq!(status, Some(2));
    assert!(
        error.contains("it is wal, delete, truncate or persist"),
        "{error}"
    );
}

#[test]
fn what_is_not_there_is_said_and_not_created() {
    let cli = Cli::new();
    for command in ["tail", "stats"] {
        let (status, error) = cli.fails(&[command, "log.db"], b"");
        assert_eq!(status, Some(1));
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r"
            error: failed to open log.db: there is no such file
              check the path; only logging creates a database
            ");
        }
    }
    let (status, error) = cli.fails(&["append", "missing/log.db"], b"");
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(error, @r"
    error: failed to open missing/log.db: there is no directory missing
      create it: mkdir -p missing
    ");
    assert_eq!(fs::read_dir(cli.directory.path()).unwrap().count(), 0);
    assert_eq!(cli.fails(&[], b"").0, Some(2));
    assert_eq!(cli.fails(&["append"], b"").0, Some(2));
}

#[test]
fn a_reader_that_goes_early_is_no_failure() {
    let cli = Cli::new();
    cli.ok(&["append", "log.db"], &lines(0..100));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = cli
        .command(&["tail", "log.db", "-n", "100"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn help_shows_how_to_use_it() {
    let cli = Cli::new();
    insta::assert_snapshot!(cli.ok(&["--help"], ""));
    insta::assert_snapshot!(cli.ok(&["append", "--help"], ""));
}

/// Permissions do not bind root, who therefore becomes somebody else; the copy of the command
/// stands where that user can reach it, in a directory for temporary files.
#[test]
fn a_read_only_directory_is_said_and_its_log_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(root, 0o755);
    let copy = root.join("command");
    // By another process: a descriptor of ours that is open for writing could be inherited by a
    // process that another test starts, and would make this one unstartable.
    assert!(
        Command::new("cp")
            .arg(COMMAND)
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    let is_root = fs::metadata(root).unwrap().uid() == 0;
    let log = root.join("log");
    fs::create_dir(&log).unwrap();
    let run = |arguments: &[&str], input: &str| {
        let mut command = Command::new(&copy);
        command.args(arguments).current_dir(&log);
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        let output = feed(&mut command, input.as_bytes());
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let made = feed(
        Command::new(&copy)
            .args(["append", "log.db", "--durability", "delete/full"])
            .current_dir(&log),
        lines(0..3).as_bytes(),
    );
    assert!(made.status.success());
    set_mode(&log.join("log.db"), 0o444);
    set_mode(&log, 0o555);

    let append = run(&["append", "log.db"], &lines(3..4));
    let new = run(&["append", "new.db"], &lines(3..4));
    let stats = run(&["stats", "log.db"], "");
    set_mode(&log, 0o755);
    assert_eq!((append.0, append.1.as_str()), (Some(1), ""));
    insta::assert_snapshot!(append.2, @r"
    error: failed to open log.db: it can't be written
      let this user write to . and to the files in it
    ");
    assert_eq!((new.0, new.1.as_str()), (Some(1), ""));
    insta::assert_snapshot!(new.2, @r"
    error: failed to open new.db: unable to open database file: new.db
      let this user write to . and to the files in it
    ");
    assert!(stats.1.starts_with("turns: 3\n"), "{stats:?}");
}
