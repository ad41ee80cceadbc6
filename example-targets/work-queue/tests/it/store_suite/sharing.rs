//! Engines on one store: together they do all of it, once.

use std::sync::Arc;
use std::time::Duration;

use work_queue::{Engine, Outcome, Store, queue_noop};

use super::fixtures::{Fixture, Scene, json};
use super::on_both_stores;

on_both_stores![two_engines_share_the_work];

async fn two_engines_share_the_work(fixture: &impl Fixture) {
    const INSTANCES: usize = 40;
    let mut engines = Vec::new();
    for _ in 0..2 {
        let store = Arc::new(fixture.open().await.unwrap());
        let engine = Engine::builder(store)
            .handlers(queue_noop::handlers())
            .workflow(queue_noop::workflow(4));
        engines.push(engine.start().await.unwrap());
    }
    let inputs = (0..INSTANCES).map(|_| (queue_noop::input(4), 0, Duration::ZERO));
    let ids = engines[0]
        .create_many("queue-noop-4", inputs.collect())
        .await
        .unwrap();
    let expected = json("{\"n\":4,\"sum\":6}");
    for (id, engine) in ids.iter().zip(engines.iter().cycle()) {
        let (outcome, result) = engine.wait(*id).await.unwrap();
        assert_eq!((outcome, &result), (Outcome::Completed, &expected));
    }
    let mut done = 0;
    for engine in engines {
        let metrics = engine.metrics();
        assert_eq!(metrics.lost_events, 0, "{:?}", metrics.messages);
        done += metrics.actions_completed;
        engine.shutdown(Duration::from_secs(10)).await;
    }
    assert_eq!(done, 13 * INSTANCES as u64);
    let logged = fixture.logged().await;
    assert_eq!(logged.len(), 13 * INSTANCES);
    let counts = Scene::on(fixture).await.store.counts().await.unwrap();
    assert_eq!((counts.completed, counts.actions), (INSTANCES as u64, 0));
    assert_eq!((counts.waiting, counts.running), (0, 0));
}
