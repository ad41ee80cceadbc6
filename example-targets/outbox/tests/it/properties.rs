//! Any history of commits, drains, sweeps, clock steps, damage, failing effects, killed
//! processes and power failures, against a model of what the outbox promises.
//!
//! The model is a set of worlds. An operation that ended well leaves one; one that failed or
//! was killed leaves those that it may have got to; a power failure adds those that the
//! unsynced part of the past may come back as. What the outbox then shows, [`Outbox::pending`],
//! every drain and the dead letters, must be the same in one of the worlds. Worlds in which it
//! is not are dropped, so that what was seen once stays true.
//!
//! The histories are the same in every run. `PROPTEST_CASES` makes it more of them, and
//! `PROPTEST_RNG_SEED` others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outbox::{Drained, Error, Event, Outbox, Reason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use tempfile::TempDir;

use crate::power::{Lie, Picks, PowerDisk};
use crate::support::{Fault, FaultyDisk, HandClock};

const HOUR_MS: i64 = 3_600_000;
const RECORD_LIFETIME_MS: u64 = 7 * 24 * 3_600_000;
const ENTRY_LIFETIME_MS: u64 = 14 * 24 * 3_600_000;

#[derive(Clone, Debug)]
enum Operation {
    /// `is_long`: three of them make the inbox large enough to be compacted.
    Commit {
        child: u8,
        signal: u8,
        is_long: bool,
    },
    Drain,
    /// A drain whose consumer succeeds or fails.
    DrainWith {
        succeeds: bool,
    },
    Sweep,
    /// The clock steps, forwards or backwards.
    Clock {
        hours: i16,
    },
    /// Another program appends a line that is no record.
    Damage,
    /// Nothing happens; for the power failure that comes with it.
    Nothing,
}

/// What goes wrong in an operation.
#[derive(Clone, Debug)]
enum Mishap {
    None,
    /// One effect fails.
    Fails {
        at: usize,
        errno: i32,
    },
    /// The disk is full from this effect on.
    Full {
        at: usize,
    },
    /// The process is killed before, in the middle of, or after this effect.
    Killed {
        at: usize,
        after: bool,
    },
}

#[derive(Clone, Debug)]
struct Step {
    operation: Operation,
    mishap: Mishap,
    /// After the operation, or in the middle of it where it is killed.
    power_failure: Option<Vec<u8>>,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0..3_u8, 0..3_u8, prop::bool::weighted(0.2))
            .prop_map(|(child, signal, is_long)| Operation::Commit { child, signal, is_long }),
        4 => Just(Operation::Drain),
        3 => any::<bool>().prop_map(|succeeds| Operation::DrainWith { succeeds }),
        2 => Just(Operation::Sweep),
        3 => prop_oneof![
            1 => -9..9_i16,
            1 => -400..400_i16,
            // Pending turns expire; of what was consumed some is forgotten.
            2 => Just(8 * 24),
        ]
        .prop_map(|hours| Operation::Clock { hours }),
        1 => Just(Operation::Damage),
        1 => Just(Operation::Nothing),
    ]
}

fn mishap() -> impl Strategy<Value = Mishap> {
    // A drain has at most 16 effects.
    let at = || 1..17_usize;
    prop_oneof![
        10 => Just(Mishap::None),
        1 => (at(), prop_oneof![Just(libc::EIO), Just(libc::ENOSPC)])
            .prop_map(|(at, errno)| Mishap::Fails { at, errno }),
        1 => at().prop_map(|at| Mishap::Full { at }),
        3 => (at(), any::<bool>()).prop_map(|(at, after)| Mishap::Killed { at, after }),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let power_failure = prop::option::weighted(0.15, vec(any::<u8>(), 0..12));
    let step =
        (operation(), mishap(), power_failure).prop_map(|(operation, mishap, power_failure)| {
            Step {
                operation,
                mishap,
                power_failure,
            }
        });
    vec(step, 1..40)
}

/// A turn: its child and its signal.
type Turn = (u8, u8);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Record {
    signal: u8,
    at_ms: u64,
    /// Orders the children by their first commit.
    place: usize,
}

/// What a disk holds, as the outbox's documentation tells it.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Contents {
    /// By child.
    pending: BTreeMap<u8, Record>,
    /// When each turn was consumed.
    consumed: BTreeMap<Turn, u64>,
    /// What may be in a write-ahead file that is still there, or again, by child.
    staged: BTreeMap<u8, BTreeSet<Record>>,
}

