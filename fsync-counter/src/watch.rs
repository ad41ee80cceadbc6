//! What one scope sees: whose syncs are its own, their counts and their events; which directory
//! entries changed, where it is asked to note that; and why it may have missed something.
//!
//! Everything here is written by hooks of several threads at once and read by the scope's owner,
//! through atomics only. Nothing is overwritten: starting over is a fresh watch.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::action::{Action, ArmedActions, Due};
use crate::counts::SyncCounts;
use crate::event::{Event, Events, FileClass, Operation, Outcome};
use crate::incomplete::Incomplete;
use crate::notices::{Notice, Notices};
use crate::paths::{Kept, PathRoom};

/// Events kept a scope; more are counted, not kept.
const EVENTS_MAX: usize = 1024;
/// Room for the paths of a scope's events, in words of eight bytes.
const PATH_WORDS_MAX: usize = 8 * 1024;

/// Whose syncs a watch sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribution {
    /// Those of the thread with this key (`hook::this_thread`).
    Thread(u64),
    /// Those of every thread of the process.
    Process,
    /// Those of this canonical path and of what is below it.
    Path(PathBuf),
}

/// Where something belongs in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the sighting's path.
    AtPath,
    /// At no path at all: a pipe, a socket, anonymous memory.
    Nowhere,
    /// It can't be told, or it is everywhere.
    Unplaced,
}

/// One sync or change of an entry, as a hook describes it to the watches.
#[derive(Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) sequence: u64,
    pub(crate) operation: Operation,
    pub(crate) flags: u32,
    pub(crate) class: FileClass,
    pub(crate) place: Place,
    pub(crate) path: Option<&'a [u8]>,
    /// The key of the calling thread, as in [`Attribution::Thread`].
    pub(crate) caller: u64,
    pub(crate) thread: u32,
    pub(crate) process: u32,
}

/// Where a watch noted a sync that has not returned yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// As the event at this position.
    At(usize),
    /// Not as an event: it was not the watch's, or there was no room.
    Nowhere,
    /// It was not remembered where.
    Somewhere,
}

#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) attribution: Attribution,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Count(Tally),
    Stub,
}

impl Watch {
    /// A watch that counts.
    pub(crate) fn counting(attribution: Attribution) -> Self {
        Self {
            attribution,
            role: Role::Count(Tally::default()),
        }
    }

    /// A watch that has the syncs of a path answered without reaching the disk.
    pub(crate) fn stubbing(path: PathBuf) -> Self {
        Self {
            attribution: Attribution::Path(path),
            role: Role::Stub,
        }
    }

    /// The same watch before it saw anything.
    pub(crate) fn again(&self) -> Self {
        Self {
            attribution: self.attribution.clone(),
            role: match self.role {
                Role::Count(ref tally) => Role::Count(tally.again()),
                Role::Stub => Role::Stub,
            },
        }
    }

    /// Notes a sync that is about to be forwarded, and hands over what is armed for it.
    pub(crate) fn before(&self, sighting: &Sighting<'_>, run: impl FnMut(Due)) -> Noted {
        match (&self.role, self.field_for(sighting)) {
            (Role::Count(tally), Some(field)) => tally.before(field, sighting, run),
            _ => Noted::Nowhere,
        }
    }

    /// Notes how the sync with this sequence ended, where [`before`](Self::before) noted it.
    pub(crate) fn after(&self, sequence: u64, noted: Noted, outcome: Outcome) {
        if let Role::Count(tally) = &self.role {
            tally.events.finish(sequence, noted, outcome);
        }
    }

