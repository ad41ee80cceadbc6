//! A drain or a commit dies at each effect, and the one that takes over dies too.
//!
//! A death is simulated: from one effect on the disk does nothing and reports errors. This
//! shows that no interleaving loses a record. It does not show what survives a power
//! failure.

use std::collections::BTreeMap;

use outbox::{Event, Outbox};

use crate::support::{DAY, Fault, FaultyDisk, Fixture, names};

/// How often each turn reached a consumer.
type Received = BTreeMap<String, usize>;

fn receive(received: &mut Received, turns: Vec<String>) {
    for turn in turns {
        *received.entry(turn).or_default() += 1;
    }
}

/// Drains through `drain`: turns are received only when it returns. Returns whether the
/// death fell into the gap that `drain` documents: everything done, nothing returned.
fn drain(outbox: &Outbox, disk: &FaultyDisk, received: &mut Received) -> bool {
    match outbox.drain() {
        Ok(drained) => receive(received, names(&drained)),
        Err(_) => {
            let effects = disk.effects();
            return effects
                .last()
                .is_some_and(|last| last == "remove wal.jsonl")
                && !outbox.path().join("wal.jsonl").exists();
        }
    }
    false
}

/// Drains through `drain_with`. Returns whether the consumer had its turns and the drain did
/// not get to forget them.
fn drain_with(outbox: &Outbox, received: &mut Received) -> bool {
    let mut has_consumed = false;
    let result = outbox.drain_with(|drained| {
        has_consumed = !drained.is_empty();
        receive(received, names(drained));
        Ok::<_, std::convert::Infallible>(())
    });
    has_consumed && result.is_err()
}

fn before_and_after(at: usize) -> [Fault; 2] {
    [false, true].map(|after| Fault::Death { at, after })
}

/// A fixture with two pending turns, one repetition of a consumed turn and one bad line.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.commit("old", "1");
    fixture.outbox.drain().unwrap();
    for child in ["a", "b", "old"] {
        fixture.commit(child, "1");
    }
    fixture.append("inbox.jsonl", b"damaged\n");
    fixture
}

/// Runs `round` with a death at every effect of a first drain and, for each of those, of a
/// second one. Returns how many pairs there were.
fn for_every_pair_of_deaths(round: impl Fn(Fault, Fault) -> (bool, bool)) -> usize {
    let mut pairs = 0;
    for first_at in 1.. {
        let mut has_first_fired = false;
        for first in before_and_after(first_at) {
            for second_at in 1.. {
                let mut has_second_fired = false;
                for second in before_and_after(second_at) {
                    let fired = round(first, second);
                    has_first_fired |= fired.0;
                    has_second_fired |= fired.1;
                    pairs += 1;
                }
                if !has_second_fired {
                    break;
                }
            }
        }
        if !has_first_fired {
            return pairs;
        }
    }
    unreachable!("the loop ends when a drain has no more effects")
}

#[test]
fn a_drain_and_its_successor_die_anywhere_and_every_turn_is_delivered_exactly_once() {
    let pairs = for_every_pair_of_deaths(|first, second| {
        let fixture = fixture();
        let mut received = Received::new();
        fixture.disk.set(first);
        let mut is_in_gap = drain(&fixture.outbox, &fixture.disk, &mut received);
        let has_first_fired = fixture.disk.fired();
        fixture.disk.set(Fault::None);
        fixture.commit("c", "1");
        let (successor, disk) = fixture.reopen(second);
        is_in_gap |= drain(&successor, &disk, &mut received);
        let (last, _) = fixture.reopen(Fault::None);
        receive(&mut received, names(&last.drain().unwrap()));

        for turn in ["a=1", "b=1", "c=1"] {
            let times = received.get(turn).copied().unwrap_or(0);
            assert!(
                times == 1 || (is_in_gap && times == 0),
                "{turn} was received {times} times; deaths: {first:?}, {second:?}"
            );
        }
        assert!(!received.contains_key("old=1"));
        let letters = last.dead_letters().unwrap();
        let damaged = letters.iter().filter(|letter| letter.line == b"damaged");
        assert_eq!(damaged.count(), 1, "deaths: {first:?}, {second:?}");
        assert!(last.pending().unwrap().is_empty());
        (has_first_fired, disk.fired())
    });
    assert!(pairs > 500, "{pairs} pairs");
}

#[test]
fn with_drain_with_no_death_loses_a_turn_and_only_unfinished_consumers_see_one_again() {
    let pairs = for_every_pair_of_deaths(|first, second| {
        let fixture = fixture();
        let mut received = Received::new();
        fixture.disk.set(first);
        let mut unfinished = usize::from(drain_with(&fixture.outbox, &mut received));
        let has_first_fired = fixture.disk.fired();
        let (successor, disk) = fixture.reopen(second);
        unfinished += usize::from(drain_with(&successor, &mut received));
        let (last, _) = fixture.reopen(Fault::None);
        receive(&mut received, names(&last.drain().unwrap()));

        for turn in ["a=1", "b=1"] {
            let times = received.get(turn).copied().unwrap_or(0);
            assert!(
                (1..=1 + unfinished).contains(&times),
                "{turn} was received {times} times; deaths: {first:?}, {second:?}"
            );
        }
        assert!(!received.contains_key("old=1"));
        (has_first_fired, disk.fired())
    });
    assert!(pairs > 500, "{pairs} pairs");
}

/// Between a drain's death and its successor the child sends a newer turn, and then the
/// first one again: it was marked and never received, so it is delivered.
#[test]
fn a_turn_that_was_marked_and_replaced_unseen_is_not_consumed() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.die_in_drain("remove wal.jsonl");
    fixture.commit("a", "2");
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=2"]);
    fixture.commit("a", "1");
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=1"]);
}

