//! The handle: opening an outbox, committing to it, and looking at it.
//!
//! The drain is in `drain.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::clock::{Clock, SystemClock, unix_ms};
use crate::dead_letters::{self, DeadLetter, DeadLine, Source};
use crate::directory::ParentDirectory;
use crate::disk::{Disk, SystemDisk};
use crate::error::{Action, Error};
use crate::event::{Event, Turn};
use crate::ledger::Ledger;
use crate::lines::{Folded, inbox_header, live_bytes, newer_version, record_line, wal_header};

/// An inbox below this size is never compacted.
const COMPACTED_BYTES_MIN: u64 = 64 * 1024;

/// More than any header of this version takes.
const HEADER_BYTES_MAX: usize = 128;

/// How far the dead-letter file is read back beyond what is to be added: room for letters
/// that came in between, and for a longer age in one.
const DEAD_LETTERS_BETWEEN_BYTES_MAX: u64 = 64 * 1024;

/// The outbox of one parent: its children commit finished turns, the parent drains them.
///
/// Any number of handles, threads and processes may use one outbox at once. See the
/// [crate page](crate) for the protocol.
pub struct Outbox {
    pub(crate) directory: ParentDirectory,
    pub(crate) clock: Box<dyn Clock>,
}

/// What [`Outbox::sweep`] moved out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Swept {
    /// Lines that went to the dead-letter file.
    pub dead_letters: usize,
    /// Consumed turns that were forgotten.
    pub ledger_entries: usize,
}

impl Outbox {
    /// Opens the outbox of `parent_id` under the directory `root`, creating both where they
    /// are missing.
    ///
    /// Any non-empty string is a parent id. Different ids never share a file, and none
    /// reaches outside `root`.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyParent`], or [`Error::Io`] when the directory or its lock files cannot
    /// be created or opened.
    pub fn open(root: impl AsRef<Path>, parent_id: &str) -> Result<Self, Error> {
        Self::with_seams(root, parent_id, SystemDisk, SystemClock)
    }

    /// Opens the outbox of `parent_id` under `root` if there is one. Where there is none, it
    /// creates and syncs nothing, so that looking leaves no trace.
    ///
    /// An outbox that lost its lock files, as a copy without them has, is there all the same:
    /// it is opened as [`Outbox::open`] would open it.
    ///
    /// ```
    /// use outbox::{Event, Outbox};
    ///
    /// let root = tempfile::tempdir()?;
    /// assert!(Outbox::open_existing(root.path(), "session-1")?.is_none());
    ///
    /// Outbox::open(root.path(), "session-1")?.commit(Event::new("task-7", "turn 3"))?;
    /// let outbox = Outbox::open_existing(root.path(), "session-1")?.expect("it was opened");
    /// assert_eq!(outbox.pending()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Outbox::open`].
    pub fn open_existing(root: impl AsRef<Path>, parent_id: &str) -> Result<Option<Self>, Error> {
        let root = root.as_ref();
        ParentDirectory::is_there(root, parent_id)?
            .then(|| Self::open(root, parent_id))
            .transpose()
    }

    /// Like [`Outbox::open`], with a disk and a clock other than the system's.
    ///
    /// # Errors
    ///
    /// Those of [`Outbox::open`].
    pub fn with_seams(
        root: impl AsRef<Path>,
        parent_id: &str,
        disk: impl Disk + 'static,
        clock: impl Clock + 'static,
    ) -> Result<Self, Error> {
        Ok(Self {
            directory: ParentDirectory::open(root.as_ref(), parent_id, Box::new(disk))?,
            clock: Box::new(clock),
        })
    }

    /// The directory that holds this outbox's files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes `event` pending. It is durable when this returns: 1 file and 1 directory fsync.
    ///
    /// A child has at most one pending event: a later one takes the place of an earlier one
    /// that was not drained yet. An event whose turn was consumed in the last 14 days is
    /// accepted, and dropped by the next drain.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyChild`], [`Error::EmptySignal`], [`Error::SummaryTooLong`],
    /// [`Error::EventTooLong`], [`Error::NewerVersion`], or [`Error::Io`], for instance on a full disk: then nothing
    /// is pending that was not before. Only [`Error::NotTakenBack`] leaves that open.
    pub fn commit(&self, event: Event) -> Result<(), Error> {
        let line = record_line(&event, unix_ms(self.clock.now()))?;
        let path = &self.directory.inbox.path;
        let _inbox = self.directory.lock_inbox()?;
        let (file, length) = self.directory.open_for_append(path)?;
        let head = read_at(&file, path, 0, length.min(HEADER_BYTES_MAX as u64))?;
        refuse_newer(&head, Source::Inbox, path)?;
        if length > 0
            && length + line.len() as u64
                > COMPACTED_BYTES_MIN.max(live_bytes(&head).saturating_mul(2))
        {
            return self.commit_compacting(&line);
        }
        let opening = if length == 0 {
            inbox_header(0)
        } else if read_at(&file, path, length - 1, length)? == b"\n" {
            String::new()
        } else {
            // A crash tore the last line: it stays a line of its own, which the drain sets
            // aside, and does not swallow this one.
            "\n".into()
        };
        let bytes = [opening.as_bytes(), &line].concat();
        self.directory.append(path, &file, length, &bytes)
    }

