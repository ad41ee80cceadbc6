//! Graphs of every shape that is offered.

use std::time::Duration;

use serde_json::{Value, json};
use work_queue::{Context, Handlers, Json, Node, Outcome, Query, Workflow, queue_noop};

use crate::fixture::{Fixture, options};

fn handlers() -> Handlers {
    Handlers::new()
        .on("echo", async |_: Context, input: Value| Ok(input))
        .on("double", async |_: Context, n: i64| Ok(2 * n))
        .on("sum", async |_: Context, numbers: Vec<i64>| {
            Ok(numbers.iter().sum::<i64>())
        })
        .on("name", async |context: Context, _: Value| {
            Ok(context.node().to_owned())
        })
        .on("where", async |context: Context, _: Value| {
            Ok(json!([context.element(), context.delivery()]))
        })
}

#[tokio::test]
async fn a_sequence_passes_values_on() {
    let workflow = Workflow::new("w")
        .node(Node::new("a", "double"))
        .node(Node::new("b", "double").after("a"))
        .node(Node::new("c", "double").after("b"));
    let fixture = Fixture::new(workflow, handlers()).await;
    assert_eq!(
        fixture.run("w", json!(5)).await,
        (Outcome::Completed, json!(40))
    );
}

#[tokio::test]
async fn a_fan_out_keeps_the_order_and_its_list_comes_in() {
    let workflow = Workflow::new("w")
        .node(Node::new("each", "double").over_input("/numbers"))
        .node(Node::new("all", "sum").after("each"))
        .node(Node::new("where", "where").after("each").over("each", ""));
    let fixture = Fixture::new(workflow, handlers()).await;
    let numbers: Vec<i64> = (0..1_000).collect();
    let (outcome, result) = fixture.run("w", json!({ "numbers": numbers })).await;
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!(result["all"], json!(999_000));
    let wheres: Vec<Value> = (0..1_000).map(|i| json!([i, 1])).collect();
    assert_eq!(result["where"], json!(wheres));
}

#[tokio::test]
async fn a_fan_in_gets_all_by_name() {
    let workflow = Workflow::new("w")
        .node(Node::new("left", "double"))
        .node(Node::new("right", "echo"))
        .node(Node::new("both", "echo").after("left").after("right"));
    let fixture = Fixture::new(workflow, handlers()).await;
    let expected = json!({ "left": 14, "right": 7 });
    assert_eq!(
        fixture.run("w", json!(7)).await,
        (Outcome::Completed, expected)
    );
}

#[tokio::test]
async fn only_the_taken_branch_runs() {
    let workflow = Workflow::new("w")
        .node(Node::new("start", "echo"))
        .node(Node::new("large", "name").after_when("start", "/size", "large"))
        .node(Node::new("more", "name").after("large"))
        .node(Node::new("other", "name").after_unless("start", "/size", "large"))
        .node(Node::new("end", "echo").after("more").after("other"));
    let fixture = Fixture::new(workflow, handlers()).await;
    for (size, expected) in [
        (json!("large"), json!({ "more": "more" })),
        (json!("small"), json!({ "other": "other" })),
        (json!(null), json!({ "other": "other" })),
    ] {
        let ended = fixture.run("w", json!({ "size": size })).await;
        assert_eq!(ended, (Outcome::Completed, expected));
    }
}

#[tokio::test]
async fn a_graph_whose_branches_are_all_not_taken_ends() {
    let workflow = Workflow::new("w")
        .node(Node::new("start", "echo"))
        .node(Node::new("never", "echo").after_when("start", "/a", 1))
        .node(Node::new("nor", "echo").after("never"));
    let fixture = Fixture::new(workflow, handlers()).await;
    assert_eq!(
        fixture.run("w", json!({ "a": 2 })).await,
        (Outcome::Completed, json!(null))
    );
}

#[tokio::test]
async fn an_empty_list_is_a_list() {
    let workflow = Workflow::new("w")
        .node(Node::new("each", "double").over_input(""))
        .node(Node::new("all", "sum").after("each"));
    let fixture = Fixture::new(workflow, handlers()).await;
    assert_eq!(
        fixture.run("w", json!([])).await,
        (Outcome::Completed, json!(0))
    );
}

