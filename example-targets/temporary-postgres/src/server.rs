//! A running server: a child of this process, started and stopped through the guardian.

use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::database::PORT;
use crate::error::Error;
use crate::guardian::Guardian;
use crate::installation::Installation;
use crate::readiness::{Changes, Outcome};

/// How long a start may take; far above what it needs, recovery included.
const PATIENCE: Duration = Duration::from_mins(1);
/// How many of the log's last lines an error shows.
const LOG_LINES: usize = 20;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Sessions are cut and rolled back, and a checkpoint is written: the next start recovers
    /// nothing.
    Fast,
    /// All processes quit where they are, as in a crash: the next start recovers from the log. It
    /// begins with a sync of every file, which a busy disk makes take seconds.
    Immediate,
}

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Ends when the last process of the server does, backends included. Nothing is written to it.
    alive: PipeReader,
}

impl Server {
    /// Starts it and waits until it takes connections.
    pub(crate) fn start(
        installation: &Installation,
        guardian: &mut Guardian,
        settings: &[(String, String)],
    ) -> Result<Self, Error> {
        let root = guardian.root().to_owned();
        let data = root.join("data");
        let log = root.join("log");
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Error::io("open the server's log", &log))?;
        let (alive, held) = io::pipe().map_err(Error::io("make a pipe for", &root))?;

        let mut command = installation.command("postgres", &root);
        command.arg("-D").arg(&data);
        let ours = [
            ("listen_addresses", String::new()),
            ("unix_socket_directories", root.display().to_string()),
            ("port", PORT.to_string()),
        ];
        for (name, value) in ours {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(held).stderr(log_file);

        let changes = Changes::of(&data);
        let child = guardian
            .spawn(command)
            .map_err(installation.not_run("postgres", &root))?;
        let mut server = Self { child, alive };
        let outcome = changes
            .wait_until_ready(&data, server.id(), &server.alive, PATIENCE)
            .map_err(|error| Error::io("wait for the server in", &root)(error.into()));
        let why = match outcome {
            Ok(Outcome::Ready) => return Ok(server),
            Ok(Outcome::Ended) => None,
            Ok(Outcome::TooLate) => Some(format!("not ready after {} s", PATIENCE.as_secs())),
            Err(error) => {
                server.stop(Stop::Immediate, guardian)?;
                return Err(error);
            }
        };
        let status = server.stop(Stop::Immediate, guardian)?;
        Err(Error::NotStarted {
            why: why.unwrap_or_else(|| status.to_string()),
            log: tail(&log),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it and waits until its last process is gone.
    pub(crate) fn stop(&mut self, how: Stop, guardian: &mut Guardian) -> Result<ExitStatus, Error> {
        let root = guardian.root().to_owned();
        let failed = || Error::io("stop the server in", &root);
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        let process = Pid::from_child(&self.child);
        // It is not reaped yet, so the id is still its own, also when it has ended.
        kill_process(process, signal)
            .and_then(|()| kill_process(process, Signal::CONT))
            .map_err(|error| failed()(error.into()))?;
        let mut nothing = [0];
        while self.alive.read(&mut nothing).map_err(failed())? > 0 {}
        // Before it is reaped: the guardian must not kill by an id that may be another's.
        let told = guardian.ended();
        let status = self.child.wait().map_err(failed())?;
        told.map_err(failed())?;
        Ok(status)
    }
}

/// The last lines of the server's log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
