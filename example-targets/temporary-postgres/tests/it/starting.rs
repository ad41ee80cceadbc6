//! A cluster that starts, and what it is then like.

use std::fs;
use std::os::unix::fs::MetadataExt;

use temporary_postgres::{PORT, ROLE, TemporaryPostgres, left_out, shared};

use crate::owner::entries;
use crate::support::{one, query};

#[test]
fn a_cluster_has_the_defaults_of_a_server_that_is_kept() {
    if left_out() {
        return;
    }
    let postgres = TemporaryPostgres::builder()
        .setting("shared_buffers", "16MB")
        .start()
        .unwrap();
    assert_eq!(postgres.port(), PORT);
    let show = |setting: &str| one(&postgres.url(), &format!("SHOW {setting}"));
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(show(setting), "on", "{setting}");
    }
    assert_eq!(show("listen_addresses"), "");
    assert_eq!(show("shared_buffers"), "16MB");
    assert_eq!(show("server_version"), postgres.version());
    assert_eq!(
        show("data_directory"),
        postgres.data_directory().to_str().unwrap()
    );
    let log = postgres.log().unwrap();
    assert!(log.contains("ready to accept connections"), "{log}");
}

#[test]
fn both_ways_to_name_it_lead_there() {
    if left_out() {
        return;
    }
    let postgres = TemporaryPostgres::start().unwrap();
    let database = postgres.create_database("it's a \"name\"").unwrap();
    for by in [database.url(), database.connection_string()] {
        let whom = one(
            &by,
            "SELECT concat(current_user, ' in ', current_database())",
        );
        assert_eq!(whom, format!("{ROLE} in it's a \"name\""));
    }
    assert_eq!(database.socket_directory(), postgres.socket_directory());
    for by in [postgres.url(), postgres.connection_string()] {
        assert_eq!(one(&by, "SELECT current_database()"), ROLE);
    }
    let output = postgres
        .client("psql")
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command"])
        .args(["SELECT 6 * 7", ROLE])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");

    let again = postgres.create_database("it's a \"name\"").unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
}

#[test]
fn the_server_is_a_child_that_is_not_root() {
    if left_out() {
        return;
    }
    let postgres = TemporaryPostgres::start().unwrap();
    let process = format!("/proc/{}", postgres.server_pid().unwrap());
    let user = fs::metadata(&process).unwrap().uid();
    assert_ne!(user, 0);
    let directory = fs::metadata(postgres.socket_directory()).unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o777), (user, 0o700));
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let parent = format!("PPid:\t{}\n", std::process::id());
    assert!(status.contains(&parent), "{status}");
}

/// Two tests, so that `cargo test` shares the cluster among its threads.
fn has_a_database_to_itself() {
    let database = shared().unwrap().fresh_database().unwrap();
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(one(&database.url(), tables), "0");
    query(&database.url(), "CREATE TABLE here (value int)").unwrap();
    assert_eq!(one(&database.url(), tables), "1");

    let other = shared().unwrap().fresh_database().unwrap();
    assert_ne!(other.name(), database.name());
    assert_eq!(one(&other.url(), tables), "0");
}

#[test]
fn one_test_has_a_database_to_itself() {
    if !left_out() {
        has_a_database_to_itself();
    }
}

#[test]
fn another_test_has_a_database_to_itself() {
    if !left_out() {
        has_a_database_to_itself();
    }
}

/// `initdb` gives each cluster an identifier of its own; a copy has the template's.
fn identifier(postgres: &TemporaryPostgres) -> String {
    one(
        &postgres.url(),
        "SELECT system_identifier FROM pg_control_system()",
    )
}

#[test]
fn a_template_is_made_once_and_copied() {
    if left_out() {
        return;
    }
    let templates = tempfile::tempdir().unwrap();
    // It makes the directory, too.
    let templates = templates.path().join("templates");
    let start = || {
        TemporaryPostgres::builder()
            .templates(&templates)
            .start()
            .unwrap()
    };
    let first = start();
    let identifier_of_all = identifier(&first);
    // A copy is not touched by what the original does.
    query(&first.url(), "CREATE TABLE here (value int)").unwrap();
    let second = start();
    assert_eq!(identifier(&second), identifier_of_all);
    assert!(query(&second.url(), "TABLE here").is_err());
    let without = TemporaryPostgres::builder()
        .without_template()
        .start()
        .unwrap();
    assert_ne!(identifier(&without), identifier_of_all);

    let names: Vec<_> = entries(&templates);
    assert_eq!(names.len(), 2, "a lock and one version: {names:?}");
}

#[test]
fn a_template_that_cannot_be_had_is_done_without() {
    if left_out() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let postgres = TemporaryPostgres::builder()
        .templates(&file)
        .start()
        .unwrap();
    assert_eq!(one(&postgres.url(), "SELECT 1"), "1");

    // One was killed while it made the template, and left half of it.
    let templates = place.path().join("templates");
    let start = || {
        TemporaryPostgres::builder()
            .templates(&templates)
            .start()
            .unwrap()
    };
    drop(start());
    let template = entries(&templates)
        .into_iter()
        .find(|entry| entry.is_dir())
        .unwrap();
    let unfinished = template.with_added_extension("unfinished");
    fs::rename(&template, &unfinished).unwrap();
    fs::remove_dir_all(unfinished.join("global")).unwrap();
    let first = identifier(&start());
    assert_eq!(identifier(&start()), first);
    assert!(!unfinished.exists());
}

#[test]
fn a_settled_cluster_on_a_disk_is_one_too() {
    if left_out() {
        return;
    }
    let postgres = TemporaryPostgres::builder()
        .on_disk()
        .settled()
        .start()
        .unwrap();
    assert_eq!(one(&postgres.url(), "SELECT 1"), "1");
}
