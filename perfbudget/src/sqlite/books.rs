//! What the hooks of one connection have told so far.
//!
//! Commits, rollbacks and statements are simply counted. Rows are not, because the hook for rows
//! does not see all of them (tables `WITHOUT ROWID`, a `DELETE` of all rows). SQLite counts every
//! row itself, but adds those of a statement only when the statement has ended, and only the
//! connection can be asked, which at the time of the question is elsewhere. So it is asked
//! whenever a statement begins or ends ([`State::book`]), and the hook for rows serves for the one
//! case that this leaves open: a statement that returned rows, of which not all were fetched (a
//! `RETURNING` read by `query_row`). It tells of its end *before* SQLite has added its rows; until
//! the next statement makes that good, the rows that the hook saw stand for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SqliteCounts;

/// The hooks that a connection has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Commit,
    Rollback,
    Update,
    Trace,
}

impl Hook {
    pub(super) const ALL: [Self; 4] = [Self::Commit, Self::Rollback, Self::Update, Self::Trace];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit hook",
            Self::Rollback => "rollback hook",
            Self::Update => "update hook",
            Self::Trace => "trace callback",
        }
    }
}

/// Shared by the hooks of a connection, which write, and its counters, which read.
#[derive(Debug, Default)]
pub(super) struct Books(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: SqliteCounts,
    /// SQLite's count of rows when it was last asked, modulo 2³².
    total_changes: u32,
    /// Rows that the hook saw and that are not in `total_changes` yet.
    unbooked: u64,
    /// The statements that have begun and not ended, by the addresses of their texts.
    running: Vec<usize>,
    /// Whether the last thing that the trace told of was a row that was returned.
    row_was_last: bool,
    installed: [bool; Hook::ALL.len()],
    /// The hooks that were replaced or taken out, in order.
    losses: Vec<Hook>,
    /// SQLite takes all hooks out when a connection closes, which is no loss.
    is_closing: bool,
}

impl State {
    /// Counts the rows that SQLite has added since it was last asked, and returns whether there
    /// were any. No statement changes 2³² rows.
    fn book(&mut self, total_changes: u32) -> bool {
        let rows = total_changes.wrapping_sub(self.total_changes);
        self.total_changes = total_changes;
        self.counts.rows_changed += u64::from(rows);
        rows != 0
    }
}

impl Books {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> SqliteCounts {
        let state = self.state();
        let booked = state.counts;
        booked.rows_changed(booked.rows_changed + state.unbooked)
    }

    /// How often a hook was lost so far.
    pub(super) fn losses(&self) -> usize {
        self.state().losses.len()
    }

    /// The first hook that was lost after `losses` others.
    pub(super) fn lost_after(&self, losses: usize) -> Option<Hook> {
        self.state().losses.get(losses).copied()
    }

    /// At a time at which no statement runs.
    pub(super) fn settle(&self, total_changes: u32) {
        let mut state = self.state();
        state.book(total_changes);
        state.unbooked = 0;
        state.running.clear();
    }

    /// Begins where a connection is, when none of its rows were counted.
    pub(super) fn open(total_changes: u32) -> Self {
        Self(Mutex::new(State {
            total_changes,
            // Enough not to allocate in a hook, in the midst of what is counted elsewhere.
            running: Vec::with_capacity(8),
            ..State::default()
        }))
    }

    pub(super) fn commit(&self) {
        self.state().counts.commits += 1;
    }

    pub(super) fn rollback(&self) {
        let mut state = self.state();
        state.counts.rollbacks += 1;
        // Of a statement that fails as it ends; those of earlier ones are booked.
        state.unbooked = 0;
    }

    pub(super) fn row_changed(&self) {
        self.state().unbooked += 1;
    }

    /// A foreign key's action is told of as if the statement that sets it off began once more.
    pub(super) fn statement_begins(&self, text: usize, total_changes: u32) {
        let mut state = self.state();
        if state.running.contains(&text) {
            return;
        }
        state.running.push(text);
        state.book(total_changes);
        state.unbooked = 0;
        state.row_was_last = false;
        state.is_closing = false; // it was busy, and stayed open
        state.counts.statements += 1;
    }

