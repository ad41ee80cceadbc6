//! Sessions: what is given back when one ends or its lease runs out.

use std::sync::Arc;

use work_queue::{ActionId, Batch, NewAction, Stamp, Store, StoreError};

use super::fixtures::{
    Fixture, LONG, SHORT, Scene, completed, delivery, new_action, stale, started, until,
};
use super::on_both_stores;

on_both_stores![
    a_closed_session_gives_back,
    a_lease_that_ran_out_gives_back,
    a_lost_session_can_do_nothing,
    a_renewed_lease_is_kept,
];

async fn a_closed_session_gives_back(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let action = scene.enqueue(instance, 1, true).await[0];
    let id = scene.create(1).await[0];
    assert_eq!(scene.claim(1).await[0].claim, 1);
    scene.store.close_session(scene.session).await.unwrap();

    let session = scene.store.open_session(LONG).await.unwrap();
    let next = Scene { session, ..scene };
    let claimed = next.claim(10).await;
    // A started instance is nobody's, and is not started again.
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].id, claimed[0].claim), (id, 2));
    let actions = next.claim_actions(10).await;
    assert_eq!(actions.len(), 1);
    assert_eq!((actions[0].id, actions[0].delivery), (action, 2));
}

async fn a_lease_that_ran_out_gives_back(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    scene.create(1).await;
    let dying = scene.store.open_session(SHORT).await.unwrap();
    let workflows = Arc::new([scene.workflow]);
    let claimed = scene
        .store
        .claim_instances(dying, workflows, 1)
        .await
        .unwrap();
    let action = ActionId(scene.store.reserve(1).await.unwrap());
    let stamp = Stamp {
        session: dying,
        lane: 1,
        number: 1,
    };
    let batch = Batch {
        actions: vec![new_action(action, instance)],
        ..Batch::default()
    };
    scene.store.apply(stamp, Arc::new(batch)).await.unwrap();

    let expired = until(async || {
        let renewed = scene.store.renew(scene.session, LONG).await.unwrap();
        Some(renewed.sessions_expired).filter(|n| *n > 0)
    })
    .await;
    assert_eq!(expired, 1);
    let again = scene.claim(10).await;
    assert_eq!((again.len(), again[0].id), (1, claimed[0].id));
    assert_eq!(again[0].claim, 2);
    let actions = scene.claim_actions(10).await;
    assert_eq!((actions.len(), actions[0].id), (1, action));
    assert_eq!(actions[0].delivery, 2);

    // What the dead one still says is out of date.
    let late = Batch {
        completed: vec![delivery(action, 1)],
        started: vec![started(&claimed[0])],
        ..Batch::default()
    };
    let stale = stale(scene.apply(late).await);
    assert_eq!(stale.deliveries, [delivery(action, 1)]);
    assert_eq!(stale.started, [started(&claimed[0])]);
    assert_eq!(scene.actions().await, 1);
    scene.apply(completed([delivery(action, 2)])).await.unwrap();
    assert_eq!(scene.actions().await, 0);
}

async fn a_lost_session_can_do_nothing(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    scene.create(1).await;
    let free = scene.enqueue(instance, 1, false).await[0];
    scene.store.close_session(scene.session).await.unwrap();
    // Closing what is closed changes nothing.
    scene.store.close_session(scene.session).await.unwrap();

    let store = &scene.store;
    let workflows: Arc<[_]> = Arc::new([scene.workflow]);
    let lost = |error: StoreError| assert!(matches!(error, StoreError::SessionLost), "{error}");
    lost(store.renew(scene.session, LONG).await.unwrap_err());
    let instances = store.claim_instances(scene.session, Arc::clone(&workflows), 1);
    lost(instances.await.unwrap_err());
    let actions = store.claim_actions(scene.session, Arc::clone(&workflows), 1);
    lost(actions.await.unwrap_err());
    let new = ActionId(store.reserve(1).await.unwrap());
    let batch = Batch {
        actions: vec![NewAction {
            is_leased: false,
            ..new_action(new, instance)
        }],
        ..completed([delivery(free, 0)])
    };
    lost(scene.apply(batch).await.unwrap_err());

    let session = store.open_session(LONG).await.unwrap();
    let actions = store.claim_actions(session, workflows, 10).await.unwrap();
    assert_eq!(actions.len(), 1, "nothing of its batch was applied");
    assert_eq!((actions[0].id, actions[0].delivery), (free, 1));
}

async fn a_renewed_lease_is_kept(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let other = scene.store.open_session(SHORT).await.unwrap();
    let doomed = scene.store.open_session(SHORT).await.unwrap();
    scene.create(1).await;
    // Whether its own has run out or not: nobody has taken it.
    scene.store.renew(other, LONG).await.unwrap();
    until(async || {
        scene.store.renew(scene.session, LONG).await.unwrap();
        let claim = scene
            .store
            .claim_instances(doomed, Arc::new([scene.workflow]), 0);
        matches!(claim.await, Err(StoreError::SessionLost)).then_some(())
    })
    .await;
    scene.store.renew(other, LONG).await.unwrap();
}
