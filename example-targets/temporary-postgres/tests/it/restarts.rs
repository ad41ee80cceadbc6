//! Stopped and started again, in good order and as in a crash.

use temporary_postgres::{Error, Stop, TemporaryPostgres, left_out};
use tokio_postgres::NoTls;

use crate::support::{Processes, one, query};

#[test]
fn a_restart_keeps_what_was_committed() {
    if left_out() {
        return;
    }
    let mut postgres = TemporaryPostgres::start().unwrap();
    let url = postgres.url();
    query(&url, "CREATE TABLE kept (value int)").unwrap();
    for (how, recovers) in [(Stop::Fast, false), (Stop::Immediate, true)] {
        query(&url, "INSERT INTO kept VALUES (1)").unwrap();
        let before = postgres.server_pid();
        let logged = postgres.log().unwrap().len();
        postgres.restart(how).unwrap();
        assert_ne!(postgres.server_pid(), before);
        let log = postgres.log().unwrap().split_off(logged);
        let recovered = log.contains("automatic recovery in progress");
        assert_eq!(recovered, recovers, "{how:?}: {log}");
    }
    assert_eq!(one(&url, "SELECT count(*) FROM kept"), "2");
}

#[test]
fn a_stopped_server_is_gone_until_it_is_started() {
    if left_out() {
        return;
    }
    let mut postgres = TemporaryPostgres::start().unwrap();
    let processes = Processes::below(postgres.server_pid().unwrap());
    assert!(
        processes.count("postgres") > 1,
        "it has processes of its own"
    );
    postgres.stop(Stop::Fast).unwrap();
    assert_eq!(processes.running(), [""; 0]);
    assert_eq!(postgres.server_pid(), None);
    assert!(query(&postgres.url(), "SELECT 1").is_err());
    let refused = postgres.fresh_database().unwrap_err();
    assert!(matches!(refused, Error::CreateDatabase { .. }), "{refused}");

    // Again: nothing to do.
    postgres.stop(Stop::Immediate).unwrap();
    postgres.start_again().unwrap();
    let server = postgres.server_pid();
    postgres.start_again().unwrap();
    assert_eq!(postgres.server_pid(), server);
    assert_eq!(one(&postgres.url(), "SELECT 1"), "1");
}

#[test]
fn an_immediate_stop_cuts_sessions_and_takes_no_commit_back() {
    if left_out() {
        return;
    }
    let mut postgres = TemporaryPostgres::start().unwrap();
    let url = postgres.url();
    query(&url, "CREATE TABLE kept (value int)").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        for statement in [
            "INSERT INTO kept VALUES (1)",
            "BEGIN",
            "INSERT INTO kept VALUES (2)",
        ] {
            client.batch_execute(statement).await.unwrap();
        }
        postgres.restart(Stop::Immediate).unwrap();
        client.batch_execute("COMMIT").await.unwrap_err();
        // With an error, or as an end: both are a cut session.
        let _ = connection.await.unwrap();
    });
    assert_eq!(one(&url, "SELECT value FROM kept"), "1");
}

#[test]
fn a_crashed_server_is_no_orderly_end() {
    if left_out() {
        return;
    }
    let mut postgres = TemporaryPostgres::start().unwrap();
    let server = postgres.server_pid().unwrap();
    let processes = Processes::below(server);
    let pid = rustix::process::Pid::from_raw(server.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let error = postgres.stop(Stop::Fast).unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
    // Its backends noticed by themselves, and the next server can start beside none of them.
    postgres.start_again().unwrap();
    processes.wait();
    assert_eq!(one(&postgres.url(), "SELECT 1"), "1");
}
