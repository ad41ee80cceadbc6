//! Linux: a thread with a filter, and the one that answers what it tells.
//!
//! # Who does what
//!
//! The watched thread puts the filter on itself, hands the listener over, runs the closure, and says
//! that it is done by a call that only the supervisor understands. The supervisor is the thread that
//! opened the scope: it takes what is told, finds out what the sync is asked of while its caller
//! waits, and lets the call go on. Only a successful answer counts: a call that is told may come
//! back, when a signal interrupts its caller, or never go on, when its caller is killed.
//!
//! # The end
//!
//! When the closure has returned and its thread has ended, the listener hangs up, unless a thread or
//! a process that it started lives on. What those sync is not counted any more, but they must be
//! answered: a thread of this process does that until they have ended.

mod filter;
mod hands;
mod interface;
mod task;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libc::c_int;

use super::origin::Origin;
use super::{KernelScopeUnavailable, Offer, Options, Seen, Told};
use crate::event::{Event, FileClass, Operation, Outcome};
use crate::hook::place::Placement;
use crate::hook::raw;
use crate::hook::threads as noted_threads;
use crate::incomplete::Incomplete;
use crate::linkage::check_linkage;
use filter::Call;
use hands::{Hands, Job};
use interface::{Errno, Listener, Notification, Ready};
use task::Task;

/// The sixth argument of the call by which the watched thread says that its closure has returned:
/// an `fsync` of no descriptor.
const DONE: i64 = 0x6673_796e_6364_6f6e;

/// How long the supervisor waits, when the closure has returned, before it looks whether the watched
/// thread is still there. Only where something outlives it is this waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(LOOK_AGAIN_MS.unsigned_abs() as u64);
const LOOK_AGAIN_MS: c_int = 5;

/// Puts the filter on the calling thread, with as few rights given up as the kernel allows.
fn install(is_exact: bool) -> Result<Listener, Errno> {
    let program = filter::program();
    let flags = if is_exact {
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    } else {
        0
    };
    match interface::install(program, flags) {
        Err(libc::EACCES) => {
            interface::give_up_privileges_of_exec()?;
            interface::install(program, flags)
        }
        other => other,
    }
}

/// Tries the filter on a thread of its own, which then ends.
fn offer_of_the_kernel() -> Result<Offer, KernelScopeUnavailable> {
    let attempt = |is_exact| {
        let thread = thread::Builder::new()
            .spawn(move || install(is_exact).map(drop))
            .map_err(no_thread)?;
        let outcome = thread.join().unwrap_or(Err(libc::EFAULT));
        Ok(outcome)
    };
    for is_exact in [true, false] {
        match attempt(is_exact)? {
            Ok(()) => return Ok(Offer { is_exact }),
            Err(libc::EINVAL) if is_exact => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    Err(KernelScopeUnavailable::NotOffered)
}

fn refused(errno: Errno) -> KernelScopeUnavailable {
    match errno {
        libc::EBUSY => KernelScopeUnavailable::Nested,
        libc::EINVAL => KernelScopeUnavailable::NotOffered,
        libc::EPERM | libc::EACCES => KernelScopeUnavailable::NotAllowed { errno },
        libc::ENOSYS => KernelScopeUnavailable::NoFilters,
        errno => KernelScopeUnavailable::Failed {
            what: "watch a thread",
            errno,
        },
    }
}

fn no_thread(error: std::io::Error) -> KernelScopeUnavailable {
    KernelScopeUnavailable::Failed {
        what: "start a thread",
        errno: error.raw_os_error().unwrap_or(0),
    }
}

pub(super) fn try_filter() -> Result<Offer, KernelScopeUnavailable> {
    static OFFER: OnceLock<Offer> = OnceLock::new();
    // Without any filter on the calling thread there is nothing that could refuse another the next
    // time.
    if let (Some(offer), false) = (OFFER.get(), interface::is_filtered()) {
        return Ok(*offer);
    }
    let offer = offer_of_the_kernel()?;
    Ok(*OFFER.get_or_init(|| offer))
}

/// What the watched thread says before it runs the closure.
type Installed = Result<(Listener, u32), Errno>;

pub(super) fn watch<T: Send>(
    options: Options,
    f: impl FnOnce() -> T + Send,
    tell: &mut dyn FnMut(Told),
) -> Result<thread::Result<T>, KernelScopeUnavailable> {
    crate::hook::prepare();
    let noting = Noting::begin();
    let (send, receive) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let watched = named_like_this_one()
            .spawn_scoped(scope, move || run_watched(options, &send, f))
            .map_err(no_thread)?;
        let installed = receive.recv().unwrap_or(Err(libc::EFAULT));
        let (listener, thread) = installed.map_err(refused)?;
        let panic = Supervisor::new(options, listener, thread, noting, tell).supervise();
        let outcome = watched.join().and_then(|ran| match ran {
            Some(outcome) => outcome,
            None => Err(Box::new("the watched thread did not run the closure")),
        });
        match panic {
            // The closure's own panic comes first.
            Some(panic) if outcome.is_ok() => resume_unwind(panic),
            _ => Ok(outcome),
        }
    })
}

