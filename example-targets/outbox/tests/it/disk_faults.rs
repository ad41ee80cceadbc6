//! Each effect fails once, or the disk fills up at it: whatever happens, a record is
//! pending, delivered or in the dead letters, and a commit that failed did not happen.

use outbox::{DrainError, Error, Event, Reason};

use crate::support::{DAY, Fault, Fixture, names};

/// Commits and drains with `fault`, then drains without it.
/// Returns whether the fault was reached.
fn survives(fault: Fault, has_dead_drain: bool) -> bool {
    let fixture = Fixture::new();
    for child in ["a", "b"] {
        fixture.commit(child, "1");
    }
    if has_dead_drain {
        fixture.die_in_drain("remove wal.jsonl");
        fixture.commit("c", "1");
    }
    fixture.append("inbox.jsonl", b"damaged");
    fixture.disk.set(fault);

    let committed = fixture.outbox.commit(Event::new("d", "1"));
    let pending = names(&fixture.outbox.pending().unwrap());
    assert_eq!(
        pending.contains(&"d=1".into()),
        committed.is_ok(),
        "{fault:?}"
    );
    let mut delivered = Vec::new();
    if let Ok(drained) = fixture.outbox.drain() {
        delivered.extend(names(&drained));
    }
    let _ = fixture.outbox.sweep();
    let fired = fixture.disk.fired();

    fixture.disk.set(Fault::None);
    let (other, _) = fixture.reopen(Fault::None);
    delivered.extend(names(&other.drain().unwrap()));
    delivered.sort();
    let mut expected = vec!["a=1", "b=1"];
    expected.extend(has_dead_drain.then_some("c=1"));
    expected.extend(committed.is_ok().then_some("d=1"));
    assert_eq!(delivered, expected, "{fault:?}");
    let letters = other.dead_letters().unwrap();
    assert!(
        letters.iter().any(|letter| letter.line == b"damaged"),
        "{fault:?}"
    );
    assert!(other.drain().unwrap().is_empty());
    fired
}

/// Tries `fault` at the first effect, the second, until there are no more; returns how many
/// there were.
fn at_every_effect(fault: impl Fn(usize) -> Fault, has_dead_drain: bool) -> usize {
    (1..)
        .take_while(|&at| survives(fault(at), has_dead_drain))
        .count()
}

#[test]
fn a_disk_that_is_full_for_one_effect_loses_nothing() {
    let fault = |at| Fault::Once {
        at,
        errno: libc::ENOSPC,
    };
    assert!(at_every_effect(fault, false) >= 20);
    assert!(at_every_effect(fault, true) >= 20);
}

#[test]
fn a_disk_that_stays_full_loses_nothing() {
    for has_dead_drain in [false, true] {
        // All but the last effect, which removes a file.
        assert!(at_every_effect(|at| Fault::Full { at }, has_dead_drain) >= 19);
    }
}

#[test]
fn an_input_output_error_or_a_read_only_file_system_loses_nothing() {
    for errno in [libc::EIO, libc::EROFS] {
        let fault = |at| Fault::Once { at, errno };
        assert!(at_every_effect(fault, false) >= 20);
    }
}

/// The commit that rewrites the inbox fails: the event before it is still pending.
#[test]
fn a_failed_compaction_leaves_the_inbox_as_it_was() {
    let event = |turn: &str| Event::new("a", turn).with_summary("x".repeat(30_000));
    for errno in [libc::ENOSPC, libc::EIO] {
        for at in 1.. {
            let fixture = Fixture::new();
            fixture.commit("b", "1");
            fixture.outbox.commit(event("1")).unwrap();
            fixture.outbox.commit(event("2")).unwrap();
            fixture.disk.set(Fault::Once { at, errno });
            let committed = fixture.outbox.commit(event("3"));
            if !fixture.disk.fired() {
                assert_eq!(fixture.disk.count("rename"), 1);
                assert!(at > 5);
                break;
            }
            assert!(committed.is_err());
            assert_eq!(
                names(&fixture.outbox.pending().unwrap()),
                ["b=1", "a=2"],
                "{:?}",
                fixture.disk.effects()
            );
        }
    }
}

