//! One session with the server, through psql, statement by statement.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use temporary_postgres::TemporaryPostgres;

use crate::Result;

/// How long a statement may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What psql prints when a statement is done.
const DONE: &str = "-- done --";

/// A session; psql ends when this is dropped.
pub(super) struct Session {
    psql: Child,
    statements: Option<ChildStdin>,
    answers: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

impl Session {
    pub(super) fn open(cluster: &TemporaryPostgres) -> Result<Self> {
        let mut psql = cluster
            .client("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--set", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let statements = psql.stdin.take();
        let output = psql.stdout.take().ok_or("psql has no output")?;
        let (sender, answers) = channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            psql,
            statements,
            answers,
            reader: Some(reader),
        })
    }

    /// Runs a statement and returns its lines.
    fn lines(&mut self, statement: &str) -> Result<Vec<String>> {
        let statements = self.statements.as_mut().ok_or("the session is closed")?;
        writeln!(statements, "{statement};\n\\echo {DONE}")?;
        statements.flush()?;
        let mut lines = Vec::new();
        loop {
            let line = self
                .answers
                .recv_timeout(PATIENCE)
                .map_err(|error| format!("psql gave no answer to {statement}: {error}"))?;
            if line == DONE {
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// Runs a statement that answers nothing.
    pub(super) fn run(&mut self, statement: &str) -> Result<()> {
        self.lines(statement).map(drop)
    }

    /// The only value that a query answers.
    pub(super) fn one(&mut self, query: &str) -> Result<String> {
        let lines = self.lines(query)?;
        match lines.as_slice() {
            [value] => Ok(value.clone()),
            _ => Err(format!("{query} answered {lines:?}").into()),
        }
    }

    /// Ends the session and waits for psql.
    pub(super) fn close(mut self) -> Result<()> {
        drop(self.statements.take());
        let status = self.psql.wait()?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| "the reader of psql panicked")?;
        }
        if status.success() {
            Ok(())
        } else {
            Err(format!("psql ended with {status}").into())
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.statements.take());
        if matches!(self.psql.try_wait(), Ok(None)) {
            // Both fail only where it has ended by itself.
            let _ = self.psql.kill();
            let _ = self.psql.wait();
        }
        if let Some(reader) = self.reader.take() {
            // It panics nowhere; what it would say is of no use here.
            let _ = reader.join();
        }
    }
}