    pub(super) fn row_returned(&self) {
        self.state().row_was_last = true;
    }

    pub(super) fn statement_ends(&self, text: usize, total_changes: u32) {
        let mut state = self.state();
        state.running.retain(|running| *running != text);
        let is_booked = state.book(total_changes);
        // A statement that returned no row has run to its end, or failed and changed nothing.
        if is_booked || !state.row_was_last {
            state.unbooked = 0;
        }
        state.row_was_last = false;
    }

    pub(super) fn connection_closes(&self, total_changes: u32) {
        self.settle(total_changes);
        self.state().is_closing = true;
    }

    pub(super) fn is_installed(&self, hook: Hook) -> bool {
        self.state().installed[hook as usize]
    }

    pub(super) fn hook_is_in(&self, hook: Hook) {
        self.state().installed[hook as usize] = true;
    }

    pub(super) fn hook_is_out(&self, hook: Hook) {
        let mut state = self.state();
        state.installed[hook as usize] = false;
        if !state.is_closing {
            state.losses.push(hook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(books: &Books) -> u64 {
        books.counts().rows_changed
    }

    /// `INSERT … RETURNING` of which one row is fetched.
    fn half_read_insert(books: &Books, total_changes_before: u32) {
        books.statement_begins(1, total_changes_before);
        books.row_changed();
        books.row_changed();
        books.row_returned();
        books.statement_ends(1, total_changes_before);
    }

    #[test]
    fn rows_of_a_statement_that_was_not_read_to_its_end_count_once() {
        let books = Books::open(40);
        half_read_insert(&books, 40);
        assert_eq!(rows(&books), 2);
        half_read_insert(&books, 42);
        assert_eq!(rows(&books), 4);
        books.connection_closes(44);
        assert_eq!(rows(&books), 4);
    }

    #[test]
    fn rows_of_a_statement_that_failed_do_not_count() {
        let books = Books::open(0);
        books.statement_begins(1, 0);
        books.row_changed();
        books.statement_ends(1, 0);
        assert_eq!(rows(&books), 0);
        // Beside a query that is not at its end.
        books.statement_begins(2, 0);
        books.row_returned();
        books.statement_begins(1, 0);
        books.row_changed();
        books.statement_ends(1, 0);
        assert_eq!(rows(&books), 0);
        // As it ends, after it returned a row.
        half_read_insert(&books, 0);
        books.rollback();
        assert_eq!(rows(&books), 0);
    }

    #[test]
    fn sqlites_own_count_goes_before_that_of_the_hook() {
        let books = Books::open(u32::MAX);
        books.statement_begins(1, u32::MAX);
        books.row_changed(); // and three that no hook sees
        books.statement_ends(1, 3);
        assert_eq!(rows(&books), 4);
    }

    #[test]
    fn a_statement_that_runs_does_not_begin_again_until_it_has_ended() {
        let books = Books::open(0);
        for (text, statements) in [(1, 1), (1, 1), (2, 2), (1, 2), (2, 2)] {
            books.statement_begins(text, 0);
            assert_eq!(books.counts().statements, statements);
        }
        books.statement_ends(1, 0);
        books.statement_begins(2, 0);
        books.statement_begins(1, 0);
        assert_eq!(books.counts().statements, 3);
    }

    #[test]
    fn a_hook_that_goes_is_a_loss_unless_the_connection_does() {
        let books = Books::open(0);
        books.hook_is_in(Hook::Update);
        books.hook_is_out(Hook::Update);
        assert_eq!(books.lost_after(0), Some(Hook::Update));
        books.connection_closes(0);
        books.hook_is_out(Hook::Trace);
        assert_eq!(books.losses(), 1);
        // It could not be closed, and goes on.
        books.statement_begins(1, 0);
        books.hook_is_out(Hook::Trace);
        assert_eq!(books.losses(), 2);
        assert_eq!(books.lost_after(1), Some(Hook::Trace));
        assert_eq!(books.lost_after(2), None);
    }
}