    /// From now on notes changes of directory entries too.
    pub(crate) fn note_entries(&self) {
        if let Role::Count(tally) = &self.role {
            tally.notes_entries.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn notes_entries(&self) -> bool {
        match &self.role {
            Role::Count(tally) => tally.notes_entries.load(Ordering::Relaxed),
            Role::Stub => false,
        }
    }

    /// Notes a change of a directory entry that has succeeded. It is an event and nothing else: it
    /// has no count and no number for [`ArmedActions`].
    pub(crate) fn entry_changed(&self, sighting: &Sighting<'_>) {
        let Role::Count(tally) = &self.role else {
            return;
        };
        if self.notes_entries() && self.claim_on(sighting) != Claim::NotMine {
            let noted = tally.events.start(sighting);
            tally
                .events
                .finish(sighting.sequence, noted, Outcome::Succeeded);
        }
    }

    /// Notes durability, or a way to it, that no sync call asked for.
    pub(crate) fn notice(&self, notice: &Notice<'_>) {
        if let Role::Count(tally) = &self.role {
            if self.claim(notice.caller, notice.place, notice.path) != Claim::NotMine {
                tally.notices.note(notice);
            }
        }
    }

    /// Whether this watch stubs that sync. One that can't be placed is not stubbed: it may be
    /// somebody else's durability.
    pub(crate) fn stubs(&self, sighting: &Sighting<'_>) -> bool {
        matches!(self.role, Role::Stub) && self.claim_on(sighting) == Claim::Mine
    }

    pub(crate) fn arm(&self, at: u64, action: Action) {
        if let Role::Count(tally) = &self.role {
            tally.actions.arm(at, action);
        }
    }

    pub(crate) fn counts(&self) -> SyncCounts {
        match &self.role {
            Role::Count(tally) => tally.counts(),
            Role::Stub => SyncCounts::new(),
        }
    }

    pub(crate) fn incomplete(&self) -> Vec<Incomplete> {
        match &self.role {
            Role::Count(tally) => tally.notices.read(),
            Role::Stub => Vec::new(),
        }
    }

    pub(crate) fn events(&self) -> Events {
        match &self.role {
            Role::Count(tally) => tally.events.read(),
            Role::Stub => Events::default(),
        }
    }

    /// The count that this sync belongs to, or `None` when it is not this watch's.
    fn field_for(&self, sighting: &Sighting<'_>) -> Option<Field> {
        let claim = self.claim_on(sighting);
        Some(match sighting.class {
            _ if claim == Claim::NotMine => return None,
            _ if sighting.operation.is_weak() => Field::Weak,
            _ if claim == Claim::CannotTell => Field::Unknown,
            FileClass::File => Field::Files,
            FileClass::Directory => Field::Dirs,
            FileClass::Other => Field::Other,
            FileClass::Unknown(_) => Field::Unknown,
        })
    }

    fn claim_on(&self, sighting: &Sighting<'_>) -> Claim {
        self.claim(sighting.caller, sighting.place, sighting.path)
    }

    /// Whether what that thread does there is this watch's.
    fn claim(&self, caller: u64, place: Place, path: Option<&[u8]>) -> Claim {
        let mine = match &self.attribution {
            Attribution::Thread(key) => *key == caller,
            Attribution::Process => true,
            Attribution::Path(root) => match (place, path) {
                (Place::AtPath, Some(path)) => is_at_or_below(path, root),
                (Place::Nowhere, _) => false,
                (Place::Unplaced, _) | (Place::AtPath, None) => return Claim::CannotTell,
            },
        };
        if mine { Claim::Mine } else { Claim::NotMine }
    }
}

/// Whether something is a watch's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Mine,
    NotMine,
    CannotTell,
}

/// Whether `path` is `root` or lies below it, name by name.
fn is_at_or_below(path: &[u8], root: &Path) -> bool {
    let root = root.as_os_str().as_encoded_bytes();
    match path.strip_prefix(root) {
        Some(rest) => rest.is_empty() || rest[0] == b'/' || root.ends_with(b"/"),
        None => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Files,
    Dirs,
    Other,
    Unknown,
    Weak,
}

#[derive(Debug, Default)]
struct Tally {
    fields: [AtomicU64; 5],
    /// Syncs that were not weak, for [`ArmedActions`].
    numbered: AtomicU64,
    actions: ArmedActions,
    notes_entries: AtomicBool,
    events: EventLog,
    notices: Notices,
}

impl Tally {
    /// The same before it saw anything.
    fn again(&self) -> Self {
        Self {
            notes_entries: AtomicBool::new(self.notes_entries.load(Ordering::Relaxed)),
            ..Self::default()
        }
    }

    fn before(&self, field: Field, sighting: &Sighting<'_>, run: impl FnMut(Due)) -> Noted {
        self.fields[field as usize].fetch_add(1, Ordering::Relaxed);
        let noted = self.events.start(sighting);
        if field != Field::Weak {
            let number = self.numbered.fetch_add(1, Ordering::Relaxed) + 1;
            self.actions.for_each_at(number, run);
        }
        noted
    }

    fn counts(&self) -> SyncCounts {
        let read = |field: Field| self.fields[field as usize].load(Ordering::Relaxed);
        SyncCounts {
            files: read(Field::Files),
            dirs: read(Field::Dirs),
            other: read(Field::Other),
            unknown: read(Field::Unknown),
            weak: read(Field::Weak),
        }
    }
}

/// Bounded room for events, filled from the front. The earliest are kept, not the latest: the
/// first sync that should not be there explains more than the last.
#[derive(Debug)]
struct EventLog {
    /// Entries handed out, also beyond the end.
    taken: AtomicUsize,
    entries: Box<[Entry]>,
    paths: PathRoom,
}

/// An event in atomics. `written` is stored last and read first (release, acquire), so that a
/// reader that sees it sees the rest.
#[derive(Debug, Default)]
struct Entry {
    written: AtomicBool,
    sequence: AtomicU64,
    operation: AtomicU64,
    flags: AtomicU32,
    class: AtomicI64,
    path_start: AtomicUsize,
    path_len: AtomicUsize,
    thread: AtomicU32,
    process: AtomicU32,
    outcome: AtomicI64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            taken: AtomicUsize::new(0),
            entries: (0..EVENTS_MAX).map(|_| Entry::default()).collect(),
            paths: PathRoom::of_words(PATH_WORDS_MAX),
        }
    }
}

