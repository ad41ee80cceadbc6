//! What a commit costs and what it survives: journal mode × synchronous level.
//!
//! Left out are the modes that a kill or a loss of power may tear (`journal_mode` `MEMORY` and
//! `OFF`, `synchronous` `OFF`): a log that can't be opened any more is worth less than a slow one.

use std::fmt;
use std::str::FromStr;

/// A journal mode and a synchronous level of SQLite, `wal/full` by default.
///
/// Whatever the level, what a flush or a durable log acknowledged is on disk: where the level's
/// own commits are not ([`commits_survive_power_loss`](Durability::commits_survive_power_loss)),
/// those are made at a level that is.
///
/// ```
/// use trajectory_log::{Durability, Journal, Synchronous};
///
/// let durability: Durability = "wal/normal".parse()?;
/// assert_eq!(durability, Durability::new(Journal::Wal, Synchronous::Normal));
/// assert!(!durability.commits_survive_power_loss());
/// assert_eq!(Durability::default().to_string(), "wal/full");
/// # Ok::<(), trajectory_log::UnknownDurability>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durability {
    /// How SQLite makes a commit atomic.
    pub journal: Journal,
    /// How much of a commit is synced.
    pub synchronous: Synchronous,
}

/// How SQLite makes a commit atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Journal {
    /// A write-ahead log, which readers don't wait for.
    #[default]
    Wal,
    /// A rollback journal that is removed.
    Delete,
    /// A rollback journal that is cut to nothing.
    Truncate,
    /// A rollback journal whose header is overwritten.
    Persist,
}

/// How much of a commit is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Synchronous {
    /// With a write-ahead log, nothing until a checkpoint.
    Normal,
    /// What is written.
    #[default]
    Full,
    /// Also the directory of a journal that is removed.
    Extra,
}

impl Durability {
    /// Both.
    #[must_use]
    pub const fn new(journal: Journal, synchronous: Synchronous) -> Self {
        Self {
            journal,
            synchronous,
        }
    }

    /// Every combination.
    pub fn all() -> impl Iterator<Item = Self> {
        Journal::ALL.into_iter().flat_map(|journal| {
            Synchronous::ALL
                .into_iter()
                .map(move |synchronous| Self::new(journal, synchronous))
        })
    }

    /// Whether each commit is on disk when it returns. Without it a loss of power takes the last
    /// ones back, and a kill takes none.
    #[must_use]
    pub fn commits_survive_power_loss(self) -> bool {
        self.synchronous.is_at_least(self.journal.level_on_disk())
    }
}

impl Journal {
    const ALL: [Self; 4] = [Self::Wal, Self::Delete, Self::Truncate, Self::Persist];

    /// The name that SQLite gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Persist => "persist",
        }
    }

    /// The lowest level at which a commit is on disk when it returns. A removed journal comes back
    /// with the power unless its directory was synced, and takes the commit with it.
    pub(crate) const fn level_on_disk(self) -> Synchronous {
        match self {
            Self::Wal | Self::Truncate | Self::Persist => Synchronous::Full,
            Self::Delete => Synchronous::Extra,
        }
    }
}

impl Synchronous {
    const ALL: [Self; 3] = [Self::Normal, Self::Full, Self::Extra];

    /// The name that SQLite gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Full => "full",
            Self::Extra => "extra",
        }
    }

    const fn is_at_least(self, other: Self) -> bool {
        self as u8 >= other as u8
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.journal.name(), self.synchronous.name())
    }
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .find(|durability| durability.to_string() == text)
            .ok_or_else(|| UnknownDurability(text.to_owned()))
    }
}

/// A text that is no durability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no durability; it is wal, delete, truncate or persist, a slash, and normal, full or extra: \"wal/full\""
)]
pub struct UnknownDurability(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_read_as_it_is_written() {
        assert_eq!(Durability::all().count(), 12);
        for durability in Durability::all() {
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        for text in ["", "wal", "wal/off", "memory/full", "WAL/FULL", "wal/full "] {
            text.parse::<Durability>().expect_err(text);
        }
    }

    #[test]
    fn what_survives_a_loss_of_power() {
        let surviving: Vec<String> = Durability::all()
            .filter(|durability| durability.commits_survive_power_loss())
            .map(|durability| durability.to_string())
            .collect();
        assert_eq!(
            surviving,
            [
                "wal/full",
                "wal/extra",
                "delete/extra",
                "truncate/full",
                "truncate/extra",
                "persist/full",
                "persist/extra"
            ]
        );
    }
}
