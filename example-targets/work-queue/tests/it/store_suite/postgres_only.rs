//! PostgreSQL: schemas, servers that go and come back, errors that pass.

use std::sync::Arc;

use temporary_postgres::{Stop, TemporaryPostgres};
use tokio_postgres::NoTls;

use work_queue::{ActionId, Batch, PostgresOptions, PostgresStore, Query, Store, StoreError};

use super::fixtures::{
    Fixture, LONG, PostgresDatabase, Scene, completed, delivery, json, new_action, until,
};

/// Tests that need a server return at once where there is none.
macro_rules! server {
    () => {
        if temporary_postgres::left_out() {
            return;
        }
    };
}

fn refused(error: &StoreError, why: &str) {
    match error {
        StoreError::Refused { message } if message.contains(why) => {}
        other => panic!("refused for {why:?}, but it was {other:?}"),
    }
}

fn unavailable(error: &StoreError) {
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_come_at_once_to_an_empty_database() {
    server!();
    let database = PostgresDatabase::new();
    let stores = (0..8).map(|_| {
        let url = database.database.url();
        tokio::spawn(async move { PostgresStore::connect(&url).await })
    });
    for store in stores.collect::<Vec<_>>() {
        let store = store.await.unwrap().unwrap();
        store.open_session(LONG).await.unwrap();
    }
    let client = database.client().await;
    let rows = client
        .query("SELECT application, version FROM about", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<_, i32>(1), 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    server!();
    let database = PostgresDatabase::new();
    drop(database.open().await.unwrap());
    let client = database.client().await;
    client
        .batch_execute("UPDATE about SET version = 99")
        .await
        .unwrap();
    refused(&database.open().await.unwrap_err(), "version 99");
}

#[tokio::test]
async fn another_programs_schema_is_refused() {
    server!();
    let database = PostgresDatabase::new();
    let client = database.client().await;
    for theirs in [
        "CREATE TABLE work_queue.action (id integer)",
        "CREATE TABLE work_queue.about (theirs integer)",
        "CREATE TABLE work_queue.about (application text, version integer);
         INSERT INTO work_queue.about VALUES ('another', 1)",
    ] {
        client
            .batch_execute(&format!("CREATE SCHEMA work_queue; {theirs}"))
            .await
            .unwrap();
        refused(&database.open().await.unwrap_err(), "another program");
        client
            .batch_execute("DROP SCHEMA work_queue CASCADE")
            .await
            .unwrap();
    }
    // An empty one is as good as none.
    client
        .batch_execute("CREATE SCHEMA work_queue")
        .await
        .unwrap();
    database.open().await.unwrap();
}

#[tokio::test]
async fn schemas_of_one_database_do_not_know_each_other() {
    server!();
    let database = PostgresDatabase::new();
    let mut stores = Vec::new();
    for schema in ["one", "The \"Other\""] {
        let mut options = PostgresOptions::default();
        options.schema = schema.to_owned();
        let config = database.database.url().parse().unwrap();
        let store = PostgresStore::connect_with(config, NoTls, options)
            .await
            .unwrap();
        assert_eq!(store.schema(), schema);
        stores.push(store);
    }
    let workflow = stores[0].workflow("test", "{}").await.unwrap();
    stores[0]
        .create(vec![super::fixtures::new_instance(workflow)].into())
        .await
        .unwrap();
    assert_eq!(stores[0].counts().await.unwrap().waiting, 1);
    assert_eq!(stores[1].counts().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn what_can_not_be_reached_is_unavailable_and_what_is_wrong_is_refused() {
    server!();
    let url = PostgresDatabase::new().database.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let no_database = PostgresStore::connect(&format!("{server}/nowhere")).await;
    refused(&no_database.unwrap_err(), "3D000");
    let no_url = PostgresStore::connect("postgresql://[").await;
    refused(&no_url.unwrap_err(), "connection string");
    let directory = tempfile::tempdir().unwrap();
    let nobody = format!("host={} user=postgres", directory.path().display());
    unavailable(&PostgresStore::connect(&nobody).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_is_found_again() {
    server!();
    let mut cluster = TemporaryPostgres::start().unwrap();
    let database = PostgresDatabase::of(&cluster);
    let scene = Scene::on(&database).await;
    let instance = scene.start(1).await[0];
    for how in [Stop::Fast, Stop::Immediate] {
        let action = scene.enqueue(instance, 1, true).await[0];
        cluster.stop(how).unwrap();
        let batch = Arc::new(completed([delivery(action, 1)]));
        let stamp = scene.next_stamp();
        let apply = async || scene.store.apply(stamp, Arc::clone(&batch)).await;
        unavailable(&apply().await.unwrap_err());
        let claims = scene
            .store
            .claim_actions(scene.session, Arc::new([scene.workflow]), 1);
        unavailable(&claims.await.unwrap_err());
        unavailable(&scene.store.renew(scene.session, LONG).await.unwrap_err());
        cluster.start_again().unwrap();
        // The pool may still have a connection whose end it has not seen.
        until(async || match apply().await {
            Ok(_) => Some(()),
            Err(error) => {
                unavailable(&error);
                None
            }
        })
        .await;
        assert_eq!(scene.actions().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_are_replaced() {
    server!();
    let database = PostgresDatabase::new();
    let scene = Scene::on(&database).await;
    let instance = scene.start(1).await[0];
    let client = database.client().await;
    for _ in 0..10 {
        let action = scene.enqueue(instance, 1, true).await[0];
        client
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = 'work-queue'
                     AND datname = current_database()",
                &[],
            )
            .await
            .unwrap();
        let stamp = scene.next_stamp();
        let batch = Arc::new(completed([delivery(action, 1)]));
        until(
            async || match scene.store.apply(stamp, Arc::clone(&batch)).await {
                Ok(_) => Some(()),
                Err(error) => {
                    unavailable(&error);
                    None
                }
            },
        )
        .await;
        assert_eq!(scene.actions().await, 0);
    }
}

/// A batch whose statement still runs when its connection is cut, and which is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_sent_again_waits_for_the_first() {
    server!();
    let database = PostgresDatabase::new();
    let scene = Scene::on(&database).await;
    let instance = scene.start(1).await[0];
    let action = scene.enqueue(instance, 1, true).await[0];
    let mut blocker = database.client().await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute("SELECT FROM action WHERE id = $1 FOR UPDATE", &[&action.0])
        .await
        .unwrap();

    let stamp = scene.next_stamp();
    let batch = Arc::new(completed([delivery(action, 1)]));
    let send = |store: &Arc<PostgresStore>| {
        let (store, batch) = (Arc::clone(store), Arc::clone(&batch));
        tokio::spawn(async move { store.apply(stamp, batch).await })
    };
    let observer = database.client().await;
    let waiting = async |n: i64| {
        until(async || {
            let row = observer
                .query_one(
                    "SELECT count(*) FROM pg_stat_activity
                     WHERE wait_event_type = 'Lock' AND datname = current_database()",
                    &[],
                )
                .await
                .unwrap();
            (row.get::<_, i64>(0) == n).then_some(())
        })
        .await;
    };
    let first = send(&scene.store);
    waiting(1).await;
    // Nobody waits for its answer any more; the server does not know.
    first.abort();
    let second = send(&Arc::new(database.open().await.unwrap()));
    waiting(2).await;
    lock.rollback().await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(scene.actions().await, 0);
    assert!(
        scene
            .store
            .apply(scene.next_stamp(), Arc::new(Batch::default()))
            .await
            .is_ok()
    );
}

/// By their codes, as a server would raise them in the middle of a batch.
#[tokio::test]
async fn errors_that_pass_are_told_from_those_that_do_not() {
    server!();
    let database = PostgresDatabase::new();
    let scene = Scene::on(&database).await;
    let instance = scene.start(1).await[0];
    let action = scene.enqueue(instance, 1, true).await[0];
    let client = database.client().await;
    let new = ActionId(scene.store.reserve(1).await.unwrap());
    let stamp = scene.next_stamp();
    let batch = Arc::new(Batch {
        actions: vec![new_action(new, instance)],
        log: Some(json("[]")),
        ..completed([delivery(action, 1)])
    });
    for (code, passes) in [
        ("53100", true),  // disk full
        ("53200", true),  // out of memory
        ("53300", true),  // too many connections
        ("57P01", true),  // admin shutdown
        ("57014", true),  // cancelled
        ("40P01", true),  // deadlock
        ("40001", true),  // serialization
        ("55P03", true),  // lock not available
        ("58030", true),  // I/O error
        ("25006", true),  // read-only: the other one of a pair is the primary now
        ("08006", true),  // connection
        ("42501", false), // not allowed
        ("22003", false), // out of range
        ("XX001", false), // data corrupted
        ("57P04", false), // database dropped
    ] {
        client
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END $$;
                 CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON log
                     FOR EACH ROW EXECUTE FUNCTION fail()"
            ))
            .await
            .unwrap();
        let error = scene
            .store
            .apply(stamp, Arc::clone(&batch))
            .await
            .unwrap_err();
        let expected = format!("on purpose (SQLSTATE {code})");
        match &error {
            StoreError::Unavailable { message } if passes => assert_eq!(*message, expected),
            StoreError::Refused { message } if !passes => assert_eq!(*message, expected),
            other => panic!("{code}: {other:?}"),
        }
        assert_eq!(scene.actions().await, 1, "nothing of it was applied");
    }
    client
        .batch_execute("DROP TRIGGER fail ON log")
        .await
        .unwrap();
    scene.store.apply(stamp, batch).await.unwrap();
}

/// A poll that finds nothing takes no transaction number, hence no sync.
#[tokio::test]
async fn an_idle_queue_writes_nothing() {
    server!();
    let cluster = TemporaryPostgres::builder()
        .setting("autovacuum", "off")
        .start()
        .unwrap();
    let database = PostgresDatabase::of(&cluster);
    let scene = Scene::on(&database).await;
    let client = database.client().await;
    let next_transaction = async || -> i64 {
        let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        client.query_one(next, &[]).await.unwrap().get(0)
    };
    let before = next_transaction().await;
    for _ in 0..3 {
        assert!(scene.claim(10).await.is_empty());
        assert!(scene.claim_actions(10).await.is_empty());
    }
    assert_eq!(next_transaction().await, before);
    scene.create(1).await;
    assert_eq!(next_transaction().await, before + 1);
}

/// One for each batch, whatever is in it.
#[tokio::test]
async fn a_batch_is_one_transaction() {
    server!();
    let cluster = TemporaryPostgres::builder()
        .setting("autovacuum", "off")
        .start()
        .unwrap();
    let database = PostgresDatabase::of(&cluster);
    let scene = Scene::on(&database).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 400, true).await;
    let client = database.client().await;
    let next_transaction = async || -> i64 {
        let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        client.query_one(next, &[]).await.unwrap().get(0)
    };
    for some in [&actions[..1], &actions[1..26], &actions[26..]] {
        let before = next_transaction().await;
        scene
            .apply(Batch {
                arrivals: vec![super::fixtures::arrival(instance, 1, 9, some[0].0)],
                log: Some(json("[]")),
                ..completed(some.iter().map(|it| delivery(*it, 1)))
            })
            .await
            .unwrap();
        assert_eq!(next_transaction().await, before + 1);
    }
    let times = scene.store.query_times();
    let applied = times.iter().find(|(query, _)| *query == Query::Apply);
    assert_eq!(applied.unwrap().1.rows, 400);
}

#[tokio::test]
async fn the_parts_of_a_batch_are_timed() {
    server!();
    let database = PostgresDatabase::timed();
    let scene = Scene::on(&database).await;
    let instance = scene.start(1).await[0];
    let actions = scene.enqueue(instance, 30, true).await;
    scene
        .apply(Batch {
            arrivals: vec![super::fixtures::arrival(instance, 1, 9, 1)],
            log: Some(json("[]")),
            ..completed(actions.iter().map(|it| delivery(*it, 1)))
        })
        .await
        .unwrap();
    let times = scene.store.query_times();
    let of = |query| {
        times
            .iter()
            .find(|(it, _)| *it == query)
            .map(|(_, times)| *times)
    };
    for (query, rows) in [
        (Query::DeleteActions, 30),
        (Query::EnqueueActions, 30),
        (Query::Arrivals, 1),
        (Query::UpdateInstances, 1),
        (Query::Log, 1),
    ] {
        let times = of(query).unwrap_or_else(|| panic!("{query:?}"));
        assert_eq!((times.n, times.rows), (1, rows), "{query:?}");
        assert!(times.mean_us > 0.0, "{query:?}");
    }
    assert_eq!(of(Query::Commit).unwrap().n, 3);
    assert!(
        of(Query::Apply).is_none(),
        "not mixed with those that take longer"
    );
}

#[tokio::test]
async fn a_role_without_durable_commits_gets_them_all_the_same() {
    server!();
    let database = PostgresDatabase::new();
    let client = database.client().await;
    let name = database.database.name();
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET synchronous_commit = off"
        ))
        .await
        .unwrap();
    let scene = Scene::on(&database).await;
    // A trigger of the store's own transaction says what it is.
    client
        .batch_execute(
            "CREATE TABLE public.seen (setting text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
                 RETURN NEW; END $$;
             CREATE TRIGGER look BEFORE INSERT ON instance FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await
        .unwrap();
    scene.create(1).await;
    let row = client
        .query_one("SELECT setting FROM public.seen", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "on");
}
