//! The other queues that run beside: what they are, and what they are not.

use serde::{Deserialize, Serialize};

use crate::results::Store;

/// Another queue on one of its stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// apalis on SQLite.
    ApalisSqlite,
    /// apalis on Postgres.
    ApalisPostgres,
    /// `graphile_worker`, which has only Postgres.
    GraphileWorker,
}

impl Peer {
    /// All, in the order of tables.
    pub const ALL: [Self; 3] = [
        Self::ApalisSqlite,
        Self::ApalisPostgres,
        Self::GraphileWorker,
    ];

    /// Its name in tasks and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApalisSqlite => "apalis-sqlite",
            Self::ApalisPostgres => "apalis-postgres",
            Self::GraphileWorker => "graphile-worker",
        }
    }

    /// As the program in `peers` knows it.
    #[must_use]
    pub const fn queue(self) -> &'static str {
        match self {
            Self::ApalisSqlite | Self::ApalisPostgres => "apalis",
            Self::GraphileWorker => "graphile-worker",
        }
    }

    /// What holds it.
    #[must_use]
    pub const fn store(self) -> Store {
        match self {
            Self::ApalisSqlite => Store::Sqlite,
            Self::ApalisPostgres | Self::GraphileWorker => Store::Postgres,
        }
    }
}
