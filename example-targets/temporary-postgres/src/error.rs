//! What can go wrong, with the cure on a second line.
//!
//! Each error is a fragment that reads after "failed to"; its cause is in `source()`. A test that
//! unwraps one shows its `Debug`, which is therefore the text with the causes, and no structure.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::installation::BIN_ENV;

/// Why there is no cluster, or why it did not do what it should.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no server here.
    #[error(
        "find a PostgreSQL server {searched}\n  install one (apt-get install postgresql, brew \
         install postgresql), or name the folder of its programs in {BIN_ENV}"
    )]
    NotInstalled {
        /// Where none was found.
        searched: String,
    },

    /// A folder has the server's programs, but they don't run.
    #[error(
        "ask {} for its version: {output}\n  repair that installation, or name another one's \
         folder in {BIN_ENV}", program.display()
    )]
    BadInstallation {
        /// The server.
        program: PathBuf,
        /// What came instead.
        output: String,
    },

    /// The caller is root, as whom the server does not run, and there is nobody else.
    #[error(
        "find a user to run PostgreSQL as: it refuses to run as root, and /etc/passwd has none of \
         {candidates}\n  add one (useradd --system postgres), or run as another user than root"
    )]
    NoUnprivilegedUser {
        /// The names that were tried.
        candidates: String,
    },

    /// The setting is not for the caller to choose.
    #[error("set {name}: {why}\n  leave {name} out")]
    SettingRefused {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },

    /// No directory could be made for the cluster.
    #[error(
        "make a directory for the cluster in {}: {why}\n  name another directory, with TMPDIR or \
         with Builder::inside", base.display()
    )]
    Directory {
        /// In which directory.
        base: PathBuf,
        /// What the operating system said.
        why: String,
    },

    /// The path of the server's socket is longer than the operating system allows.
    #[error(
        "use the socket {}: its path has {bytes} bytes (at most {at_most} are allowed)\n  name a \
         directory with a shorter path, with TMPDIR or with Builder::inside", path.display()
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        at_most: usize,
    },

    /// A program did not even start.
    #[error(
        "run {} as {user} in {}\n  let {user} enter that directory and those above it, or name \
         another with TMPDIR or with Builder::inside", program.display(), directory.display()
    )]
    Run {
        /// Which.
        program: PathBuf,
        /// As whom.
        user: String,
        /// Where.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// `initdb` failed.
    #[error("make a cluster with initdb ({status}):\n{output}\n  see what initdb says")]
    Initdb {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },

    /// The server ended, or took too long, before it took connections.
    #[error("start the server ({why}); its log ends with\n{log}\n  see what the server says")]
    NotStarted {
        /// How it ended.
        why: String,
        /// The last lines of its log.
        log: String,
    },

    /// A server that was asked for a fast shutdown ended in another way.
    #[error(
        "stop the server in an orderly way ({status}); its log ends with\n{log}\n  see what the \
         server says"
    )]
    NotStopped {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },

    /// The server refused to create the database.
    #[error("create the database {name}: {output}\n  see what the server says")]
    CreateDatabase {
        /// Which.
        name: String,
        /// What psql said.
        output: String,
    },

    /// The operating system refused something.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, "\n  because: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error {
    /// For `map_err` at a call into the operating system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
