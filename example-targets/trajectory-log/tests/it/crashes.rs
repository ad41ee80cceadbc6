//! A process that is killed loses nothing that was acknowledged, and of the rest no more than the
//! bounds say.
//!
//! The child is this test binary. It says what was accepted and what was acknowledged, a line each,
//! and is killed: in each of its syncs, before the kernel sees it, or by its parent at any time.
//! This shows what a kill leaves; what a loss of power leaves rests on the syncs, which
//! `syncs.rs` counts.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use fsync_counter::{Action, FsyncCounter, Scope};
use rusqlite::Connection;
use trajectory_log::{BlockingLogger, Config, TrajectoryLogger, TrajectoryReader, Turn};

use crate::storage::{directory, runtime};

const SIGKILL: i32 = 9;

/// The child's orders.
const DIRECTORY_ENV: &str = "TRAJECTORY_KILL_DIRECTORY";
const DURABILITY_ENV: &str = "TRAJECTORY_KILL_DURABILITY";
const WORK_ENV: &str = "TRAJECTORY_KILL_WORK";
const SYNC_ENV: &str = "TRAJECTORY_KILL_SYNC";

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// 57 turns in batches of 10, a flush after 25 and after 50, then a close. Which syncs that
    /// makes depends on nothing.
    Counted,
    /// Turns without end, as fast as they go, every 50th durable.
    Fast,
    /// A turn a millisecond, which only the timer writes.
    Timed,
    /// Each turn comes when the one before it is written: they are further apart than the interval.
    Apart,
}

impl Work {
    const ALL: [Self; 4] = [Self::Counted, Self::Fast, Self::Timed, Self::Apart];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn config(self, durability: &str) -> Config {
        let config = Config {
            durability: durability.parse().expect("a durability"),
            channel_capacity: 30,
            ..Config::default()
        };
        match self {
            Self::Counted => Config {
                flush_interval_ms: 3_600_000,
                ..config
            },
            Self::Fast => Config {
                flush_interval_ms: 20,
                ..config
            },
            Self::Timed => Config {
                flush_interval_ms: 20,
                buffer_size: 100_000,
                ..config
            },
            Self::Apart => Config {
                flush_interval_ms: 5,
                ..config
            },
        }
    }

    fn run(self, directory: &Path, durability: &str) {
        let path = directory.join("log.db");
        let logger = TrajectoryLogger::open(path, self.config(durability)).expect("opened");
        runtime().block_on(async {
            match self {
                Self::Counted => {
                    for number in 0..57 {
                        logger.log_turn(turn(number)).await.expect("accepted");
                        say("accepted", number);
                        if number % 25 == 24 {
                            logger.flush().await.expect("flushed");
                            say("on_disk", number);
                        }
                    }
                    logger.close().await.expect("closed");
                    say("on_disk", 56);
                }
                Self::Fast => {
                    for number in 0.. {
                        if number % 50 == 49 {
                            logger
                                .log_turn_durable(turn(number))
                                .await
                                .expect("on disk");
                            say("on_disk", number);
                        } else {
                            logger.log_turn(turn(number)).await.expect("accepted");
                            say("accepted", number);
                        }
                    }
                }
                Self::Timed => {
                    for number in 0.. {
                        logger.log_turn(turn(number)).await.expect("accepted");
                        say("accepted", number);
                        std::thread::sleep(Duration::from_millis(1)); // the pace
                    }
                }
                Self::Apart => {
                    for number in 0.. {
                        logger.log_turn(turn(number)).await.expect("accepted");
                        say("accepted", number);
                        while logger.status().written <= u64::from(number) {
                            std::thread::yield_now();
                        }
                    }
                }
            }
        });
    }
}

/// Turns of three runs in turn, longer than a page now and then.
fn turn(number: u32) -> Turn {
    let content = format!("{number} ").repeat(if number.is_multiple_of(7) { 1_500 } else { 50 });
    Turn::new(format!("run-{}", number % 3), number, "user", content)
}

fn now_ms() -> u128 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.expect("after 1970").as_millis()
}

fn say(what: &str, number: u32) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "@ {what} {number} {}", now_ms()).expect("said");
    output.flush().expect("said");
}

