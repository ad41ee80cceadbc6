//! That one thing was made durable before another: order, which a count can't show.
//!
//! Of the calls, as they were attempted. What a disk keeps when the power fails follows from it
//! only for calls that wait for each other, as those of one thread do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::event::{Event, Events, FileClass, Operation, Outcome};

/// One thing that is to happen, for [`Events::assert_order`].
///
/// A path matches as a suffix of whole names (`wal/0001` matches `/srv/wal/0001` and not
/// `/srv/old-wal/0001`), or, where it is absolute, exactly. Events have canonical paths.
///
/// A call that failed, or had not returned, is none of [`file`](Step::file), [`dir`](Step::dir),
/// [`renamed`](Step::renamed) and [`removed`](Step::removed).
#[must_use = "a step is nothing without an assertion on the order"]
pub struct Step<'a> {
    label: String,
    /// Which match is meant, from 1.
    occurrence: usize,
    is_of_entries: bool,
    matches: Box<dyn Fn(&Event) -> bool + 'a>,
}

impl<'a> Step<'a> {
    /// A sync of a file at this path; not a weak one.
    ///
    /// # Panics
    /// When the path is empty: it would match every file.
    #[track_caller]
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::at("file", path.as_ref(), |event| {
            is_sync_of(event, FileClass::File)
        })
    }

    /// A sync of a directory at this path.
    ///
    /// # Panics
    /// When the path is empty: it would match every directory.
    #[track_caller]
    pub fn dir(path: impl AsRef<Path>) -> Self {
        Self::at("directory", path.as_ref(), |event| {
            is_sync_of(event, FileClass::Directory)
        })
    }

    /// A rename to this path. Only scopes that [note entries](crate::Scope::with_entries) see it.
    ///
    /// # Panics
    /// When the path is empty: it would match every rename.
    #[track_caller]
    pub fn renamed(path: impl AsRef<Path>) -> Self {
        Self::of_entries("renamed to", path.as_ref(), Operation::Rename)
    }

    /// The removal of the file or directory at this path. Only scopes that [note
    /// entries](crate::Scope::with_entries) see it.
    ///
    /// # Panics
    /// When the path is empty: it would match every removal.
    #[track_caller]
    pub fn removed(path: impl AsRef<Path>) -> Self {
        Self::of_entries("removed", path.as_ref(), Operation::Unlink)
    }

    /// An event that `matches`, whatever it is. The label names it in the message.
    ///
    /// ```
    /// # #[cfg(all(target_os = "linux", not(miri)))] {
    /// use fsync_counter::{Operation, Scope, Step};
    ///
    /// let file = tempfile::tempfile().unwrap();
    /// let synced = Scope::thread().observe(|| file.sync_data().unwrap());
    /// synced.events().assert_order([Step::matching("data only", |event| {
    ///     event.operation == Operation::Fdatasync
    /// })]);
    /// # }
    /// ```
    pub fn matching(label: impl Into<String>, matches: impl Fn(&Event) -> bool + 'a) -> Self {
        Self {
            label: label.into(),
            occurrence: 1,
            is_of_entries: false,
            matches: Box::new(matches),
        }
    }

    /// The same step with its `n`-th match, from 1, in the place of its first: the second sync of
    /// a directory that is synced twice.
    ///
    /// # Panics
    /// When `n` is 0.
    #[track_caller]
    pub fn occurrence(mut self, n: usize) -> Self {
        assert!(
            n != 0,
            "occurrences are numbered from 1: there is no occurrence 0"
        );
        self.occurrence = n;
        self
    }

    #[track_caller]
    fn of_entries(what: &str, path: &Path, operation: Operation) -> Self {
        Self {
            is_of_entries: true,
            ..Self::at(what, path, move |event| event.operation == operation)
        }
    }

    #[track_caller]
    fn at(what: &str, path: &Path, is_one: impl Fn(&Event) -> bool + 'a) -> Self {
        assert!(
            !path.as_os_str().is_empty(),
            "an empty path would match every {what}: name the file"
        );
        let label = format!("{what} {}", path.display());
        let path = PathBuf::from(path);
        Self::matching(label, move |event| {
            let took_place = !matches!(event.outcome, Outcome::Failed(_) | Outcome::Pending);
            let is_there = |at: &PathBuf| at.ends_with(&path);
            took_place && is_one(event) && event.path.as_ref().is_some_and(is_there)
        })
    }
}

