//! One run: its records, and what is missing from it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use perfbudget::Record;
use perfbudget::record::TestPlace;
use serde::Serialize;

use crate::expected::{ExpectedTest, ExpectedTests};

/// What a run left behind.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) run_id: String,
    /// Whether nothing failed and nothing is missing.
    pub(crate) passed: bool,
    /// Whether it is known which tests should have left a record.
    pub(crate) expectation_is_known: bool,
    /// In the order of their names.
    pub(crate) gates: Vec<Record>,
    /// Tests that should have left a record and did not.
    pub(crate) missing: Vec<String>,
    /// Gates that began and left no record.
    pub(crate) unfinished: Vec<String>,
    /// Files that are no records of a version that is known here.
    pub(crate) unreadable: Vec<String>,
}

/// A run that can't be reported on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error(
        "failed to find records: the run {run_id:?} left none in {root}\n\
         the gates write them when PERFBUDGET_DIR is set; `ls {root}` shows the runs there are"
    )]
    NoRun { run_id: String, root: String },
    #[error("failed to read the directory of records {path}")]
    Read { path: String, source: io::Error },
}

impl Report {
    /// Reads the records of a run. With `expected`, a run that left nothing at all is a report of
    /// missing gates; without, it is an error.
    pub(crate) fn read(
        root: &Path,
        run_id: &str,
        expected: Option<&ExpectedTests>,
    ) -> Result<Self, ReportError> {
        let directory = root.join(run_id);
        let mut report = Self {
            run_id: run_id.to_owned(),
            passed: false,
            expectation_is_known: expected.is_some(),
            gates: Vec::new(),
            missing: Vec::new(),
            unfinished: Vec::new(),
            unreadable: Vec::new(),
        };
        let failed = |source| ReportError::Read {
            path: directory.display().to_string(),
            source,
        };
        match fs::read_dir(&directory) {
            Ok(entries) => {
                for entry in entries {
                    report.add(&entry.map_err(failed)?.path());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        report.gates.sort_by(|a, b| a.gate.cmp(&b.gate));
        report.unfinished.sort();
        report.unreadable.sort();
        if let Some(expected) = expected {
            report.missing = missing(&expected.0, &report.gates);
        } else if report.gates.is_empty()
            && report.unfinished.is_empty()
            && report.unreadable.is_empty()
        {
            return Err(ReportError::NoRun {
                run_id: run_id.to_owned(),
                root: root.display().to_string(),
            });
        }
        report.passed = report.is_passed();
        Ok(report)
    }

    fn add(&mut self, path: &Path) {
        match path.extension().and_then(OsStr::to_str) {
            Some("json") => {}
            Some("claim") => return self.unfinished.push(unfinished(path)),
            _ => return,
        }
        match Record::read(path) {
            Ok(record) => self.gates.push(record),
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                self.unreadable.push(format!("{error}{cause}"));
            }
        }
    }

    fn is_passed(&self) -> bool {
        self.missing.is_empty()
            && self.unfinished.is_empty()
            && self.unreadable.is_empty()
            && !self.gates.is_empty()
            && self.gates.iter().all(|gate| !gate.verdict.is_failure())
    }
}

/// What a claim without a record says.
fn unfinished(claim: &Path) -> String {
    let stem = claim.file_stem().unwrap_or_default().to_string_lossy();
    // A gate's name has no dots; its file's name has them for the slashes.
    let gate = stem.replace('.', "/");
    let place: Option<TestPlace> = fs::read(claim)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    match place {
        Some(place) => format!("{gate} at {}:{}", place.file, place.line),
        None => gate,
    }
}

fn missing(expected: &[ExpectedTest], gates: &[Record]) -> Vec<String> {
    let missing: BTreeSet<&ExpectedTest> = expected
        .iter()
        .filter(|test| !gates.iter().any(|gate| test.is(&gate.test)))
        .collect();
    missing.into_iter().map(ToString::to_string).collect()
}
