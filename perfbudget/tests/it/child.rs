//! Tests that need an environment or a process of their own: this binary, started anew for one of
//! its tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use perfbudget::Record;
use tempfile::TempDir;

/// What a child does, for the tests below that are started in one.
const ROLE_ENV: &str = "PERFBUDGET_TEST_CHILD";

/// Whether this process was started as a child; otherwise a child's test does nothing.
pub(crate) fn is_child() -> bool {
    std::env::var_os(ROLE_ENV).is_some()
}

/// A run of its own, with a directory for its records.
pub(crate) struct Run {
    pub(crate) dir: TempDir,
}

pub(crate) struct Output {
    pub(crate) passed: bool,
    pub(crate) text: String,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().expect("a directory"),
        }
    }

    /// Runs one test of this binary as a member of the run.
    pub(crate) fn test(&self, name: &str, variables: &[(&str, &str)]) -> Output {
        self.test_in(self.dir.path(), self.dir.path(), name, variables)
    }

    /// The same started in a directory, with its records elsewhere.
    pub(crate) fn test_in(
        &self,
        directory: &Path,
        records: impl AsRef<OsStr>,
        name: &str,
        variables: &[(&str, &str)],
    ) -> Output {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", name, "--nocapture"]);
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("NEXTEST") || text.starts_with("PERF") {
                command.env_remove(variable);
            }
        }
        let output = command
            .current_dir(directory)
            .env(ROLE_ENV, "1")
            .env("PERFBUDGET_DIR", records)
            .env("PERFBUDGET_RUN_ID", "run")
            .env("RUST_BACKTRACE", "0")
            .envs(variables.iter().copied())
            .output()
            .expect("this binary starts");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("running 1 test"), "no test {name}:\n{text}");
        Output {
            passed: output.status.success(),
            text,
        }
    }

    pub(crate) fn record_path(&self, gate: &str) -> PathBuf {
        self.dir.path().join("run").join(Record::file_name(gate))
    }

    pub(crate) fn record(&self, gate: &str) -> Record {
        Record::read(&self.record_path(gate)).expect("a record")
    }

    pub(crate) fn files(&self) -> Vec<String> {
        files_of(&self.dir.path().join("run"))
    }
}

fn files_of(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .map(|name| name.expect("a name"))
        .collect()
}
