//! `compare` as a user meets it: in a repository of its own, whose package Cargo builds with this
//! workspace's `Cargo.lock` and without a network. No figure is asserted but a planted multiple.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{code, err, out, workspace};

const MANIFEST: &str = "[package]\nname = \"tiny\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                        publish = false\n[lib]\npath = \"lib.rs\"\ndoctest = false\n";

/// The code that the gates guard: `times` as slow, and with so many files synced.
fn code_of(times: u32, files: u32) -> String {
    format!(
        "//! Nothing.\n\
         pub fn work() {{\n    for i in 0..{times} * 40_000_u32 {{\n        \
         std::hint::black_box(i);\n    }}\n}}\n\
         pub fn files() -> u64 {{\n    {files}\n}}\n"
    )
}

const GATES: &str = r#"
//! Gates to compare.
use std::io::Write;
use std::time::Duration;
use perfbudget::{Budget, Gate};

const LONG: Budget = Budget::warm(Duration::from_secs(10)); // guessed, far too long

#[test]
fn perf_tiny_work() {
    // Shows from outside that it is run.
    let runs = std::fs::OpenOptions::new().create(true).append(true).open("runs");
    runs.unwrap().write_all(b".").unwrap();
    Gate::new("tiny/work", LONG).run(tiny::work);
}

#[test]
fn perf_tiny_files() {
    Gate::counts("tiny/files").exactly([("files", 2)], [("files", tiny::files())]);
}
"#;

/// What these tests keep from run to run: what Cargo has built.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("compare")
        .join(name)
}

/// A directory with a package that has two gates.
struct Package<'a>(&'a Path);

impl Package<'_> {
    fn write_all(&self, files: u32) {
        let manifest = format!(
            "{MANIFEST}[dev-dependencies]\nperfbudget = {{ path = {:?} }}\n[workspace]\n\
             # Optimised enough to be timed, and quick to build.\n\
             [profile.perf]\ninherits = \"release\"\nopt-level = 1\ncodegen-units = 16\n",
            workspace().join("perfbudget")
        );
        let lock = fs::read_to_string(workspace().join("Cargo.lock")).expect("read");
        self.write("Cargo.toml", &manifest);
        self.write("Cargo.lock", &lock);
        // Repetitions of a busy machine vary; what is planted is larger than that.
        self.write("perfbudget.toml", "[policy]\nmax_cv_percent = 99\n");
        self.write(".gitignore", "runs\n");
        self.write("tests/perf.rs", GATES);
        self.write("lib.rs", &code_of(1, files));
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }
}

/// A repository of it.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(TempDir::new().expect("a directory"));
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository.git(&["config", "user.name", "somebody"]);
        repository.git(&["config", "user.email", "somebody@example.com"]);
        Package(repository.path()).write_all(2);
        repository.commit(&code_of(1, 2));
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        Package(self.path()).write(name, text);
    }

    /// Everything, with this as its code.
    fn commit(&self, code: &str) {
        self.write("lib.rs", code);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "code"]);
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.path())
            .output()
            .expect("git starts");
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    }

    fn worktrees(&self) -> usize {
        self.git(&["worktree", "list"]).lines().count()
    }

    fn compare(&self, arguments: &[&str]) -> Compared {
        let _turn = turn();
        let out = TempDir::new().expect("a directory");
        fs::write(out.path().join("decision.json"), "another's").expect("written");
        let output = command(self.path())
            .arg("--out")
            .arg(out.path())
            .args(arguments)
            .output()
            .expect("the command starts");
        // However it ended.
        assert_eq!(self.worktrees(), 1, "{}", err(&output));
        Compared { output, out }
    }
}

