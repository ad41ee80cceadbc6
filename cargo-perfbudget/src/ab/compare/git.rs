//! The project's repository: what a revision is, and a checkout of it for as long as it is needed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What git could not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("failed to start git")]
    Start { source: io::Error },
    #[error(
        "failed to find a git repository around {directory}\n\
         to compare without one, give two directories: --baseline DIR --candidate DIR"
    )]
    NoRepository { directory: String },
    #[error(
        "failed to find {rev}: it is no revision of the repository {repository}, and no directory{}",
        if *is_shallow {
            "\nthis is a shallow clone, which has few revisions: `git fetch --unshallow` gets the others"
        } else {
            ""
        }
    )]
    NoRevision {
        rev: String,
        repository: String,
        is_shallow: bool,
    },
    #[error("failed to run git {command}\n{output}")]
    Failed { command: String, output: String },
    #[error("failed to prepare {path}")]
    Prepare { path: String, source: io::Error },
}

impl GitError {
    /// The same to a second who asks.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::NoRepository { directory } => Self::NoRepository {
                directory: directory.clone(),
            },
            other => Self::Failed {
                command: "rev-parse".to_owned(),
                output: other.to_string(),
            },
        }
    }
}

/// The repository around a directory.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    top: PathBuf,
    /// Of the directory, below `top`.
    prefix: PathBuf,
}

/// A commit to check out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) commit: String,
    /// What the commit has in it: two commits of one tree are the same code.
    tree: String,
    /// For people: how it was named, and what is special about it.
    pub(crate) said: String,
    /// For a history: its commit, and whether there is more in it.
    pub(crate) of: String,
    /// Files that were changed and not committed, and are part of it.
    pub(crate) uncommitted: usize,
}

impl Repository {
    pub(crate) fn around(directory: &Path) -> Result<Self, GitError> {
        let ask = |what| {
            let output = git(directory, ["rev-parse", what])?;
            if output.status.success() {
                return Ok(text(&output.stdout));
            }
            let output = text(&output.stderr);
            if !output.contains("not a git repository") {
                // One that git does not trust, for one.
                let command = "rev-parse".to_owned();
                return Err(GitError::Failed { command, output });
            }
            let directory = directory.display().to_string();
            Err(GitError::NoRepository { directory })
        };
        Ok(Self {
            top: ask("--show-toplevel")?.into(),
            prefix: ask("--show-prefix")?.into(),
        })
    }

    /// The directory that this one is in a checkout of another revision.
    pub(crate) fn place_in(&self, checkout: &Path) -> PathBuf {
        checkout.join(&self.prefix)
    }