/// Not a test of its own: the child process of the others.
#[test]
fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY_ENV) else {
        return;
    };
    let order = |name| std::env::var(name).expect("orders");
    let work = order(WORK_ENV);
    let work = Work::ALL.into_iter().find(|w| w.name() == work);
    let counter = FsyncCounter::under(&directory);
    let sync = order(SYNC_ENV).parse().expect("a number");
    if sync > 0 {
        counter.at_sync(sync, Action::Call(die));
    }
    work.expect("work")
        .run(Path::new(&directory), &order(DURABILITY_ENV));
}

fn die() {
    let this = rustix::process::getpid();
    rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("killed");
}

/// A child, killed and reaped whatever happens.
struct Killed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    heard: Heard,
}

/// What a child has said.
#[derive(Debug, Default)]
struct Heard {
    /// When each turn was accepted, in milliseconds since 1970.
    accepted: Vec<u128>,
    /// Turns that were acknowledged as on disk.
    on_disk: usize,
}

impl Killed {
    fn start(work: Work, durability: &str, directory: &Path, sync: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "crashes::child_that_is_killed", "--nocapture"])
            .env(DIRECTORY_ENV, directory)
            .env(DURABILITY_ENV, durability)
            .env(WORK_ENV, work.name())
            .env(SYNC_ENV, sync.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary starts");
        let output = child.stdout.take().expect("a pipe");
        Self {
            child,
            lines: BufReader::new(output).lines(),
            heard: Heard::default(),
        }
    }

    /// Listens to one more line. Returns whether there was one.
    fn listen(&mut self) -> bool {
        let Some(Ok(line)) = self.lines.next() else {
            return false;
        };
        // What the test harness prints is before it, on the first line.
        if let Some((_, said)) = line.split_once("@ ") {
            let mut words = said.split(' ');
            let what = words.next().expect("a word");
            let number: usize = words.next().expect("a number").parse().expect("a number");
            let at = words.next().expect("a time").parse().expect("a time");
            if what == "on_disk" {
                self.heard.on_disk = number + 1;
            }
            if number == self.heard.accepted.len() {
                self.heard.accepted.push(at);
            }
        }
        true
    }

    fn accepted(&self) -> usize {
        self.heard.accepted.len()
    }

    /// Kills it, unless it has done so itself, and listens to what it had said before.
    fn kill(mut self) -> Heard {
        // It may have died already.
        let _ = self.child.kill();
        while self.listen() {}
        let status = self.child.wait().expect("reaped");
        assert_eq!(status.signal(), Some(SIGKILL), "{status}");
        std::mem::take(&mut self.heard)
    }

    /// Listens until it has killed itself.
    fn die(mut self) -> Heard {
        while self.listen() {}
        let status = self.child.wait().expect("reaped");
        assert_eq!(status.signal(), Some(SIGKILL), "{status}");
        std::mem::take(&mut self.heard)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail where it has ended, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The turns in the log: as they were logged, none left out before the last, nothing torn. Returns
/// how many there are.
fn found(directory: &Path) -> usize {
    let path = directory.join("log.db");
    if !path.exists() || std::fs::metadata(&path).expect("there").len() == 0 {
        return 0;
    }
    let Ok(reader) = TrajectoryReader::open(&path) else {
        // Killed before it was a log; that nothing was lost, the caller sees.
        return 0;
    };
    let turns = reader.tail(u32::MAX, None).expect("read");
    for (number, logged) in turns.iter().enumerate() {
        assert_eq!(logged.turn, turn(u32::try_from(number).expect("few")));
    }
    for run in 0..3 {
        let of_run = reader.turns_of(&format!("run-{run}")).expect("read");
        let numbers: Vec<u32> = of_run.iter().map(|logged| logged.turn.turn).collect();
        let expected = (0..u32::try_from(turns.len()).expect("few")).filter(|n| n % 3 == run);
        assert_eq!(numbers, expected.collect::<Vec<_>>());
    }
    let integrity: String = Connection::open(&path)
        .expect("opened")
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checked");
    assert_eq!(integrity, "ok");
    turns.len()
}

/// What must hold after any kill. Returns how many accepted turns are missing.
#[track_caller]
fn assert_nothing_promised_is_lost(
    work: Work,
    durability: &str,
    directory: &Path,
    heard: &Heard,
) -> usize {
    let found = found(directory);
    assert!(
        found >= heard.on_disk,
        "{found} found, {} were acknowledged",
        heard.on_disk
    );
    let missing = heard.accepted.len().saturating_sub(found);
    let config = work.config(durability);
    let most = config.channel_capacity + config.buffer_size;
    assert!(
        missing <= most,
        "{missing} are missing, at most {most} may be"
    );

    // And the next logger goes on from there.
    let path = directory.join("log.db");
    let mut logger = BlockingLogger::open(&path, config).expect("opened again");
    logger
        .log_turn(Turn::new("later", 0, "user", "…"))
        .expect("logged");
    logger.close().expect("closed");
    let reader = TrajectoryReader::open(&path).expect("opened");
    assert_eq!(reader.counts().expect("read").turns, found as u64 + 1);
    missing
}

fn is_killed_at_every_sync(durability: &str) {
    let syncs = {
        let directory = directory();
        let observed = Scope::under(directory.path())
            .observe(|| Work::Counted.run(directory.path(), durability));
        let counts = observed.counts();
        assert_eq!(counts.unknown + counts.other, 0, "{counts:?}");
        assert_eq!(found(directory.path()), 57);
        counts.total()
    };
    assert!(syncs >= 6, "{durability}: {syncs}");
    for sync in 1..=syncs {
        let directory = directory();
        let heard = Killed::start(Work::Counted, durability, directory.path(), sync).die();
        assert_nothing_promised_is_lost(Work::Counted, durability, directory.path(), &heard);
    }
}

#[test]
fn killed_at_every_sync_of_wal_full() {
    is_killed_at_every_sync("wal/full");
}

#[test]
fn killed_at_every_sync_of_wal_normal() {
    is_killed_at_every_sync("wal/normal");
}

#[test]
fn killed_at_every_sync_of_delete_full() {
    is_killed_at_every_sync("delete/full");
}

#[test]
fn killed_at_every_sync_of_truncate_normal() {
    is_killed_at_every_sync("truncate/normal");
}

#[test]
fn killed_at_every_sync_of_persist_extra() {
    is_killed_at_every_sync("persist/extra");
}

/// Numbers that look random and are the same in each run: Marsaglia's xorshift64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Kills after so many lines and then some, and returns how many turns are missing.
fn is_killed_at_random(work: Work, durability: &str, numbers: &mut Numbers, lines: u64) -> usize {
    let directory = directory();
    let mut child = Killed::start(work, durability, directory.path(), 0);
    let enough = numbers.below(lines);
    while (child.accepted() as u64) < enough {
        assert!(child.listen(), "the child has ended by itself");
    }
    let until = Instant::now() + Duration::from_micros(numbers.below(3_000));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    let heard = child.kill();
    assert_nothing_promised_is_lost(work, durability, directory.path(), &heard)
}

#[test]
fn killed_at_random_times() {
    for durability in ["wal/full", "wal/normal", "delete/full"] {
        let mut numbers = Numbers(0x5eed + durability.len() as u64);
        for _ in 0..8 {
            is_killed_at_random(Work::Fast, durability, &mut numbers, 600);
        }
    }
}

/// Turns that come one by one: what is missing is the last one at most.
#[test]
fn killed_while_turns_are_far_apart() {
    let mut numbers = Numbers(0xa9a47);
    for _ in 0..8 {
        let missing = is_killed_at_random(Work::Apart, "wal/full", &mut numbers, 30);
        assert!(missing <= 1, "{missing} are missing");
    }
}

/// Only the timer writes, and nothing that is missing had waited for longer than an interval: with
/// a second for a machine that is busy, of the three that the child had been logging.
#[test]
fn killed_while_the_timer_writes() {
    const BUSY_MS: u128 = 1_000;
    let directory = directory();
    let mut child = Killed::start(Work::Timed, "wal/full", directory.path(), 0);
    while child.heard.accepted.last() < child.heard.accepted.first().map(|at| at + 3_000).as_ref()
        || child.accepted() == 0
    {
        assert!(child.listen(), "the child has ended by itself");
    }
    let heard = child.kill();
    let missing =
        assert_nothing_promised_is_lost(Work::Timed, "wal/full", directory.path(), &heard);
    let last = heard.accepted.last().expect("many");
    let interval = u128::from(Work::Timed.config("wal/full").flush_interval_ms);
    for at in &heard.accepted[heard.accepted.len() - missing..] {
        assert!(
            last - at <= interval + BUSY_MS,
            "lost after {} ms",
            last - at
        );
    }
}