impl Contents {
    fn commit(&mut self, turn: Turn, at_ms: u64, place: usize) {
        let record = self.pending.entry(turn.0).or_insert(Record {
            signal: 0,
            at_ms: 0,
            place,
        });
        record.signal = turn.1;
        record.at_ms = at_ms;
    }

    /// What would be delivered at this time, were nothing set aside; in order.
    fn fresh(&self, now_ms: u64) -> Vec<Turn> {
        let mut fresh: Vec<(usize, Turn)> = self
            .pending
            .iter()
            .map(|(&child, record)| (record.place, (child, record.signal)))
            .filter(|(_, turn)| {
                let at_ms = self.consumed.get(turn);
                at_ms.is_none_or(|&at_ms| is_older(at_ms, now_ms, ENTRY_LIFETIME_MS))
            })
            .collect();
        fresh.sort_unstable();
        fresh.into_iter().map(|(_, turn)| turn).collect()
    }

    /// Takes out the records that have waited too long.
    fn expire(&mut self, now_ms: u64) -> Vec<(Turn, u64)> {
        let mut expired = Vec::new();
        self.pending.retain(|&child, record| {
            let is_expired = is_older(record.at_ms, now_ms, RECORD_LIFETIME_MS);
            if is_expired {
                expired.push(((child, record.signal), record.at_ms));
            }
            !is_expired
        });
        expired
    }

    /// What a drain or a sweep that does not get to its end, or whose removals are not synced,
    /// may leave of this: all of it, or without some of what has expired, as each file is gone
    /// through by itself; and where there is nothing to deliver, what is in the one file or in the
    /// other. The write-ahead file may have a turn that was replaced since. Each with a ledger that
    /// has been written, or not.
    fn parts(&self, now_ms: u64) -> BTreeSet<Self> {
        let mut rest = self.clone();
        let expired = rest.expire(now_ms);
        let mut parts = vec![self.clone()];
        for ((child, _), _) in expired {
            for at in 0..parts.len() {
                let mut without = parts[at].clone();
                without.pending.remove(&child);
                parts.push(without);
            }
        }
        if rest.fresh(now_ms).is_empty() {
            let mut nothing = self.clone();
            nothing.pending.clear();
            let mut subsets = vec![nothing];
            for (&child, record) in &self.pending {
                let staged = self.staged.get(&child).into_iter().flatten();
                for record in staged.chain([record]) {
                    for at in 0..subsets.len() {
                        let mut with = subsets[at].clone();
                        if with.pending.insert(child, record.clone()).is_none() {
                            subsets.push(with);
                        }
                    }
                }
            }
            parts.append(&mut subsets);
        }
        let forgot = parts.iter().map(|part| part.clone().forget(now_ms));
        forgot.chain(parts.iter().cloned()).collect()
    }

    /// [`Self::parts`], where what was to be delivered may have been staged.
    fn staged_parts(&self, now_ms: u64) -> BTreeSet<Self> {
        let parts = self.parts(now_ms).into_iter();
        let staged = parts.map(|mut part| {
            part.stage(now_ms);
            part
        });
        staged.collect()
    }

    /// What is pending may be in a write-ahead file.
    fn stage(&mut self, now_ms: u64) {
        let mut rest = self.clone();
        rest.expire(now_ms);
        for (child, record) in rest.pending {
            self.staged.entry(child).or_default().insert(record);
        }
    }

    fn forget(mut self, now_ms: u64) -> Self {
        self.consumed
            .retain(|_, &mut at_ms| !is_older(at_ms, now_ms, ENTRY_LIFETIME_MS));
        self
    }
}

fn is_older(at_ms: u64, now_ms: u64, lifetime_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) > lifetime_ms
}

/// One possibility.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct World {
    now: Contents,
    /// What a power failure may leave instead.
    instead: BTreeSet<Contents>,
}

impl World {
    /// The same with other contents now; what was there before may come back.
    fn becomes(&self, now: Contents, also: impl IntoIterator<Item = Contents>) -> Self {
        let mut instead = self.instead.clone();
        instead.insert(self.now.clone());
        instead.extend(also);
        instead.remove(&now);
        Self { now, instead }
    }
}

/// How an operation ended, as far as the model distinguishes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// It returned success.
    Well,
    /// It returned an error, and says that it had no effect.
    Refused,
    /// It returned an error or was killed: part of it may have happened.
    Somewhere,
    /// It was killed after its last effect.
    Unreturned,
}