    /// A revision by one of its names.
    pub(crate) fn revision(&self, name: &str) -> Result<Revision, GitError> {
        let commit = format!("{name}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ];
        let output = git(&self.top, arguments)?;
        if !output.status.success() {
            return Err(GitError::NoRevision {
                rev: name.to_owned(),
                repository: self.top.display().to_string(),
                is_shallow: run(self.git(&["rev-parse", "--is-shallow-repository"]))
                    .is_ok_and(|answer| answer == "true"),
            });
        }
        let commit = text(&output.stdout);
        Ok(Revision {
            tree: self.tree(&commit)?,
            said: named(name, &commit),
            of: commit.clone(),
            commit,
            uncommitted: 0,
        })
    }

    /// The working tree as it is, without what is ignored and what stands in `target`: the commit
    /// that is checked out, or, where something was changed, a commit on top of it that no name
    /// leads to.
    pub(crate) fn working_tree(&self, target: &Path) -> Result<Revision, GitError> {
        let without_target = self.without(target);
        let uncommitted = self.uncommitted(target)?;
        let head = self.revision("HEAD")?;
        if uncommitted == 0 {
            return Ok(Revision {
                said: format!("the working tree ({})", short(&head.commit)),
                ..head
            });
        }
        // With an index of its own: the user's stays as it is. A copy of it knows what has not
        // changed.
        let directory = tempfile::tempdir().map_err(|source| prepare(&self.top, source))?;
        let index = directory.path().join("index");
        let users = self
            .top
            .join(run(self.git(&["rev-parse", "--git-path", "index"]))?);
        if users.exists() {
            fs::copy(&users, &index).map_err(|source| prepare(&index, source))?;
        }
        let with_index = |arguments: &[&OsStr]| {
            let mut command = self.git(arguments);
            command.env("GIT_INDEX_FILE", &index);
            command
        };
        let mut add: Vec<&OsStr> = ["add", "--all", "--"].map(OsStr::new).to_vec();
        add.extend(without_target.iter().map(OsString::as_os_str));
        run(with_index(&add))?;
        let tree = run(with_index(&["write-tree".as_ref()]))?;
        let mut commit = self.git(&["commit-tree", "-p", &head.commit, "-m", "compared", &tree]);
        for role in ["AUTHOR", "COMMITTER"] {
            commit
                .env(format!("GIT_{role}_NAME"), "cargo perfbudget compare")
                .env(format!("GIT_{role}_EMAIL"), "compare@perfbudget.invalid");
        }
        Ok(Revision {
            commit: run(commit)?,
            of: format!("{}+{tree}", head.commit),
            tree,
            said: format!(
                "the working tree: {} and {uncommitted} changed file{} that {} not committed",
                short(&head.commit),
                if uncommitted == 1 { "" } else { "s" },
                if uncommitted == 1 { "is" } else { "are" },
            ),
            uncommitted,
        })
    }

    /// How many files were changed and not committed.
    pub(crate) fn uncommitted(&self, target: &Path) -> Result<usize, GitError> {
        let mut status = self.git(&["status", "--porcelain", "--"]);
        status.args(self.without(target));
        Ok(run(status)?.lines().count())
    }

    /// Everything but what is built, as git's path arguments.
    fn without(&self, target: &Path) -> Vec<OsString> {
        let mut paths = vec![OsString::from(":/")];
        let top = fs::canonicalize(&self.top).unwrap_or_else(|_| self.top.clone());
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if let Ok(below) = target.strip_prefix(top)
            && !self.is_ignored(below)
        {
            let mut exclude = OsString::from(":(top,exclude)");
            exclude.push(below);
            paths.push(exclude);
        }
        paths
    }

    /// Whether git leaves it out anyway. `git add` fails where an ignored path is named, also to be
    /// excluded.
    fn is_ignored(&self, below: &Path) -> bool {
        let mut check = self.git(&["check-ignore", "--quiet", "--"]);
        check.arg(below);
        run(check).is_ok()
    }

    fn tree(&self, commit: &str) -> Result<String, GitError> {
        run(self.git(&["rev-parse", &format!("{commit}^{{tree}}")]))
    }

    fn git<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        command(&self.top, arguments)
    }
}

/// The first letters of a commit, as people name it.
fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

fn named(name: &str, commit: &str) -> String {
    if commit.starts_with(name) {
        short(commit).to_owned()
    } else {
        format!("{name} ({})", short(commit))
    }
}

/// A revision in a worktree of its own, which is there as long as this is.
#[derive(Debug)]
pub(crate) struct Checkout {
    repository: Repository,
    path: PathBuf,
}

