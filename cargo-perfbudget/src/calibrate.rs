//! `cargo perfbudget calibrate-machine`: times the reference work here, and writes its scores into
//! `perfbudget.toml`, where `PERF_BUDGET_MULTIPLIER=auto` finds them.
//!
//! A score is the median over several processes, each of which takes the least of its runs: what
//! one process has chanced on in its memory is not in it. The processes are this program again,
//! one at a time.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use perfbudget::config::{self, Config, ConfigError, FILE_NAME, Problem};
use perfbudget::machine;
use perfbudget::record::{Host, Nanoseconds};
use serde::{Deserialize, Serialize};
use toml_edit::{Decor, DocumentMut, Item, Table, TableLike, Value};

/// Over a second or two: a virtual machine's neighbours come and go. Odd, so that the median is one
/// of them.
const PROCESSES: usize = 31;
/// When the middle half of the processes' scores is wider than this, they are warned about.
const SPREAD_PERCENT_MAX: f64 = 15.0;
/// Runnable tasks for each CPU above which the machine is called busy.
const LOAD_PER_CORE_MAX: f64 = 0.5;

const EXIT_CODES: &str = "\
Exit codes:
  0  the scores are written, or shown with --dry-run
  1  the tool failed: a file that can't be used or written, work that can't be done
  2  bad arguments";

/// Above a `[machine]` that is made here.
const COMMENT: &str = "\
# The machine on which the bases were observed, by `cargo perfbudget calibrate-machine`.
# A score is what fixed reference work takes there, in microseconds. With
# PERF_BUDGET_MULTIPLIER=auto a gate's multiplier is the time of that work where the gate runs
# over the score: cpu_score for warm gates, process_score for cold ones; from 1 to 8.
";

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct CalibrateArguments {
    /// The file to write [default: the nearest perfbudget.toml here or above, else one beside the
    /// workspace's Cargo.toml]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Show the scores and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Do the work once, in this process, and print its times; what the command starts itself as
    #[arg(long, hide = true, conflicts_with_all = ["file", "dry_run", "json"])]
    one_process: bool,
}

/// Why a machine could not be calibrated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CalibrateError {
    #[error(
        "failed to calibrate this machine: this is a debug build of the tool, or an instrumented \
         one, and would give other scores than the gates\n\
         build it with --release, or as `cargo install` does"
    )]
    NotTimed,
    #[error(
        "failed to find the place of {FILE_NAME}: there is no Cargo.toml in {0} or above it\n\
         name the file with --file"
    )]
    NoPlace(String),
    #[error("failed to do the reference work in a process of its own")]
    Start(#[source] io::Error),
    #[error("failed to do the reference work in a process of its own: {0}")]
    Process(String),
    #[error("failed to write {path}")]
    Write { path: String, source: io::Error },
}

/// Times in one process, which print them for the one that started it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Times {
    cpu_ns: u64,
    process_ns: u64,
}

/// What the command found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Calibration {
    file: PathBuf,
    written: bool,
    machine: Scores,
    processes: usize,
    /// From the first to the third quartile of the processes' scores, over their median.
    spread_percent: Spread,
    warnings: Vec<String>,
}

/// The keys of `[machine]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Scores {
    cpu: Option<String>,
    cores: usize,
    observed: String,
    cpu_score: f64,
    process_score: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    cpu: f64,
    process: f64,
}

/// Does what the arguments ask for; `print` shows text on standard output.
///
/// # Errors
/// When the file can't be used or written, when the work can't be done, and in builds that would
/// give other scores than the gates.
pub(crate) fn calibrate(
    arguments: &CalibrateArguments,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    if !machine::is_timed() {
        return Err(CalibrateError::NotTimed.into());
    }
    if arguments.one_process {
        return Ok(print(&serde_json::to_string(&times()?)?)?);
    }
    let file = match &arguments.file {
        Some(file) => file.clone(),
        None => default_file(&env::current_dir()?)?,
    };
    // A file that can't be used is said before anything takes time.
    let before = existing(&file)?;
    let host = machine::host();
    let times: Vec<Times> = (0..PROCESSES)
        .map(|_| times_of_a_process())
        .collect::<Result<_, _>>()?;
    let mut calibration = calibration(file, &times, &host, config::today());
    if !arguments.dry_run {
        let text = with_scores(before.as_deref().unwrap_or_default(), &calibration.machine)?;
        Config::parse(&text, &calibration.file)?;
        write(&calibration.file, &text)?;
        calibration.written = true;
    }
    let text = if arguments.json {
        serde_json::to_string_pretty(&calibration)? + "\n"
    } else {
        shown(&calibration)
    };
    match print(&text) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn times() -> Result<Times, Box<dyn Error>> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos());
    Ok(Times {
        cpu_ns: nanoseconds(machine::cpu_time())?,
        process_ns: nanoseconds(machine::process_time()?)?,
    })
}

