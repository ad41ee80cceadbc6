//! PostgreSQL: a cluster of its own in a temporary directory, on a socket there and on no network,
//! which ends with the study.
//!
//! The server counts its syncs of the write-ahead log itself; where the kernel grants a scope it
//! watches the server as a child and tells the process that serves the session from the others.

mod session;

use std::thread;
use std::time::Duration;

use session::Session;
use temporary_postgres::{Stop, TemporaryPostgres};

use crate::drive::{MARKS, Marks};
use crate::phases::cut;
use crate::results::{Postgres, PostgresRow, PostgresRun, Spread};
use crate::{Result, SyncCall, Tally, scopes};

/// How often each row is measured; all on one cluster, after a round that is not counted.
const ROUNDS: usize = 3;

/// Rows of the table: what the session does between two marks.
struct Step {
    name: &'static str,
    /// Before the mark.
    prepare: &'static str,
    statement: &'static str,
    /// How often.
    commits: u64,
    /// How long the window goes on, for the work that the server does later.
    wait: Duration,
}

const INSERT: &str = "INSERT INTO rows (value) VALUES ('a small value')";
const ON: &str = "SET synchronous_commit = on";
const OFF: &str = "SET synchronous_commit = off";

const STEPS: [Step; 5] = [
    Step {
        name: "`synchronous_commit = on` (default), one `INSERT`",
        prepare: ON,
        statement: INSERT,
        commits: 20,
        wait: Duration::ZERO,
    },
    Step {
        name: "`on`, a transaction of 100 `INSERT`s",
        prepare: ON,
        statement: "",
        commits: 5,
        wait: Duration::ZERO,
    },
    Step {
        name: "`on`, `CREATE TABLE`",
        prepare: "DROP TABLE IF EXISTS another",
        statement: "CREATE TABLE another (value text)",
        commits: 1,
        wait: Duration::ZERO,
    },
    // Twice the server's default wal_writer_delay of 200 ms, and more.
    Step {
        name: "`synchronous_commit = off`, one `INSERT`",
        prepare: OFF,
        statement: INSERT,
        commits: 20,
        wait: Duration::from_secs(1),
    },
    Step {
        name: "`CHECKPOINT`",
        prepare: ON,
        statement: "CHECKPOINT",
        commits: 1,
        wait: Duration::ZERO,
    },
];

/// Runs it, or says why it can't be run here.
///
/// # Errors
/// When PostgreSQL is there and something goes wrong, or counts differ between the rounds that no
/// background process explains.
pub fn run(with_kernel: bool) -> Result<Postgres> {
    if !temporary_postgres::is_installed() {
        return Ok(Postgres::NotRun("PostgreSQL is not installed".into()));
    }
    // What would work in the background at times of its own choosing is put off. The server is
    // started where it is measured: a kernel scope watches what is started in it.
    let mut cluster = TemporaryPostgres::builder()
        .setting("autovacuum", "off")
        .setting("checkpoint_timeout", "1d")
        .create()?;
    let root = cluster.socket_directory().to_path_buf();
    let watched = if with_kernel {
        let (told, calls, incomplete) = scopes::observe_processes(&root, || measure(&mut cluster))?;
        (told, Some(calls), incomplete)
    } else {
        (measure(&mut cluster)?, None, Vec::new())
    };
    let (told, calls, incomplete) = watched;
    let rows = rows(&told, calls)?;
    Ok(Postgres::Ran(PostgresRun {
        version: told.version,
        source: told.source,
        without_kernel: (!with_kernel).then(|| "the study ran without it".to_owned()),
        incomplete,
        rows,
    }))
}

/// What the server told.
struct Told {
    version: String,
    source: String,
    /// The process that served the session.
    backend: u32,
    /// For each round and each step, how often the log was synced.
    wal_syncs: Vec<[u64; STEPS.len()]>,
}

