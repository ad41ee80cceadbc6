//! The kernel scope: what it counts, and that it ends well whatever its closure does.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fsync_counter::{
    FileClass, Incomplete, KernelScope, KernelScopeUnavailable, Observed, Operation, Outcome,
    SyncCounts, stub_under,
};
use tempfile::{TempDir, tempdir};

use crate::alone::{alone, child, is_child};
use crate::c_library as c;
use crate::hard_places::in_fork;

fn kernel_scope() -> KernelScope {
    KernelScope::open().unwrap_or_else(|refused| panic!("{refused}"))
}

/// Without the syncs of tests that run at the same time.
fn said<T>(seen: &Observed<T>) -> Vec<Incomplete> {
    let is_of_this_test = |reason: &&Incomplete| !matches!(reason, Incomplete::OtherThreads { .. });
    seen.incomplete()
        .iter()
        .filter(is_of_this_test)
        .cloned()
        .collect()
}

fn new_file(dir: &TempDir) -> File {
    File::create(dir.path().join("file")).unwrap()
}

#[test]
fn each_class_is_counted_with_its_event() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let file = new_file(&dir);
    let seen = kernel_scope().observe(|| {
        file.sync_all().unwrap();
        File::open(&root).unwrap().sync_data().unwrap();
        c::sync_file_range(file.as_raw_fd(), libc::SYNC_FILE_RANGE_WRITE).unwrap();
        c::fsync(c::high_copy(&File::open("/dev/null").unwrap())).unwrap_err();
        c::fsync(-1).unwrap_err();
        std::process::id()
    });
    let expected = SyncCounts::new()
        .files(1)
        .dirs(1)
        .other(1)
        .unknown(1)
        .weak(1);
    assert_eq!(seen.counts(), expected, "{}", seen.events());
    assert_eq!(said(&seen), []);
    let events = seen.events();
    let described: Vec<_> = events
        .iter()
        .map(|event| (event.sequence, event.operation, event.class, event.flags))
        .collect();
    assert_eq!(
        described,
        [
            (1, Operation::Fsync, FileClass::File, 0),
            (2, Operation::Fdatasync, FileClass::Directory, 0),
            (
                3,
                Operation::SyncFileRange,
                FileClass::File,
                libc::SYNC_FILE_RANGE_WRITE
            ),
            (4, Operation::Fsync, FileClass::Other, 0),
            (5, Operation::Fsync, FileClass::Unknown(libc::EBADF), 0),
        ]
    );
    let paths: Vec<_> = events.iter().map(|event| event.path.as_deref()).collect();
    let name = root.join("file");
    assert_eq!(
        paths,
        [
            Some(name.as_path()),
            Some(&root),
            Some(&name),
            Some(Path::new("/dev/null")),
            None
        ]
    );
    for event in &events {
        assert_eq!(event.process, seen.value);
        assert_eq!(event.thread, events[0].thread);
        assert_eq!(event.outcome, Outcome::NotSeen);
    }
    // SAFETY: takes nothing.
    let here = unsafe { libc::gettid() };
    assert_ne!(i64::from(events[0].thread), i64::from(here));
}

#[test]
fn a_mapping_is_counted_under_its_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("file");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.set_len(4096).unwrap();
    // SAFETY: no other process knows the file.
    let map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
    let seen = kernel_scope().observe(|| {
        map.flush().unwrap();
        map.flush_async().unwrap();
        c::msync(c::shared_page(), 4096, libc::MS_SYNC).unwrap();
    });
    let expected = SyncCounts::new().files(1).other(1).weak(1);
    assert_eq!(seen.counts(), expected, "{}", seen.events());
    assert_eq!(seen.events()[0].path.as_deref(), Some(path.as_path()));
    assert_eq!(
        seen.events()[0].flags,
        u32::try_from(libc::MS_SYNC).unwrap()
    );
}

/// Machine code, threads, children of children: all inherit the filter.
#[test]
fn what_the_hook_cannot_see_is_counted() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let path = dir.path().join("file");
    let seen = kernel_scope().observe(|| {
        assert_eq!(c::fsync_by_hand(file.as_raw_fd()), 0);
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| rustix::fs::fsync(&file).unwrap());
            }
        });
        let script = format!("sync '{0}'; sync -d '{0}'; (sync '{0}')", path.display());
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success());
        let forked = in_fork(|| file.sync_all().unwrap());
        assert_eq!(forked, 0);
    });
    assert_eq!(
        seen.counts(),
        SyncCounts::new().files(1 + 4 + 3 + 1),
        "{}",
        seen.events()
    );
    let own = std::process::id();
    let children = seen
        .events()
        .iter()
        .filter(|event| event.process != own)
        .count();
    assert_eq!(children, 4, "{}", seen.events());
    let path = path.canonicalize().unwrap();
    assert!(
        seen.events()
            .iter()
            .all(|event| event.path.as_deref() == Some(&*path))
    );
}

