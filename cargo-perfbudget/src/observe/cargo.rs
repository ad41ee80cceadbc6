//! The build, and how Cargo starts what it has built.
//!
//! A test sees more of Cargo than its arguments: the directory it starts in, `CARGO_PKG_…`, the
//! `[env]` of the configuration, paths of dynamic libraries, what build scripts set. So Cargo is
//! asked to start each test binary by way of this tool, as a runner, which starts nothing and
//! writes down what it was given. A runner of the project's own is not used.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use clap::Args;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::progress::Progress;
use crate::children;

/// What to build, in Cargo's own words.
#[derive(Args, Debug)]
#[command(next_help_heading = "What to build")]
pub(crate) struct Selection {
    /// The package of the gates; may be repeated [default: the whole workspace]
    #[arg(short, long = "package", value_name = "SPEC")]
    packages: Vec<String>,

    /// Features to build with; may be repeated
    #[arg(short = 'F', long, value_name = "FEATURES")]
    features: Vec<String>,

    /// Build with all features
    #[arg(long)]
    all_features: bool,

    /// The Cargo.toml of the workspace or package
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,

    /// The profile to build with [default: perf, where there is one, else release]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl Selection {
    /// The directory that Cargo is to work in: that of the manifest, where one is named.
    pub(crate) fn directory(&self) -> PathBuf {
        let named = self.manifest_path.as_deref().and_then(Path::parent);
        named
            .filter(|directory| !directory.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned()
    }

    fn arguments(&self, place: &Place, profile: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--profile".into(), profile.into()];
        if self.packages.is_empty() {
            arguments.push("--workspace".into());
        }
        for package in &self.packages {
            arguments.extend(["--package".into(), package.into()]);
        }
        for features in &self.features {
            arguments.extend(["--features".into(), features.into()]);
        }
        if self.all_features {
            arguments.push("--all-features".into());
        }
        if let (Place::Here, Some(path)) = (place, &self.manifest_path) {
            arguments.extend(["--manifest-path".into(), path.into()]);
        }
        arguments
    }
}

/// Where to build.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Where the tool was started, or where the selection says.
    Here,
    /// In another directory, with a target directory of its own.
    Elsewhere { directory: PathBuf, target: PathBuf },
}

impl Place {
    /// Cargo, started there.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        if let Self::Elsewhere { directory, target } = self {
            command
                .current_dir(directory)
                .env("CARGO_TARGET_DIR", target)
                // Where intermediate files are kept apart, they must not be another place's.
                .env("CARGO_BUILD_BUILD_DIR", target);
        }
        command.stdin(Stdio::null());
        command
    }
}

/// A test binary, and what Cargo starts it with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Binary {
    program: PathBuf,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Binary {
    /// Started as Cargo does, but for what a runner around this tool has set.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let is_a_runners = |name: &OsStr| name.to_string_lossy().starts_with("NEXTEST");
        command
            .current_dir(&self.directory)
            .env_clear()
            .envs(
                self.environment
                    .iter()
                    .filter(|(name, _)| !is_a_runners(name))
                    .map(|(name, value)| (name, value)),
            )
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_os_str())
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The same with another program in its place.
    pub(crate) fn with_program(&self, program: PathBuf) -> Self {
        let mut binary = self.clone();
        binary.program = program;
        binary
    }

    /// The package that it tests.
    pub(crate) fn package(&self) -> Option<&str> {
        self.variable("CARGO_PKG_NAME")?.to_str()
    }

    /// Its tests, as its harness lists them; none where it has no harness that does.
    pub(crate) fn tests(&self) -> io::Result<Vec<String>> {
        let mut command = self.command();
        let output = children::output(command.args(["--list", "--format", "terse"]))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    }
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CargoError {
    #[error("failed to start {cargo}")]
    Start { cargo: String, source: io::Error },
    #[error("failed to build the tests: cargo test --no-run ended with {status}{hint}")]
    Build { status: ExitStatus, hint: String },
    #[error("failed to learn from cargo how it starts the tests ({status})\n{output}")]
    Ask { status: ExitStatus, output: String },
    #[error("failed to read what cargo starts the tests with")]
    Read { source: io::Error },
    #[error(
        "failed to find a test binary: cargo started none\n\
         are there tests in what was built, and does the configuration have a runner for its \
         `build.target`?"
    )]
    None,
}

/// Builds the tests and learns how Cargo starts them.
pub(crate) fn binaries(
    selection: &Selection,
    progress: &mut Progress,
) -> Result<Vec<Binary>, CargoError> {
    Ok(built_in(&Place::Here, selection, None, progress)?.binaries)
}

/// What a build came to.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) binaries: Vec<Binary>,
    pub(crate) profile: String,
}

