//! The tables, and how an older database gets them.
//!
//! All stand in a schema of their own, so that a queue can share a database with others.
//!
//! # Churn
//!
//! An action's row lives for some milliseconds. What is on its way to a worker stands in no index
//! but the primary key: the partial ones are for what nobody has. Dead rows are made room of early
//! (see [`vacuum`](super::vacuum)), and never by cutting off the file's end, which would stop
//! everyone else.

use deadpool_postgres::tokio_postgres::Transaction;

use super::failure::Failure;

/// Who made the schema.
const APPLICATION: &str = "work-queue";

/// The oldest server that has all that is used.
const SERVER_MIN: i32 = 130_000;

/// What brings a schema from one version to the next; the first makes it from nothing.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE workflow (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        definition text NOT NULL
    );
    -- owner: a session; 0 nobody, due; -1 nobody, not before due_at; NULL started.
    CREATE TABLE instance (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workflow bigint NOT NULL,
        owner bigint,
        due_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        claim integer NOT NULL DEFAULT 0,
        priority smallint NOT NULL,
        outcome text,
        input text NOT NULL,
        result text
    );
    CREATE INDEX instance_free ON instance (priority DESC, id) WHERE owner = 0;
    CREATE INDEX instance_waiting ON instance (due_at) WHERE owner = -1;
    CREATE INDEX instance_claimed ON instance (owner) WHERE owner > 0;
    CREATE TABLE action (
        id bigint PRIMARY KEY,
        instance bigint NOT NULL,
        owner bigint NOT NULL,
        due_at timestamptz,
        node integer NOT NULL,
        delivery integer NOT NULL,
        element integer,
        elements integer,
        priority smallint NOT NULL,
        input text NOT NULL,
        carried text
    );
    CREATE INDEX action_free ON action (priority DESC, id) WHERE owner = 0;
    CREATE INDEX action_waiting ON action (due_at) WHERE owner = -1;
    -- latest: how many arrived last, for the arithmetic of an upsert.
    CREATE TABLE gate (
        instance bigint NOT NULL,
        gate integer NOT NULL,
        missing integer NOT NULL,
        latest integer NOT NULL,
        PRIMARY KEY (instance, gate)
    ) WITH (fillfactor = 50);
    CREATE TABLE inbox (
        instance bigint NOT NULL,
        part bigint NOT NULL,
        gate integer NOT NULL,
        entries text NOT NULL,
        PRIMARY KEY (instance, gate, part)
    );
    CREATE TABLE session (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        lease_until timestamptz NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE lane (
        session bigint NOT NULL,
        number bigint NOT NULL,
        lane integer NOT NULL,
        PRIMARY KEY (session, lane)
    ) WITH (fillfactor = 10);
    CREATE TABLE sequence (
        name text PRIMARY KEY,
        next bigint NOT NULL
    );
    INSERT INTO sequence (name, next) VALUES ('number', 1);
    CREATE TABLE log (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        entries text NOT NULL
    );
    CREATE VIEW action_log AS
        SELECT log.at AS at,
            (entry ->> 0)::bigint AS action,
            (entry ->> 1)::bigint AS instance,
            (entry ->> 2)::integer AS node,
            nullif((entry ->> 3)::integer, -1) AS element,
            (entry ->> 4)::integer AS delivery,
            entry ->> 5 AS outcome,
            (entry ->> 6)::bigint AS ran_us,
            entry ->> 7 AS error
        FROM log,
            -- A text can't have a zero in it.
            json_array_elements(replace(log.entries, '\\u0000', '\\ufffd')::json) AS entry;
    -- Values are gone in a moment, or are read as often as written: not worth compressing.
    ALTER TABLE action ALTER input SET STORAGE EXTERNAL;
    ALTER TABLE inbox ALTER entries SET STORAGE EXTERNAL;
    ALTER TABLE log ALTER entries SET STORAGE EXTERNAL;
    ALTER TABLE instance SET (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
    ALTER TABLE action SET (autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_cost_delay = 0,
        vacuum_truncate = off);
    ALTER TABLE gate SET (autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 50000, autovacuum_vacuum_cost_delay = 0,
        vacuum_truncate = off);
    ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 50000, autovacuum_vacuum_cost_delay = 0,
        vacuum_truncate = off);
    -- What a batch calls when something of it is out of date: nothing of it is applied then.
    CREATE FUNCTION refuse() RETURNS bigint LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION USING ERRCODE = 'WQ001', MESSAGE = 'the batch is out of date';
        END
    $$;
"];

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a handful"
)]
const VERSION: i32 = MIGRATIONS.len() as i32;

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("schema {0:?} belongs to another program\nchoose another one")]
    Foreign(String),
    #[error(
        "schema {schema:?} has version {found}, this program knows up to {VERSION}\nuse a newer one"
    )]
    Newer { schema: String, found: i32 },
    #[error("the server is PostgreSQL {found}, the oldest that works is 13\nuse a newer one")]
    OldServer { found: String },
    #[error("the database's encoding is {0}\nuse one that was created with ENCODING 'UTF8'")]
    Encoding(String),
}

