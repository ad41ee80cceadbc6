//! A disk that fails on request and a clock that is set by hand.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outbox::{Clock, Disk, Event, Outbox, SystemDisk};
use parking_lot::Mutex;
use tempfile::TempDir;

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A clock that stands where it was put.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_790_000_000_000)))
    }

    pub(crate) fn forward(&self, by: Duration) {
        self.0
            .fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn back(&self, by: Duration) {
        self.0
            .fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl HandClock {
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set_ms(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    /// Steps by so many milliseconds, backwards where they are negative.
    pub(crate) fn step_ms(&self, by_ms: i64) {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
                now.checked_add_signed(by_ms)
            })
            .unwrap();
    }
}

impl Clock for HandClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What goes wrong, at which effect (from 1, counted from when the fault was set).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// One effect fails; a write does half of its work first.
    Once {
        at: usize,
        errno: i32,
    },
    /// From this effect on the disk is full: what would make it fuller fails.
    Full {
        at: usize,
    },
    /// The process dies at this effect: nothing has an effect any more. The effect itself
    /// has happened or not, or half of it, if it is a write.
    Death {
        at: usize,
        after: bool,
    },
    /// The same, before the first effect of this name.
    DeathBefore(&'static str),
    /// Every effect of this name is refused, and the others work.
    Refused(&'static str),
}

struct State {
    fault: Fault,
    effects: Vec<String>,
    fired: bool,
    bytes_written: u64,
}

/// Real files, and syncs that succeed without reaching the disk.
pub(crate) struct UnsyncedDisk;

impl Disk for UnsyncedDisk {
    fn sync_file(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// A disk with a fault, in front of another.
pub(crate) struct FaultyDisk {
    state: Mutex<State>,
    inner: Box<dyn Disk>,
}

impl FaultyDisk {
    /// In front of real files, with syncs that succeed without reaching the disk.
    pub(crate) fn new(fault: Fault) -> Arc<Self> {
        Self::over(UnsyncedDisk, fault)
    }

    pub(crate) fn over(inner: impl Disk + 'static, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                fault,
                effects: Vec::new(),
                fired: false,
                bytes_written: 0,
            }),
            inner: Box::new(inner),
        })
    }

    /// Sets the fault and starts counting anew.
    pub(crate) fn set(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.fault = fault;
        state.effects.clear();
        state.fired = false;
    }

    /// Whether the fault was reached.
    pub(crate) fn fired(&self) -> bool {
        self.state.lock().fired
    }

    /// Whether the process that the fault stands for is dead.
    pub(crate) fn is_dead(&self) -> bool {
        let state = self.state.lock();
        state.fired && matches!(state.fault, Fault::Death { .. })
    }

    /// The effects since the fault was set, as `method name`.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.state.lock().effects.clone()
    }

    /// How many of the effects were this method.
    pub(crate) fn count(&self, method: &str) -> usize {
        let state = self.state.lock();
        state
            .effects
            .iter()
            .filter(|effect| effect.split(' ').next() == Some(method))
            .count()
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.state.lock().bytes_written
    }

    fn effect<T>(
        &self,
        method: &str,
        path: Option<&Path>,
        real: impl FnOnce() -> io::Result<T>,
        half: impl FnOnce(),
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let name = path
            .and_then(Path::file_name)
            .map_or(String::new(), |name| name.to_string_lossy().into_owned());
        state.effects.push(format!("{method} {name}"));
        let number = state.effects.len();
        if let Fault::DeathBefore(name) = state.fault
            && state.effects.last().is_some_and(|last| last == name)
        {
            state.fault = Fault::Death {
                at: number,
                after: false,
            };
        }
        let fail = |errno| Err(io::Error::from_raw_os_error(errno));
        match state.fault {
            Fault::Once { at, errno } if number == at => {
                state.fired = true;
                half();
                fail(errno)
            }
            Fault::Refused(name) if state.effects.last().is_some_and(|last| last == name) => {
                state.fired = true;
                fail(libc::EACCES)
            }
            Fault::Full { at } if number >= at && !matches!(method, "truncate" | "remove") => {
                state.fired = true;
                half();
                fail(libc::ENOSPC)
            }
            Fault::Death { at, after } if number >= at => {
                state.fired = true;
                if number == at && after {
                    real()?;
                } else if number == at {
                    half();
                }
                fail(libc::EIO)
            }
            _ => real(),
        }
    }
}

