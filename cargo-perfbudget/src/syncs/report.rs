//! What was synced, as a table and as JSON.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use fsync_counter::{Event, Incomplete, Outcome, SyncCounts};
use perfbudget::record::Nanoseconds;
use serde_json::{Value, json};

use super::Ended;

/// Events kept for a list of them; the table has all.
const EVENTS_MAX: usize = 100_000;

/// What the report looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) json: bool,
    pub(super) events: bool,
    /// Lines of the table; 0 for all.
    pub(super) top: usize,
    pub(super) timed: bool,
}

impl Form {
    pub(super) fn keeps_events(&self) -> bool {
        self.json || self.events
    }
}

/// The syncs so far, and why there may have been more.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) incomplete: Vec<Incomplete>,
    counts: SyncCounts,
    lines: BTreeMap<Key, Line>,
    events: Vec<Event>,
    events_missing: u64,
    failed: u64,
    untimed: u64,
    time: Duration,
}

/// What one line of the table is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    path: Option<PathBuf>,
    kind: String,
    class: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    syncs: u64,
    failed: u64,
    time: Duration,
}

impl Tally {
    pub(super) fn add(&mut self, event: &Event, keep: bool) {
        self.counts.add(event);
        let key = Key {
            path: event.path.clone(),
            kind: event.operation.to_string(),
            class: event.class.to_string(),
        };
        let line = self.lines.entry(key).or_default();
        line.syncs += 1;
        if matches!(event.outcome, Outcome::Failed(_)) {
            line.failed += 1;
            self.failed += 1;
        }
        match event.duration {
            Some(time) => {
                line.time += time;
                self.time += time;
            }
            None => self.untimed += 1,
        }
        if !keep {
            return;
        }
        if self.events.len() < EVENTS_MAX {
            self.events.push(event.clone());
        } else {
            self.events_missing += 1;
        }
    }
}

