//! What is proved of a linker, a profile and a target is proved by the tests of this crate, one
//! binary each: `named` has the hook, `unnamed` only lists the crate.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Replaces a file so that it survives a crash: two syncs of a file, one of the directory, a rename.
///
/// # Errors
/// What the file system says.
pub fn save(dir: &Path) -> io::Result<()> {
    let new = File::create(dir.join("new"))?;
    new.sync_data()?;
    new.sync_all()?;
    fs::rename(dir.join("new"), dir.join("current"))?;
    File::open(dir)?.sync_all()
}
