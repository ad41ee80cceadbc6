//! What is counted of a SQLite connection, and as what.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use perfbudget::{Gate, SqliteCounter, SqliteCounts, Verdict};
use rusqlite::hooks::Action;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, TransactionBehavior};

const SCHEMA: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n <> 13));
    CREATE TABLE keyed (k TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE);
    INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);
    INSERT INTO keyed VALUES ('a'), ('b');
    INSERT INTO parent VALUES (1);
    INSERT INTO child VALUES (1, 1), (2, 1);
";

fn database() -> Connection {
    let connection = Connection::open_in_memory().expect("memory");
    connection.execute_batch(SCHEMA).expect("a schema");
    connection
}

/// What `f` makes of a database with [`SCHEMA`].
fn counts(f: impl FnOnce(&mut Connection)) -> SqliteCounts {
    let mut connection = database();
    let counter = SqliteCounter::attach(&mut connection);
    f(&mut connection);
    counter.counts()
}

/// The same of SQL that succeeds.
#[track_caller]
fn assert_counts(sql: &str, expected: SqliteCounts) {
    let counted = counts(|connection| connection.execute_batch(sql).expect(sql));
    assert_eq!(counted, expected, "{sql}");
}

/// The same of SQL that fails.
#[track_caller]
fn assert_counts_of_failure(sql: &str, expected: SqliteCounts) {
    let counted = counts(|connection| {
        connection.execute_batch(sql).expect_err(sql);
    });
    assert_eq!(counted, expected, "{sql}");
}

const fn done(commits: u64, rows_changed: u64, statements: u64) -> SqliteCounts {
    SqliteCounts::new()
        .commits(commits)
        .rows_changed(rows_changed)
        .statements(statements)
}

#[test]
fn a_statement_outside_a_transaction_is_one() {
    assert_counts("INSERT INTO t (n) VALUES (4)", done(1, 1, 1));
    assert_counts("INSERT INTO t (n) VALUES (4), (5), (6)", done(1, 3, 1));
    assert_counts("UPDATE t SET n = n", done(1, 3, 1));
    assert_counts("DELETE FROM t WHERE id < 3", done(1, 2, 1));
    assert_counts("CREATE TABLE u (n)", done(1, 0, 1));
    assert_counts("CREATE TABLE u AS SELECT * FROM t", done(1, 0, 1));
    assert_counts("SELECT * FROM t", done(0, 0, 1));
    assert_counts("PRAGMA user_version", done(0, 0, 1));
    assert_counts("VACUUM", done(0, 0, 1));
    assert_counts("", done(0, 0, 0));
    assert_counts("-- nothing", done(0, 0, 0));
}

#[test]
fn a_transaction_is_one_whatever_is_in_it() {
    assert_counts(
        "BEGIN; INSERT INTO t (n) VALUES (4); UPDATE t SET n = 5; COMMIT",
        done(1, 1 + 4, 4),
    );
    assert_counts(
        "INSERT INTO t (n) VALUES (4); INSERT INTO t (n) VALUES (5)",
        done(2, 2, 2),
    );
}

#[test]
fn a_transaction_that_writes_is_one_that_took_the_lock_to_write() {
    assert_counts("BEGIN; SELECT * FROM t; COMMIT", done(0, 0, 3));
    assert_counts("BEGIN; COMMIT", done(0, 0, 2));
    assert_counts("BEGIN IMMEDIATE; COMMIT", done(1, 0, 2));
    assert_counts("UPDATE t SET n = 5 WHERE id = 99", done(1, 0, 1));
    assert_counts("CREATE TEMP TABLE u (n)", done(1, 0, 1));
}

#[test]
fn what_is_rolled_back_was_done_all_the_same() {
    let rolled_back = |rows, statements| done(0, rows, statements).rollbacks(1);
    assert_counts(
        "BEGIN; INSERT INTO t (n) VALUES (4), (5); ROLLBACK",
        rolled_back(2, 3),
    );
    assert_counts("BEGIN; SELECT * FROM t; ROLLBACK", rolled_back(0, 3));
    let dropped = counts(|connection| {
        let transaction = connection.transaction().expect("begun");
        transaction.execute("DELETE FROM t", []).expect("deleted");
    });
    assert_eq!(dropped, rolled_back(3, 3));
    let closed = counts(|connection| {
        connection
            .execute_batch("BEGIN; DELETE FROM t")
            .expect("deleted");
        *connection = database();
    });
    assert_eq!(closed, rolled_back(3, 2));
}

