//! Handlers that fail, panic, wait for ever or block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use work_queue::{Backoff, Context, Failure, Handlers, Node, Outcome, RetryPolicy, Workflow};

use crate::fixture::{Fixture, options};

fn retry(deliveries_max: u32, backoff: Backoff) -> RetryPolicy {
    RetryPolicy {
        deliveries_max,
        backoff,
    }
}

fn one(node: Node) -> Workflow {
    Workflow::new("w").node(node)
}

/// Fails until the n-th delivery.
fn fails_until(n: u32) -> Handlers {
    Handlers::new().on("try", move |context: Context, _: Value| async move {
        match context.delivery() {
            delivery if delivery < n => Err(Failure::retry(format!("not the {n}-th"))),
            delivery => Ok(delivery),
        }
    })
}

#[tokio::test]
async fn a_failure_is_tried_again_after_its_wait() {
    let backoff = Backoff::Linear {
        step_ms: 30,
        max_ms: 1_000,
    };
    let node = Node::new("a", "try").retry(retry(3, backoff));
    let fixture = Fixture::new(one(node), fails_until(3)).await;
    let begun = Instant::now();
    assert_eq!(
        fixture.run("w", json!(0)).await,
        (Outcome::Completed, json!(3))
    );
    assert!(begun.elapsed() >= Duration::from_millis(30 + 60));
    let log = "SELECT count(*) FROM action_log WHERE outcome = 'failed' AND error LIKE 'not the%'";
    assert_eq!(fixture.ask(log), 2);
}

#[tokio::test]
async fn the_last_failure_fails_the_instance_and_says_why() {
    let node = Node::new("a", "try").retry(retry(2, Backoff::None));
    let fixture = Fixture::new(one(node), fails_until(9)).await;
    let (outcome, result) = fixture.run("w", json!(0)).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(result["error"], "not the 9-th");
    assert_eq!(result["deliveries"], 2);
    assert_eq!(
        (&result["node"], &result["action"]),
        (&json!("a"), &json!("try"))
    );
}

#[tokio::test]
async fn a_fatal_failure_is_not_tried_again() {
    let handlers = Handlers::new().on("try", async |_: Context, _: Value| {
        Err::<(), _>(Failure::fatal("no such picture"))
    });
    let fixture = Fixture::new(one(Node::new("a", "try")), handlers).await;
    let (outcome, result) = fixture.run("w", json!(0)).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(result["deliveries"], 1);
}

#[tokio::test]
async fn a_panic_is_a_failure_and_the_others_go_on() {
    let handlers = Handlers::new().on("try", async |context: Context, n: u32| {
        assert!(n != 3 || context.delivery() > 1, "three is too many");
        Ok(n)
    });
    let node = Node::new("a", "try")
        .over_input("")
        .retry(retry(2, Backoff::None));
    let fixture = Fixture::new(one(node), handlers).await;
    let ended = fixture.run("w", json!([1, 2, 3, 4])).await;
    assert_eq!(ended, (Outcome::Completed, json!([1, 2, 3, 4])));
    let log = "SELECT count(*) FROM action_log WHERE error LIKE '%panicked: three is too many%'";
    assert_eq!(fixture.ask(log), 1);
}

#[tokio::test]
async fn what_never_returns_times_out() {
    let handlers = Handlers::new().on("try", async |context: Context, _: Value| {
        if context.delivery() == 1 {
            std::future::pending::<()>().await;
        }
        Ok("at last")
    });
    let node = Node::new("a", "try")
        .timeout_ms(40)
        .retry(retry(2, Backoff::None));
    let fixture = Fixture::new(one(node), handlers).await;
    let ended = fixture.run("w", json!(0)).await;
    assert_eq!(ended, (Outcome::Completed, json!("at last")));
    let log = "SELECT count(*) FROM action_log WHERE error LIKE '%did not end within 40 ms%'";
    assert_eq!(fixture.ask(log), 1);
}

/// One that never gives the thread back, which no runtime can take from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_blocks_its_thread_times_out_and_others_go_on() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let handlers = Handlers::new().on("try", move |context: Context, n: u32| {
        if n == 1 && context.delivery() == 1 {
            _ = blocked.lock().expect("no panic").recv();
        }
        async move { Ok(n) }
    });
    let node = Node::new("a", "try")
        .over_input("")
        .timeout_ms(50)
        .retry(retry(2, Backoff::None));
    let mut options = options();
    options.workers = 1;
    let fixture = Fixture::with(options, one(node), handlers).await;
    let ended = fixture.run("w", json!([0, 1, 2, 3])).await;
    assert_eq!(ended, (Outcome::Completed, json!([0, 1, 2, 3])));
    drop(release);
}

#[tokio::test]
async fn siblings_of_a_failure_have_no_effect_any_more() {
    let ran = Arc::new(AtomicU32::new(0));
    let handlers = Handlers::new()
        .on("fail", async |_: Context, _: Value| {
            Err::<(), _>(Failure::fatal("on purpose"))
        })
        .on("later", {
            let ran = Arc::clone(&ran);
            move |_: Context, _: Value| {
                ran.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            }
        })
        .on("wait", async |_: Context, _: Value| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        });
    let workflow = Workflow::new("w")
        .node(Node::new("bad", "fail"))
        .node(Node::new("slow", "wait"))
        .node(Node::new("after", "later").after("slow"));
    let fixture = Fixture::new(workflow, handlers).await;
    let (outcome, result) = fixture.run("w", json!(0)).await;
    assert_eq!(
        (outcome, &result["error"]),
        (Outcome::Failed, &json!("on purpose"))
    );
    let until = Instant::now() + crate::fixture::HANG;
    while fixture.ask("SELECT count(*) FROM action") > 0 {
        assert!(Instant::now() < until, "its actions go");
        tokio::task::yield_now().await;
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(
        fixture.ask("SELECT count(*) FROM instance WHERE outcome = 'failed'"),
        1
    );
}

#[tokio::test]
async fn a_value_of_ten_mebibytes_is_refused_with_its_size() {
    let handlers = Handlers::new().on("try", async |_: Context, n: usize| Ok("x".repeat(n)));
    let fixture = Fixture::new(one(Node::new("a", "try")), handlers).await;
    let (outcome, result) = fixture.run("w", json!(10 << 20)).await;
    assert_eq!(outcome, Outcome::Failed);
    let error = result["error"].as_str().unwrap_or_default();
    assert_eq!(
        error,
        "its value has 10485762 bytes (at most 1048576 are allowed)"
    );
    // One that is allowed.
    let (outcome, result) = fixture.run("w", json!((1 << 20) - 2)).await;
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!(result.as_str().map(str::len), Some((1 << 20) - 2));
}

#[tokio::test]
async fn an_input_of_another_type_fails_the_instance() {
    let handlers = Handlers::new().on("try", async |_: Context, n: u32| Ok(n));
    let fixture = Fixture::new(one(Node::new("a", "try")), handlers).await;
    let (outcome, result) = fixture.run("w", json!("five")).await;
    assert_eq!(outcome, Outcome::Failed);
    let error = result["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("invalid type: string \"five\", expected u32"),
        "{error}"
    );
}