/// A panic message names the thread, and the test harness its tests by it.
fn named_like_this_one() -> thread::Builder {
    match thread::current().name() {
        Some(name) => thread::Builder::new().name(name.to_owned()),
        None => thread::Builder::new(),
    }
}

/// On the watched thread: `None` when the filter was refused, which has been said then.
fn run_watched<T>(
    options: Options,
    said: &SyncSender<Installed>,
    f: impl FnOnce() -> T,
) -> Option<thread::Result<T>> {
    match install(options.offer.is_exact) {
        Err(errno) => {
            _ = said.send(Err(errno));
            None
        }
        Ok(listener) => {
            _ = said.send(Ok((listener, raw::gettid())));
            let outcome = catch_unwind(AssertUnwindSafe(f));
            say_done();
            Some(outcome)
        }
    }
}

/// The watched thread's last word. When nobody listens it fails, and nothing is synced.
fn say_done() {
    let arguments = [-1, 0, 0, 0, 0, DONE];
    let said = || {
        // SAFETY: no descriptor has this number: nothing is touched.
        unsafe { raw::system_call(libc::SYS_fsync, arguments) }
    };
    // A signal may come before it was heard.
    while said() == Err(libc::EINTR) {}
}

/// Threads of this process that kernel scopes cover, and how many scopes are open.
#[derive(Default)]
struct Covered {
    scopes: usize,
    /// Counts the scopes that have begun and ended: a time.
    now: u64,
    /// When the scope that covers it ended; `None` while it is open.
    threads: HashMap<u32, Option<u64>>,
}

fn covered() -> MutexGuard<'static, Covered> {
    static COVERED: OnceLock<Mutex<Covered>> = OnceLock::new();
    COVERED
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the hook notes which threads sync.
struct Noting {
    /// When it began, by [`Covered::now`].
    began: u64,
    before: Vec<(u32, u64)>,
    without_room: u64,
}

impl Noting {
    fn begin() -> Self {
        let mut covered = covered();
        if covered.scopes == 0 {
            covered.threads.clear();
        }
        noted_threads::begin(covered.scopes == 0);
        covered.scopes += 1;
        covered.now += 1;
        let (before, without_room) = noted_threads::noted();
        Self {
            began: covered.now,
            before,
            without_room,
        }
    }

