//! Counters: whose work to count, and from when.

use std::sync::Arc;

use rusqlite::Connection;

use super::SqliteCounts;
use super::books::Books;
use super::hooks::{self, Refusal};
use crate::Observed;

/// Counts what one connection does, from [`attach`](SqliteCounter::attach) on.
///
/// The counter and the connection go their own ways: the code under test may have the connection,
/// on a thread of its own, while the counter is asked. A connection may have several counters, each
/// counting from where it was attached.
///
/// ```
/// use perfbudget::{Gate, SqliteCounter, SqliteCounts};
/// use rusqlite::Connection;
///
/// # fn save(connection: &mut Connection) -> rusqlite::Result<()> {
/// #     let transaction = connection.transaction()?;
/// #     transaction.execute("INSERT INTO events VALUES (?1)", ["a"])?;
/// #     transaction.execute("INSERT INTO events VALUES (?1)", ["b"])?;
/// #     transaction.commit()
/// # }
/// let mut connection = Connection::open_in_memory()?;
/// connection.execute_batch("CREATE TABLE events (text TEXT NOT NULL)")?;
///
/// let counter = SqliteCounter::attach(&mut connection);
/// save(&mut connection)?; // two rows in one transaction
/// Gate::counts("app/save-sqlite")
///     .exactly(SqliteCounts::new().commits(1).rows_changed(2).statements(4), counter.counts());
/// # Ok::<(), rusqlite::Error>(())
/// ```
///
/// # What it changes
///
/// A connection has one commit hook, one rollback hook, one update hook and one trace callback;
/// the counter needs all four. They stay in when the counter is dropped, because only the
/// connection can take them out: until then, or until [`detach`](SqliteCounter::detach), each
/// statement costs a call of the trace callback more. Don't time what was counted. For each
/// connection some 200 bytes stay until the process ends.
#[derive(Clone, Debug)]
#[must_use = "nothing is counted that nobody asks for"]
pub struct SqliteCounter {
    books: Arc<Books>,
    /// Of the books, when it was attached.
    start: SqliteCounts,
    losses: usize,
}

impl SqliteCounter {
    /// Counts what `connection` does from now on.
    ///
    /// # Panics
    /// When the program has set one of the four hooks on it by rusqlite: counting would take it
    /// away. A hook that C code has set is not noticed, and lost.
    #[track_caller]
    pub fn attach(connection: &mut Connection) -> Self {
        match hooks::install(connection) {
            Ok(books) => Self {
                start: books.counts(),
                losses: books.losses(),
                books,
            },
            Err(Refusal::Taken(hook)) => panic!(
                "the connection has a {} of the program's, which counting would replace\n\
                 count a connection that has none",
                hook.name()
            ),
            Err(Refusal::Failed(error)) => panic!("failed to set a hook to count by: {error}"),
        }
    }

    /// What the connection has done since the counter was attached, also when it was closed
    /// meanwhile. A statement that is running on another thread is in it as far as it came.
    ///
    /// One thing is late: rows of a table `WITHOUT ROWID` that a statement with `RETURNING`
    /// changed, when not all that it returned was fetched, as by
    /// [`query_row`](Connection::query_row). They are counted when the next statement begins.
    ///
    /// # Panics
    /// When the program has replaced a hook of the counter's, or another counter was detached:
    /// what was done since is not known.
    #[must_use]
    #[track_caller]
    pub fn counts(&self) -> SqliteCounts {
        if let Some(hook) = self.books.lost_after(self.losses) {
            panic!(
                "the {} that counts was replaced or taken out while it counted: what the \
                 connection did since is not known\n\
                 ask for the counts before the program sets a hook of its own, or count a \
                 connection on which it sets none",
                hook.name()
            );
        }
        self.books.counts().since(self.start)
    }

    /// Runs `f` and counts what the connection does meanwhile.
    ///
    /// ```
    /// use perfbudget::{SqliteCounter, SqliteCounts};
    /// use rusqlite::Connection;
    ///
    /// let mut connection = Connection::open_in_memory()?;
    /// let counter = SqliteCounter::attach(&mut connection);
    /// connection.execute_batch("CREATE TABLE events (text TEXT NOT NULL)")?;
    /// let deleted = counter.observe(|| connection.execute("DELETE FROM events", []));
    /// assert_eq!(deleted.value, Ok(0));
    /// assert_eq!(deleted.counts(), SqliteCounts::new().commits(1).statements(1));
    /// # Ok::<(), rusqlite::Error>(())
    /// ```
    ///
    /// # Panics
    /// As [`counts`](SqliteCounter::counts), and with `f`'s panic.
    #[track_caller]
    pub fn observe<T>(&self, f: impl FnOnce() -> T) -> Observed<T, SqliteCounts> {
        let before = self.counts();
        let value = f();
        Observed::new(value, self.counts().since(before))
    }

    /// Takes the hooks out of `connection`, for good: other counters of it, and copies of this
    /// one, panic from now on when they are asked.
    ///
    /// # Panics
    /// When `connection` is another one than the counter was attached to.
    #[track_caller]
    pub fn detach(self, connection: &mut Connection) {
        let is_its_own = match hooks::known(connection) {
            Ok(known) => known.is_some_and(|books| Arc::ptr_eq(&books, &self.books)),
            Err(_) => false,
        };
        assert!(
            is_its_own,
            "the counter does not count this connection\n\
             detach it from the one that it was attached to"
        );
        if let Err(error) = hooks::take_out(connection, &self.books) {
            panic!("failed to take a hook out: {error}");
        }
    }
}

/// A counter may be asked on another thread than the connection's.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<SqliteCounter>();
};