#[test]
fn a_savepoint_within_a_transaction_is_none_of_its_own() {
    assert_counts(
        "BEGIN; INSERT INTO t (n) VALUES (4); SAVEPOINT s; INSERT INTO t (n) VALUES (5);
         ROLLBACK TO s; RELEASE s; COMMIT",
        done(1, 2, 7),
    );
    // The outermost is a transaction.
    assert_counts(
        "SAVEPOINT s; INSERT INTO t (n) VALUES (4); RELEASE s",
        done(1, 1, 3),
    );
    assert_counts("SAVEPOINT s; RELEASE s", done(0, 0, 2));
}

#[test]
fn a_statement_that_fails_changes_no_row() {
    let failed = |statements| done(0, 0, statements).rollbacks(1);
    assert_counts_of_failure("INSERT INTO t VALUES (1, 1)", failed(1));
    assert_counts_of_failure("INSERT INTO t (n) VALUES (4), (5), (13)", failed(1));
    assert_counts_of_failure("INSERT INTO t (n) VALUES (4), (13) RETURNING id", failed(1));
    // In a transaction that goes on.
    let goes_on = |sql: &str| {
        counts(|connection| {
            connection.execute_batch("BEGIN").expect("begun");
            connection.execute_batch(sql).expect_err(sql);
            connection.execute_batch("COMMIT").expect("committed");
        })
    };
    for sql in [
        "INSERT INTO t (n) VALUES (4), (13)",
        "INSERT INTO t (n) VALUES (4), (13) RETURNING id",
    ] {
        // It took the lock to write.
        assert_eq!(goes_on(sql), done(1, 0, 3), "{sql}");
    }
    assert_counts_of_failure("BEGIN; INSERT INTO t (n) VALUES (4), (13)", done(0, 0, 2));
    // In one that it ends.
    assert_counts_of_failure(
        "BEGIN; INSERT INTO t (n) VALUES (4); INSERT OR ROLLBACK INTO t (n) VALUES (5), (13)",
        done(0, 1, 3).rollbacks(1),
    );
    // The rows before the one that fails stay.
    assert_counts_of_failure(
        "INSERT OR FAIL INTO t (n) VALUES (4), (5), (13)",
        done(1, 2, 1),
    );
    // Not even begun.
    assert_counts_of_failure("INSERT INTO nothing VALUES (1)", done(0, 0, 0));
}

#[test]
fn conflicts_count_the_row_that_is_written() {
    assert_counts("INSERT OR REPLACE INTO t VALUES (1, 9)", done(1, 1, 1));
    assert_counts("INSERT OR IGNORE INTO t VALUES (1, 9)", done(1, 0, 1));
    assert_counts(
        "INSERT INTO t VALUES (1, 9), (9, 9) ON CONFLICT DO UPDATE SET n = excluded.n",
        done(1, 2, 1),
    );
}

/// Where the update hook is blind.
#[test]
fn rows_without_a_rowid_and_a_delete_of_all_rows_are_counted() {
    assert_counts("INSERT INTO keyed VALUES ('c'), ('d')", done(1, 2, 1));
    assert_counts("DELETE FROM keyed WHERE k = 'a'", done(1, 1, 1));
    assert_counts("DELETE FROM keyed", done(1, 2, 1));
    assert_counts("DELETE FROM t", done(1, 3, 1));
    assert_counts("BEGIN; DELETE FROM t; COMMIT", done(1, 3, 3));
}

