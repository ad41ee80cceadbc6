//! Who is seen: the table in docs/fsync-counting.md is made here.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fsync_counter::{FsyncCounter, Operation, SyncCounts, stub};
use memmap2::MmapMut;
use rusqlite::Connection;
use tempfile::{NamedTempFile, tempdir};

use crate::alone::{alone, is_child};
use crate::strace;

/// Set to anything: write the table instead of comparing it.
const REGENERATE: &str = "FSYNC_COUNTER_REGENERATE";
const BEGIN: &str = "<!-- callers: begin, made by fsync-counter/tests/it/callers.rs -->\n";
const END: &str = "<!-- callers: end -->";

/// Something that makes files durable, or seems to.
struct Caller {
    name: &'static str,
    /// Makes it ready in a directory; what it returns is observed.
    prepare: fn(&Path) -> Box<dyn FnMut()>,
    /// The sync calls that reach the kernel, by their names there.
    issues: &'static [&'static str],
}

const CALLERS: [Caller; 15] = [
    Caller {
        name: "`File::sync_all`",
        prepare: |dir| {
            let file = new_file(dir);
            Box::new(move || file.sync_all().unwrap())
        },
        issues: &["fsync"],
    },
    Caller {
        name: "`File::sync_data`",
        prepare: |dir| {
            let file = new_file(dir);
            Box::new(move || file.sync_data().unwrap())
        },
        issues: &["fdatasync"],
    },
    Caller {
        name: "`File::open(directory)`, `sync_all`",
        prepare: |dir| {
            let folder = File::open(dir).unwrap();
            Box::new(move || folder.sync_all().unwrap())
        },
        issues: &["fsync"],
    },
    Caller {
        name: "`fs::write`, `fs::rename`",
        prepare: |dir| {
            let [from, to] = ["from", "to"].map(|name| dir.join(name));
            Box::new(move || {
                fs::write(&from, "text").unwrap();
                fs::rename(&from, &to).unwrap();
            })
        },
        issues: &[],
    },
    Caller {
        name: "a file opened with `O_DSYNC`, and a `write` to it",
        prepare: |dir| {
            let path = dir.join("file");
            Box::new(move || {
                let mut options = File::options();
                let options = options.write(true).create(true).truncate(true);
                let file = options.custom_flags(libc::O_DSYNC).open(&path);
                file.unwrap().write_all(b"text").unwrap();
            })
        },
        issues: &[],
    },
    Caller {
        name: "`tokio::fs::File::sync_all`",
        prepare: |dir| {
            let path = dir.join("file");
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            Box::new(move || {
                runtime.block_on(async {
                    let file = tokio::fs::File::create(&path).await.unwrap();
                    file.sync_all().await.unwrap();
                });
            })
        },
        issues: &["fsync"],
    },
    Caller {
        name: "`libc::fsync`",
        prepare: |dir| {
            let file = new_file(dir);
            Box::new(move || crate::c_library::fsync(file.as_raw_fd()).unwrap())
        },
        issues: &["fsync"],
    },
    Caller {
        name: "`libc::syscall(SYS_fsync, …)`",
        prepare: |dir| {
            let file = new_file(dir);
            Box::new(move || {
                // SAFETY: a sync of an open descriptor.
                let answer = unsafe { libc::syscall(libc::SYS_fsync, file.as_raw_fd()) };
                assert_eq!(answer, 0);
            })
        },
        issues: &["fsync"],
    },
    Caller {
        name: "memmap2, `flush`",
        prepare: |dir| {
            let map = mapped_file(dir);
            Box::new(move || map.flush().unwrap())
        },
        issues: &["msync"],
    },
    Caller {
        name: "memmap2, `flush_async`",
        prepare: |dir| {
            let map = mapped_file(dir);
            Box::new(move || map.flush_async().unwrap())
        },
        issues: &["msync"],
    },
    Caller {
        name: "rusqlite (`bundled`), a commit, `WAL`, `synchronous = FULL`",
        prepare: |dir| commit(dir, "WAL"),
        issues: &["fsync"],
    },
    Caller {
        name: "rusqlite (`bundled`), a commit, `DELETE`, `synchronous = FULL`",
        prepare: |dir| commit(dir, "DELETE"),
        issues: &["fsync", "fsync", "fsync", "fsync"],
    },
    Caller {
        name: "tempfile, `persist`",
        prepare: |dir| {
            let mut file = Some(NamedTempFile::new_in(dir).unwrap());
            let path = dir.join("file");
            Box::new(move || {
                file.take().unwrap().persist(&path).unwrap();
            })
        },
        issues: &[],
    },
    Caller {
        name: "rustix, `fs::fsync` (by default its own system calls)",
        prepare: |dir| {
            let file = new_file(dir);
            Box::new(move || rustix::fs::fsync(&file).unwrap())
        },
        issues: &["fsync"],
    },
    Caller {
        name: "a child process: `sync FILE` of coreutils",
        prepare: |dir| {
            let _file = new_file(dir);
            let path = dir.join("file");
            Box::new(move || {
                assert!(Command::new("sync").arg(&path).status().unwrap().success());
            })
        },
        issues: &["fsync"],
    },
];

fn new_file(dir: &Path) -> File {
    File::create(dir.join("file")).unwrap()
}