impl EventLog {
    fn start(&self, sighting: &Sighting<'_>) -> Noted {
        let at = self.taken.fetch_add(1, Ordering::Relaxed);
        let Some(entry) = self.entries.get(at) else {
            return Noted::Nowhere;
        };
        let no_path = Kept { start: 0, len: 0 };
        let kept = sighting.path.and_then(|path| self.paths.keep(path));
        let Kept { start, len } = kept.unwrap_or(no_path);
        entry.sequence.store(sighting.sequence, Ordering::Relaxed);
        entry
            .operation
            .store(sighting.operation.to_code(), Ordering::Relaxed);
        entry.flags.store(sighting.flags, Ordering::Relaxed);
        entry
            .class
            .store(class_to_code(sighting.class), Ordering::Relaxed);
        entry.path_start.store(start, Ordering::Relaxed);
        entry.path_len.store(len, Ordering::Relaxed);
        entry.thread.store(sighting.thread, Ordering::Relaxed);
        entry.process.store(sighting.process, Ordering::Relaxed);
        entry
            .outcome
            .store(Outcome::Pending.to_code(), Ordering::Relaxed);
        entry.written.store(true, Ordering::Release);
        Noted::At(at)
    }

    fn finish(&self, sequence: u64, noted: Noted, outcome: Outcome) {
        let taken = self.taken.load(Ordering::Relaxed).min(self.entries.len());
        let candidates = match noted {
            Noted::Nowhere => return,
            Noted::At(at) => self.entries.get(at..=at).unwrap_or_default(),
            Noted::Somewhere => &self.entries[..taken],
        };
        // From the back: what has just returned was noted a moment ago. The sequence is compared
        // also where the position is known, because the watch may be another one meanwhile.
        let entry = candidates.iter().rev().find(|entry| {
            entry.written.load(Ordering::Acquire)
                && entry.sequence.load(Ordering::Relaxed) == sequence
        });
        if let Some(entry) = entry {
            entry.outcome.store(outcome.to_code(), Ordering::Relaxed);
        }
    }

