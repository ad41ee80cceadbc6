//! What callers and the writer share: the turns between them, and who waits for what.
//!
//! Callers take room from a semaphore, which is fair and lets go of a caller that is cancelled,
//! and then put their turn in, which never waits. The writer waits on a condition variable, which
//! knows deadlines and needs no runtime.
//!
//! A wake-up costs a caller more than everything else that it does here, so there are few: a
//! writer that has just written waits for an interval as if a turn had come; the first turn of the
//! next batch finds it waiting to the right time and wakes nobody. Only a batch that is full, a
//! flush, and the first turn after an interval of silence do. The other way round, callers who
//! wait for room are woken when half of it is free, or when the writer would run out of turns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Death, Error, StorageError};
use crate::storage::Accepted;
use crate::turn::Turn;

/// Shared by a logger and its writer.
#[derive(Debug)]
pub(crate) struct Queue {
    /// For turns that are accepted and not written.
    room: Semaphore,
    state: Mutex<State>,
    /// What the writer waits on.
    writer: Condvar,
    /// What a drop waits on.
    end: Condvar,
    turns_max: usize,
    buffer_size: usize,
    interval: Duration,
    always_to_disk: bool,
}

#[derive(Debug)]
struct State {
    /// Accepted, and not taken by the writer.
    turns: VecDeque<Accepted>,
    /// How many the writer has taken and not written.
    in_batch: usize,
    /// Room that was freed and is not given back yet.
    freed: usize,
    /// Turns so far, which are numbered from 1: accepted, written, certainly on disk.
    accepted: u64,
    written: u64,
    on_disk: u64,
    /// The turn up to which nothing waits for a deadline.
    flush_to: u64,
    waiters: VecDeque<Waiter>,
    writer_waits: Waits,
    stage: Stage,
    failure: Option<Arc<StorageError>>,
    failed_attempts: u64,
    /// What could not be written, when the writer has ended.
    unwritten: Vec<Accepted>,
    enders: Vec<oneshot::Sender<()>>,
}

/// Somebody who waits until a turn is on disk.
#[derive(Debug)]
struct Waiter {
    turn: u64,
    done: oneshot::Sender<Result<(), NotWritten>>,
}

/// What such a one waits for.
type Done = oneshot::Receiver<Result<(), NotWritten>>;

#[derive(Debug)]
struct NotWritten {
    kept: usize,
    source: Death,
    is_final: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Not,
    /// And will look again no later than the deadline of a turn that comes now.
    ForAFullBatch,
    ForAnything,
    /// For the time of its next attempt.
    ToTryAgain,
}

#[derive(Clone, Debug)]
enum Stage {
    Open,
    Closing { until: Instant },
    Ended(Option<Death>),
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Writes what it was given. Nothing was, where only what is written must get to disk.
    Write,
    /// Comes to its end.
    End,
}

/// How a logger is doing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// Turns that were accepted.
    pub accepted: u64,
    /// Turns that are in the database.
    pub written: u64,
    /// Turns that survive a loss of power.
    pub on_disk: u64,
    /// Writes that failed, each of which was tried again.
    pub failed_attempts: u64,
    /// Why the last write failed, if it did.
    pub failure: Option<Arc<StorageError>>,
}

/// How the writer came to its end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) death: Option<Death>,
    pub(crate) unwritten: Vec<Turn>,
}

impl Queue {
    pub(crate) fn new(
        turns_max: usize,
        buffer_size: usize,
        interval: Duration,
        always_to_disk: bool,
    ) -> Self {
        /// Larger queues grow when they are needed.
        const ROOM_AT_ONCE: usize = 1_024;
        Self {
            room: Semaphore::new(turns_max),
            state: Mutex::new(State {
                turns: VecDeque::with_capacity(turns_max.min(ROOM_AT_ONCE)),
                in_batch: 0,
                freed: 0,
                accepted: 0,
                written: 0,
                on_disk: 0,
                flush_to: 0,
                waiters: VecDeque::new(),
                writer_waits: Waits::Not,
                stage: Stage::Open,
                failure: None,
                failed_attempts: 0,
                unwritten: Vec::new(),
                enders: Vec::new(),
            }),
            writer: Condvar::new(),
            end: Condvar::new(),
            turns_max,
            buffer_size,
            interval,
            always_to_disk,
        }
    }

    // What callers do.

    /// Waits for room and puts the turn in. A caller that is cancelled while it waits has put
    /// nothing in.
    pub(crate) async fn accept(&self, turn: Turn) -> Result<(), Error> {
        self.make_room().await?;
        self.put(turn, false).map(drop)
    }

    /// As [`accept`](Queue::accept), then waits until the turn is on disk. A caller that is
    /// cancelled in that wait has logged the turn.
    pub(crate) async fn accept_to_disk(&self, turn: Turn) -> Result<(), Error> {
        self.make_room().await?;
        match self.put(turn, true)? {
            Some(done) => wait_for(done).await,
            None => Ok(()),
        }
    }