/// The hook marks what it forwards in a register, where a system call that is made next might still
/// find it.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_system_call_right_behind_the_hooks_is_not_taken_for_it() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let found = fsync_counter::audit(|| {
        let answer: i64;
        // SAFETY: a call of the C library's function, and the system call's convention; r12 is kept
        // by both. A descriptor is only a number to them.
        unsafe {
            std::arch::asm!(
                "mov rdi, r12",
                "call {fsync}",
                "mov eax, 74",
                "mov rdi, r12",
                "syscall",
                fsync = sym libc::fsync,
                in("r12") i64::from(file.as_raw_fd()),
                lateout("rax") answer,
                clobber_abi("C"),
            );
        }
        assert_eq!(answer, 0);
    });
    let found = found.unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(
        (found.hook().files, found.kernel().files),
        (1, 2),
        "{found}"
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_system_call_is_counted() {
    /// By `int 0x80`, as 32-bit programs do; 118 is their number of `fsync`.
    fn fsync_of_32_bits(fd: i32) -> i64 {
        let answer: i64;
        // SAFETY: the convention of 32-bit system calls; `rbx` is put back, and the descriptor is
        // only a number to it. The kernel clears r8 to r11.
        unsafe {
            std::arch::asm!(
                "xchg {fd:r}, rbx",
                "int 0x80",
                "xchg {fd:r}, rbx",
                fd = inout(reg) i64::from(fd) => _,
                inlateout("rax") 118_i64 => answer,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        answer
    }
    alone("kernel::a_32_bit_system_call_is_counted", || {
        // A kernel without 32-bit programs ends this one.
        if in_fork(|| assert_eq!(fsync_of_32_bits(-1), i64::from(-libc::EBADF))) != 0 {
            eprintln!("SKIPPED: this kernel has no 32-bit system calls");
            return;
        }
        let dir = tempdir().unwrap();
        let file = new_file(&dir);
        let seen = kernel_scope().observe(|| fsync_of_32_bits(file.as_raw_fd()));
        assert_eq!(seen.value, 0);
        assert_eq!(seen.counts(), SyncCounts::new().files(1));
    });
}

#[test]
fn what_a_stub_answers_does_not_reach_the_kernel() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let _disk = stub_under(dir.path());
    let seen = kernel_scope().observe(|| {
        file.sync_all().unwrap();
        rustix::fs::fsync(&file).unwrap();
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
}

#[test]
fn a_count_of_calls_has_all_kinds() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let (value, calls) = kernel_scope().calls(|| {
        file.sync_all().unwrap();
        c::sync_file_range(file.as_raw_fd(), libc::SYNC_FILE_RANGE_WRITE).unwrap();
        c::fsync(-1).unwrap_err();
        "value"
    });
    assert_eq!((value, calls), ("value", 3));
    assert_eq!(kernel_scope().calls(|| ()), ((), 0));
}

#[test]
fn sixteen_scopes_at_once_count_each_its_own() {
    let scope = kernel_scope();
    thread::scope(|threads| {
        for n in 0..16 {
            let scope = &scope;
            threads.spawn(move || {
                let dir = tempdir().unwrap();
                let file = new_file(&dir);
                for round in 0..20 {
                    let seen = scope.observe(|| {
                        for _ in 0..n {
                            rustix::fs::fsync(&file).unwrap();
                            file.sync_data().unwrap();
                        }
                    });
                    assert_eq!(
                        seen.counts(),
                        SyncCounts::new().files(2 * n),
                        "round {round}"
                    );
                    for event in &seen.events() {
                        assert!(event.path.as_ref().unwrap().starts_with(dir.path()));
                    }
                }
            });
        }
    });
}

#[test]
fn ten_thousand_repeats_make_no_difference() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let file = new_file(&dir);
    let scope = kernel_scope();
    for repeat in 0..10_000 {
        let seen = scope.observe(|| {
            rustix::fs::fsync(&file).unwrap();
            file.sync_all().unwrap();
        });
        assert_eq!(seen.counts(), SyncCounts::new().files(2), "repeat {repeat}");
    }
}

/// A file system in memory where there is one.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    }
}

/// Signals at 5 kHz, with handlers that restart the call and that don't: what is counted is what
/// was done.
#[test]
fn signals_make_no_difference() {
    alone("kernel::signals_make_no_difference", || {
        for flags in [libc::SA_RESTART, 0] {
            let seen = synced_in_a_storm(flags);
            assert_eq!(seen.counts(), SyncCounts::new().files(seen.value));
            assert_eq!(seen.incomplete(), []);
        }
    });
}

/// What a scope saw of a thread that syncs while signals with a handler of these flags come down
/// on it; the value is how many of its syncs succeeded.
pub(crate) fn synced_in_a_storm(flags: i32) -> Observed<u64> {
    handle_urgent(flags);
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let file = new_file(&dir);
    let target = AtomicI32::new(0);
    let over = AtomicBool::new(false);
    let sent = AtomicU32::new(0);
    thread::scope(|threads| {
        threads.spawn(|| storm(&target, &over, &sent));
        let seen = kernel_scope().observe(|| {
            // SAFETY: takes nothing.
            target.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            while sent.load(Ordering::SeqCst) == 0 {
                std::hint::spin_loop();
            }
            let mut succeeded = 0;
            let begin = sent.load(Ordering::SeqCst);
            // At least 2,000, and until the storm was one.
            while succeeded < 2_000 || sent.load(Ordering::SeqCst) < begin + 200 {
                succeeded += u64::from(c::fsync_by_hand(file.as_raw_fd()) == 0);
            }
            target.store(0, Ordering::SeqCst);
            succeeded
        });
        over.store(true, Ordering::SeqCst);
        seen
    })
}

/// How often the handler of `SIGURG` has run.
static HANDLED: AtomicU32 = AtomicU32::new(0);

/// Has `SIGURG` handled, with these flags.
fn handle_urgent(flags: i32) {
    extern "C" fn count(_signal: i32) {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: all zeros is a value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(i32) as usize;
    action.sa_flags = flags;
    // SAFETY: the handler adds to an atomic, which is allowed at any time.
    let set = unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

fn send_urgent(thread: i32) {
    let process = std::process::id();
    // SAFETY: a signal with a handler, to a thread of this process.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG) };
}

/// A signal every 200 µs.
fn storm(target: &AtomicI32, over: &AtomicBool, sent: &AtomicU32) {
    let mut next = Instant::now();
    while !over.load(Ordering::SeqCst) {
        let thread = target.load(Ordering::SeqCst);
        if thread != 0 && Instant::now() >= next {
            send_urgent(thread);
            sent.fetch_add(1, Ordering::SeqCst);
            next += Duration::from_micros(200);
        }
        thread::yield_now();
    }
}

/// The closure has returned, and its thread waits to have that heard; a signal whose handler does
/// not restart the call comes before it is.
#[test]
fn a_signal_while_the_closures_end_is_said_does_not_lose_it() {
    /// While this runs the scope hears nothing.
    fn interrupt_the_last_word(thread: u32) {
        let last_word = format!("{} 0xffffffffffffffff ", libc::SYS_fsync);
        let waits_in = || fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !waits_in().unwrap().starts_with(&last_word) {
            assert!(Instant::now() < deadline, "it waits in {:?}", waits_in());
            thread::yield_now();
        }
        send_urgent(thread.try_into().unwrap());
        while HANDLED.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "the signal did not come");
            thread::yield_now();
        }
    }
    alone(
        "kernel::a_signal_while_the_closures_end_is_said_does_not_lose_it",
        || {
            handle_urgent(0);
            let dir = tempdir().unwrap();
            let file = new_file(&dir);
            let (end, ended) = mpsc::channel::<()>();
            let seen = kernel_scope().observe_each(
                move || {
                    file.sync_all().unwrap();
                    // A scope that has not heard of the end waits for this one, and does not say
                    // that it outlives the closure.
                    thread::spawn(move || ended.recv_timeout(Duration::from_secs(20)))
                },
                |event| interrupt_the_last_word(event.thread),
            );
            assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
            assert_eq!(seen.incomplete(), [Incomplete::Outlived]);
            drop(end);
            seen.value.join().unwrap().unwrap_err();
        },
    );
}

#[test]
fn a_panic_goes_on_in_the_caller_and_the_next_scope_works() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let scope = kernel_scope();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        scope.observe(|| {
            file.sync_all().unwrap();
            panic!("of the closure");
        })
    }));
    let text = panic.expect_err("it went on");
    assert_eq!(text.downcast_ref::<&str>(), Some(&"of the closure"));
    let seen = scope.observe(|| file.sync_all().unwrap());
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
}

