//! The run that a gate belongs to: where its record goes, and that no other gate has its name.

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::multiplier::MULTIPLIER_ENV;
use crate::record::{Record, TestPlace};

/// The variable that names the directory for records.
pub const DIR_ENV: &str = "PERFBUDGET_DIR";
/// The variable that names a run, where cargo-nextest does not.
pub const RUN_ID_ENV: &str = "PERFBUDGET_RUN_ID";
/// cargo-nextest's name of a run.
const NEXTEST_RUN_ID_ENV: &str = "NEXTEST_RUN_ID";

/// The run of this process: nextest's, else that of [`RUN_ID_ENV`], else one of its own.
pub(crate) fn run_id() -> &'static str {
    static RUN_ID: OnceLock<String> = OnceLock::new();
    RUN_ID.get_or_init(|| {
        named_run_id()
            .filter(|id| is_a_file_name(id))
            .unwrap_or_else(|| format!("{}-{}", since_epoch().as_secs(), process::id()))
    })
}

fn named_run_id() -> Option<String> {
    [NEXTEST_RUN_ID_ENV, RUN_ID_ENV]
        .into_iter()
        .find_map(env::var_os)
        .map(|id| id.to_string_lossy().into_owned())
}

/// A run id becomes the name of a directory and must not lead out of its parent.
fn is_a_file_name(id: &str) -> bool {
    !id.is_empty()
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Where this run's records go, or `None` when nobody asked for records; and what there is to say
/// against it.
pub(crate) fn directory() -> (Option<PathBuf>, Vec<String>) {
    let Some(root) = env::var_os(DIR_ENV).filter(|value| !value.is_empty()) else {
        return (None, Vec::new());
    };
    let mut warnings = Vec::new();
    if Path::new(&root).is_relative() {
        warnings.push(format!(
            "{DIR_ENV} is relative: tests start in the directory of their package, and each \
             package's records go elsewhere; make it absolute"
        ));
    }
    if let Some(id) = named_run_id().filter(|id| !is_a_file_name(id)) {
        warnings.push(format!(
            "the run id {id:?} is ignored: it would be the name of a directory, of letters, digits, \
             '.', '_' and '-'"
        ));
    }
    (Some(Path::new(&root).join(run_id())), warnings)
}

/// Takes the name for the gate at this place, before it measures anything.
///
/// The gates of one process are known by heart, those of the run's other processes by the files
/// that they left: a claim while a gate runs, its record after. A claim that stays tells the
/// report of a gate that did not come to its end. The same place may take its name again and
/// replaces its record; the other test whose record that was is returned.
///
/// # Errors
/// Text that names both places when another place has it.
pub(crate) fn claim(
    gate: &str,
    place: &'static Location<'static>,
    directory: Option<&Path>,
) -> Result<Option<String>, String> {
    static CLAIMED: OnceLock<Mutex<HashMap<String, &'static Location<'static>>>> = OnceLock::new();
    let mut claimed = CLAIMED
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let first = *claimed.entry(gate.to_owned()).or_insert(place);
    if (first.file(), first.line()) != (place.file(), place.line()) {
        return Err(two_places(gate, first.file(), first.line(), place));
    }
    let Some(directory) = directory else {
        return Ok(None);
    };
    let elsewhere =
        |test: &TestPlace| (test.file.as_str(), test.line) != (place.file(), place.line());
    if let Some(other) = leave_claim(gate, place, directory).filter(elsewhere) {
        return Err(two_places(gate, &other.file, other.line, place));
    }
    // After the claim: a gate that has just ended has its record, one that begins sees the claim.
    let record = Record::read(&directory.join(Record::file_name(gate)));
    let Some(other) = record.ok().map(|record| record.test) else {
        return Ok(None);
    };
    if elsewhere(&other) {
        release(gate, directory);
        return Err(two_places(gate, &other.file, other.line, place));
    }
    Ok(Some(other.path).filter(|path| *path != test_place(place).path))
}

/// Leaves a claim, or returns what a claim that is there already says. A directory that can't be
/// written to is passed over: it is said when the record is.
fn leave_claim(
    gate: &str,
    place: &'static Location<'static>,
    directory: &Path,
) -> Option<TestPlace> {
    _ = fs::create_dir_all(directory);
    let path = directory.join(Record::claim_file_name(gate));
    match File::create_new(&path) {
        Ok(mut file) => {
            // At once: the serializer writes every word by itself.
            _ = serde_json::to_vec(&test_place(place)).map(|claim| file.write_all(&claim));
            None
        }
        Err(_) => serde_json::from_slice(&fs::read(path).ok()?).ok(),
    }
}

/// Takes the claim back: the record is there.
pub(crate) fn release(gate: &str, directory: &Path) {
    _ = fs::remove_file(directory.join(Record::claim_file_name(gate)));
}

fn two_places(gate: &str, file: &str, line: u32, place: &Location<'_>) -> String {
    format!(
        "two gates have the name {gate:?}: one at {file}:{line}, one at {}:{}\n\
         a name is a gate's alone in a workspace: rename one of them",
        place.file(),
        place.line()
    )
}

/// The test that the calling thread runs, by what its runner tells.
pub(crate) fn test_place(place: &'static Location<'static>) -> TestPlace {
    // The test harness names a test's thread after the test. nextest, which runs one test a
    // process, also says so in the environment, for a gate on another thread than the test's.
    let path = env::var("NEXTEST_TEST_NAME")
        .ok()
        .or_else(|| thread::current().name().map(str::to_owned))
        .unwrap_or_default();
    TestPlace {
        path,
        binary: env::var("NEXTEST_BINARY_ID").ok().or_else(binary_name),
        package: env::var("CARGO_PKG_NAME").ok(),
        file: place.file().to_owned(),
        line: place.line(),
    }
}

/// Whether the test's function is named as what runs the gates expects. Where the runner does not
/// tell its name it is taken for well named.
pub(crate) fn is_named_as_a_gate(test: &TestPlace) -> bool {
    let function = test.path.rsplit("::").next().unwrap_or_default();
    function.is_empty() || function == "main" || function.starts_with("perf_")
}

/// The test binary's name without the hash that Cargo appends.
fn binary_name() -> Option<String> {
    let exe = env::current_exe().ok()?;
    let name = exe.file_stem()?.to_str()?;
    Some(match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 => name.to_owned(),
        _ => name.to_owned(),
    })
}

