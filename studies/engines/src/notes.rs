//! What surprised, each with the counts that it rests on: a note that they no longer bear out is
//! left out of the document.

use crate::drive::Phase;
use crate::results::{CellResult, PhaseResult, Postgres, PostgresRow, Results, Spread};
use crate::sync::Tally;

/// A sentence, and whether the counts bear it out.
pub struct Note {
    pub text: &'static str,
    pub holds: fn(&Results) -> bool,
}

/// All notes, in the order of the document.
pub fn all() -> Vec<Note> {
    vec![
        Note {
            text: "A commit of 100 rows issues what a commit of one row issues, in every engine and \
                   at every setting that has no background flusher: rows cost no syncs, commits do.",
            holds: |results| {
                results
                    .cells
                    .iter()
                    .filter_map(|cell| Some((exact(cell, Phase::Commit)?, of(cell, Phase::Rows)?)))
                    .all(|(one, many)| many.syncs.exact() == Some(one))
                    && results.cells.iter().all(|cell| {
                        let writes = |phase| of(cell, phase).map(|it| it.durable_writes);
                        writes(Phase::Rows).is_none()
                            || writes(Phase::Rows) == writes(Phase::Commit)
                    })
            },
        },
        Note {
            text: "SQLite's TRUNCATE and PERSIST issue one sync more than DELETE at FULL: what they \
                   leave of the journal is synced at the end, where DELETE removes it and syncs \
                   nothing. They sync the directory in every commit, too, although the journal's \
                   name stays.",
            holds: |results| {
                commit(results, "sqlite/delete/full", (3, 1, 0))
                    && ["truncate", "persist"]
                        .iter()
                        .all(|mode| commit(results, &format!("sqlite/{mode}/full"), (4, 1, 0)))
            },
        },
        Note {
            text: "EXTRA differs from FULL in DELETE mode alone: one more sync, of the directory, \
                   after the journal is gone.",
            holds: |results| {
                let same = |mode: &str| {
                    let of = |level| {
                        cell(results, &format!("sqlite/{mode}/{level}"))
                            .and_then(|cell| exact(cell, Phase::Commit))
                    };
                    of("full").is_some() && of("full") == of("extra")
                };
                commit(results, "sqlite/delete/full", (3, 1, 0))
                    && commit(results, "sqlite/delete/extra", (3, 2, 0))
                    && ["truncate", "persist", "memory", "wal", "off"]
                        .iter()
                        .all(|mode| same(mode))
            },
        },
        Note {
            text: "WAL at NORMAL syncs nothing in a commit. The checkpoint syncs twice (the log, \
                   then the database), and the commit after it once, for the log that begins anew; \
                   at FULL that commit has two.",
            holds: |results| {
                commit(results, "sqlite/wal/normal", (0, 0, 0))
                    && is(results, "sqlite/wal/normal", Phase::Afterwards, (2, 0, 0))
                    && is(results, "sqlite/wal/normal", Phase::Next, (1, 0, 0))
                    && is(results, "sqlite/wal/full", Phase::Next, (2, 0, 0))
            },
        },
        Note {
            text: "redb, LMDB and sled sync no directory in any phase, nor does SQLite with the \
                   journal modes MEMORY and OFF: not when they create the database either, whose \
                   name nobody has made durable then. Whoever creates one with them and wants it to \
                   be there after a crash syncs the directory, once.",
            holds: |results| {
                let mut cells = results
                    .cells
                    .iter()
                    .filter(|cell| {
                        ["redb/", "lmdb/", "sled/", "sqlite/memory/", "sqlite/off/"]
                            .iter()
                            .any(|start| cell.name.starts_with(start))
                    })
                    .peekable();
                cells.peek().is_some()
                    && cells.all(|cell| cell.phases.iter().all(|it| it.syncs.high.dirs == 0))
            },
        },
        Note {
            text: "redb's closing issues four syncs, as many as creating the database with its \
                   table; `set_quick_repair` costs what `set_two_phase_commit` costs.",
            holds: |results| {
                is(results, "redb/immediate", Phase::Close, (4, 0, 0))
                    && is(results, "redb/immediate", Phase::Create, (4, 0, 0))
                    && commit(results, "redb/two-phase", (2, 0, 0))
                    && commit(results, "redb/quick-repair", (2, 0, 0))
            },
        },
        Note {
            text: "fjall's default commit syncs nothing. Creating a database with one keyspace \
                   issues 31 syncs, 16 of them of directories.",
            holds: |results| {
                commit(results, "fjall/buffer", (0, 0, 0))
                    && is(results, "fjall/buffer", Phase::Create, (15, 16, 0))
            },
        },
        Note {
            text: "sled's `flush` issues `sync_file_range` and nothing else, a weak call. `fsync` comes \
                   from the background flusher, or at closing.",
            holds: |results| {
                commit(results, "sled/insert-flush", (0, 0, 1))
                    && commit(results, "sled/batch-flush", (0, 0, 2))
                    && is(results, "sled/insert-flush", Phase::Close, (1, 0, 0))
            },
        },
        Note {
            text: "LMDB's commit is one `fdatasync` and one write through a descriptor opened with \
                   `O_DSYNC`: that write is no sync call, and whoever counts sync calls sees half of \
                   what the commit waits for. `NO_META_SYNC` does away with that half; \
                   `WRITE_MAP` has two `msync` instead of both.",
            holds: |results| {
                commit(results, "lmdb/default", (1, 0, 0))
                    && durable_writes(results, "lmdb/default") == Some((1, 1))
                    && commit(results, "lmdb/no-meta-sync", (1, 0, 0))
                    && durable_writes(results, "lmdb/no-meta-sync") == Some((0, 0))
                    && commit(results, "lmdb/write-map", (2, 0, 0))
                    && durable_writes(results, "lmdb/write-map") == Some((0, 0))
            },
        },
        Note {
            text: "tempfile's `persist` syncs neither the file nor the directory: it is atomic for \
                   readers, and durable only with both syncs by hand.",
            holds: |results| {
                commit(results, "tempfile/persist", (0, 0, 0))
                    && commit(results, "tempfile/durable", (1, 1, 0))
            },
        },
        Note {
            text: "PostgreSQL's own count is of the log, and of the whole server. A `CREATE TABLE` \
                   syncs the new table's file, too, and a `CHECKPOINT` many files and some \
                   directories: neither is in it.",
            holds: |results| {
                let own = |row: &PostgresRow| row.own.and_then(Spread::exact);
                let create = postgres_row(results, "CREATE TABLE");
                let checkpoint = postgres_row(results, "CHECKPOINT");
                create.is_some_and(|row| {
                    row.wal_syncs.0 == 1 && own(row).is_some_and(|own| own.files == 2)
                }) && checkpoint.is_some_and(|row| {
                    row.others.is_some_and(|others| {
                        others.low.files > row.wal_syncs.1 && others.low.dirs > 0
                    })
                })
            },
        },
        Note {
            text: "In its count is also what its WAL writer syncs in the middle of a long \
                   transaction, which is no commit's: windows of five transactions of 100 rows had \
                   more syncs of the log, and the session's process five in each.",
            holds: |results| {
                postgres_row(results, "100 `INSERT`s").is_some_and(|row| {
                    let own = row.own.and_then(Spread::exact);
                    row.commits == 5
                        && row.wal_syncs.1 > row.commits
                        && own.is_some_and(|own| own.files == row.commits)
                })
            },
        },
    ]
}

