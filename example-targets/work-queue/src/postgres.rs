//! The store for many processes and machines: a schema of a PostgreSQL database.
//!
//! What was applied is durable by the server's own settings: a commit waits until the log is on the
//! disk. Time is the server's. Plans are fixed by settings of the connections: the tables change so
//! fast that the server's statistics about them are always wrong.

mod apply;
mod claim;
mod failure;
mod schema;
mod statement;
mod timing;
mod vacuum;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use deadpool_postgres::tokio_postgres::{Config, NoTls, Socket};
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime,
};

use crate::metrics::{Query, QueryTimes, TimesByQuery};
use crate::store::{
    Applied, Batch, ClaimedAction, ClaimedInstance, GateInbox, InstanceId, InstanceStatus,
    NewInstance, Renewed, SessionId, Stamp, Store, StoreCounts, StoreError, StoreResult,
    WorkflowId,
};
use failure::Failure;
use vacuum::Churn;

/// Due, and nobody's.
const FREE: i64 = 0;

/// How long a connection may take to be made, unless the configuration says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for a connection of the pool.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sent data may go unacknowledged before the connection counts as cut.
const CUT_TIMEOUT: Duration = Duration::from_secs(30);

/// How a store uses its database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The schema that the tables stand in; made when it is missing.
    pub schema: String,
    /// Connections at most. An engine uses up to six at once.
    pub connections: usize,
    /// One batch of so many is executed in a way that tells what its parts take, for
    /// [`Store::query_times`]; it takes some milliseconds longer. 0 is none.
    pub timed_every: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "work_queue".to_owned(),
            connections: 8,
            timed_every: 100,
        }
    }
}

/// A store in a schema of a PostgreSQL database.
pub struct PostgresStore {
    pool: Pool,
    times: TimesByQuery,
    churn: Arc<Churn>,
    schema: String,
    timed_every: u32,
    batches: AtomicU32,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.schema)
            .field("connections", &self.pool.status())
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, without TLS, and brings the schema up to date. The text is a URL
    /// (`postgresql://…`) or `key=value` pairs.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the text can't be read, the server does not let this user in,
    /// or the schema is another program's or one of a newer version of this one;
    /// [`StoreError::Unavailable`] when the server can't be reached now.
    pub async fn connect(url: &str) -> StoreResult<Self> {
        let config = url.parse().map_err(Failure::from)?;
        Self::connect_with(config, NoTls, PostgresOptions::default()).await
    }

    /// The same with all that can be chosen.
    ///
    /// # Errors
    ///
    /// As [`PostgresStore::connect`].
    pub async fn connect_with<T>(
        mut config: Config,
        tls: T,
        options: PostgresOptions,
    ) -> StoreResult<Self>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(CUT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("work-queue");
        }
        let manager = Manager::from_config(
            config,
            tls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let settings = settings(&options.schema);
        let pool = Pool::builder(manager)
            .max_size(options.connections.max(1))
            .runtime(Runtime::Tokio1)
            // Those that are used stay warm, with their plans and caches.
            .queue_mode(QueueMode::Lifo)
            .create_timeout(Some(WAIT_TIMEOUT))
            .wait_timeout(Some(WAIT_TIMEOUT))
            .post_create(Hook::async_fn(move |client, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    client
                        .batch_execute(&settings)
                        .await
                        .map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Refused {
                message: error.to_string(),
            })?;
        let store = Self {
            pool,
            times: TimesByQuery::default(),
            churn: Arc::default(),
            schema: options.schema,
            timed_every: options.timed_every,
            batches: AtomicU32::new(0),
        };
        store.bring_up_to_date().await?;
        Ok(store)
    }

    async fn bring_up_to_date(&self) -> Result<(), Failure> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        schema::bring_up_to_date(&transaction, &self.schema).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The schema that its tables stand in.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    async fn client(&self) -> Result<Object, Failure> {
        Ok(self.pool.get().await?)
    }
}

/// What every connection begins with.
fn settings(schema: &str) -> String {
    format!(
        "SET search_path = {};
         SET default_transaction_isolation = 'read committed';
         SET plan_cache_mode = force_generic_plan;
         SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('enable_seqscan',
             'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_memoize', 'jit');
         SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off'",
        schema::quoted(schema)
    )
}

