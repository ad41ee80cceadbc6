//! A database of a cluster, and how to reach it.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Every cluster's port: only part of the socket's name, so it is in nobody's way.
pub const PORT: u16 = 5432;
/// The superuser of every cluster, and the name of the database that it starts with. It needs no
/// password; who may connect is whoever may enter the cluster's directory, its owner and root.
pub const ROLE: &str = "postgres";

/// A database of a running cluster; it goes with the cluster.
#[derive(Clone, Debug)]
pub struct Database {
    socket_directory: PathBuf,
    name: String,
}

impl Database {
    pub(crate) fn new(socket_directory: &Path, name: &str) -> Self {
        Self {
            socket_directory: socket_directory.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the server's socket is: what clients call the host.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// `host='…' port=5432 user=postgres dbname='…'`, as libpq and tokio-postgres read it.
    #[must_use]
    pub fn connection_string(&self) -> String {
        format!(
            "host={} port={PORT} user={ROLE} dbname={}",
            quoted(&self.socket_directory.display().to_string()),
            quoted(&self.name)
        )
    }

    /// `postgresql://postgres@%2F…:5432/…`, as libpq and tokio-postgres read it.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgresql://{ROLE}@{}:{PORT}/{}",
            encoded(self.socket_directory.as_os_str().as_bytes()),
            encoded(self.name.as_bytes())
        )
    }
}

/// A value of a connection string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Percent-encoded, everything but letters, digits and `-._~`.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_survive_both_ways_of_connecting() {
        let database = Database::new(Path::new("/tmp/a b"), "it's 1\\2 ü");
        let parsed: [tokio_postgres::Config; 2] = [
            database.connection_string().parse().unwrap(),
            database.url().parse().unwrap(),
        ];
        for config in parsed {
            assert_eq!(config.get_dbname(), Some("it's 1\\2 ü"));
            assert_eq!(config.get_user(), Some(ROLE));
            assert_eq!(config.get_ports(), [PORT]);
            assert_eq!(
                config.get_hosts(),
                [tokio_postgres::config::Host::Unix("/tmp/a b".into())]
            );
        }
    }
}
