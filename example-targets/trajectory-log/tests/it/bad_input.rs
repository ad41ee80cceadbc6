//! Turns and files that are not as they should be: a clear error, or stored as they are.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use trajectory_log::{
    BlockingLogger, Config, Content, Error, StorageError, TURN_BYTES_MAX, TrajectoryLogger,
    TrajectoryReader, Turn, WithCauses,
};

use crate::storage::{directory, runtime};

/// What opening says, and what helps.
fn refused(path: &Path) -> (Error, String) {
    let error = TrajectoryLogger::open(path, Config::default()).unwrap_err();
    let cure = error.cure().unwrap_or_default();
    let directory = path.parent().unwrap().to_str().unwrap();
    let text = format!("{error}\n{cure}").replace(directory, "DIR");
    (error, text)
}

#[test]
fn nul_bytes_and_every_other_character_are_kept() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let everything: String = (0..=0x2fff_u32).filter_map(char::from_u32).collect();
    let turn = Turn::new("r\0un", 0, "\0", format!("\0{everything}\0"));
    let logger = TrajectoryLogger::open(&path, Config::default()).unwrap();
    runtime().block_on(async {
        logger.log_turn(turn.clone()).await.unwrap();
        logger.close().await.unwrap();
    });
    let reader = TrajectoryReader::open(&path).unwrap();
    let turns = reader.turns_of("r\0un").unwrap();
    assert_eq!(turns[0].turn, turn);
    assert_eq!(reader.turns_of("r").unwrap(), []);
    let bytes = turn.content.as_str().len() as u64;
    assert_eq!(reader.counts().unwrap().content_bytes, bytes);
}

#[test]
fn a_turn_of_10_mib_is_logged_among_others() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let logger = TrajectoryLogger::open(&path, Config::default()).unwrap();
    let content = "0123456789abcdef".repeat(10 << 16);
    runtime().block_on(async {
        logger
            .log_turn(Turn::new("r", 0, "user", "before"))
            .await
            .unwrap();
        logger
            .log_turn(Turn::new("r", 1, "tool", content.clone()))
            .await
            .unwrap();
        logger
            .log_turn(Turn::new("r", 2, "user", "after"))
            .await
            .unwrap();
        logger.close().await.unwrap();
    });
    let turns = TrajectoryReader::open(&path)
        .unwrap()
        .turns_of("r")
        .unwrap();
    assert_eq!(turns.len(), 3);
    assert_eq!(turns[1].turn.content, Content::Text(content));
}

#[test]
fn a_turn_that_is_too_long_is_refused_and_the_others_go_on() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let logger = TrajectoryLogger::open(&path, Config::default()).unwrap();
    let longest = "x".repeat(TURN_BYTES_MAX - 5);
    runtime().block_on(async {
        let error = logger
            .log_turn(Turn::new("r", 0, "tool", format!("{longest}x")))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "log a turn of 67108865 bytes (at most 67108864 are allowed)"
        );
        logger
            .log_turn_durable(Turn::new("r", 1, "tool", longest))
            .await
            .unwrap();
        logger.close().await.unwrap();
    });
    let turns = TrajectoryReader::open(&path)
        .unwrap()
        .turns_of("r")
        .unwrap();
    let numbers: Vec<u32> = turns.iter().map(|logged| logged.turn.turn).collect();
    assert_eq!(numbers, [1]);
}

#[test]
fn a_value_that_has_no_json_is_refused_before_it_is_logged() {
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it has a lock in it"))
        }
    }
    let error = Turn::with_json("run-7", 3, "tool", &Refuses).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    insta::assert_snapshot!(
        format!("{error}: {source}\n{}", error.cure().unwrap()),
        @r"
    make JSON of turn 3 of run run-7: it has a lock in it
    give a value that has JSON, with strings for keys, or log it as text
    "
    );
}

