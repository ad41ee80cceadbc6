//! A program of many callers, seen by the hook, by the kernel scope, and by strace: the kernel scope
//! misses nothing, the hook only what is not its own process's C library.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use fsync_counter::{Audit, Incomplete, Operation, audit};
use memmap2::MmapMut;
use rusqlite::Connection;
use tempfile::{NamedTempFile, TempDir, tempdir};

use crate::alone::{alone, is_child};
use crate::c_library as c;
use crate::hard_places::in_fork;
use crate::strace;

/// A part of the program: what it does, the system calls that this makes, and how many of them the
/// hook can see.
struct Part {
    name: &'static str,
    run: fn(&Path),
    calls: &'static [(&'static str, usize)],
    hooked: bool,
}

const PARTS: [Part; 14] = [
    Part {
        name: "std",
        run: |dir| {
            let file = new_file(dir);
            let folder = File::open(dir).unwrap();
            for _ in 0..6 {
                file.sync_all().unwrap();
                file.sync_data().unwrap();
                folder.sync_all().unwrap();
            }
        },
        calls: &[("fsync", 12), ("fdatasync", 6)],
        hooked: true,
    },
    Part {
        name: "tokio",
        run: |dir| {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            runtime.block_on(async {
                let file = tokio::fs::File::create(dir.join("tokio")).await.unwrap();
                for _ in 0..4 {
                    file.sync_all().await.unwrap();
                    file.sync_data().await.unwrap();
                }
            });
        },
        calls: &[("fsync", 4), ("fdatasync", 4)],
        hooked: true,
    },
    Part {
        name: "libc",
        run: |dir| {
            let file = new_file(dir);
            let page = c::shared_page();
            for _ in 0..3 {
                c::fsync(file.as_raw_fd()).unwrap();
                c::fdatasync(file.as_raw_fd()).unwrap();
                c::sync_file_range(file.as_raw_fd(), libc::SYNC_FILE_RANGE_WRITE).unwrap();
                c::msync(page, 4096, libc::MS_SYNC).unwrap();
            }
            c::syncfs(file.as_raw_fd()).unwrap();
            c::syncfs(file.as_raw_fd()).unwrap();
            c::sync();
        },
        calls: &[
            ("fsync", 3),
            ("fdatasync", 3),
            ("sync_file_range", 3),
            ("msync", 3),
            ("syncfs", 2),
            ("sync", 1),
        ],
        hooked: true,
    },
    Part {
        name: "libc::syscall",
        run: |dir| {
            let file = new_file(dir);
            for _ in 0..3 {
                for number in [libc::SYS_fsync, libc::SYS_fdatasync] {
                    // SAFETY: a sync of an open descriptor.
                    assert_eq!(unsafe { libc::syscall(number, file.as_raw_fd()) }, 0);
                }
            }
        },
        calls: &[("fsync", 3), ("fdatasync", 3)],
        hooked: true,
    },
    Part {
        name: "nix",
        run: |dir| {
            let file = new_file(dir);
            for _ in 0..2 {
                nix::unistd::fsync(&file).unwrap();
                nix::unistd::fdatasync(&file).unwrap();
            }
        },
        calls: &[("fsync", 2), ("fdatasync", 2)],
        hooked: true,
    },
    Part {
        name: "memmap2",
        run: |dir| {
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(dir.join("mapped"))
                .unwrap();
            file.set_len(8192).unwrap();
            // SAFETY: no other process knows the file.
            let map = unsafe { MmapMut::map_mut(&file) }.unwrap();
            for _ in 0..2 {
                map.flush().unwrap();
                map.flush_async().unwrap();
                map.flush_range(0, 4096).unwrap();
            }
        },
        calls: &[("msync", 6)],
        hooked: true,
    },
    Part {
        name: "rusqlite (bundled), DELETE and FULL",
        run: |dir| commit_twice(dir, "DELETE"),
        calls: &[("fsync", 8)],
        hooked: true,
    },
    Part {
        name: "rusqlite (bundled), WAL and FULL",
        run: |dir| commit_twice(dir, "WAL"),
        calls: &[("fsync", 2)],
        hooked: true,
    },
    Part {
        name: "tempfile",
        run: |dir| {
            for name in ["one", "two"] {
                let file = NamedTempFile::new_in(dir).unwrap();
                file.as_file().sync_all().unwrap();
                file.persist(dir.join(name)).unwrap();
                File::open(dir).unwrap().sync_all().unwrap();
            }
        },
        calls: &[("fsync", 4)],
        hooked: true,
    },
    Part {
        name: "rustix (its own system calls)",
        run: |dir| {
            let file = new_file(dir);
            for _ in 0..3 {
                rustix::fs::fsync(&file).unwrap();
                rustix::fs::fdatasync(&file).unwrap();
            }
        },
        calls: &[("fsync", 3), ("fdatasync", 3)],
        hooked: false,
    },
    Part {
        name: "machine code",
        run: |dir| {
            let file = new_file(dir);
            for _ in 0..3 {
                assert_eq!(c::fsync_by_hand(file.as_raw_fd()), 0);
            }
        },
        calls: &[("fsync", 3)],
        hooked: false,
    },
    Part {
        name: "a child process: coreutils",
        run: |dir| {
            _ = new_file(dir);
            let path = dir.join("file");
            for arguments in [&["-d"][..], &[]] {
                let mut sync = Command::new("sync");
                assert!(sync.args(arguments).arg(&path).status().unwrap().success());
            }
        },
        calls: &[("fsync", 1), ("fdatasync", 1)],
        hooked: false,
    },
    Part {
        name: "a child process made by fork",
        run: |dir| {
            let file = new_file(dir);
            assert_eq!(in_fork(|| file.sync_all().unwrap()), 0);
            assert_eq!(in_fork(|| file.sync_data().unwrap()), 0);
        },
        calls: &[("fsync", 1), ("fdatasync", 1)],
        // Its hook counts for the child.
        hooked: false,
    },
    Part {
        name: "a static program without a C library",
        run: |dir| {
            _ = new_file(dir);
            let Some(program) = static_program() else {
                // As many as it would make, so that the numbers stay.
                for _ in 0..2 {
                    let status = Command::new("sync").arg(dir.join("file")).status();
                    assert!(status.unwrap().success());
                }
                return;
            };
            let mut program = Command::new(program);
            assert!(program.arg(dir.join("file")).status().unwrap().success());
        },
        calls: &[("fsync", 2)],
        hooked: false,
    },
];