#[test]
fn triggers_and_foreign_keys_change_rows_and_are_no_statements() {
    let triggers = "
        CREATE TRIGGER one AFTER INSERT ON t BEGIN
            INSERT INTO parent (id) VALUES (new.id + 100);
            INSERT INTO keyed VALUES (new.id);
        END;
        CREATE TRIGGER two AFTER INSERT ON parent BEGIN
            INSERT INTO child (parent) VALUES (new.id);
        END;
    ";
    let triggered = counts(|connection| {
        connection.execute_batch(triggers).expect("triggers");
        connection
            .execute("INSERT INTO t (n) VALUES (4), (5)", [])
            .expect("inserted");
    });
    assert_eq!(triggered, done(2 + 1, 2 * 4, 2 + 1));
    assert_counts("DELETE FROM parent", done(1, 1 + 2, 1));
    assert_counts(
        "INSERT INTO parent VALUES (2), (3); INSERT INTO child VALUES (3, 2), (4, 3);
         DELETE FROM parent; DELETE FROM parent",
        done(4, 2 + 2 + 3 + 4, 4),
    );
}

/// `query_row` takes the first row and resets the statement, which then has not run to its end.
#[test]
fn rows_of_a_returning_that_is_not_read_to_its_end_are_counted_at_once_and_once() {
    let first = |connection: &Connection, sql: &str| -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    };
    let mut connection = database();
    let counter = SqliteCounter::attach(&mut connection);
    assert_eq!(
        first(&connection, "INSERT INTO t (n) VALUES (4) RETURNING id"),
        4
    );
    assert_eq!(counter.counts(), done(1, 1, 1));
    first(&connection, "UPDATE t SET n = 5 RETURNING id");
    assert_eq!(counter.counts(), done(2, 1 + 4, 2));
    first(&connection, "SELECT id FROM t");
    assert_eq!(counter.counts(), done(2, 1 + 4, 3));

    connection.execute_batch("BEGIN").expect("begun");
    first(&connection, "DELETE FROM t RETURNING id");
    assert_eq!(counter.counts(), done(2, 1 + 4 + 4, 5));
    // One that fails after it does not undo it.
    connection
        .execute_batch("INSERT INTO t (n) VALUES (6), (13)")
        .expect_err("refused");
    assert_eq!(counter.counts(), done(2, 1 + 4 + 4, 6));
    drop(connection);
    assert_eq!(counter.counts(), done(2, 1 + 4 + 4, 6).rollbacks(1));
}

/// The one thing that is late.
#[test]
fn rows_without_a_rowid_of_such_a_returning_are_counted_when_the_next_statement_begins() {
    let mut connection = database();
    let counter = SqliteCounter::attach(&mut connection);
    let sql = "INSERT INTO keyed VALUES ('c') RETURNING k";
    let key: String = connection.query_row(sql, [], |row| row.get(0)).expect(sql);
    assert_eq!(key, "c");
    assert_eq!(counter.counts(), done(1, 0, 1));
    connection.execute_batch("SELECT 1").expect("selected");
    assert_eq!(counter.counts(), done(1, 1, 2));
    // Read to its end it is not.
    let sql = "INSERT INTO keyed VALUES ('d') RETURNING k";
    let key: String = connection.query_one(sql, [], |row| row.get(0)).expect(sql);
    assert_eq!(key, "d");
    assert_eq!(counter.counts(), done(2, 2, 3));
    // Or when the connection closes.
    let sql = "INSERT INTO keyed VALUES ('e') RETURNING k";
    let key: String = connection.query_row(sql, [], |row| row.get(0)).expect(sql);
    assert_eq!(key, "e");
    assert_eq!(counter.counts(), done(3, 2, 4));
    drop(connection);
    assert_eq!(counter.counts(), done(3, 3, 4));
}

#[test]
fn a_statement_counts_each_time_that_it_runs() {
    let repeated = counts(|connection| {
        let mut insert = connection
            .prepare("-- told from what a trigger says\nINSERT INTO t (n) VALUES (?1)")
            .expect("prepared");
        for n in 20..25 {
            insert.execute([n]).expect("inserted");
        }
        let mut select = connection.prepare("SELECT id FROM t").expect("prepared");
        for fetched in [0, 1, 2, 8] {
            let rows = select.query_map([], |row| row.get::<_, i64>(0));
            assert_eq!(rows.expect("a query").take(fetched).count(), fetched);
        }
        // Prepared and not run.
        drop(connection.prepare("SELECT n FROM t").expect("prepared"));
    });
    // A query of which no row was fetched has not run.
    assert_eq!(repeated, done(5, 5, 5 + 3));
}

