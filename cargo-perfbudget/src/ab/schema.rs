//! Whether decisions are what `docs/decision.schema.json` says.
//!
//! The words of JSON Schema that the file uses are checked here. A word that is not known here fails
//! the test, so the file has none that nobody checks.

use std::path::Path;

use serde_json::Value;

use super::decision::{Decision, Method};
use super::fixtures::{Histories, around, spread, times};
use super::history::{Outcome, Side};
use super::policy::{Acknowledged, Acknowledgement, Calibration, Policy};

fn schema() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/decision.schema.json");
    let text = std::fs::read_to_string(file).expect("the schema");
    serde_json::from_str(&text).expect("JSON")
}

/// What is wrong with a value, each with its place.
struct Check<'a> {
    root: &'a Value,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn of(root: &Value, value: &Value) -> Vec<String> {
        let mut check = Check {
            root,
            wrong: Vec::new(),
        };
        check.value(root, value, "");
        check.wrong
    }

    fn value(&mut self, schema: &Value, value: &Value, place: &str) {
        let words = schema.as_object().expect("a schema");
        for (word, argument) in words {
            let holds = match word.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let path = argument.as_str().expect("a reference");
                    let root = self.root;
                    let target = root.pointer(&path[1..]).expect(path);
                    self.value(target, value, place);
                    true
                }
                "type" => {
                    let types = argument
                        .as_array()
                        .map_or_else(|| vec![argument], |a| a.iter().collect());
                    types
                        .into_iter()
                        .any(|t| is_type(value, t.as_str().expect("a type")))
                }
                "const" => value == argument,
                "enum" => argument.as_array().expect("values").contains(value),
                "minimum" => compare(value, argument, |v, a| v >= a),
                "maximum" => compare(value, argument, |v, a| v <= a),
                "exclusiveMinimum" => compare(value, argument, |v, a| v > a),
                "exclusiveMaximum" => compare(value, argument, |v, a| v < a),
                "minItems" => value.as_array().is_none_or(|v| v.len() >= size(argument)),
                "maxItems" => value.as_array().is_none_or(|v| v.len() <= size(argument)),
                "items" => {
                    for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(argument, item, &format!("{place}/{position}"));
                    }
                    true
                }
                "required" => {
                    let names = argument.as_array().expect("names");
                    let has = |name: &Value| value.get(name.as_str().expect("a name")).is_some();
                    !value.is_object() || names.iter().all(has)
                }
                "properties" => {
                    for (name, property) in argument.as_object().expect("schemas") {
                        if let Some(inner) = value.get(name) {
                            self.value(property, inner, &format!("{place}/{name}"));
                        }
                    }
                    true
                }
                "additionalProperties" => self.others(words, argument, value, place),
                other => panic!("{other} is not checked here"),
            };
            if !holds {
                self.wrong
                    .push(format!("{place}: {word} {argument}, not {value}"));
            }
        }
    }

    fn others(
        &mut self,
        words: &serde_json::Map<String, Value>,
        argument: &Value,
        value: &Value,
        place: &str,
    ) -> bool {
        let named = |name: &String| {
            words
                .get("properties")
                .is_some_and(|p| p.get(name).is_some())
        };
        let entries = value.as_object().into_iter().flatten();
        let others: Vec<_> = entries.filter(|(name, _)| !named(name)).collect();
        if argument == &Value::Bool(false) {
            return others.is_empty();
        }
        for (name, other) in others {
            self.value(argument, other, &format!("{place}/{name}"));
        }
        true
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other} is not checked here"),
    }
}

fn compare(value: &Value, argument: &Value, holds: fn(f64, f64) -> bool) -> bool {
    let argument = argument.as_f64().expect("a number");
    value.as_f64().is_none_or(|value| holds(value, argument))
}

fn size(argument: &Value) -> usize {
    usize::try_from(argument.as_u64().expect("a size")).expect("small")
}