struct Machine {
    root: TempDir,
    power: Arc<PowerDisk>,
    disk: Arc<FaultyDisk>,
    clock: HandClock,
    outbox: Outbox,
    worlds: BTreeSet<World>,
    commits: usize,
    /// The lines that other programs wrote, and whether each must be a dead letter one day.
    damage: Vec<bool>,
    /// Whether turns must come in the order of their children's first commits: after a
    /// crash, or a drain that failed to set aside what had expired, there may be more than one
    /// such order.
    is_ordered: bool,
}

fn boot(root: &TempDir, power: &Arc<PowerDisk>, clock: &HandClock) -> (Arc<FaultyDisk>, Outbox) {
    let disk = FaultyDisk::over(Arc::clone(power), Fault::None);
    let outbox = Outbox::with_seams(root.path(), "parent", Arc::clone(&disk), clock.clone());
    (disk, outbox.unwrap())
}

fn child_name(child: u8) -> String {
    format!("child-{child}")
}

fn turn_of(turn: &outbox::Turn) -> Turn {
    let child = turn.child.strip_prefix("child-").unwrap();
    (child.parse().unwrap(), turn.signal.parse().unwrap())
}

fn sorted(mut turns: Vec<Turn>) -> Vec<Turn> {
    turns.sort_unstable();
    turns
}