#[test]
fn a_missing_directory_is_named() {
    let directory = directory();
    let (_, text) = refused(&directory.path().join("missing/log.db"));
    insta::assert_snapshot!(
        text.replace(directory.path().to_str().unwrap(), "ROOT"),
        @r"
    open DIR/log.db: there is no directory DIR
    create it: mkdir -p DIR
    "
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_in_the_place_of_the_database_is_refused() {
    let directory = directory();
    let (_, text) = refused(directory.path());
    assert!(text.starts_with("open DIR"), "{text}");
}

#[test]
fn a_file_that_is_no_database_is_left_as_it_is() {
    let directory = directory();
    let path = directory.path().join("notes.txt");
    let notes = "remember the milk\n".repeat(300);
    fs::write(&path, &notes).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(
        error,
        Error::Storage(StorageError::NotADatabase { .. })
    ));
    insta::assert_snapshot!(text, @r"
    open DIR/notes.txt: it is not an SQLite database
    give another path; the file was left as it is
    ");
    assert_eq!(fs::read_to_string(&path).unwrap(), notes);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn the_database_of_another_program_is_left_as_it_is() {
    for mode in ["delete", "wal"] {
        for mark in ["", "PRAGMA user_version = 1", "PRAGMA application_id = 7"] {
            let directory = directory();
            let path = directory.path().join("bookmarks.db");
            let theirs = Connection::open(&path).unwrap();
            theirs.pragma_update(None, "journal_mode", mode).unwrap();
            theirs.execute_batch("CREATE TABLE turns (x)").unwrap();
            theirs.execute_batch(mark).unwrap();
            theirs.close().unwrap();
            let before = fs::read(&path).unwrap();
            let (error, text) = refused(&path);
            assert!(matches!(
                error,
                Error::Storage(StorageError::Foreign { .. })
            ));
            insta::allow_duplicates! {
                insta::assert_snapshot!(text, @r"
                open DIR/bookmarks.db: it is the database of another program
                give another path; the file was left as it is
                ");
            }
            TrajectoryReader::open(&path).unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), before);
        }
    }
}

/// One in which another program has made nothing but its mark.
#[test]
fn an_empty_database_with_a_mark_is_foreign_too() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("PRAGMA application_id = 7").unwrap();
    theirs.close().unwrap();
    let (error, _) = refused(&path);
    assert!(matches!(
        error,
        Error::Storage(StorageError::Foreign { .. })
    ));
}

#[test]
fn a_log_of_a_later_version_is_left_as_it_is() {
    let directory = directory();
    let path = directory.path().join("log.db");
    BlockingLogger::open(&path, Config::default())
        .unwrap()
        .close()
        .unwrap();
    let later = Connection::open(&path).unwrap();
    later.execute_batch("PRAGMA user_version = 2").unwrap();
    later.close().unwrap();
    let before = fs::read(&path).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(
        error,
        Error::Storage(StorageError::NewerVersion { version: 2, .. })
    ));
    insta::assert_snapshot!(text, @r"
    open DIR/log.db: its format version is 2, and this program knows 1
    use the newer program; the database was left as it is
    ");
    TrajectoryReader::open(&path).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// As `touch` or a creator that was killed leaves it.
#[test]
fn an_empty_file_becomes_a_log() {
    let directory = directory();
    let path = directory.path().join("log.db");
    fs::write(&path, "").unwrap();
    BlockingLogger::open(&path, Config::default()).unwrap();
    assert_eq!(
        TrajectoryReader::open(&path)
            .unwrap()
            .counts()
            .unwrap()
            .turns,
        0
    );
}

#[test]
fn a_reader_creates_nothing() {
    let directory = directory();
    let error = TrajectoryReader::open(directory.path().join("log.db")).unwrap_err();
    assert!(matches!(
        error,
        Error::Storage(StorageError::FileMissing { .. })
    ));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// SQLite changes the journal mode only while nobody else has the database open.
#[test]
fn a_journal_mode_that_others_keep_is_said() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let first = TrajectoryLogger::open(&path, Config::default()).unwrap();
    let config = Config {
        durability: "delete/full".parse().unwrap(),
        ..Config::default()
    };
    let error = TrajectoryLogger::open(&path, config.clone()).unwrap_err();
    let text = WithCauses(&error).to_string();
    insta::assert_snapshot!(
        format!("{text}\n{}", error.cure().unwrap()).replace(path.to_str().unwrap(), "LOG"),
        @r"
    open LOG: database is locked
    end the program that holds its lock
    "
    );
    drop(first);
    TrajectoryLogger::open(&path, config).unwrap();
}

/// A damaged database is a death, not something to try again.
#[test]
fn a_damaged_database_ends_the_writer() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let config = Config {
        durability: "delete/full".parse().unwrap(),
        ..Config::default()
    };
    let logger = TrajectoryLogger::open(&path, config).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0xff; usize::try_from(length).unwrap()]).unwrap();
    runtime().block_on(async {
        let error = logger
            .log_turn_durable(Turn::new("r", 0, "user", "…"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::WriterDied { kept: 1, .. }),
            "{error:?}"
        );
        let error = logger.close().await.unwrap_err();
        assert!(matches!(error, Error::Unwritten { .. }), "{error:?}");
    });
}

#[test]
fn a_configuration_that_is_out_of_range_opens_nothing() {
    let directory = directory();
    let config = Config {
        buffer_size: 0,
        ..Config::default()
    };
    let error = TrajectoryLogger::open(directory.path().join("log.db"), config).unwrap_err();
    assert!(matches!(error, Error::Config(_)));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