/// One of every status, with every part that a decision can have.
fn decisions() -> Vec<Decision> {
    let failed = Outcome::Failed {
        why: "it ended with 101".to_owned(),
    };
    let histories = Histories::default()
        .sides("a/same", &around(1000.0, 14), &around(1000.0, 14))
        .times("a/same", Side::Control, &around(1000.0, 14))
        .sides("a/slower", &around(1000.0, 14), &around(1300.0, 14))
        .sides("a/faster", &around(1000.0, 14), &around(700.0, 14))
        .sides("a/few", &around(1000.0, 2), &around(1000.0, 2))
        .sides("a/noisy", &spread(1000.0, 14, 0.3), &around(1000.0, 14))
        .times("a/lost", Side::Baseline, &around(1000.0, 14))
        .times("a/new", Side::Candidate, &around(1000.0, 14))
        .sides("a/failed", &around(1000.0, 14), &around(1000.0, 14))
        .and("a/failed", Side::Candidate, failed)
        .and("a/failed", Side::Control, times(1000.0))
        .counts("b/equal", Side::Baseline, &[("files", 1)])
        .counts("b/equal", Side::Candidate, &[("files", 1)])
        .counts("b/changed", Side::Baseline, &[("files", 1)])
        .counts("b/changed", Side::Candidate, &[]);
    let acknowledged = |gate: &str, what| Acknowledgement {
        gate: gate.to_owned(),
        what,
    };
    let full = Policy {
        guardrail: vec!["*".to_owned()],
        primary: vec!["a/*".to_owned()],
        acknowledge: vec![
            acknowledged("a/lost", Acknowledged::Removed),
            acknowledged("a/new", Acknowledged::Added),
            acknowledged(
                "b/changed",
                Acknowledged::Count {
                    key: "files".to_owned(),
                    count: 0,
                },
            ),
        ],
        calibration: Some(Calibration {
            observed: Some("2026-11-21".to_owned()),
            groups: Some(3),
            runs: None,
            ready: true,
        }),
        ..Policy::default()
    };
    [Method::Paired, Method::Welch]
        .into_iter()
        .flat_map(|method| {
            [&Policy::default(), &full].map(|policy| histories.decide(method, policy))
        })
        .collect()
}

#[test]
fn decisions_are_what_the_schema_says() {
    let schema = schema();
    let mut statuses = std::collections::BTreeSet::new();
    for decision in decisions() {
        let value = serde_json::to_value(&decision).expect("JSON");
        assert_eq!(Check::of(&schema, &value), [""; 0]);
        let back: Decision = serde_json::from_value(value).expect("read back");
        assert_eq!(back, decision);
        statuses.extend(decision.gates.iter().map(|gate| gate.status.name()));
    }
    let named = schema
        .pointer("/$defs/gate/properties/status/enum")
        .expect("statuses");
    let named = named.as_array().expect("values").iter();
    let named: std::collections::BTreeSet<_> = named.filter_map(Value::as_str).collect();
    assert_eq!(statuses, named);
}

#[test]
fn what_is_no_decision_is_seen() {
    let schema = schema();
    let good = serde_json::to_value(&decisions()[0]).expect("JSON");
    for (place, value) in [
        ("/decision", "perhaps".into()),
        ("/schema", "perfbudget.decision.v2".into()),
        ("/reasons", Value::Array(Vec::new())),
        ("/at", Value::Null),
        ("/policy/alpha", 0.5.into()),
        ("/policy/max_cv_percent", 100.into()),
        ("/gates/0/role", "secondary".into()),
        ("/gates/0/repetitions", serde_json::json!([1])),
        ("/gates/0/repetitions/1", (-1).into()),
        ("/gates/0/change", 3.into()),
        ("/family/looks", 0.into()),
        ("/family/gates", 1.5.into()),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).expect(place) = value;
        assert_ne!(Check::of(&schema, &bad), [""; 0], "{place}");
    }
    let mut more = good.clone();
    more["gates"][0]["x"] = 1.into();
    assert_ne!(Check::of(&schema, &more), [""; 0]);
    let mut less = good;
    less["gates"][0]
        .as_object_mut()
        .expect("an object")
        .remove("why");
    assert_ne!(Check::of(&schema, &less), [""; 0]);
}