    /// What threads synced that no kernel scope covers.
    fn others(&self) -> Option<Incomplete> {
        // First what they synced: a thread is covered before its sync is noted.
        let (now, without_room) = noted_threads::noted();
        let covered = covered();
        let mut syncs = without_room - self.without_room;
        let mut threads = Vec::new();
        for (thread, n) in now {
            let before = self.before.iter().find(|(other, _)| *other == thread);
            let more = n - before.map_or(0, |(_, n)| *n);
            // One that outlived an earlier scope is no other's.
            let is_covered = covered
                .threads
                .get(&thread)
                .is_some_and(|ended| ended.is_none_or(|ended| ended > self.began));
            if more > 0 && !is_covered {
                syncs += more;
                threads.push(name_of(thread));
            }
        }
        (syncs > 0).then_some(Incomplete::OtherThreads { syncs, threads })
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        covered().scopes -= 1;
        noted_threads::end();
    }
}

/// The threads of a scope that has ended are covered no more.
fn uncover(threads: impl Iterator<Item = u32>) {
    let mut covered = covered();
    covered.now += 1;
    let now = covered.now;
    for thread in threads {
        covered.threads.insert(thread, Some(now));
    }
}

fn name_of(thread: u32) -> String {
    match fs::read_to_string(format!("/proc/self/task/{thread}/comm")) {
        Ok(name) => name.trim_end().to_owned(),
        Err(_) => format!("thread {thread}"),
    }
}

/// A panic of somebody else's code, to go on with later.
type Panic = Box<dyn std::any::Any + Send>;

struct Supervisor<'a> {
    options: Options,
    listener: Listener,
    /// The thread that runs the closure.
    watched: u32,
    tell: &'a mut dyn FnMut(Told),
    /// `tell` panicked: it is not called again.
    panic: Option<Panic>,
    noting: Noting,
    /// The closure has returned.
    is_done: bool,
    /// Something synced after that, uncounted.
    has_let_go: bool,
    sequence: u64,
    /// Some watched thread has its own table of descriptors.
    tables_differ: bool,
    /// The threads that were heard of, and their processes.
    known: HashMap<u32, u32>,
}

impl<'a> Supervisor<'a> {
    fn new(
        options: Options,
        listener: Listener,
        watched: u32,
        noting: Noting,
        tell: &'a mut dyn FnMut(Told),
    ) -> Self {
        listener.wake_here();
        Self {
            options,
            listener,
            watched,
            tell,
            panic: None,
            noting,
            is_done: false,
            has_let_go: false,
            sequence: 0,
            tables_differ: false,
            known: HashMap::new(),
        }
    }

    /// Answers until the closure has returned and its thread has ended; the panic of `tell`, if
    /// any. Never panics itself: the watched would wait for ever.
    fn supervise(mut self) -> Option<Panic> {
        if !self.options.offer.is_exact {
            self.tell(Told::Incomplete(Incomplete::Approximate));
        }
        let mut hands = Hands::new(self.listener.answers());
        let mut was_gone = false;
        let mut looked = Instant::now();
        let mut outlived = false;
        loop {
            // Until the closure has returned, which the watched thread says, there is nothing to wait
            // for but what is told; asking first whether something is would only take time.
            let mut ready = if self.is_done {
                self.listener.wait(LOOK_AGAIN_MS)
            } else {
                Ready::Call
            };
            if ready == Ready::Call {
                ready = self.take(&mut hands);
            }
            match ready {
                Ready::Call | Ready::Nothing => {}
                Ready::HungUp => break,
                Ready::Closed => {
                    self.tell(Told::Incomplete(Incomplete::DescriptorClosed));
                    break;
                }
            }
            // By the clock: what outlives the closure may sync all the time.
            if self.is_done && !self.options.to_the_last && looked.elapsed() >= LOOK_AGAIN {
                let is_gone = !interface::is_own_thread(self.watched);
                // Once more: a thread is gone a moment before its filter is.
                if is_gone && was_gone {
                    outlived = true;
                    break;
                }
                was_gone = is_gone;
                looked = Instant::now();
            }
            while let Some(finished) = hands.finished() {
                self.tell(Told::Sync(finished));
            }
        }
        for finished in hands.finish() {
            self.tell(Told::Sync(finished));
        }
        if outlived || self.has_let_go {
            self.tell(Told::Incomplete(Incomplete::Outlived));
        }
        if check_linkage().is_ok() {
            if let Some(others) = self.noting.others() {
                self.tell(Told::Incomplete(others));
            }
        }
        let own = std::process::id();
        let known = self.known.iter();
        uncover(
            known
                .filter(|(_, process)| **process == own)
                .map(|(thread, _)| *thread),
        );
        let Self {
            listener, panic, ..
        } = self;
        if outlived {
            care_for(listener);
        }
        panic
    }

