//! Who gets what, in which order, and when.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use work_queue::{ActionId, Batch, InstanceStatus, NewAction, NewInstance, Store, StoreError};

use super::fixtures::{Fixture, LONG, SHORT, Scene, new_action, new_instance, until};
use super::on_both_stores;

on_both_stores![
    a_definition_is_stored_once,
    instances_come_by_priority_then_age,
    actions_come_by_priority_then_age,
    only_known_workflows_are_claimed,
    what_waits_comes_when_it_is_due,
    nothing_is_claimed_twice,
    numbers_are_given_once,
    an_instance_that_does_not_exist_has_no_status,
];

async fn a_definition_is_stored_once(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await.unwrap(), fixture.open().await.unwrap());
    let definition = "\"x\"".repeat(20_000);
    let (first, second) = tokio::join!(
        one.workflow("a", &definition),
        other.workflow("a", &definition)
    );
    let first = first.unwrap();
    assert_eq!(first, second.unwrap());
    assert_ne!(first, one.workflow("a", "{}").await.unwrap());
    assert_ne!(first, one.workflow("b", &definition).await.unwrap());
    assert_eq!(first, other.workflow("a", &definition).await.unwrap());
}

async fn instances_come_by_priority_then_age(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let new = |priority| NewInstance {
        priority,
        ..new_instance(scene.workflow)
    };
    let priorities = [0, -5, 7, 0, 7];
    let ids = scene
        .store
        .create(priorities.map(new).to_vec().into())
        .await
        .unwrap();
    assert!(ids.is_sorted());
    let first = scene.claim(2).await;
    let rest = scene.claim(10).await;
    let claimed: Vec<_> = first.iter().chain(&rest).map(|it| it.id).collect();
    assert_eq!(first.len(), 2);
    assert_eq!(claimed, [ids[2], ids[4], ids[0], ids[3], ids[1]]);
    assert!(first.iter().all(|it| it.claim == 1 && it.priority == 7));
    assert!(scene.claim(10).await.is_empty());
}

async fn actions_come_by_priority_then_age(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let first = scene.store.reserve(5).await.unwrap();
    let id = |n: i64| ActionId(first + n);
    let action = |n: i64, priority| NewAction {
        priority,
        is_leased: false,
        ..new_action(id(n), instance)
    };
    let actions = vec![
        action(4, 0),
        action(0, 0),
        action(1, 3),
        action(2, -1),
        action(3, 3),
    ];
    scene
        .apply(Batch {
            actions,
            ..Batch::default()
        })
        .await
        .unwrap();
    let claimed: Vec<_> = scene
        .claim_actions(4)
        .await
        .iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(claimed, [id(1), id(3), id(0), id(4)]);
    let last = scene.claim_actions(4).await;
    assert_eq!(last.len(), 1);
    assert_eq!(
        (last[0].id, last[0].priority, last[0].delivery),
        (id(2), -1, 1)
    );
    assert_eq!(last[0].workflow, scene.workflow);
    assert!(!last[0].is_orphan);
}

async fn only_known_workflows_are_claimed(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let other = scene.store.workflow("other", "{}").await.unwrap();
    let foreign = [new_instance(other), new_instance(scene.workflow)];
    let ids = scene.store.create(Arc::new(foreign)).await.unwrap();
    let claimed = scene.claim(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].id, ids[1]);
    let both = Arc::new([other, scene.workflow]);
    let rest = scene
        .store
        .claim_instances(scene.session, both, 10)
        .await
        .unwrap();
    assert_eq!((rest.len(), rest[0].workflow), (1, other));
    // Nor the actions of their instances.
    scene.enqueue(ids[0], 1, false).await;
    assert!(scene.claim_actions(10).await.is_empty());
}

async fn what_waits_comes_when_it_is_due(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let new = |wait| NewInstance {
        wait,
        ..new_instance(scene.workflow)
    };
    let waits = [LONG, SHORT, Duration::MAX];
    let ids = scene
        .store
        .create(waits.map(new).to_vec().into())
        .await
        .unwrap();
    let due = until(async || scene.claim(10).await.pop()).await;
    assert_eq!(due.id, ids[1]);
    assert!(scene.claim(10).await.is_empty());
    assert_eq!(scene.store.counts().await.unwrap().waiting, 2);
}

async fn nothing_is_claimed_twice(fixture: &impl Fixture) {
    const INSTANCES: usize = 300;
    const ACTIONS: u32 = 300;
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    scene.create(INSTANCES).await;
    scene.enqueue(instance, ACTIONS, false).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = fixture.open().await.unwrap();
        let session = store.open_session(LONG).await.unwrap();
        let workflows = Arc::new([scene.workflow]);
        tasks.spawn(async move {
            let (mut instances, mut actions) = (Vec::new(), Vec::new());
            loop {
                let some = store.claim_instances(session, workflows.clone(), 7);
                let more = store.claim_actions(session, workflows.clone(), 7);
                let (some, more) = tokio::join!(some, more);
                let before = instances.len() + actions.len();
                // A store that is busy says so.
                match (some, more) {
                    (Ok(some), Ok(more)) => {
                        instances.extend(some.into_iter().map(|it| it.id));
                        actions.extend(more.into_iter().map(|it| it.id));
                        if instances.len() + actions.len() == before {
                            return (instances, actions);
                        }
                    }
                    (some, more) => panic!("{:?} {:?}", some.err(), more.err()),
                }
            }
        });
    }
    let (mut instances, mut actions) = (Vec::new(), Vec::new());
    for (some, more) in tasks.join_all().await {
        instances.extend(some);
        actions.extend(more);
    }
    // Another one's lock is passed by, so a claim may find nothing while there is something.
    instances.extend(scene.claim(1_000).await.iter().map(|it| it.id));
    actions.extend(scene.claim_actions(1_000).await.iter().map(|it| it.id));
    assert_eq!(
        (instances.len(), actions.len()),
        (INSTANCES, ACTIONS as usize)
    );
    assert_eq!(instances.iter().collect::<HashSet<_>>().len(), INSTANCES);
    assert_eq!(
        actions.iter().collect::<HashSet<_>>().len(),
        ACTIONS as usize
    );
}

async fn numbers_are_given_once(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await.unwrap(), fixture.open().await.unwrap());
    let mut given = Vec::new();
    for n in 1..20_u32 {
        let (a, b) = tokio::join!(one.reserve(n), other.reserve(n));
        for first in [a.unwrap(), b.unwrap()] {
            given.extend(first..first + i64::from(n));
        }
    }
    let all = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), all);
    assert!(given[0] >= 1);
}

async fn an_instance_that_does_not_exist_has_no_status(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let id = scene.create(1).await[0];
    let other = work_queue::InstanceId(id.0 + 1);
    assert_eq!(scene.store.status(other).await.unwrap(), None);
    let waiting = InstanceStatus {
        has_started: false,
        outcome: None,
    };
    assert_eq!(scene.store.status(id).await.unwrap(), Some(waiting));
    let nobody = work_queue::SessionId(scene.session.0 + 1_000);
    let claimed = scene
        .store
        .claim_instances(nobody, Arc::new([scene.workflow]), 1);
    assert!(matches!(claimed.await, Err(StoreError::SessionLost)));
}
