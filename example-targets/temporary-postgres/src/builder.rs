//! What a cluster is to be like.

use std::path::PathBuf;

use crate::cluster::TemporaryPostgres;
use crate::error::Error;
use crate::location::Location;
use crate::template;

/// Settings that this crate makes itself.
const OURS: [&str; 4] = [
    "listen_addresses",
    "unix_socket_directories",
    "port",
    "data_directory",
];
/// Settings that stay at their defaults: figures and crash tests that were made with others would
/// say nothing about a server that people run.
const DURABILITY: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// Starts a cluster that is not quite the default one.
///
/// ```no_run
/// # fn main() -> Result<(), temporary_postgres::Error> {
/// let postgres = temporary_postgres::TemporaryPostgres::builder()
///     .setting("shared_buffers", "512MB")
///     .on_disk()
///     .settled()
///     .start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it starts nothing by itself"]
pub struct Builder {
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) location: Location,
    pub(crate) settled: bool,
    pub(crate) templates: Option<PathBuf>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Vec::new(),
            location: Location::default(),
            settled: false,
            templates: template::from_env(),
        }
    }

    /// A setting of the server, as in `postgresql.conf`. Not `fsync`, `synchronous_commit` or
    /// `full_page_writes`, and not where it listens.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// In a new directory inside this one, which the server's user must be able to enter. The
    /// default is the system's directory for temporary files (`TMPDIR`).
    pub fn inside(mut self, directory: impl Into<PathBuf>) -> Self {
        self.location = Location::Inside(directory.into());
        self
    }

    /// On a disk, where a sync costs what it costs: in the system's directory for temporary
    /// files, or in `/var/tmp` where that is in memory.
    pub fn on_disk(mut self) -> Self {
        self.location = Location::Disk;
        self
    }

    /// Started only after what `initdb` wrote is on the disk, for measurements: otherwise the
    /// kernel writes it back in the first half minute, beside what is measured.
    pub fn settled(mut self) -> Self {
        self.settled = true;
        self
    }

    /// Copies the cluster from a template that is kept in this directory, and made there where it
    /// is missing: faster than `initdb`. The default is what [`TEMPLATES_ENV`] names, and
    /// no template where it names none.
    ///
    /// [`TEMPLATES_ENV`]: crate::TEMPLATES_ENV
    pub fn templates(mut self, directory: impl Into<PathBuf>) -> Self {
        self.templates = Some(directory.into());
        self
    }

    /// Made by `initdb`, whatever [`TEMPLATES_ENV`](crate::TEMPLATES_ENV) names.
    pub fn without_template(mut self) -> Self {
        self.templates = None;
        self
    }

    /// Makes the cluster and starts it.
    ///
    /// # Errors
    ///
    /// When no server is installed or it can't be started; see [`Error`].
    pub fn start(self) -> Result<TemporaryPostgres, Error> {
        let mut cluster = self.create()?;
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Makes the cluster and does not start it; [`TemporaryPostgres::start_again`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`].
    pub fn create(self) -> Result<TemporaryPostgres, Error> {
        for (name, _) in &self.settings {
            // As the server reads names on its command line.
            let plain = name.trim().to_ascii_lowercase().replace('-', "_");
            let why = if DURABILITY.contains(&plain.as_str()) {
                "a temporary cluster is as durable as one that is kept"
            } else if OURS.contains(&plain.as_str()) {
                "it listens on a socket in its own directory, and nowhere else"
            } else {
                continue;
            };
            return Err(Error::SettingRefused {
                name: name.clone(),
                why,
            });
        }
        TemporaryPostgres::create(self)
    }
}
