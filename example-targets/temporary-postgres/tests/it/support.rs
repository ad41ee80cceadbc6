//! A client, and processes that are watched until they end.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A guard of liveness, far above what anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs statements in a session of their own and returns the values of the last column of rows.
pub(crate) fn query(url: &str, statements: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(statements).await?;
        drop(client);
        connection.await.expect("no panic")?;
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(row.len() - 1).map(str::to_owned),
            _ => None,
        };
        Ok(messages.iter().filter_map(value).collect())
    })
}

/// The one value that a query answers.
pub(crate) fn one(url: &str, statements: &str) -> String {
    let values = query(url, statements).expect("an answer");
    let [value] = &values[..] else {
        panic!("{statements} answered {values:?}");
    };
    value.clone()
}

/// Processes that are known by more than their ids, which the kernel may give to others.
pub(crate) struct Processes(Vec<(u32, String, OwnedFd)>);

impl Processes {
    /// This process's descendants, itself included.
    pub(crate) fn below(ancestor: u32) -> Self {
        let all: Vec<(u32, u32, String)> = fs::read_dir("/proc")
            .expect("the kernel's list of processes")
            .flatten()
            .filter_map(|entry| {
                let process = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                // `1 (name) S 0 …`, where the name may have anything in it.
                let (name, rest) = stat.rsplit_once(") ")?;
                let parent = rest.split(' ').nth(1)?.parse().ok()?;
                Some((process, parent, name.split_once('(')?.1.to_owned()))
            })
            .collect();
        let mut found = vec![ancestor];
        let mut at = 0;
        while at < found.len() {
            let parent = found[at];
            found.extend(all.iter().filter(|it| it.1 == parent).map(|it| it.0));
            at += 1;
        }
        let watched = found.into_iter().filter_map(|process| {
            let pid = Pid::from_raw(process.try_into().ok()?)?;
            let name = all.iter().find(|it| it.0 == process)?.2.clone();
            Some((process, name, pidfd_open(pid, PidfdFlags::empty()).ok()?))
        });
        Self(watched.collect())
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|it| it.1 == name).count()
    }

    /// Those that still run.
    pub(crate) fn running(&self) -> Vec<String> {
        self.running_after(Duration::ZERO)
    }

    /// Waits until all have ended.
    pub(crate) fn wait(&self) {
        assert_eq!(self.running_after(PATIENCE), [""; 0], "they don't end");
    }

    fn running_after(&self, patience: Duration) -> Vec<String> {
        let begun = Instant::now();
        self.0
            .iter()
            .filter(|(_, _, watched)| {
                let left = patience.saturating_sub(begun.elapsed());
                let timeout = Timespec::try_from(left).expect("a short time");
                let mut sources = [PollFd::new(watched, PollFlags::IN)];
                poll(&mut sources, Some(&timeout)).expect("a poll") == 0
            })
            .map(|(process, name, _)| format!("{process} {name}"))
            .collect()
    }

    /// Shared memory that they made and that is still there: it outlives who does not remove it.
    pub(crate) fn shared_memory(&self) -> Vec<String> {
        let segments = fs::read_to_string("/proc/sysvipc/shm").expect("the kernel's list");
        segments
            .lines()
            .filter(|segment| {
                let creator = segment.split_whitespace().nth(4);
                let creator = creator.and_then(|creator| creator.parse().ok());
                self.0.iter().any(|it| Some(it.0) == creator)
            })
            .map(str::to_owned)
            .collect()
    }
}