impl Disk for FaultyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let real = || self.inner.create_directory(path);
        self.effect("create_directory", Some(path), real, || ())
    }

    fn create_temporary(&self, path: &Path) -> io::Result<File> {
        let real = || self.inner.create_temporary(path);
        self.effect("create_temporary", Some(path), real, || ())
    }

    fn open_for_append(&self, path: &Path) -> io::Result<File> {
        let real = || self.inner.open_for_append(path);
        self.effect("open_for_append", Some(path), real, || ())
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let half = || self.inner.write(file, &bytes[..bytes.len() / 2]).unwrap();
        self.effect("write", None, || self.inner.write(file, bytes), half)?;
        self.state.lock().bytes_written += bytes.len() as u64;
        Ok(())
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        let real = || self.inner.truncate(file, length);
        self.effect("truncate", None, real, || ())
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.effect("sync_file", None, || self.inner.sync_file(file), || ())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let real = || self.inner.rename(from, to);
        self.effect("rename", Some(to), real, || ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let real = || self.inner.remove(path);
        self.effect("remove", Some(path), real, || ())
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        let real = || self.inner.sync_directory(directory);
        self.effect("sync_directory", None, real, || ())
    }
}

/// An outbox of its own, with its disk and clock at hand.
pub(crate) struct Fixture {
    pub(crate) root: TempDir,
    pub(crate) disk: Arc<FaultyDisk>,
    pub(crate) clock: HandClock,
    pub(crate) outbox: Outbox,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Fault::None);
        let clock = HandClock::new();
        let outbox =
            Outbox::with_seams(root.path(), "parent", Arc::clone(&disk), clock.clone()).unwrap();
        Self {
            root,
            disk,
            clock,
            outbox,
        }
    }

    /// Another handle to the same outbox, as another process would have it.
    pub(crate) fn reopen(&self, fault: Fault) -> (Outbox, Arc<FaultyDisk>) {
        let disk = FaultyDisk::new(Fault::None);
        let outbox = Outbox::with_seams(
            self.root.path(),
            "parent",
            Arc::clone(&disk),
            self.clock.clone(),
        )
        .unwrap();
        disk.set(fault);
        (outbox, disk)
    }

    pub(crate) fn commit(&self, child: &str, signal: &str) {
        self.outbox.commit(Event::new(child, signal)).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.outbox.path().join(name)
    }

    /// The length of a file; `None` where it is not there.
    pub(crate) fn file_length(&self, name: &str) -> Option<u64> {
        std::fs::metadata(self.file(name))
            .ok()
            .map(|file| file.len())
    }

    /// Appends raw bytes to a file, as a torn write or another program would.
    pub(crate) fn append(&self, name: &str, bytes: &[u8]) {
        let file = SystemDisk.open_for_append(&self.file(name)).unwrap();
        SystemDisk.write(&file, bytes).unwrap();
    }

    /// Leaves the outbox as a drain that died right before this effect would.
    pub(crate) fn die_in_drain(&self, before: &'static str) {
        self.disk.set(Fault::DeathBefore(before));
        self.outbox.drain().unwrap_err();
        self.disk.set(Fault::None);
    }
}

/// `child=signal` of each turn, in order.
pub(crate) fn names(turns: &[outbox::Turn]) -> Vec<String> {
    turns
        .iter()
        .map(|turn| format!("{}={}", turn.child, turn.signal))
        .collect()
}

/// Notes that the test that asks was left out, and why, where `make test` will say so.
#[track_caller]
pub(crate) fn left_out(why: &str) {
    let test = std::panic::Location::caller();
    let line = format!("{}:{}: {why}\n", test.file(), test.line());
    eprint!("left out: {line}");
    if let Some(file) = std::env::var_os("PERFBUDGET_LEFT_OUT").filter(|file| !file.is_empty()) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
