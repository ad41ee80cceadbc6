//! The command: started, waited for, and how it ended.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::{Ended, Phase, Session};

/// Runs the command to its end, on the thread that is watched.
pub(super) fn run(session: &Session) -> io::Result<()> {
    let mut command = Command::new(&session.command[0]);
    command.args(&session.command[1..]);
    if session.form.json && session.file.is_none() {
        // Standard output is the report's.
        command.stdout(stderr()?);
    }
    let begin = Instant::now();
    let mut child = command.spawn()?;
    session.enter(Phase::Running(child.id()));
    let status = child.wait()?;
    session.enter(Phase::Lingering(Ended {
        status,
        after: begin.elapsed(),
    }));
    Ok(())
}

#[cfg(unix)]
fn stderr() -> io::Result<Stdio> {
    use std::os::fd::AsFd;
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn stderr() -> io::Result<Stdio> {
    Ok(Stdio::null())
}

/// The signal that ended it.
#[cfg(unix)]
pub(super) fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
pub(super) fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}
