//! What a piece of code costs in memory, as the kernel sees it: page faults, and the system calls by
//! which an allocator gives memory back or takes more.
//!
//! The calls are told by a seccomp listener, which needs no privileges and misses none, whoever
//! makes it: the C library's own are no symbols that a program could define in their place. The
//! kernel holds each until the listener's owner has counted it, so that a count read on the
//! watched thread is exact at that moment.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread;

use libc::{c_int, c_long, c_ulong, sock_filter};

/// Page faults of the calling thread so far that needed no disk.
pub(crate) fn page_faults() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: writes one `rusage` to a place of that size.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    assert_eq!(answer, 0);
    // SAFETY: the call succeeded, so that all of it is written.
    u64::try_from(unsafe { usage.assume_init() }.ru_minflt).expect("a number")
}

/// The calls of a watched thread so far.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    given_back: AtomicU64,
    taken: AtomicU64,
    /// The end of the heap that `brk` moves, as last asked for.
    heap_end: AtomicU64,
}

impl Calls {
    /// Calls that gave memory back: `munmap`, `madvise`, a `brk` or `mremap` that shrinks, a mapping
    /// made inaccessible.
    pub(crate) fn given_back(&self) -> u64 {
        self.given_back.load(Ordering::SeqCst)
    }

    /// Calls that asked for more.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    fn note(&self, call: &libc::seccomp_data) {
        let [_, second, third, fourth, ..] = call.args;
        let protection = c_int::try_from(third).unwrap_or(0);
        let gives_back = match c_long::from(call.nr) {
            libc::SYS_munmap => true,
            libc::SYS_madvise => [
                libc::MADV_DONTNEED,
                libc::MADV_FREE,
                libc::MADV_REMOVE,
                libc::MADV_COLD,
                libc::MADV_PAGEOUT,
            ]
            .contains(&protection),
            libc::SYS_mremap => third < second,
            libc::SYS_brk => {
                let end = call.args[0];
                end != 0 && end < self.heap_end.swap(end, Ordering::SeqCst)
            }
            libc::SYS_mmap => {
                protection == libc::PROT_NONE
                    && c_int::try_from(fourth).is_ok_and(|flags| flags & libc::MAP_FIXED != 0)
            }
            libc::SYS_mprotect => protection == libc::PROT_NONE,
            _ => return,
        };
        let counter = if gives_back {
            &self.given_back
        } else {
            &self.taken
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

const TOLD: [c_long; 6] = [
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
];

/// Runs `body` on a thread of its own, whose calls for memory are counted.
///
/// # Panics
/// With `body`'s panic, and where the kernel refuses the listener.
pub(crate) fn watched<T: Send>(body: impl FnOnce(&Calls) -> T + Send) -> T {
    const NOT_YET: c_int = -1;
    let calls = Calls::default();
    // SAFETY: only asks where the heap ends.
    let heap_end = unsafe { libc::sbrk(0) };
    calls
        .heap_end
        .store(heap_end.addr() as u64, Ordering::SeqCst);
    let listener = AtomicI32::new(NOT_YET);
    thread::scope(|scope| {
        let watched = scope.spawn(|| {
            // From here on nothing may ask for memory before the owner has the listener.
            listener.store(listen(), Ordering::SeqCst);
            body(&calls)
        });
        let fd = loop {
            match listener.load(Ordering::SeqCst) {
                NOT_YET if watched.is_finished() => break NOT_YET,
                NOT_YET => thread::yield_now(),
                fd => break fd,
            }
        };
        if fd >= 0 {
            // SAFETY: the descriptor was made for this, and nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            answer_until_the_thread_ends(&fd, &calls);
        }
        match watched.join() {
            Ok(value) if fd >= 0 => value,
            Ok(_) => panic!(
                "the kernel refused a seccomp listener: {}",
                io::Error::from_raw_os_error(-fd)
            ),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Has the kernel tell of this thread's calls; the listener, or a negative `errno` below -1.
fn listen() -> c_int {
    let word = |number: c_ulong| u32::try_from(number).expect("a small number");
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).expect("an instruction"),
        jt,
        jf,
        k,
    };
    // The call's number is the first field of `seccomp_data`.
    let mut program = vec![instruction(load, 0, 0, 0)];
    for (at, number) in TOLD.iter().enumerate() {
        let to_tell = u8::try_from(TOLD.len() - at).expect("a short program");
        let number = u32::try_from(*number).expect("a number of a system call");
        program.push(instruction(jump, to_tell, 0, number));
    }
    program.push(instruction(answer, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(instruction(answer, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.leak().as_mut_ptr(),
    };
    let [set, no]: [c_ulong; 2] = [1, 0];
    // SAFETY: sets a flag of this thread; all five arguments are given, as the kernel demands.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, set, no, no, no) };
    let mode = word(libc::SECCOMP_SET_MODE_FILTER.into());
    // SAFETY: the kernel reads the program, which lives for good, and refuses a malformed one.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            mode,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match c_int::try_from(fd) {
        Ok(fd) if fd >= 0 => fd,
        _ => -io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(0)
            .max(2),
    }
}

/// Counts each call and lets it go on. Allocates nothing: the watched thread may hold the
/// allocator's locks meanwhile.
fn answer_until_the_thread_ends(listener: &OwnedFd, calls: &Calls) {
    loop {
        let mut poll = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, -1) };
        if poll.revents & libc::POLLIN == 0 {
            if poll.revents & libc::POLLHUP != 0 {
                return;
            }
            continue;
        }
        // SAFETY: numbers only, of which zeros are values; the kernel wants zeros.
        let mut told = unsafe { MaybeUninit::<libc::seccomp_notif>::zeroed().assume_init() };
        let receive = libc::SECCOMP_IOCTL_NOTIF_RECV;
        // SAFETY: the kernel writes one `seccomp_notif` to a place of that size.
        if unsafe { libc::ioctl(listener.as_raw_fd(), receive, &raw mut told) } != 0 {
            continue;
        }
        calls.note(&told.data);
        let answer = libc::seccomp_notif_resp {
            id: told.id,
            val: 0,
            error: 0,
            flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).expect("a flag"),
        };
        let send = libc::SECCOMP_IOCTL_NOTIF_SEND;
        // SAFETY: the kernel reads one `seccomp_notif_resp`.
        unsafe { libc::ioctl(listener.as_raw_fd(), send, &raw const answer) };
    }
}