fn mapped_file(dir: &Path) -> MmapMut {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.join("file"))
        .unwrap();
    file.set_len(4096).unwrap();
    // SAFETY: no other process knows the file.
    unsafe { MmapMut::map_mut(&file) }.unwrap()
}

/// One row inserted and committed, in that journal mode.
fn commit(dir: &Path, journal_mode: &str) -> Box<dyn FnMut()> {
    let database = Connection::open(dir.join("database")).unwrap();
    database
        .pragma_update(None, "journal_mode", journal_mode)
        .unwrap();
    database.pragma_update(None, "synchronous", "FULL").unwrap();
    database.execute("CREATE TABLE t (n INTEGER)", ()).unwrap();
    Box::new(move || {
        database.execute("INSERT INTO t VALUES (1)", ()).unwrap();
    })
}

/// What a path scope and a thread scope saw of a caller.
struct Seen {
    by_path: SyncCounts,
    by_thread: SyncCounts,
    operations: Vec<Operation>,
    is_incomplete: bool,
}

impl Caller {
    /// Runs alone: what comes before and after is stubbed, so that only the caller's own syncs
    /// reach the kernel.
    fn observe(&self) -> Seen {
        let dir = tempdir().unwrap();
        let disk = stub();
        let mut run = (self.prepare)(dir.path());
        drop(disk);
        let by_thread = FsyncCounter::thread();
        let by_path = FsyncCounter::under(dir.path());
        run();
        let seen = Seen {
            by_path: by_path.counts(),
            by_thread: by_thread.counts(),
            operations: by_path
                .events()
                .iter()
                .map(|event| event.operation)
                .collect(),
            is_incomplete: !by_path.incomplete().is_empty(),
        };
        let _disk = stub();
        drop(run);
        seen
    }

    fn row(&self) -> String {
        let Seen {
            by_path,
            by_thread,
            operations,
            is_incomplete,
        } = self.observe();
        let names: Vec<_> = operations
            .iter()
            .map(|operation| kernel_name(*operation))
            .collect();
        let seen = if self.issues.is_empty() {
            assert!(operations.is_empty(), "{}: {operations:?}", self.name);
            if is_incomplete {
                "told as `incomplete`"
            } else {
                "nothing to see"
            }
        } else if operations.is_empty() {
            "**no**"
        } else {
            assert!(!is_incomplete, "{}", self.name);
            assert_eq!(names, self.issues, "{}", self.name);
            if by_thread == by_path {
                "yes"
            } else {
                assert_eq!(by_thread, SyncCounts::new(), "{}", self.name);
                "yes, but not by a thread scope"
            }
        };
        let counts: Vec<_> = by_path
            .into_iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        format!(
            "| {} | {seen} | {} | {} |\n",
            self.name,
            or_none(counts),
            or_none(self.issued(&operations))
        )
    }

    /// The calls in words, as the hook names them where it saw them.
    fn issued(&self, operations: &[Operation]) -> Vec<String> {
        let names: Vec<String> = if operations.is_empty() {
            self.issues.iter().map(ToString::to_string).collect()
        } else {
            operations.iter().map(ToString::to_string).collect()
        };
        names
            .chunk_by(|one, next| one == next)
            .map(|same| match same {
                [once] => format!("`{once}`"),
                [first, ..] => format!("{} × `{first}`", same.len()),
                [] => String::new(),
            })
            .collect()
    }
}

fn or_none(words: Vec<String>) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

fn kernel_name(operation: Operation) -> String {
    match operation {
        Operation::MsyncAsync => "msync".to_owned(),
        other => other.to_string(),
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fsync-counting.md")
}

#[test]
fn the_table_in_the_docs_is_what_this_program_sees() {
    alone(
        "callers::the_table_in_the_docs_is_what_this_program_sees",
        || {
            let mut table =
                "| caller | seen | counts | what it issued |\n|---|---|---|---|\n".to_owned();
            table.extend(CALLERS.iter().map(Caller::row));

            let text = fs::read_to_string(page()).unwrap();
            let (before, rest) = text
                .split_once(BEGIN)
                .expect("the page marks the table's begin");
            let (committed, after) = rest
                .split_once(END)
                .expect("the page marks the table's end");
            if std::env::var_os(REGENERATE).is_some() {
                fs::write(page(), format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
                return;
            }
            assert!(
                committed == table,
                "docs/fsync-counting.md says\n\n{committed}\nbut this program sees\n\n{table}\n\
             where that is right: {REGENERATE}=1 cargo test -p fsync-counter --test it callers"
            );
        },
    );
}

/// The last column, by strace.
#[test]
fn the_callers_issue_what_the_table_says() {
    const TEST: &str = "callers::the_callers_issue_what_the_table_says";
    const CALLER: &str = "FSYNC_COUNTER_CALLER";
    if is_child(TEST) {
        let at: usize = std::env::var(CALLER).unwrap().parse().unwrap();
        CALLERS[at].observe();
        return;
    }
    for (at, caller) in CALLERS.iter().enumerate() {
        let Some(issued) = strace::syncs_of(TEST, &[(CALLER, &at.to_string())]) else {
            return;
        };
        assert_eq!(issued, caller.issues, "{}", caller.name);
    }
}
