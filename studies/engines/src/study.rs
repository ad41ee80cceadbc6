//! Repeats every cell in processes of its own, and holds what they saw against each other.
//!
//! A process of its own for each time, because an engine may keep threads for the life of its
//! process: a kernel scope that is opened later does not cover those.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::drive::{self, Phase, phases};
use crate::phases::{cut, difference};
use crate::results::{CellResult, PhaseResult, Spread};
use crate::{Cell, Result, SyncCall, Tally, scopes, stores, strace};

/// How often each cell runs under the scopes; all must tell the same.
pub const REPETITIONS: usize = 3;
/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one run of a cell showed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Observation {
    pub phases: Vec<ObservedPhase>,
    /// Why the counts may be too low, in the words of the scopes.
    pub incomplete: Vec<String>,
}

/// One phase of one run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ObservedPhase {
    pub phase: Phase,
    /// What any layer saw.
    pub syncs: Vec<SyncCall>,
    /// Of these what the hook did not see.
    pub raw: Vec<SyncCall>,
}

/// Runs a cell once, under the scopes, in a fresh directory under `directory`.
///
/// # Errors
/// What the engine answers; when a layer did not see every mark; when the hook saw what the kernel
/// scope did not.
pub fn observe(cell: &Cell, directory: &Path, with_kernel: bool) -> Result<Observation> {
    let root = fresh_directory(directory)?;
    let root = root.path().canonicalize()?;
    let seen = scopes::observe(&root, with_kernel, || drive::drive(cell, &root))?;
    combine(&phases(cell), seen)
}

fn combine(phases: &[Phase], seen: scopes::Seen) -> Result<Observation> {
    let names: Vec<String> = phases.iter().map(ToString::to_string).collect();
    let hook = cut("the hook", seen.hook, &names)?;
    let all = match seen.kernel {
        Some(kernel) => cut("the kernel scope", kernel, &names)?,
        None => hook.clone(),
    };
    let mut observed = Vec::new();
    for ((phase, syncs), hook) in phases.iter().zip(all.phases).zip(hook.phases) {
        let (raw, only_hook) = difference(&syncs, &hook);
        if !only_hook.is_empty() {
            return Err(format!(
                "in the phase {phase} the hook saw {only_hook:?} and the kernel scope did not"
            )
            .into());
        }
        observed.push(ObservedPhase {
            phase: *phase,
            syncs,
            raw,
        });
    }
    Ok(Observation {
        phases: observed,
        incomplete: seen.incomplete,
    })
}

/// Runs a cell once with no scope open: for strace.
///
/// # Errors
/// What the engine answers.
pub fn run_bare(cell: &Cell, root: &Path) -> Result<()> {
    drive::drive(cell, root)
}

fn fresh_directory(directory: &Path) -> Result<tempfile::TempDir> {
    fs::create_dir_all(directory)?;
    Ok(tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(directory)?)
}

/// How the study goes about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The study's own program: each run is a process of it.
    pub program: PathBuf,
    /// Where the databases lie while they are observed.
    pub directory: PathBuf,
    pub with_kernel: bool,
    pub with_strace: bool,
}

/// All cells. What went wrong with one cell does not stop the others.
///
/// # Errors
/// Everything that went wrong, together.
pub fn run(options: &Options) -> Result<Vec<CellResult>> {
    let mut results = Vec::new();
    let mut wrong = Vec::new();
    for cell in stores::all() {
        match run_cell(&cell, options) {
            Ok(result) => {
                eprintln!("{:30} {}", cell.name, one_line(&result));
                results.push(result);
            }
            Err(error) => {
                eprintln!("{:30} {error}", cell.name);
                wrong.push(format!("{}: {error}", cell.name));
            }
        }
    }
    if wrong.is_empty() {
        Ok(results)
    } else {
        Err(wrong.join("\n").into())
    }
}