impl Checkout {
    /// Checks a revision out. What an earlier run left at this path goes first.
    ///
    /// Cargo takes a file for changed that is younger than what was built of it. So that what was
    /// built of the same tree at the same path is not built again, every file is as old as the
    /// tree's first checkout here: younger than all that was built of other trees before it.
    pub(crate) fn new(
        repository: &Repository,
        revision: &Revision,
        path: &Path,
    ) -> Result<Self, GitError> {
        remove(repository, path);
        let checkout = Self {
            repository: repository.clone(),
            path: path.to_owned(),
        };
        let arguments = ["worktree", "add", "--quiet", "--force", "--detach"];
        let mut add = repository.git(&arguments);
        add.arg(path).arg(&revision.commit);
        run(add)?;
        let age = Age::of(revision, path).map_err(|source| prepare(path, source))?;
        age.give_to(path).map_err(|source| prepare(path, source))?;
        Ok(checkout)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A lock file that the repository does not have, as the one in the working tree: both sides
    /// are to be built with the same packages.
    pub(crate) fn lend_lock_file(&self) -> io::Result<bool> {
        let mut lent = false;
        for directory in [Path::new(""), &self.repository.prefix] {
            let below = directory.join("Cargo.lock");
            let (from, to) = (self.repository.top.join(&below), self.path.join(&below));
            if from.is_file() && !to.exists() && to.parent().is_some_and(Path::is_dir) {
                fs::copy(from, to)?;
                lent = true;
            }
        }
        Ok(lent)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        remove(&self.repository, &self.path);
    }
}

/// Removes a worktree, or what is left of one. What fails here is tried again by the next run.
fn remove(repository: &Repository, path: &Path) {
    if !path.exists() {
        return;
    }
    let mut remove = repository.git(&["worktree", "remove", "--force", "--force"]);
    remove.arg(path);
    if run(remove).is_err() {
        _ = fs::remove_dir_all(path);
        _ = run(repository.git(&["worktree", "prune"]));
    }
}

/// Since when a tree is what is checked out at a path: beside the path, for the next run.
#[derive(Debug, Serialize, Deserialize)]
struct Age {
    tree: String,
    since_epoch: Duration,
}

impl Age {
    fn of(revision: &Revision, path: &Path) -> io::Result<Self> {
        let file = path.with_extension("since.json");
        let known = fs::read(&file).ok();
        let known = known.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        if let Some(age) = known.filter(|age| age.tree == revision.tree) {
            return Ok(age);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let age = Self {
            tree: revision.tree.clone(),
            since_epoch: since_epoch.unwrap_or_default(),
        };
        fs::write(file, serde_json::to_vec(&age)?)?;
        Ok(age)
    }

    fn give_to(&self, path: &Path) -> io::Result<()> {
        let time = UNIX_EPOCH + self.since_epoch;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.give_to(&entry.path())?;
            }
            if kind.is_dir() || kind.is_file() {
                // Where the system does not let us, there is only more to build.
                _ = File::open(entry.path()).and_then(|file| file.set_modified(time));
            }
        }
        Ok(())
    }
}

fn git<const N: usize>(directory: &Path, arguments: [&str; N]) -> Result<Output, GitError> {
    let output = command(directory, &arguments).output();
    output.map_err(|source| GitError::Start { source })
}

/// git without the user's hooks, and out of reach of an interrupt that is meant for the tool.
fn command<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    // What a hook or an alias of git's sets for itself: the repository is that of the directory.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    // What it says is read.
    command.env("LC_ALL", "C");
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// What it printed.
fn run(mut command: Command) -> Result<String, GitError> {
    let output = command
        .output()
        .map_err(|source| GitError::Start { source })?;
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let words = command.get_args().skip(2).take(2);
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    Err(GitError::Failed {
        command: words.join(" "),
        output: text(&output.stderr),
    })
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches(['\n', '\r']).to_owned()
}

