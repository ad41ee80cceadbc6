//! Batches: all of one or nothing, once.

use std::sync::Arc;
use std::time::Duration;

use work_queue::{
    ActionId, Batch, Finished, GivenBack, InstanceId, InstanceStatus, Outcome, Stamp, Started,
    Store, StoreError,
};

use super::fixtures::{
    Fixture, LONG, SHORT, Scene, arrival, completed, delivery, json, new_action, stale, started,
    until,
};
use super::on_both_stores_and_timed;

on_both_stores_and_timed![
    an_instance_runs_to_its_end,
    an_empty_batch_is_applied,
    a_stale_delivery_undoes_the_batch,
    a_stale_claim_undoes_the_batch,
    what_is_named_twice_is_stale,
    a_batch_is_applied_once,
    lanes_do_not_know_each_other,
    what_is_given_back_comes_again,
    an_instance_may_start_and_end_at_once,
    actions_of_a_finished_instance_are_orphans,
    the_first_end_counts,
    what_is_completed_is_logged,
];

fn finished(instance: InstanceId, outcome: Outcome, result: &str) -> Finished {
    Finished {
        instance,
        outcome,
        result: json(result),
    }
}

async fn an_instance_runs_to_its_end(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let id = scene.create(1).await[0];
    let claimed = scene.claim(1).await;
    let counts = scene.store.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.running), (0, 1));
    let first = scene.store.reserve(2).await.unwrap();
    let (one, two) = (ActionId(first), ActionId(first + 1));
    scene
        .apply(Batch {
            started: vec![started(&claimed[0])],
            actions: vec![new_action(one, id)],
            ..Batch::default()
        })
        .await
        .unwrap();
    let status = scene.store.status(id).await.unwrap().unwrap();
    assert!(status.has_started && status.outcome.is_none());
    scene
        .apply(Batch {
            actions: vec![new_action(two, id)],
            ..completed([delivery(one, 1)])
        })
        .await
        .unwrap();
    assert_eq!(scene.actions().await, 1);
    scene
        .apply(Batch {
            finished: vec![finished(id, Outcome::Completed, "[1]")],
            ..completed([delivery(two, 1)])
        })
        .await
        .unwrap();
    let counts = scene.store.counts().await.unwrap();
    assert_eq!(
        (counts.running, counts.completed, counts.actions),
        (0, 1, 0)
    );
    let ended = InstanceStatus {
        has_started: true,
        outcome: Some((Outcome::Completed, json("[1]"))),
    };
    assert_eq!(scene.store.status(id).await.unwrap(), Some(ended));
}

async fn an_empty_batch_is_applied(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let applied = scene.apply(Batch::default()).await.unwrap();
    assert!(applied.complete.is_empty());
}

async fn a_stale_delivery_undoes_the_batch(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 3, true).await;
    let new = ActionId(scene.store.reserve(1).await.unwrap());
    let nobody = ActionId(new.0 + 1_000_000);
    let batch = Batch {
        given_back: vec![GivenBack {
            delivery: delivery(actions[2], 7),
            wait: Duration::ZERO,
            is_untouched: false,
        }],
        actions: vec![new_action(new, instance)],
        arrivals: vec![arrival(instance, 1, 1, 1)],
        finished: vec![finished(instance, Outcome::Completed, "1")],
        log: Some(json("[]")),
        ..completed([
            delivery(actions[0], 1),
            delivery(actions[1], 2),
            delivery(nobody, 1),
        ])
    };
    let mut said = stale(scene.apply(batch).await);
    said.deliveries.sort_unstable_by_key(|it| it.action);
    let expected = [
        delivery(actions[1], 2),
        delivery(actions[2], 7),
        delivery(nobody, 1),
    ];
    assert_eq!(said.deliveries, expected);
    assert!(said.passed.is_empty() && said.started.is_empty());
    assert_eq!(scene.actions().await, 3);
    let status = scene.store.status(instance).await.unwrap().unwrap();
    assert_eq!(status.outcome, None);
    assert!(fixture.logged().await.is_empty());
    let renewed = scene.store.renew(scene.session, LONG).await.unwrap();
    assert!(renewed.left_behind.is_empty());
    // The stamp of a batch that was undone is free.
    let again = Stamp {
        session: scene.session,
        lane: 0,
        number: scene.next_stamp().number - 1,
    };
    let batch = Arc::new(completed(actions.iter().map(|it| delivery(*it, 1))));
    scene.store.apply(again, batch).await.unwrap();
    assert_eq!(scene.actions().await, 0);
}

async fn a_stale_claim_undoes_the_batch(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    scene.create(3).await;
    let claimed = scene.claim(3).await;
    let first = scene.store.reserve(1).await.unwrap();
    scene
        .apply(Batch {
            started: vec![started(&claimed[0])],
            ..Batch::default()
        })
        .await
        .unwrap();
    let wrong = Started {
        claim: 9,
        ..started(&claimed[1])
    };
    let batch = Batch {
        started: vec![started(&claimed[0]), wrong, started(&claimed[2])],
        actions: vec![new_action(ActionId(first), claimed[2].id)],
        ..Batch::default()
    };
    let said = stale(scene.apply(batch).await);
    assert_eq!(said.started, [started(&claimed[0]), wrong]);
    assert_eq!(scene.actions().await, 0);
    let status = scene.store.status(claimed[2].id).await.unwrap().unwrap();
    assert!(!status.has_started);
}

async fn what_is_named_twice_is_stale(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 2, true).await;
    let twice = [actions[0], actions[1], actions[0]].map(|it| delivery(it, 1));
    let said = stale(scene.apply(completed(twice)).await);
    assert_eq!(said.deliveries, [delivery(actions[0], 1)]);
    assert_eq!(scene.actions().await, 2);
}

