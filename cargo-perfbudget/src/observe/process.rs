//! One test in a process of its own, and what it leaves behind.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output};

use perfbudget::{DENY_ENV, DIR_ENV, MULTIPLIER_ENV, PACE_ENV, RUN_ID_ENV, Record};

use super::cargo::Binary;
use crate::children;

const RUN_ID: &str = "observed";

/// What a test came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) records: Vec<Record>,
    /// Gates that began and left no record.
    pub(crate) unfinished: Vec<String>,
    /// Gates whose record can't be read, and why.
    pub(crate) unreadable: Vec<(String, String)>,
    pub(crate) status: ExitStatus,
    /// All that it printed.
    pub(crate) output: String,
}

impl Outcome {
    pub(crate) fn record(&self, gate: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.gate == gate)
    }

    /// Every gate that began.
    pub(crate) fn gates(&self) -> impl Iterator<Item = &String> {
        let recorded = self.records.iter().map(|record| &record.gate);
        let unreadable = self.unreadable.iter().map(|(gate, _)| gate);
        recorded.chain(&self.unfinished).chain(unreadable)
    }
}

/// Runs a test alone, at multiplier 1.0, nothing denied, and collects its records.
pub(crate) fn run(binary: &Binary, test: &str) -> io::Result<Outcome> {
    run_with(&[(MULTIPLIER_ENV, "1.0")], binary, test)
}

/// Runs a test alone with these variables, nothing denied, and collects its records.
pub(crate) fn run_with(
    variables: &[(&str, &str)],
    binary: &Binary,
    test: &str,
) -> io::Result<Outcome> {
    let records = tempfile::tempdir()?;
    let mut command = binary.command();
    command
        .args(["--exact", test, "--nocapture"])
        .env(DIR_ENV, records.path())
        .env(RUN_ID_ENV, RUN_ID)
        .env_remove(DENY_ENV)
        .env_remove(PACE_ENV)
        // What is shown of a test that failed are its last lines: its message, not a backtrace.
        .env("RUST_BACKTRACE", "0")
        .envs(variables.iter().copied());
    let output = children::output(&mut command)?;
    let mut outcome = Outcome {
        records: Vec::new(),
        unfinished: Vec::new(),
        unreadable: Vec::new(),
        status: output.status,
        output: printed(&output),
    };
    let directory = records.path().join(RUN_ID);
    match fs::read_dir(&directory) {
        Ok(entries) => {
            for entry in entries {
                outcome.add(&entry?.path());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    outcome.records.sort_by(|a, b| a.gate.cmp(&b.gate));
    outcome.unfinished.sort();
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, path: &Path) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        // A gate's name has no dots; its file's name has them for the slashes.
        let gate = stem.replace('.', "/");
        match path.extension().and_then(OsStr::to_str) {
            Some("json") => match Record::read(path) {
                Ok(record) => self.records.push(record),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    self.unreadable.push((gate, cause.unwrap_or_default()));
                }
            },
            Some("claim") => self.unfinished.push(gate),
            _ => {}
        }
    }
}

fn printed(output: &Output) -> String {
    let of = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    let texts = [of(&output.stdout), of(&output.stderr)];
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.cloned().collect::<Vec<_>>().join("\n")
}