fn prepare(path: &Path, source: io::Error) -> GitError {
    GitError::Prepare {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let directory = tempfile::tempdir().expect("a directory");
        let here = directory.path();
        for arguments in [
            &["init", "--quiet"][..],
            &["config", "user.name", "somebody"],
            &["config", "user.email", "somebody@example.com"],
        ] {
            run(command(here, arguments)).expect("git");
        }
        fs::write(here.join("file"), "one").expect("written");
        run(command(here, &["add", "."])).expect("git");
        run(command(here, &["commit", "--quiet", "-m", "one"])).expect("git");
        let repository = Repository::around(here).expect("a repository");
        (directory, repository)
    }

    #[test]
    fn what_is_not_committed_is_a_part_of_the_working_tree_and_the_index_stays() {
        let (directory, repository) = repository();
        let here = directory.path();
        let target = here.join("target");
        let clean = repository.working_tree(&target).expect("a revision");
        assert_eq!(clean.uncommitted, 0);
        assert_eq!(
            clean.commit,
            repository.revision("HEAD").expect("it").commit
        );

        fs::write(here.join("file"), "two").expect("written");
        fs::write(here.join("new"), "new").expect("written");
        fs::create_dir(&target).expect("made");
        fs::write(target.join("built"), "large").expect("written");
        let changed = repository.working_tree(&target).expect("a revision");
        assert_eq!(changed.uncommitted, 2);
        assert!(
            changed.said.contains("2 changed files that are not"),
            "{}",
            changed.said
        );
        let status = run(repository.git(&["status", "--porcelain"])).expect("git");
        assert_eq!(status, " M file\n?? new\n?? target/");

        let path = target.join("checkout");
        let checkout = Checkout::new(&repository, &changed, &path).expect("checked out");
        assert_eq!(fs::read_to_string(path.join("file")).expect("it"), "two");
        assert!(path.join("new").exists() && !path.join("target").exists());
        drop(checkout);
        assert!(!path.exists());
        let list = run(repository.git(&["worktree", "list"])).expect("git");
        assert_eq!(list.lines().count(), 1, "{list}");
    }

    /// As Cargo has it: what it builds is ignored, by its own name or with what it stands in.
    #[test]
    fn what_is_not_committed_is_a_part_of_it_where_git_ignores_the_target_directory() {
        for (ignored, target) in [
            ("/target", "target"),
            ("target/*", "target"),
            ("build/", "build/target"),
        ] {
            let (directory, repository) = repository();
            let target = directory.path().join(target);
            fs::create_dir_all(&target).expect("made");
            fs::write(target.join("built"), "large").expect("written");
            fs::write(directory.path().join(".gitignore"), ignored).expect("written");
            fs::write(directory.path().join("file"), "two").expect("written");
            let changed = repository.working_tree(&target).expect(ignored);
            assert_eq!(changed.uncommitted, 2, "{ignored}");
            let names = ["ls-tree", "-r", "--name-only", &changed.commit];
            let names = run(repository.git(&names)).expect("git");
            assert_eq!(names, ".gitignore\nfile", "{ignored}");
        }
    }

    #[test]
    fn the_same_tree_is_as_old_as_before_and_another_is_younger() {
        let (directory, repository) = repository();
        let path = directory.path().join("checkout");
        let age = |revision| {
            let checkout = Checkout::new(&repository, revision, &path).expect("checked out");
            let file = fs::metadata(checkout.path().join("file")).expect("a file");
            file.modified().expect("a time")
        };
        let one = repository.revision("HEAD").expect("it");
        fs::write(directory.path().join("file"), "two").expect("written");
        let two = repository.working_tree(&path).expect("it");
        let first = age(&one);
        assert_eq!(age(&one), first);
        let second = age(&two);
        assert!(second > first);
        assert!(age(&one) > second);
    }

    #[test]
    fn what_is_no_revision_is_said() {
        let (directory, repository) = repository();
        let error = repository.revision("nope").expect_err("no such revision");
        assert!(error.to_string().contains("failed to find nope"), "{error}");
        assert!(!error.to_string().contains("shallow"), "{error}");
        // As CI checks it out.
        let shallow = tempfile::tempdir().expect("a directory");
        let from = format!("file://{}", directory.path().display());
        let clone = ["clone", "--quiet", "--depth", "1", &from, "."];
        run(command(shallow.path(), &clone)).expect("git");
        let shallow = Repository::around(shallow.path()).expect("a repository");
        let error = shallow.revision("nope").expect_err("no such revision");
        assert!(error.to_string().contains("--unshallow"), "{error}");
        // Not an option of git's.
        assert!(repository.revision("--all").is_err());
        let outside = tempfile::tempdir().expect("a directory");
        drop(directory);
        assert!(Repository::around(outside.path()).is_err());
    }

    #[test]
    fn a_commit_is_named_once() {
        let commit = "0123456789abcdef";
        assert_eq!(named("main", commit), "main (0123456789)");
        assert_eq!(named("012345", commit), "0123456789");
    }
}
