//! The two sides: where their code is, and what was built of it.
//!
//! Revisions are checked out below the target directory, in places whose names are equally long:
//! a path is a part of the environment that a test starts with, and the length of that moves its
//! stack.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ab::decision::Subject;
use crate::children;
use crate::observe::cargo::{self, Binary, CargoError, Place, Selection};
use crate::observe::find;
use crate::observe::progress::Progress;

use super::git::{Checkout, GitError, Repository, Revision};

/// Why a side can't be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SideError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("failed to build the {side}, {what}")]
    Build {
        side: &'static str,
        what: String,
        source: CargoError,
    },
    #[error("failed to learn from cargo where it builds ({status})\n{output}")]
    Target { status: String, output: String },
    #[error("failed to start cargo")]
    Cargo { source: io::Error },
    #[error("failed to find {directory} in the {side}, {what}")]
    NoDirectory {
        side: &'static str,
        what: String,
        directory: String,
    },
    #[error("failed to prepare {path}")]
    Prepare { path: String, source: io::Error },
    #[error("failed to begin: another comparison is running in {path}")]
    Busy { path: String },
    #[error("failed to list the tests of the {side}")]
    List {
        side: &'static str,
        source: io::Error,
    },
}

/// What a side is, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Directory(PathBuf),
    Revision(Revision),
}

impl Source {
    /// A revision where it is one, else a directory. What begins with `.` or `/` is a directory.
    pub(crate) fn named(name: &str, project: &Path) -> Result<Self, GitError> {
        let path = Path::new(name);
        let is_path = path.is_absolute() || name.starts_with('.');
        if is_path && path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let revision = Repository::around(project).and_then(|r| r.revision(name));
        match revision {
            Err(_) if path.is_dir() => Ok(Self::Directory(path.to_owned())),
            other => other.map(Self::Revision),
        }
    }

    /// For people.
    pub(crate) fn said(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Revision(revision) => revision.said.clone(),
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject {
            name: self.said(),
            of: match self {
                Self::Directory(path) => absolute(path).display().to_string(),
                Self::Revision(revision) => revision.of.clone(),
            },
        }
    }
}

pub(crate) fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The tool's directory below the project's target directory, for one comparison at a time.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) path: PathBuf,
    /// What Cargo builds into: the parent.
    pub(crate) target: PathBuf,
    _lock: File,
}

impl Workshop {
    pub(crate) const NAME: &'static str = "perfbudget-compare";

    pub(crate) fn open(project: &Path) -> Result<Self, SideError> {
        let target = target_directory(project)?;
        let path = target.join(Self::NAME);
        let prepare = |source| SideError::Prepare {
            path: path.display().to_string(),
            source,
        };
        fs::create_dir_all(&path).map_err(prepare)?;
        let lock = File::create(path.join("lock")).map_err(prepare)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.display().to_string();
                return Err(SideError::Busy { path });
            }
            Err(TryLockError::Error(source)) => return Err(prepare(source)),
        }
        Ok(Self {
            path,
            target,
            _lock: lock,
        })
    }
}

/// The directory that a side is built into. Cargo tells builds of one package from two directories
/// apart by nothing but the ages of files, and takes what was built of one for what is to be built
/// of an older other: so each directory has its own, and the checkouts, which stand in one place and
/// are given their ages, have one. All names are equally long.
fn target_name(source: &Source) -> String {
    let mut hasher = DefaultHasher::new();
    match source {
        Source::Directory(path) => Some(absolute(path)),
        Source::Revision(_) => None,
    }
    .hash(&mut hasher);
    format!("target-{:016x}", hasher.finish())
}

/// Where Cargo builds the project to.
pub(crate) fn target_directory(project: &Path) -> Result<PathBuf, SideError> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut command = Place::Here.cargo();
    command
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(project);
    let output = children::output(&mut command).map_err(|source| SideError::Cargo { source })?;
    let metadata: Result<Metadata, _> = serde_json::from_slice(&output.stdout);
    let metadata = metadata.map_err(|_| SideError::Target {
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })?;
    Ok(metadata.target_directory)
}

/// A side that is built.
#[derive(Debug)]
pub(crate) struct Side {
    binaries: Vec<Binary>,
    /// Tests that are named as gates are: where each stands.
    pub(crate) tests: BTreeMap<TestKey, Test>,
    pub(crate) profile: String,
    /// Removed with this.
    _checkout: Option<Checkout>,
}

/// By what a test of one side is found on the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestKey {
    pub(crate) package: String,
    pub(crate) name: String,
    /// The test binary, where a package has two tests of one name.
    pub(crate) target: Option<String>,
}

impl std::fmt::Display for TestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.name, self.package)
    }
}

/// A test of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    binary: usize,
    name: String,
}

/// How a side is built: its name, its place in the workshop, and what is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) side: &'static str,
    /// Equally long for both sides.
    pub(crate) letter: &'static str,
    pub(crate) source: &'a Source,
    pub(crate) selection: &'a Selection,
    /// The profile that the other side was built with.
    pub(crate) profile: Option<&'a str>,
}