    /// Commits `line` and rewrites the inbox without the lines that later ones replaced.
    ///
    /// It runs when the inbox has grown to twice its size after the last rewrite, so that
    /// committing stays linear in the number of commits and the file in that of children.
    /// The new line stands at the end and not in its child's place: a failure can cut it off.
    fn commit_compacting(&self, line: &[u8]) -> Result<(), Error> {
        let inbox = &self.directory.inbox;
        let bytes = ParentDirectory::read(&inbox.path)?.unwrap_or_default();
        let folded = Folded::new(b"", &bytes);
        let dead_bytes: usize = folded.dead.iter().map(|dead| dead.line.len() + 1).sum();
        let mut lines = folded.to_file("", dead_bytes + line.len());
        for dead in &folded.dead {
            lines.extend_from_slice(dead.line);
            lines.push(b'\n');
        }
        let mut file = inbox_header(lines.len() + line.len()).into_bytes();
        file.append(&mut lines);
        let length_before = file.len() as u64;
        file.extend_from_slice(line);
        self.directory
            .replace_or_take_back(inbox, &file, length_before)
    }

    /// The turns that wait for a drain, in the order in which it would deliver them. It
    /// writes and syncs nothing, and does not wait for a drain to end.
    ///
    /// Turns that a drain is delivering at this moment are still among them, and so are those
    /// that waited more than 7 days, until a drain or a sweep sets them aside. Repetitions of
    /// consumed turns, which a drain drops, are not, nor are damaged lines.
    ///
    /// # Errors
    ///
    /// [`Error::LedgerUnreadable`], [`Error::NewerVersion`], or [`Error::Io`] when a file
    /// cannot be read.
    pub fn pending(&self) -> Result<Vec<Turn>, Error> {
        let directory = &self.directory;
        let _inbox = directory.lock_inbox()?;
        let files = self.read_files()?;
        let folded = Folded::new(files.wal(), files.inbox());
        if folded.pending.is_empty() {
            return Ok(Vec::new());
        }
        // The ledger comes last. A drain may replace it meanwhile, but only with marks of the
        // batch in the write-ahead file that was just read, which do not count: the next
        // batch cannot be staged while the inbox is locked. Read first, the ledger could be
        // one without the marks of a write-ahead file that is gone a moment later.
        let bytes = ParentDirectory::read(&directory.ledger.path)?;
        let ledger = Ledger::read(bytes.as_deref(), &directory.ledger.path)?;
        let batch = files.batch(&folded, &ledger);
        let now_ms = unix_ms(self.clock.now());
        Ok(ledger.mark(&folded.pending, batch, now_ms).fresh(folded))
    }

