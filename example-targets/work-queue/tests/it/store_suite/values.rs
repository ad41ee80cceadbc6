//! Values come back as they were.

use work_queue::{ActionId, Batch, Element, Gate, Json, NewAction, NewInstance, Store};

use super::fixtures::{Fixture, Scene, json, new_action, new_instance};
use super::on_both_stores;

on_both_stores![
    inputs_come_back_as_they_were,
    actions_come_back_as_they_were,
];

fn odd_values() -> Vec<Json> {
    let large = "x\\\\ü'\\\"\\u0000".repeat(300_000);
    [
        "null",
        "\"\"",
        "{\"a\": [1.0e5, \"\\u0000\"]}",
        "\"ü € 🦀 ' \\\\ \\t\"",
    ]
    .into_iter()
    .map(json)
    .chain([json(format!("\"{large}\""))])
    .collect()
}

async fn inputs_come_back_as_they_were(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let values = odd_values();
    let new = values.iter().map(|input| NewInstance {
        input: input.clone(),
        priority: i16::MIN,
        ..new_instance(scene.workflow)
    });
    let new: Vec<_> = new.collect();
    scene.store.create(new.into()).await.unwrap();
    let claimed = scene.claim(10).await;
    let inputs: Vec<Json> = claimed.iter().map(|it| it.input.clone()).collect();
    assert!(inputs == values);
    assert!(claimed.iter().all(|it| it.priority == i16::MIN));
}

async fn actions_come_back_as_they_were(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let values = odd_values();
    let n = u32::try_from(values.len()).unwrap();
    let first = scene.store.reserve(n).await.unwrap();
    let actions = values.iter().zip(0..).map(|(input, index)| NewAction {
        node: index,
        element: (index > 0).then_some(Element { index, of: n }),
        priority: 3,
        input: input.clone(),
        carried: (0..index).map(|gate| (Gate(gate), 1 + index)).collect(),
        is_leased: false,
        ..new_action(ActionId(first + i64::from(index)), instance)
    });
    let actions: Vec<_> = actions.collect();
    scene
        .apply(Batch {
            actions: actions.clone(),
            ..Batch::default()
        })
        .await
        .unwrap();
    let claimed = scene.claim_actions(100).await;
    assert_eq!(claimed.len(), actions.len());
    for (claimed, new) in claimed.iter().zip(&actions) {
        assert_eq!((claimed.id, claimed.instance), (new.id, instance));
        assert_eq!((claimed.node, claimed.element), (new.node, new.element));
        assert_eq!((claimed.priority, claimed.delivery), (3, 1));
        assert_eq!(claimed.carried, new.carried);
        assert!(claimed.input == new.input);
    }
}