    /// Waits until everything that was accepted before is on disk.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        match self.ask_for_a_flush()? {
            Some(done) => wait_for(done).await,
            None => Ok(()),
        }
    }

    fn ask_for_a_flush(&self) -> Result<Option<Done>, Error> {
        let mut state = self.state.lock();
        if let Stage::Ended(Some(death)) = &state.stage {
            return Err(died(state.kept(), death));
        }
        if state.on_disk == state.accepted {
            return Ok(None);
        }
        let turn = state.accepted;
        let done = state.wait_for(turn);
        self.wake(state);
        Ok(Some(done))
    }

    /// Always by way of the future, also when there is room: tokio's counts what a task does
    /// without giving way, and makes one that logs without end do so.
    async fn make_room(&self) -> Result<(), Error> {
        match self.room.acquire().await {
            Ok(room) => {
                room.forget();
                Ok(())
            }
            Err(_closed) => Err(self.why_closed()),
        }
    }

    fn why_closed(&self) -> Error {
        let state = self.state.lock();
        match &state.stage {
            Stage::Ended(Some(death)) => died(state.kept(), death),
            _ => Error::Closed,
        }
    }

    fn put(&self, turn: Turn, to_disk: bool) -> Result<Option<Done>, Error> {
        let accepted = Accepted::now(turn);
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Open) {
            drop(state);
            return Err(self.why_closed());
        }
        state.turns.push_back(accepted);
        state.accepted += 1;
        if to_disk {
            let turn = state.accepted;
            let done = state.wait_for(turn);
            self.wake(state);
            return Ok(Some(done));
        }
        let is_due = match state.writer_waits {
            Waits::Not | Waits::ToTryAgain => false,
            Waits::ForAFullBatch => state.turns.len() >= self.buffer_size,
            Waits::ForAnything => true,
        };
        if is_due {
            self.wake(state);
        }
        Ok(None)
    }

    /// Wakes the writer if it waits; once, because whoever comes next finds it awake.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let waits = state.writer_waits != Waits::Not;
        state.writer_waits = Waits::Not;
        drop(state);
        if waits {
            self.writer.notify_one();
        }
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.state.lock();
        Status {
            accepted: state.accepted,
            written: state.written,
            on_disk: state.on_disk,
            failed_attempts: state.failed_attempts,
            failure: state.failure.clone(),
        }
    }

    /// Accepts nothing more, and has everything written.
    pub(crate) fn close(&self, until: Instant) {
        self.room.close();
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::Open) {
            state.stage = Stage::Closing { until };
            state.flush_to = state.accepted;
        }
        self.wake(state);
    }

    /// Waits for the writer's end.
    pub(crate) async fn ended(&self) {
        let ended = {
            let mut state = self.state.lock();
            if matches!(state.stage, Stage::Ended(_)) {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            state.enders.push(sender);
            receiver
        };
        // The sender is used or dropped by the writer's end, and that is all that matters.
        let _ = ended.await;
    }

    /// Waits for the writer's end, on this thread, but not for ever. Returns whether it came.
    pub(crate) fn ended_before(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        while !matches!(state.stage, Stage::Ended(_)) {
            if self.end.wait_until(&mut state, until).timed_out() {
                return matches!(state.stage, Stage::Ended(_));
            }
        }
        true
    }

    /// What the end left: the turns go to who asks first.
    pub(crate) fn take_end(&self) -> End {
        let mut state = self.state.lock();
        let death = match &state.stage {
            Stage::Ended(death) => death.clone(),
            _ => None,
        };
        let unwritten = std::mem::take(&mut state.unwritten);
        End {
            death,
            unwritten: unwritten
                .into_iter()
                .map(|accepted| accepted.turn)
                .collect(),
        }
    }

    /// How many turns are accepted and not written, and why, if a write failed.
    pub(crate) fn kept(&self) -> (usize, Option<Death>) {
        let state = self.state.lock();
        (state.kept(), state.failure.clone().map(Death::Storage))
    }

    // What the writer does.

    /// Waits until there is something to do, and moves a batch of turns into `batch`, which is
    /// empty.
    pub(crate) fn next(&self, batch: &mut Vec<Accepted>) -> Next {
        let mut state = self.state.lock();
        // As if a turn had come now: see the head of the file.
        let mut look_again = Some(Instant::now() + self.interval);
        loop {
            let due = if state.flush_to > state.on_disk || state.turns.len() >= self.buffer_size {
                Some(None)
            } else if matches!(state.stage, Stage::Closing { .. }) {
                return Next::End;
            } else {
                let deadline = state.turns.front().map(|turn| turn.at + self.interval);
                match deadline {
                    Some(deadline) if deadline <= Instant::now() => Some(None),
                    Some(deadline) => Some(Some(deadline)),
                    None => None,
                }
            };
            match (due, look_again) {
                (Some(None), _) => {
                    let turns = state.turns.len().min(self.buffer_size);
                    batch.extend(state.turns.drain(..turns));
                    state.in_batch = batch.len();
                    return Next::Write;
                }
                (Some(Some(deadline)), _) => {
                    state.writer_waits = Waits::ForAFullBatch;
                    self.writer.wait_until(&mut state, deadline);
                }
                (None, Some(until)) => {
                    state.writer_waits = Waits::ForAFullBatch;
                    if self.writer.wait_until(&mut state, until).timed_out() {
                        look_again = None;
                    }
                }
                (None, None) => {
                    state.writer_waits = Waits::ForAnything;
                    self.writer.wait(&mut state);
                }
            }
            state.writer_waits = Waits::Not;
        }
    }

    /// Whether the batch that was taken must get to disk because somebody waits for its last turn.
    pub(crate) fn must_get_to_disk(&self) -> bool {
        let state = self.state.lock();
        let last = state.written + state.in_batch as u64;
        state.on_disk < state.flush_to && state.flush_to <= last
    }

    /// The batch is written: makes room, and tells who waits for it. Who is woken wants the lock
    /// at once, and may have the CPU at once, too: so nobody is woken before it is free.
    pub(crate) fn written(&self, to_disk: bool) {
        let (room, served) = {
            let mut state = self.state.lock();
            let turns = std::mem::take(&mut state.in_batch);
            state.freed += turns;
            state.written += turns as u64;
            if to_disk || self.always_to_disk {
                state.on_disk = state.written;
            }
            state.failure = None;
            (state.take_room(self), state.take_served())
        };
        // First, so that who has flushed finds it.
        if room > 0 {
            self.room.add_permits(room);
        }
        for waiter in served {
            // Who no longer waits need not be told.
            let _ = waiter.done.send(Ok(()));
        }
    }

    /// The batch is not written. Tells who waits, and returns how many turns are kept.
    pub(crate) fn failed(&self, source: &Arc<StorageError>) -> usize {
        let mut state = self.state.lock();
        state.failure = Some(Arc::clone(source));
        state.failed_attempts += 1;
        let kept = state.kept();
        state.tell_waiters(&Death::Storage(Arc::clone(source)), false);
        kept
    }

    /// Waits for the time of the next attempt, or for somebody who can't wait: a flush, or a close.
    /// Returns whether there is to be one.
    pub(crate) fn wait_to_try_again(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        let mut until = Instant::now() + pause;
        loop {
            if let Stage::Closing { until: end } = state.stage {
                if Instant::now() >= end {
                    return false;
                }
                until = until.min(end);
            }
            // Those who waited for the last attempt have been told.
            if !state.waiters.is_empty() {
                return true;
            }
            state.writer_waits = Waits::ToTryAgain;
            let timed_out = self.writer.wait_until(&mut state, until).timed_out();
            state.writer_waits = Waits::Not;
            if timed_out {
                return true;
            }
        }
    }

    /// The writer comes to its end with this batch unwritten.
    pub(crate) fn end(&self, batch: &mut Vec<Accepted>, death: Option<Death>) -> usize {
        let mut state = self.state.lock();
        state.in_batch = 0;
        let mut unwritten = std::mem::take(batch);
        unwritten.extend(state.turns.drain(..));
        let kept = unwritten.len();
        state.unwritten = unwritten;
        if let Some(death) = &death {
            state.tell_waiters(death, true);
        }
        state.stage = Stage::Ended(death);
        for ender in state.enders.drain(..) {
            // As above.
            let _ = ender.send(());
        }
        self.end.notify_all();
        drop(state);
        // Last, because who is woken by it asks why.
        self.room.close();
        kept
    }
}