/// Brings the schema up to date, however many processes do so at once.
pub(super) async fn bring_up_to_date(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<(), Failure> {
    check_server(transaction).await?;
    if version(transaction, schema).await? == VERSION {
        return Ok(());
    }
    transaction
        .execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            &[&format!("{APPLICATION} {schema}")],
        )
        .await?;
    // Another process may have done it meanwhile.
    let version = version(transaction, schema).await?;
    if version == 0 {
        transaction
            .batch_execute(&format!(
                "CREATE SCHEMA IF NOT EXISTS {schema};
                 CREATE TABLE {schema}.about (application text NOT NULL, version integer NOT NULL);
                 INSERT INTO {schema}.about (application, version) VALUES ('{APPLICATION}', 0)",
                schema = quoted(schema)
            ))
            .await?;
    }
    let first = usize::try_from(version).unwrap_or(0);
    for migration in &MIGRATIONS[first..] {
        transaction.batch_execute(migration).await?;
    }
    transaction
        .execute("UPDATE about SET version = $1", &[&VERSION])
        .await?;
    Ok(())
}

async fn check_server(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let row = transaction
        .query_one(
            "SELECT current_setting('server_version_num')::integer,
                 current_setting('server_version'), current_setting('server_encoding')",
            &[],
        )
        .await?;
    let (number, found, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < SERVER_MIN {
        return Err(SchemaError::OldServer { found }.into());
    }
    if encoding != "UTF8" {
        return Err(SchemaError::Encoding(encoding).into());
    }
    Ok(())
}

/// What version the schema has; 0 for one that is empty or not there.
async fn version(transaction: &Transaction<'_>, schema: &str) -> Result<i32, Failure> {
    let row = transaction
        .query_one(
            "SELECT count(*) > 0, coalesce(bool_or(relname = 'about'), false)
             FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)",
            &[&schema],
        )
        .await?;
    let (has_something, has_about): (bool, bool) = (row.get(0), row.get(1));
    if !has_something {
        return Ok(0);
    }
    let foreign = || Failure::from(SchemaError::Foreign(schema.to_owned()));
    if !has_about {
        return Err(foreign());
    }
    let row = transaction
        .query_one(
            "SELECT count(*) = 2 FROM information_schema.columns
             WHERE table_schema = $1 AND table_name = 'about'
                 AND column_name IN ('application', 'version')",
            &[&schema],
        )
        .await?;
    if !row.get::<_, bool>(0) {
        return Err(foreign());
    }
    let row = transaction
        .query_opt(
            "SELECT version FROM about WHERE application = $1",
            &[&APPLICATION],
        )
        .await?;
    let found: i32 = row.ok_or_else(foreign)?.get(0);
    if found > VERSION {
        let schema = schema.to_owned();
        return Err(SchemaError::Newer { schema, found }.into());
    }
    Ok(found)
}

/// A name as it stands in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