#[test]
fn statements_that_run_while_another_does_are_told_apart() {
    let nested = counts(|connection| {
        let mut select = connection.prepare("SELECT id FROM t").expect("prepared");
        let mut rows = select.query([]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            let id: i64 = row.get(0).expect("an id");
            connection
                .execute("INSERT INTO keyed VALUES (?1)", [id.to_string()])
                .expect("inserted");
            connection
                .query_row(
                    "UPDATE t SET n = 5 WHERE id = ?1 RETURNING n",
                    [id],
                    |row| row.get::<_, i64>(0),
                )
                .expect("updated");
        }
    });
    assert_eq!(nested, done(6, 6, 7));
}

fn file(dir: &Path) -> Connection {
    let connection = Connection::open(dir.join("db")).expect("a database");
    connection
        .busy_timeout(std::time::Duration::ZERO)
        .expect("set");
    connection
}

/// Reading the schema is SQLite's own statement.
#[test]
fn a_fresh_connection_and_a_changed_schema_add_no_statement() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = file(dir.path());
    other.execute_batch(SCHEMA).expect("a schema");

    let mut connection = file(dir.path());
    let counter = SqliteCounter::attach(&mut connection);
    connection
        .execute("INSERT INTO t (n) VALUES (4)", [])
        .expect("inserted");
    assert_eq!(counter.counts(), done(1, 1, 1));

    let mut insert = connection
        .prepare("INSERT INTO t (n) VALUES (5)")
        .expect("prepared");
    other
        .execute_batch("CREATE TABLE another (n)")
        .expect("created");
    insert.execute([]).expect("prepared again");
    drop(insert);
    // It took the lock to write before it found the schema changed.
    assert_eq!(counter.counts(), done(2, 2, 2).rollbacks(1));

    let mut refused = connection
        .prepare("INSERT INTO t (n) VALUES (6), (13)")
        .expect("prepared");
    connection.execute_batch("BEGIN").expect("begun");
    other
        .execute_batch("CREATE TABLE yet_another (n)")
        .expect("created");
    refused
        .execute([])
        .expect_err("prepared again, and refused");
    assert_eq!(counter.counts().only(["rows_changed"]), done(0, 2, 0));
    assert_eq!(counter.counts().only(["statements"]), done(0, 0, 4));
}

#[test]
fn a_statement_that_finds_the_database_locked_is_one_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut other = file(dir.path());
    other.execute_batch(SCHEMA).expect("a schema");
    let mut connection = file(dir.path());
    let counter = SqliteCounter::attach(&mut connection);

    let lock = other
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .expect("locked");
    connection
        .execute("INSERT INTO t (n) VALUES (4)", [])
        .expect_err("busy");
    drop(lock);
    assert_eq!(counter.counts(), done(0, 0, 1));
    connection
        .execute("INSERT INTO t (n) VALUES (4)", [])
        .expect("inserted");
    assert_eq!(counter.counts(), done(1, 1, 2));
    // And what others do is not this connection's.
    other.execute_batch("DELETE FROM t").expect("deleted");
    assert_eq!(counter.counts(), done(1, 1, 2));
}

#[test]
fn several_databases_commit_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut connection = file(dir.path());
    let attach = format!("ATTACH '{}' AS second", dir.path().join("second").display());
    connection.execute_batch(&attach).expect("attached");
    connection
        .execute_batch("CREATE TABLE t (n); CREATE TABLE second.u (n)")
        .expect("a schema");
    let counter = SqliteCounter::attach(&mut connection);
    connection
        .execute_batch("BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (1); COMMIT")
        .expect("committed");
    assert_eq!(counter.counts(), done(1, 2, 4));
}

