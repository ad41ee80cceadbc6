//! Threads that sync on behalf of those that are watched, so that result and time are known.
//!
//! The caller waits for the answer, which is the kernel's answer to the same call: on the descriptor
//! itself where it is this process's, else on a copy, which is of the same open file, so that it has
//! the same errors to report. One thread a sync, as many as wait at once: none is held up by another's, as it would not be by
//! itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use libc::c_int;

use super::interface::{Answers, Copied};
use crate::event::{Operation, Outcome};
use crate::hook::raw;
use crate::kernel::Seen;

/// A sync to issue.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) fd: Option<c_int>,
    /// Whether the descriptor is one of this thread's own.
    pub(super) is_own: bool,
    pub(super) seen: Seen,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Hands {
    answers: Answers,
    jobs: Sender<Job>,
    waiting: Arc<Mutex<Receiver<Job>>>,
    /// Threads that wait for a job, less the jobs that wait for a thread.
    idle: Arc<AtomicUsize>,
    results: Sender<Option<Seen>>,
    finished: Receiver<Option<Seen>>,
    /// Jobs that were given and whose result was not taken yet.
    open: usize,
}

impl Hands {
    pub(super) fn new(answers: Answers) -> Self {
        let (jobs, waiting) = mpsc::channel();
        let (results, finished) = mpsc::channel();
        Self {
            answers,
            jobs,
            waiting: Arc::new(Mutex::new(waiting)),
            idle: Arc::default(),
            results,
            finished,
            open: 0,
        }
    }

    /// Has a job done; gives it back where that can't be.
    pub(super) fn give(&mut self, job: Job) -> Option<Job> {
        let can_be_issued = match job.seen.event.operation {
            Operation::Fsync | Operation::Fdatasync | Operation::Syncfs => job.fd.is_some(),
            Operation::Sync => true,
            _ => false,
        };
        if !can_be_issued {
            return Some(job);
        }
        let has_idle = self
            .idle
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |idle| {
                idle.checked_sub(1)
            })
            .is_ok();
        if !has_idle && self.start_one().is_err() {
            return Some(job);
        }
        self.open += 1;
        self.jobs.send(job).err().map(|refused| refused.0)
    }

    fn start_one(&self) -> std::io::Result<()> {
        let answers = self.answers;
        let waiting = Arc::clone(&self.waiting);
        let idle = Arc::clone(&self.idle);
        let results = self.results.clone();
        let work = move || {
            loop {
                let job = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv();
                let Ok(job) = job else {
                    return;
                };
                let seen = issue(job, answers);
                idle.fetch_add(1, Ordering::SeqCst);
                if results.send(seen).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("fsync-counter".to_owned())
            .spawn(work)
            .map(drop)
    }

    /// A sync that is done, if there is one; its caller may have gone meanwhile, which counts not.
    pub(super) fn finished(&mut self) -> Option<Seen> {
        loop {
            let done = self.finished.try_recv().ok()?;
            self.open -= 1;
            if done.is_some() {
                return done;
            }
        }
    }

    /// Waits for those that are not done.
    pub(super) fn finish(mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        while self.open > 0 {
            let Ok(done) = self.finished.recv() else {
                break;
            };
            self.open -= 1;
            all.extend(done);
        }
        all
    }
}

/// Syncs, and answers the one who waits for it; `None` when nobody does any more.
fn issue(job: Job, answers: Answers) -> Option<Seen> {
    let Job {
        id,
        fd,
        is_own,
        mut seen,
    } = job;
    // Of a descriptor of this process no copy: to close one would let go of the process's locks on
    // that file (`fcntl(2)`, advisory record locks).
    let copied = fd
        .filter(|_| !is_own)
        .map(|fd| Copied::of(seen.event.thread, fd))
        .transpose();
    let Ok(copied) = copied else {
        // It may not be copied, or is none: its caller has the kernel tell.
        return answers.let_go_on(id).is_ok().then_some(seen);
    };
    let start = Instant::now();
    let result = match (seen.event.operation, copied.as_ref().map(Copied::fd).or(fd)) {
        (Operation::Fsync, Some(fd)) => raw::fsync(fd),
        (Operation::Fdatasync, Some(fd)) => raw::fdatasync(fd),
        (Operation::Syncfs, Some(fd)) => raw::syncfs(fd),
        _ => raw::sync(),
    };
    seen.event.duration = Some(start.elapsed());
    seen.event.outcome = match result {
        Ok(_) => Outcome::Succeeded,
        Err(errno) => Outcome::Failed(errno),
    };
    drop(copied);
    answers.answer(id, result).is_ok().then_some(seen)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::event::{Event, FileClass};
    use crate::kernel::linux::install;
    use crate::kernel::linux::interface::Listener;

    fn fsync(id: u64, thread: u32, file: &File) -> Job {
        Job {
            id,
            fd: Some(file.as_raw_fd()),
            is_own: true,
            seen: Seen {
                event: Event {
                    sequence: id,
                    operation: Operation::Fsync,
                    flags: 0,
                    class: FileClass::File,
                    path: None,
                    thread,
                    process: std::process::id(),
                    outcome: Outcome::NotSeen,
                    duration: None,
                },
                origin: None,
            },
        }
    }

    /// A thread whose `f` is told to the listener.
    fn watched<T: Send + 'static>(
        f: impl FnOnce() -> T + Send + 'static,
    ) -> (Listener, thread::JoinHandle<T>) {
        let (send, receive) = mpsc::channel();
        let thread = thread::spawn(move || {
            send.send(install(false)).expect("the test waits for it");
            f()
        });
        let listener = receive.recv().expect("it is said");
        let listener = listener.unwrap_or_else(|errno| panic!("no listener: errno {errno}"));
        (listener, thread)
    }

    /// Nobody took its result before.
    #[test]
    fn a_sync_that_is_answered_last_is_among_those_that_are_waited_for() {
        let file = tempfile::tempfile().expect("a file");
        let same_file = file.try_clone().expect("a copy");
        let (mut listener, caller) = watched(move || raw::fsync(same_file.as_raw_fd()));
        let told = listener.receive().expect("a sync");
        let mut hands = Hands::new(listener.answers());
        assert!(hands.give(fsync(told.id, told.thread, &file)).is_none());
        let answer = caller.join().expect("it returns");
        assert_eq!(answer, Ok(0));
        let all = hands.finish();
        let outcomes: Vec<_> = all.iter().map(|seen| seen.event.outcome).collect();
        assert_eq!(outcomes, [Outcome::Succeeded]);
    }

    #[test]
    fn as_many_threads_as_jobs_wait_and_a_job_whose_caller_is_gone_is_no_sync() {
        const JOBS: usize = 3;
        let file = tempfile::tempfile().expect("a file");
        let (listener, caller) = watched(|| ());
        caller.join().expect("it returns");
        let mut hands = Hands::new(listener.answers());
        let waiting = Arc::clone(&hands.waiting);
        let nobody_begins = waiting.lock().expect("no thread has panicked");
        let before = Arc::strong_count(&waiting);
        for id in 1..=JOBS {
            let id = u64::try_from(id).expect("a small number");
            assert!(hands.give(fsync(id, 1, &file)).is_none());
        }
        // Each thread has one.
        assert_eq!(Arc::strong_count(&waiting) - before, JOBS);
        drop(nobody_begins);
        assert!(hands.finish().is_empty());
    }
}