#[test]
fn a_panic_of_who_looks_waits_for_the_closure() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let returned = AtomicBool::new(false);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        kernel_scope().observe_each(
            || {
                file.sync_all().unwrap();
                file.sync_all().unwrap();
                returned.store(true, Ordering::SeqCst);
            },
            |_| panic!("of who looks"),
        )
    }));
    let text = panic.expect_err("it went on");
    assert_eq!(text.downcast_ref::<&str>(), Some(&"of who looks"));
    assert!(returned.load(Ordering::SeqCst));
}

#[test]
fn the_closure_runs_under_the_callers_name() {
    let name = |thread: &thread::Thread| thread.name().map(str::to_owned);
    let inside = kernel_scope().observe(|| name(&thread::current()));
    assert_eq!(inside.value, name(&thread::current()));
}

/// What outlives the scope is said, goes on syncing, and is not counted.
#[test]
fn a_thread_that_outlives_the_scope_goes_on() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let (go, wait) = mpsc::channel::<()>();
    let seen = kernel_scope().observe(move || {
        file.sync_all().unwrap();
        thread::spawn(move || {
            wait.recv().unwrap();
            (0..100).map(|_| file.sync_all()).collect::<Vec<_>>()
        })
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
    assert_eq!(said(&seen), [Incomplete::Outlived]);
    go.send(()).unwrap();
    for synced in seen.value.join().unwrap() {
        synced.expect("it is answered");
    }
}

/// It ends before the scope has noticed that it outlives the closure.
#[test]
fn what_syncs_right_after_the_closure_is_said() {
    struct SyncsAtTheEnd(File);
    impl Drop for SyncsAtTheEnd {
        fn drop(&mut self) {
            self.0.sync_all().unwrap();
        }
    }
    thread_local! {
        static AT_THE_END: std::cell::RefCell<Option<SyncsAtTheEnd>> =
            const { std::cell::RefCell::new(None) };
    }
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let seen = kernel_scope().observe(move || {
        file.sync_all().unwrap();
        AT_THE_END.set(Some(SyncsAtTheEnd(file)));
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
    assert_eq!(said(&seen), [Incomplete::Outlived]);
}

/// What outlives the closure and syncs all the time does not keep the scope open.
#[test]
fn a_busy_thread_that_outlives_the_scope_does_not_hold_it() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let file = new_file(&dir);
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let ends = over.clone();
    let seen = kernel_scope().observe(move || {
        thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                file.sync_all().unwrap();
            }
        })
    });
    over.store(true, Ordering::SeqCst);
    seen.value.join().unwrap();
}

