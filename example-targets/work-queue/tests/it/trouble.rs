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
use work_queue::{Engine, Outcome, SqliteStore, queue_noop};

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
