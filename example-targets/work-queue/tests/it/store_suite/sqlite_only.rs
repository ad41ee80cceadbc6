//! SQLite files that are not what they should be.

use work_queue::{Store, StoreError};

use super::fixtures::{Fixture, Scene, SqliteFile};

#[tokio::test]
async fn a_file_is_brought_up_to_date_once() {
    let file = SqliteFile::new();
    let id = Scene::on(&file).await.create(1).await[0];
    let again = Scene::on(&file).await;
    assert_eq!(again.claim(10).await[0].id, id);
}

#[tokio::test]
async fn a_newer_file_is_refused() {
    let file = SqliteFile::new();
    drop(file.open().await.unwrap());
    file.connection()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = file.open().await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { message } if message.contains("version 99")));
}

#[tokio::test]
async fn another_programs_file_is_refused() {
    let file = SqliteFile::new();
    file.connection()
        .execute_batch("CREATE TABLE theirs (id INTEGER)")
        .unwrap();
    let error = file.open().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { message } if message.contains("another program"))
    );
    let tables: i64 = file
        .connection()
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn times_are_counted_by_query() {
    let file = SqliteFile::new();
    let scene = Scene::on(&file).await;
    scene.start(3).await;
    assert!(!scene.store.query_times().is_empty());
}
