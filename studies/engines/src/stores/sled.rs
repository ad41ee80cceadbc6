//! sled: with its background flusher, as it comes, and with a `flush` of one's own.

use std::path::Path;
use std::thread;
use std::time::Duration;

use sled::{Batch, Config, Db};

use super::{Keys, VALUE};
use crate::Result;
use crate::cell::{Cell, Group, Store};

/// More than twice the flusher's default interval of 500 ms.
const WAIT: Duration = Duration::from_millis(1_200);

pub(super) fn cells() -> Vec<Cell> {
    let no_flusher = || Config::new().flush_every_ms(None);
    vec![
        Cell::new(
            "sled/insert",
            Group::Sled,
            "`insert`, flusher every 500 ms (default)",
            |directory| Sled::open(directory, Config::new(), Write::Insert),
        )
        .afterwards("1.2 s of waiting")
        .varies("its flusher runs when its interval is over, whatever the program does"),
        Cell::new(
            "sled/insert-flush",
            Group::Sled,
            "`insert`, `flush`; no flusher",
            move |directory| Sled::open(directory, no_flusher(), Write::InsertAndFlush),
        ),
        Cell::new(
            "sled/batch-flush",
            Group::Sled,
            "`apply_batch`, `flush`; no flusher",
            move |directory| Sled::open(directory, no_flusher(), Write::BatchAndFlush),
        ),
    ]
}

/// How rows are committed: only a batch is atomic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Write {
    Insert,
    InsertAndFlush,
    BatchAndFlush,
}

struct Sled {
    database: Db,
    write: Write,
    keys: Keys,
}

impl Sled {
    fn open(directory: &Path, config: Config, write: Write) -> Result<Self> {
        Ok(Self {
            database: config.path(directory.join("sled")).open()?,
            write,
            keys: Keys::default(),
        })
    }
}

impl Store for Sled {
    fn commit(&mut self, rows: u32) -> Result<()> {
        let mut batch = Batch::default();
        for key in self.keys.take(rows) {
            if self.write == Write::BatchAndFlush {
                batch.insert(&key.to_be_bytes(), VALUE);
            } else {
                self.database.insert(key.to_be_bytes(), VALUE)?;
            }
        }
        if self.write == Write::BatchAndFlush {
            self.database.apply_batch(batch)?;
        }
        if self.write != Write::Insert {
            self.database.flush()?;
        }
        Ok(())
    }

    fn afterwards(&mut self) -> Result<()> {
        thread::sleep(WAIT);
        Ok(())
    }
}