/// Its module writes rows and runs statements of its own.
#[test]
fn a_virtual_table_counts_the_rows_that_its_module_writes_and_not_its_statements() {
    let mut connection = Connection::open_in_memory().expect("memory");
    connection
        .execute_batch("CREATE VIRTUAL TABLE texts USING fts5 (text)")
        .expect("fts5");
    let counter = SqliteCounter::attach(&mut connection);
    let inserted = counter.observe(|| {
        connection
            .execute("INSERT INTO texts VALUES ('one two')", [])
            .expect("inserted")
    });
    assert_eq!(
        inserted.counts().only(["commits", "statements"]),
        done(1, 0, 1)
    );
    assert!(
        inserted.counts().rows_changed > 1,
        "{:?}",
        inserted.counts()
    );
    let found = counter.observe(|| {
        let sql = "SELECT count(*) FROM texts WHERE texts MATCH 'one'";
        connection.query_one(sql, [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(found.value, Ok(1));
    assert_eq!(found.counts(), done(0, 0, 1));
    let closed = counter.observe(|| {
        connection
            .execute_batch("BEGIN; INSERT INTO texts VALUES ('three')")
            .expect("inserted");
        drop(connection);
    });
    assert_eq!(
        closed.counts().only(["commits", "rollbacks", "statements"]),
        done(0, 0, 2).rollbacks(1)
    );
}

#[test]
fn a_connection_is_counted_on_whatever_thread_and_after_its_end() {
    let mut connection = database();
    let counter = SqliteCounter::attach(&mut connection);
    let (jobs, work) = mpsc::channel::<i64>();
    let (done_, finished) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        for n in work {
            connection
                .execute("INSERT INTO t (n) VALUES (?1)", [n])
                .expect("inserted");
            done_.send(()).expect("it waits");
        }
    });
    for n in 1..=3 {
        jobs.send(n + 50).expect("it works");
        finished.recv().expect("it answers");
        let n = u64::try_from(n).expect("positive");
        assert_eq!(counter.counts(), done(n, n, n));
    }
    drop(jobs);
    writer.join().expect("it ends");
    assert_eq!(counter.counts(), done(3, 3, 3));
}

#[test]
fn counters_of_one_connection_each_count_from_where_they_were_attached() {
    let mut connection = database();
    let insert = |connection: &Connection| {
        connection
            .execute("INSERT INTO t (n) VALUES (4)", [])
            .expect("inserted");
    };
    let first = SqliteCounter::attach(&mut connection);
    insert(&connection);
    let second = SqliteCounter::attach(&mut connection);
    insert(&connection);
    let outer = first.observe(|| {
        insert(&connection);
        let inner = second.observe(|| insert(&connection));
        inner.counts()
    });
    assert_eq!(outer.value, done(1, 1, 1));
    assert_eq!(outer.counts(), done(2, 2, 2));
    assert_eq!(second.counts(), done(3, 3, 3));
    drop(second);
    insert(&connection);
    assert_eq!(first.counts(), done(5, 5, 5));
    drop(first);
    // Attached anew to a connection that has the hooks of before.
    insert(&connection);
    let third = SqliteCounter::attach(&mut connection);
    assert_eq!(third.counts(), done(0, 0, 0));
    insert(&connection);
    assert_eq!(third.counts(), done(1, 1, 1));
}

#[test]
fn a_counter_is_of_one_connection() {
    let mut first = database();
    let counter = SqliteCounter::attach(&mut first);
    let mut second = database();
    let other = SqliteCounter::attach(&mut second);
    second.execute_batch("DELETE FROM t").expect("deleted");
    assert_eq!(counter.counts(), done(0, 0, 0));
    assert_eq!(other.counts(), done(1, 3, 1));
}

type SetHook = fn(&mut Connection);

/// The program's own hooks, by name.
const HOOKS: [(&str, SetHook); 4] = [
    ("commit hook", |connection| {
        let refuse: fn() -> bool = || true;
        connection.commit_hook(Some(refuse)).expect("set");
    }),
    ("rollback hook", |connection| {
        let nothing: fn() = || ();
        connection.rollback_hook(Some(nothing)).expect("set");
    }),
    ("update hook", |connection| {
        let nothing: fn(Action, &str, &str, i64) = |_, _, _, _| ();
        connection.update_hook(Some(nothing)).expect("set");
    }),
    ("trace callback", |connection| {
        let nothing: fn(TraceEvent<'_>) = |_| ();
        connection
            .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(nothing))
            .expect("set");
    }),
];

fn message_of<T>(f: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).err().expect("it panics");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn a_hook_of_the_programs_own_is_said_and_stays() {
    for (name, set) in HOOKS {
        let mut connection = database();
        set(&mut connection);
        assert_eq!(
            message_of(|| SqliteCounter::attach(&mut connection)),
            format!(
                "the connection has a {name} of the program's, which counting would replace\n\
                 count a connection that has none"
            )
        );
        // It refuses to commit.
        let deleted = connection.execute("DELETE FROM t", []);
        assert_eq!(deleted.is_err(), name == "commit hook", "{name}");
    }
}

#[test]
fn a_hook_that_the_program_puts_in_the_place_of_ours_ends_the_counting_loudly() {
    for (name, set) in HOOKS {
        let mut connection = database();
        let counter = SqliteCounter::attach(&mut connection);
        set(&mut connection);
        assert_eq!(
            message_of(|| counter.counts()),
            format!(
                "the {name} that counts was replaced or taken out while it counted: what the \
                 connection did since is not known\n\
                 ask for the counts before the program sets a hook of its own, or count a \
                 connection on which it sets none"
            )
        );
        // The others of ours do no harm, and are not in the way of another attempt.
        assert!(message_of(|| SqliteCounter::attach(&mut connection)).contains(name));
        drop(connection);
        assert!(message_of(|| counter.counts()).contains(name));
    }
}

#[test]
fn a_hook_that_was_taken_away_and_put_back_left_a_gap() {
    let take_out: [(&str, SetHook); 2] = [
        ("commit hook", |connection| {
            connection
                .commit_hook(None::<fn() -> bool>)
                .expect("taken out");
        }),
        ("trace callback", |connection| {
            connection
                .trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>)
                .expect("taken out");
        }),
    ];
    for (name, take_out) in take_out {
        let mut connection = database();
        let before = SqliteCounter::attach(&mut connection);
        take_out(&mut connection);
        connection.execute_batch("DELETE FROM t").expect("deleted");
        let after = SqliteCounter::attach(&mut connection);
        connection
            .execute_batch("DELETE FROM keyed")
            .expect("deleted");
        assert_eq!(after.counts(), done(1, 2, 1));
        assert!(message_of(|| before.counts()).contains(name));
    }
}

#[test]
fn a_detached_connection_has_no_hooks_of_ours() {
    for (_, set) in HOOKS {
        let mut connection = database();
        let counter = SqliteCounter::attach(&mut connection);
        let other = counter.clone();
        counter.detach(&mut connection);
        message_of(|| other.counts());
        set(&mut connection);
        // Ours would be in the way of nothing: only the program's is.
        message_of(|| SqliteCounter::attach(&mut connection));
    }
    let mut connection = database();
    SqliteCounter::attach(&mut connection).detach(&mut connection);
    connection.execute_batch("DELETE FROM t").expect("deleted");
    let again = SqliteCounter::attach(&mut connection);
    connection
        .execute_batch("DELETE FROM keyed")
        .expect("deleted");
    assert_eq!(again.counts(), done(1, 2, 1));
}

#[test]
fn a_counter_is_detached_from_its_own_connection() {
    let (mut own, mut counted, mut plain) = (database(), database(), database());
    let counter = SqliteCounter::attach(&mut own);
    let _other = SqliteCounter::attach(&mut counted);
    for connection in [&mut counted, &mut plain] {
        let text = message_of(|| counter.clone().detach(connection));
        assert!(
            text.starts_with("the counter does not count this connection"),
            "{text}"
        );
    }
    own.execute_batch("DELETE FROM t").expect("deleted");
    assert_eq!(counter.counts(), done(1, 3, 1));
}

#[test]
fn a_counter_that_is_gone_leaves_a_connection_that_works() {
    let mut connection = database();
    drop(SqliteCounter::attach(&mut connection));
    let transaction = connection.transaction().expect("begun");
    transaction.execute("DELETE FROM t", []).expect("deleted");
    transaction.commit().expect("committed");
    let left: i64 = connection
        .query_one("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("counted");
    assert_eq!(left, 0);
    connection.close().expect("closed");
}

#[test]
fn a_gate_compares_what_it_names() {
    let counted = counts(|connection| connection.execute_batch("DELETE FROM t").expect("deleted"));
    Gate::counts("tests/sqlite-counts").exactly(
        [("commits", 1), ("rows_changed", 3), ("statements", 1)],
        counted,
    );
    let record = Gate::counts("tests/more-commits").check(
        SqliteCounts::new().commits(2),
        counted.only(["commits", "rollbacks"]),
    );
    assert_eq!(record.verdict, Verdict::Differs);
}
