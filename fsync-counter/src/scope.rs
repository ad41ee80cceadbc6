//! Scopes: whose syncs to count, and for how long.

use std::path::{Path, PathBuf};

use crate::action::Action;
use crate::counts::SyncCounts;
use crate::event::Events;
use crate::incomplete::Incomplete;
use crate::linkage::require_linkage;
use crate::registry::Registration;
use crate::watch::{Attribution, Watch};

/// Whose syncs to count; [`observe`](Scope::observe) counts them while a closure runs.
///
/// Scopes nest and overlap, on one thread and on several; each counts for itself.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))] {
/// use std::fs::File;
/// use fsync_counter::{Scope, SyncCounts};
///
/// let dir = tempfile::tempdir().unwrap();
/// let saved = Scope::under(dir.path()).observe(|| {
///     let file = File::create(dir.path().join("a")).unwrap();
///     file.sync_all().unwrap();
///     File::open(dir.path()).unwrap().sync_all().unwrap();
///     "saved"
/// });
/// assert_eq!(saved.value, "saved");
/// assert_eq!(saved.counts(), SyncCounts::new().files(1).dirs(1));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a scope counts only in `observe`"]
pub struct Scope {
    reach: Reach,
    notes_entries: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Thread,
    Process,
    Under(PathBuf),
}

impl Scope {
    /// The syncs that the calling thread issues itself; not those of threads it starts or of a
    /// runtime's pool.
    pub fn thread() -> Self {
        Self::of(Reach::Thread)
    }

    /// The syncs of every thread of the process, those of tests that run at the same time
    /// included.
    pub fn process() -> Self {
        Self::of(Reach::Process)
    }

    /// The syncs of `path` and of everything below it, by whichever thread: right for thread
    /// pools and for tests that run in parallel. An unlinked file counts under its last path.
    ///
    /// The path must exist when the scope opens, and is canonicalised then.
    pub fn under(path: impl AsRef<Path>) -> Self {
        Self::of(Reach::Under(path.as_ref().to_path_buf()))
    }

    const fn of(reach: Reach) -> Self {
        Self {
            reach,
            notes_entries: false,
        }
    }

    /// The same scope, which also notes renames and removals of names (`unlink`, `rmdir`) among
    /// its [events](Observed::events), for assertions on their
    /// [order](crate::Events::assert_order). They are in no count.
    ///
    /// A path scope notes the entries at or below its path; a rename belongs where its new name
    /// is. Each costs four system calls more, while such a scope is open.
    ///
    /// ```
    /// # #[cfg(all(target_os = "linux", not(miri)))] {
    /// use std::fs::{self, File};
    /// use fsync_counter::{Scope, Step, SyncCounts};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = |name| dir.path().join(name);
    /// let saved = Scope::under(dir.path()).with_entries().observe(|| {
    ///     File::create(path("new")).unwrap().sync_all().unwrap();
    ///     fs::rename(path("new"), path("current")).unwrap();
    ///     File::open(dir.path()).unwrap().sync_all().unwrap();
    /// });
    /// assert_eq!(saved.counts(), SyncCounts::new().files(1).dirs(1));
    /// saved.events().assert_order([
    ///     Step::file("new"),
    ///     Step::renamed("current"),
    ///     Step::dir(dir.path().canonicalize().unwrap()),
    /// ]);
    /// # }
    /// ```
    pub fn with_entries(mut self) -> Self {
        self.notes_entries = true;
        self
    }

    /// Runs `f` and counts. When `f` panics, the scope closes and the panic goes on.
    ///
    /// # Panics
    /// When the hook is not linked or the platform has none (see
    /// [`check_linkage`](crate::check_linkage)), when the path of [`under`](Scope::under) can't be
    /// resolved, and when the scope is to [note entries](Scope::with_entries) where the platform's
    /// hook does not see them.
    #[track_caller]
    pub fn observe<T>(&self, f: impl FnOnce() -> T) -> Observed<T> {
        let mut counter = FsyncCounter::open(&self.reach);
        if self.notes_entries {
            counter = counter.with_entries();
        }
        let value = f();
        Observed {
            value,
            counts: counter.counts(),
            events: counter.events(),
            incomplete: counter.incomplete(),
        }
    }
}

/// What a closure returned, and the syncs of its scope meanwhile.
#[derive(Clone, Debug)]
#[must_use]
pub struct Observed<T> {
    /// What the closure returned.
    pub value: T,
    pub(crate) counts: SyncCounts,
    pub(crate) events: Events,
    pub(crate) incomplete: Vec<Incomplete>,
}

impl<T> Observed<T> {
    /// How many syncs of which class.
    #[must_use]
    pub fn counts(&self) -> SyncCounts {
        self.counts
    }

    /// The syncs one by one, and the changes of entries where the scope
    /// [notes them](Scope::with_entries).
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Why the counts may be too low; empty when nothing says so.
    #[must_use]
    pub fn incomplete(&self) -> &[Incomplete] {
        &self.incomplete
    }
}