#[tokio::test]
async fn what_is_no_list_fails_the_instance_with_the_node() {
    let workflow = Workflow::new("w").node(Node::new("each", "double").over_input("/numbers"));
    let fixture = Fixture::new(workflow, handlers()).await;
    let (outcome, result) = fixture.run("w", json!({ "numbers": 5 })).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(result["node"], "each");
    assert!(
        result["error"]
            .as_str()
            .is_some_and(|it| it.contains("/numbers")),
        "{result}"
    );
}

#[tokio::test]
async fn queue_noop_is_what_it_says() {
    let fixture = Fixture::new(queue_noop::workflow(16), queue_noop::handlers()).await;
    let mut instances = Vec::new();
    for _ in 0..50 {
        let input = queue_noop::input(16).to().expect("JSON");
        instances.push(fixture.create("queue-noop-16", input).await);
    }
    for instance in instances {
        let ended = fixture.end_of(instance).await;
        assert_eq!(ended, (Outcome::Completed, json!({ "n": 16, "sum": 120 })));
    }
    let metrics = fixture.engine.metrics();
    assert_eq!(metrics.actions_completed, 50 * 49);
    for table in ["action", "gate", "inbox"] {
        assert_eq!(
            fixture.ask(&format!("SELECT count(*) FROM {table}")),
            0,
            "{table}"
        );
    }
    let logged = "SELECT count(DISTINCT action) FROM action_log WHERE outcome = 'completed'";
    assert_eq!(fixture.ask(logged), 50 * 49);
    assert_eq!(fixture.ask("SELECT count(*) FROM action_log"), 50 * 49);
}

#[tokio::test]
async fn the_urgent_come_first_and_the_scheduled_not_before_their_time() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handlers = Handlers::new().on("tell", move |_: Context, n: i64| {
        _ = tell.send(n);
        async move { Ok(n) }
    });
    let mut options = crate::fixture::options();
    // One instance at a time.
    options.actions_enough = 1;
    options.workers = 1;
    let workflow = Workflow::new("w").node(Node::new("a", "tell"));
    let fixture = Fixture::with(options, workflow, handlers).await;
    let wait = std::time::Duration::from_millis(200);
    let now = std::time::Duration::ZERO;
    let inputs = [
        (1, 0, wait),
        (2, 0, now),
        (3, 7, now),
        (4, -7, now),
        (5, 0, now),
    ];
    let inputs = inputs.map(|(n, priority, wait): (i64, i16, _)| {
        (work_queue::Json::of(&n).expect("JSON"), priority, wait)
    });
    let begun = std::time::Instant::now();
    let made = fixture.engine.create_many("w", inputs.to_vec()).await;
    let made = made.expect("created");
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(told.recv().await.expect("told"));
    }
    assert_eq!(order, [3, 2, 5, 4]);
    assert_eq!(told.recv().await, Some(1));
    assert!(begun.elapsed() >= wait);
    for instance in made {
        assert_eq!(fixture.end_of(instance).await.0, Outcome::Completed);
    }
}

/// Instances that begin with many actions do not come faster than these can be run: what an engine
/// has no room for would wait in the database, and be claimed from there again.
#[tokio::test]
async fn wide_instances_are_started_as_there_is_room() {
    let workflow = Workflow::new("w").node(Node::new("each", "double").over_input(""));
    let mut options = options();
    options.actions_enough = 256;
    options.actions_max = 512;
    let fixture = Fixture::with(options, workflow, handlers()).await;
    let input = Json::of(&(0..16).collect::<Vec<_>>()).unwrap();
    let inputs = vec![(input, 0, Duration::ZERO); 400];
    let created = fixture.engine.create_many("w", inputs).await.unwrap();
    for instance in created {
        assert_eq!(fixture.end_of(instance).await.0, Outcome::Completed);
    }
    let queries = fixture.engine.metrics().queries;
    let claimed = queries
        .iter()
        .find(|(query, _)| *query == Query::ClaimActions);
    assert_eq!(claimed.map_or(0, |(_, times)| times.rows), 0);
}
