//! The drain: from pending records to turns in the parent's hands.
//!
//! The order of its steps is the whole of its safety; each says what a crash after it
//! leaves behind.

use std::ops::Deref;

use crate::Outbox;
use crate::clock::unix_ms;
use crate::directory::ParentDirectory;
use crate::error::{DrainError, Error};
use crate::event::Turn;
use crate::ledger::Ledger;
use crate::lines::{Folded, wal_header};

/// The turns of one drain, in the order in which their children first committed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Drained {
    turns: Vec<Turn>,
    dead_letters: usize,
    already_consumed: usize,
    recovered: bool,
}

impl Drained {
    /// How many lines this drain moved to the dead-letter file.
    #[must_use]
    pub fn dead_letters(&self) -> usize {
        self.dead_letters
    }

    /// How many records were repetitions of turns that had been consumed, and were dropped.
    #[must_use]
    pub fn already_consumed(&self) -> usize {
        self.already_consumed
    }

    /// Whether this drain took over from one that did not finish.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Deref for Drained {
    type Target = [Turn];

    fn deref(&self) -> &[Turn] {
        &self.turns
    }
}

impl IntoIterator for Drained {
    type Item = Turn;
    type IntoIter = std::vec::IntoIter<Turn>;

    fn into_iter(self) -> Self::IntoIter {
        self.turns.into_iter()
    }
}

impl<'a> IntoIterator for &'a Drained {
    type Item = &'a Turn;
    type IntoIter = std::slice::Iter<'a, Turn>;

    fn into_iter(self) -> Self::IntoIter {
        self.turns.iter()
    }
}

impl Outbox {
    /// Takes what is pending: 2 file and 2 directory fsyncs for any number of turns, none
    /// when nothing is pending, 1 and 1 more when lines have to be set aside.
    ///
    /// A turn that is returned is not returned again, in this process or another, for 14
    /// days. When the caller dies with the turns in its memory they are gone with it;
    /// [`Outbox::drain_with`] closes that gap.
    ///
    /// # Errors
    ///
    /// [`Error::LedgerUnreadable`], [`Error::NewerVersion`] or [`Error::Io`]. The turns are
    /// returned by the next drain that succeeds.
    pub fn drain(&self) -> Result<Drained, Error> {
        match self.drain_batch(Ok::<_, std::convert::Infallible>) {
            Ok(drained) => Ok(drained),
            Err(DrainError::Outbox(error)) => Err(error),
            Err(DrainError::Consumer(never)) => match never {},
        }
    }

    /// Takes what is pending and gives it to `consume`; only when that succeeds are the
    /// turns gone from the outbox. It is called with no turns when nothing is pending.
    ///
    /// When `consume` fails or panics, or the process dies, the next drain delivers the same
    /// turns again: the consumer's effects happen at least once, and a turn's fingerprint
    /// tells it which ones it has had.
    ///
    /// The closure may commit to this outbox. A drain or a sweep of it would wait for this
    /// one forever.
    ///
    /// # Errors
    ///
    /// [`DrainError::Consumer`] with the closure's error, or [`DrainError::Outbox`] with
    /// those of [`Outbox::drain`].
    pub fn drain_with<T, E>(
        &self,
        consume: impl FnOnce(&Drained) -> Result<T, E>,
    ) -> Result<T, DrainError<E>> {
        self.drain_batch(|drained| consume(&drained))
    }

    fn drain_batch<T, E>(
        &self,
        consume: impl FnOnce(Drained) -> Result<T, E>,
    ) -> Result<T, DrainError<E>> {
        let directory = &self.directory;
        // Held to the end. Two drains that took turns could lose records: one would remove
        // a write-ahead file into which the other has just staged.
        let _ledger = directory.lock_ledger()?;
        let now_ms = unix_ms(self.clock.now());

        // Phase 1, under the inbox lock: move the records into the write-ahead file.
        let inbox_lock = directory.lock_inbox()?;
        let files = self.read_files()?;
        let mut folded = Folded::new(files.wal(), files.inbox());
        if folded.pending.is_empty() && folded.dead.is_empty() {
            drop(inbox_lock);
            return consume(Drained::default()).map_err(DrainError::Consumer);
        }
        // Before anything is moved: with a ledger that cannot be read nothing should be.
        let ledger_bytes = ParentDirectory::read(&directory.ledger.path)?;
        let ledger = Ledger::read(ledger_bytes.as_deref(), &directory.ledger.path)?;
        folded.expire(now_ms);
        if !folded.dead.is_empty() {
            // A crash or an error after this leaves the lines where they are. The next drain
            // finds them again, and finds them set aside.
            self.set_aside(&folded.dead)?;
        }
        let batch = files.batch(&folded, &ledger);
        let is_staged = !folded.pending.is_empty();
        if is_staged {
            let staged = folded.to_file(&wal_header(batch), 0);
            // A crash after this leaves the records in both files; they fold into one.
            directory.replace(&directory.wal, &staged)?;
        }
        if files.inbox.is_some() {
            // A crash after this leaves them in the write-ahead file.
            directory.remove(&directory.inbox.path)?;
        }
        drop(inbox_lock);

        // Phase 2: mark the turns as consumed, hand them over, forget the write-ahead file.
        let dead_letters = folded.dead.len();
        let marked = ledger.mark(&folded.pending, batch, now_ms);
        let turns = marked.fresh(folded);
        if marked.is_changed {
            // A crash after this leaves turns that are marked and that nobody received. The
            // write-ahead file has the batch of their marks: the next drain delivers them.
            directory.replace(&directory.ledger, &marked.file)?;
        }
        let drained = Drained {
            already_consumed: marked.consumed.len() - turns.len(),
            turns,
            dead_letters,
            recovered: files.wal.is_some(),
        };
        let consumed = consume(drained).map_err(DrainError::Consumer)?;
        if is_staged || files.wal.is_some() {
            directory.remove(&directory.wal.path)?;
        }
        Ok(consumed)
    }
}