/// A pool that an earlier scope has seen begin is covered by that one, which is over.
#[test]
fn threads_of_an_earlier_scope_are_said() {
    alone("kernel::threads_of_an_earlier_scope_are_said", || {
        // Another scope is open all the time: what is remembered of scopes is not begun anew.
        let (close, closed) = mpsc::channel::<()>();
        let (opened, open) = mpsc::channel();
        let beside = thread::spawn(move || {
            kernel_scope().observe(move || {
                opened.send(()).unwrap();
                closed.recv().unwrap();
            })
        });
        open.recv().unwrap();
        let dir = tempdir().unwrap();
        let file = std::sync::Arc::new(new_file(&dir));
        let (jobs, work) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel();
        let syncing = file.clone();
        let (ask, answered) = (jobs.clone(), finished);
        let first = kernel_scope().observe(move || {
            file.sync_all().unwrap();
            let pool = thread::Builder::new()
                .name("pool".to_owned())
                .spawn(move || {
                    for () in work {
                        syncing.sync_all().unwrap();
                        done.send(()).unwrap();
                    }
                })
                .unwrap();
            ask.send(()).unwrap();
            answered.recv().unwrap();
            (pool, answered)
        });
        assert_eq!(first.counts(), SyncCounts::new().files(2));
        assert_eq!(first.incomplete(), [Incomplete::Outlived]);
        let (pool, finished) = first.value;
        let asked = jobs.clone();
        let second = kernel_scope().observe(move || {
            asked.send(()).unwrap();
            finished.recv().unwrap();
        });
        assert_eq!(second.counts(), SyncCounts::new());
        let said = Incomplete::OtherThreads {
            syncs: 1,
            threads: vec!["pool".to_owned()],
        };
        assert_eq!(second.incomplete(), [said]);
        drop(jobs);
        close.send(()).unwrap();
        _ = beside.join().unwrap();
        pool.join().unwrap();
    });
}

#[test]
fn a_process_that_may_open_few_descriptors_has_a_scope() {
    alone(
        "kernel::a_process_that_may_open_few_descriptors_has_a_scope",
        || {
            let few = libc::rlimit {
                rlim_cur: 64,
                rlim_max: 64,
            };
            // SAFETY: the limit outlives the call.
            let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) };
            assert_eq!(set, 0);
            let dir = tempdir().unwrap();
            let file = new_file(&dir);
            let seen = kernel_scope().observe(|| file.sync_all().unwrap());
            assert_eq!(seen.counts(), SyncCounts::new().files(1));
        },
    );
}

