//! The `queue-noop` workload: an instance is `n` actions at once, their list, `n` actions one after
//! the other with a branch at each, `n` at once again, and one that combines: 3 n + 1 actions.

use serde_json::{Value, json};

use crate::handler::{Context, Failure, Handlers};
use crate::value::Json;
use crate::workflow::{Node, Workflow};

/// The workflow for loops of `n`.
#[must_use]
pub fn workflow(n: usize) -> Workflow {
    let mut workflow = Workflow::new(format!("queue-noop-{n}"))
        .node(Node::new("fan", "noop").over_input("/values"));
    for step in 0..n {
        for parity in ["even", "odd"] {
            let mut node = Node::new(format!("step-{step}-{parity}"), parity);
            if step == 0 {
                node = node.after_when("fan", "/0/parity", parity);
            } else {
                for before in ["even", "odd"] {
                    let before = format!("step-{}-{before}", step - 1);
                    node = node.after_when(before, "/parity", parity);
                }
            }
            workflow = workflow.node(node);
        }
    }
    let mut tag = Node::new("tag", "tag").after("fan").over("fan", "");
    for parity in ["even", "odd"] {
        tag = tag.after(format!("step-{}-{parity}", n - 1));
    }
    workflow
        .node(tag)
        .node(Node::new("combine", "combine").after("tag"))
}

/// An instance's input.
#[must_use]
pub fn input(n: usize) -> Json {
    let values: Vec<usize> = (0..n).collect();
    Json::trusted(json!({ "values": values }).to_string())
}

fn parity(value: u64) -> &'static str {
    if value.is_multiple_of(2) {
        "even"
    } else {
        "odd"
    }
}

/// What runs it.
#[must_use]
pub fn handlers() -> Handlers {
    Handlers::new()
        .on("noop", async |_: Context, value: u64| {
            Ok(json!({ "value": value, "parity": parity(value) }))
        })
        .on("even", step)
        .on("odd", step)
        .on("tag", async |_: Context, tagged: Value| {
            Ok(json!({ "tag": tagged["value"] }))
        })
        .on("combine", async |_: Context, tagged: Vec<Value>| {
            let sum: u64 = tagged.iter().filter_map(|it| it["tag"].as_u64()).sum();
            Ok(json!({ "n": tagged.len(), "sum": sum }))
        })
}

/// The first step gets the list, later ones the value of the step before, under its name.
async fn step(_: Context, before: Value) -> Result<Value, Failure> {
    let before = before.as_object().and_then(|named| named.values().next());
    let before = before.and_then(|value| value["value"].as_u64());
    let value = before.map_or(1, |value| value + 1);
    Ok(json!({ "value": value, "parity": parity(value) }))
}