    fn read(&self) -> Events {
        let taken = self.taken.load(Ordering::Relaxed);
        let mut list: Vec<Event> = self.entries[..taken.min(self.entries.len())]
            .iter()
            .filter(|entry| entry.written.load(Ordering::Acquire))
            .map(|entry| Event {
                sequence: entry.sequence.load(Ordering::Relaxed),
                operation: Operation::from_code(entry.operation.load(Ordering::Relaxed)),
                class: class_from_code(entry.class.load(Ordering::Relaxed)),
                path: self.paths.read(Kept {
                    start: entry.path_start.load(Ordering::Relaxed),
                    len: entry.path_len.load(Ordering::Relaxed),
                }),
                thread: entry.thread.load(Ordering::Relaxed),
                process: entry.process.load(Ordering::Relaxed),
                outcome: Outcome::from_code(entry.outcome.load(Ordering::Relaxed)),
                flags: entry.flags.load(Ordering::Relaxed),
                duration: None,
            })
            .collect();
        list.sort_by_key(|event| event.sequence);
        Events {
            list,
            overflowed: taken.saturating_sub(self.entries.len()) as u64,
        }
    }
}

const FILE: i64 = -1;
const DIRECTORY: i64 = -2;
const OTHER: i64 = -3;

fn class_to_code(class: FileClass) -> i64 {
    match class {
        FileClass::File => FILE,
        FileClass::Directory => DIRECTORY,
        FileClass::Other => OTHER,
        FileClass::Unknown(errno) => i64::from(errno.max(0)),
    }
}

