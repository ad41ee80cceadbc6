//! A temporary cluster: made, started, ended, removed.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::Result;

/// How long the server may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// No network: only the name of the socket.
pub(super) const PORT: &str = "5432";
/// The cluster's only role and database.
pub(super) const ROLE: &str = "postgres";

/// The programs of a PostgreSQL server.
pub(super) struct Installation {
    programs: PathBuf,
    /// Whom the server runs as; `None`: as the caller. It refuses to run as root.
    user: Option<(u32, u32)>,
    /// With it the server ends even when the study is killed and can't end it.
    setpriv: Option<PathBuf>,
}

/// What an installation must have.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];

/// The first folder that has all of them.
fn with_all<'a>(
    folders: impl IntoIterator<Item = &'a PathBuf>,
    programs: &[&str],
) -> Option<&'a PathBuf> {
    folders
        .into_iter()
        .find(|folder| programs.iter().all(|it| folder.join(it).is_file()))
}

impl Installation {
    /// That on `PATH`, else the newest of Debian's; `None` where there is none.
    ///
    /// # Errors
    /// When it is there and the caller is root, but there is no user to run it as.
    pub(super) fn find() -> Result<Option<Self>> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let on_path: Vec<PathBuf> = std::env::split_paths(&paths).collect();
        let debian = debian(Path::new("/usr/lib/postgresql"));
        let Some(programs) = with_all(on_path.iter().chain(&debian), &PROGRAMS) else {
            return Ok(None);
        };
        let user = if geteuid().is_root() {
            let users = fs::read_to_string("/etc/passwd")?;
            let user = ["postgres", "nobody"]
                .iter()
                .find_map(|name| find_user(&users, name));
            if user.is_none() {
                return Err(
                    "PostgreSQL does not run as root, and there is no user postgres or \
                            nobody"
                        .into(),
                );
            }
            user
        } else {
            None
        };
        let setpriv = with_all(&on_path, &["setpriv"]);
        Ok(Some(Self {
            programs: programs.clone(),
            user,
            setpriv: setpriv.map(|folder| folder.join("setpriv")),
        }))
    }

    /// One of its programs, as the right user and with nothing of the caller's settings.
    fn command(&self, program: &str, root: &Path) -> Command {
        self.prepared(Command::new(self.programs.join(program)), root)
    }

    /// The server: it is asked to end when the thread that started it does.
    fn server(&self, root: &Path) -> Command {
        let postgres = self.programs.join("postgres");
        let Some(setpriv) = &self.setpriv else {
            return self.prepared(Command::new(postgres), root);
        };
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "INT"]).arg(postgres);
        self.prepared(command, root)
    }

    fn prepared(&self, mut command: Command, root: &Path) -> Command {
        command
            .env_clear()
            .env("PATH", &self.programs)
            .env("LC_ALL", "C")
            .current_dir(root)
            .stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// The folders of Debian's versions, the newest first.
fn debian(root: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, path)| path).collect()
}

/// The ids of a user, by the lines of `/etc/passwd`.
fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let user = fields.nth(1)?.parse().ok()?;
        Some((user, fields.next()?.parse().ok()?))
    })
}

/// A cluster's directory, removed when this is dropped.
pub(super) struct Cluster<'a> {
    installation: &'a Installation,
    root: PathBuf,
    _directory: TempDir,
}

