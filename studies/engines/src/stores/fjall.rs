//! fjall: a batch committed with each persist mode.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Keys, VALUE};
use crate::Result;
use crate::cell::{Cell, Group, Store};

pub(super) fn cells() -> Vec<Cell> {
    let cell = |name, setting, mode| {
        Cell::new(name, Group::Fjall, setting, move |directory| {
            Fjall::open(directory, mode)
        })
    };
    vec![
        cell("fjall/buffer", "`Buffer` (default)", PersistMode::Buffer)
            .afterwards("`persist(SyncAll)`"),
        cell("fjall/sync-data", "`SyncData`", PersistMode::SyncData),
        cell("fjall/sync-all", "`SyncAll`", PersistMode::SyncAll),
    ]
}

struct Fjall {
    // Dropped first: a keyspace keeps its database open.
    keyspace: Keyspace,
    database: Database,
    mode: PersistMode,
    keys: Keys,
}

impl Fjall {
    fn open(directory: &Path, mode: PersistMode) -> Result<Self> {
        let database = Database::builder(directory.join("fjall")).open()?;
        let keyspace = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self {
            keyspace,
            database,
            mode,
            keys: Keys::default(),
        })
    }
}

impl Store for Fjall {
    fn commit(&mut self, rows: u32) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        for key in self.keys.take(rows) {
            batch.insert(&self.keyspace, key.to_be_bytes(), VALUE);
        }
        Ok(batch.commit()?)
    }

    fn afterwards(&mut self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
