//! A place for a temporary database: on a real disk, so that a sync is one.

use std::env;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tempfile::TempDir;
use temporary_postgres::{Database, TemporaryPostgres};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use work_queue::PostgresStore;

pub(crate) enum Place {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Place {
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Temporary(directory) => directory.path().join("queue.db"),
            Self::Given(path) => path.clone(),
        }
    }
}

pub(crate) fn sqlite(given: Option<&Path>) -> io::Result<Place> {
    match given {
        Some(path) => Ok(Place::Given(path.to_owned())),
        None => directory().map(Place::Temporary),
    }
}

/// Connects; an error says where, and no password.
pub(crate) async fn connect(url: &str) -> Result<PostgresStore, Box<dyn Error>> {
    PostgresStore::connect(url).await.map_err(|error| {
        let config: Option<Config> = url.parse().ok();
        let hosts: Vec<String> = config
            .iter()
            .flat_map(Config::get_hosts)
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("Postgres at {}: {error}", hosts.join(", ")).into()
    })
}

/// A Postgres database: a temporary server's is gone with this.
pub(crate) struct Server {
    url: String,
    _temporary: Option<(Database, TemporaryPostgres)>,
}

impl Server {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

pub(crate) fn postgres(given: Option<&str>) -> Result<Server, Box<dyn Error>> {
    if let Some(url) = given {
        return Ok(Server {
            url: url.to_owned(),
            _temporary: None,
        });
    }
    let server = TemporaryPostgres::builder().on_disk().settled().start()?;
    let database = server.fresh_database()?;
    Ok(Server {
        url: database.url(),
        _temporary: Some((database, server)),
    })
}

/// A directory that is on a disk, if there is one that may be written to.
pub(crate) fn directory() -> io::Result<TempDir> {
    let candidates = [env::temp_dir(), "/var/tmp".into(), env::current_dir()?];
    let on_disk = candidates
        .iter()
        .filter(|path| statfs(path.as_path()).is_ok_and(|it| it.filesystem_type() != TMPFS_MAGIC))
        .find_map(|path| tempfile::tempdir_in(path).ok());
    match on_disk {
        Some(directory) => Ok(directory),
        None => {
            eprintln!("work-queue: no directory on a disk: a sync costs nothing here");
            tempfile::tempdir()
        }
    }
}