impl Side {
    pub(crate) fn build(
        order: Order<'_>,
        workshop: &Workshop,
        repository: Option<&Repository>,
        progress: &mut Progress,
    ) -> Result<Self, SideError> {
        let Order { side, source, .. } = order;
        let what = source.said();
        progress.line(&format!("building the {side}: {what}"));
        let place = workshop.path.join(order.letter);
        fs::create_dir_all(&place).map_err(|source| SideError::Prepare {
            path: place.display().to_string(),
            source,
        })?;
        let (directory, checkout) = match (source, repository) {
            (Source::Revision(revision), Some(repository)) => {
                let path = place.join("source");
                let checkout = Checkout::new(repository, revision, &path)?;
                let lent = checkout.lend_lock_file();
                if lent.map_err(|source| SideError::Prepare {
                    path: path.display().to_string(),
                    source,
                })? {
                    progress.line(&format!(
                        "the {side} has no Cargo.lock: it is built with the working tree's"
                    ));
                }
                (repository.place_in(checkout.path()), Some(checkout))
            }
            (Source::Revision(revision), None) => {
                return Err(GitError::NoRepository {
                    directory: revision.said.clone(),
                }
                .into());
            }
            (Source::Directory(path), _) => (absolute(path), None),
        };
        if !directory.is_dir() {
            return Err(SideError::NoDirectory {
                side,
                what,
                directory: directory.display().to_string(),
            });
        }
        let place = Place::Elsewhere {
            target: place.join(target_name(source)),
            directory,
        };
        let built = cargo::built_in(&place, order.selection, order.profile, progress);
        let built = built.map_err(|source| SideError::Build { side, what, source })?;
        let tests = tests(&built.binaries).map_err(|source| SideError::List { side, source })?;
        Ok(Self {
            tests,
            binaries: built.binaries,
            profile: built.profile,
            _checkout: checkout,
        })
    }

    /// A test as it is started, by way of a copy of its program that ends in this letter.
    pub(crate) fn start(&self, test: &Test, letter: char) -> (Binary, String) {
        let binary = &self.binaries[test.binary];
        let copy = copy_path(binary.program(), letter);
        (binary.with_program(copy), test.name.clone())
    }

    /// Copies the programs of these tests to where [`start`](Self::start) has them.
    pub(crate) fn copy<'a>(
        &self,
        tests: impl Iterator<Item = &'a Test>,
        letter: char,
    ) -> io::Result<()> {
        let binaries: std::collections::BTreeSet<usize> = tests.map(|test| test.binary).collect();
        for binary in binaries {
            let program = self.binaries[binary].program();
            let copy = copy_path(program, letter);
            match fs::remove_file(&copy) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::copy(program, copy)?;
        }
        Ok(())
    }
}

/// Beside the program, where it finds what it looks for beside itself; and as long a path. The
/// letter is none of those that Cargo's hash ends in.
fn copy_path(program: &Path, letter: char) -> PathBuf {
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    let mut name: String = stem.chars().take(stem.chars().count().max(1) - 1).collect();
    name.push(letter);
    if let Some(extension) = program.extension() {
        name.push('.');
        name.push_str(&extension.to_string_lossy());
    }
    program.with_file_name(name)
}

/// The tests that are named as gates are.
fn tests(binaries: &[Binary]) -> io::Result<BTreeMap<TestKey, Test>> {
    let mut all = Vec::new();
    for (position, binary) in binaries.iter().enumerate() {
        for name in binary.tests()? {
            let test = find::Test {
                binary: position,
                name,
                package: binary.package().unwrap_or_default().to_owned(),
            };
            if find::is_named_as_a_gate(&test) {
                all.push((test, target_of(binary.program())));
            }
        }
    }
    let is_one_of_two = |test: &find::Test| {
        let same = |(other, _): &&(find::Test, String)| {
            (&other.name, &other.package) == (&test.name, &test.package)
        };
        all.iter().filter(same).count() > 1
    };
    let keyed = all.iter().map(|(test, target)| {
        let key = TestKey {
            package: test.package.clone(),
            name: test.name.clone(),
            target: is_one_of_two(test).then(|| target.clone()),
        };
        let test = Test {
            binary: test.binary,
            name: test.name.clone(),
        };
        (key, test)
    });
    Ok(keyed.collect())
}

/// The name of what a test binary was built of, without Cargo's hash.
fn target_of(program: &Path) -> String {
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.rsplit_once('-').map_or(&*stem, |(name, _)| name);
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_beside_its_program_and_as_long() {
        let program = Path::new("/t/perf/deps/gates-0123456789abcdef");
        let copy = copy_path(program, 'x');
        assert_eq!(copy, Path::new("/t/perf/deps/gates-0123456789abcdex"));
        let program = Path::new("gates-01ef.exe");
        assert_eq!(copy_path(program, 'y'), Path::new("gates-01ey.exe"));
    }

    #[test]
    fn every_directory_is_built_into_a_place_of_its_own() {
        let of = |path: &str| target_name(&Source::Directory(path.into()));
        assert_eq!(of("/no/a"), of("/no/a"));
        assert_ne!(of("/no/a"), of("/no/b"));
        assert_eq!(of("/no/a").len(), of("/no/longer").len());
    }

    #[test]
    fn a_binary_is_named_after_its_target() {
        assert_eq!(
            target_of(Path::new("/t/deps/my-gates-0123456789abcdef")),
            "my-gates"
        );
        assert_eq!(target_of(Path::new("gates")), "gates");
    }

    #[test]
    fn what_looks_like_a_path_is_a_directory_and_what_is_nothing_is_said() {
        let elsewhere = tempfile::tempdir().expect("a directory");
        let named = |name| Source::named(name, elsewhere.path());
        assert_eq!(named(".").expect("it"), Source::Directory(".".into()));
        // Without a repository a directory is one, too.
        assert!(named("src").is_ok());
        let error = named("no-such-thing").expect_err("nothing");
        assert!(error.to_string().contains("git repository"), "{error}");
    }
}
