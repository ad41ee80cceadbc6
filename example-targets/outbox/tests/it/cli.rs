//! The command: what it prints, what it says when it fails, and that failing loses nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use outbox::{Event, Outbox};
use tempfile::TempDir;

use crate::support::names;

const COMMAND: &str = env!("CARGO_BIN_EXE_outbox");

struct Cli {
    root: TempDir,
}

impl Cli {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(COMMAND);
        command
            .args(arguments)
            .env("OUTBOX_ROOT", self.root.path())
            .env("COLUMNS", "100");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that succeeds silently otherwise.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    }

    /// Exit status and standard error, without the name of the directory.
    fn fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        assert_eq!(text(&output.stdout), "");
        let root = self.root.path().to_str().unwrap();
        (
            output.status.code(),
            text(&output.stderr).replace(root, "ROOT"),
        )
    }

    fn outbox(&self) -> Outbox {
        Outbox::open(self.root.path(), "p").unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_turn_goes_from_commit_to_drain() {
    let cli = Cli::new();
    cli.ok(&[
        "commit",
        "p",
        "--child",
        "a b",
        "--signal",
        "turn 1",
        "--summary",
        "so\nfar",
    ]);
    insta::assert_snapshot!(cli.ok(&["pending", "p"]), @r"a b  turn 1  so\nfar");
    let json = cli.ok(&["pending", "p", "--json"]);
    let drained = cli.ok(&["drain", "p"]);
    assert_eq!(json, drained);
    let at = drained.split("\"committed_at\":").nth(1).unwrap();
    let at: u64 = at.trim_end().trim_end_matches('}').parse().unwrap();
    assert!(at > 1_700_000_000_000, "milliseconds since the epoch: {at}");
    insta::assert_snapshot!(
        drained.replace(&at.to_string(), "AT"),
        @r#"{"child":"a b","fingerprint":"a b:0d6f8f532d0e2144","signal":"turn 1","summary":"so\nfar","committed_at":AT}"#
    );
    assert_eq!(cli.ok(&["drain", "p"]), "");
    assert_eq!(cli.ok(&["pending", "p"]), "");
}

#[test]
fn a_summary_comes_from_standard_input() {
    let cli = Cli::new();
    let mut child = cli
        .command(&[
            "commit",
            "p",
            "--child",
            "a",
            "--signal",
            "1",
            "--summary",
            "-",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all("né\n\n".as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    // One line break ends the last line; the other is an empty line of the summary.
    assert_eq!(cli.outbox().pending().unwrap()[0].summary, "né\n");
}

#[test]
fn the_root_option_comes_before_the_environment() {
    let (named, other) = (Cli::new(), Cli::new());
    let root = named.root.path().to_str().unwrap();
    other.ok(&[
        "commit", "--root", root, "p", "--child", "a", "--signal", "1",
    ]);
    assert_eq!(names(&named.outbox().pending().unwrap()), ["a=1"]);
    assert_eq!(fs::read_dir(other.root.path()).unwrap().count(), 0);
}

#[test]
fn damage_is_reported_and_can_be_looked_at() {
    let cli = Cli::new();
    cli.outbox().commit(Event::new("a", "1")).unwrap();
    let inbox = cli.outbox().path().join("inbox.jsonl");
    let mut content = fs::read(&inbox).unwrap();
    content.extend_from_slice(b"\xff\n{\"child\"\n");
    fs::write(&inbox, content).unwrap();
    let output = cli.run(&["drain", "p"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1);
    insta::assert_snapshot!(
        text(&output.stderr),
        @"warning: 2 lines were set aside; see `outbox dead-letters`"
    );
    let letters = cli.ok(&["dead-letters", "p"]);
    let stored = cli.outbox().path().join("dead-letters.jsonl");
    assert_eq!(letters, fs::read_to_string(stored).unwrap());
    assert!(letters.contains("\"line_hex\":\"ff\""));
    insta::assert_snapshot!(cli.ok(&["sweep", "p"]), @"set aside 0 lines, forgot 0 consumed turns");
}

#[test]
fn one_line_is_not_called_lines() {
    let cli = Cli::new();
    let damage = || {
        let inbox = cli.outbox().path().join("inbox.jsonl");
        fs::write(inbox, "damaged\n").unwrap();
    };
    damage();
    insta::assert_snapshot!(
        text(&cli.run(&["drain", "p"]).stderr),
        @"warning: 1 line was set aside; see `outbox dead-letters`"
    );
    damage();
    insta::assert_snapshot!(cli.ok(&["sweep", "p"]), @"set aside 1 line, forgot 0 consumed turns");
}

#[test]
fn errors_name_what_failed_and_the_cure() {
    let cli = Cli::new();
    cli.outbox().commit(Event::new("a", "1")).unwrap();
    fs::write(cli.outbox().path().join("ledger.json"), "rubbish").unwrap();
    let (status, error) = cli.fails(&["drain", "p"]);
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(error, @r"
    error: failed to read the ledger of consumed turns ROOT/p/ledger.json: expected value at line 1 column 1
      move ROOT/p/ledger.json away: nothing is lost, but turns it lists are delivered again if they are sent again
    ");
    assert_eq!(cli.fails(&["pending", "p"]), (status, error));
    fs::remove_file(cli.outbox().path().join("ledger.json")).unwrap();
    assert_eq!(names(&cli.outbox().pending().unwrap()), ["a=1"]);
}

/// Exit status 2 tells a hook that trying again is of no use.
#[test]
fn arguments_that_cannot_be_right_are_usage_errors() {
    let cli = Cli::new();
    for command in ["drain", "pending", "sweep", "dead-letters"] {
        let (status, error) = cli.fails(&[command, ""]);
        assert_eq!(status, Some(2), "{command}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r"
            error: failed to open an outbox whose parent id is empty
              give the id of the parent session
            ");
        }
    }
    let commit = |child, signal, summary| {
        let (status, error) = cli.fails(&[
            "commit",
            "p",
            "--child",
            child,
            "--signal",
            signal,
            "--summary",
            summary,
        ]);
        assert_eq!(status, Some(2), "{error}");
        error
    };
    insta::assert_snapshot!(commit("", "1", ""), @r"
    error: failed to commit an event whose child id is empty
      give the id of the child session
    ");
    insta::assert_snapshot!(commit("a", "", ""), @r"
    error: failed to commit an event whose signal is empty
      give a signal that no other turn of this child has, such as its number
    ");
    insta::assert_snapshot!(commit("a", "1", &"x".repeat(32_769)), @r"
    error: failed to commit a summary of 32769 bytes (at most 32768 are allowed)
      shorten the summary
    ");
    assert!(cli.outbox().pending().unwrap().is_empty());
}

#[test]
fn a_root_that_is_a_file_or_not_given_is_said() {
    let cli = Cli::new();
    let file = cli.root.path().join("file");
    fs::write(&file, "").unwrap();
    let (status, error) = cli.fails(&["drain", "--root", file.to_str().unwrap(), "p"]);
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(error, @r"
    error: failed to open ROOT/file/p/inbox.lock: Not a directory (os error 20)
      give a directory, or a name that is free, as the root
    ");
    let output = cli
        .command(&["drain", "p"])
        .env_remove("OUTBOX_ROOT")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: failed to find the outbox: no root directory is given
      give --root DIR, or set OUTBOX_ROOT
    ");
    assert_eq!(cli.fails(&["drain"]).0, Some(2));
}

/// A mistyped root must not look like an outbox in which nothing is pending.
#[test]
fn a_root_that_is_not_there_is_created_by_a_commit_and_refused_by_the_others() {
    let cli = Cli::new();
    let missing = cli.root.path().join("missing");
    let root = missing.to_str().unwrap();
    for command in ["drain", "pending", "sweep", "dead-letters"] {
        let (status, error) = cli.fails(&[command, "--root", root, "p"]);
        assert_eq!(status, Some(1), "{command}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r"
            error: failed to find the root directory ROOT/missing: No such file or directory (os error 2)
              check --root and OUTBOX_ROOT; only `outbox commit` creates a root
            ");
        }
        assert!(!missing.exists(), "{command}");
    }
    cli.ok(&[
        "commit", "--root", root, "p", "--child", "a", "--signal", "1",
    ]);
    assert_eq!(cli.ok(&["pending", "--root", root, "p"]), "a  1  \n");
}

/// A parent drains at its first heartbeat, before any child has committed; and a mistyped
/// parent does not become one.
#[test]
fn a_parent_without_an_outbox_has_nothing_pending_and_gets_none() {
    let cli = Cli::new();
    for command in ["drain", "pending", "sweep", "dead-letters"] {
        assert_eq!(cli.ok(&[command, "p"]), "", "{command}");
        let entries = fs::read_dir(cli.root.path()).unwrap().count();
        assert_eq!(entries, 0, "{command}");
    }
}

/// Its creator died before both locks were there, so nothing can be in it.
#[test]
fn a_parent_whose_outbox_was_not_finished_has_nothing_pending_and_stays_as_it_is() {
    let cli = Cli::new();
    let directory = cli.root.path().join("p");
    fs::create_dir(&directory).unwrap();
    for expected in [0, 1] {
        for command in ["drain", "pending", "sweep", "dead-letters"] {
            assert_eq!(cli.ok(&[command, "p"]), "", "{command}");
            let entries = fs::read_dir(&directory).unwrap().count();
            assert_eq!(entries, expected, "{command}");
        }
        fs::write(directory.join("inbox.lock"), "").unwrap();
    }
}

/// A copy may leave lock files behind; what it holds must not look like nothing.
#[test]
fn an_outbox_that_lost_its_locks_is_still_one() {
    let cli = Cli::new();
    for locks in [
        &["inbox.lock"][..],
        &["ledger.lock"],
        &["inbox.lock", "ledger.lock"],
    ] {
        cli.outbox().commit(Event::new("a", "1")).unwrap();
        let directory = cli.outbox().path().to_owned();
        for lock in locks {
            fs::remove_file(directory.join(lock)).unwrap();
        }
        assert_eq!(cli.ok(&["pending", "p"]), "a  1  \n", "{locks:?}");
    }
}

#[test]
fn a_broken_pipe_takes_nothing_out() {
    let cli = Cli::new();
    cli.outbox().commit(Event::new("a", "1")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = cli
        .command(&["drain", "p"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: failed to write to standard output: Broken pipe (os error 32)
      run it again: nothing was taken out
    ");
    assert_eq!(cli.ok(&["drain", "p"]).lines().count(), 1);
}

#[test]
fn help_shows_how_to_use_it() {
    let cli = Cli::new();
    insta::assert_snapshot!(cli.ok(&["--help"]));
    insta::assert_snapshot!(cli.ok(&["drain", "--help"]));
}

/// The command as a user without permissions. Permissions do not bind root, who therefore
/// becomes somebody else; the copy of the command stands where that user can reach it.
fn as_a_user_without_permissions(directory: &Path) -> (PathBuf, impl Fn(&mut Command)) {
    let copy = directory.join("outbox-command");
    // A copy by another process: a descriptor of ours that is open for writing could be
    // inherited by a process that another test starts, and would make this one unstartable.
    let copied = Command::new("cp").arg(COMMAND).arg(&copy).status().unwrap();
    assert!(copied.success());
    let is_root = fs::metadata(directory)
        .map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
        .unwrap();
    (copy, move |command| {
        if is_root {
            command.uid(65_534).gid(65_534);
        }
    })
}

#[test]
fn a_read_only_directory_refuses_commits_and_drains_and_still_shows_what_is_pending() {
    let cli = Cli::new();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let root = cli.root.path();
    let (command, become_user) = as_a_user_without_permissions(root);
    set_mode(root, 0o755);
    cli.outbox().commit(Event::new("a", "1")).unwrap();
    let directory = cli.outbox().path().to_owned();
    for entry in fs::read_dir(&directory).unwrap() {
        set_mode(&entry.unwrap().path(), 0o444);
    }
    set_mode(&directory, 0o555);
    set_mode(root, 0o555);

    let run = |arguments: &[&str]| {
        let mut prepared = Command::new(&command);
        prepared.args(arguments).env("OUTBOX_ROOT", root);
        become_user(&mut prepared);
        let output = prepared.output().unwrap();
        let error = text(&output.stderr).replace(root.to_str().unwrap(), "ROOT");
        (output.status.code(), text(&output.stdout), error)
    };
    let commit = run(&["commit", "p", "--child", "b", "--signal", "1"]);
    let drain = run(&["drain", "p"]);
    let sweep = run(&["sweep", "p"]);
    let pending = run(&["pending", "p"]);
    let new_parent = run(&["commit", "q", "--child", "b", "--signal", "1"]);

    set_mode(root, 0o755);
    set_mode(&directory, 0o755);
    assert_eq!(commit.0, Some(1));
    insta::assert_snapshot!(commit.2, @r"
    error: failed to open ROOT/p/inbox.jsonl: Permission denied (os error 13)
      let this user write to ROOT/p and to what is in it
    ");
    assert_eq!((drain.0, drain.1.as_str()), (Some(1), ""));
    insta::assert_snapshot!(drain.2, @r"
    error: failed to open ROOT/p/wal.tmp: Permission denied (os error 13)
      let this user write to ROOT/p and to what is in it
    ");
    assert_eq!(sweep.0, Some(0));
    assert_eq!((pending.0, pending.2.as_str()), (Some(0), ""));
    assert_eq!(pending.1, "a  1  \n");
    assert_eq!(new_parent.0, Some(1));
    insta::assert_snapshot!(new_parent.2, @r"
    error: failed to create the directory ROOT/q: Permission denied (os error 13)
      let this user write to ROOT and to what is in it
    ");
    assert_eq!(names(&cli.outbox().drain().unwrap()), ["a=1"]);
}
