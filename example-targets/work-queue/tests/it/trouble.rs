//! A database that can't for a while: it is said, tried again with pauses, and nothing is lost.

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fsync_counter::{Action, FsyncCounter};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use perfbudget::tmpfs_dir;
use rusqlite::TransactionBehavior;
use serde_json::json;
use temporary_postgres::{Stop, TemporaryPostgres};
use tokio_postgres::NoTls;
use work_queue::{Engine, Outcome, PostgresStore, SqliteStore, queue_noop};

use crate::fixture::{Fixture, HANG, database, options};

const LOOP: usize = 3;

async fn fixture() -> Fixture {
    Fixture::new(queue_noop::workflow(LOOP), queue_noop::handlers()).await
}

async fn create(fixture: &Fixture, n: usize) -> Vec<work_queue::InstanceId> {
    let mut inputs = vec![(queue_noop::input(LOOP), 0, Duration::ZERO)];
    inputs.resize(n, inputs[0].clone());
    let made = fixture.engine.create_many("queue-noop-3", inputs).await;
    made.expect("created")
}

async fn all_end(fixture: &Fixture, instances: Vec<work_queue::InstanceId>) {
    for instance in instances {
        let ended = fixture.end_of(instance).await;
        assert_eq!(ended, (Outcome::Completed, json!({ "n": LOOP, "sum": 3 })));
    }
}

fn said(fixture: &Fixture, what: &str) -> bool {
    let messages = fixture.engine.metrics().messages;
    messages.iter().any(|message| message.contains(what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_somebody_has_locked_is_waited_for() {
    let fixture = fixture().await;
    let instances = create(&fixture, 20).await;
    let mut other = rusqlite::Connection::open(database(&fixture.directory)).expect("opens");
    other.busy_timeout(HANG).expect("set");
    let lock = other
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .expect("locked");
    let until = Instant::now() + HANG;
    while !said(&fixture, "database is locked; trying again") {
        assert!(
            Instant::now() < until,
            "{:?}",
            fixture.engine.metrics().messages
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let errors = fixture.engine.metrics().store_errors;
    lock.rollback().expect("let go of");
    all_end(&fixture, instances).await;
    assert!(errors < 20, "{errors} attempts: it is asked with pauses");
    let logged = "SELECT count(*) FROM action_log WHERE outcome = 'completed'";
    assert_eq!(fixture.ask(logged), 20 * 10);
}

/// A sync that fails leaves open whether the batch is there; it is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_is_tried_again() {
    for n in 1..=12 {
        let fixture = fixture().await;
        let counter = FsyncCounter::under(fixture.directory.as_ref());
        counter.at_sync(n, Action::Errno(libc::EIO));
        let instances = match fixture
            .engine
            .create("queue-noop-3", queue_noop::input(LOOP))
            .await
        {
            Ok(instance) => vec![instance],
            // It was said, and nothing was created.
            Err(error) => {
                assert!(error.to_string().contains("disk I/O error"), "{error}");
                assert_eq!(fixture.ask("SELECT count(*) FROM instance"), 0);
                continue;
            }
        };
        all_end(&fixture, instances).await;
        let logged = "SELECT count(*) FROM action_log WHERE outcome = 'completed'";
        assert_eq!(fixture.ask(logged), 10, "sync {n}");
    }
}

const FULL: &str = "WORK_QUEUE_FULL_DISK";

/// In a process of its own, as the limit is the process's.
#[test]
fn full_disk() {
    if env::var_os(FULL).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let directory = tmpfs_dir();
        let store = SqliteStore::open(database(&directory)).expect("a store");
        let engine = Engine::builder(Arc::new(store))
            .handlers(queue_noop::handlers())
            .options(options())
            .workflow(queue_noop::workflow(LOOP))
            .start()
            .await
            .expect("an engine");
        let fixture = Fixture { directory, engine };
        let instances = create(&fixture, 200).await;
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("a limit");
        setrlimit(Resource::RLIMIT_FSIZE, 300 << 10, hard).expect("set");
        let until = Instant::now() + HANG;
        while !said(&fixture, "; trying again") {
            assert!(Instant::now() < until, "the disk is full");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = fixture.engine.metrics().store_errors;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let errors = fixture.engine.metrics().store_errors - before;
        assert!(errors < 100, "{errors} attempts in 300 ms: no busy loop");
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).expect("set back");
        all_end(&fixture, instances).await;
        let logged = "SELECT count(*) FROM action_log WHERE outcome = 'completed'";
        assert_eq!(fixture.ask(logged), 200 * 10);
    });
    println!("full, and free again");
}

#[test]
fn a_disk_that_is_full_and_free_again_loses_nothing() {
    // The shell ignores the signal, so that a write says what is wrong, and so does what it starts.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" --exact trouble::full_disk --nocapture",
        ])
        .arg(env::current_exe().expect("this program"))
        .env(FULL, "1")
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("full, and free again"), "{text}");
}

