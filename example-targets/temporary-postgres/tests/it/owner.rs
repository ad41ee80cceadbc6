//! This test binary in another process, which owns a cluster and ends in a way that a test wants.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use temporary_postgres::{LEFT_OUT_ENV, REQUIRE_ENV, TemporaryPostgres};

/// What the owner is to do.
const ROLE_ENV: &str = "TEMPORARY_POSTGRES_OWNER";
/// Begins the lines that are for the test, among those of the test harness.
const MARK: &str = "owner says: ";

/// What an owner does after its cluster has started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Starts a cluster, and keeps it until its standard input ends.
    Keeps,
    /// Starts the shared one, and ends with it when its standard input does.
    Shares,
    /// Tells whether a test would be left out, and why there is no cluster.
    Tries,
}

impl Role {
    const ALL: [Self; 3] = [Self::Keeps, Self::Shares, Self::Tries];
}

/// Not a test of its own: the other process of the others.
#[test]
fn owner_in_another_process() {
    let Ok(name) = std::env::var(ROLE_ENV) else {
        return;
    };
    let role = Role::ALL
        .into_iter()
        .find(|role| format!("{role:?}") == name);
    let cluster;
    match role.expect("a role") {
        Role::Keeps => {
            cluster = TemporaryPostgres::start().unwrap();
            introduce(&cluster);
        }
        Role::Shares => {
            let shared = temporary_postgres::shared().unwrap();
            let again = temporary_postgres::shared().unwrap();
            assert!(std::ptr::eq(shared, again));
            introduce(shared);
        }
        Role::Tries => {
            say(&temporary_postgres::left_out().to_string());
            say(&match TemporaryPostgres::start() {
                Ok(_) => "started".to_owned(),
                Err(error) => format!("{error:?}").replace('\n', "|"),
            });
        }
    }
    // Ends when the test drops its end.
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

fn introduce(cluster: &TemporaryPostgres) {
    say(&cluster.socket_directory().display().to_string());
    say(&cluster.server_pid().unwrap().to_string());
    say(&cluster.url());
}

fn say(line: &str) {
    // On a line of its own, after what the harness writes without ending it.
    println!("\n{MARK}{line}");
    std::io::stdout().flush().unwrap();
}

/// An owner that runs.
pub(crate) struct Owner {
    pub(crate) process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Owner {
    pub(crate) fn start<'a>(
        role: Role,
        environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> Self {
        let binary = std::env::current_exe().unwrap();
        Self::spawn(Command::new(binary), role, environment)
    }

    pub(crate) fn spawn<'a>(
        mut command: Command,
        role: Role,
        environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> Self {
        let mut process = command
            .args(["--exact", "owner::owner_in_another_process", "--nocapture"])
            .env(ROLE_ENV, format!("{role:?}"))
            // Of the run that this test is part of.
            .env_remove(LEFT_OUT_ENV)
            .env_remove(REQUIRE_ENV)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Self {
            process,
            input,
            output,
        }
    }

    /// What it says next.
    pub(crate) fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let bytes = self.output.read_line(&mut line).expect("its output");
            assert!(bytes > 0, "the owner ended and said nothing");
            if let Some(said) = line.trim_end().strip_prefix(MARK) {
                return said.to_owned();
            }
        }
    }

    /// Its cluster: directory, server and URL.
    pub(crate) fn cluster(&mut self) -> (PathBuf, u32, String) {
        let directory = self.line();
        let server = self.line().parse().expect("an id");
        (PathBuf::from(directory), server, self.line())
    }

    /// Lets it end by itself.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).expect("its output");
        self.process.wait().expect("its status")
    }

    /// Kills it (`SIGKILL`).
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("its status");
    }
}

impl Drop for Owner {
    /// For a test that failed.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a directory has in it.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}