fn new_file(dir: &Path) -> File {
    File::create(dir.join("file")).unwrap()
}

/// Two rows, each a commit, in a database that is ready; what comes before and after is stubbed.
fn commit_twice(dir: &Path, journal_mode: &str) {
    let disk = fsync_counter::stub();
    let database = Connection::open(dir.join(journal_mode)).unwrap();
    database
        .pragma_update(None, "journal_mode", journal_mode)
        .unwrap();
    database.pragma_update(None, "synchronous", "FULL").unwrap();
    database.execute("CREATE TABLE t (n INTEGER)", ()).unwrap();
    drop(disk);
    for _ in 0..2 {
        database.execute("INSERT INTO t VALUES (1)", ()).unwrap();
    }
    let _disk = fsync_counter::stub();
    drop(database);
}

/// A program that opens the file that it is told and syncs it twice, built by the system's C
/// compiler without its library; `None`, and a line that says so, where there is none.
fn static_program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<(TempDir, std::path::PathBuf)>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| {
        let dir = tempdir().unwrap();
        let source = dir.path().join("static.c");
        fs::write(&source, STATIC_PROGRAM).unwrap();
        let program = dir.path().join("static");
        let built = Command::new("cc")
            .args(["-O1", "-static", "-nostdlib", "-o"])
            .arg(&program)
            .arg(&source)
            .status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no C compiler that links statically, `sync` is run in its place");
            return None;
        }
        Some((dir, program))
    });
    built.as_ref().map(|(_, program)| program.as_path())
}

#[cfg(target_arch = "x86_64")]
const STATIC_PROGRAM: &str = r#"
static long call(long number, long a, long b, long c) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return answer;
}
void start(long *stack) {
    long fd = call(2, stack[2], 1, 0);
    long failed = call(74, fd, 0, 0) | call(74, fd, 0, 0);
    call(60, failed != 0, 0, 0);
}
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
"#;

#[cfg(target_arch = "aarch64")]
const STATIC_PROGRAM: &str = r#"
static long call(long number, long a, long b, long c) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
void start(long *stack) {
    long fd = call(56, -100, stack[2], 1);
    long failed = call(82, fd, 0, 0) | call(82, fd, 0, 0);
    call(93, failed != 0, 0, 0);
}
__asm__(".globl _start\n_start:\n mov x0, sp\n b start\n");
"#;

