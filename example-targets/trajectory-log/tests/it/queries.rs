//! The query side: turns of a run, the last ones, counts.

use trajectory_log::{BlockingLogger, Config, Content, TrajectoryReader, Turn};

use crate::storage::directory;

#[test]
fn what_was_logged_is_read_back() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let mut logger = BlockingLogger::open(&path, Config::default()).unwrap();
    let turns = [
        Turn::new("a", 1, "user", "question"),
        Turn::with_json("b", 1, "tool", &serde_json::json!({"k": [1, null]})).unwrap(),
        Turn::new("a", 2, "assistant", ""),
        Turn::new("", 7, "", "a run without a name"),
        Turn::new("a", 2, "assistant", "again"),
    ];
    for turn in &turns {
        logger.log_turn(turn.clone()).unwrap();
    }
    logger.flush().unwrap();

    let reader = TrajectoryReader::open(&path).unwrap();
    let read = |turns: Vec<trajectory_log::LoggedTurn>| {
        turns
            .into_iter()
            .map(|logged| logged.turn)
            .collect::<Vec<_>>()
    };
    let [question, object, empty, unnamed, again] = turns;
    let of_a = [question.clone(), empty.clone(), again.clone()];
    assert_eq!(read(reader.turns_of("a").unwrap()), of_a);
    assert_eq!(
        read(reader.turns_of("").unwrap()),
        std::slice::from_ref(&unnamed)
    );
    assert_eq!(read(reader.turns_of("c").unwrap()), []);
    assert_eq!(
        read(reader.tail(2, None).unwrap()),
        [unnamed, again.clone()]
    );
    assert_eq!(read(reader.tail(2, Some("a")).unwrap()), [empty, again]);
    assert_eq!(
        read(reader.tail(9, Some("b")).unwrap()),
        std::slice::from_ref(&object)
    );
    assert_eq!(reader.tail(99, None).unwrap().len(), 5);
    assert_eq!(object.content, Content::Json(r#"{"k":[1,null]}"#.into()));
    assert_eq!(
        (reader.count_of("a").unwrap(), reader.count_of("c").unwrap()),
        (3, 0)
    );

    let counts = reader.counts().unwrap();
    assert_eq!((counts.turns, counts.runs), (5, 3));
    assert_eq!(counts.content_bytes, 8 + 14 + 20 + 5);
    assert!(counts.first_at_ms.unwrap() > 1_700_000_000_000);
    assert!(counts.first_at_ms <= counts.last_at_ms);
}

/// A run is found by the blocks of ids that it has turns in: here it begins and ends within some,
/// fills one, is missing from others, and is taken up again by another logger.
#[test]
fn a_run_is_found_in_all_its_blocks() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let mut expected = Vec::new();
    let mut id = 0;
    for stretches in [
        [("a", 300), ("b", 600), ("a", 5)],
        [("b", 1), ("a", 255), ("b", 2)],
    ] {
        let mut logger = BlockingLogger::open(&path, Config::default()).unwrap();
        for (run, n) in stretches {
            for _ in 0..n {
                id += 1;
                logger.log_turn(Turn::new(run, id, "user", "…")).unwrap();
                if run == "a" {
                    expected.push(id);
                }
            }
        }
        logger.flush().unwrap();
    }
    let reader = TrajectoryReader::open(&path).unwrap();
    let numbers = |turns: Vec<trajectory_log::LoggedTurn>| -> Vec<u32> {
        turns.iter().map(|logged| logged.turn.turn).collect()
    };
    assert_eq!(numbers(reader.turns_of("a").unwrap()), expected);
    assert_eq!(reader.count_of("a").unwrap(), 560);
    assert_eq!(reader.count_of("b").unwrap(), 603);
    // The last of them are in two blocks, with a gap between.
    let tail = reader.tail(258, Some("a")).unwrap();
    assert_eq!(numbers(tail), expected[560 - 258..]);

    let connection = rusqlite::Connection::open(&path).unwrap();
    let blocks = "SELECT count(*) FROM blocks_of_run JOIN runs ON id = run WHERE run_id = 'a'";
    let blocks: i64 = connection.query_row(blocks, [], |row| row.get(0)).unwrap();
    assert_eq!(blocks, 4);
}

#[test]
fn an_empty_log_has_nothing() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let logger = BlockingLogger::open(&path, Config::default()).unwrap();
    let reader = TrajectoryReader::open(&path).unwrap();
    let counts = reader.counts().unwrap();
    assert_eq!((counts.turns, counts.first_at_ms), (0, None));
    assert_eq!(reader.tail(10, None).unwrap(), []);
    drop(logger);
}

/// A reader sees what is written, while the logger goes on.
#[test]
fn a_log_is_read_while_it_is_written() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let config = Config {
        buffer_size: 2,
        ..Config::default()
    };
    let mut logger = BlockingLogger::open(&path, config).unwrap();
    let reader = TrajectoryReader::open(&path).unwrap();
    for (number, written) in [(0, 0), (1, 2), (2, 2), (3, 4)] {
        logger
            .log_turn(Turn::new("r", number, "user", "…"))
            .unwrap();
        assert_eq!(reader.count_of("r").unwrap(), written);
    }
    // The last one of an odd number is written by the end.
    logger.log_turn(Turn::new("r", 4, "user", "…")).unwrap();
    logger.close().unwrap();
    assert_eq!(reader.count_of("r").unwrap(), 5);
}
