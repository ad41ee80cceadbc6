//! A cluster: its directory, its server, its databases.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::builder::Builder;
use crate::database::{Database, PORT, ROLE};
use crate::error::Error;
use crate::guardian::Guardian;
use crate::installation::Installation;
use crate::server::{Server, Stop};
use crate::template;

/// The longest path of a socket: the size of `sun_path`, less the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A cluster of its own; stopped and removed when this is dropped or the process ends.
#[derive(Debug)]
pub struct TemporaryPostgres {
    installation: Installation,
    guardian: Guardian,
    settings: Vec<(String, String)>,
    /// `None`: stopped.
    server: Option<Server>,
    /// How many fresh ones there are.
    databases: AtomicU64,
}

impl TemporaryPostgres {
    /// Makes a cluster with the server's default settings in the system's directory for temporary
    /// files, starts it, and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// When no server is installed or it can't be started; see [`Error`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// For another directory or other settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn create(builder: Builder) -> Result<Self, Error> {
        let installation = Installation::find()?;
        let mut guardian = Guardian::over_a_directory_in(&builder.location.resolve()?)?;
        let root = guardian.root().to_owned();
        let socket = root.join(format!(".s.PGSQL.{PORT}"));
        let bytes = socket.as_os_str().as_bytes().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(Error::SocketPathTooLong {
                path: socket,
                bytes,
                at_most: SOCKET_PATH_BYTES_MAX,
            });
        }
        if let Some(user) = installation.user() {
            chown(&root, Some(user.user), Some(user.group))
                .map_err(Error::io("give the server's user", &root))?;
        }
        template::make_data_directory(&installation, &mut guardian, builder.templates.as_deref())?;
        if builder.settled {
            template::sync(&root).map_err(Error::io("sync", &root))?;
        }
        Ok(Self {
            server: None,
            settings: builder.settings,
            databases: AtomicU64::new(0),
            installation,
            guardian,
        })
    }

    /// The directory of the server's socket: what clients call the host.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.guardian.root()
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_directory(&self) -> std::path::PathBuf {
        self.guardian.root().join("data")
    }

    /// The port in the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        PORT
    }

    /// How to reach the database [`ROLE`]; see [`Database::connection_string`].
    #[must_use]
    pub fn connection_string(&self) -> String {
        self.database(ROLE).connection_string()
    }

    /// How to reach the database [`ROLE`]; see [`Database::url`].
    #[must_use]
    pub fn url(&self) -> String {
        self.database(ROLE).url()
    }

    /// The server's version, as it names it: `15.18 (Debian 15.18-0+deb12u1)`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.installation.version()
    }

    /// The id of the server's first process (the postmaster), a child of this one; `None` while it
    /// is stopped.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::id)
    }

    /// Everything that the server has logged.
    ///
    /// # Errors
    ///
    /// When the log can't be read.
    pub fn log(&self) -> Result<String, Error> {
        let log = self.guardian.root().join("log");
        let text = fs::read(&log).map_err(Error::io("read the server's log", &log))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// One of the installation's client programs, such as `psql` or `pgbench`, told how to reach
    /// this cluster; run as the server's user, without the caller's environment.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let root = self.guardian.root();
        let mut command = self.installation.command(program, root);
        command
            .arg("--host")
            .arg(root)
            .arg("--port")
            .arg(PORT.to_string())
            .args(["--username", ROLE]);
        command
    }

    /// A database that is already there, by its name.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.guardian.root(), name)
    }

    /// Creates an empty database.
    ///
    /// # Errors
    ///
    /// When there is one of that name, or the server does not run.
    pub fn create_database(&self, name: &str) -> Result<Database, Error> {
        let output = self
            .client("psql")
            .args(["--no-psqlrc", "--quiet", "--dbname", ROLE, "--command"])
            .arg(format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))
            .output()
            .map_err(self.installation.not_run("psql", self.guardian.root()))?;
        if output.status.success() {
            Ok(self.database(name))
        } else {
            Err(Error::CreateDatabase {
                name: name.to_owned(),
                output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            })
        }
    }

    /// Creates an empty database under a name that no other of this cluster has.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn fresh_database(&self) -> Result<Database, Error> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        self.create_database(&format!("fresh_{number}"))
    }

    /// Stops the server, and waits until its last process is gone. Nothing happens where it is
    /// stopped already.
    ///
    /// # Errors
    ///
    /// When a fast shutdown was asked for, and the server ended in another way: it had crashed.
    pub fn stop(&mut self, how: Stop) -> Result<(), Error> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let status = server.stop(how, &mut self.guardian)?;
        if how == Stop::Fast && !status.success() {
            return Err(Error::NotStopped {
                status,
                log: crate::server::tail(&self.guardian.root().join("log")),
            });
        }
        Ok(())
    }

    /// Starts the server after a [`stop`](Self::stop), and waits until it takes connections. After
    /// an immediate one it recovers first. Nothing happens where it was not stopped.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if self.server.is_none() {
            let server = Server::start(&self.installation, &mut self.guardian, &self.settings)?;
            self.server = Some(server);
        }
        Ok(())
    }

    /// Stops the server and starts it again: same directory, same socket, other processes.
    ///
    /// # Errors
    ///
    /// Those of [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn restart(&mut self, how: Stop) -> Result<(), Error> {
        self.stop(how)?;
        self.start_again()
    }
}

impl Drop for TemporaryPostgres {
    /// What the server holds is lost anyway, so it does not take the time of a checkpoint.
    fn drop(&mut self) {
        if let Err(error) = self.stop(Stop::Immediate) {
            // The guardian tries after this, too.
            eprintln!("{error:?}");
        }
    }
}

/// Makes `<root>/data` with the installation's `initdb`.
pub(crate) fn initdb(installation: &Installation, guardian: &mut Guardian) -> Result<(), Error> {
    let root = guardian.root().to_owned();
    let mut command = installation.command("initdb", &root);
    command
        .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        .arg(format!("--username={ROLE}"))
        .arg("--pgdata")
        .arg(root.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = guardian
        .spawn(command)
        .and_then(std::process::Child::wait_with_output)
        .map_err(installation.not_run("initdb", &root))?;
    guardian
        .ended()
        .map_err(Error::io("tell the guardian of", &root))?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Initdb {
        status: output.status,
        output: said.trim().to_owned(),
    })
}