    fn tell(&mut self, told: Told) {
        if self.panic.is_none() {
            let tell = &mut self.tell;
            self.panic = catch_unwind(AssertUnwindSafe(|| tell(told))).err();
        }
    }

    /// Takes one call and answers it.
    fn take(&mut self, hands: &mut Hands) -> Ready {
        let told = match self.listener.receive() {
            Ok(told) => told,
            Err(libc::EINTR) => return Ready::Call,
            // Its caller is gone; or all are (Linux 6.11), which waiting will tell.
            Err(libc::ENOENT) => return self.listener.wait(0).or_call(),
            // Another descriptor has this number now.
            Err(_) => return Ready::Closed,
        };
        let answers = self.listener.answers();
        if told.sixth_argument() == DONE {
            // Also what a forked child says that returns from the closure.
            self.is_done |= told.thread == self.watched;
            // Not if the closure closed the descriptor while it was read from.
            return match answers.answer(told.id, Ok(0)) {
                Err(libc::EBADF) => Ready::Closed,
                _ => Ready::Call,
            };
        }
        // The watched thread keeps its number while it lives; that of another may be a child's now.
        let is_own = told.thread == self.watched || interface::is_own_thread(told.thread);
        let task = Task::new(told.thread, is_own, self.tables_differ);
        let process = self.process_of(task);
        if self.is_done && !self.options.to_the_last {
            self.has_let_go |= filter::is_sync(&told.data);
            _ = answers.let_go_on(told.id);
            return Ready::Call;
        }
        match filter::call_of(&told.data) {
            Some(Call::Descriptor { operation, flags }) => {
                let fd = filter::int_argument(&told.data, 0);
                let flags = flags.map_or(0, |at| filter::bits_argument(&told.data, at));
                let seen = self.seen(&told, task, process, operation, flags, Some(fd));
                self.answer_sync(hands, told.id, Some(fd), task, seen);
            }
            Some(Call::Msync) => {
                let flags = filter::bits_argument(&told.data, 2);
                let operation =
                    crate::hook::operation_of_msync(filter::int_argument(&told.data, 2));
                let seen = self.seen(&told, task, process, operation, flags, None);
                self.answer_sync(hands, told.id, None, task, seen);
            }
            Some(Call::Sync) => {
                let seen = self.seen(&told, task, process, Operation::Sync, 0, None);
                self.answer_sync(hands, told.id, None, task, seen);
            }
            Some(other) => {
                let reason = self.reason(&told, task, other);
                if answers.let_go_on(told.id).is_ok() {
                    if let Some(reason) = reason {
                        self.tell(Told::Incomplete(reason));
                    }
                }
            }
            // Not one that the filter asks for.
            None => _ = answers.let_go_on(told.id),
        }
        Ready::Call
    }

    /// The process of a task. A thread of this one is remembered as covered, before its call goes
    /// on.
    fn process_of(&mut self, task: Task) -> u32 {
        if let Some(process) = self.known.get(&task.thread) {
            return *process;
        }
        let process = if task.is_own() {
            covered().threads.insert(task.thread, None);
            std::process::id()
        } else {
            task::process_of(task.thread).unwrap_or(task.thread)
        };
        self.known.insert(task.thread, process);
        process
    }