fn times_of_a_process() -> Result<Times, CalibrateError> {
    let output = Command::new(env::current_exe().map_err(CalibrateError::Start)?)
        .args(["calibrate-machine", "--one-process"])
        .output()
        .map_err(CalibrateError::Start)?;
    let unusable = || {
        let said = String::from_utf8_lossy(&output.stderr);
        CalibrateError::Process(format!("it ended with {}: {}", output.status, said.trim()))
    };
    if !output.status.success() {
        return Err(unusable());
    }
    serde_json::from_slice(&output.stdout).map_err(|_| unusable())
}

fn calibration(file: PathBuf, times: &[Times], host: &Host, observed: String) -> Calibration {
    let cpu: Vec<u64> = times.iter().map(|times| times.cpu_ns).collect();
    let process: Vec<u64> = times.iter().map(|times| times.process_ns).collect();
    let (cpu_score, cpu_spread) = score_and_spread(cpu);
    let (process_score, process_spread) = score_and_spread(process);
    let spread_percent = Spread {
        cpu: cpu_spread,
        process: process_spread,
    };
    Calibration {
        file,
        written: false,
        machine: Scores {
            cpu: host.cpu.clone(),
            cores: host.cores,
            observed,
            cpu_score,
            process_score,
        },
        processes: times.len(),
        spread_percent,
        warnings: warnings(spread_percent, host),
    }
}

/// The median in microseconds and the width of the middle half over it in per cent, to the tenth.
#[expect(clippy::cast_precision_loss, reason = "four digits of it count")]
fn score_and_spread(mut nanoseconds: Vec<u64>) -> (f64, f64) {
    nanoseconds.sort_unstable();
    let at_quarter = |quarter: usize| nanoseconds[(nanoseconds.len() - 1) * quarter / 4];
    let median = at_quarter(2).max(1) as f64;
    let to_the_tenth = |number: f64| (number * 10.0).round() / 10.0;
    let spread = (at_quarter(3) - at_quarter(1)) as f64 / median * 100.0;
    // A machine of the far future has no score of zero.
    (to_the_tenth(median / 1e3).max(0.1), to_the_tenth(spread))
}

fn warnings(spread: Spread, host: &Host) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, percent) in [("cpu", spread.cpu), ("process", spread.process)] {
        if percent > SPREAD_PERCENT_MAX {
            warnings.push(format!(
                "the {name} scores differ by {percent:.1} % in the middle half of the processes: \
                 run it again on a quiet machine"
            ));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some CPUs")]
    let cores = host.cores as f64;
    if let Some(load) = host
        .load_1m
        .filter(|load| *load > LOAD_PER_CORE_MAX * cores)
    {
        warnings.push(format!(
            "the load of the last minute is {load} on {cores} cores: unless that was the build of \
             this tool, run it again on a quiet machine"
        ));
    }
    warnings
}

fn shown(calibration: &Calibration) -> String {
    let scores = &calibration.machine;
    let mut text = String::new();
    for (name, score, spread) in [
        ("cpu", scores.cpu_score, calibration.spread_percent.cpu),
        (
            "process",
            scores.process_score,
            calibration.spread_percent.process,
        ),
    ] {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time that was a number of nanoseconds"
        )]
        let time = Nanoseconds((score * 1e3) as u64);
        _ = writeln!(text, "{name:<10}{time:>8}  spread {spread:.1} %");
    }
    let cpu = scores.cpu.as_deref().unwrap_or("a CPU of an unknown model");
    _ = writeln!(
        text,
        "machine   {cpu}, {} cores; {} processes, {}",
        scores.cores, calibration.processes, scores.observed
    );
    for warning in &calibration.warnings {
        _ = writeln!(text, "warning   {warning}");
    }
    let file = calibration.file.display();
    _ = if calibration.written {
        writeln!(text, "written   {file}")
    } else {
        writeln!(text, "not written (--dry-run): {file}")
    };
    text
}

/// Where the file is, or where it belongs.
pub(crate) fn default_file(here: &Path) -> Result<PathBuf, CalibrateError> {
    if let Some(file) = config::find_from(here) {
        return Ok(file);
    }
    let manifests = || here.ancestors().map(|dir| dir.join("Cargo.toml"));
    let is_workspace = |manifest: &PathBuf| {
        fs::read_to_string(manifest)
            .ok()
            .and_then(|text| text.parse::<DocumentMut>().ok())
            .is_some_and(|document| document.contains_key("workspace"))
    };
    manifests()
        .filter(is_workspace)
        .last()
        .or_else(|| manifests().find(|manifest| manifest.is_file()))
        .map(|manifest| manifest.with_file_name(FILE_NAME))
        .ok_or_else(|| CalibrateError::NoPlace(here.display().to_string()))
}

