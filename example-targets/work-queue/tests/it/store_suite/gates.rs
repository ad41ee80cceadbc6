//! Gates: what arrives in several batches, and who may pass.

use std::sync::Arc;

use work_queue::{Batch, Finished, Gate, InstanceId, Json, Outcome, Passed, Stamp, Store};

use super::fixtures::{Fixture, LONG, Scene, arrival, arrivals, completed, delivery, stale};
use super::on_both_stores_and_timed;

on_both_stores_and_timed![
    a_gate_is_complete_when_all_have_arrived,
    what_is_remembered_passes_without_being_read,
    a_gate_that_is_not_as_remembered_undoes_the_batch,
    a_complete_gate_is_left_behind_until_it_is_passed,
    arrivals_without_values_count,
    gates_of_a_failed_instance_go,
    arrivals_in_any_order_do_not_wait_for_each_other,
];

fn pass(instance: InstanceId, gate: u32, missing: u32) -> Passed {
    Passed {
        instance,
        gate: Gate(gate),
        missing,
    }
}

fn passing(passed: impl IntoIterator<Item = Passed>) -> Batch {
    Batch {
        passed: passed.into_iter().collect(),
        ..Batch::default()
    }
}

async fn a_gate_is_complete_when_all_have_arrived(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let ids = scene.start(2).await;
    for part in [11, 5] {
        let applied = scene.apply(arrivals([arrival(ids[0], 3, 3, part)])).await;
        assert!(applied.unwrap().complete.is_empty());
    }
    let more = [arrival(ids[0], 3, 3, 7), arrival(ids[1], 3, 3, 8)];
    let applied = scene.apply(arrivals(more)).await.unwrap();
    assert_eq!(applied.complete, [(ids[0], Gate(3))]);

    // Others have nothing, gates of instances that don't exist aren't there.
    let gates = vec![(ids[0], 3), (ids[1], 9)];
    let inboxes = scene.store.inbox(gates).await.unwrap();
    let inbox = &inboxes[0];
    assert_eq!((inbox.instance, inbox.gate), (ids[0], 3));
    assert_eq!((inbox.workflow, inbox.priority), (scene.workflow, 0));
    let parts: Vec<&str> = inbox.parts.iter().map(Json::as_str).collect();
    let expected = [
        "[[5,\"value 5\"]]",
        "[[7,\"value 7\"]]",
        "[[11,\"value 11\"]]",
    ];
    assert_eq!(parts, expected);
    assert!(inboxes[1].parts.is_empty());

    scene.apply(passing([pass(ids[0], 3, 0)])).await.unwrap();
    let read = scene
        .store
        .inbox(vec![(ids[0], 3), (ids[1], 3)])
        .await
        .unwrap();
    assert_eq!((read[0].parts.len(), read[1].parts.len()), (0, 1));
}

async fn what_is_remembered_passes_without_being_read(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let ids = scene.start(2).await;
    let first = ids
        .iter()
        .zip(1..)
        .map(|(id, part)| arrival(*id, 0, 2, part));
    scene.apply(arrivals(first)).await.unwrap();
    let both = [pass(ids[1], 0, 1), pass(ids[0], 0, 1)];
    scene.apply(passing(both)).await.unwrap();
    let gates = ids.iter().map(|id| (*id, 0)).collect();
    let inboxes = scene.store.inbox(gates).await.unwrap();
    assert!(inboxes.iter().all(|inbox| inbox.parts.is_empty()));
    let said = stale(scene.apply(passing(both)).await);
    assert_eq!(said.passed.len(), 2);
}

async fn a_gate_that_is_not_as_remembered_undoes_the_batch(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let id = scene.start(1).await[0];
    let action = scene.enqueue(id, 1, true).await[0];
    scene
        .apply(arrivals([arrival(id, 0, 3, 1), arrival(id, 1, 3, 2)]))
        .await
        .unwrap();
    let batch = Batch {
        completed: vec![delivery(action, 1)],
        ..passing([pass(id, 0, 1), pass(id, 1, 2), pass(id, 2, 1)])
    };
    let said = stale(scene.apply(batch).await);
    assert_eq!(said.passed, [pass(id, 0, 1), pass(id, 2, 1)]);
    assert!(said.deliveries.is_empty());
    assert_eq!(scene.actions().await, 1);
    let inboxes = scene.store.inbox(vec![(id, 0), (id, 1)]).await.unwrap();
    assert!(inboxes.iter().all(|inbox| inbox.parts.len() == 1));
    scene
        .apply(passing([pass(id, 0, 2), pass(id, 1, 2)]))
        .await
        .unwrap();
}