/// A parent drains at every heartbeat. While the disk refuses the step after the dead letters,
/// each drain finds the same dead lines again.
#[test]
fn a_dead_line_is_set_aside_once_however_often_a_drain_or_a_sweep_fails_over_it() {
    type Operation = fn(&Fixture) -> Result<(), Error>;
    let drain: Operation = |fixture| fixture.outbox.drain().map(drop);
    let sweep: Operation = |fixture| fixture.outbox.sweep().map(drop);
    // Longer than what is read back beyond the lines themselves.
    let long = [b'x'; 100_000];
    for (operation, refused) in [
        (drain, "create_temporary wal.tmp"),
        (drain, "rename wal.jsonl"),
        (drain, "remove inbox.jsonl"),
        (sweep, "create_temporary inbox.tmp"),
        (sweep, "rename inbox.jsonl"),
    ] {
        let fixture = Fixture::new();
        fixture.append("dead-letters.jsonl", b"torn");
        fixture.commit("old", "1");
        fixture.append("inbox.jsonl", b"{\"child\n\xff\n{\"child\n");
        fixture.append("inbox.jsonl", &[&long[..], b"\n"].concat());
        fixture.clock.forward(8 * DAY);
        fixture.commit("a", "1");
        for attempt in 0..5 {
            if attempt == 2 {
                fixture.append("inbox.jsonl", b"later");
                fixture.commit("b", "1");
            }
            fixture.disk.set(Fault::Refused(refused));
            operation(&fixture).unwrap_err();
            assert!(fixture.disk.fired(), "{refused}");
            fixture.clock.forward(DAY);
        }
        fixture.disk.set(Fault::None);
        operation(&fixture).unwrap();

        let letters = fixture.outbox.dead_letters().unwrap();
        let times = |line: &[u8]| letters.iter().filter(|one| one.line == line).count();
        assert_eq!(times(b"{\"child"), 2, "{refused}: there are two of it");
        assert_eq!(times(b"\xff"), 1, "{refused}");
        assert_eq!(times(&long), 1, "{refused}");
        assert_eq!(times(b"later"), 1, "{refused}");
        let expired = letters.iter().filter(|one| one.reason == Reason::Expired);
        assert_eq!(expired.count(), 1, "{refused}");
        assert_eq!(letters.len(), 7, "{refused}: these and what was torn");
    }
}

#[test]
fn a_full_disk_is_said_clearly() {
    let fixture = Fixture::new();
    fixture.disk.set(Fault::Once {
        at: 2,
        errno: libc::ENOSPC,
    });
    let error = fixture.outbox.commit(Event::new("a", "1")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
    assert!(error.to_string().ends_with("inbox.jsonl"), "{error}");
    assert!(error.to_string().starts_with("write "), "{error}");
    assert!(error.cure().unwrap().starts_with("free some space"));
}

#[test]
fn a_commit_that_cannot_be_taken_back_says_so() {
    let fixture = Fixture::new();
    fixture.disk.set(Fault::Death {
        at: 3,
        after: false,
    });
    let error = fixture.outbox.commit(Event::new("a", "1")).unwrap_err();
    assert!(matches!(error, Error::NotTakenBack { .. }));
}

#[test]
fn a_directory_fsync_that_is_refused_is_tolerated_and_one_that_fails_is_not() {
    for (errno, is_tolerated) in [
        (libc::EINVAL, true),
        (libc::ENOTSUP, true),
        (libc::ENOSYS, true),
        (libc::EIO, false),
        (libc::ENOSPC, false),
        (libc::EBADF, false),
    ] {
        let fixture = Fixture::new();
        // The effects of a commit: open, write, sync the file, sync the directory.
        fixture.disk.set(Fault::Once { at: 4, errno });
        let committed = fixture.outbox.commit(Event::new("a", "1"));
        assert!(fixture.disk.fired());
        assert_eq!(committed.is_ok(), is_tolerated, "{errno}");
        fixture.disk.set(Fault::None);
        let pending = fixture.outbox.pending().unwrap();
        assert_eq!(pending.len(), usize::from(is_tolerated));
    }
}

#[test]
fn what_a_consumer_refuses_or_panics_over_is_delivered_again() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    let refused = fixture.outbox.drain_with(|drained| {
        assert_eq!(drained.len(), 1);
        // A consumer may commit: nothing but another drain waits for this one.
        fixture.commit("b", "1");
        Err::<(), _>("no")
    });
    assert!(matches!(refused, Err(DrainError::Consumer("no"))));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        fixture
            .outbox
            .drain_with(|drained| -> Result<(), ()> { panic!("{} turns", drained.len()) })
    }));
    assert!(panicked.is_err());
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(names(&drained), ["a=1", "b=1"]);
    assert!(drained.recovered());
    assert!(!fixture.outbox.drain().unwrap().recovered());
}