/// Without the predicate, which has nothing to show.
impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("label", &self.label)
            .field("occurrence", &self.occurrence)
            .finish_non_exhaustive()
    }
}

/// The words of a message for a step: its label, and which match is meant.
impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.occurrence {
            1 => f.write_str(&self.label),
            n => write!(f, "{} (occurrence {n})", self.label),
        }
    }
}

fn is_sync_of(event: &Event, class: FileClass) -> bool {
    event.operation.is_sync() && !event.operation.is_weak() && event.class == class
}

impl Events {
    /// That the steps happened, in this order.
    ///
    /// Each step has an event that matches, and the first match of each comes before the first
    /// match of the next. So `B` before any `A` is out of order even when another `A` and another
    /// `B` follow; [`Step::occurrence`] means another match than the first. What stands between
    /// the matches does not matter.
    ///
    /// # Errors
    /// [`OutOfOrder`], whose text is the events with what is wrong about them. Also when the list
    /// is not complete ([`overflowed`](Events::overflowed)): then the order can't be known.
    pub fn order<'a>(&self, steps: impl IntoIterator<Item = Step<'a>>) -> Result<(), OutOfOrder> {
        let steps: Vec<Step<'_>> = steps.into_iter().collect();
        let places: Vec<Place> = steps.iter().map(|step| self.place_of(step)).collect();
        let is_in_order = places.iter().all(|place| place.at.is_some())
            && places.is_sorted_by(|one, next| one.at < next.at);
        if is_in_order && self.overflowed == 0 && !steps.is_empty() {
            return Ok(());
        }
        Err(OutOfOrder {
            text: self.explain(&steps, &places),
        })
    }

    /// [`order`](Events::order) as an assertion.
    ///
    /// ```
    /// # #[cfg(all(target_os = "linux", not(miri)))] {
    /// use std::fs::{self, File};
    /// use fsync_counter::{Scope, Step};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = |name| dir.path().join(name);
    /// fs::write(path("inbox"), "a task").unwrap();
    ///
    /// let taken = Scope::under(dir.path()).with_entries().observe(|| {
    ///     fs::write(path("journal"), "a task").unwrap();
    ///     File::open(path("journal")).unwrap().sync_all().unwrap();
    ///     File::open(dir.path()).unwrap().sync_all().unwrap();
    ///     fs::remove_file(path("inbox")).unwrap();
    /// });
    /// taken.events().assert_order([
    ///     Step::file("journal"),
    ///     Step::dir(dir.path().canonicalize().unwrap()),
    ///     Step::removed("inbox"),
    /// ]);
    /// # }
    /// ```
    ///
    /// # Panics
    /// When [`order`](Events::order) is an error, with its text.
    #[track_caller]
    pub fn assert_order<'a>(&self, steps: impl IntoIterator<Item = Step<'a>>) {
        if let Err(out_of_order) = self.order(steps) {
            panic!("{out_of_order}");
        }
    }

    fn place_of(&self, step: &Step<'_>) -> Place {
        let mut matches = self
            .iter()
            .enumerate()
            .filter(|(_, event)| (step.matches)(event));
        Place {
            at: matches.nth(step.occurrence - 1).map(|(at, _)| at),
            matches: self.iter().filter(|event| (step.matches)(event)).count(),
        }
    }

    fn explain(&self, steps: &[Step<'_>], places: &[Place]) -> String {
        let mut lines = vec![match self.overflowed {
            0 if steps.is_empty() => "no step was given: nothing is in order".to_owned(),
            0 => "not in the order that was asked for".to_owned(),
            1 => "the order can't be known: the latest event did not fit into the list".to_owned(),
            n => {
                format!("the order can't be known: the latest {n} events did not fit into the list")
            }
        }];
        lines.extend(self.annotated(steps, places));
        if self.is_empty() {
            lines.push("(no events)".to_owned());
        }
        for (number, (step, place)) in (1..).zip(steps.iter().zip(places)) {
            if place.at.is_some() {
                continue;
            }
            lines.push(match place.matches {
                0 => format!("step {number}: {step}: no event matches"),
                1 => format!("step {number}: {step}: only 1 event matches"),
                n => format!("step {number}: {step}: only {n} events match"),
            });
        }
        let lacks_entries = steps
            .iter()
            .zip(places)
            .any(|(step, place)| step.is_of_entries && place.at.is_none());
        if lacks_entries && self.iter().all(|event| event.operation.is_sync()) {
            lines.push("renames and removals are events of scopes `with_entries()`".to_owned());
        }
        lines.join("\n")
    }

    /// A line an event, with the steps that it is.
    fn annotated(&self, steps: &[Step<'_>], places: &[Place]) -> Vec<String> {
        let lines: Vec<(String, String)> = self
            .iter()
            .enumerate()
            .map(|(at, event)| (event.to_string(), annotation(at, steps, places)))
            .collect();
        let annotated = lines
            .iter()
            .filter(|(_, annotation)| !annotation.is_empty());
        let width = annotated.map(|(line, _)| line.chars().count()).max();
        let width = width.unwrap_or(0);
        lines
            .into_iter()
            .map(|(line, annotation)| match annotation.as_str() {
                "" => line,
                annotation => format!("{line:width$}  <- {annotation}"),
            })
            .collect()
    }
}

/// Which steps the event at that position is, and whether it stands where it should.
fn annotation(at: usize, steps: &[Step<'_>], places: &[Place]) -> String {
    let is_here = |(_, place): &(usize, &Place)| place.at == Some(at);
    let notes = places
        .iter()
        .enumerate()
        .filter(is_here)
        .map(|(number, _)| {
            let step = format!("step {}: {}", number + 1, steps[number]);
            let previous = places[..number]
                .iter()
                .rposition(|place| place.at.is_some());
            match previous.map(|previous| (previous + 1, places[previous].at)) {
                Some((previous, Some(before))) if before > at => {
                    format!("{step}, before step {previous}")
                }
                Some((previous, Some(before))) if before == at => {
                    format!("{step}, the same event as step {previous}")
                }
                _ => step,
            }
        });
    notes.collect::<Vec<_>>().join("; ")
}

/// Where a step was found.
struct Place {
    /// The position of the match that is meant.
    at: Option<usize>,
    /// How many events match.
    matches: usize,
}

/// The events are not in the order that was asked for, or it can't be known.
///
/// Its text is all events, a line each, with the steps that they are and what is wrong.
#[derive(Clone, PartialEq, Eq)]
pub struct OutOfOrder {
    text: String,
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text as it is: what `unwrap` prints is to be read.
impl fmt::Debug for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for OutOfOrder {}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(list: &[(Operation, FileClass, &str)]) -> Events {
        let event = |(sequence, (operation, class, path)): (u64, &(_, _, &str))| Event {
            sequence,
            operation: *operation,
            flags: 0,
            class: *class,
            path: Some(path.into()),
            thread: 1,
            process: 1,
            outcome: Outcome::Succeeded,
            duration: None,
        };
        Events {
            list: (1..).zip(list).map(event).collect(),
            overflowed: 0,
        }
    }

    /// A journal synced before its directory, before the entry that it replaces is removed; and
    /// all of it once more.
    fn taken_twice() -> Events {
        let once = [
            (Operation::Fsync, FileClass::File, "/srv/wal/0001"),
            (Operation::Fsync, FileClass::Directory, "/srv/wal"),
            (Operation::Unlink, FileClass::File, "/srv/inbox/7"),
        ];
        events(&[once, once].concat())
    }

    #[track_caller]
    fn assert_text<'a, const N: usize>(events: &Events, steps: [Step<'a>; N], text: &[&str]) {
        let out_of_order = events.order(steps).expect_err("out of order");
        assert_eq!(out_of_order.to_string(), text.join("\n"));
        assert_eq!(format!("{out_of_order:?}"), out_of_order.to_string());
    }

    #[test]
    fn the_first_match_of_each_comes_before_that_of_the_next() {
        let events = taken_twice();
        let (wal, dir, inbox) = (
            || Step::file("wal/0001"),
            || Step::dir("wal"),
            || Step::removed("inbox/7"),
        );
        events.assert_order([wal()]);
        events.assert_order([wal(), inbox()]);
        events.assert_order([wal(), dir(), inbox()]);
        for wrong in [
            vec![],
            vec![dir(), wal()],
            vec![inbox(), wal(), dir()],
            vec![wal(), wal()],
            vec![wal(), dir(), Step::removed("inbox/8")],
            vec![Step::dir("inbox"), inbox()],
        ] {
            assert!(events.order(wrong).is_err());
        }
    }

    #[test]
    fn another_occurrence_than_the_first_may_be_meant() {
        let events = taken_twice();
        events.assert_order([
            Step::file("wal/0001"),
            Step::dir("wal"),
            Step::file("wal/0001").occurrence(2),
            Step::dir("wal").occurrence(2),
        ]);
        assert_text(
            &events,
            [
                Step::dir("wal").occurrence(2),
                Step::file("wal/0001").occurrence(2),
                Step::removed("inbox/7").occurrence(3),
                Step::removed("inbox/8").occurrence(2),
            ],
            &[
                "not in the order that was asked for",
                "#1 fsync file /srv/wal/0001",
                "#2 fsync directory /srv/wal",
                "#3 unlink file /srv/inbox/7",
                "#4 fsync file /srv/wal/0001  <- step 2: file wal/0001 (occurrence 2), before step 1",
                "#5 fsync directory /srv/wal  <- step 1: directory wal (occurrence 2)",
                "#6 unlink file /srv/inbox/7",
                "step 3: removed inbox/7 (occurrence 3): only 2 events match",
                "step 4: removed inbox/8 (occurrence 2): no event matches",
            ],
        );
    }

    #[test]
    fn paths_match_by_whole_names_from_the_end_or_exactly() {
        let events = taken_twice();
        for path in ["0001", "wal/0001", "srv/wal/0001", "/srv/wal/0001"] {
            assert_eq!(events.order([Step::file(path)]), Ok(()), "{path}");
        }
        for path in [
            "001",
            "al/0001",
            "/wal/0001",
            "/0001",
            "wal",
            "wal/0001/x",
            ".",
        ] {
            assert!(events.order([Step::file(path)]).is_err(), "{path}");
        }
    }

    #[test]
    fn what_did_not_take_place_or_promises_nothing_is_no_step() {
        for (operation, outcome, is_one) in [
            (Operation::Fsync, Outcome::Succeeded, true),
            (Operation::Fdatasync, Outcome::Stubbed, true),
            (Operation::Msync, Outcome::NotSeen, true),
            (Operation::Fsync, Outcome::Pending, false),
            (Operation::Fsync, Outcome::Failed(5), false),
            (Operation::MsyncAsync, Outcome::Succeeded, false),
            (Operation::SyncFileRange, Outcome::Succeeded, false),
            (Operation::Rename, Outcome::Succeeded, false),
            (Operation::Unlink, Outcome::Succeeded, false),
        ] {
            let mut events = events(&[(operation, FileClass::File, "/a")]);
            events.list[0].outcome = outcome;
            let found = events.order([Step::file("a")]).is_ok();
            assert_eq!(found, is_one, "{operation} {outcome:?}");
            let any = Step::matching("whatever it is", |_| true);
            assert_eq!(events.order([any]), Ok(()));
        }
        let renamed = events(&[(Operation::Rename, FileClass::File, "/a")]);
        assert_eq!(renamed.order([Step::renamed("a")]), Ok(()));
        assert!(renamed.order([Step::removed("a")]).is_err());
    }

    #[test]
    fn a_message_shows_who_came_too_early() {
        let events = events(&[
            (Operation::Fsync, FileClass::Directory, "/srv/wal"),
            (
                Operation::Fsync,
                FileClass::File,
                "/srv/wal/a file that no step asks for",
            ),
            (Operation::Fsync, FileClass::File, "/srv/wal/0001"),
            (Operation::Unlink, FileClass::File, "/srv/inbox/7"),
        ]);
        assert_text(
            &events,
            [
                Step::file("wal/0001"),
                Step::dir("wal"),
                Step::removed("inbox/7"),
                Step::matching("anything removed", |event| !event.operation.is_sync()),
            ],
            &[
                "not in the order that was asked for",
                "#1 fsync directory /srv/wal  <- step 2: directory wal, before step 1",
                "#2 fsync file /srv/wal/a file that no step asks for",
                "#3 fsync file /srv/wal/0001  <- step 1: file wal/0001",
                "#4 unlink file /srv/inbox/7  <- step 3: removed inbox/7; step 4: anything removed, \
                 the same event as step 3",
            ],
        );
    }

    #[test]
    fn a_step_is_compared_with_the_last_one_that_happened() {
        let events = events(&[
            (Operation::Fsync, FileClass::Directory, "/srv/wal"),
            (Operation::Fsync, FileClass::File, "/srv/wal/0001"),
        ]);
        assert_text(
            &events,
            [
                Step::file("wal/0001"),
                Step::file("wal/0002"),
                Step::dir("wal"),
            ],
            &[
                "not in the order that was asked for",
                "#1 fsync directory /srv/wal  <- step 3: directory wal, before step 1",
                "#2 fsync file /srv/wal/0001  <- step 1: file wal/0001",
                "step 2: file wal/0002: no event matches",
            ],
        );
    }

    #[test]
    fn a_message_says_which_step_never_happened() {
        let synced = events(&[(Operation::Fsync, FileClass::Directory, "/srv/wal")]);
        assert_text(
            &synced,
            [
                Step::dir("wal"),
                Step::renamed("wal/current"),
                Step::file("wal/0001"),
            ],
            &[
                "not in the order that was asked for",
                "#1 fsync directory /srv/wal  <- step 1: directory wal",
                "step 2: renamed to wal/current: no event matches",
                "step 3: file wal/0001: no event matches",
                "renames and removals are events of scopes `with_entries()`",
            ],
        );
        assert_text(
            &Events::default(),
            [Step::file("wal/0001")],
            &[
                "not in the order that was asked for",
                "(no events)",
                "step 1: file wal/0001: no event matches",
            ],
        );
        // A scope that has noted one removal notes them all.
        let text = taken_twice().order([Step::removed("a")]).unwrap_err();
        assert!(!text.to_string().contains("with_entries"), "{text}");
        assert_text(
            &Events::default(),
            [],
            &["no step was given: nothing is in order", "(no events)"],
        );
    }

    #[test]
    fn an_incomplete_list_is_in_no_order() {
        let mut events = taken_twice();
        events.list.truncate(2);
        events.overflowed = 4;
        assert_text(
            &events,
            [Step::file("wal/0001"), Step::dir("wal")],
            &[
                "the order can't be known: the latest 4 events did not fit into the list",
                "#1 fsync file /srv/wal/0001  <- step 1: file wal/0001",
                "#2 fsync directory /srv/wal  <- step 2: directory wal",
            ],
        );
    }

    #[test]
    fn a_predicate_may_borrow() {
        let names = ["0001".to_owned()];
        let is_ours = |event: &Event| {
            let path = event.path.as_deref();
            names
                .iter()
                .any(|name| path.is_some_and(|path| path.ends_with(name)))
        };
        taken_twice().assert_order([Step::matching("ours", is_ours), Step::dir("wal")]);
    }

    #[test]
    fn what_would_match_everything_or_nothing_is_refused() {
        let panic_of = |f: fn()| {
            let panic = std::panic::catch_unwind(f).expect_err("a panic");
            match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
            }
        };
        assert_eq!(
            panic_of(|| drop(Step::file(""))),
            "an empty path would match every file: name the file"
        );
        assert_eq!(
            panic_of(|| drop(Step::dir("a").occurrence(0))),
            "occurrences are numbered from 1: there is no occurrence 0"
        );
        assert!(
            panic_of(|| taken_twice().assert_order([Step::dir("x")]))
                .starts_with("not in the order")
        );
    }
}
