//! The system calls that read our own books. Times are nanoseconds.
#![expect(
    clippy::useless_conversion,
    reason = "the C types differ between architectures"
)]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

/// `CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED` of the kernel's `linux/posix-timers_types.h`: the
/// low bits of a clock id, whose high bits are the complement of a thread's id.
const THREAD_CPU_CLOCK: libc::clockid_t = 4 | 2;

/// CPU time of the process, threads that have ended included.
///
/// What other threads of it have had on another CPU since that CPU's last tick is missing, unless
/// [`cpu_of`] has just asked for it.
pub(super) fn process_cpu() -> Option<u64> {
    cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the calling thread.
pub(super) fn thread_cpu() -> Option<u64> {
    cpu_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of a thread of this process, up to now even where it is running; `None` when it has
/// ended.
pub(super) fn cpu_of(tid: u32) -> Option<u64> {
    let tid = libc::clockid_t::try_from(tid).ok()?;
    cpu_time((!tid << 3) | THREAD_CPU_CLOCK)
}

fn cpu_time(clock: libc::clockid_t) -> Option<u64> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes a timespec to where there is room for one.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so that it was written.
    Some(of_timespec(unsafe { time.assume_init() }))
}

/// The length of the kernel's tick: how long a CPU's books may lag behind.
pub(super) fn tick() -> u64 {
    static TICK: OnceLock<u64> = OnceLock::new();
    // The slowest that Linux is configured to, where it does not say.
    const SLOWEST: u64 = 10_000_000;
    *TICK.get_or_init(|| {
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: writes a timespec to where there is room for one.
        if unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, time.as_mut_ptr()) } != 0 {
            return SLOWEST;
        }
        // SAFETY: the call succeeded, so that it was written.
        of_timespec(unsafe { time.assume_init() }).clamp(100_000, SLOWEST)
    })
}

fn of_timespec(time: libc::timespec) -> u64 {
    let seconds = u64::try_from(i64::from(time.tv_sec)).unwrap_or(0);
    let rest = u64::try_from(i64::from(time.tv_nsec)).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

fn of_timeval(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(i64::from(time.tv_sec)).unwrap_or(0);
    let rest = u64::try_from(i64::from(time.tv_usec)).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(rest * 1_000)
}

fn usage(who: libc::c_int) -> Option<libc::rusage> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: writes an rusage to where there is room for one.
    if unsafe { libc::getrusage(who, usage.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so that it was written.
    Some(unsafe { usage.assume_init() })
}

/// CPU time of a resource usage: user and system.
pub(super) fn cpu_of_usage(usage: &libc::rusage) -> u64 {
    of_timeval(usage.ru_utime).saturating_add(of_timeval(usage.ru_stime))
}

/// CPU time of the children that were waited for, and of those that they waited for.
pub(super) fn children_cpu() -> Option<u64> {
    usage(libc::RUSAGE_CHILDREN).map(|usage| cpu_of_usage(&usage))
}

/// How often the calling thread left its CPU: to wait for something, and to make room for others.
pub(super) fn switches() -> Option<(u64, u64)> {
    let usage = usage(libc::RUSAGE_THREAD)?;
    let count = |n| u64::try_from(n).unwrap_or(0);
    Some((count(usage.ru_nvcsw), count(usage.ru_nivcsw)))
}

/// Whether the process has a child that it has not waited for, running or ended.
pub(super) fn has_children() -> bool {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: writes a siginfo to where there is room for one; nothing is waited for or reaped.
    let outcome = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    // It fails with ECHILD when there is none; any other failure tells nothing.
    !(outcome == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD))
}

/// Whether children vanish without being waited for, and their CPU time with them (wait(2)).
pub(super) fn children_vanish() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action it only writes the present one to where there is room for it.
    if unsafe { libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr()) } != 0 {
        return true;
    }
    // SAFETY: the call succeeded, so that it was written.
    let action = unsafe { action.assume_init() };
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// The calling thread's id.
pub(super) fn own_tid() -> Option<u32> {
    // SAFETY: returns a number and can't fail. By its number, as glibc has a function for it only
    // since 2.30.
    u32::try_from(unsafe { libc::syscall(libc::SYS_gettid) }).ok()
}

/// The steps a second in which `/proc/stat` counts.
pub(super) fn steps_a_second() -> u64 {
    // SAFETY: reads a number of the system.
    let n = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(n).unwrap_or(100).max(1)
}

/// Whether an open file is of the kernel's own `/proc`, not of what a container puts over it
/// (lxcfs shows a part of the machine as if it were all).
pub(super) fn is_of_the_kernel(file: &std::fs::File, magic: u32) -> bool {
    use std::os::fd::AsRawFd;
    let mut info = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: writes a statfs to where there is room for one, of a file that is open.
    if unsafe { libc::fstatfs(file.as_raw_fd(), info.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so that it was written.
    let info = unsafe { info.assume_init() };
    i64::try_from(info.f_type).is_ok_and(|found| found & 0xffff_ffff == i64::from(magic))
}

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
pub(super) const PROC: u32 = 0x9fa0;
/// `CGROUP_SUPER_MAGIC`: a cgroup hierarchy of version 1.
pub(super) const CGROUP_V1: u32 = 0x0027_e0eb;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    /// The books of a CPU are brought up to date at its ticks, and by this clock.
    #[test]
    fn the_clock_of_a_thread_that_runs_elsewhere_is_not_a_tick_behind() {
        let stop = AtomicBool::new(false);
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send.send(own_tid().expect("a thread")).expect("it waits");
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let spinning = receive.recv().expect("it sends");
            let begin = Instant::now();
            let mut last = cpu_of(spinning).expect("it runs");
            let mut steps = 0;
            // Mostly within a millisecond; as soon as it has a CPU, where others want one, too.
            while steps < 8 && begin.elapsed() < Duration::from_secs(10) {
                let now = cpu_of(spinning).expect("it runs");
                if now > last && now - last < tick() / 4 {
                    steps += 1;
                }
                last = now;
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(steps, 8);
        });
        assert_eq!(cpu_of(0x3fff_fffe), None, "no such thread");
    }
}
