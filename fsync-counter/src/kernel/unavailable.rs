//! Why there is no kernel scope here.

use std::fmt;

/// Why a kernel scope can't be opened: never a count of zero.
///
/// Its `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelScopeUnavailable {
    /// The platform has no such scope.
    Unsupported {
        /// What is missing.
        why: &'static str,
    },
    /// The calling thread is watched already (`EBUSY`): by another kernel scope around this one,
    /// or by the supervisor of its container.
    Nested,
    /// The kernel does not know this kind of filter (`EINVAL`): Linux before 5.5, or a sandbox
    /// with a kernel of its own (gVisor).
    NotOffered,
    /// A policy forbids filters (`EPERM` or `EACCES`): that of a container or of a security
    /// module.
    NotAllowed {
        /// The `errno`.
        errno: i32,
    },
    /// The kernel was built without filters, or a sandbox hides them (`ENOSYS`).
    NoFilters,
    /// Something else went wrong.
    Failed {
        /// What was tried.
        what: &'static str,
        /// The `errno`.
        errno: i32,
    },
}

impl fmt::Display for KernelScopeUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ELSE: &str = "count with `Scope` or `FsyncCounter`, which need nothing of the kernel \
                            and see what goes through the C library of this process";
        f.write_str("no kernel scope here: ")?;
        match self {
            Self::Unsupported { why } => write!(f, "{why}\n{ELSE}"),
            Self::Nested => write!(
                f,
                "this thread is watched already (EBUSY), by a kernel scope around this one or by \
                 the supervisor of its container\n\
                 the kernel allows one such watcher a thread: use what the outer scope counts, or \
                 open this one on a thread that was started outside of it"
            ),
            Self::NotOffered => write!(
                f,
                "the kernel does not know seccomp's user notification (EINVAL): Linux before 5.5, \
                 or a sandbox with a kernel of its own such as gVisor\n{ELSE}"
            ),
            Self::NotAllowed { errno } => write!(
                f,
                "a policy forbids seccomp filters (errno {errno})\n\
                 allow `seccomp` and `prctl` in the container's profile, or {ELSE}"
            ),
            Self::NoFilters => write!(
                f,
                "the kernel has no seccomp filters, or a sandbox hides them (ENOSYS)\n{ELSE}"
            ),
            Self::Failed { what, errno } => {
                write!(
                    f,
                    "failed to {what}: {}",
                    std::io::Error::from_raw_os_error(*errno)
                )
            }
        }
    }
}

impl std::error::Error for KernelScopeUnavailable {}
