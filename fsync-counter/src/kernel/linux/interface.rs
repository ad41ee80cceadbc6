//! The kernel's interface for watching a thread, by hand: seccomp filters with a listener
//! (`seccomp(2)`, `seccomp_unotify(2)`), and the few calls around them.
//!
//! A filter is a thread's own: threads and processes that the thread starts afterwards inherit it,
//! and nothing removes it. The listener is a descriptor on which the kernel tells of calls; the
//! caller waits until it is answered. When the last copy of the descriptor is closed, told calls
//! fail with `ENOSYS`; when the last thread with the filter has ended, the descriptor hangs up.

use std::ptr;

use libc::{c_int, c_long, c_ulong, c_void, pid_t, sock_filter};

use crate::hook::raw;

/// An `errno`.
pub(super) type Errno = c_int;

/// Whether a filter is on the calling thread, this crate's or anybody's.
pub(super) fn is_filtered() -> bool {
    // SAFETY: asks for a number; takes no further arguments.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP) };
    mode != 0
}

/// Gives up, for the calling thread and what it starts, the right to gain privileges by `exec`.
pub(super) fn give_up_privileges_of_exec() -> Result<(), Errno> {
    let [set, no]: [c_ulong; 2] = [1, 0];
    // SAFETY: sets a flag of this thread; all five arguments are given, as the kernel demands.
    let answer = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, set, no, no, no) };
    if answer == 0 {
        Ok(())
    } else {
        Err(raw::errno())
    }
}