/// Programs expect to be given the lowest numbers, in their order.
#[test]
fn the_closure_is_given_the_descriptors_that_it_would_be_given_without_a_scope() {
    alone(
        "kernel::the_closure_is_given_the_descriptors_that_it_would_be_given_without_a_scope",
        || {
            let open_three = || {
                let files = [(); 3].map(|()| File::open("/dev/null").unwrap());
                files.map(|file| file.as_raw_fd())
            };
            let without = open_three();
            assert_eq!(kernel_scope().observe(open_three).value, without);
        },
    );
}

#[test]
fn to_the_last_waits_for_what_outlives_the_closure() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    let file = new_file(&dir);
    let (go, wait) = mpsc::channel::<()>();
    let seen = kernel_scope().to_the_last().observe(|| {
        let script = format!("(read line; sync '{}') <&0 &", path.display());
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        shell.wait().unwrap();
        thread::spawn(move || {
            wait.recv().unwrap();
            input.write_all(b"go\n").unwrap();
        });
        file.sync_all().unwrap();
        go.send(()).unwrap();
    });
    assert_eq!(
        seen.counts(),
        SyncCounts::new().files(2),
        "{}",
        seen.events()
    );
    assert_eq!(said(&seen), []);
}

/// Ten times as long as it takes another scope to give up what outlives its closure.
#[test]
fn to_the_last_counts_what_syncs_long_after_the_closure() {
    const LONG: Duration = Duration::from_millis(100);
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let file = new_file(&dir);
    let seen = kernel_scope().to_the_last().observe(move || {
        // SAFETY: takes nothing.
        let closures = unsafe { libc::gettid() };
        thread::spawn(move || {
            let closures = format!("/proc/self/task/{closures}");
            let mut ended: Option<Instant> = None;
            let mut syncs = 0;
            while ended.is_none_or(|ended| ended.elapsed() < LONG) {
                file.sync_all().unwrap();
                syncs += 1;
                if ended.is_none() && !Path::new(&closures).exists() {
                    ended = Some(Instant::now());
                }
            }
            syncs
        })
    });
    assert_eq!(said(&seen), []);
    let counts = seen.counts();
    assert_eq!(counts, SyncCounts::new().files(seen.value.join().unwrap()));
}

/// The descriptor by which the scope watches is one of the process's own.
#[test]
fn a_closure_that_closes_all_descriptors_ends_and_it_is_said() {
    alone(
        "kernel::a_closure_that_closes_all_descriptors_ends_and_it_is_said",
        || {
            let dir = tempdir().unwrap();
            let path = dir.path().join("file");
            let file = new_file(&dir);
            let seen = kernel_scope().observe(|| {
                file.sync_all().unwrap();
                // SAFETY: nobody uses them: but for the three below, this test's own.
                unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
                std::mem::forget(file);
                let again = File::open(&path).unwrap();
                c::fsync_by_hand(again.as_raw_fd())
            });
            assert_eq!(seen.value, i64::from(-libc::ENOSYS));
            assert_eq!(seen.counts(), SyncCounts::new().files(1));
            assert_eq!(seen.incomplete(), [Incomplete::DescriptorClosed]);
            // And the next scope is whole.
            let file = File::open(&path).unwrap();
            let seen = kernel_scope().observe(|| file.sync_all().unwrap());
            assert_eq!(seen.counts(), SyncCounts::new().files(1));
            assert_eq!(seen.incomplete(), []);
        },
    );
}

/// The child that is killed is in the middle of a sync almost all the time.
#[test]
fn a_child_that_is_killed_holds_nobody_up() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let path = dir.path().join("file");
    let _file = new_file(&dir);
    for _ in 0..20 {
        let seen = kernel_scope().observe(|| {
            let script = format!("echo; while :; do sync '{}'; done", path.display());
            let mut shell = Command::new("sh")
                .args(["-c", &script])
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap();
            let mut first = [0];
            std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut first).unwrap();
            let group = i32::try_from(shell.id()).unwrap();
            // SAFETY: the group is the child's own, which has not been waited for.
            unsafe { libc::kill(-group, libc::SIGKILL) };
            shell.wait().unwrap()
        });
        assert!(!seen.value.success());
        assert_eq!(seen.counts().total(), seen.events().len() as u64);
    }
}

/// A forked child has the closure's thread and nothing else: what it says at the end is not the
/// parent's end.
#[test]
fn a_fork_that_returns_from_the_closure_does_not_end_the_scope() {
    alone(
        "kernel::a_fork_that_returns_from_the_closure_does_not_end_the_scope",
        || {
            let dir = tempdir().unwrap();
            let file = new_file(&dir);
            let seen = kernel_scope().observe(|| {
                // SAFETY: the child only syncs and ends with its one thread.
                let child = unsafe { libc::fork() };
                file.sync_all().unwrap();
                if child == 0 {
                    return;
                }
                let mut status = 0;
                // SAFETY: `status` outlives the call.
                let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!((waited, status), (child, 0));
                file.sync_all().unwrap();
            });
            assert_eq!(
                seen.counts(),
                SyncCounts::new().files(3),
                "{}",
                seen.events()
            );
        },
    );
}