impl State {
    /// The room to give back, once it is worth a wake-up.
    fn take_room(&mut self, queue: &Queue) -> usize {
        let is_half = self.freed >= queue.turns_max / 2;
        if is_half || self.turns.len() < queue.buffer_size {
            std::mem::take(&mut self.freed)
        } else {
            0
        }
    }

    /// Those who wait for what is on disk.
    fn take_served(&mut self) -> Vec<Waiter> {
        let on_disk = self.on_disk;
        let served = self
            .waiters
            .partition_point(|waiter| waiter.turn <= on_disk);
        self.waiters.drain(..served).collect()
    }

    fn kept(&self) -> usize {
        self.turns.len() + self.in_batch + self.unwritten.len()
    }

    /// Who waits makes haste.
    fn wait_for(&mut self, turn: u64) -> Done {
        let (done, receiver) = oneshot::channel();
        self.flush_to = self.flush_to.max(turn);
        self.waiters.push_back(Waiter { turn, done });
        receiver
    }

    fn tell_waiters(&mut self, source: &Death, is_final: bool) {
        let kept = self.kept();
        for waiter in self.waiters.drain(..) {
            // As in `written`.
            let _ = waiter.done.send(Err(NotWritten {
                kept,
                source: source.clone(),
                is_final,
            }));
        }
    }
}

fn died(kept: usize, death: &Death) -> Error {
    Error::WriterDied {
        kept,
        source: death.clone(),
    }
}

async fn wait_for(done: Done) -> Result<(), Error> {
    match done.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(NotWritten {
            kept,
            source: Death::Storage(source),
            is_final: false,
        })) => Err(Error::NotWritten { kept, source }),
        Ok(Err(NotWritten { kept, source, .. })) => Err(died(kept, &source)),
        Err(_dropped) => Err(Error::Closed),
    }
}