/// Tests run at once, in threads and in processes, and all build in one place.
fn turn() -> File {
    fs::create_dir_all(kept("")).expect("made");
    let lock = File::create(kept("turn")).expect("a lock");
    lock.lock().expect("locked");
    lock
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"));
    command
        .args(["perfbudget", "compare"])
        .current_dir(directory)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", kept("target"))
        .env("PERF_BUDGET_MULTIPLIER", "7")
        .env("PERFBUDGET_DENY", "contended,undecided,not_measured")
        .env("RUST_BACKTRACE", "full");
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

struct Compared {
    output: Output,
    out: TempDir,
}

impl Compared {
    fn code(&self) -> i32 {
        code(&self.output)
    }

    /// All that it said.
    fn said(&self) -> String {
        format!("{}\n{}", out(&self.output), err(&self.output))
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.out.path().join(name)).unwrap_or_else(|error| {
            panic!("{name}: {error}: {}", self.said());
        })
    }

    fn decision(&self) -> Value {
        serde_json::from_str(&self.file("decision.json")).expect("JSON")
    }

    fn gate(&self, name: &str) -> Value {
        let decision = self.decision();
        let gates = decision["gates"].as_array().expect("gates");
        let gate = gates.iter().find(|gate| gate["gate"] == name);
        gate.unwrap_or_else(|| panic!("{name}: {decision:#}"))
            .clone()
    }

    fn history(&self, side: &str) -> Vec<Value> {
        let text = self.file(&format!("{side}/history.jsonl"));
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

#[test]
fn the_same_code_is_not_rejected_and_leaves_its_artifacts() {
    let repository = Repository::new();
    let arguments = [
        "--baseline",
        "HEAD",
        "--candidate",
        "main",
        "--max-repetitions",
        "24",
    ];
    let compared = repository.compare(&arguments);
    assert!([0, 4].contains(&compared.code()), "{}", compared.said());
    assert_eq!(compared.gate("tiny/files")["status"], "equal");
    let history = compared.history("baseline");
    let of_side = |side: &str| {
        let is_it = |r: &&Value| r["side"] == side && r["gate"] == "tiny/work";
        history.iter().filter(is_it).count()
    };
    // Two of each in a block.
    assert!(of_side("baseline") >= 6, "{history:?}");
    assert_eq!(of_side("baseline"), of_side("control"));
    let has_pace = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    let mut of_work = history.iter().filter(|r| r["gate"] == "tiny/work");
    assert!(
        of_work.all(|r| r["pace_ns"].is_f64() == has_pace),
        "{history:?}"
    );
    assert_eq!(compared.history("candidate")[0]["of"], history[0]["of"]);
    let page = compared.file("report.html");
    assert!(page.contains("tiny/work") && page.ends_with("</html>\n"));
    let said = compared.said();
    for part in [
        "building the baseline: HEAD (",
        "building the candidate: main (",
        "both are built with the profile `perf`",
        "measuring 2 gates in 2 tests: at most 24 processes of each side",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains('\x1b'), "{said}");
}

#[test]
fn slower_code_that_is_not_committed_is_rejected() {
    let repository = Repository::new();
    repository.write("lib.rs", &code_of(3, 2));
    let compared = repository.compare(&["--baseline", "HEAD", "--gates", "tiny/work", "--json"]);
    assert_eq!(compared.code(), 3, "{}", compared.said());
    let gate = compared.gate("tiny/work");
    assert_eq!(gate["status"], "regressed", "{gate}");
    let change = gate["change"]["percent"].as_f64();
    assert!(change > Some(50.0), "{gate}");
    // What the filter leaves out is left out.
    let gates = compared.decision()["gates"].as_array().map(Vec::len);
    assert_eq!(gates, Some(1));
    let said = err(&compared.output);
    assert!(
        said.contains("1 changed file that is not committed"),
        "{said}"
    );
    let printed: Value = serde_json::from_str(&out(&compared.output)).expect("JSON");
    assert_eq!(printed["decision"], "rejected");
}

#[test]
fn one_sync_more_is_rejected_by_its_count_alone() {
    let repository = Repository::new();
    repository.commit(&code_of(1, 3));
    let compared = repository.compare(&["--baseline", "HEAD~1", "--gates", "files"]);
    assert_eq!(compared.code(), 3, "{}", compared.said());
    let gate = compared.gate("tiny/files");
    assert_eq!(gate["status"], "regressed");
    assert_eq!(gate["counts"]["files"], serde_json::json!([2, 3]));
    // A count needs no more than one block.
    assert_eq!(compared.history("candidate").len(), 2);
}

#[test]
fn an_older_directory_is_not_taken_for_what_was_built_of_another() {
    // All written before any is built: by the ages of its files the last has not changed. Kept, for
    // what is built of them stands in places that are named after theirs.
    for (name, files) in [("same", 2), ("more", 3)] {
        Package(&kept(name)).write_all(files);
    }
    let _turn = turn();
    let status = |candidate| {
        let out = TempDir::new().expect("a directory");
        let output = command(&kept("same"))
            .args(["--baseline", ".", "--gates", "files", "--profile", "dev"])
            .arg("--candidate")
            .arg(kept(candidate))
            .arg("--out")
            .arg(out.path())
            .output()
            .expect("the command starts");
        Compared { output, out }.gate("tiny/files")["status"].clone()
    };
    assert_eq!(status("same"), "equal");
    assert_eq!(status("more"), "regressed");
}

#[test]
fn a_gate_that_fails_or_is_gone_is_not_left_out() {
    let repository = Repository::new();
    let broken = code_of(1, 2).replace("{\n    for", "{\n    panic!(\"it broke\");\n    for");
    repository.write(
        "tests/perf.rs",
        &GATES.replace("tiny/files", "tiny/renamed"),
    );
    repository.commit(&broken);
    let compared = repository.compare(&["--baseline", "HEAD~1"]);
    assert_eq!(compared.code(), 3, "{}", compared.said());
    let gate = compared.gate("tiny/work");
    assert_eq!(gate["status"], "bad_status");
    let why = gate["why"].as_str().expect("why");
    assert!(why.contains("it broke"), "{why}");
    assert_eq!(compared.gate("tiny/files")["status"], "bad_status");
    assert_eq!(compared.gate("tiny/renamed")["status"], "missing_metric");
}

#[test]
fn what_can_not_be_compared_is_said() {
    let repository = Repository::new();
    repository.commit("this is no code");
    repository.write("tests/perf.rs", "//! No gates.\n#[test]\nfn adds() {}\n");
    repository.commit(&code_of(1, 2));
    for (arguments, parts) in [
        (
            &["--baseline", "nope"][..],
            &["failed to find nope", "no revision of the repository"][..],
        ),
        (
            &["--baseline", "HEAD~1"],
            &[
                "failed to build the baseline, HEAD~1 (",
                "cargo test --no-run ended with",
            ],
        ),
        (
            &["--baseline", "HEAD~2"],
            &["failed to find a gate in the candidate, the working tree ("],
        ),
        (
            &[
                "--baseline",
                "HEAD~2",
                "--candidate",
                "HEAD~2",
                "--gates",
                "zzz",
            ],
            &["with zzz in its name", "tiny/files, tiny/work"],
        ),
    ] {
        let compared = repository.compare(arguments);
        let said = err(&compared.output);
        assert_eq!(compared.code(), 1, "{arguments:?}: {said}");
        // What another comparison left there would be taken for this one's.
        assert!(!compared.out.path().join("decision.json").exists());
        for part in parts {
            assert!(said.contains(part), "{part:?} in {said}");
        }
    }
}

/// Also where it is not said where to write: a script that reads it would take it for this one's.
#[test]
fn an_old_decision_does_not_outlive_a_revision_that_does_not_exist() {
    let repository = Repository::new();
    let _turn = turn();
    let report = kept("target/perfbudget-compare/report");
    fs::create_dir_all(&report).expect("made");
    fs::write(report.join("decision.json"), "another's").expect("written");
    let output = command(repository.path())
        .args(["--baseline", "nope"])
        .output()
        .expect("the command starts");
    assert_eq!(code(&output), 1, "{}", err(&output));
    assert!(!report.join("decision.json").exists());
}

#[test]
fn bad_arguments_exit_with_2() {
    let here = TempDir::new().expect("a directory");
    for arguments in [
        &[][..],
        &[
            "--baseline",
            "a",
            "--baseline-cmd",
            "b",
            "--candidate-cmd",
            "c",
        ],
        &["--baseline-cmd", "b"],
        &["--baseline", "a", "--expect", "miracles"],
        &["--baseline", "a", "--min-repetitions", "5"],
        &["--baseline", "a", "--runs", "0"],
        &[
            "--baseline",
            "a",
            "--min-repetitions",
            "20",
            "--max-repetitions",
            "10",
        ],
    ] {
        let output = command(here.path())
            .args(arguments)
            .output()
            .expect("it starts");
        assert_eq!(code(&output), 2, "{arguments:?}: {}", err(&output));
    }
    let help = command(here.path())
        .arg("--help")
        .output()
        .expect("it starts");
    assert!(out(&help).contains("$ cargo perfbudget compare --baseline main"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_removes_what_was_checked_out_and_keeps_what_was_measured() {
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process};

    let repository = Repository::new();
    let _turn = turn();
    let out = TempDir::new().expect("a directory");
    let mut child = command(repository.path())
        .args(["--baseline", "HEAD", "--gates", "tiny/work", "--out"])
        .arg(out.path())
        .args(["--min-repetitions", "1000", "--max-repetitions", "1000"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    // Once to find the gate, and some blocks.
    let runs = kept("target/perfbudget-compare/a/source/runs");
    while fs::metadata(&runs).map_or(0, |file| file.len()) < 20 {
        let ended = child.try_wait().expect("it is ours");
        assert_eq!(ended, None, "it ended before it measured");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(repository.worktrees(), 3);
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("an id"), Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let said = err(&output);
    assert_eq!(code(&output), 130, "{said}");
    assert!(said.contains("interrupted: "), "{said}");
    assert_eq!(repository.worktrees(), 1);
    assert!(!runs.exists());
    for side in ["baseline", "candidate"] {
        let history = fs::read_to_string(out.path().join(side).join("history.jsonl"));
        let lines = history.expect("a history").lines().count();
        assert!(lines > 3, "{lines} of the {side}");
    }
    assert!(!out.path().join("decision.json").exists());
}

/// Two commands, and where their comparison is.
#[cfg(unix)]
fn of_commands(baseline: &str, candidate: &str) -> Compared {
    let out = TempDir::new().expect("a directory");
    // Other tests run beside this one.
    let policy = out.path().join("policy.toml");
    fs::write(&policy, "[policy]\nmax_cv_percent = 99\n").expect("written");
    let output = command(out.path())
        .arg("--policy")
        .arg(&policy)
        .args([
            "--baseline-cmd",
            baseline,
            "--candidate-cmd",
            candidate,
            "--out",
        ])
        .arg(out.path())
        .args(["--max-repetitions", "12"])
        .output()
        .expect("the command starts");
    Compared { output, out }
}

#[cfg(unix)]
#[test]
fn commands_are_compared_and_one_that_fails_is_rejected() {
    // Much slower, whatever the machine does, and long enough for the control to be the same.
    let compared = of_commands("sleep 0.05", "sleep 0.2");
    let gate = compared.gate("command");
    assert_eq!(gate["status"], "regressed", "{}", compared.said());
    assert_eq!(compared.code(), 3);
    assert_eq!(compared.decision()["baseline"]["name"], "sleep 0.05");

    let compared = of_commands("true", "echo 'it <broke>' >&2; exit 9");
    assert_eq!(compared.code(), 3, "{}", compared.said());
    let gate = compared.gate("command");
    assert_eq!(gate["status"], "bad_status");
    let page = compared.file("report.html");
    assert!(page.contains("it &lt;broke&gt;") && !page.contains("it <broke>"));
}

/// The page in a browser, narrow and wide: it is drawn, and not wider than the window.
#[cfg(unix)]
#[test]
fn the_report_is_drawn_by_a_browser() {
    let Some(browser) = browser() else {
        left_out("there is no Chromium here (apt-get install chromium): the report was not drawn");
        return;
    };
    let compared = of_commands("sleep 0.01", "sleep 0.02");
    let page = format!(
        "file://{}",
        compared.out.path().join("report.html").display()
    );
    for width in [360, 1200] {
        let picture = compared.out.path().join(format!("{width}.png"));
        let output = Command::new(&browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!(
                "--user-data-dir={}",
                compared.out.path().join("profile").display()
            ))
            .arg(format!("--window-size={width},1600"))
            .arg(format!("--screenshot={}", picture.display()))
            .arg(&page)
            .output()
            .expect("the browser starts");
        let bytes = fs::read(&picture).unwrap_or_else(|error| panic!("{error}: {}", err(&output)));
        // PNG: the width stands behind the signature and the first chunk's head.
        assert_eq!(bytes[16..20], u32::to_be_bytes(width), "{}", err(&output));
        // Of one colour it would be a few hundred bytes.
        assert!(bytes.len() > 10_000, "{} bytes", bytes.len());
    }
}

#[cfg(unix)]
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.is_file())
}

/// A test that is left out passes, and nobody reads what it prints: its place is left where
/// `scripts/test` looks.
#[cfg(unix)]
#[track_caller]
fn left_out(why: &str) {
    use std::io::Write;
    let is_required = std::env::var("PERFBUDGET_REQUIRE_CHROMIUM").is_ok_and(|on| on == "1");
    assert!(!is_required, "{why}");
    let place = std::panic::Location::caller();
    let line = format!("{}:{}: {why}\n", place.file(), place.line());
    eprint!("{line}");
    if let Some(file) = std::env::var_os("PERFBUDGET_LEFT_OUT").filter(|file| !file.is_empty()) {
        let file = fs::OpenOptions::new().create(true).append(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("written");
    }
}
