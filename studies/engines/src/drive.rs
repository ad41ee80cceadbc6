//! Takes a store through its phases, with a mark between them that every witness sees.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, Group};
use crate::{Result, Store};

/// How many commits there are after the first: all must cost the same.
pub const STEADY_COMMITS: usize = 5;
/// How many rows the large commit has.
pub const ROWS: u32 = 100;

/// The database's directory within that of the run.
pub const DATABASE: &str = "db";
/// Where the files lie whose syncs are the marks.
pub const MARKS: &str = "marks";

/// What a store does between two marks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opening it where nothing was, up to the point where a commit can follow.
    Create,
    /// The first commit of one row.
    First,
    /// A later commit of one row.
    Commit,
    /// A commit of [`ROWS`] rows.
    Rows,
    /// See [`Cell::afterwards`].
    Afterwards,
    /// The commit that follows that, of one row.
    Next,
    /// With commits since, where there are any to take care of.
    Close,
    /// Opening what was closed.
    Open,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::First => "first",
            Self::Commit => "commit",
            Self::Rows => "rows",
            Self::Afterwards => "afterwards",
            Self::Next => "next",
            Self::Close => "close",
            Self::Open => "open",
        })
    }
}

/// The phases of a cell, in order.
pub fn phases(cell: &Cell) -> Vec<Phase> {
    let mut phases = vec![Phase::Create, Phase::First];
    phases.extend([Phase::Commit; STEADY_COMMITS]);
    if cell.group != Group::Calls {
        phases.push(Phase::Rows);
        if cell.afterwards.is_some() {
            phases.extend([Phase::Afterwards, Phase::Next]);
        }
        phases.extend([Phase::Close, Phase::Open]);
    }
    phases
}

/// Runs `cell` in `root`, an empty directory. The closing of what was opened again comes after the
/// last mark and belongs to no phase.
///
/// # Errors
/// What the engine answers, and that of the file system.
pub fn drive(cell: &Cell, root: &Path) -> Result<()> {
    let database = root.join(DATABASE);
    fs::create_dir(&database)?;
    let mut marks = Marks::new(root)?;
    marks.set("begin")?;
    let mut store: Option<Box<dyn Store>> = None;
    for phase in phases(cell) {
        match (&mut store, phase) {
            (None, Phase::Create | Phase::Open) => store = Some((cell.open)(&database)?),
            (Some(store), Phase::First | Phase::Commit | Phase::Next) => store.commit(1)?,
            (Some(store), Phase::Rows) => store.commit(ROWS)?,
            (Some(store), Phase::Afterwards) => store.afterwards()?,
            (store @ Some(_), Phase::Close) => {
                if let Some(open) = store.take() {
                    open.close()?;
                }
            }
            _ => return Err(format!("the phases of {} have no {phase} here", cell.name).into()),
        }
        marks.set(phase)?;
    }
    match store {
        Some(store) => store.close(),
        None => Ok(()),
    }
}

/// Files whose syncs cut the time into phases: whoever counts syncs sees them.
#[derive(Debug)]
pub struct Marks {
    directory: PathBuf,
    set: usize,
}

impl Marks {
    /// # Errors
    /// Those of the file system.
    pub fn new(root: &Path) -> Result<Self> {
        let directory = root.join(MARKS);
        fs::create_dir(&directory)?;
        Ok(Self { directory, set: 0 })
    }

    /// Ends a phase: everything that was synced up to now belongs to it or to earlier ones.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn set(&mut self, phase: impl fmt::Display) -> Result<()> {
        let file = File::create(self.directory.join(format!("{:03}-{phase}", self.set)))?;
        self.set += 1;
        Ok(file.sync_all()?)
    }
}
