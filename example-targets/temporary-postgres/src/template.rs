//! The data directory: made by `initdb`, or copied from one that it made before.
//!
//! `initdb` starts the server several times over to fill the system tables; a copy of the result
//! is the same cluster. A template is named after the server's full version and synced before it
//! gets that name, so it is whole whenever it can be seen, also after a power failure. It is only
//! ever an optimisation: where it can't be had, `initdb` does the work.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use crate::cluster::initdb;
use crate::error::Error;
use crate::guardian::Guardian;
use crate::installation::{Installation, User};

/// The directory that keeps templates from one process to the next.
pub const TEMPLATES_ENV: &str = "PERFBUDGET_POSTGRES_TEMPLATES";

/// The directory that [`TEMPLATES_ENV`] names.
pub(crate) fn from_env() -> Option<PathBuf> {
    let directory = std::env::var_os(TEMPLATES_ENV)?;
    (!directory.is_empty()).then(|| PathBuf::from(directory))
}

/// Makes `<root>/data`.
pub(crate) fn make_data_directory(
    installation: &Installation,
    guardian: &mut Guardian,
    templates: Option<&Path>,
) -> Result<(), Error> {
    let Some(templates) = templates else {
        return initdb(installation, guardian);
    };
    let data = guardian.root().join("data");
    let template = templates.join(name(installation.version()));
    if !template.exists() {
        // Others that come meanwhile wait, instead of doing the same work beside it.
        let lock = lock(templates);
        if !template.exists() {
            initdb(installation, guardian)?;
            if lock.is_ok() {
                // What the next one finds missing, it makes.
                let _ = keep(&data, &template);
            }
            return Ok(());
        }
    }
    if copy(&template, &data, installation.user()).is_ok() {
        return Ok(());
    }
    match fs::remove_dir_all(&data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove an unfinished copy", &data)(error))
        }
        _ => initdb(installation, guardian),
    }
}

/// Waits until what was written there is on the disk.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(File::open(directory)?)?);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = directory;
        rustix::fs::sync();
        Ok(())
    }
}

/// The version with what is no good in a file's name replaced.
fn name(version: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    version.chars().map(plain).collect()
}

fn lock(templates: &Path) -> io::Result<File> {
    fs::create_dir_all(templates)?;
    let lock = File::create(templates.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Copies a fresh data directory to where the next process finds it, under the lock.
fn keep(data: &Path, template: &Path) -> io::Result<()> {
    let unfinished = template.with_added_extension("unfinished");
    // Of one who was killed here.
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy(data, &unfinished, None)?;
    sync(&unfinished)?;
    fs::rename(&unfinished, template)
}

/// Copies files and directories, which is all that a fresh data directory has, for their owner's
/// eyes only.
fn copy(from: &Path, to: &Path, owner: Option<&User>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    let give = |path: &Path| match owner {
        Some(owner) => chown(path, Some(owner.user), Some(owner.group)),
        None => Ok(()),
    };
    give(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, owner)?;
        } else {
            fs::copy(entry.path(), &target)?;
            give(&target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_a_name_of_its_own() {
        assert_eq!(
            name("15.18 (Debian 15.18-0+deb12u1)"),
            "15.18--Debian-15.18-0-deb12u1-"
        );
        assert_eq!(name("18beta1"), "18beta1");
    }
}