/// The same in any place, with a profile that goes before what the selection leaves open.
pub(crate) fn built_in(
    place: &Place,
    selection: &Selection,
    profile: Option<&str>,
    progress: &mut Progress,
) -> Result<Built, CargoError> {
    let notes = tempfile::tempdir().map_err(|source| CargoError::Read { source })?;
    let this = Tool::keep().map_err(not_started)?;
    let asked = selection.profile.as_deref().or(profile);
    let profile = built(place, selection, asked, progress)?;
    let output = ask(place, selection, profile, this.path(), notes.path())?;
    if !output.status.success() {
        return Err(CargoError::Ask {
            status: output.status,
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let binaries = noted(notes.path()).map_err(|source| CargoError::Read { source })?;
    if binaries.is_empty() {
        return Err(CargoError::None);
    }
    Ok(Built {
        binaries,
        profile: profile.to_owned(),
    })
}

const PREFERRED: &str = "perf";
const FALLBACK: &str = "release";

/// Builds, and returns the profile that it was built with.
fn built<'a>(
    place: &Place,
    selection: &Selection,
    asked: Option<&'a str>,
    progress: &mut Progress,
) -> Result<&'a str, CargoError> {
    let profile = asked.unwrap_or(PREFERRED);
    let mut build = build(place, selection, profile, progress)?;
    let mut profile = profile;
    if build.has_no_profile && asked.is_none() {
        progress.line("there is no profile `perf` here: building with `release`");
        profile = FALLBACK;
        build = self::build(place, selection, profile, progress)?;
    }
    if build.status.success() {
        return Ok(profile);
    }
    let hint = if build.has_no_profile {
        format!("\nthere is no profile `{profile}`: a workspace's Cargo.toml defines them")
    } else {
        String::new()
    };
    Err(CargoError::Build {
        status: build.status,
        hint,
    })
}

struct Build {
    status: ExitStatus,
    has_no_profile: bool,
}

/// Shows what Cargo says, but for a profile that is missing.
fn build(
    place: &Place,
    selection: &Selection,
    profile: &str,
    progress: &mut Progress,
) -> Result<Build, CargoError> {
    let mut command = place.cargo();
    command
        .args(["test", "--no-run"])
        .args(selection.arguments(place, profile))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if progress.is_terminal() && env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = children::Running::spawn(&mut command).map_err(not_started)?;
    let missing = format!("profile `{profile}` is not defined");
    let mut has_no_profile = false;
    if let Some(stderr) = child.stderr() {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let plain = anstream::adapter::strip_str(&line).to_string();
            if plain.contains(&missing) {
                has_no_profile = true;
            } else if !plain.trim_start().starts_with("Executable ") {
                progress.line(&line);
            }
        }
    }
    let status = child.wait().map_err(not_started)?;
    Ok(Build {
        status,
        has_no_profile,
    })
}

/// This tool, as it can be started after a build that put another in its place: in the workspace
/// that it is a part of.
struct Tool {
    original: PathBuf,
    copy: PathBuf,
    _directory: TempDir,
}

impl Tool {
    fn keep() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let original = env::current_exe()?;
        let copy = directory.path().join("cargo-perfbudget");
        fs::copy(&original, &copy)?;
        Ok(Self {
            original,
            copy,
            _directory: directory,
        })
    }

    /// The copy only where it must be: a temporary directory may be one that nothing can be
    /// started from.
    fn path(&self) -> &Path {
        if self.original.exists() {
            &self.original
        } else {
            &self.copy
        }
    }
}

/// Has Cargo "run" what it has built.
fn ask(
    place: &Place,
    selection: &Selection,
    profile: &str,
    this: &Path,
    notes: &Path,
) -> Result<Output, CargoError> {
    let runner = serde_json::json!([this, NOTE, notes]);
    // The host's own key goes before all others; the general one is for a `build.target`.
    let keys = [host(place)?, "'cfg(all())'".to_owned()];
    let configs = keys.map(|key| format!("target.{key}.runner={runner}"));
    let mut command = place.cargo();
    command
        .args(["test", "--tests"])
        .args(configs.iter().flat_map(|config| ["--config", config]))
        .args(selection.arguments(place, profile))
        // Where a runner of the project's own comes first after all, no test is run.
        .args(["--", "--list", "--format", "terse"]);
    children::output(&mut command).map_err(not_started)
}

/// The word for [`note`] on this tool's command line.
pub(crate) const NOTE: &str = "note-how-cargo-starts";

/// As Cargo's runner: writes into `directory` how `program` is started.
pub(crate) fn note(directory: &Path, program: &Path) -> io::Result<()> {
    let binary = Binary {
        program: std::path::absolute(program)?,
        directory: env::current_dir()?,
        environment: env::vars_os().collect(),
    };
    // With the hash that Cargo appends, so that no two are the same.
    let mut name = program.file_name().unwrap_or_default().to_owned();
    name.push(".json");
    let mut file = File::create_new(directory.join(name))?;
    serde_json::to_writer(&mut file, &binary)?;
    file.flush()
}

fn noted(directory: &Path) -> io::Result<Vec<Binary>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    paths
        .iter()
        .map(|path| Ok(serde_json::from_slice(&fs::read(path)?)?))
        .collect()
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn not_started(source: io::Error) -> CargoError {
    CargoError::Start {
        cargo: cargo().to_string_lossy().into_owned(),
        source,
    }
}

/// The triple that Cargo builds for when nothing else is said.
fn host(place: &Place) -> Result<String, CargoError> {
    let output = children::output(place.cargo().arg("-vV")).map_err(not_started)?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| not_started(io::Error::other("`cargo -vV` names no host")))
}