/// The command that runs a record's test alone, built and measured as this process is.
pub(crate) fn command_for(record: &Record) -> String {
    let test = &record.test;
    let is_nextest = env::var_os(NEXTEST_RUN_ID_ENV).is_some();
    let mut command = String::new();
    if let Some(multiplier) = record.multiplier.filter(|m| (m - 1.0).abs() > f64::EPSILON) {
        _ = write!(command, "{MULTIPLIER_ENV}={multiplier:?} ");
    }
    command.push_str(if is_nextest {
        "cargo nextest run"
    } else {
        "cargo test"
    });
    match cargo_profile().as_deref() {
        None | Some("debug") => {}
        Some("release") => command.push_str(" --release"),
        Some(name) if is_nextest => _ = write!(command, " --cargo-profile {name}"),
        Some(name) => _ = write!(command, " --profile {name}"),
    }
    if let Some(package) = &test.package {
        _ = write!(command, " -p {package}");
    }
    match &test.binary {
        Some(binary) if is_nextest => {
            _ = write!(command, " -E 'binary_id(={binary}) & test(={})'", test.path);
        }
        _ => _ = write!(command, " -- --exact {}", test.path),
    }
    command
}

/// The directory below `target/` that the test binary stands in: `target/<profile>/deps/<binary>`.
fn cargo_profile() -> Option<String> {
    let exe = env::current_exe().ok()?;
    let deps = exe.parent()?;
    if deps.file_name()? != "deps" {
        return None;
    }
    Some(deps.parent()?.file_name()?.to_str()?.to_owned())
}

/// The time, UTC, as RFC 3339 has it.
pub(crate) fn now() -> String {
    rfc_3339(since_epoch().as_secs())
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Days to a civil date as in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`, for days from 1970 on.
fn rfc_3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // from 0000-03-01, so that a leap day ends its year
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_219_200, "2026-11-21T00:00:00Z"),
        ] {
            assert_eq!(rfc_3339(seconds), text);
        }
    }

    #[test]
    fn a_run_id_is_a_file_name() {
        for id in ["0f9c-1", "2026.11.21", "a_b"] {
            assert!(is_a_file_name(id), "{id}");
        }
        for id in ["", ".", "..", ".x", "a/b", "a\\b", "ü", "a b"] {
            assert!(!is_a_file_name(id), "{id}");
        }
    }
}
