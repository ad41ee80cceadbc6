//! How long a runtime's thread does nothing else, while a task of it logs.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use fsync_counter::{Action, FsyncCounter};
use trajectory_log::{BlockingLogger, Config, TrajectoryLogger, TrajectoryReader};

use crate::fixture::{runtime, turn};
use crate::planted::Defect;

/// Turns that are logged meanwhile.
const TURNS: u32 = 10_000;

/// The disk is factored out but for one sync, which takes this long.
const STALL: Duration = Duration::from_millis(20);
const STALLED: u64 = 50;

/// The least of three times [`longest_once`]. A thread is also kept from its work by what no book
/// says, interrupts and the machine's host: in the longest gap of ten thousand now and then, in
/// three of three seldom. A logger that blocks does so each time.
pub(crate) fn longest_while_logging() -> Duration {
    let longest = std::array::from_fn::<_, 3, _>(|_| longest_once());
    longest.into_iter().min().unwrap_or_default()
}

/// The longest time between two ticks of a task that does nothing but tick, while another task of
/// its thread logs, without what the thread waited for a CPU.
fn longest_once() -> Duration {
    let dir = perfbudget::tmpfs_dir();
    let path = dir.path().join("log.db");
    let _disk = fsync_counter::stub();
    let syncs = FsyncCounter::under(&dir);
    let config = Config::default();
    let longest = if Defect::from_env() == Defect::WritesByItself {
        let logger = BlockingLogger::open(&path, config).expect("opened");
        syncs.reset();
        syncs.at_sync(STALLED, Action::Wait(STALL));
        let logger = std::cell::RefCell::new(logger);
        longest_beside(async |number| {
            logger.borrow_mut().log_turn(turn(number)).expect("logged");
        })
    } else {
        let logger = TrajectoryLogger::open(&path, config).expect("opened");
        syncs.reset();
        syncs.at_sync(STALLED, Action::Wait(STALL));
        let longest = longest_beside(async |number| {
            logger.log_turn(turn(number)).await.expect("accepted");
        });
        runtime().block_on(logger.close()).expect("closed");
        longest
    };
    let turns = TrajectoryReader::open(&path).and_then(|reader| reader.counts());
    assert_eq!(turns.expect("read").turns, u64::from(TURNS));
    assert!(syncs.counts().files >= STALLED, "it stalled");
    longest
}

fn longest_beside(log: impl AsyncFn(u32)) -> Duration {
    let is_done = Cell::new(false);
    let logging = async {
        for number in 0..TURNS {
            log(number).await;
        }
        is_done.set(true);
    };
    let ticking = async {
        let mut ticks = Ticks::begin();
        while !is_done.get() {
            tokio::task::yield_now().await;
            ticks.tick();
        }
        ticks.longest
    };
    let (longest, ()) = runtime().block_on(async { tokio::join!(ticking, logging) });
    longest
}

/// The ticks of this thread.
struct Ticks {
    run_delay: RunDelay,
    last: (Instant, Duration),
    longest: Duration,
}

impl Ticks {
    fn begin() -> Self {
        let run_delay = RunDelay::of_this_thread();
        Self {
            last: (Instant::now(), run_delay.read()),
            run_delay,
            longest: Duration::ZERO,
        }
    }

    fn tick(&mut self) {
        let now = (Instant::now(), self.run_delay.read());
        let gap = (now.0 - self.last.0).saturating_sub(now.1 - self.last.1);
        self.longest = self.longest.max(gap);
        self.last = now;
    }
}

/// How long this thread has been ready to run and waited for a CPU: the second number of its
/// `schedstat` (the kernel's Documentation/scheduler/sched-stats.rst). Nothing where there is none.
struct RunDelay(Option<File>);

impl RunDelay {
    fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    fn read(&self) -> Duration {
        let mut buffer = [0; 64];
        let read = self
            .0
            .as_ref()
            .and_then(|file| file.read_at(&mut buffer, 0).ok());
        let text = std::str::from_utf8(&buffer[..read.unwrap_or_default()]).unwrap_or_default();
        let nanoseconds = text
            .split(' ')
            .nth(1)
            .and_then(|number| number.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    }
}
