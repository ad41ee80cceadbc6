//! What a run of the study leaves behind: a file of lines, each a JSON object, from which the
//! report is made and at which a run that broke off is taken up again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cells::Cell;

/// What a comparison said, in the terms that all tools share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// That the candidate is slower.
    Slower,
    /// That it is faster.
    Faster,
    /// That there is no difference that counts. Tools that do not tell this from not knowing say
    /// it of both.
    NoDifference,
    /// That it can't be known.
    Unknown,
    /// Nothing: it failed, or said that a side did. It counts as whatever is worse.
    Failed,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What was compared.
    #[serde(flatten)]
    pub cell: Cell,
    /// Which build of the candidate.
    pub build: u32,
    /// What came of it.
    pub said: Said,
    /// The tool's estimate of the change, where it has one.
    pub percent: Option<f64>,
    /// How much the processes of a side varied, where the tool says it: the sample deviation over
    /// the mean, of the side with more.
    pub cv_percent: Option<f64>,
    /// The estimate and the variation before the pace of the core was taken out, where it was.
    #[serde(default)]
    pub as_measured: Option<AsMeasured>,
    /// The tool's own word: a status, a line that it printed.
    pub word: String,
    /// What it took in all.
    pub seconds: f64,
    /// What of that was measuring, where the tool says when it begins and ends.
    pub measuring_seconds: Option<f64>,
}

/// The machine, and how it was when the study began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The day, UTC.
    pub date: String,
    /// The CPU's model.
    pub cpu: String,
    /// CPUs that the study may use.
    pub cores: usize,
    /// The operating system and its release.
    pub system: String,
    /// The compiler.
    pub rustc: String,
    /// Tasks that ran.
    pub load_1m: Option<f64>,
    /// Whether only a few comparisons were asked for.
    pub quick: bool,
}

/// What the times came to as they were measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AsMeasured {
    /// The estimate of the change.
    pub percent: f64,
    /// Of the side whose processes varied more.
    pub cv_percent: f64,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// The first.
    Header(Header),
    /// It was taken up again: the machine then.
    Resumed(Header),
    /// In the order of the plan.
    Compared(Compared),
}

/// All that a run has left.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Of the first run.
    pub header: Header,
    /// Of those that went on.
    pub resumed: Vec<Header>,
    /// In the order of the plan.
    pub compared: Vec<Compared>,
}

impl Results {
    /// Reads a file. A last line that was cut off when the study was killed is left out.
    ///
    /// # Errors
    /// When it can't be read, or has anything else that is no line of a study.
    pub fn read(path: &Path) -> io::Result<Self> {
        let wrong = |line: usize, why: String| {
            io::Error::other(format!("{}: line {line}: {why}", path.display()))
        };
        let text = fs::read_to_string(path)?;
        let mut header = None;
        let mut resumed = Vec::new();
        let mut compared = Vec::new();
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            if !line.ends_with('\n') {
                break;
            }
            match serde_json::from_str(line).map_err(|error| wrong(number, error.to_string()))? {
                Line::Header(first) => header = Some(first),
                Line::Resumed(again) => resumed.push(again),
                Line::Compared(one) => compared.push(one),
            }
        }
        let header = header.ok_or_else(|| wrong(1, "there is no header".to_owned()))?;
        Ok(Self {
            header,
            resumed,
            compared,
        })
    }
}

/// Adds lines to a file, each at once.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// A new file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self(File::create(path)?);
        writer.line(&Line::Header(header.clone()))?;
        Ok(writer)
    }

    /// Goes on with a file, behind its last whole line.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn resume(path: &Path, header: &Header) -> io::Result<Self> {
        let text = fs::read(path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(whole.map_or(0, |end| end as u64 + 1))?;
        let mut writer = Self(file);
        writer.line(&Line::Resumed(header.clone()))?;
        Ok(writer)
    }

    /// One comparison more.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn compared(&mut self, compared: &Compared) -> io::Result<()> {
        self.line(&Line::Compared(compared.clone()))
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.0.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells;

    fn header() -> Header {
        Header {
            date: "2026-11-21".into(),
            cpu: "a".into(),
            cores: 2,
            system: "b".into(),
            rustc: "c".into(),
            load_1m: Some(0.1),
            quick: true,
        }
    }

    fn compared(percent: f64) -> Compared {
        Compared {
            cell: cells::plan(true)[0].cell,
            build: 3,
            said: Said::NoDifference,
            percent: Some(percent),
            cv_percent: Some(1.5),
            as_measured: None,
            word: "neutral".into(),
            seconds: 1.5,
            measuring_seconds: None,
        }
    }

    #[test]
    fn a_run_that_was_killed_goes_on_behind_its_last_whole_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("results.jsonl");
        let mut writer = Writer::create(&path, &header()).expect("made");
        writer.compared(&compared(1.0)).expect("written");
        let mut text = fs::read_to_string(&path).expect("read");
        text.push_str("{\"line\":\"comp");
        fs::write(&path, text).expect("written");
        let results = Results::read(&path).expect("read");
        assert_eq!(results.compared, [compared(1.0)]);

        let mut writer = Writer::resume(&path, &header()).expect("resumed");
        writer.compared(&compared(2.0)).expect("written");
        let results = Results::read(&path).expect("read");
        assert_eq!(results.compared, [compared(1.0), compared(2.0)]);
        assert_eq!(results.resumed, [header()]);
    }

    #[test]
    fn what_is_no_line_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("results.jsonl");
        fs::write(&path, "{}\n").expect("written");
        let error = Results::read(&path).expect_err("no header").to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
