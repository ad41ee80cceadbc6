//! A durable queue of workflow actions, on SQLite and on Postgres.
//!
//! A workflow is a graph of named nodes; an instance executes it; a node's action is ready when
//! everything that it is after has delivered.
#![forbid(unsafe_code)]

mod counters;
mod engine;
mod graph;
mod handler;
mod inbox_cache;
mod metrics;
mod options;
mod postgres;
mod progress;
pub mod queue_noop;
mod retry;
mod sqlite;
mod steps;
mod store;
mod value;
mod workflow;

pub use counters::Metrics;
pub use engine::{Engine, EngineBuilder, EngineError, ShutdownReport};
pub use graph::{Gate, Graph, GraphError};
pub use handler::{Context, Failure, Handlers};
pub use metrics::{Query, QueryTimes, Times, TimesByQuery, TimesSummary};
pub use options::Options;
pub use postgres::{PostgresOptions, PostgresStore};
pub use retry::{Backoff, RetryPolicy};
pub use sqlite::SqliteStore;
pub use steps::{Ready, Steps};
pub use store::{
    ActionId, Applied, Arrival, Batch, ClaimedAction, ClaimedInstance, Delivery, Element, Finished,
    GateInbox, GivenBack, InstanceId, InstanceStatus, LANES, NewAction, NewInstance, Outcome,
    Passed, Renewed, SessionId, Stale, Stamp, Started, Store, StoreCounts, StoreError, StoreResult,
    WorkflowId,
};
pub use value::Json;
pub use workflow::{After, Node, Over, When, Workflow};