/// One report.
pub(super) struct Report<'a> {
    command: &'a [OsString],
    ended: &'a Ended,
    tally: &'a Tally,
    form: Form,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        command: &'a [OsString],
        ended: &'a Ended,
        tally: &'a Tally,
        form: Form,
    ) -> Self {
        Self {
            command,
            ended,
            tally,
            form,
        }
    }

    pub(super) fn text(&self) -> String {
        if self.form.json {
            let mut text = self.json().to_string();
            text.push('\n');
            return text;
        }
        self.table()
    }

    fn events(&self) -> Vec<&Event> {
        let mut events: Vec<_> = self.tally.events.iter().collect();
        events.sort_by_key(|event| event.sequence);
        events
    }

    fn table(&self) -> String {
        let bold = Style::new().bold();
        let caution = AnsiColor::Yellow.on_default();
        let mut text = String::from("\n");
        let tally = self.tally;
        if self.form.events {
            for event in self.events() {
                let time = match event.duration {
                    Some(time) => format!("  {}", time_of(time)),
                    None => String::new(),
                };
                _ = writeln!(text, "{event}{time}  [{}]", event.process);
            }
            if tally.events_missing > 0 {
                _ = writeln!(text, "… and {} more", tally.events_missing);
            }
            text.push('\n');
        }
        let mut lines: Vec<_> = tally.lines.iter().collect();
        lines.sort_by_key(|(_, line)| std::cmp::Reverse(line.syncs));
        let shown = match self.form.top {
            0 => lines.len(),
            top => top.min(lines.len()),
        };
        if shown > 0 {
            let width = |text: fn(&Key) -> &str, head: &str| {
                let all = lines[..shown].iter().map(|(key, _)| text(key).len());
                all.chain([head.len()]).max().unwrap_or(0)
            };
            let (kinds, classes) = (
                width(|key| &key.kind, "kind"),
                width(|key| &key.class, "class"),
            );
            let time = |time: &str| match self.form.timed {
                true => format!("  {time:>8}"),
                false => String::new(),
            };
            let head = time("time");
            _ = writeln!(
                text,
                "{bold}{:>7}  {:kinds$}  {:classes$}{head}  path{bold:#}",
                "syncs", "kind", "class"
            );
            for (key, line) in &lines[..shown] {
                let path = match &key.path {
                    Some(path) => path.display().to_string(),
                    None => "–".to_owned(),
                };
                let failed = match line.failed {
                    0 => String::new(),
                    n => format!("  ({n} failed)"),
                };
                let time = time(&time_of(line.time));
                _ = writeln!(
                    text,
                    "{:>7}  {:kinds$}  {:classes$}{time}  {path}{failed}",
                    line.syncs, key.kind, key.class
                );
            }
            if lines.len() > shown {
                let rest: u64 = lines[shown..].iter().map(|(_, line)| line.syncs).sum();
                _ = writeln!(
                    text,
                    "{rest:>7}  of {} more lines; --top 0 shows all",
                    lines.len() - shown
                );
            }
            text.push('\n');
        }
        _ = writeln!(text, "{bold}{}{bold:#}", self.summary());
        for reason in &tally.incomplete {
            _ = writeln!(text, "{caution}may be too low: {reason}{caution:#}");
        }
        text
    }

    fn summary(&self) -> String {
        let counts = self.tally.counts;
        let mut text = match counts.total() {
            0 => "no syncs".to_owned(),
            1 => "1 sync".to_owned(),
            n => format!("{n} syncs"),
        };
        let parts: Vec<_> = counts
            .into_iter()
            .filter(|(name, _)| *name != "weak")
            .map(|(name, n)| format!("{n} {}", singular(name, n)))
            .collect();
        if !parts.is_empty() {
            _ = write!(text, ": {}", parts.join(", "));
        }
        if counts.weak > 0 {
            _ = write!(text, " · {} weak (no durability)", counts.weak);
        }
        if self.tally.failed > 0 {
            _ = write!(text, " · {} failed", self.tally.failed);
        }
        let took = time_of(self.ended.after);
        if self.form.timed && counts.total() > 0 {
            _ = write!(text, " · {} in them, of {took}", time_of(self.tally.time));
        } else {
            _ = write!(text, " · {took}");
        }
        text
    }

    fn json(&self) -> Value {
        let tally = self.tally;
        let counts = tally.counts;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let events: Vec<_> = self
            .events()
            .into_iter()
            .map(|event| {
                json!({
                    "sequence": event.sequence,
                    "kind": event.operation.to_string(),
                    "flags": event.flags,
                    "class": event.class.to_string(),
                    "path": event.path.as_ref().map(|path| path.to_string_lossy()),
                    "process": event.process,
                    "thread": event.thread,
                    "outcome": outcome_of(event.outcome),
                    "seconds": seconds(event.duration),
                })
            })
            .collect();
        json!({
            "command": self.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
            "exit_code": self.ended.status.code(),
            "signal": super::command::signal_of(self.ended.status),
            "seconds": self.ended.after.as_secs_f64(),
            "total": counts.total(),
            "files": counts.files,
            "dirs": counts.dirs,
            "other": counts.other,
            "unknown": counts.unknown,
            "weak": counts.weak,
            "failed": tally.failed,
            "seconds_in_syncs": seconds(self.form.timed.then_some(tally.time)),
            "untimed": tally.untimed,
            "incomplete": tally.incomplete.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "events": events,
            "events_missing": tally.events_missing,
        })
    }
}

fn singular(name: &'static str, n: u64) -> &'static str {
    match (name, n) {
        ("files", 1) => "file",
        ("dirs", 1) => "dir",
        _ => name,
    }
}

fn outcome_of(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Succeeded => json!("succeeded"),
        Outcome::Failed(errno) => json!({ "errno": errno }),
        _ => json!("not seen"),
    }
}

/// A time in three digits.
fn time_of(time: Duration) -> String {
    Nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).to_string()
}