/// The server is killed and comes back; connections are cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_and_comes_back_loses_nothing() {
    if temporary_postgres::left_out() {
        return;
    }
    let mut server = TemporaryPostgres::builder()
        .inside("/dev/shm")
        .start()
        .expect("a server");
    let url = server.fresh_database().expect("a database").url();
    let store = PostgresStore::connect(&url).await.expect("a store");
    let engine = Engine::builder(Arc::new(store))
        .handlers(queue_noop::handlers())
        .options(options())
        .workflow(queue_noop::workflow(LOOP))
        .start()
        .await
        .expect("an engine");
    let said = |what: &str| {
        let messages = engine.metrics().messages;
        messages
            .iter()
            .filter(|message| message.contains(what))
            .count()
    };
    let mut made = Vec::new();
    for round in 1..=2 {
        let mut inputs = vec![(queue_noop::input(LOOP), 0, Duration::ZERO)];
        inputs.resize(2_000, inputs[0].clone());
        let ids = engine.create_many("queue-noop-3", inputs).await;
        made.extend(ids.expect("created"));
        let until = Instant::now() + HANG;
        let begun = engine.metrics().actions_completed;
        while engine.metrics().actions_completed < begun + 500 {
            assert!(Instant::now() < until, "{:?}", engine.metrics().messages);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if round == 1 {
            server.stop(Stop::Immediate).expect("stopped");
            while said("; trying again") == 0 {
                assert!(Instant::now() < until, "{:?}", engine.metrics().messages);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.start_again().expect("started");
        } else {
            cut_connections(&url).await;
        }
    }
    for instance in made {
        let ended = tokio::time::timeout(HANG, engine.wait(instance)).await;
        let (outcome, _) = ended.expect("it ends").expect("it exists");
        assert_eq!(outcome, Outcome::Completed);
    }
    assert!(said("works again") > 0, "{:?}", engine.metrics().messages);
    assert!(
        engine.metrics().messages.len() < 30,
        "{:?}",
        engine.metrics().messages
    );
    engine.shutdown(Duration::from_secs(5)).await;
    let (client, connection) = tokio_postgres::connect(&url, NoTls)
        .await
        .expect("connects");
    tokio::spawn(connection);
    let counts = "SELECT count(*), count(DISTINCT action) FROM work_queue.action_log
        WHERE outcome = 'completed'";
    let counts = client.query_one(counts, &[]).await.expect("a row");
    let counts: (i64, i64) = (counts.get(0), counts.get(1));
    assert_eq!(
        counts,
        (4_000 * 10, 4_000 * 10),
        "each action was completed once"
    );
}

async fn cut_connections(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    tokio::spawn(connection);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'work-queue'";
    let cut: i64 = client.query_one(cut, &[]).await.expect("cut").get(0);
    assert!(cut > 0);
}
