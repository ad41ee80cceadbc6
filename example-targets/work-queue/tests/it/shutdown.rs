//! Ending an engine: bounded, and nothing is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;
use work_queue::{
    Context, Engine, Handlers, Node, Outcome, ShutdownReport, SqliteStore, Workflow, queue_noop,
};

use crate::fixture::{Fixture, HANG, database, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_middle_of_the_work_it_ends_at_once_and_another_goes_on() {
    let fixture = Fixture::new(queue_noop::workflow(16), queue_noop::handlers()).await;
    let mut inputs = vec![(queue_noop::input(16), 0, Duration::ZERO)];
    inputs.resize(300, inputs[0].clone());
    let made = fixture.engine.create_many("queue-noop-16", inputs).await;
    let made = made.expect("created");
    while fixture.engine.metrics().actions_completed < 1_000 {
        tokio::task::yield_now().await;
    }
    let Fixture { directory, engine } = fixture;
    let begun = Instant::now();
    let report = engine.shutdown(Duration::from_secs(5)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let clean = ShutdownReport {
        stopped: 0,
        unwritten: 0,
    };
    assert_eq!(report, clean);

    let store = Arc::new(SqliteStore::open(database(&directory)).expect("opens"));
    let engine = Engine::builder(store)
        .handlers(queue_noop::handlers())
        .options(options())
        .workflow(queue_noop::workflow(16))
        .start()
        .await
        .expect("an engine");
    for instance in made {
        let ended = tokio::time::timeout(HANG, engine.wait(instance)).await;
        let (outcome, result) = ended.expect("it ends").expect("it exists");
        assert_eq!(outcome, Outcome::Completed);
        assert_eq!(
            result.to::<Value>().expect("JSON"),
            json!({ "n": 16, "sum": 120 })
        );
    }
    engine.shutdown(Duration::from_secs(5)).await;
    let connection = rusqlite::Connection::open(database(&directory)).expect("opens");
    let log: (i64, i64) = connection
        .query_row(
            "SELECT count(*), count(DISTINCT action) FROM action_log",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("an answer");
    assert_eq!(log, (300 * 49, 300 * 49), "each action was completed once");
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_stopped_and_its_action_given_back() {
    let begun_running = Arc::new(Notify::new());
    let tell = Arc::clone(&begun_running);
    let handlers = Handlers::new().on("wait", move |_: Context, _: Value| {
        tell.notify_one();
        std::future::pending::<Result<(), _>>()
    });
    let workflow = Workflow::new("w").node(Node::new("a", "wait"));
    let fixture = Fixture::new(workflow, handlers).await;
    fixture.create("w", json!(0)).await;
    begun_running.notified().await;
    let Fixture { directory, engine } = fixture;
    let begun = Instant::now();
    let report = engine.shutdown(Duration::from_millis(100)).await;
    assert_eq!(
        report,
        ShutdownReport {
            stopped: 1,
            unwritten: 0
        }
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
    let connection = rusqlite::Connection::open(database(&directory)).expect("opens");
    let owner: i64 = connection
        .query_row("SELECT owner FROM action", [], |row| row.get(0))
        .expect("one action");
    assert_eq!(owner, 0, "anyone may have it");
}