/// The text of a file that is there and can be used. A score that it lacks is what it gets.
pub(crate) fn existing(file: &Path) -> Result<Option<String>, ConfigError> {
    match Config::read(file) {
        Ok(_)
        | Err(ConfigError::Key {
            problem: Problem::Missing,
            ..
        }) => {}
        Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let read = fs::read_to_string(file).map_err(|source| ConfigError::Read {
        path: file.to_owned(),
        source,
    });
    read.map(Some)
}

/// The text with these scores in its `[machine]`, and everything else as it was.
fn with_scores(text: &str, scores: &Scores) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let distance = if text.trim().is_empty() { "" } else { "\n" };
    let table = document
        .entry("machine")
        .or_insert_with(|| {
            let mut table = Table::new();
            *table.decor_mut() = Decor::new(format!("{distance}{COMMENT}"), "");
            Item::Table(table)
        })
        .as_table_like_mut()
        .expect("a table, as its reader has found");
    match &scores.cpu {
        Some(cpu) => set(table, "cpu", cpu.into()),
        // Another machine's.
        None => _ = table.remove("cpu"),
    }
    set(
        table,
        "cores",
        i64::try_from(scores.cores).unwrap_or(i64::MAX).into(),
    );
    set(table, "observed", (&scores.observed).into());
    set(table, "cpu_score", scores.cpu_score.into());
    set(table, "process_score", scores.process_score.into());
    Ok(document.to_string())
}

/// Sets a value and keeps the comments around the one that was there.
pub(crate) fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(before) => {
            *value.decor_mut() = before.decor().clone();
            *before = value;
        }
        None => _ = table.insert(key, Item::Value(value)),
    }
}

fn write(file: &Path, text: &str) -> Result<(), CalibrateError> {
    replace(file, text).map_err(|source| CalibrateError::Write {
        path: file.display().to_string(),
        source,
    })
}

