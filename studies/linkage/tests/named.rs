//! A test binary that names the crate: its own calls are counted, whoever makes them.
//!
//! `LINKAGE_LIBRARY`, `LINKAGE_COPY`: libraries to load, without and with a copy of the hook; where
//! they are empty that part is left out.

mod support;

use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::{env, process, thread};

use fsync_counter::{Scope, Step, SyncCounts, check_linkage};

/// A directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let dir = env::temp_dir().join(format!("linkage-{}-{name}", process::id()));
    fs::create_dir(&dir).unwrap();
    dir
}

#[test]
fn the_hook_is_linked() {
    assert_eq!(check_linkage(), Ok(()));
}

#[test]
fn the_standard_library_and_the_c_library_are_counted() {
    let dir = directory("counts");
    let seen = Scope::under(&dir).observe(|| {
        linkage::save(&dir).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| linkage::save(&dir).unwrap());
        });
        let file = File::open(dir.join("current")).unwrap();
        // SAFETY: `file` is open.
        assert_eq!(unsafe { libc::fsync(file.as_raw_fd()) }, 0);
        // SAFETY: as above.
        let answer = unsafe { libc::syscall(libc::SYS_fdatasync, file.as_raw_fd()) };
        assert_eq!(answer, 0);
    });
    fs::remove_dir_all(&dir).unwrap();
    let expected = SyncCounts::new().files(6).dirs(2);
    assert_eq!(seen.counts(), expected, "{}", seen.events());
}

#[test]
fn entries_and_durable_opens_are_noticed() {
    let dir = directory("entries").canonicalize().unwrap();
    let seen = Scope::under(&dir).with_entries().observe(|| {
        linkage::save(&dir).unwrap();
        let durable = File::options()
            .write(true)
            .custom_flags(libc::O_DSYNC)
            .open(dir.join("current"));
        drop(durable.unwrap());
        fs::remove_file(dir.join("current")).unwrap();
    });
    fs::remove_dir(&dir).unwrap();
    seen.events().assert_order([
        Step::file("new"),
        Step::renamed("current"),
        Step::dir(&dir),
        Step::removed("current"),
    ]);
    assert_eq!(seen.incomplete().len(), 1);
}

/// A loaded library's syncs go through the program's hook.
#[test]
fn a_loaded_library_is_counted() {
    type Syncs = unsafe extern "C" fn(c_int) -> c_int;
    let Some(syncs) = support::function("LINKAGE_LIBRARY", c"library_syncs") else {
        return;
    };
    // SAFETY: the function has this signature.
    let syncs = unsafe { std::mem::transmute::<*mut c_void, Syncs>(syncs) };
    let dir = directory("library");
    let file = File::create(dir.join("a")).unwrap();
    // SAFETY: the file is open, and the library leaves it so.
    let seen = Scope::under(&dir).observe(|| unsafe { syncs(file.as_raw_fd()) });
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(seen.value, 0);
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
}

#[test]
fn a_copy_of_the_hook_in_a_library_says_that_it_is_dead() {
    if let Some(said) = support::what_the_copy_says() {
        assert!(said.contains("is not linked"), "{said}");
    }
}