fn one_line(result: &CellResult) -> String {
    result
        .phases
        .iter()
        .map(|phase| match phase.syncs.exact() {
            Some(tally) => format!("{}: {tally}", phase.phase),
            None => format!(
                "{}: {} … {}",
                phase.phase, phase.syncs.low, phase.syncs.high
            ),
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// Runs one cell, each time in a process of its own.
///
/// # Errors
/// When a run fails or takes too long, when runs tell different counts and the cell has no reason
/// for it, and when strace tells something else.
pub fn run_cell(cell: &Cell, options: &Options) -> Result<CellResult> {
    let mut observations = Vec::new();
    for _ in 0..REPETITIONS {
        observations.push(observe_in_a_process(cell, options)?);
    }
    let mut result = summarise(cell, &observations)?;
    if options.with_strace {
        let trace = trace_in_a_process(cell, options)?;
        if cell.varies.is_none()
            && let Some(observation) = observations.first()
        {
            let names: Vec<String> = phases(cell).iter().map(ToString::to_string).collect();
            let seen: Vec<Vec<SyncCall>> = observation
                .phases
                .iter()
                .map(|phase| phase.syncs.clone())
                .collect();
            // A layer that is left out would be missed here, and rightly so.
            if options.with_kernel {
                strace::agree(&names, &seen, &trace.syncs.phases)?;
            }
        }
        let phases = phases(cell);
        for phase in &mut result.phases {
            phase.durable_writes = phases
                .iter()
                .zip(&trace.durable_writes)
                .filter(|(other, _)| **other == phase.phase)
                .map(|(_, n)| (*n, *n))
                .reduce(|(low, high), (n, _)| (low.min(n), high.max(n)));
        }
    }
    Ok(result)
}

/// Repetitions as one result.
///
/// # Errors
/// When they differ, or the steady commits among each other, and the cell has no reason for it.
fn summarise(cell: &Cell, observations: &[Observation]) -> Result<CellResult> {
    let mut kinds = phases(cell);
    kinds.dedup();
    let mut results = Vec::new();
    for kind in kinds {
        let times: Vec<&ObservedPhase> = observations
            .iter()
            .flat_map(|observation| &observation.phases)
            .filter(|phase| phase.phase == kind)
            .collect();
        let spread = |of: fn(&ObservedPhase) -> Tally| {
            Spread::of(times.iter().map(|phase| of(phase)))
                .ok_or_else(|| format!("no run has a phase {kind}"))
        };
        let syncs = spread(|phase| Tally::of(&phase.syncs))?;
        let raw = spread(|phase| Tally::of(&phase.raw))?;
        if (syncs.exact().is_none() || raw.exact().is_none()) && cell.varies.is_none() {
            let counts: Vec<String> = times
                .iter()
                .map(|phase| Tally::of(&phase.syncs).to_string())
                .collect();
            return Err(format!(
                "in the phase {kind} the counts differ from time to time, for no reason that is \
                 known: {}",
                counts.join("; ")
            )
            .into());
        }
        results.push(PhaseResult {
            phase: kind,
            syncs,
            raw,
            durable_writes: None,
            in_order: times
                .first()
                .map(|phase| in_order(&phase.syncs, drive::DATABASE))
                .unwrap_or_default(),
        });
    }
    let mut incomplete: Vec<String> = Vec::new();
    for reason in observations.iter().flat_map(|it| &it.incomplete) {
        if !incomplete.contains(reason) {
            incomplete.push(reason.clone());
        }
    }
    Ok(CellResult {
        name: cell.name.clone(),
        phases: results,
        incomplete,
    })
}

/// In words, one after the other; what comes several times in a row once, with its number.
pub fn in_order(syncs: &[SyncCall], database: &str) -> Vec<String> {
    let words: Vec<String> = syncs.iter().map(|sync| sync.describe(database)).collect();
    words
        .chunk_by(|one, next| one == next)
        .map(|same| match same.len() {
            1 => same[0].clone(),
            times => format!("{times} × {}", same[0]),
        })
        .collect()
}

fn observe_in_a_process(cell: &Cell, options: &Options) -> Result<Observation> {
    let scratch = fresh_directory(&options.directory)?;
    let answer = scratch.path().join("observation.json");
    let mut command = Command::new(&options.program);
    command
        .arg("observe")
        .arg(&cell.name)
        .arg("--to")
        .arg(&answer);
    command.arg("--directory").arg(&options.directory);
    if !options.with_kernel {
        command.arg("--without-kernel");
    }
    finish(command)?;
    Ok(serde_json::from_str(&fs::read_to_string(answer)?)?)
}

fn trace_in_a_process(cell: &Cell, options: &Options) -> Result<strace::Trace> {
    let scratch = fresh_directory(&options.directory)?;
    let output = scratch.path().join("trace");
    let root = scratch.path().join("root");
    fs::create_dir(&root)?;
    let root = root.canonicalize()?;
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-q", "-s", "0", "-e"])
        .arg(format!("trace={}", strace::CALLS))
        .arg("-o")
        .arg(&output)
        .arg(&options.program);
    command.arg("bare").arg(&cell.name).arg(&root);
    finish(command)?;
    let names: Vec<String> = phases(cell).iter().map(ToString::to_string).collect();
    strace::read(&fs::read_to_string(output)?, &root, &names)
}

/// Whether strace is there and may trace.
///
/// # Errors
/// Why not.
pub fn strace_works(directory: &Path) -> Result<()> {
    let scratch = fresh_directory(directory)?;
    let output = scratch.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync", "-o"])
        .arg(&output)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    match traced {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("strace can't trace here ({status})").into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("strace is not installed".into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs a command to its end, which comes in [`PATIENCE`] at the latest.
fn finish(mut command: Command) -> Result<()> {
    let errors = tempfile::tempfile()?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone()?);
    let mut child = Ending(command.spawn()?);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("took longer than {} s", PATIENCE.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(2));
    };
    if status.success() {
        Ok(())
    } else {
        Err(format!("{status}: {}", text_of(errors)?.trim()).into())
    }
}

fn text_of(mut file: File) -> Result<String> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// A child that ends with the study, also when the study fails.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Both fail only where it has ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    fn cell() -> Cell {
        stores::find("fjall/sync-all").unwrap()
    }

    fn sync(path: &str) -> SyncCall {
        SyncCall {
            call: "fsync".to_owned(),
            class: Class::File,
            weak: false,
            path: Some(path.to_owned()),
            process: None,
        }
    }

    /// Every phase with the same syncs.
    fn observation(syncs: &[SyncCall]) -> Observation {
        Observation {
            phases: phases(&cell())
                .into_iter()
                .map(|phase| ObservedPhase {
                    phase,
                    syncs: syncs.to_vec(),
                    raw: Vec::new(),
                })
                .collect(),
            incomplete: Vec::new(),
        }
    }

    #[test]
    fn equal_repetitions_are_one_result() {
        let one = observation(&[sync("db/a"), sync("db/a"), sync("db/b")]);
        let result = summarise(&cell(), &[one.clone(), one]).unwrap();
        let commit = &result.phases[2];
        assert_eq!(commit.phase, Phase::Commit);
        assert_eq!(commit.syncs.exact().unwrap().files, 3);
        assert_eq!(commit.in_order, ["2 × `fsync` a", "`fsync` b"]);
    }

    #[test]
    fn a_commit_that_costs_more_than_the_others_is_an_error() {
        let same = observation(&[sync("db/a")]);
        let mut dearer = same.clone();
        dearer.phases[4].syncs.push(sync("db/a"));
        let error = summarise(&cell(), &[same.clone(), dearer.clone()]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("in the phase commit the counts differ"),
            "{error}"
        );
        let varying = cell().varies("a flusher");
        let commit = summarise(&varying, &[same, dearer]).unwrap().phases[2].syncs;
        assert_eq!((commit.low.files, commit.high.files), (1, 2));
    }

    #[test]
    fn what_only_the_hook_saw_is_an_error() {
        let seen = |hook: &[&str], kernel: &[&str]| scopes::Seen {
            hook: hook.iter().map(|path| sync(path)).collect(),
            kernel: Some(kernel.iter().map(|path| sync(path)).collect()),
            incomplete: Vec::new(),
        };
        let marks = ["marks/000-begin", "marks/001-create"];
        let [begin, end] = marks;
        let observed = combine(&[Phase::Create], seen(&marks, &[begin, "db/raw", end])).unwrap();
        assert_eq!(observed.phases[0].raw, [sync("db/raw")]);
        let error = combine(&[Phase::Create], seen(&[begin, "db/a", end], &marks)).unwrap_err();
        assert!(
            error.to_string().contains("the kernel scope did not"),
            "{error}"
        );
    }
}