async fn a_batch_is_applied_once(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let action = scene.enqueue(instance, 1, true).await[0];
    let stamp = scene.next_stamp();
    let new = ActionId(scene.store.reserve(1).await.unwrap());
    let batch = Arc::new(Batch {
        actions: vec![new_action(new, instance)],
        arrivals: vec![arrival(instance, 1, 3, 1)],
        log: Some(json(format!(
            "[[{action},{instance},0,-1,1,\"completed\",5]]"
        ))),
        ..completed([delivery(action, 1)])
    });
    for _ in 0..3 {
        scene.store.apply(stamp, Arc::clone(&batch)).await.unwrap();
        assert_eq!(scene.actions().await, 1);
    }
    assert_eq!(fixture.logged().await, [(action.0, "completed".to_owned())]);
    // From another store, as after a restart of the process's half.
    let other = fixture.open().await.unwrap();
    other.apply(stamp, batch).await.unwrap();
    scene.apply(completed([delivery(new, 1)])).await.unwrap();
    assert_eq!(scene.actions().await, 0);
}

async fn lanes_do_not_know_each_other(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 2, true).await;
    let number = 1_000;
    let stamp = |lane| Stamp {
        session: scene.session,
        lane,
        number,
    };
    let batch = |action| Arc::new(completed([delivery(action, 1)]));
    let (one, two) = tokio::join!(
        scene.store.apply(stamp(0), batch(actions[0])),
        scene.store.apply(stamp(1), batch(actions[1])),
    );
    one.unwrap();
    two.unwrap();
    assert_eq!(scene.actions().await, 0);
}

async fn what_is_given_back_comes_again(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 4, true).await;
    let back = |n: usize, wait, is_untouched| GivenBack {
        delivery: delivery(actions[n], 1),
        wait,
        is_untouched,
    };
    let give_back = async |given_back| {
        let batch = Batch {
            given_back,
            ..Batch::default()
        };
        scene.apply(batch).await.unwrap();
    };
    give_back(vec![
        back(0, Duration::ZERO, false),
        back(1, Duration::ZERO, true),
        back(3, LONG, false),
    ])
    .await;
    let now: Vec<_> = scene.claim_actions(10).await;
    let now: Vec<_> = now.iter().map(|it| (it.id, it.delivery)).collect();
    // A delivery that did not begin does not count.
    assert_eq!(now, [(actions[0], 2), (actions[1], 1)]);
    give_back(vec![back(2, SHORT, false)]).await;
    let later = until(async || scene.claim_actions(10).await.pop()).await;
    assert_eq!((later.id, later.delivery), (actions[2], 2));
    assert!(scene.claim_actions(10).await.is_empty());
}

async fn an_instance_may_start_and_end_at_once(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    scene.create(2).await;
    let claimed = scene.claim(2).await;
    let ids = [claimed[0].id, claimed[1].id];
    let batch = Batch {
        started: claimed.iter().map(started).collect(),
        finished: vec![
            finished(ids[0], Outcome::Completed, "1"),
            finished(ids[1], Outcome::Failed, "2"),
        ],
        ..Batch::default()
    };
    scene.apply(batch).await.unwrap();
    for (id, outcome, result) in [
        (ids[0], Outcome::Completed, "1"),
        (ids[1], Outcome::Failed, "2"),
    ] {
        let status = scene.store.status(id).await.unwrap().unwrap();
        assert!(status.has_started);
        assert_eq!(status.outcome, Some((outcome, json(result))));
    }
    assert!(scene.claim(10).await.is_empty());
}

async fn actions_of_a_finished_instance_are_orphans(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let action = scene.enqueue(instance, 1, false).await[0];
    scene
        .apply(Batch {
            finished: vec![finished(instance, Outcome::Failed, "1")],
            ..Batch::default()
        })
        .await
        .unwrap();
    let claimed = scene.claim_actions(10).await;
    assert_eq!(claimed.len(), 1);
    assert!(claimed[0].is_orphan);
    scene.apply(completed([delivery(action, 1)])).await.unwrap();
    assert_eq!(scene.actions().await, 0);
    assert_eq!(scene.store.counts().await.unwrap().failed, 1);
}

async fn the_first_end_counts(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    for (outcome, result) in [(Outcome::Failed, "1"), (Outcome::Completed, "2")] {
        scene
            .apply(Batch {
                finished: vec![finished(instance, outcome, result)],
                ..Batch::default()
            })
            .await
            .unwrap();
    }
    let status = scene.store.status(instance).await.unwrap().unwrap();
    assert_eq!(status.outcome, Some((Outcome::Failed, json("1"))));
}

async fn what_is_completed_is_logged(fixture: &impl Fixture) {
    let scene = Scene::on(fixture).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 2, true).await;
    let log = format!(
        "[[{},{instance},0,-1,1,\"completed\",5],[{},{instance},1,3,1,\"failed\",5,\"it's \\u0000\\\"\"]]",
        actions[0], actions[1]
    );
    scene
        .apply(Batch {
            log: Some(json(log)),
            ..completed(actions.iter().map(|it| delivery(*it, 1)))
        })
        .await
        .unwrap();
    let outcomes = [(actions[0].0, "completed"), (actions[1].0, "failed")];
    let expected = outcomes.map(|(action, outcome)| (action, outcome.to_owned()));
    assert_eq!(fixture.logged().await, expected);
    let again = scene.apply(completed([delivery(actions[0], 1)])).await;
    assert!(matches!(again, Err(StoreError::Stale(_))));
}