#[test]
fn one_scope_within_another_is_refused_clearly() {
    let inner = kernel_scope().observe(|| KernelScope::open().map(|_| ()));
    assert_eq!(inner.value, Err(KernelScopeUnavailable::Nested));
    let text = KernelScopeUnavailable::Nested.to_string();
    assert!(
        text.contains("EBUSY") && text.contains("outer scope"),
        "{text}"
    );
    // A thread that was started outside of it has room for one of its own.
    let outer = kernel_scope();
    thread::scope(|threads| {
        let (ask, asked) = mpsc::channel::<()>();
        let beside = threads.spawn(move || {
            asked.recv().unwrap();
            kernel_scope().observe(|| ()).counts()
        });
        let seen = outer.observe(|| {
            ask.send(()).unwrap();
            beside.join().unwrap()
        });
        assert_eq!(seen.value, SyncCounts::new());
    });
}

#[test]
fn durability_by_other_means_is_said() {
    alone("kernel::durability_by_other_means_is_said", || {
        let dir = tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("file");
        let open = |flags| {
            File::options()
                .write(true)
                .create(true)
                .custom_flags(flags)
                .open(&path)
        };
        let scope = kernel_scope();
        let durable_open = Incomplete::DurableOpen {
            path: Some(path.clone()),
        };
        for flags in [libc::O_DSYNC, libc::O_SYNC] {
            let seen = scope.observe(|| open(flags).unwrap().write_all(b"text").unwrap());
            assert_eq!(seen.counts(), SyncCounts::new());
            assert_eq!(seen.incomplete(), std::slice::from_ref(&durable_open));
        }
        assert_eq!(scope.observe(|| open(0).unwrap()).incomplete(), []);

        // A relative path, from a directory, by the call that has its flags in memory.
        let folder = File::open(dir.path()).unwrap();
        for (flags, said) in [(libc::O_DSYNC, vec![durable_open]), (0, Vec::new())] {
            let seen = scope.observe(|| openat2(&folder, flags));
            assert!(
                seen.value > 0,
                "{}",
                std::io::Error::from_raw_os_error(c::errno())
            );
            assert_eq!(seen.incomplete(), said);
        }

        let file = open(0).unwrap();
        let write = |flags| {
            let text = libc::iovec {
                iov_base: b"text".as_ptr().cast_mut().cast(),
                iov_len: 4,
            };
            // SAFETY: one piece of text, which the kernel reads.
            let n = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const text, 1, 0, flags) };
            assert_eq!(n, 4);
        };
        let said = Incomplete::DurableWrite { path: Some(path) };
        assert_eq!(
            scope.observe(|| write(libc::RWF_DSYNC)).incomplete(),
            std::slice::from_ref(&said)
        );
        assert_eq!(scope.observe(|| write(libc::RWF_SYNC)).incomplete(), [said]);
        assert_eq!(scope.observe(|| write(0)).incomplete(), []);

        // Refused for their arguments: the attempt is said.
        // SAFETY: both are refused, as there is nothing at address 0.
        let ring = || unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) };
        assert_eq!(scope.observe(ring).incomplete(), [Incomplete::IoUring]);
        // SAFETY: see above.
        let aio = || unsafe { libc::syscall(libc::SYS_io_setup, 1, 0) };
        assert_eq!(scope.observe(aio).incomplete(), [Incomplete::Aio]);
    });
}

/// `openat2` of "file" below a directory.
pub(crate) fn openat2(folder: &File, flags: i32) -> i64 {
    #[repr(C)]
    struct How {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    let how = How {
        flags: u64::try_from(libc::O_WRONLY | flags).unwrap(),
        mode: 0,
        resolve: 0,
    };
    // SAFETY: the name is a C string and `how` as large as said.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            folder.as_raw_fd(),
            c"file".as_ptr(),
            &raw const how,
            size_of::<How>(),
        )
    };
    if let Ok(fd) = i32::try_from(fd) {
        if fd >= 0 {
            c::close(fd);
        }
    }
    fd
}

