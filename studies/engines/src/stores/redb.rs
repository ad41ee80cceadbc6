//! redb: both durabilities that version 4 has, and what makes a commit more careful.

use std::path::Path;

use redb::{Database, Durability, TableDefinition, WriteTransaction};

use super::{Keys, VALUE};
use crate::Result;
use crate::cell::{Cell, Group, Store};

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

/// Makes a transaction what the setting says.
type Setting = fn(&mut WriteTransaction) -> Result<()>;

pub(super) fn cells() -> Vec<Cell> {
    let cell = |name, setting, set: Setting| {
        Cell::new(name, Group::Redb, setting, move |directory| {
            Redb::open(directory, set)
        })
    };
    vec![
        cell("redb/immediate", "`Immediate` (default)", |_| Ok(())),
        cell(
            "redb/two-phase",
            "`Immediate`, `set_two_phase_commit`",
            |transaction| {
                transaction.set_two_phase_commit(true);
                Ok(())
            },
        ),
        cell(
            "redb/quick-repair",
            "`Immediate`, `set_quick_repair`",
            |transaction| {
                transaction.set_quick_repair(true);
                Ok(())
            },
        ),
        cell("redb/none", "`None`", |transaction| {
            Ok(transaction.set_durability(Durability::None)?)
        })
        .afterwards("an `Immediate` commit of one row"),
    ]
}

struct Redb {
    database: Database,
    set: Setting,
    keys: Keys,
}

impl Redb {
    fn open(directory: &Path, set: Setting) -> Result<Self> {
        let database = Database::create(directory.join("db.redb"))?;
        let mut store = Self {
            database,
            set,
            keys: Keys::default(),
        };
        // The table; by the default durability, as a program's first start would.
        store.write(0, |_| Ok(()))?;
        Ok(store)
    }

    fn write(&mut self, rows: u32, set: Setting) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        set(&mut transaction)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for key in self.keys.take(rows) {
                table.insert(key, VALUE)?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    fn commit(&mut self, rows: u32) -> Result<()> {
        self.write(rows, self.set)
    }

    fn afterwards(&mut self) -> Result<()> {
        self.write(1, |_| Ok(()))
    }
}
