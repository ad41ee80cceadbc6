//! Engines that are killed while they work: every instance ends once, each effect is had, no
//! delivery is made twice.
//!
//! `CRASHES=200 cargo test -p work-queue --test it crashes` for more than the suite's 20.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use perfbudget::tmpfs_dir;
use serde_json::{Value, json};
use temporary_postgres::TemporaryPostgres;
use tokio_postgres::NoTls;
use work_queue::{
    Backoff, Context, Engine, Failure, Handlers, NewInstance, Options, Outcome, PostgresStore,
    RetryPolicy, SqliteStore, Store, Workflow, queue_noop,
};

use crate::fixture::HANG;

const LOOP: usize = 5;
const ACTIONS: usize = 3 * LOOP + 1;

/// Set in the processes that are killed: where the queue is, and the file of effects.
const PLACE: &str = "WORK_QUEUE_CRASH_PLACE";
const EFFECTS: &str = "WORK_QUEUE_CRASH_EFFECTS";

fn crashes() -> usize {
    env::var("CRASHES").map_or(20, |n| n.parse().expect("a number"))
}

/// `queue-noop`, whose failures are those of its workers.
fn workflow() -> Workflow {
    let mut workflow = queue_noop::workflow(LOOP);
    for node in &mut workflow.nodes {
        *node = node.clone().retry(RetryPolicy {
            deliveries_max: 1_000,
            backoff: Backoff::None,
        });
    }
    workflow
}

/// Handlers of `queue-noop` that note their delivery first, in one write.
fn handlers(effects: PathBuf) -> Handlers {
    let note = Arc::new(move |context: &Context| {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&effects)?;
        let line = format!("{} {}\n", context.action(), context.delivery());
        file.write_all(line.as_bytes())
    });
    let parity = |value: u64| {
        if value.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
    };
    let mut handlers = Handlers::new();
    for action in ["noop", "even", "odd", "tag", "combine"] {
        let note = Arc::clone(&note);
        handlers = handlers.on(action, move |context: Context, input: Value| {
            let noted = note(&context);
            async move {
                noted?;
                // Long enough to be killed in.
                tokio::time::sleep(Duration::from_micros(500)).await;
                let value = match (action, &input) {
                    ("combine", Value::Array(all)) => json!({
                        "n": all.len(),
                        "sum": all.iter().filter_map(|it| it["tag"].as_u64()).sum::<u64>(),
                    }),
                    ("tag", _) => json!({ "tag": input["value"] }),
                    ("noop", _) => {
                        let value = input.as_u64().unwrap_or(0);
                        json!({ "value": value, "parity": parity(value) })
                    }
                    _ => {
                        let before = input.as_object().and_then(|named| named.values().next());
                        let before = before.and_then(|value| value["value"].as_u64());
                        let value = before.map_or(1, |value| value + 1);
                        json!({ "value": value, "parity": parity(value) })
                    }
                };
                Ok::<_, Failure>(value)
            }
        });
    }
    handlers
}

/// The process that is killed: works until nothing is left.
#[test]
fn worker() {
    let (Ok(place), Ok(effects)) = (env::var(PLACE), env::var(EFFECTS)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if place.starts_with("postgres") {
            let store = PostgresStore::connect(&place).await.expect("a store");
            work(Arc::new(store), effects.into()).await;
        } else {
            let store = SqliteStore::open(place).expect("a store");
            work(Arc::new(store), effects.into()).await;
        }
    });
}

