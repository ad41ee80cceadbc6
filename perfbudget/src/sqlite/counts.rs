//! How much a connection did: the value that a count gate compares.

use crate::count_set::count_set;

count_set! {
    /// What a connection did.
    ///
    /// ```
    /// use perfbudget::SqliteCounts;
    ///
    /// let counts = SqliteCounts::new().commits(1).rows_changed(2).statements(4);
    /// assert_eq!(
    ///     counts.into_iter().collect::<Vec<_>>(),
    ///     [("commits", 1), ("rows_changed", 2), ("statements", 4)]
    /// );
    /// assert_eq!(counts.only(["commits"]), SqliteCounts::new().commits(1));
    /// ```
    pub struct SqliteCounts {
        /// Write transactions that were committed: those between `BEGIN` and `COMMIT`, between
        /// the outermost `SAVEPOINT` and its `RELEASE`, and those that a statement outside of
        /// these makes for itself. Of several databases that are attached, one.
        ///
        /// A transaction is a write transaction when it took the lock to write: also
        /// `BEGIN IMMEDIATE` without any statement, and an `UPDATE` that found no row. One that
        /// only read is not counted. A commit is counted as it begins: if the disk then fails, a
        /// rollback is counted, too.
        pub commits: u64,
        /// Transactions that were rolled back: by `ROLLBACK`, whether they wrote or only read; by
        /// a connection that was closed within one; and by SQLite, as when a statement that makes
        /// a transaction for itself fails after it took the lock to write, or finds then that
        /// another connection has changed the schema, and begins anew.
        ///
        /// Not a rollback is what ends within a transaction that goes on: `ROLLBACK TO` a
        /// savepoint, and a statement that fails between `BEGIN` and `COMMIT`.
        pub rollbacks: u64,
        /// Rows that `INSERT`, `UPDATE` and `DELETE` inserted, changed or deleted, those of
        /// triggers and of foreign key actions included, whether or not they were rolled back
        /// afterwards: what [`total_changes`](rusqlite::Connection::total_changes) counts.
        ///
        /// `INSERT OR REPLACE` is one row, also where it takes the place of others; an upsert is
        /// one row; a row that `OR IGNORE` leaves out is none. A statement that fails changes no
        /// row, unless it is `OR FAIL`, which keeps those before. A row of a virtual table is as
        /// many as its module writes (FTS5: several). `CREATE TABLE … AS` changes none.
        pub rows_changed: u64,
        /// Statements that were run, each time that they were: also `BEGIN` and `COMMIT`, `PRAGMA`,
        /// a query of which only some rows were fetched, and a statement that failed while it ran.
        ///
        /// Not counted are statements that were only prepared or could not be, those of triggers,
        /// those that SQLite runs for itself (to read the schema, for `VACUUM`), and those that a
        /// virtual table's module runs.
        pub statements: u64,
    }
}

impl SqliteCounts {
    /// What came after `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            commits: self.commits.saturating_sub(earlier.commits),
            rollbacks: self.rollbacks.saturating_sub(earlier.rollbacks),
            rows_changed: self.rows_changed.saturating_sub(earlier.rows_changed),
            statements: self.statements.saturating_sub(earlier.statements),
        }
    }
}