/// The whole program. Before it, what would sync by itself is made ready.
fn program(dir: &Path) {
    for (number, part) in PARTS.iter().enumerate() {
        let dir = dir.join(number.to_string());
        fs::create_dir(&dir).unwrap();
        (part.run)(&dir);
    }
}

/// How many of each name, in the order of the names.
fn tally<'a>(calls: impl IntoIterator<Item = (&'a str, usize)>) -> Vec<(String, usize)> {
    let mut tally = std::collections::BTreeMap::new();
    for (name, n) in calls {
        *tally.entry(name.to_owned()).or_insert(0) += n;
    }
    tally.into_iter().collect()
}

fn all_calls() -> Vec<(String, usize)> {
    tally(PARTS.iter().flat_map(|part| part.calls.iter().copied()))
}

fn number_of(parts: impl Iterator<Item = &'static Part>) -> usize {
    parts.flat_map(|part| part.calls).map(|(_, n)| n).sum()
}

fn kernel_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Fsync => "fsync",
        Operation::Fdatasync => "fdatasync",
        Operation::Msync | Operation::MsyncAsync => "msync",
        Operation::SyncFileRange => "sync_file_range",
        Operation::Syncfs => "syncfs",
        Operation::Sync => "sync",
        other => panic!("{other} is no sync"),
    }
}

fn audited(f: impl FnOnce() + Send) -> Audit<()> {
    audit(f).unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn the_kernel_scope_misses_nothing_and_the_hook_only_what_it_must() {
    alone(
        "coverage::the_kernel_scope_misses_nothing_and_the_hook_only_what_it_must",
        || {
            let dir = tempdir().unwrap();
            static_program();
            let all = number_of(PARTS.iter());
            assert!(all >= 80, "{all}");
            let whole = audited(|| program(dir.path()));
            let of = |counts: fsync_counter::SyncCounts| counts.total() + counts.weak;
            assert_eq!(of(whole.kernel()), all as u64, "{whole}");
            let hooked = number_of(PARTS.iter().filter(|part| part.hooked));
            assert_eq!(of(whole.hook()), hooked as u64, "{whole}");
            let missed: u64 = whole.missed().iter().map(|line| line.syncs).sum();
            assert_eq!(missed, (all - hooked) as u64, "{whole}");
            assert_eq!(whole.incomplete(), []);

            // And each part for itself, by name.
            let dir = tempdir().unwrap();
            for (number, part) in PARTS.iter().enumerate() {
                let dir = dir.path().join(number.to_string());
                fs::create_dir(&dir).unwrap();
                let scope = fsync_counter::KernelScope::open().unwrap();
                let seen = scope.observe(|| (part.run)(&dir));
                let events = seen.events();
                let names = events.iter().map(|event| (kernel_name(event.operation), 1));
                let expected = tally(part.calls.iter().copied());
                assert_eq!(tally(names), expected, "{}:\n{events}", part.name);
            }
        },
    );
}

#[test]
fn strace_sees_the_same() {
    const TEST: &str = "coverage::strace_sees_the_same";
    if is_child(TEST) {
        program(tempdir().unwrap().path());
        return;
    }
    let Some(seen) = strace::syncs_of(TEST, &[]) else {
        return;
    };
    assert_eq!(
        tally(seen.iter().map(|name| (name.as_str(), 1))),
        all_calls()
    );
}

/// What no system call shows is at least said.
#[test]
fn a_ring_is_always_said() {
    alone("coverage::a_ring_is_always_said", || {
        let dir = tempdir().unwrap();
        let path = dir.path().join("file");
        let said = audited(|| match io_uring_fsync(&new_file(dir.path())) {
            Ok(()) => (),
            Err(error) => eprintln!("no ring here ({error}): the attempt is said all the same"),
        });
        assert_eq!(said.incomplete(), [Incomplete::IoUring], "{said}");
        assert_eq!(
            said.kernel().total(),
            0,
            "a ring's sync is no system call: {}",
            path.display()
        );
    });
}

/// A sync submitted through a ring.
fn io_uring_fsync(file: &File) -> std::io::Result<()> {
    let mut ring = io_uring::IoUring::new(2)?;
    let sync = io_uring::opcode::Fsync::new(io_uring::types::Fd(file.as_raw_fd())).build();
    // SAFETY: the file outlives the wait for the answer.
    unsafe { ring.submission().push(&sync) }.expect("there is room");
    ring.submit_and_wait(1)?;
    let answer = ring.completion().next().expect("an answer").result();
    assert_eq!(answer, 0);
    Ok(())
}
