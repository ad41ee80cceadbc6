//! A cell of the table: an engine with one durability setting.

use std::path::Path;

use crate::Result;

/// Something that makes data durable, or seems to.
pub trait Store {
    /// One commit of `rows` small rows; a call that knows no rows does what it does, once.
    ///
    /// # Errors
    /// What the engine answers.
    fn commit(&mut self, rows: u32) -> Result<()>;

    /// What a program does to make earlier commits durable, or to tidy up after them; see
    /// [`Cell::afterwards`].
    ///
    /// # Errors
    /// What the engine answers.
    fn afterwards(&mut self) -> Result<()> {
        Ok(())
    }

    /// Closes it; returns when everything that it started has ended.
    ///
    /// # Errors
    /// What the engine answers.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Opens a store in an existing, at first empty directory, and makes it ready for commits.
pub type Open = Box<dyn Fn(&Path) -> Result<Box<dyn Store>> + Send + Sync>;

/// What the tables are made of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Group {
    Sqlite,
    Redb,
    Fjall,
    Sled,
    Lmdb,
    /// Functions, not databases: only their commits are told.
    Calls,
}

/// An engine with one durability setting.
pub struct Cell {
    /// On the command line and in the results: `sqlite/wal/full`.
    pub name: String,
    pub group: Group,
    /// As the tables call the setting.
    pub setting: String,
    pub open: Open,
    /// What [`Store::afterwards`] does, where it does anything.
    pub afterwards: Option<&'static str>,
    /// Why its counts may differ from run to run; without a reason they must not.
    pub varies: Option<&'static str>,
}

impl Cell {
    pub fn new<S: Store + 'static>(
        name: impl Into<String>,
        group: Group,
        setting: impl Into<String>,
        open: impl Fn(&Path) -> Result<S> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            group,
            setting: setting.into(),
            open: Box::new(move |directory| Ok(Box::new(open(directory)?))),
            afterwards: None,
            varies: None,
        }
    }

    #[must_use]
    pub fn afterwards(mut self, what: &'static str) -> Self {
        self.afterwards = Some(what);
        self
    }

    #[must_use]
    pub fn varies(mut self, why: &'static str) -> Self {
        self.varies = Some(why);
        self
    }
}
