//! Where a sync was called from.

use std::path::PathBuf;

/// Where a sync was called from, as far as it can be told while its caller waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The hook forwarded it: it went through the C library's function.
    Hook,
    /// Machine code of this process that is not the hook's.
    Code {
        /// The program or library that the code belongs to; `None` for code of no file.
        object: Option<PathBuf>,
        /// Where in that file the system call stands.
        offset: u64,
    },
    /// Another process.
    Child {
        /// Its name (`/proc/<process>/comm`).
        command: String,
    },
}
