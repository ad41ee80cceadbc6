//! LMDB through heed: as it comes, and with the flags that give durability away.

use std::path::Path;
use std::time::Duration;

use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, byteorder};

use super::{Keys, VALUE};
use crate::cell::{Cell, Group, Store};
use crate::{Error, Result};

/// How long closing may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Rows = Database<'static, U64<byteorder::BigEndian>, Bytes>;

pub(super) fn cells() -> Vec<Cell> {
    let cell = |name, setting, flags| {
        Cell::new(name, Group::Lmdb, setting, move |directory| {
            Lmdb::open(directory, flags)
        })
    };
    let asynchronous = EnvFlags::WRITE_MAP | EnvFlags::MAP_ASYNC;
    vec![
        cell("lmdb/default", "default", EnvFlags::empty()),
        cell(
            "lmdb/no-meta-sync",
            "`NO_META_SYNC`",
            EnvFlags::NO_META_SYNC,
        )
        .afterwards("`force_sync`"),
        cell("lmdb/no-sync", "`NO_SYNC`", EnvFlags::NO_SYNC).afterwards("`force_sync`"),
        cell("lmdb/write-map", "`WRITE_MAP`", EnvFlags::WRITE_MAP),
        cell(
            "lmdb/write-map-async",
            "`WRITE_MAP`, `MAP_ASYNC`",
            asynchronous,
        )
        .afterwards("`force_sync`"),
    ]
}

struct Lmdb {
    env: Env,
    rows: Rows,
    keys: Keys,
}

impl Lmdb {
    fn open(directory: &Path, flags: EnvFlags) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(16 * 1024 * 1024);
        // SAFETY: the flags of the cells touch durability and the way of writing; none of them
        // turns LMDB's locks off, and nothing here writes into the map behind its back.
        #[expect(unsafe_code, reason = "heed: flags may be unsound together")]
        unsafe {
            options.flags(flags);
        }
        // SAFETY: the directory is this run's own: no other process maps, changes or truncates the
        // file, and it is opened once at a time.
        #[expect(unsafe_code, reason = "heed: a mapped file that others could change")]
        let env = unsafe { options.open(directory) }?;
        let transaction = env.write_txn()?;
        let rows = env
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener
                    .create_database(transaction, None)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self {
            env,
            rows,
            keys: Keys::default(),
        })
    }
}

impl Store for Lmdb {
    fn commit(&mut self, rows: u32) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for key in self.keys.take(rows) {
            self.rows.put(&mut transaction, &key, VALUE)?;
        }
        Ok(transaction.commit()?)
    }

    fn afterwards(&mut self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { env, .. } = *self;
        if env.prepare_for_closing().wait_timeout(PATIENCE) {
            Ok(())
        } else {
            Err(Error::from("LMDB was still open ten seconds later"))
        }
    }
}