/// A scope as a guard: it counts from its creation until it is dropped.
///
/// For what a closure can't enclose, and to do something [at the n-th
/// sync](FsyncCounter::at_sync). It can be shared between threads; a
/// [`thread`](FsyncCounter::thread) counter goes on counting the thread that opened it.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))] {
/// use fsync_counter::FsyncCounter;
///
/// let dir = tempfile::tempdir().unwrap();
/// let counter = FsyncCounter::under(dir.path());
/// std::fs::write(dir.path().join("a"), "not synced").unwrap();
/// assert_eq!(counter.file_syncs(), 0);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it counts only while it lives"]
pub struct FsyncCounter(Registration);

impl FsyncCounter {
    /// Counts the syncs of the calling thread. See [`Scope::thread`].
    ///
    /// # Panics
    /// When the hook is not linked or the platform has none.
    #[track_caller]
    pub fn thread() -> Self {
        Self::open(&Reach::Thread)
    }

    /// Counts the syncs of the process. See [`Scope::process`].
    ///
    /// # Panics
    /// When the hook is not linked or the platform has none.
    #[track_caller]
    pub fn process() -> Self {
        Self::open(&Reach::Process)
    }

    /// Counts the syncs of a path and of what is below it. See [`Scope::under`].
    ///
    /// # Panics
    /// When the hook is not linked or the platform has none, and when the path can't be resolved.
    #[track_caller]
    pub fn under(path: impl AsRef<Path>) -> Self {
        Self::open(&Reach::Under(path.as_ref().to_path_buf()))
    }

    #[track_caller]
    fn open(reach: &Reach) -> Self {
        require_linkage();
        crate::hook::prepare();
        let attribution = match reach {
            Reach::Thread => Attribution::Thread(crate::hook::this_thread()),
            Reach::Process => Attribution::Process,
            Reach::Under(path) => Attribution::Path(resolve(path)),
        };
        Self(Registration::open(Watch::counting(attribution)))
    }

    /// The same counter, which from now on also notes renames and removals of names among its
    /// [events](FsyncCounter::events). See [`Scope::with_entries`].
    ///
    /// # Panics
    /// Where the platform's hook does not see them (macOS, FreeBSD): a list without them would be
    /// read as that there were none.
    #[track_caller]
    pub fn with_entries(self) -> Self {
        assert!(
            crate::hook::notes_entries(),
            "renames and removals can't be noted here: the hook sees them on Linux only"
        );
        self.0.watch().note_entries();
        self
    }

    /// How many syncs of which class so far.
    #[must_use]
    pub fn counts(&self) -> SyncCounts {
        self.0.watch().counts()
    }

    /// Syncs of files so far: `counts().files`.
    #[must_use]
    pub fn file_syncs(&self) -> u64 {
        self.counts().files
    }

    /// Syncs of directories so far: `counts().dirs`.
    #[must_use]
    pub fn dir_syncs(&self) -> u64 {
        self.counts().dirs
    }

    /// Syncs that could not be classified or placed so far: `counts().unknown`.
    #[must_use]
    pub fn unknown_syncs(&self) -> u64 {
        self.counts().unknown
    }

    /// The syncs so far, one by one, and the changes of entries where the scope
    /// [notes them](FsyncCounter::with_entries).
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.watch().events()
    }

    /// Why the counts so far may be too low; empty when nothing says so.
    #[must_use]
    pub fn incomplete(&self) -> Vec<Incomplete> {
        self.0.watch().incomplete()
    }

    /// Starts over: no counts, no events, nothing armed, nothing incomplete.
    pub fn reset(&self) {
        self.0.restart();
    }

    /// Does `action` at the `n`-th sync of this scope, before it is forwarded. The first sync
    /// after the scope opened, or after [`reset`](FsyncCounter::reset), is 1; weak calls
    /// have no number. A sync that is already past is not acted on. Several actions at one sync run
    /// in the order of arming, the first [`Errno`](Action::Errno) answers; at most eight run, over
    /// all the scopes that see the sync.
    ///
    /// ```
    /// # #[cfg(all(target_os = "linux", not(miri)))] {
    /// use std::fs::File;
    /// use fsync_counter::{Action, FsyncCounter};
    ///
    /// const EIO: i32 = 5;
    /// let dir = tempfile::tempdir().unwrap();
    /// let counter = FsyncCounter::under(dir.path());
    /// counter.at_sync(2, Action::Errno(EIO));
    /// let file = File::create(dir.path().join("a")).unwrap();
    /// assert!(file.sync_all().is_ok());
    /// assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(EIO));
    /// assert!(file.sync_all().is_ok());
    /// # }
    /// ```
    ///
    /// # Panics
    /// When `n` is 0: syncs are numbered from 1.
    #[track_caller]
    pub fn at_sync(&self, n: u64, action: Action) {
        assert!(n != 0, "syncs are numbered from 1: there is no sync 0");
        self.0.watch().arm(n, action);
    }
}

/// The canonical form of a scope's path: what the kernel says of a descriptor is compared with it.
#[track_caller]
pub(crate) fn resolve(path: &Path) -> PathBuf {
    match path.canonicalize() {
        Ok(path) => path,
        Err(error) => panic!(
            "failed to open a path scope for {}: {error}\n\
             the path must exist when the scope opens",
            path.display()
        ),
    }
}

/// A guard may be sent to and shared with other threads.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<FsyncCounter>();
    is_send_and_sync::<Scope>();
};