    /// The lines that were set aside, oldest first. A line is among them once, however many
    /// drains failed or died after setting it aside; one equal to a line that was set aside
    /// shortly before, for the same reason, is that line. A crash in the middle of the write
    /// leaves a fragment before the whole letter, with [`Source::DeadLetters`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be read.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        let _inbox = self.directory.lock_inbox()?;
        let bytes = ParentDirectory::read(&self.directory.dead_letters)?;
        Ok(dead_letters::read(&bytes.unwrap_or_default()))
    }

    /// Sets aside what no drain would deliver (records older than 7 days, damaged lines) and
    /// forgets turns that were consumed more than 14 days ago. A drain does the same; this
    /// is for a parent that is gone. It syncs nothing when there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`Error::LedgerUnreadable`], [`Error::NewerVersion`] or [`Error::Io`]; nothing is lost.
    pub fn sweep(&self) -> Result<Swept, Error> {
        let directory = &self.directory;
        let now_ms = unix_ms(self.clock.now());
        let _ledger = directory.lock_ledger()?;
        let bytes = ParentDirectory::read(&directory.ledger.path)?;
        let ledger = Ledger::read(bytes.as_deref(), &directory.ledger.path)?;
        let inbox_lock = directory.lock_inbox()?;
        let files = self.read_files()?;
        let mut folded = Folded::new(files.wal(), files.inbox());
        folded.expire(now_ms);
        let dead_letters = folded.dead.len();
        if dead_letters > 0 {
            self.set_aside(&folded.dead)?;
        }
        // Where nothing is left of a write-ahead file, nobody will receive what its batch marked:
        // a child that sends such a turn once more must be heard. The file goes after the marks,
        // because it is what tells that they are none.
        let unreceived = (files.wal.is_some() && folded.pending.is_empty())
            .then(|| files.batch(&folded, &ledger));
        let swept = ledger.swept(unreceived, now_ms);
        if swept.is_changed {
            directory.replace(&directory.ledger, &swept.file)?;
        }
        if dead_letters > 0 {
            self.keep_pending(&files, &folded, &ledger)?;
        }
        drop(inbox_lock);
        Ok(Swept {
            dead_letters,
            ledger_entries: swept.expired,
        })
    }

    /// Rewrites what the dead lines leave. Where a crashed drain left a write-ahead file, all
    /// of it goes there, under that drain's batch, as the next drain would stage it.
    fn keep_pending(
        &self,
        files: &Files,
        folded: &Folded<'_>,
        ledger: &Ledger<'_>,
    ) -> Result<(), Error> {
        let directory = &self.directory;
        let is_empty = folded.pending.is_empty();
        if files.wal.is_some() && !is_empty {
            let header = wal_header(files.batch(folded, ledger));
            directory.replace(&directory.wal, &folded.to_file(&header, 0))?;
        } else if files.inbox.is_some() && !is_empty {
            let lines = folded.to_file("", 0);
            let file = [inbox_header(lines.len()).as_bytes(), &lines].concat();
            return directory.replace(&directory.inbox, &file);
        }
        if files.inbox.is_some() {
            directory.remove(&directory.inbox.path)?;
        }
        if files.wal.is_some() && is_empty {
            directory.remove(&directory.wal.path)?;
        }
        Ok(())
    }

    /// Writes `dead` to the dead-letter file: 1 file and 1 directory fsync.
    ///
    /// A drain that fails or dies after this leaves the lines where they were found, and the
    /// next one finds them again: on a disk that refuses the write-ahead file, every drain
    /// would add them anew. What the end of the file holds already is therefore not added;
    /// but it is synced, because whoever wrote it may have died before doing so.
    pub(crate) fn set_aside(&self, dead: &[DeadLine<'_>]) -> Result<(), Error> {
        let path = &self.directory.dead_letters;
        let now = self.clock.now();
        let (file, length) = self.directory.open_for_append(path)?;
        let mut lines = dead_letters::to_lines(dead, now);
        let mut bytes = Vec::new();
        if length > 0 {
            let read_back_bytes = lines.len() as u64 + DEAD_LETTERS_BETWEEN_BYTES_MAX;
            let start = length.saturating_sub(read_back_bytes);
            let end = read_at(&file, path, start, length)?;
            lines = dead_letters::to_lines(dead_letters::missing(dead, &end), now);
            if !end.ends_with(b"\n") {
                bytes.push(b'\n');
            }
        }
        bytes.append(&mut lines);
        self.directory.append(path, &file, length, &bytes)
    }

    /// Reads the write-ahead file and the inbox; the caller holds the inbox lock.
    pub(crate) fn read_files(&self) -> Result<Files, Error> {
        let directory = &self.directory;
        let files = Files {
            wal: ParentDirectory::read(&directory.wal.path)?,
            inbox: ParentDirectory::read(&directory.inbox.path)?,
        };
        refuse_newer(files.wal(), Source::Wal, &directory.wal.path)?;
        refuse_newer(files.inbox(), Source::Inbox, &directory.inbox.path)?;
        Ok(files)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// The content of the two files that hold records.
pub(crate) struct Files {
    pub(crate) wal: Option<Vec<u8>>,
    pub(crate) inbox: Option<Vec<u8>>,
}

impl Files {
    pub(crate) fn wal(&self) -> &[u8] {
        self.wal.as_deref().unwrap_or_default()
    }

    pub(crate) fn inbox(&self) -> &[u8] {
        self.inbox.as_deref().unwrap_or_default()
    }

    /// The batch under which these records are staged: that of the write-ahead file, else a
    /// new one.
    ///
    /// A write-ahead file belongs to the ledger's last batch, or to the next one when its
    /// drain died before it wrote the ledger. A header that says anything else is damaged, or
    /// its ledger was moved away. Then the last one is assumed: its drain may have marked
    /// records that nobody received, and delivering one twice is better than losing it. A
    /// ledger that is not there has marked nothing, so any batch serves.
    pub(crate) fn batch(&self, folded: &Folded<'_>, ledger: &Ledger<'_>) -> u64 {
        let next = ledger.next_batch();
        match folded.batch {
            Some(batch) if batch == next => next,
            None if self.wal().is_empty() => next,
            _ => ledger.last_batch(),
        }
    }
}

fn refuse_newer(bytes: &[u8], source: Source, path: &Path) -> Result<(), Error> {
    match newer_version(bytes, source.kind()) {
        None => Ok(()),
        Some(version) => Err(Error::NewerVersion {
            path: path.to_owned(),
            version,
        }),
    }
}

/// Reads the bytes from `start` to `end`, which the caller knows to be there.
fn read_at(file: &File, path: &Path, start: u64, end: u64) -> Result<Vec<u8>, Error> {
    let length = usize::try_from(end - start).expect("less than what memory holds already");
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start)
        .map_err(Error::io(Action::Read, path))?;
    Ok(bytes)
}