    /// A sync, described while its caller waits.
    fn seen(
        &mut self,
        told: &Notification,
        task: Task,
        process: u32,
        operation: Operation,
        flags: u32,
        fd: Option<c_int>,
    ) -> Seen {
        self.sequence += 1;
        let mut event = Event {
            sequence: self.sequence,
            operation,
            flags,
            class: FileClass::Other,
            path: None,
            thread: task.thread,
            process,
            outcome: Outcome::NotSeen,
            duration: None,
        };
        if self.options.classify {
            // In its place from the beginning: it has room for a path.
            let mut placement = Placement::default();
            match (operation, fd) {
                (_, Some(fd)) => task.find_descriptor(fd, &mut placement),
                (Operation::Sync, None) => {}
                (_, None) => task.find_mapping(told.data.args[0], &mut placement),
            }
            event.path = path_of(&placement);
            if operation != Operation::Syncfs {
                event.class = placement.class;
            }
        }
        let origin = self.options.trace.then(|| {
            if task.is_own() && told.sixth_argument() == raw::FORWARDED {
                Origin::Hook
            } else {
                task.origin(told.data.instruction_pointer)
            }
        });
        Seen { event, origin }
    }

    /// Lets a sync go on, or has it issued; it counts when that was possible.
    fn answer_sync(
        &mut self,
        hands: &mut Hands,
        id: u64,
        fd: Option<c_int>,
        task: Task,
        mut seen: Seen,
    ) {
        if self.options.timed {
            let is_own = task.shares_descriptors();
            match hands.give(Job {
                id,
                fd,
                is_own,
                seen,
            }) {
                None => return,
                Some(job) => seen = job.seen,
            }
        }
        if self.listener.answers().let_go_on(id).is_ok() {
            self.tell(Told::Sync(seen));
        }
    }

    /// What a call that is no sync means for the count.
    fn reason(&mut self, told: &Notification, task: Task, call: Call) -> Option<Incomplete> {
        let data = &told.data;
        match call {
            Call::Open { path } => {
                let directory = match path {
                    0 => libc::AT_FDCWD,
                    at => filter::int_argument(data, at - 1),
                };
                let flags = u64::from(filter::bits_argument(data, path + 1));
                filter::is_durable_open(flags).then(|| Incomplete::DurableOpen {
                    path: task.path_argument(directory, data.args[path]),
                })
            }
            Call::Openat2 => {
                // Flags that can't be read may be these.
                let flags = task.word_at(data.args[2]);
                flags
                    .is_none_or(filter::is_durable_open)
                    .then(|| Incomplete::DurableOpen {
                        path: task.path_argument(filter::int_argument(data, 0), data.args[1]),
                    })
            }
            Call::Write => {
                let mut placement = Placement::default();
                task.find_descriptor(filter::int_argument(data, 0), &mut placement);
                Some(Incomplete::DurableWrite {
                    path: path_of(&placement),
                })
            }
            Call::IoUring => Some(Incomplete::IoUring),
            Call::Aio => Some(Incomplete::Aio),
            Call::OwnDescriptors => {
                self.tables_differ = true;
                None
            }
            Call::Descriptor { .. } | Call::Msync | Call::Sync => None,
        }
    }
}

fn path_of(placement: &Placement) -> Option<PathBuf> {
    let path = placement.path()?;
    Some(PathBuf::from(OsString::from_vec(path.to_vec())))
}

/// Answers what outlived a scope, until it has ended.
fn care_for(mut listener: Listener) {
    let care = move || {
        loop {
            match listener.wait(-1) {
                Ready::Call => {
                    if let Ok(told) = listener.receive() {
                        _ = listener.answers().let_go_on(told.id);
                    }
                }
                Ready::Nothing => {}
                Ready::HungUp | Ready::Closed => return,
            }
        }
    };
    // Without a thread for it they get ENOSYS from here on, as when this process ends.
    _ = thread::Builder::new()
        .name("fsync-counter".to_owned())
        .spawn(care);
}
