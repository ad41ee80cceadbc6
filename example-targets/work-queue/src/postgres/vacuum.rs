//! Room for new rows where old ones were.
//!
//! An action's row is inserted and deleted within milliseconds, tens of thousands of times a
//! second; the server's own vacuum looks once a minute. Until then the table would grow by hundreds
//! of megabytes, of which every page is written to the log in full after each checkpoint. So the
//! store asks for it when it has deleted so many rows: the table stays at some tens of megabytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deadpool_postgres::Pool;

/// Rows of the tables that churn, before room is made.
const DEAD_ROWS: u64 = 200_000;
/// The same for instances, whose table is large and of which a row changes three times.
const DEAD_INSTANCES: u64 = 50_000;

/// What has become dead, roughly.
#[derive(Debug, Default)]
pub(super) struct Churn {
    rows: AtomicU64,
    instances: AtomicU64,
    is_running: AtomicBool,
}

impl Churn {
    /// So many rows are dead now; makes room when it is time.
    pub(super) fn add(self: &Arc<Self>, pool: &Pool, rows: usize, instances: usize) {
        let add = |counter: &AtomicU64, n: usize| {
            let n = u64::try_from(n).unwrap_or(u64::MAX);
            counter.fetch_add(n, Ordering::Relaxed) + n
        };
        let rows = add(&self.rows, rows);
        let instances = add(&self.instances, instances);
        let mut tables = Vec::new();
        if rows >= DEAD_ROWS {
            tables.extend(["action", "gate", "inbox"]);
        }
        if instances >= DEAD_INSTANCES {
            tables.push("instance");
        }
        if tables.is_empty() || self.is_running.swap(true, Ordering::AcqRel) {
            return;
        }
        if rows >= DEAD_ROWS {
            self.rows.store(0, Ordering::Relaxed);
        }
        if instances >= DEAD_INSTANCES {
            self.instances.store(0, Ordering::Relaxed);
        }
        let (this, pool) = (Arc::clone(self), pool.clone());
        tokio::spawn(async move {
            let vacuum = format!(
                "VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF) {}",
                tables.join(", ")
            );
            if let Ok(client) = pool.get().await {
                // What can't be done now is done the next time, or by the server.
                _ = client.batch_execute(&vacuum).await;
            }
            this.is_running.store(false, Ordering::Release);
        });
    }
}
