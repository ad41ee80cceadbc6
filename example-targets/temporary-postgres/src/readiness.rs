//! Waits until a server that was started takes connections, or has ended.
//!
//! The server writes how far it is into `postmaster.pid`. On Linux a change of that file wakes the
//! waiting; elsewhere, and where the user's limit of inotify instances is reached, it is looked at
//! in short intervals. The end of the server wakes it everywhere.

use std::fs;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often to look where nothing tells of a change.
const INTERVAL: Duration = Duration::from_millis(5);

/// How the waiting ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It takes connections.
    Ready,
    /// All its processes are gone.
    Ended,
    /// Neither, in the time that it had.
    TooLate,
}

/// Changes in a data directory, from when this was made.
pub(crate) struct Changes(Option<OwnedFd>);

impl Changes {
    #[cfg(target_os = "linux")]
    pub(crate) fn of(data: &Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = || {
            let changes = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            add_watch(&changes, data, WatchFlags::CREATE | WatchFlags::MODIFY)?;
            rustix::io::Result::Ok(changes)
        };
        Self(watch().ok())
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_data: &Path) -> Self {
        Self(None)
    }

    /// Waits for the server of this id; `alive` ends when its last process does.
    pub(crate) fn wait_until_ready(
        &self,
        data: &Path,
        server: u32,
        alive: &PipeReader,
        patience: Duration,
    ) -> rustix::io::Result<Outcome> {
        let begun = Instant::now();
        loop {
            // Taken before the file is read: what comes later wakes the poll.
            self.forget();
            if is_ready(
                &fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default(),
                server,
            ) {
                return Ok(Outcome::Ready);
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(Outcome::TooLate);
            }
            let mut sources = vec![PollFd::new(alive, PollFlags::IN)];
            let interval = match &self.0 {
                Some(changes) => {
                    sources.push(PollFd::new(changes, PollFlags::IN));
                    left
                }
                None => left.min(INTERVAL),
            };
            let timeout = Timespec::try_from(interval).ok();
            match poll(&mut sources, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            // Nothing is ever written there.
            if !sources[0].revents().is_empty() {
                return Ok(Outcome::Ended);
            }
        }
    }

    fn forget(&self) {
        if let Some(changes) = &self.0 {
            let mut events = [0; 4096];
            // Ends with EAGAIN when there are no more.
            while rustix::io::read(changes, &mut events).is_ok_and(|bytes| bytes > 0) {}
        }
    }
}

/// Whether the lines of `postmaster.pid` are those of this server, and say that it is ready. Those
/// of one that was killed stay behind.
fn is_ready(lines: &str, server: u32) -> bool {
    let mut lines = lines.lines();
    lines.next().and_then(|line| line.parse().ok()) == Some(server)
        && lines.nth(6).is_some_and(|line| line.trim_end() == "ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "4711\n/tmp/data\n1790000000\n5432\n/tmp\n\n  1234 5\nready   \n";

    #[test]
    fn ready_is_what_this_server_says_of_itself() {
        assert!(is_ready(LINES, 4711));
        assert!(!is_ready(LINES, 4712));
        assert!(!is_ready(&LINES.replace("ready   ", "starting"), 4711));
        assert!(!is_ready("4711\n/tmp/data\n", 4711));
        assert!(!is_ready("", 4711));
    }
}
