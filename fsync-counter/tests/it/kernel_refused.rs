//! A kernel that refuses: played by a filter on the test's own thread, which answers for it.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use fsync_counter::{Incomplete, KernelScope, KernelScopeUnavailable, SyncCounts};
use libc::{c_int, c_long, sock_filter};

use crate::alone::alone;
use crate::kernel::{openat2, synced_in_a_storm};

fn statement(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0)
}

fn jump(code: u32, k: u32, if_false: u8) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf: if_false,
        k,
    }
}

/// From here on `seccomp` fails on this thread, and on those that it starts, with that `errno`
/// where its flags have one of the bits.
fn refuse(bits: u32, errno: c_int) {
    refuse_call(libc::SYS_seccomp, bits, errno);
}

/// The same for any call, with its second argument for the flags.
fn refuse_call(number: c_long, bits: u32, errno: c_int) {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let number = u32::try_from(number).unwrap();
    let mut program = [
        statement(load, 0),
        jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, 3),
        statement(load, 24),
        jump(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, bits, 1),
        statement(
            libc::BPF_RET,
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
        ),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 6,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: sets a flag of this thread.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(set, 0);
    // SAFETY: the program outlives the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

const NEW_LISTENER: u32 = 1 << 3;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

#[test]
fn each_refusal_is_an_error_of_its_own_with_advice() {
    alone(
        "kernel_refused::each_refusal_is_an_error_of_its_own_with_advice",
        || {
            let cases = [
                (libc::EINVAL, KernelScopeUnavailable::NotOffered, "gVisor"),
                (
                    libc::EPERM,
                    KernelScopeUnavailable::NotAllowed { errno: libc::EPERM },
                    "profile",
                ),
                (libc::ENOSYS, KernelScopeUnavailable::NoFilters, "ENOSYS"),
                (libc::EBUSY, KernelScopeUnavailable::Nested, "outer scope"),
            ];
            for (errno, expected, advice) in cases {
                let refused = std::thread::spawn(move || {
                    refuse(NEW_LISTENER, errno);
                    KernelScope::open().map(|_| ()).unwrap_err()
                });
                let refused = refused.join().unwrap();
                assert_eq!(refused, expected);
                assert!(refused.to_string().contains(advice), "{refused}");
            }
            // Another thread is not concerned.
            assert!(KernelScope::open().is_ok());
        },
    );
}

#[test]
fn no_thread_for_the_closure_is_an_error_or_a_panic() {
    alone(
        "kernel_refused::no_thread_for_the_closure_is_an_error_or_a_panic",
        || {
            let scope = KernelScope::open().unwrap();
            // Their second argument is a stack or a size, and never 0 for a thread.
            for number in [libc::SYS_clone, libc::SYS_clone3] {
                refuse_call(number, u32::MAX, libc::EAGAIN);
            }
            let ran = AtomicBool::new(false);
            let run = || ran.store(true, Ordering::SeqCst);
            let refused = scope.try_observe(run, |_| (), |_| ()).unwrap_err();
            let expected = KernelScopeUnavailable::Failed {
                what: "start a thread",
                errno: libc::EAGAIN,
            };
            assert_eq!(refused, expected);
            let panic = catch_unwind(AssertUnwindSafe(|| scope.observe(run))).unwrap_err();
            let text = panic.downcast_ref::<String>();
            assert_eq!(text, Some(&expected.to_string()));
            assert!(!ran.load(Ordering::SeqCst));
        },
    );
}

#[test]
fn an_older_kernel_counts_and_says_that_it_is_approximate() {
    alone(
        "kernel_refused::an_older_kernel_counts_and_says_that_it_is_approximate",
        || {
            refuse(WAIT_KILLABLE_RECV, libc::EINVAL);
            let file = tempfile::tempfile().unwrap();
            let scope = KernelScope::open().unwrap();
            let seen = scope.observe(|| file.sync_all().unwrap());
            assert_eq!(seen.counts(), SyncCounts::new().files(1));
            assert_eq!(seen.incomplete(), [Incomplete::Approximate]);
        },
    );
}

/// `openat2` has its flags in memory: those that can't be read may make writes durable.
#[test]
fn what_cannot_be_read_of_a_call_is_said() {
    alone(
        "kernel_refused::what_cannot_be_read_of_a_call_is_said",
        || {
            let dir = tempfile::tempdir().unwrap();
            File::create(dir.path().join("file")).unwrap();
            let folder = File::open(dir.path()).unwrap();
            let scope = KernelScope::open().unwrap();
            // Its second argument is a place in memory.
            refuse_call(libc::SYS_process_vm_readv, u32::MAX, libc::EPERM);
            let seen = scope.observe(|| openat2(&folder, 0));
            assert!(seen.value > 0);
            let said = Incomplete::DurableOpen { path: None };
            assert_eq!(seen.incomplete(), [said]);
        },
    );
}

/// Told again after each signal: the answers count, not the tellings.
#[test]
fn an_older_kernel_counts_a_sync_that_signals_interrupt_about_once() {
    alone(
        "kernel_refused::an_older_kernel_counts_a_sync_that_signals_interrupt_about_once",
        || {
            refuse(WAIT_KILLABLE_RECV, libc::EINVAL);
            let seen = synced_in_a_storm(libc::SA_RESTART);
            let (counted, synced) = (seen.counts().files, seen.value);
            // An answer may come at the very moment of a signal.
            assert!(
                (synced..=synced + synced / 100).contains(&counted),
                "{counted} of {synced}"
            );
        },
    );
}
