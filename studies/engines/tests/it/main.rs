//! The study on cells whose counts are known beforehand: that its columns tell things apart.

use std::path::PathBuf;

use engine_study::results::CellResult;
use engine_study::study::{self, Options};
use engine_study::{Phase, Tally, stores};

/// Runs a cell as the study does, in processes of its program.
fn run(name: &str) -> CellResult {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_engine-study")),
        directory: directory.path().to_path_buf(),
        with_kernel: true,
        with_strace: study::strace_works(directory.path()).is_ok(),
    };
    study::run_cell(&stores::find(name).unwrap(), &options).unwrap()
}

/// What one commit issued, and what of it only the kernel saw.
fn commit(result: &CellResult) -> (Tally, Tally) {
    let commit = result.phases.iter().find(|it| it.phase == Phase::Commit);
    let commit = commit.unwrap();
    (commit.syncs.exact().unwrap(), commit.raw.exact().unwrap())
}

const ONE_FILE: Tally = Tally {
    files: 1,
    dirs: 0,
    other: 0,
    unknown: 0,
    weak: 0,
};
const ONE_DIRECTORY: Tally = Tally {
    files: 0,
    dirs: 1,
    ..ONE_FILE
};
const ONE_WEAK: Tally = Tally {
    files: 0,
    weak: 1,
    ..ONE_FILE
};
const NONE: Tally = Tally {
    files: 0,
    ..ONE_FILE
};

#[test]
fn the_c_library_is_told_from_raw_calls() {
    assert_eq!(commit(&run("std/sync-all")), (ONE_FILE, NONE));
    assert_eq!(commit(&run("rustix/fsync")), (ONE_FILE, ONE_FILE));
}

#[test]
fn files_directories_and_weak_calls_are_told_apart() {
    assert_eq!(commit(&run("std/directory")), (ONE_DIRECTORY, NONE));
    assert_eq!(commit(&run("memmap2/flush-async")), (ONE_WEAK, NONE));
    assert_eq!(commit(&run("std/write")), (NONE, NONE));
}

#[test]
fn a_durable_write_is_no_sync_and_is_not_passed_over() {
    let result = run("std/o-dsync");
    assert_eq!(commit(&result), (NONE, NONE));
    assert!(
        result.incomplete.iter().any(|it| it.contains("O_DSYNC")),
        "{:?}",
        result.incomplete
    );
    let commit = &result.phases[2];
    assert_eq!(commit.phase, Phase::Commit);
    // Without strace nobody counts them.
    assert!(commit.durable_writes.is_none_or(|writes| writes == (1, 1)));
}

#[test]
fn what_goes_wrong_in_a_run_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        program: PathBuf::from("false"),
        directory: directory.path().to_path_buf(),
        with_kernel: false,
        with_strace: false,
    };
    let error = study::run_cell(&stores::find("std/write").unwrap(), &options).unwrap_err();
    assert!(error.to_string().contains("exit status: 1"), "{error}");
}
