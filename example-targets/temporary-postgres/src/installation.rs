//! The server that is installed here, and whom it runs as.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::error::Error;

/// The folder that has the server's programs; where it is set no other is looked at.
pub const BIN_ENV: &str = "PERFBUDGET_POSTGRES_BIN";

/// What an installation must have in one folder.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];
/// Whom the server runs as when the caller is root, the first that there is.
const USERS: [&str; 3] = ["postgres", "_postgres", "nobody"];
const PASSWD: &str = "/etc/passwd";

/// Whether there is a server here that [`TemporaryPostgres`](crate::TemporaryPostgres) can use.
#[must_use]
pub fn is_installed() -> bool {
    find_folder().is_ok()
}

/// A user and its group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// The programs of a PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Installation {
    folder: PathBuf,
    version: String,
    /// `None`: as the caller.
    user: Option<User>,
}

impl Installation {
    pub(crate) fn find() -> Result<Self, Error> {
        let folder = find_folder()?;
        let user = if geteuid().is_root() {
            Some(unprivileged_user()?)
        } else {
            None
        };
        let version = version(&folder.join("postgres"))?;
        Ok(Self {
            folder,
            version,
            user,
        })
    }

    /// As the server names it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// One of its programs, as the right user and with nothing of the caller's settings.
    pub(crate) fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command
            .env_clear()
            .env("PATH", &self.folder)
            // The messages that an error quotes are the same everywhere.
            .env("LC_ALL", "C")
            .current_dir(directory)
            .stdin(Stdio::null());
        if let Some(user) = &self.user {
            command.uid(user.user).gid(user.group);
        }
        command
    }

    /// For `map_err` where a command did not start.
    pub(crate) fn not_run(
        &self,
        program: &str,
        directory: &Path,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let user = self.user.as_ref();
        let user = user.map_or_else(|| "this user".to_owned(), |user| user.name.clone());
        let program = self.folder.join(program);
        let directory = directory.to_owned();
        move |source| Error::Run {
            program,
            user,
            directory,
            source,
        }
    }
}

/// The folder of the installation to use: [`BIN_ENV`], that on `PATH`, what `pg_config` tells,
/// then where Debian, the PostgreSQL project's packages and Homebrew put it, the newest first.
fn find_folder() -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os(BIN_ENV).filter(|named| !named.is_empty()) {
        let folder = PathBuf::from(&named);
        return with_all([folder]).ok_or_else(|| Error::NotInstalled {
            searched: format!(
                "in {BIN_ENV}={}, which has not all of {}",
                named.display(),
                PROGRAMS.join(", ")
            ),
        });
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(resolved);
    with_all(on_path)
        .or_else(|| with_all(pg_config()))
        .or_else(|| {
            with_all(
                [
                    ("/usr/lib/postgresql", ""),
                    ("/usr", "pgsql-"),
                    ("/opt/homebrew/opt", "postgresql@"),
                    ("/usr/local/opt", "postgresql@"),
                ]
                .into_iter()
                .flat_map(|(parent, prefix)| versions(Path::new(parent), prefix)),
            )
        })
        .ok_or_else(|| Error::NotInstalled {
            searched: "on PATH, by pg_config, or where packages put it".to_owned(),
        })
}

/// The first folder that has all of [`PROGRAMS`].
fn with_all(folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.into_iter().find(|folder| {
        PROGRAMS
            .iter()
            .all(|program| folder.join(program).is_file())
    })
}

/// Where the server of a folder really is: a link to it may stand where the other programs don't.
fn resolved(folder: PathBuf) -> PathBuf {
    let server = folder.join("postgres").canonicalize().ok();
    match server.as_deref().and_then(Path::parent) {
        Some(real) => real.to_owned(),
        None => folder,
    }
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(folder.trim_end()))
}

/// The folders `<parent>/<prefix><version>/bin`, the newest version first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name: OsString = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, path)| path).collect()
}

fn version(program: &Path) -> Result<String, Error> {
    let bad = |output| Error::BadInstallation {
        program: program.to_owned(),
        output,
    };
    let output = Command::new(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| bad(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().strip_prefix("postgres (PostgreSQL) ") {
        Some(version) => Ok(version.to_owned()),
        None => Err(bad(format!(
            "{}{}",
            said.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

fn unprivileged_user() -> Result<User, Error> {
    let users =
        fs::read_to_string(PASSWD).map_err(Error::io("read the users in", Path::new(PASSWD)))?;
    USERS
        .iter()
        .find_map(|name| find_user(&users, name))
        .ok_or_else(|| Error::NoUnprivilegedUser {
            candidates: USERS.join(", "),
        })
}

/// A user by the lines of `/etc/passwd`; root under another name is none.
fn find_user(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let user = fields.nth(1)?.parse().ok().filter(|user| *user != 0)?;
        Some(User {
            name: name.to_owned(),
            user,
            group: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name_and_are_not_root() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:5:6::/:/bin/sh\n\
                     postgres:x:101:104:PostgreSQL,,,:/var:/bin/bash\nnobody:x:0:0::/:/bin/sh\n";
        let postgres = find_user(users, "postgres").unwrap();
        assert_eq!((postgres.user, postgres.group), (101, 104));
        assert_eq!(find_user(users, "nobody"), None);
        assert_eq!(find_user(users, "_postgres"), None);
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
        assert_eq!(with_all([half.clone(), whole.clone()]), Some(whole));
        assert_eq!(with_all([half]), None);
    }

    #[test]
    fn a_linked_server_is_looked_for_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let [links, real] = ["links", "real"].map(|name| root.join(name));
        for folder in [&links, &real] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(real.join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).unwrap();
        assert_eq!(resolved(links), real);
        assert_eq!(resolved(root.clone()), root);
    }

    #[test]
    fn the_newest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "common", "postgresql@17", "postgresql@16"] {
            fs::create_dir(root.path().join(version)).unwrap();
        }
        assert_eq!(
            versions(root.path(), ""),
            ["15/bin", "9/bin"].map(|path| root.path().join(path))
        );
        assert_eq!(
            versions(root.path(), "postgresql@"),
            ["postgresql@17/bin", "postgresql@16/bin"].map(|path| root.path().join(path))
        );
        assert!(versions(&root.path().join("none"), "").is_empty());
    }
}