/// Puts the filter on the calling thread.
pub(super) fn install(program: &[sock_filter], flags: c_ulong) -> Result<Listener, Errno> {
    let Ok(len) = program.len().try_into() else {
        return Err(libc::EINVAL);
    };
    let program = libc::sock_fprog {
        len,
        // The kernel copies the program and writes nothing.
        filter: program.as_ptr().cast_mut(),
    };
    let arguments = [
        c_long::from(libc::SECCOMP_SET_MODE_FILTER as c_int),
        register(flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        address((&raw const program).cast()),
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the program, which outlives the call, and refuses a malformed one. It
    // changes what later system calls of this thread do: the filter lets all of them happen.
    let fd = unsafe { raw::system_call(libc::SYS_seccomp, arguments) }?;
    Listener::new(c_int::try_from(fd).map_err(|_| libc::EINVAL)?)
}

/// What the listener has for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// A call was told, or may have been.
    Call,
    /// The last thread with the filter has ended.
    HungUp,
    /// Nothing came in time.
    Nothing,
    /// The descriptor is not the listener any more.
    Closed,
}

impl Ready {
    /// To go on where there is nothing yet.
    pub(super) fn or_call(self) -> Self {
        match self {
            Self::Nothing => Self::Call,
            other => other,
        }
    }
}

/// A call that was told.
#[derive(Clone, Copy)]
pub(super) struct Notification {
    /// Its number, for the answer.
    pub(super) id: u64,
    /// The thread that called, in the numbering of the calling process; 0 when it has none there.
    pub(super) thread: u32,
    pub(super) data: libc::seccomp_data,
}

impl Notification {
    /// What no sync has: only a mark can stand there.
    pub(super) fn sixth_argument(&self) -> c_long {
        self.data.args[5] as c_long
    }
}

/// The descriptor on which the kernel tells.
///
/// The code that is watched shares the table of descriptors, and may close it like any other: so it
/// is far from the low numbers, which are given out again at once, and no number is closed here
/// that is not (any more) a listener.
#[derive(Debug)]
pub(super) struct Listener {
    answers: Answers,
    /// Room for a notification, as large as the kernel says that its own is.
    room: Vec<u64>,
}

/// Far from the low numbers, which programs expect to get in order.
const FD_MIN: c_int = 500;

impl Listener {
    fn new(low: c_int) -> Result<Self, Errno> {
        let mut sizes = libc::seccomp_notif_sizes {
            seccomp_notif: 0,
            seccomp_notif_resp: 0,
            seccomp_data: 0,
        };
        let arguments = [
            c_long::from(libc::SECCOMP_GET_NOTIF_SIZES as c_int),
            0,
            address((&raw mut sizes).cast_const().cast()),
            0,
            0,
            0,
        ];
        // SAFETY: the kernel writes three numbers to where there is room for them.
        let known = unsafe { raw::system_call(libc::SYS_seccomp, arguments) };
        // A process may be allowed fewer.
        let copied = [FD_MIN, FD_MIN / 4, FD_MIN / 16, 0]
            .into_iter()
            .map(|least| {
                // SAFETY: copies a descriptor that is this function's own.
                unsafe { libc::fcntl(low, libc::F_DUPFD_CLOEXEC, least) }
            })
            .find(|fd| *fd >= 0);
        raw::close(low);
        let Some(fd) = copied else {
            return Err(libc::EMFILE);
        };
        let size = usize::from(sizes.seccomp_notif).max(size_of::<libc::seccomp_notif>());
        let listener = Self {
            answers: Answers(fd),
            room: vec![0; size.div_ceil(size_of::<u64>())],
        };
        known.map(|_| listener)
    }

    /// Has the kernel wake whom an answer is for on the CPU that answers (Linux 6.6). Failing is no
    /// error: it is only faster.
    pub(super) fn wake_here(&self) {
        const SYNC_WAKE_UP: c_long = 1; // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
        let _only_faster = self
            .answers
            .control(libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP);
    }

    /// Waits at most so long, in milliseconds.
    pub(super) fn wait(&self, milliseconds: c_int) -> Ready {
        let mut poll = libc::pollfd {
            fd: self.answers.0,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call.
        let answer = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        match (answer, poll.revents) {
            (1, got) if got & libc::POLLNVAL != 0 => Ready::Closed,
            (1, got) if got & libc::POLLIN != 0 => Ready::Call,
            (1, got) if got & libc::POLLHUP != 0 => Ready::HungUp,
            (1, _) => Ready::Closed,
            // A signal, too, is nothing.
            _ => Ready::Nothing,
        }
    }

    /// Takes a call that was told. `ENOENT`: its caller has ended, or turned to a signal.
    pub(super) fn receive(&mut self) -> Result<Notification, Errno> {
        // The kernel wants zeros.
        self.room.fill(0);
        let place = self.room.as_mut_ptr();
        self.answers.control(
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            address(place.cast_const().cast()),
        )?;
        let notification = place.cast_const().cast::<libc::seccomp_notif>();
        // SAFETY: the room is at least as large as the type and aligned as its widest field, and
        // every bit pattern is a value of it.
        let notification = unsafe { notification.read() };
        Ok(Notification {
            id: notification.id,
            thread: notification.pid,
            data: notification.data,
        })
    }

    /// What answers it.
    pub(super) fn answers(&self) -> Answers {
        self.answers
    }
}

/// A listener, to answer by; any thread may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers(c_int);

impl Answers {
    /// Lets a call go on. `ENOENT`: its caller is gone.
    pub(super) fn let_go_on(self, id: u64) -> Result<(), Errno> {
        self.send(id, Ok(0), libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE)
    }

    /// Answers a call in the kernel's place. `ENOENT`: its caller is gone.
    pub(super) fn answer(self, id: u64, result: Result<c_long, Errno>) -> Result<(), Errno> {
        self.send(id, result, 0)
    }

    fn send(self, id: u64, result: Result<c_long, Errno>, flags: c_ulong) -> Result<(), Errno> {
        let response = libc::seccomp_notif_resp {
            id,
            val: result.unwrap_or(0),
            error: result.err().map_or(0, |errno| -errno),
            flags: u32::try_from(flags).unwrap_or(0),
        };
        self.control(
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            address((&raw const response).cast()),
        )
        .map(|_| ())
    }

    /// Whether the descriptor is (still) a listener: it knows that no call has the number 0.
    fn is_listener(self) -> bool {
        let number: u64 = 0;
        let asked = self.control(
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            address((&raw const number).cast()),
        );
        asked == Err(libc::ENOENT)
    }

    fn control(self, request: libc::Ioctl, argument: c_long) -> Result<c_long, Errno> {
        let arguments = [c_long::from(self.0), request as c_long, argument, 0, 0, 0];
        // SAFETY: the requests above read or write what their argument points to, which is of the
        // size that the kernel asks for and outlives the call; another kind of descriptor does not
        // know these requests.
        unsafe { raw::system_call(libc::SYS_ioctl, arguments) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.answers.is_listener() {
            raw::close(self.answers.0);
        }
    }
}

/// Whether a thread of this process still exists.
pub(super) fn is_own_thread(thread: u32) -> bool {
    let process = crate::hook::ids::thread_and_process().1;
    let arguments = [process, thread].map(c_long::from);
    let arguments = [arguments[0], arguments[1], 0, 0, 0, 0];
    // SAFETY: no signal is sent; the kernel only looks whether it could be.
    unsafe { raw::system_call(libc::SYS_tgkill, arguments) }.is_ok()
}

/// Reads another task's memory, or one's own; how many bytes it was.
pub(super) fn read_memory(thread: u32, from: u64, to: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: to.as_mut_ptr().cast::<c_void>(),
        iov_len: to.len(),
    };
    let remote = libc::iovec {
        iov_base: ptr::without_provenance_mut(usize::try_from(from).map_err(|_| libc::EFAULT)?),
        iov_len: to.len(),
    };
    let thread = pid_t::try_from(thread).map_err(|_| libc::ESRCH)?;
    // SAFETY: the kernel writes at most `to.len()` bytes to it, and refuses addresses that the task
    // does not have.
    let read =
        unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| raw::errno())
}

/// A descriptor of another process, or of this one, copied into this one.
#[derive(Debug)]
pub(super) struct Copied(c_int);

impl Copied {
    /// Copies a descriptor of the process that this thread belongs to.
    pub(super) fn of(thread: u32, fd: c_int) -> Result<Self, Errno> {
        let process = open_process(thread)?;
        let arguments = [c_long::from(process), c_long::from(fd), 0, 0, 0, 0];
        // SAFETY: takes numbers only; the copy is a descriptor that nobody else knows.
        let copied = unsafe { raw::system_call(libc::SYS_pidfd_getfd, arguments) };
        raw::close(process);
        Ok(Self(c_int::try_from(copied?).map_err(|_| libc::EBADF)?))
    }

    pub(super) fn fd(&self) -> c_int {
        self.0
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        raw::close(self.0);
    }
}

/// A descriptor for a thread (Linux 6.9), or for its process.
fn open_process(thread: u32) -> Result<c_int, Errno> {
    const PIDFD_THREAD: c_long = libc::O_EXCL as c_long;
    let open = |id: u32, flags: c_long| {
        let arguments = [c_long::from(id), flags, 0, 0, 0, 0];
        // SAFETY: takes numbers only; the descriptor is one that nobody else knows.
        let fd = unsafe { raw::system_call(libc::SYS_pidfd_open, arguments) }?;
        c_int::try_from(fd).map_err(|_| libc::EBADF)
    };
    match open(thread, PIDFD_THREAD) {
        Err(libc::EINVAL) => open(super::task::process_of(thread).ok_or(libc::ESRCH)?, 0),
        other => other,
    }
}

fn register(bits: c_ulong) -> c_long {
    bits as c_long
}

fn address(pointer: *const c_void) -> c_long {
    pointer.addr() as c_long
}