/// Starts the server, goes through the steps and ends it.
fn measure(cluster: &mut TemporaryPostgres) -> Result<Told> {
    let mut marks = Marks::new(cluster.socket_directory())?;
    cluster.start_again()?;
    let mut session = Session::open(cluster)?;
    let statistics = Statistics::of(&mut session)?;
    session.run("SET client_min_messages = warning")?;
    let backend = session.one("SELECT pg_backend_pid()")?.parse()?;
    session.run("CREATE TABLE rows (key serial PRIMARY KEY, value text)")?;
    marks.set("begin")?;
    let mut wal_syncs = Vec::new();
    // The first round warms up: files that a first statement makes or extends.
    for round in 0..=ROUNDS {
        let mut of_steps = [0; STEPS.len()];
        for (at, step) in STEPS.iter().enumerate() {
            session.run(step.prepare)?;
            let before = statistics.read(&mut session)?;
            marks.set(format!("{round}-{at}-before"))?;
            for _ in 0..step.commits {
                if step.statement.is_empty() {
                    session.run("BEGIN")?;
                    for _ in 0..crate::drive::ROWS {
                        session.run(INSERT)?;
                    }
                    session.run("COMMIT")?;
                } else {
                    session.run(step.statement)?;
                }
            }
            thread::sleep(step.wait);
            marks.set(format!("{round}-{at}"))?;
            of_steps[at] = statistics.read(&mut session)? - before;
        }
        if round > 0 {
            wal_syncs.push(of_steps);
        }
    }
    session.close()?;
    cluster.stop(Stop::Fast)?;
    Ok(Told {
        version: statistics.server,
        source: statistics.source.to_owned(),
        backend,
        wal_syncs,
    })
}

/// The server's own counts, by the version that it is.
struct Statistics {
    server: String,
    source: &'static str,
    query: &'static str,
    settle: Option<Duration>,
}

impl Statistics {
    fn of(session: &mut Session) -> Result<Self> {
        let number: u32 = session.one("SHOW server_version_num")?.parse()?;
        let server = session.one("SHOW server_version")?;
        let server = server.split(' ').next().unwrap_or_default().to_owned();
        if number < 140_000 {
            return Err(format!("PostgreSQL {server} has no pg_stat_wal; 14 has").into());
        }
        let statistics = |source, query, settle| Self {
            server,
            source,
            query,
            settle,
        };
        Ok(match number {
            // Its counts reach the view by way of a process, half a second later.
            140_000..150_000 => statistics(
                "`pg_stat_wal.wal_sync`",
                "SELECT wal_sync FROM pg_stat_wal",
                Some(Duration::from_millis(1_500)),
            ),
            150_000..180_000 => statistics(
                "`pg_stat_wal.wal_sync`",
                "SELECT wal_sync FROM pg_stat_wal",
                None,
            ),
            _ => statistics(
                "`pg_stat_io.fsyncs` of the object `wal`",
                "SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'",
                None,
            ),
        })
    }

    fn read(&self, session: &mut Session) -> Result<u64> {
        match self.settle {
            Some(wait) => thread::sleep(wait),
            None => {
                session.one("SELECT 1 FROM pg_stat_force_next_flush()")?;
            }
        }
        Ok(session.one(self.query)?.parse()?)
    }
}

/// Both sides put together.
fn rows(told: &Told, calls: Option<Vec<SyncCall>>) -> Result<Vec<PostgresRow>> {
    let names: Vec<String> = (0..=ROUNDS)
        .flat_map(|round| {
            (0..STEPS.len())
                .flat_map(move |at| [format!("{round}-{at}-before"), format!("{round}-{at}")])
        })
        .collect();
    let windows = match calls {
        // What came before the first mark was the start of the server.
        Some(calls) => {
            let begin = format!("{MARKS}/000-begin");
            let calls: Vec<SyncCall> = calls
                .into_iter()
                .skip_while(|call| call.path.as_deref() != Some(begin.as_str()))
                .collect();
            Some(cut("the kernel scope", calls, &names)?.phases)
        }
        None => None,
    };
    let mut rows = Vec::new();
    for (at, step) in STEPS.iter().enumerate() {
        let of_rounds: Vec<&Vec<SyncCall>> = windows
            .iter()
            .flat_map(|windows| {
                (1..=ROUNDS).map(move |round| &windows[2 * (round * STEPS.len() + at) + 1])
            })
            .collect();
        let spread = |own: bool| {
            Spread::of(of_rounds.iter().map(|calls| {
                Tally::of(
                    calls
                        .iter()
                        .filter(|call| (call.process == Some(told.backend)) == own),
                )
            }))
        };
        let syncs = told.wal_syncs.iter().map(|round| round[at]);
        let row = PostgresRow {
            name: step.name.to_owned(),
            commits: step.commits,
            wal_syncs: (
                syncs.clone().min().unwrap_or_default(),
                syncs.max().unwrap_or_default(),
            ),
            own: spread(true),
            others: spread(false),
            waited_ms: step.wait.as_millis().try_into()?,
            calls: of_rounds
                .first()
                .map(|calls| by_call(calls))
                .unwrap_or_default(),
        };
        check(&row)?;
        rows.push(row);
    }
    Ok(rows)
}