/// A file that is complete whenever it can be seen, with the permissions that it had.
pub(crate) fn replace(file: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let file = match fs::canonicalize(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let directory = match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".perfbudget");
    #[cfg(unix)]
    let everyone = {
        use std::os::unix::fs::PermissionsExt;
        fs::Permissions::from_mode(0o666) // less the process's mask, as for any new file
    };
    #[cfg(unix)]
    builder.permissions(everyone);
    let mut new = builder.tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    if let Ok(metadata) = fs::metadata(&file) {
        new.as_file().set_permissions(metadata.permissions())?;
    }
    new.persist(&file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        Scores {
            cpu: Some("AMD EPYC".into()),
            cores: 2,
            observed: "2026-11-21".into(),
            cpu_score: 1431.5,
            process_score: 640.0,
        }
    }

    fn changed(text: &str) -> String {
        with_scores(text, &scores()).expect("TOML")
    }

    #[test]
    fn a_new_file_is_the_comment_and_the_table() {
        insta::assert_snapshot!(changed(""));
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        let text = "# Ours.\n\n[policy] # the tool's\nexpect   = 'improvement'\n\n\
                    [[policy.acknowledge]]\ngate = \"x\"\n\n\
                    # Kept.\n[machine]   # here\nprocess_score=1 # above\n\
                    # on its own\ncpu = 'an old model'\n\ncpu_score = 2   # below\n\n\
                    # The end.\n";
        insta::assert_snapshot!(changed(text));
        assert_eq!(changed(&changed(text)), changed(text));
    }

    #[test]
    fn a_table_is_added_behind_what_is_there() {
        let text = "[policy]\nexpect = \"improvement\"\n# The end.\n";
        insta::assert_snapshot!(changed(text));
    }

    #[test]
    fn a_table_of_any_form_gets_the_scores() {
        for text in [
            "machine = { cpu_score = 1, process_score = 2, cores = 3 } # here\n",
            "machine.cpu_score = 1\nmachine.process_score = 2\n",
            "[machine]\n",
            "[machine]\r\ncpu_score = 1\r\nprocess_score = 2\r\n",
        ] {
            let text = changed(text);
            let config = Config::parse(&text, Path::new(FILE_NAME));
            let machine = config.expect("read back").machine.expect("a machine");
            assert_eq!(machine.cpu.as_deref(), Some("AMD EPYC"), "{text}");
            assert_eq!(machine.cores, Some(2), "{text}");
            assert!((machine.cpu_score - 1431.5).abs() < 1e-9, "{text}");
            assert!((machine.process_score - 640.0).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn the_model_of_another_machine_does_not_stay() {
        let nameless = Scores {
            cpu: None,
            ..scores()
        };
        let text = with_scores("[machine]\ncpu = \"another\"\n", &nameless).expect("TOML");
        assert!(!text.contains("another"), "{text}");
    }

    fn host() -> Host {
        let mut host = Host::default();
        host.cpu = Some("AMD EPYC".into());
        host.cores = 2;
        host.load_1m = Some(0.25);
        host
    }

    fn calibration_of(cpu_us: [u64; 5], host: &Host) -> Calibration {
        let times = cpu_us.map(|cpu_us| Times {
            cpu_ns: cpu_us * 1000,
            process_ns: 640_049,
        });
        let file = PathBuf::from(FILE_NAME);
        calibration(file, &times, host, "2026-11-21".into())
    }

    #[test]
    fn a_score_is_the_median_in_microseconds() {
        let calibration = calibration_of([1900, 1500, 1431, 1000, 1430], &host());
        let scores = &calibration.machine;
        assert!((scores.cpu_score - 1431.0).abs() < 1e-9);
        assert!((scores.process_score - 640.0).abs() < 1e-9);
        assert!((calibration.spread_percent.cpu - 4.9).abs() < 1e-9);
        assert!(calibration.warnings.is_empty());
        insta::assert_snapshot!(shown(&calibration));
    }

    #[test]
    fn a_busy_machine_and_a_large_spread_are_warned_about() {
        let mut busy = host();
        busy.load_1m = Some(1.5);
        let mut calibration = calibration_of([1430, 1650, 1400, 1000, 1900], &busy);
        calibration.written = true;
        insta::assert_snapshot!(shown(&calibration));
        busy.load_1m = Some(1.0);
        assert!(
            calibration_of([1430, 1640, 1430, 1000, 1900], &busy)
                .warnings
                .is_empty()
        );
    }

    #[test]
    fn the_file_belongs_beside_the_outermost_workspace() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = fs::canonicalize(dir.path()).expect("a path");
        let member = root.join("outer/inner/member");
        fs::create_dir_all(&member).expect("made");
        let nowhere = default_file(&member).expect_err("no Cargo.toml");
        assert!(nowhere.to_string().contains("--file"), "{nowhere}");
        let file = || default_file(&member).expect("a place");
        let add = |path: &str, text: &str| fs::write(root.join(path), text).expect("written");
        add("outer/inner/member/Cargo.toml", "[package]\nname = \"m\"\n");
        add("outer/Cargo.toml", "[package]\nname = \"o\"\n");
        assert_eq!(file(), member.join(FILE_NAME), "the nearest package");
        add("outer/inner/Cargo.toml", "[workspace]\n");
        assert_eq!(file(), root.join("outer/inner").join(FILE_NAME));
        add(
            "outer/Cargo.toml",
            "[workspace.package]\nversion = \"1.0.0\"\n",
        );
        assert_eq!(file(), root.join("outer").join(FILE_NAME), "the outermost");
        add("outer/inner/perfbudget.toml", "");
        assert_eq!(
            file(),
            root.join("outer/inner").join(FILE_NAME),
            "what is there"
        );
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_with_the_permissions_that_it_had() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(FILE_NAME);
        write(&file, "one").expect("written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode =
                |file: &Path| fs::metadata(file).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(&file) & 0o600, 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
            let link = dir.path().join("link.toml");
            std::os::unix::fs::symlink(&file, &link).expect("linked");
            write(&link, "two").expect("written");
            assert_eq!(mode(&file), 0o640);
            assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
            assert_eq!(fs::read_to_string(&file).expect("read"), "two");
            fs::remove_file(link).expect("removed");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
        let error = write(&dir.path().join("none/x.toml"), "").expect_err("no directory");
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_and_one_without_scores_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(FILE_NAME);
        assert_eq!(existing(&file).expect("none"), None);
        for text in ["", "[machine]\ncpu_score = 1\n", "[policy]\n"] {
            fs::write(&file, text).expect("written");
            assert_eq!(existing(&file).expect("usable").as_deref(), Some(text));
        }
        for text in [
            "[machine",
            "[machine]\nscore = 1\n",
            "[machine]\ncpu_score = 0\n",
        ] {
            fs::write(&file, text).expect("written");
            assert!(existing(&file).is_err(), "{text}");
        }
    }
}