fn class_from_code(code: i64) -> FileClass {
    match code {
        FILE => FileClass::File,
        DIRECTORY => FileClass::Directory,
        OTHER => FileClass::Other,
        errno => FileClass::Unknown(i32::try_from(errno).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(class: FileClass, place: Place, path: Option<&[u8]>) -> Sighting<'_> {
        Sighting {
            sequence: 1,
            operation: Operation::Fsync,
            flags: 0,
            class,
            place,
            path,
            caller: 7,
            thread: 1,
            process: 1,
        }
    }

    fn seen(attribution: Attribution, sighting: &Sighting<'_>) -> SyncCounts {
        let watch = Watch::counting(attribution);
        watch.before(sighting, |_| ());
        watch.counts()
    }

    #[test]
    fn a_path_scope_goes_by_whole_names() {
        let root = Path::new("/srv/out");
        assert!(is_at_or_below(b"/srv/out", root));
        assert!(is_at_or_below(b"/srv/out/a/b", root));
        assert!(!is_at_or_below(b"/srv/outbox", root));
        assert!(!is_at_or_below(b"/srv", root));
        assert!(is_at_or_below(b"/srv", Path::new("/")));
    }

    #[test]
    fn each_attribution_takes_what_is_its_own() {
        let file = sighting(FileClass::File, Place::AtPath, Some(b"/a/b"));
        let one = SyncCounts::new().files(1);
        let none = SyncCounts::new();
        assert_eq!(seen(Attribution::Thread(7), &file), one);
        assert_eq!(seen(Attribution::Thread(8), &file), none);
        assert_eq!(seen(Attribution::Process, &file), one);
        assert_eq!(seen(Attribution::Path("/a".into()), &file), one);
        assert_eq!(seen(Attribution::Path("/b".into()), &file), none);
    }

    #[test]
    fn what_cannot_be_placed_is_unknown_to_a_path_scope_and_other_to_the_rest() {
        let everywhere = sighting(FileClass::Other, Place::Unplaced, None);
        assert_eq!(
            seen(Attribution::Path("/a".into()), &everywhere),
            SyncCounts::new().unknown(1)
        );
        assert_eq!(
            seen(Attribution::Process, &everywhere),
            SyncCounts::new().other(1)
        );
        let pipe = sighting(FileClass::Other, Place::Nowhere, None);
        assert_eq!(
            seen(Attribution::Path("/a".into()), &pipe),
            SyncCounts::new()
        );
    }

    #[test]
    fn a_stub_of_a_path_leaves_alone_what_it_cannot_place() {
        let stub = Watch::stubbing("/a".into());
        assert!(stub.stubs(&sighting(FileClass::File, Place::AtPath, Some(b"/a/b"))));
        assert!(!stub.stubs(&sighting(FileClass::File, Place::AtPath, Some(b"/b"))));
        let unplaced = sighting(FileClass::Other, Place::Unplaced, None);
        assert!(!stub.stubs(&unplaced));
        assert!(!stub.stubs(&Sighting {
            operation: Operation::SyncFileRange,
            ..unplaced
        }));
    }

    #[test]
    fn an_outcome_reaches_its_event_by_position_or_by_search() {
        let watch = Watch::counting(Attribution::Process);
        let ended = |at: usize| watch.events()[at].outcome;
        let mut noted = [Noted::Nowhere; 3];
        for (note, sequence) in noted.iter_mut().zip(1..) {
            let file = sighting(FileClass::File, Place::AtPath, Some(b"/a"));
            *note = watch.before(&Sighting { sequence, ..file }, |_| ());
        }
        watch.after(2, noted[1], Outcome::Succeeded);
        watch.after(3, Noted::Somewhere, Outcome::Stubbed);
        assert_eq!(
            [ended(0), ended(1), ended(2)],
            [Outcome::Pending, Outcome::Succeeded, Outcome::Stubbed]
        );
        // A position that belongs to another sync is left alone.
        watch.after(9, noted[0], Outcome::Succeeded);
        assert_eq!(ended(0), Outcome::Pending);
    }

    #[test]
    fn an_entry_is_an_event_of_a_watch_that_notes_them_and_never_a_count() {
        let entry = Sighting {
            operation: Operation::Rename,
            ..sighting(FileClass::File, Place::AtPath, Some(b"/a/b"))
        };
        let watch = Watch::counting(Attribution::Path("/a".into()));
        watch.entry_changed(&entry);
        assert!(watch.events().is_empty());
        watch.note_entries();
        for watch in [&watch, &watch.again()] {
            watch.entry_changed(&entry);
            watch.entry_changed(&Sighting {
                path: Some(b"/b"),
                ..entry
            });
            watch.before(
                &sighting(FileClass::File, Place::AtPath, Some(b"/a/b")),
                |_| (),
            );
            let operations: Vec<_> = watch.events().iter().map(|event| event.operation).collect();
            assert_eq!(operations, [Operation::Rename, Operation::Fsync]);
            assert_eq!(watch.events()[0].outcome, Outcome::Succeeded);
            assert_eq!(watch.counts(), SyncCounts::new().files(1));
        }
        let stub = Watch::stubbing("/a".into());
        stub.note_entries();
        assert!(!stub.notes_entries());
    }

    #[test]
    fn a_notice_is_of_those_whose_it_is_or_may_be() {
        use crate::notices::NoticeKind;
        let told = |attribution: Attribution, place, path| {
            let watch = Watch::counting(attribution);
            watch.notice(&Notice {
                kind: NoticeKind::DurableOpen,
                place,
                path,
                caller: 7,
            });
            assert_eq!(watch.again().incomplete(), []);
            watch.incomplete().len()
        };
        let at: &[u8] = b"/a/b";
        assert_eq!(told(Attribution::Thread(7), Place::AtPath, Some(at)), 1);
        assert_eq!(told(Attribution::Thread(8), Place::AtPath, Some(at)), 0);
        assert_eq!(told(Attribution::Process, Place::AtPath, Some(at)), 1);
        assert_eq!(
            told(Attribution::Path("/a".into()), Place::AtPath, Some(at)),
            1
        );
        assert_eq!(
            told(Attribution::Path("/b".into()), Place::AtPath, Some(at)),
            0
        );
        assert_eq!(
            told(Attribution::Path("/b".into()), Place::Unplaced, None),
            1
        );
        assert_eq!(
            told(Attribution::Path("/b".into()), Place::Nowhere, None),
            0
        );
    }

    #[test]
    fn what_does_not_fit_is_counted_and_said() {
        let watch = Watch::counting(Attribution::Process);
        let path = [b'p'; 100];
        for _ in 0..EVENTS_MAX + 3 {
            watch.before(
                &sighting(FileClass::File, Place::AtPath, Some(&path)),
                |_| (),
            );
        }
        let events = watch.events();
        assert_eq!(watch.counts().files, (EVENTS_MAX + 3) as u64);
        assert_eq!(events.len(), EVENTS_MAX);
        assert_eq!(events.overflowed(), 3);
        assert!(events[0].path.is_some());
        assert!(events[EVENTS_MAX - 1].path.is_none());
    }
}