/// What the session's own process does must be the same in every round; what the background
/// processes do need not.
fn check(row: &PostgresRow) -> Result<()> {
    if let Some(own) = row.own
        && own.exact().is_none()
    {
        return Err(format!(
            "PostgreSQL, {}: the session's process synced {} … {} in rounds that did the same",
            row.name, own.low, own.high
        )
        .into());
    }
    Ok(())
}

/// Without the number of a table's file.
fn without_relation(call: &SyncCall) -> SyncCall {
    let path = call.path.as_deref().map(|path| {
        if path.starts_with("data/base/") || path.starts_with("data/global/") {
            let (folder, _) = path.rsplit_once('/').unwrap_or((path, ""));
            let folder = folder.trim_end_matches(|c: char| c.is_ascii_digit() || c == '/');
            format!("{folder}/(relation)")
        } else {
            path.to_owned()
        }
    });
    SyncCall {
        path,
        ..call.clone()
    }
}

/// `fdatasync` of which files how often, most first.
fn by_call(calls: &[SyncCall]) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for call in calls {
        let words = without_relation(call).describe("data");
        match counted.iter_mut().find(|(other, _)| *other == words) {
            Some((_, n)) => *n += 1,
            None => counted.push((words, 1)),
        }
    }
    counted.sort_by(|(one, n), (other, m)| m.cmp(n).then_with(|| one.cmp(other)));
    counted
        .into_iter()
        .map(|(words, n)| match n {
            1 => words,
            n => format!("{n} × {words}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    fn call(path: &str, process: u32) -> SyncCall {
        SyncCall {
            call: "fdatasync".to_owned(),
            class: Class::File,
            weak: false,
            path: Some(path.to_owned()),
            process: Some(process),
        }
    }

    const BACKEND: u32 = 7;

    fn told() -> Told {
        Told {
            version: "15".to_owned(),
            source: "pg_stat_wal".to_owned(),
            backend: BACKEND,
            wal_syncs: vec![[20, 5, 1, 2, 0], [20, 5, 1, 3, 0], [20, 5, 1, 2, 0]],
        }
    }

    /// What a kernel scope would see: at each step that many syncs by the session's process, and
    /// one by another.
    fn calls(own: impl Fn(usize, usize) -> usize) -> Vec<SyncCall> {
        let mut calls = vec![call("data/pg_wal/(number)", 3)];
        let mut marks = 0;
        let mut mark = |name: &str, calls: &mut Vec<SyncCall>| {
            calls.push(call(&format!("{MARKS}/{marks:03}-{name}"), 1));
            marks += 1;
        };
        mark("begin", &mut calls);
        for round in 0..=ROUNDS {
            for at in 0..STEPS.len() {
                mark(&format!("{round}-{at}-before"), &mut calls);
                for _ in 0..own(round, at) {
                    calls.push(call("data/pg_wal/(number)", BACKEND));
                }
                calls.push(call("data/base/5/1247_vm", 9));
                mark(&format!("{round}-{at}"), &mut calls);
            }
        }
        calls
    }

    #[test]
    fn the_session_is_told_from_the_rest_of_the_server() {
        let rows = rows(&told(), Some(calls(|_, at| at))).unwrap();
        assert_eq!(rows.len(), STEPS.len());
        assert_eq!(rows[2].own.unwrap().exact().unwrap().files, 2);
        assert_eq!(rows[2].others.unwrap().exact().unwrap().files, 1);
        assert_eq!(rows[3].wal_syncs, (2, 3));
        assert_eq!(
            rows[2].calls,
            [
                "2 × `fdatasync` pg_wal/(number)",
                "`fdatasync` base/(relation)"
            ]
        );
    }

    #[test]
    fn a_session_that_syncs_more_in_one_round_is_an_error() {
        let uneven = calls(|round, at| usize::from(round == 2 && at == 0));
        let error = rows(&told(), Some(uneven)).err().unwrap();
        assert!(
            error.to_string().contains("in rounds that did the same"),
            "{error}"
        );
        // The first round only warms up.
        rows(&told(), Some(calls(|round, _| usize::from(round == 0)))).unwrap();
    }

    #[test]
    fn without_a_kernel_scope_there_is_what_the_server_told() {
        let rows = rows(&told(), None).unwrap();
        assert_eq!(rows[0].wal_syncs, (20, 20));
        assert_eq!(rows[0].own, None);
    }
}
