//! What a drain costs beside the bare file-system calls that its protocol needs.
//!
//! `cargo bench -p outbox --profile perf --bench drain -- [--check]`
//!
//! Syncs are stubbed: the figures are the code's and the file system's, not the disk's. Each round
//! measures every case once, in turn, on outboxes made beforehand; a figure is the median over the
//! rounds, and a ratio the median of the ratios within a round.
//!
//! The bare calls are those of a drain in the same order with the same bytes, and nothing in
//! between: no JSON, no fold, no ledger.
//!
//! `--check` makes a missed goal the exit code 1.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fsync_counter::{Scope, SyncCounts};
use outbox::{Event, Outbox};
use perfbudget::Gate;
use perfbudget::record::Nanoseconds;
use tempfile::TempDir;

const ROUNDS: usize = 101;
/// Drains a case and round.
const DRAINS: usize = 8;

fn main() -> ExitCode {
    let memory = perfbudget::tmpfs_dir();
    assert!(memory.is_in_memory(), "there is no tmpfs to measure on");
    // Beside the build, which is on a disk.
    let target = std::env::current_exe().expect("this program");
    let disk = TempDir::new_in(target.parent().expect("its directory")).expect("a directory");

    let _syncs = fsync_counter::stub();
    let rounds: Vec<Round> = (0..=ROUNDS)
        .map(|_| Round {
            memory_25: drains(memory.path(), 25),
            memory_400: drains(memory.path(), 400),
            memory_bare: bare_drains(memory.path(), 25),
            disk_25: drains(disk.path(), 25),
            disk_bare: bare_drains(disk.path(), 25),
        })
        .skip(1) // the first warms up
        .collect();
    drop(_syncs);
    let gates: Vec<Duration> = (0..=ROUNDS).map(|_| count_gate(disk.path())).collect();

    let time = |of: fn(&Round) -> Duration| median(rounds.iter().map(of));
    let ratio = |of: fn(&Round) -> f64| median_f64(rounds.iter().map(of));
    let drain = time(|r| r.memory_25);
    let many = ratio(|r| r.memory_400.as_secs_f64() / r.memory_25.as_secs_f64());
    let on_disk = ratio(|r| r.disk_25.as_secs_f64() / r.disk_bare.as_secs_f64());
    let count_gate = median(gates.into_iter());
    let micros = Duration::from_micros;

    println!("medians of {ROUNDS} rounds, {DRAINS} drains each, syncs stubbed\n");
    println!("| outbox | measured | goal | |");
    println!("|---|---|---|---|");
    let mut missed = false;
    let mut row = |name: &str, measured: String, goal: &str, reached: Option<bool>| {
        let verdict = match reached {
            None => "",
            Some(true) => "reached",
            Some(false) => "MISSED",
        };
        missed |= reached == Some(false);
        println!("| {name} | {measured} | {goal} | {verdict} |");
    };
    row(
        "drain of 25, tmpfs",
        show(drain),
        "≤ 120 µs",
        Some(drain <= micros(120)),
    );
    row(
        "its bare file-system calls, tmpfs",
        show(time(|r| r.memory_bare)),
        "",
        None,
    );
    row(
        "drain of 400, tmpfs",
        show(time(|r| r.memory_400)),
        "",
        None,
    );
    row(
        "400 records ÷ 25 records",
        format!("{many:.1} ×"),
        "≤ 12 ×",
        Some(many <= 12.0),
    );
    row("drain of 25, disk", show(time(|r| r.disk_25)), "", None);
    row(
        "its bare file-system calls, disk",
        show(time(|r| r.disk_bare)),
        "",
        None,
    );
    row(
        "drain ÷ bare calls, disk",
        format!("{on_disk:.2} ×"),
        "≤ 1.4 ×",
        Some(on_disk <= 1.4),
    );
    row(
        "a Tier 2 gate in all: scope, drain of 25 with real syncs, record",
        show(count_gate),
        "< 50 ms",
        Some(count_gate < Duration::from_millis(50)),
    );
    if missed && std::env::args().any(|argument| argument == "--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The time of one drain of each kind.
struct Round {
    memory_25: Duration,
    memory_400: Duration,
    memory_bare: Duration,
    disk_25: Duration,
    disk_bare: Duration,
}

fn show(duration: Duration) -> String {
    Nanoseconds(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).to_string()
}

fn median(durations: impl Iterator<Item = Duration>) -> Duration {
    let mut durations: Vec<Duration> = durations.collect();
    durations.sort_unstable();
    durations[durations.len() / 2]
}

fn median_f64(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn filled(root: &Path, children: usize) -> Outbox {
    let outbox = Outbox::open(root, "parent").expect("an outbox");
    for child in 0..children {
        let event = Event::new(format!("child-{child}"), format!("turn of {child}"))
            .with_summary("tests pass; two files changed");
        outbox.commit(event).expect("committed");
    }
    outbox
}

/// The mean time of a drain, each of an outbox that was just filled.
fn drains(parent: &Path, children: usize) -> Duration {
    let fixtures: Vec<(Outbox, TempDir)> = (0..DRAINS)
        .map(|_| {
            let dir = TempDir::new_in(parent).expect("a directory");
            (filled(dir.path(), children), dir)
        })
        .collect();
    let mut drained = Vec::with_capacity(DRAINS);
    let start = Instant::now();
    for (outbox, _) in &fixtures {
        drained.push(black_box(outbox.drain().expect("drained")));
    }
    let wall = start.elapsed();
    assert!(drained.iter().all(|d| d.len() == children));
    wall / u32::try_from(DRAINS).expect("few")
}

/// The files of an outbox and what a drain writes to them.
struct Bare {
    path: PathBuf,
    directory: File,
    inbox_lock: File,
    ledger_lock: File,
    wal: Vec<u8>,
    ledger: Vec<u8>,
    _dir: TempDir,
}

impl Bare {
    /// Learns the bytes from a drain that is stopped before it removes its write-ahead file.
    fn new(parent: &Path, children: usize) -> Self {
        let dir = TempDir::new_in(parent).expect("a directory");
        let outbox = filled(dir.path(), children);
        let path = outbox.path().to_path_buf();
        let inbox = fs::read(path.join("inbox.jsonl")).expect("an inbox");
        let stopped = outbox.drain_with(|_| Err::<(), _>("stop"));
        assert!(stopped.is_err());
        let wal = fs::read(path.join("wal.jsonl")).expect("staged");
        let ledger = fs::read(path.join("ledger.json")).expect("marked");
        drop(outbox);
        fs::remove_file(path.join("wal.jsonl")).expect("removed");
        fs::remove_file(path.join("ledger.json")).expect("removed");
        fs::write(path.join("inbox.jsonl"), inbox).expect("written");
        let open = |name: &str| File::open(path.join(name)).expect("opened");
        Self {
            directory: File::open(&path).expect("opened"),
            inbox_lock: open("inbox.lock"),
            ledger_lock: open("ledger.lock"),
            wal,
            ledger,
            path,
            _dir: dir,
        }
    }

    fn drain(&self) -> Vec<u8> {
        self.ledger_lock.lock().expect("locked");
        self.inbox_lock.lock().expect("locked");
        assert!(File::open(self.path.join("wal.jsonl")).is_err());
        let mut file = File::open(self.path.join("inbox.jsonl")).expect("opened");
        let length = file.metadata().expect("known").len();
        let mut inbox = Vec::with_capacity(usize::try_from(length).expect("small") + 1);
        file.read_to_end(&mut inbox).expect("read");
        drop(file);
        assert!(File::open(self.path.join("ledger.json")).is_err());
        self.replace("wal.tmp", "wal.jsonl", &self.wal);
        fs::remove_file(self.path.join("inbox.jsonl")).expect("removed");
        self.inbox_lock.unlock().expect("unlocked");
        self.replace("ledger.tmp", "ledger.json", &self.ledger);
        fs::remove_file(self.path.join("wal.jsonl")).expect("removed");
        self.ledger_lock.unlock().expect("unlocked");
        inbox
    }

    fn replace(&self, temporary: &str, name: &str, bytes: &[u8]) {
        let temporary = self.path.join(temporary);
        let mut file = File::create(&temporary).expect("created");
        file.write_all(bytes).expect("written");
        file.sync_all().expect("stubbed");
        fs::rename(&temporary, self.path.join(name)).expect("renamed");
        self.directory.sync_all().expect("stubbed");
    }
}

fn bare_drains(parent: &Path, children: usize) -> Duration {
    let fixtures: Vec<Bare> = (0..DRAINS).map(|_| Bare::new(parent, children)).collect();
    let mut read = Vec::with_capacity(DRAINS);
    let start = Instant::now();
    for fixture in &fixtures {
        read.push(black_box(fixture.drain()));
    }
    let wall = start.elapsed();
    assert!(read.iter().all(|inbox| !inbox.is_empty()));
    wall / u32::try_from(DRAINS).expect("few")
}

/// A whole count gate, from the scope to the record, on an outbox that was made before.
fn count_gate(disk: &Path) -> Duration {
    let dir = TempDir::new_in(disk).expect("a directory");
    let outbox = filled(dir.path(), 25);
    let start = Instant::now();
    let drained = Scope::under(dir.path()).observe(|| outbox.drain().expect("drained"));
    let record = Gate::counts("bench/drain-syncs")
        .evidence(drained.events())
        .check(SyncCounts::new().files(2).dirs(2), drained.counts());
    let wall = start.elapsed();
    assert_eq!(record.verdict, perfbudget::Verdict::Exact);
    wall
}