/// Microseconds, a century at most: the server's times have an end.
fn in_us(duration: Duration) -> i64 {
    const CENTURY_US: i64 = 100 * 365 * 24 * 3_600 * 1_000_000;
    i64::try_from(duration.as_micros())
        .unwrap_or(CENTURY_US)
        .min(CENTURY_US)
}

impl Store for PostgresStore {
    async fn workflow(&self, name: &str, definition: &str) -> StoreResult<WorkflowId> {
        let mut client = self.client().await?;
        Ok(claim::workflow(&mut client, name, definition).await?)
    }

    async fn create(&self, instances: Arc<[NewInstance]>) -> StoreResult<Vec<InstanceId>> {
        let client = self.client().await?;
        let begun = Instant::now();
        let ids = claim::create(&client, &instances).await?;
        self.times
            .add(Query::CreateInstances, begun.elapsed(), ids.len());
        Ok(ids)
    }

    async fn open_session(&self, lease: Duration) -> StoreResult<SessionId> {
        let client = self.client().await?;
        Ok(claim::open_session(&client, lease).await?)
    }

    async fn renew(&self, session: SessionId, lease: Duration) -> StoreResult<Renewed> {
        let mut client = self.client().await?;
        let begun = Instant::now();
        let renewed = claim::renew(&mut client, session, lease).await?;
        self.times.add(Query::Renew, begun.elapsed(), 1);
        Ok(renewed)
    }

    async fn close_session(&self, session: SessionId) -> StoreResult<()> {
        let mut client = self.client().await?;
        Ok(claim::close_session(&mut client, session).await?)
    }

    async fn reserve(&self, n: u32) -> StoreResult<i64> {
        let client = self.client().await?;
        Ok(claim::reserve(&client, n).await?)
    }

    async fn claim_instances(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> StoreResult<Vec<ClaimedInstance>> {
        let client = self.client().await?;
        let begun = Instant::now();
        let claimed = claim::instances(&client, session, &workflows, max).await?;
        if !claimed.is_empty() {
            self.times
                .add(Query::ClaimInstances, begun.elapsed(), claimed.len());
            self.churn.add(&self.pool, 0, claimed.len());
        }
        Ok(claimed)
    }

    async fn claim_actions(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> StoreResult<Vec<ClaimedAction>> {
        let client = self.client().await?;
        let begun = Instant::now();
        let claimed = claim::actions(&client, session, &workflows, max).await?;
        if !claimed.is_empty() {
            self.times
                .add(Query::ClaimActions, begun.elapsed(), claimed.len());
            self.churn.add(&self.pool, claimed.len(), 0);
        }
        Ok(claimed)
    }

    async fn apply(&self, stamp: Stamp, batch: Arc<Batch>) -> StoreResult<Applied> {
        let mut client = self.client().await?;
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        let is_timed = self.timed_every > 0 && number % self.timed_every == self.timed_every - 1;
        let times = is_timed.then_some(&self.times);
        let begun = Instant::now();
        let applied = apply::apply(&mut client, stamp, &batch, times).await?;
        if !is_timed {
            self.times
                .add(Query::Apply, begun.elapsed(), batch.completed.len());
        }
        drop(client);
        let dead = batch.completed.len() + batch.given_back.len() + 2 * batch.arrivals.len();
        let changed = batch.started.len() + batch.finished.len();
        self.churn.add(&self.pool, dead, changed);
        Ok(applied)
    }

    async fn inbox(&self, gates: Vec<(InstanceId, u32)>) -> StoreResult<Vec<GateInbox>> {
        let client = self.client().await?;
        let begun = Instant::now();
        let inboxes = claim::inbox(&client, &gates).await?;
        self.times
            .add(Query::ReadInbox, begun.elapsed(), gates.len());
        Ok(inboxes)
    }

    async fn status(&self, instance: InstanceId) -> StoreResult<Option<InstanceStatus>> {
        let client = self.client().await?;
        Ok(claim::status(&client, instance).await?)
    }

    async fn counts(&self) -> StoreResult<StoreCounts> {
        let mut client = self.client().await?;
        Ok(claim::counts(&mut client).await?)
    }

    fn query_times(&self) -> QueryTimes {
        self.times.summary()
    }
}