fn cell<'a>(results: &'a Results, name: &str) -> Option<&'a CellResult> {
    results.cells.iter().find(|cell| cell.name == name)
}

fn postgres_row<'a>(results: &'a Results, name: &str) -> Option<&'a PostgresRow> {
    match &results.postgres {
        Postgres::Ran(run) => run.rows.iter().find(|row| row.name.contains(name)),
        Postgres::NotRun(_) => None,
    }
}

fn of(cell: &CellResult, phase: Phase) -> Option<&PhaseResult> {
    cell.phases.iter().find(|it| it.phase == phase)
}

fn exact(cell: &CellResult, phase: Phase) -> Option<Tally> {
    of(cell, phase)?.syncs.exact()
}

/// Whether a phase issued exactly so many syncs of files, of directories, and weak calls.
fn is(results: &Results, name: &str, phase: Phase, counts: (u64, u64, u64)) -> bool {
    cell(results, name)
        .and_then(|cell| exact(cell, phase))
        .is_some_and(|tally| (tally.files, tally.dirs, tally.weak) == counts)
}

fn commit(results: &Results, name: &str, counts: (u64, u64, u64)) -> bool {
    is(results, name, Phase::Commit, counts)
}

fn durable_writes(results: &Results, name: &str) -> Option<(u64, u64)> {
    of(cell(results, name)?, Phase::Commit)?.durable_writes
}