impl<'a> Cluster<'a> {
    /// Makes the cluster; starts nothing.
    pub(super) fn create(installation: &'a Installation) -> Result<Self> {
        // In the system's directory for temporary files: the path of a socket must be short, and
        // the server's user must be let in.
        let directory = tempfile::Builder::new().prefix("engines-").tempdir()?;
        let root = directory.path().canonicalize()?;
        if let Some((user, group)) = installation.user {
            chown(&root, Some(user), Some(group))?;
        }
        let output = installation
            .command("initdb", &root)
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--username={ROLE}"))
            .arg("--pgdata")
            .arg(root.join("data"))
            .output()?;
        if !output.status.success() {
            return Err(format!(
                "initdb failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
            .into());
        }
        Ok(Self {
            installation,
            root,
            _directory: directory,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A client of this cluster.
    pub(super) fn client(&self, program: &str) -> Command {
        let mut command = self.installation.command(program, &self.root);
        command
            .arg("--host")
            .arg(&self.root)
            .args(["--port", PORT, "--username", ROLE]);
        command
    }

    /// Starts the server and waits until it takes connections.
    ///
    /// Settings that matter to durability are the default ones; what would work in the background
    /// at times of its own choosing is put off.
    pub(super) fn start(&self) -> Result<Server> {
        let log = self.root.join("log");
        let log_file = File::create(&log)?;
        let mut command = self.installation.server(&self.root);
        command.arg("-D").arg(self.root.join("data"));
        for setting in [
            "listen_addresses=",
            &format!("unix_socket_directories={}", self.root.display()),
            &format!("port={PORT}"),
            "autovacuum=off",
            "checkpoint_timeout=1d",
        ] {
            command.args(["-c", setting]);
        }
        command.stdout(log_file.try_clone()?).stderr(log_file);
        let mut server = Server(command.spawn()?);
        let begun = Instant::now();
        loop {
            if let Some(status) = server.0.try_wait()? {
                return Err(format!(
                    "PostgreSQL did not start ({status}): {}",
                    fs::read_to_string(log).unwrap_or_default().trim()
                )
                .into());
            }
            let ready = self
                .client("psql")
                .args(["--no-psqlrc", "--quiet", "--command", "SELECT"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if ready.success() {
                return Ok(server);
            }
            if begun.elapsed() > PATIENCE {
                return Err("PostgreSQL did not start in time".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A running server; it ends when this is dropped.
pub(super) struct Server(Child);

impl Server {
    /// Ends it in an orderly way.
    pub(super) fn end(mut self) -> Result<()> {
        self.stop(Signal::INT)?;
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("PostgreSQL ended with {status}").into())
        }
    }

    /// Sends the signal and waits until it has ended, or for [`PATIENCE`].
    fn stop(&mut self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.0), signal)?;
        let begun = Instant::now();
        while self.0.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                return Err("PostgreSQL did not end in time".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    /// Fast shutdown, then immediate, then without asking; its children end with it in each case.
    fn drop(&mut self) {
        for signal in [Signal::INT, Signal::QUIT] {
            if !matches!(self.0.try_wait(), Ok(None)) || self.stop(signal).is_ok() {
                return;
            }
        }
        // Fails only where it has ended by now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:5:6::/:/bin/sh\n\
                     postgres:x:101:104:PostgreSQL,,,:/var:/bin/bash\n";
        assert_eq!(find_user(users, "postgres"), Some((101, 104)));
        assert_eq!(find_user(users, "nobody"), None);
    }

    #[test]
    fn a_folder_that_lacks_a_program_is_no_installation() {
        let root = tempfile::tempdir().unwrap();
        let [half, whole] = ["half", "whole"].map(|name| root.path().join(name));
        for (folder, programs) in [(&half, &PROGRAMS[1..]), (&whole, &PROGRAMS[..])] {
            fs::create_dir(folder).unwrap();
            for program in programs {
                fs::write(folder.join(program), "").unwrap();
            }
        }
        assert_eq!(with_all([&half, &whole], &PROGRAMS), Some(&whole));
        assert_eq!(with_all([&half], &PROGRAMS), None);
    }

    #[test]
    fn the_newest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "common"] {
            fs::create_dir(root.path().join(version)).unwrap();
        }
        assert_eq!(
            debian(root.path()),
            ["15/bin", "9/bin"].map(|path| root.path().join(path))
        );
        assert!(debian(&root.path().join("none")).is_empty());
    }
}