async fn a_complete_gate_is_left_behind_until_it_is_passed(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let id = scene.start(1).await[0];
    scene.apply(arrivals([arrival(id, 4, 2, 1)])).await.unwrap();
    let left = async || {
        scene
            .store
            .renew(scene.session, LONG)
            .await
            .unwrap()
            .left_behind
    };
    assert!(left().await.is_empty());
    scene.apply(arrivals([arrival(id, 4, 2, 2)])).await.unwrap();
    assert_eq!(left().await, [(id, 4)]);
    scene.apply(passing([pass(id, 4, 0)])).await.unwrap();
    assert!(left().await.is_empty());
}

async fn arrivals_without_values_count(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let id = scene.start(1).await[0];
    let mut skipped = arrival(id, 1, 5, 1);
    (skipped.arrived, skipped.values) = (4, None);
    let applied = scene.apply(arrivals([skipped])).await.unwrap();
    assert!(applied.complete.is_empty());
    let applied = scene.apply(arrivals([arrival(id, 1, 5, 2)])).await.unwrap();
    assert_eq!(applied.complete, [(id, Gate(1))]);
    let inbox = scene.store.inbox(vec![(id, 1)]).await.unwrap();
    assert_eq!(inbox[0].parts.len(), 1);
}

async fn gates_of_a_failed_instance_go(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let ids = scene.start(2).await;
    let gates = [(ids[0], 0), (ids[0], 1), (ids[1], 0)];
    let new = gates.iter().zip(1..);
    let new = new.map(|((id, gate), part)| arrival(*id, *gate, 2, part));
    scene.apply(arrivals(new)).await.unwrap();
    let batch = Batch {
        finished: vec![Finished {
            instance: ids[0],
            outcome: Outcome::Failed,
            result: Json::null(),
        }],
        // One of them is passed in the batch that ends its instance.
        ..passing([pass(ids[0], 0, 1)])
    };
    scene.apply(batch).await.unwrap();
    let inboxes = scene.store.inbox(gates.to_vec()).await.unwrap();
    let parts: Vec<usize> = inboxes.iter().map(|inbox| inbox.parts.len()).collect();
    assert_eq!(parts, [0, 0, 1]);
    let said = stale(scene.apply(passing([pass(ids[0], 1, 1)])).await);
    assert_eq!(said.passed.len(), 1);
}

/// Many sessions at the same gates, each with its own order: each gate is completed by exactly one.
async fn arrivals_in_any_order_do_not_wait_for_each_other(fixture: &impl Fixture) {
    const SESSIONS: u32 = 4;
    const GATES: usize = 20;
    const ROUNDS: u32 = 5;
    let scene = Scene::on(fixture).await;
    let ids = scene.start(GATES).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..SESSIONS {
        let store = Arc::new(fixture.open().await.unwrap());
        let session = store.open_session(LONG).await.unwrap();
        let mut ids = ids.clone();
        ids.rotate_left(n as usize * GATES / SESSIONS as usize);
        if n % 2 == 1 {
            ids.reverse();
        }
        tasks.spawn(async move {
            let mut complete = Vec::new();
            for round in 0..ROUNDS {
                let part = i64::from(1 + n + SESSIONS * round);
                let all = ids.iter();
                let all = all.map(|id| arrival(*id, 0, SESSIONS * ROUNDS, part));
                let stamp = Stamp {
                    session,
                    lane: round % 2,
                    number: i64::from(1 + round),
                };
                let applied = store.apply(stamp, Arc::new(arrivals(all))).await.unwrap();
                complete.extend(applied.complete);
            }
            complete
        });
    }
    let mut complete: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    complete.sort_unstable();
    let expected: Vec<_> = ids.iter().map(|id| (*id, Gate(0))).collect();
    assert_eq!(complete, expected);
    scene.apply(completed([])).await.unwrap();
}
