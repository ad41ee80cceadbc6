//! What every store has to do, tried on each: a test here runs on SQLite and on Postgres.
//!
//! Where no PostgreSQL server is installed, its half is left out and counted (see
//! `temporary-postgres`).

mod batches;
mod claims;
mod fixtures;
mod gates;
mod leases;
mod postgres_only;
mod sharing;
mod sqlite_only;
mod values;

/// Runs tests on both stores: each gets a fixture.
macro_rules! on_both_stores {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&crate::store_suite::fixtures::SqliteFile::new()).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if temporary_postgres::left_out() {
                        return;
                    }
                    super::$test(&crate::store_suite::fixtures::PostgresDatabase::new()).await;
                }
            )+
        }
    };
}

/// The same, and once more on a Postgres store that times the parts of every batch.
macro_rules! on_both_stores_and_timed {
    ($($test:ident),+ $(,)?) => {
        crate::store_suite::on_both_stores![$($test),+];
        mod on_timed_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if temporary_postgres::left_out() {
                        return;
                    }
                    super::$test(&crate::store_suite::fixtures::PostgresDatabase::timed()).await;
                }
            )+
        }
    };
}
use {on_both_stores, on_both_stores_and_timed};
