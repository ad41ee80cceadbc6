//! Every cell of the table.

mod calls;
mod fjall;
mod lmdb;
mod redb;
mod sled;
pub(crate) mod sqlite;

use crate::Cell;

/// All cells, in the order of the tables.
pub fn all() -> Vec<Cell> {
    [
        sqlite::cells(),
        redb::cells(),
        fjall::cells(),
        sled::cells(),
        lmdb::cells(),
        calls::cells(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The cell of that name.
pub fn find(name: &str) -> Option<Cell> {
    all().into_iter().find(|cell| cell.name == name)
}

/// The versions of what is compiled in and is no crate.
pub fn bundled() -> Vec<(&'static str, String)> {
    vec![
        ("SQLite", rusqlite::version().to_owned()),
        ("LMDB", {
            let version = heed::lmdb_version();
            format!("{}.{}.{}", version.major, version.minor, version.patch)
        }),
    ]
}

/// Small keys, one after the other, so that a commit has new rows to write.
#[derive(Debug, Default)]
struct Keys(u64);

impl Keys {
    fn take(&mut self, rows: u32) -> impl Iterator<Item = u64> + use<> {
        let first = self.0;
        self.0 += u64::from(rows);
        first..self.0
    }
}

/// The value of every row.
const VALUE: &[u8] = b"a small value";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn cells_have_names_of_their_own() {
        let mut names = HashSet::new();
        for cell in super::all() {
            assert!(names.insert(cell.name.clone()), "twice: {}", cell.name);
        }
        assert!(super::find("sqlite/wal/full").is_some());
        assert!(super::find("sqlite/wal/half").is_none());
    }
}