#[test]
fn threads_from_before_the_scope_are_said() {
    alone("kernel::threads_from_before_the_scope_are_said", || {
        let dir = tempdir().unwrap();
        let file = new_file(&dir);
        let (jobs, work) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel();
        thread::scope(|threads| {
            let syncing = &file;
            thread::Builder::new()
                .name("older".to_owned())
                .spawn_scoped(threads, move || {
                    for () in work {
                        syncing.sync_all().unwrap();
                        done.send(()).unwrap();
                    }
                })
                .unwrap();
            let (file, waiting) = (&file, jobs.clone());
            let seen = kernel_scope().observe(move || {
                file.sync_all().unwrap();
                for _ in 0..3 {
                    waiting.send(()).unwrap();
                    finished.recv().unwrap();
                }
            });
            assert_eq!(seen.counts(), SyncCounts::new().files(1));
            let said = Incomplete::OtherThreads {
                syncs: 3,
                threads: vec!["older".to_owned()],
            };
            assert_eq!(seen.incomplete(), [said]);
            // Of the next scope they are no matter.
            let seen = kernel_scope().observe(|| file.sync_all().unwrap());
            assert_eq!(seen.incomplete(), []);
            drop(jobs);
        });
    });
}

/// What a thread from before syncs is noted from the closure's first moment, and what it synced in
/// an earlier scope is not noted again.
#[test]
fn a_sync_of_another_thread_as_soon_as_the_closure_runs_is_said() {
    alone(
        "kernel::a_sync_of_another_thread_as_soon_as_the_closure_runs_is_said",
        || {
            let dir = tempfile::tempdir_in(memory()).unwrap();
            let file = new_file(&dir);
            let (asked, done) = (AtomicU32::new(0), AtomicU32::new(0));
            const SCOPES: u32 = 500;
            let wait_for = |word: &AtomicU32, n| {
                while word.load(Ordering::SeqCst) != n {
                    thread::yield_now();
                }
            };
            let scope = kernel_scope();
            thread::scope(|threads| {
                let sync = || {
                    for n in 1..=SCOPES {
                        wait_for(&asked, n);
                        file.sync_all().unwrap();
                        done.store(n, Ordering::SeqCst);
                    }
                    // It has a name while it lives.
                    wait_for(&asked, SCOPES + 1);
                };
                thread::Builder::new()
                    .name("older".to_owned())
                    .spawn_scoped(threads, sync)
                    .unwrap();
                let seen: Vec<_> = (1..=SCOPES)
                    .map(|n| {
                        scope.observe(|| {
                            asked.store(n, Ordering::SeqCst);
                            wait_for(&done, n);
                        })
                    })
                    .collect();
                asked.store(SCOPES + 1, Ordering::SeqCst);
                let said = Incomplete::OtherThreads {
                    syncs: 1,
                    threads: vec!["older".to_owned()],
                };
                for (n, seen) in (1..).zip(&seen) {
                    assert_eq!(seen.incomplete(), std::slice::from_ref(&said), "scope {n}");
                }
            });
        },
    );
}

#[test]
fn a_reason_is_told_once_and_as_soon_as_it_is_met() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("file");
    let open = || {
        File::options()
            .write(true)
            .create(true)
            .custom_flags(libc::O_DSYNC)
            .open(&path)
    };
    let (told, tells) = mpsc::channel();
    let seen = kernel_scope().try_observe(
        || {
            drop(open().unwrap());
            let reason = tells.recv_timeout(Duration::from_secs(20)).unwrap();
            drop(open().unwrap());
            (reason, tells)
        },
        |_| (),
        |reason| told.send(reason.clone()).unwrap(),
    );
    let seen = seen.unwrap();
    let durable_open = Incomplete::DurableOpen { path: Some(path) };
    assert_eq!(said(&seen), std::slice::from_ref(&durable_open));
    let (first, tells) = seen.value;
    assert_eq!(first, durable_open);
    assert!(tells.try_iter().all(|reason| reason != durable_open));
}

#[test]
fn timed_syncs_have_their_results_and_times() {
    let dir = tempdir().unwrap();
    let file = new_file(&dir);
    let path = dir.path().join("file");
    let before = Instant::now();
    let seen = kernel_scope().timed().observe(|| {
        file.sync_all().unwrap();
        let refused = rustix::fs::fdatasync(File::open("/dev/null").unwrap());
        assert_eq!(refused.unwrap_err().raw_os_error(), libc::EINVAL);
        c::fsync(-1).unwrap_err();
        assert!(Command::new("sync").arg(&path).status().unwrap().success());
        c::msync(c::shared_page(), 4096, libc::MS_SYNC).unwrap();
    });
    let whole = before.elapsed();
    let events = seen.events();
    let outcomes: Vec<_> = events.iter().map(|event| event.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Succeeded,
            Outcome::Failed(libc::EINVAL),
            Outcome::Failed(libc::EBADF),
            Outcome::Succeeded,
            Outcome::NotSeen, // another's memory
        ],
        "{events}"
    );
    for event in &events {
        assert_eq!(event.duration.is_some(), event.outcome != Outcome::NotSeen);
        assert!(event.duration.unwrap_or_default() < whole);
    }
    assert_eq!(seen.counts().total(), 5);
}