/// A record that a dead drain left in both files expires, and a drain that sets it aside dies
/// between removing the one file and the other: it is one dead letter.
#[test]
fn a_record_that_expired_in_both_files_is_set_aside_once() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.die_in_drain("remove inbox.jsonl");
    fixture.clock.forward(8 * DAY);
    fixture.die_in_drain("remove wal.jsonl");
    assert!(!fixture.file("inbox.jsonl").exists());
    assert!(fixture.outbox.drain().unwrap().is_empty());
    assert_eq!(fixture.outbox.dead_letters().unwrap().len(), 1);
    assert!(!fixture.file("wal.jsonl").exists());
}

/// Commits a turn of `b` among others, with a death at every effect. Returns the effects of
/// a commit that lives.
fn die_in_commit(prepare: impl Fn(&Fixture), event: impl Fn() -> Event) -> Vec<String> {
    for at in 1.. {
        let mut has_fired = false;
        let mut effects = Vec::new();
        for fault in before_and_after(at) {
            let fixture = Fixture::new();
            fixture.commit("a", "1");
            fixture.append("inbox.jsonl", b"damaged\n");
            prepare(&fixture);
            fixture.disk.set(fault);
            let committed = fixture.outbox.commit(event());
            has_fired |= fixture.disk.fired();
            effects = fixture.disk.effects();
            let (next, _) = fixture.reopen(Fault::None);
            next.commit(Event::new("c", "1")).unwrap();
            let drained = next.drain().unwrap();
            let mut turns = names(&drained);
            let is_there = turns.iter().position(|turn| turn == "b=1");
            if let Some(index) = is_there {
                turns.remove(index);
            }
            assert!(is_there.is_some() || committed.is_err(), "{fault:?}");
            assert_eq!(turns, ["a=1", "c=1"], "{fault:?}");
            let letters = next.dead_letters().unwrap();
            assert!(letters.iter().any(|letter| letter.line == b"damaged"));
        }
        if !has_fired {
            return effects;
        }
    }
    unreachable!("the loop ends when a commit has no more effects")
}

#[test]
fn a_commit_dies_anywhere_and_takes_nothing_with_it() {
    let effects = die_in_commit(|_| (), || Event::new("b", "1"));
    let expected = [
        "open_for_append inbox.jsonl",
        "write ",
        "sync_file ",
        "sync_directory ",
    ];
    assert_eq!(effects, expected);
}

#[test]
fn a_commit_that_compacts_dies_anywhere_and_takes_nothing_with_it() {
    // Three of them take an inbox past the 64 KiB from which it is compacted.
    let long = |child: &str, turn: &str| Event::new(child, turn).with_summary("x".repeat(30_000));
    let two_that_are_replaced = |fixture: &Fixture| {
        for turn in ["2", "3"] {
            fixture.outbox.commit(long("a", turn)).unwrap();
        }
        fixture.commit("a", "1");
    };
    let effects = die_in_commit(two_that_are_replaced, || long("b", "1"));
    let expected = [
        "open_for_append inbox.jsonl",
        "create_temporary inbox.tmp",
        "write ",
        "sync_file ",
        "rename inbox.jsonl",
        "sync_directory ",
    ];
    assert_eq!(effects, expected);
}

/// A drain died between its marks and the hand-over, and what it had staged has expired: the
/// marks must not outlive it, whoever sets the turns aside.
#[test]
fn a_turn_that_was_marked_and_expired_unseen_is_not_consumed() {
    type Operation = fn(&Fixture);
    let drain: Operation = |fixture| assert!(fixture.outbox.drain().unwrap().is_empty());
    let sweep: Operation = |fixture| assert_eq!(fixture.outbox.sweep().unwrap().dead_letters, 1);
    for sets_aside in [drain, sweep] {
        let fixture = Fixture::new();
        fixture.commit("consumed", "1");
        fixture.outbox.drain().unwrap();
        fixture.commit("a", "1");
        fixture.die_in_drain("remove wal.jsonl");
        fixture.clock.forward(8 * DAY);
        sets_aside(&fixture);
        fixture.commit("a", "1");
        fixture.commit("consumed", "1");
        assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=1"]);
    }
}

/// The same, with a sweep that dies at each of its effects.
#[test]
fn a_sweep_that_dies_forgets_no_turn_and_no_mark() {
    for at in 1.. {
        let mut has_fired = false;
        for fault in before_and_after(at) {
            let fixture = Fixture::new();
            fixture.commit("consumed", "1");
            fixture.outbox.drain().unwrap();
            fixture.commit("a", "1");
            fixture.die_in_drain("remove wal.jsonl");
            fixture.clock.forward(8 * DAY);
            fixture.disk.set(fault);
            let swept = fixture.outbox.sweep();
            has_fired |= fixture.disk.fired();
            assert_eq!(swept.is_err(), fixture.disk.fired());
            let (next, _) = fixture.reopen(Fault::None);
            assert!(next.drain().unwrap().is_empty(), "{fault:?}");
            let expired = next.dead_letters().unwrap().into_iter();
            let whole = expired.filter(|letter| letter.at.is_some());
            assert_eq!(whole.count(), 1, "{fault:?}");
            next.commit(Event::new("a", "1")).unwrap();
            next.commit(Event::new("consumed", "1")).unwrap();
            assert_eq!(names(&next.drain().unwrap()), ["a=1"], "{fault:?}");
        }
        if !has_fired {
            assert!(at > 8, "{at}");
            return;
        }
    }
}
