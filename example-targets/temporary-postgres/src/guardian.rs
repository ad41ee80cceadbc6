//! The cluster's directory, and the process that removes it when its owner is gone.
//!
//! A destructor does not run in a process that is killed, and a `static` has none. So a shell
//! (`guardian.sh`) makes the directory, waits until the pipe from its owner closes, which the
//! kernel does whatever happens to the owner, kills what runs in the directory, waits until the
//! last of its processes is gone, and removes it. A guardian that is itself killed leaves what its
//! owner then does not remove in its destructor.

use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{fs, io};

use crate::error::Error;

const SCRIPT: &str = include_str!("guardian.sh");

#[derive(Debug)]
pub(crate) struct Guardian {
    root: PathBuf,
    shell: Child,
    pipes: Option<Pipes>,
}

#[derive(Debug)]
struct Pipes {
    /// Closed: the owner is gone.
    owner: ChildStdin,
    /// Held by what runs in the directory, too. Closed by all: nothing runs there.
    leash: PipeWriter,
}

impl Guardian {
    /// Makes a directory in `base`.
    pub(crate) fn over_a_directory_in(base: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::Directory {
            base: base.to_owned(),
            why: error.to_string(),
        };
        let (ended, leash) = io::pipe().map_err(failed)?;
        let mut shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg("temporary-postgres-guardian")
            .arg(base)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(ended)
            .stderr(Stdio::piped())
            // A signal to the owner's group, of a terminal or of a test runner, is not for it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (Some(owner), Some(reply)) = (shell.stdin.take(), shell.stderr.take()) else {
            unreachable!("both are pipes");
        };
        let mut line = String::new();
        let read = BufReader::new(reply).read_line(&mut line);
        // From here on it ends, and is reaped, when this is dropped.
        let mut guardian = Self {
            root: PathBuf::new(),
            shell,
            pipes: Some(Pipes { owner, leash }),
        };
        read.map_err(failed)?;
        match line.trim_end().strip_prefix("made ") {
            Some(root) => guardian.root = PathBuf::from(root),
            None => {
                return Err(Error::Directory {
                    base: base.to_owned(),
                    why: line.trim_end().to_owned(),
                });
            }
        }
        Ok(guardian)
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Starts what runs in the directory, in a process group of its own; one at a time. Its
    /// standard input is what tells the guardian that it runs.
    pub(crate) fn spawn(&mut self, mut command: Command) -> io::Result<Child> {
        let Some(pipes) = &mut self.pipes else {
            unreachable!("only a dropped guardian has none");
        };
        let mut child = command
            .stdin(pipes.leash.try_clone()?)
            .process_group(0)
            .spawn()?;
        if let Err(error) = writeln!(pipes.owner, "{}", child.id()) {
            // The guardian is gone, and with it the promise.
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        Ok(child)
    }

    /// What was started has ended; its id may soon be another's.
    pub(crate) fn ended(&mut self) -> io::Result<()> {
        match &mut self.pipes {
            Some(pipes) => writeln!(pipes.owner),
            None => Ok(()),
        }
    }
}

impl Drop for Guardian {
    /// Waits until the directory is gone.
    fn drop(&mut self) {
        drop(self.pipes.take());
        let status = self.shell.wait();
        if status.is_ok_and(|status| status.success()) || self.root.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.root)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("failed to remove {}: {error}", self.root.display());
        }
    }
}
