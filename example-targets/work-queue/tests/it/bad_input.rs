//! What can't work is said at the earliest place, with its name.

use std::sync::Arc;

use perfbudget::tmpfs_dir;
use serde_json::{Value, json};
use work_queue::{
    Backoff, Context, Engine, EngineError, Graph, GraphError, Handlers, Json, Node, RetryPolicy,
    SqliteStore, StoreError, Workflow,
};

use crate::fixture::{Fixture, database};

fn refused(workflow: &Workflow) -> GraphError {
    Graph::new(workflow).expect_err("not a graph")
}

#[test]
fn a_cycle_is_shown() {
    let workflow = Workflow::new("w")
        .node(Node::new("a", "x"))
        .node(Node::new("b", "x").after("a").after("d"))
        .node(Node::new("c", "x").after("b"))
        .node(Node::new("d", "x").after("c"));
    let error = refused(&workflow).to_string();
    assert_eq!(
        error,
        "nodes of workflow \"w\" wait for each other: b after d after c after b"
    );
    let own = Workflow::new("w").node(Node::new("a", "x").after("a"));
    assert!(refused(&own).to_string().ends_with("a after a"));
}

#[test]
fn an_unknown_predecessor_is_named_and_the_nearest_too() {
    let workflow = Workflow::new("w")
        .node(Node::new("thumbnail", "x"))
        .node(Node::new("page", "x").after("thumbnails"));
    let error = refused(&workflow).to_string();
    assert_eq!(
        error,
        "node \"page\" of workflow \"w\" is after \"thumbnails\", which is no node of it\n\
         did you mean \"thumbnail\"?"
    );
}

#[test]
fn what_else_makes_no_graph() {
    let node = || Node::new("a", "x");
    let w = || Workflow::new("w");
    assert!(matches!(refused(&w()), GraphError::Empty { .. }));
    let twice = w().node(node()).node(node());
    assert!(matches!(refused(&twice), GraphError::DuplicateNode { .. }));
    let edges = w()
        .node(node())
        .node(Node::new("b", "x").after("a").after_when("a", "", 1));
    assert!(matches!(refused(&edges), GraphError::DuplicateEdge { .. }));
    let list = w().node(node()).node(Node::new("b", "x").over("a", ""));
    assert!(matches!(refused(&list), GraphError::ForeignList { .. }));
    let pointer = w().node(node().over_input("values"));
    assert!(matches!(refused(&pointer), GraphError::Pointer { .. }));
    let never = RetryPolicy {
        deliveries_max: 0,
        backoff: Backoff::None,
    };
    assert!(matches!(
        refused(&w().node(node().retry(never))),
        GraphError::Never { .. }
    ));
    assert!(matches!(
        refused(&w().node(node().timeout_ms(0))),
        GraphError::Never { .. }
    ));
}

fn echo() -> Handlers {
    Handlers::new().on("echo", async |_: Context, input: Value| Ok(input))
}

#[tokio::test]
async fn an_action_without_a_handler_is_refused_at_the_start() {
    let directory = tmpfs_dir();
    let store = SqliteStore::open(database(&directory)).expect("a store");
    let error = Engine::builder(Arc::new(store))
        .handlers(echo())
        .workflow(Workflow::new("w").node(Node::new("a", "eko")))
        .start()
        .await
        .expect_err("no handler");
    assert_eq!(
        error.to_string(),
        "node \"a\" of workflow \"w\" runs \"eko\", which has no handler\nthere are: echo"
    );
}

#[tokio::test]
async fn an_input_of_ten_mebibytes_and_an_unknown_workflow_are_refused() {
    let workflow = Workflow::new("w").node(Node::new("a", "echo"));
    let fixture = Fixture::new(workflow, echo()).await;
    let large = Json::of(&"x".repeat(10 << 20)).expect("JSON");
    let error = fixture
        .engine
        .create("w", large)
        .await
        .expect_err("too large");
    assert!(
        matches!(
            error,
            EngineError::InputTooLarge {
                bytes: 10_485_762,
                max: 1_048_576
            }
        ),
        "{error}"
    );
    let error = fixture.engine.create("v", Json::null()).await;
    let error = error.expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "workflow \"v\" is not known to this engine"
    );
    let error = fixture.engine.wait(work_queue::InstanceId(77)).await;
    assert!(matches!(error, Err(EngineError::UnknownInstance(_))));
    assert_eq!(fixture.ask("SELECT count(*) FROM instance"), 0);
    _ = json!(null);
}

fn opening(prepare: impl FnOnce(&rusqlite::Connection)) -> StoreError {
    let directory = tmpfs_dir();
    let path = database(&directory);
    let connection = rusqlite::Connection::open(&path).expect("opens");
    prepare(&connection);
    drop(connection);
    SqliteStore::open(&path).expect_err("refused")
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let error = opening(|it| it.execute_batch("CREATE TABLE guest (name)").expect("made"));
    let text = error.to_string();
    assert!(text.contains("a database of another program"), "{text}");
    let error = opening(|it| it.pragma_update(None, "application_id", 7).expect("set"));
    assert!(error.to_string().contains("another program"), "{error}");
    let directory = tmpfs_dir();
    std::fs::write(
        database(&directory),
        "no database at all, but long enough to be looked at",
    )
    .expect("written");
    let error = SqliteStore::open(database(&directory)).expect_err("refused");
    assert!(
        error.to_string().contains("file is not a database"),
        "{error}"
    );
    let error = SqliteStore::open(directory.as_ref().join("missing/queue.db"));
    let error = error.expect_err("refused").to_string();
    assert!(
        error.contains("missing/queue.db: unable to open"),
        "{error}"
    );
}

#[test]
fn a_newer_version_is_refused_with_both_numbers() {
    let directory = tmpfs_dir();
    drop(SqliteStore::open(database(&directory)).expect("made"));
    // Opening it again changes nothing.
    drop(SqliteStore::open(database(&directory)).expect("opened"));
    let connection = rusqlite::Connection::open(database(&directory)).expect("opens");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("set");
    drop(connection);
    let error = SqliteStore::open(database(&directory)).expect_err("refused");
    let text = error.to_string();
    assert!(
        text.contains("version 99, this program knows up to 1"),
        "{text}"
    );
}