/// A copy of a descriptor that there is not can't be had either: its caller asks the kernel itself.
#[test]
fn a_timed_sync_of_a_child_is_its_own_where_the_descriptor_cannot_be_copied() {
    let seen = kernel_scope()
        .timed()
        .observe(|| in_fork(|| assert_eq!(c::fsync_by_hand(-1), i64::from(-libc::EBADF))));
    assert_eq!(seen.value, 0);
    assert_eq!(seen.counts(), SyncCounts::new().unknown(1));
    let event = &seen.events()[0];
    assert_eq!((event.outcome, event.duration), (Outcome::NotSeen, None));
}

/// A record lock of the process is gone when any of its descriptors of the file is closed.
#[test]
fn timed_syncs_let_go_of_no_lock() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let lock = |file: &File| {
        // SAFETY: all zeros is a value of it: a lock of the whole file.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap();
        // SAFETY: the lock is described by a struct that outlives the call.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) }
    };
    assert_eq!(lock(&file), 0);
    let seen = kernel_scope().timed().observe(|| {
        file.sync_all().unwrap();
        file.sync_data().unwrap();
    });
    assert!(
        seen.events()
            .iter()
            .all(|event| event.outcome == Outcome::Succeeded)
    );
    let is_free = in_fork(|| assert_eq!(lock(&file), -1, "the lock is the parent's"));
    assert_eq!(is_free, 0);
}

/// Syncs that are issued on behalf of others don't wait for each other.
#[test]
fn timed_syncs_of_many_threads_are_all_counted() {
    let dir = tempdir().unwrap();
    let seen = kernel_scope().timed().observe(|| {
        thread::scope(|threads| {
            for n in 0..8 {
                let path = dir.path().join(n.to_string());
                threads.spawn(move || {
                    let file = File::create(path).unwrap();
                    for _ in 0..25 {
                        file.sync_all().unwrap();
                    }
                });
            }
        });
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(200));
    let sequence: Vec<_> = seen.events().iter().map(|event| event.sequence).collect();
    assert_eq!(sequence, (1..=200).collect::<Vec<_>>());
}

/// A thread with descriptors of its own is asked about those.
#[test]
fn a_thread_with_its_own_descriptors_is_told_its_own_paths() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let file = new_file(&dir);
    let seen = kernel_scope().observe(|| {
        // SAFETY: takes a number; only this thread's table of descriptors is concerned.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
        let folder = File::open(&root).unwrap();
        // SAFETY: both are open, and the second is this thread's own from here on.
        let fd = unsafe { libc::dup2(folder.as_raw_fd(), file.as_raw_fd()) };
        assert_eq!(c::fsync_by_hand(fd), 0);
    });
    assert_eq!(
        seen.counts(),
        SyncCounts::new().dirs(1),
        "{}",
        seen.events()
    );
    assert_eq!(seen.events()[0].path.as_deref(), Some(&*root));
}

/// Nothing of the kernel's is left behind.
#[test]
fn scopes_leave_no_descriptor_and_no_thread() {
    alone("kernel::scopes_leave_no_descriptor_and_no_thread", || {
        let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        let dir = tempdir().unwrap();
        let file = new_file(&dir);
        let scope = kernel_scope();
        _ = scope.observe(|| file.sync_all().unwrap());
        let before = (count("fd"), count("task"));
        for _ in 0..50 {
            _ = scope.observe(|| file.sync_all().unwrap());
            _ = scope.clone().timed().observe(|| file.sync_all().unwrap());
        }
        // A thread that has been waited for leaves the list a moment later.
        let deadline = Instant::now() + Duration::from_secs(20);
        while (count("fd"), count("task")) != before {
            assert!(
                Instant::now() < deadline,
                "{:?}",
                (count("fd"), count("task"))
            );
            thread::yield_now();
        }
    });
}

#[test]
fn no_privilege_is_needed() {
    const TEST: &str = "kernel::no_privilege_is_needed";
    const NOBODY: u32 = 65_534;
    if is_child(TEST) {
        // SAFETY: takes nothing.
        assert_eq!(unsafe { libc::geteuid() }, NOBODY);
        let null = File::open("/dev/null").unwrap();
        let seen = kernel_scope().observe(|| {
            null.sync_all().unwrap_err();
            rustix::fs::fsync(&null).unwrap_err();
            Command::new("sync").arg("/dev/null").status().unwrap();
        });
        assert_eq!(
            seen.counts(),
            SyncCounts::new().other(3),
            "{}",
            seen.events()
        );
        return;
    }
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: not root, so that the other tests show it");
        return;
    }
    let mut nobody = child(TEST);
    let output = nobody.uid(NOBODY).gid(NOBODY).output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("SKIPPED: this program is not where everybody may start it");
        }
        output => crate::alone::assert_passed(&output.unwrap()),
    }
}