async fn work<S: Store>(store: Arc<S>, effects: PathBuf) {
    let mut options = Options::default();
    options.lease = Duration::from_millis(150);
    options.poll = Duration::from_millis(5);
    options.actions_enough = 40;
    let engine = Engine::builder(Arc::clone(&store))
        .handlers(handlers(effects))
        .options(options)
        .workflow(workflow())
        .start()
        .await
        .expect("an engine");
    loop {
        let counts = store.counts().await.expect("an answer");
        if counts.waiting == 0 && counts.running == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

/// Ends its process, whatever happens.
struct Worker(Child);

impl Worker {
    fn start(place: &str, effects: &Path) -> Self {
        let child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "crashes::worker", "--nocapture"])
            .env(PLACE, place)
            .env(EFFECTS, effects)
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Self(child)
    }

    fn kill(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }

    fn has_ended(&mut self) -> bool {
        match self.0.try_wait().expect("a child") {
            None => false,
            Some(status) => {
                assert!(status.success(), "a worker failed: {status}");
                true
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A small generator (xorshift64*): the same numbers everywhere.
fn below(state: &mut u64, n: u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
}

fn effects_so_far(effects: &Path) -> u64 {
    fs::metadata(effects).map_or(0, |file| file.len())
}

/// Kills one of so many workers after the other.
fn kill_and_finish(place: &str, effects: &Path, processes: usize, kills: usize) {
    let mut dice = 0x5eed;
    let mut workers: Vec<Worker> = Vec::new();
    workers.resize_with(processes, || Worker::start(place, effects));
    let until = Instant::now() + HANG * u32::try_from(1 + kills / 20).expect("few");
    for _ in 0..kills {
        // From three lines of the file to some hundred.
        let at = effects_so_far(effects) + 20 + below(&mut dice, 900);
        let victim = usize::try_from(below(&mut dice, processes as u64)).expect("an index");
        while effects_so_far(effects) < at && !workers[victim].has_ended() {
            assert!(Instant::now() < until, "nothing goes on");
            std::thread::sleep(Duration::from_micros(200));
        }
        workers[victim].kill();
        workers[victim] = Worker::start(place, effects);
    }
    while !workers.iter_mut().all(Worker::has_ended) {
        assert!(Instant::now() < until, "it ends");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a store says of the end: outcome and result of each instance, and each completion.
struct Ends {
    instances: Vec<(Option<String>, Option<String>)>,
    completed: Vec<i64>,
    left: i64,
}

fn check(ends: &Ends, effects: &Path, instances: usize) {
    assert_eq!(ends.instances.len(), instances);
    let expected = json!({ "n": LOOP, "sum": LOOP * (LOOP - 1) / 2 });
    for (outcome, result) in &ends.instances {
        assert_eq!(
            outcome.as_deref(),
            Some(Outcome::Completed.as_str()),
            "{result:?}"
        );
        let result: Value = serde_json::from_str(result.as_deref().unwrap_or("")).expect("JSON");
        assert_eq!(result, expected);
    }
    assert_eq!(ends.left, 0, "nothing is left behind");
    let actions: HashSet<i64> = ends.completed.iter().copied().collect();
    assert_eq!(
        ends.completed.len(),
        instances * ACTIONS,
        "each action is completed once"
    );
    assert_eq!(actions.len(), ends.completed.len());
    let mut deliveries: HashMap<(i64, u32), u32> = HashMap::new();
    for line in fs::read_to_string(effects).expect("effects").lines() {
        let (action, delivery) = line.split_once(' ').expect("two numbers");
        let delivery = (
            action.parse().expect("id"),
            delivery.parse().expect("delivery"),
        );
        *deliveries.entry(delivery).or_default() += 1;
    }
    let had: HashSet<i64> = deliveries.keys().map(|(action, _)| *action).collect();
    assert_eq!(
        had, actions,
        "each completed action had its effect, and no other"
    );
    // The kills met work: what was running is delivered again.
    let again = deliveries.keys().filter(|(_, delivery)| *delivery > 1);
    assert!(
        again.count() >= instances / 20,
        "hardly anything was interrupted"
    );
    let twice: Vec<_> = deliveries.iter().filter(|(_, n)| **n > 1).collect();
    assert!(
        twice.is_empty(),
        "delivered twice under one token: {twice:?}"
    );
}

fn new_instances(workflow: work_queue::WorkflowId, n: usize) -> Arc<[NewInstance]> {
    let new = NewInstance {
        workflow,
        input: queue_noop::input(LOOP),
        priority: 0,
        wait: Duration::ZERO,
    };
    vec![new; n].into()
}

async fn fill<S: Store>(store: &S, instances: usize) {
    let workflow = workflow();
    let definition = serde_json::to_string(&workflow).expect("JSON");
    let id = store.workflow(&workflow.name, &definition).await;
    let created = store
        .create(new_instances(id.expect("stored"), instances))
        .await;
    assert_eq!(created.expect("created").len(), instances);
}

fn sqlite(processes: usize, kills: usize) {
    let directory = tmpfs_dir();
    let place = directory.as_ref().join("queue.db");
    let effects = directory.as_ref().join("effects");
    let instances = 20 + 6 * kills;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let store = SqliteStore::open(&place).expect("a store");
    runtime.block_on(fill(&store, instances));
    drop(store);
    let at = place.to_str().expect("a name");
    kill_and_finish(at, &effects, processes, kills);
    let connection = rusqlite::Connection::open(&place).expect("opens");
    let rows = |query: &str| -> Vec<(Option<String>, Option<String>)> {
        let mut query = connection.prepare(query).expect("a query");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    };
    let completed = {
        let mut query = connection
            .prepare("SELECT action FROM action_log WHERE outcome = 'completed'")
            .expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    let ends = Ends {
        instances: rows("SELECT outcome, result FROM instance"),
        completed,
        left: connection
            .query_row(
                "SELECT (SELECT count(*) FROM action) + (SELECT count(*) FROM gate)
                    + (SELECT count(*) FROM inbox)",
                [],
                |row| row.get(0),
            )
            .expect("a number"),
    };
    check(&ends, &effects, instances);
}

#[test]
fn the_process_that_owns_the_file_is_killed() {
    sqlite(1, crashes());
}

#[test]
fn one_of_three_processes_on_a_file_is_killed() {
    sqlite(3, crashes());
}

/// Four processes on one server; one after the other is killed.
#[test]
fn one_of_four_processes_on_a_server_is_killed() {
    if temporary_postgres::left_out() {
        return;
    }
    let server = TemporaryPostgres::builder()
        .inside("/dev/shm")
        .start()
        .expect("a server");
    let database = server.fresh_database().expect("a database");
    let directory = tmpfs_dir();
    let effects = directory.as_ref().join("effects");
    let kills = crashes();
    let instances = 20 + 6 * kills;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = PostgresStore::connect(&database.url())
            .await
            .expect("a store");
        fill(&store, instances).await;
    });
    kill_and_finish(&database.url(), &effects, 4, kills);
    let ends = runtime.block_on(ends_on_the_server(&database.url()));
    check(&ends, &effects, instances);
}

async fn ends_on_the_server(url: &str) -> Ends {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
        .batch_execute("SET search_path = work_queue")
        .await
        .expect("set");
    let instances = client
        .query("SELECT outcome, result FROM instance", &[])
        .await;
    let completed = "SELECT action FROM action_log WHERE outcome = 'completed'";
    let completed = client.query(completed, &[]).await.expect("rows");
    let left = "SELECT (SELECT count(*) FROM action) + (SELECT count(*) FROM gate)
        + (SELECT count(*) FROM inbox)";
    let left = client.query_one(left, &[]).await.expect("a number");
    Ends {
        instances: instances
            .expect("rows")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect(),
        completed: completed.iter().map(|row| row.get(0)).collect(),
        left: left.get(0),
    }
}