impl Machine {
    fn new(lie: Lie) -> Self {
        let root = tempfile::tempdir().unwrap();
        let power = Arc::new(PowerDisk::new(lie));
        let clock = HandClock::new();
        let (disk, outbox) = boot(&root, &power, &clock);
        Self {
            root,
            power,
            disk,
            clock,
            outbox,
            worlds: BTreeSet::from([World::default()]),
            commits: 0,
            damage: Vec::new(),
            is_ordered: true,
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn same(&self, left: Vec<Turn>, right: &[Turn]) -> bool {
        if self.is_ordered {
            left == right
        } else {
            sorted(left) == sorted(right.to_vec())
        }
    }

    /// Drops the worlds that `fits` denies; one must be left.
    fn observe(
        &mut self,
        what: &str,
        fits: impl Fn(&Self, &World) -> bool,
    ) -> Result<(), TestCaseError> {
        let worlds = std::mem::take(&mut self.worlds);
        let (fitting, others): (BTreeSet<World>, BTreeSet<World>) =
            worlds.into_iter().partition(|world| fits(self, world));
        prop_assert!(!fitting.is_empty(), "{}; the worlds: {:#?}", what, others);
        self.worlds = fitting;
        Ok(())
    }

    /// Replaces each world by what `next` makes of it.
    fn step(&mut self, next: impl Fn(&World) -> Vec<World>) {
        self.worlds = self.worlds.iter().flat_map(next).collect();
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let fault = match step.mishap {
            Mishap::None => Fault::None,
            Mishap::Fails { at, errno } => Fault::Once { at, errno },
            Mishap::Full { at } => Fault::Full { at },
            Mishap::Killed { at, after } => Fault::Death { at, after },
        };
        self.disk.set(fault);
        match step.operation {
            Operation::Commit {
                child,
                signal,
                is_long,
            } => self.commit((child, signal), is_long)?,
            Operation::Drain => self.drain()?,
            Operation::DrainWith { succeeds } => self.drain_with(succeeds)?,
            Operation::Sweep => self.sweep()?,
            Operation::Clock { hours } => self.clock.step_ms(i64::from(hours) * HOUR_MS),
            Operation::Damage => self.damage(),
            Operation::Nothing => {}
        }
        let is_dead = matches!(step.mishap, Mishap::Killed { .. }) && self.disk.fired();
        self.disk.set(Fault::None);
        self.is_ordered &= !is_dead;
        if self.power.is_settled() {
            self.step(|world| {
                vec![World {
                    now: world.now.clone(),
                    instead: BTreeSet::new(),
                }]
            });
        }
        if let Some(picks) = &step.power_failure {
            self.lose_power(picks);
        } else if is_dead {
            (self.disk, self.outbox) = boot(&self.root, &self.power, &self.clock);
        }
        self.look()
    }

    fn lose_power(&mut self, picks: &[u8]) {
        self.power.lose_power(&mut Picks::new(picks.to_vec()));
        (self.disk, self.outbox) = boot(&self.root, &self.power, &self.clock);
        self.is_ordered = false;
        self.damage.fill(false);
        self.step(|world| {
            world
                .instead
                .iter()
                .chain([&world.now])
                .map(|contents| World {
                    now: contents.clone(),
                    instead: BTreeSet::new(),
                })
                .collect()
        });
    }

    /// What the outbox shows is so in one of the worlds.
    fn look(&mut self) -> Result<(), TestCaseError> {
        let pending: Vec<Turn> = self.outbox.pending().unwrap().iter().map(turn_of).collect();
        let now_ms = self.now_ms();
        self.observe(&format!("pending are {pending:?}"), |machine, world| {
            machine.same(world.now.fresh(now_ms), &pending)
        })?;
        let letters = self.outbox.dead_letters().unwrap();
        for number in 0..self.damage.len() {
            let line = format!("damage {number}");
            let times = letters.iter().filter(|one| one.line == line.as_bytes());
            prop_assert!(times.count() <= 1, "{} was set aside twice", line);
        }
        Ok(())
    }

    fn commit(&mut self, turn: Turn, is_long: bool) -> Result<(), TestCaseError> {
        self.commits += 1;
        let event = Event::new(child_name(turn.0), turn.1.to_string());
        let summary = "x".repeat(if is_long { 30_000 } else { 3 });
        let committed = self.outbox.commit(event.with_summary(summary));
        let end = match committed {
            Ok(()) => End::Well,
            Err(Error::Io { .. }) if !self.is_dead() => End::Refused,
            Err(_) => End::Somewhere,
        };
        if end == End::Well {
            prop_assert!(
                self.power.is_settled(),
                "a commit has returned, and a power failure would change something"
            );
        }
        let (now_ms, place) = (self.now_ms(), self.commits);
        let with = move |contents: &Contents| {
            let mut contents = contents.clone();
            contents.commit(turn, now_ms, place);
            contents
        };
        self.step(|world| {
            let done = with(&world.now);
            if end == End::Well {
                return vec![world.becomes(done, [])];
            }
            // It may come back though it was taken back: that was not synced.
            let back: Vec<Contents> = world.instead.iter().map(with).collect();
            let undone = world.becomes(
                world.now.clone(),
                back.iter().cloned().chain([done.clone()]),
            );
            if end == End::Refused {
                return vec![undone];
            }
            vec![undone, world.becomes(done, back)]
        });
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.disk.is_dead()
    }

    /// Whether everything was done and nothing returned: the gap that `drain` documents.
    fn end_of_drain<T, E>(&self, result: &Result<T, E>) -> End {
        let has_forgotten = self
            .disk
            .effects()
            .last()
            .is_some_and(|last| last == "remove wal.jsonl")
            && !self.outbox.path().join("wal.jsonl").exists();
        match result {
            Ok(_) => End::Well,
            Err(_) if has_forgotten => End::Unreturned,
            Err(_) => End::Somewhere,
        }
    }

    fn drain(&mut self) -> Result<(), TestCaseError> {
        let drained = self.outbox.drain();
        let end = self.end_of_drain(&drained);
        self.drained(end, drained.ok().as_ref())
    }

    fn drain_with(&mut self, succeeds: bool) -> Result<(), TestCaseError> {
        let mut received = None;
        let result = self.outbox.drain_with(|drained| {
            received = Some(drained.clone());
            if succeeds { Ok(()) } else { Err(()) }
        });
        let end = self.end_of_drain(&result);
        // What a consumer was given is what one world would give it, however the drain ended.
        self.drained(end, received.as_ref())
    }

    fn drained(&mut self, end: End, received: Option<&Drained>) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms();
        if let Some(drained) = received {
            let turns: Vec<Turn> = drained.iter().map(turn_of).collect();
            self.observe(&format!("drained were {turns:?}"), |machine, world| {
                let mut contents = world.now.clone();
                contents.expire(now_ms);
                machine.same(contents.fresh(now_ms), &turns)
            })?;
            self.check_expired()?;
        }
        // What it staged comes first, before what had expired and was left where it was.
        if end == End::Somewhere {
            let has_expired = |world: &World| !world.now.clone().expire(now_ms).is_empty();
            self.is_ordered &= !self.worlds.iter().any(has_expired);
        }
        self.step(|world| {
            // The write-ahead file is there until its removal, and after it until a sync.
            let parts = world.now.staged_parts(now_ms);
            if matches!(end, End::Refused | End::Somewhere) {
                let ends = parts.iter().cloned();
                return ends.map(|now| world.becomes(now, parts.clone())).collect();
            }
            let mut done = world.now.clone();
            done.expire(now_ms);
            let fresh = done.fresh(now_ms);
            done.pending.clear();
            done.staged.clear();
            let mut forgot = done.clone().forget(now_ms);
            let consumed = fresh.iter().map(|turn| (*turn, now_ms));
            forgot.consumed.extend(consumed);
            if fresh.is_empty() {
                // The ledger is written where a drain before this one had died.
                return [done, forgot]
                    .map(|now| world.becomes(now, parts.clone()))
                    .into();
            }
            vec![world.becomes(forgot, parts)]
        });
        if end == End::Well {
            self.damage_is_set_aside()?;
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), TestCaseError> {
        let swept = self.outbox.sweep();
        let now_ms = self.now_ms();
        if swept.is_ok() {
            self.check_expired()?;
            self.damage_is_set_aside()?;
        }
        self.step(|world| {
            // It takes over a write-ahead file that is there, and adds the inbox to it.
            let parts = world.now.staged_parts(now_ms);
            if swept.is_ok() {
                let mut rest = world.now.clone();
                rest.expire(now_ms);
                rest.stage(now_ms);
                return vec![world.becomes(rest.forget(now_ms), parts)];
            }
            let ends = parts.iter().cloned();
            ends.map(|now| world.becomes(now, parts.clone())).collect()
        });
        Ok(())
    }

    /// What has waited too long is in the dead letters.
    fn check_expired(&mut self) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms();
        let letters: BTreeSet<(Turn, u64)> = self
            .outbox
            .dead_letters()
            .unwrap()
            .iter()
            .filter(|letter| letter.reason == Reason::Expired)
            .map(|letter| {
                let record: serde_json::Value = serde_json::from_slice(&letter.line).unwrap();
                let text = |key: &str| record[key].as_str().unwrap().to_owned();
                let child = text("child")
                    .strip_prefix("child-")
                    .unwrap()
                    .parse()
                    .unwrap();
                let signal = text("signal").parse().unwrap();
                ((child, signal), record["committed_at"].as_u64().unwrap())
            })
            .collect();
        self.observe(&format!("expired are {letters:?}"), |_, world| {
            let expired = world.now.clone().expire(now_ms);
            expired.iter().all(|one| letters.contains(one))
        })
    }

    fn damage(&mut self) {
        use outbox::Disk as _;

        let line = format!("\ndamage {}\n", self.damage.len());
        let file = self
            .power
            .open_for_append(&self.outbox.path().join("inbox.jsonl"))
            .unwrap();
        self.power.write(&file, line.as_bytes()).unwrap();
        self.damage.push(true);
    }

    fn damage_is_set_aside(&mut self) -> Result<(), TestCaseError> {
        let letters = self.outbox.dead_letters().unwrap();
        for (number, is_due) in self.damage.iter().enumerate() {
            let line = format!("damage {number}");
            let is_there = letters.iter().any(|one| one.line == line.as_bytes());
            prop_assert!(is_there || !is_due, "{} is gone", line);
        }
        Ok(())
    }
}

fn holds(history: &[Step], lie: Lie) -> Result<(), TestCaseError> {
    let mut machine = Machine::new(lie);
    for step in history {
        machine.run(step)?;
    }
    // And now all is well: everything comes out, once.
    let well = |operation| Step {
        operation,
        mishap: Mishap::None,
        power_failure: None,
    };
    machine.run(&well(Operation::Drain))?;
    prop_assert_eq!(machine.outbox.pending().unwrap(), []);
    machine.run(&well(Operation::Drain))?;
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    let config = Config::default();
    TestRunner::new(Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            config.cases
        } else {
            cases
        },
        rng_seed: match config.rng_seed {
            RngSeed::Random => RngSeed::Fixed(8),
            fixed => fixed,
        },
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..config
    })
}

#[test]
fn no_history_loses_a_turn_or_delivers_one_that_was_consumed() {
    let result = runner(400).run(&history(), |history| holds(&history, Lie::None));
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// The same, on disks that do not do what they are asked to: the model must find that out.
#[test]
fn a_disk_whose_syncs_do_nothing_is_found_out() {
    for lie in [Lie::Files, Lie::Directories] {
        let result = runner(1_000).run(&history(), |history| holds(&history, lie));
        assert!(result.is_err(), "{lie:?}");
    }
}
