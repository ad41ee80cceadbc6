//! What a logger is told: numbers with a range each, from code or from TOML.
//!
//! ```toml
//! [ppp.trajectory]
//! buffer_size = 10            # turns in a transaction, at most
//! flush_interval_ms = 500     # that a turn waits for others, at most
//! channel_capacity = 100      # turns that callers may be ahead of the buffer
//! durability = "wal/full"     # journal mode and synchronous level
//! close_timeout_ms = 5000     # that closing goes on trying a disk that refuses
//! ```
//!
//! Other tables of the file belong to others and are not looked at.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::durability::Durability;

/// The keys of `[ppp.trajectory]`.
const KEYS: [&str; 5] = [
    "buffer_size",
    "flush_interval_ms",
    "channel_capacity",
    "durability",
    "close_timeout_ms",
];

const TURNS: RangeInclusive<u64> = 1..=1_000_000;
const INTERVAL_MS: RangeInclusive<u64> = 1..=3_600_000;
const CLOSE_MS: RangeInclusive<u64> = 0..=3_600_000;

/// How a logger batches and when it writes.
///
/// ```
/// use trajectory_log::Config;
///
/// let config = Config::from_toml("[ppp.trajectory]\nbuffer_size = 25\n")?;
/// assert_eq!(config.buffer_size, 25);
/// assert_eq!(config.flush_interval_ms, Config::default().flush_interval_ms);
///
/// let error = Config::from_toml("[ppp.trajectory]\nbuffer_size = 0\n").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "line 2: ppp.trajectory.buffer_size: expected 1 to 1000000, found 0"
/// );
/// # Ok::<(), trajectory_log::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Turns in a transaction, at most: 1 to 1,000,000. With 1 each turn has its own.
    pub buffer_size: usize,
    /// How long an accepted turn waits for others to share its transaction: 1 to 3,600,000 ms.
    pub flush_interval_ms: u64,
    /// How many turns callers may be ahead of the buffer before they wait: 1 to 1,000,000.
    pub channel_capacity: usize,
    /// What a commit survives.
    pub durability: Durability,
    /// How long closing and dropping go on trying a disk that refuses: 0 to 3,600,000 ms.
    pub close_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            buffer_size: 10,
            flush_interval_ms: 500,
            channel_capacity: 100,
            durability: Durability::default(),
            close_timeout_ms: 5_000,
        }
    }
}

impl Config {
    /// Reads the table `[ppp.trajectory]` of a TOML text. What it does not say is as by default.
    ///
    /// # Errors
    /// With the line and the key, when the text is not TOML or the table says what is not known or
    /// not possible.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let text = Text(text);
        let document = DeTable::parse(text.0).map_err(|error| ConfigError::Syntax {
            line: text.line_at(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut config = Self::default();
        let Some(ppp) = document.get_ref().get("ppp") else {
            return Ok(config);
        };
        let Some(table) = text.table(ppp, "ppp")?.get("trajectory") else {
            return Ok(config);
        };
        let table = text.table(table, "ppp.trajectory")?;
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = format!("ppp.trajectory.{}", key.get_ref());
            match key.get_ref().as_ref() {
                "buffer_size" => config.buffer_size = text.turns(value, &name)?,
                "flush_interval_ms" => {
                    config.flush_interval_ms = text.number(value, &name, INTERVAL_MS)?;
                }
                "channel_capacity" => config.channel_capacity = text.turns(value, &name)?,
                "durability" => config.durability = text.durability(value, &name)?,
                "close_timeout_ms" => {
                    config.close_timeout_ms = text.number(value, &name, CLOSE_MS)?;
                }
                _ => return Err(text.wrong(key.span(), &name, unknown_key())),
            }
        }
        Ok(config)
    }

    /// Refuses numbers that are out of range, as code may have set them.
    ///
    /// # Errors
    /// With the key, and without a line.
    pub fn check(&self) -> Result<(), ConfigError> {
        let in_range = |key: &str, value: u64, range: RangeInclusive<u64>| {
            if range.contains(&value) {
                return Ok(());
            }
            Err(ConfigError::Key {
                line: None,
                key: key.to_owned(),
                problem: format!("expected {}, found {value}", said(&range)),
            })
        };
        in_range("buffer_size", self.buffer_size as u64, TURNS)?;
        in_range("flush_interval_ms", self.flush_interval_ms, INTERVAL_MS)?;
        in_range("channel_capacity", self.channel_capacity as u64, TURNS)?;
        in_range("close_timeout_ms", self.close_timeout_ms, CLOSE_MS)
    }

    pub(crate) fn flush_interval(&self) -> Duration {
        Duration::from_millis(self.flush_interval_ms)
    }

    pub(crate) fn close_timeout(&self) -> Duration {
        Duration::from_millis(self.close_timeout_ms)
    }

    /// Turns that may be accepted and not yet written.
    pub(crate) fn turns_max(&self) -> usize {
        self.channel_capacity + self.buffer_size
    }
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key says what is not known or not possible.
    #[error("{}{key}: {problem}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Key {
        /// The line, from 1, where there is a text.
        line: Option<usize>,
        /// The key: with its table, where there is a text.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

fn said(range: &RangeInclusive<u64>) -> String {
    format!("{} to {}", range.start(), range.end())
}

fn unknown_key() -> String {
    format!("unknown key; known are {}", KEYS.join(", "))
}

/// A text that is being understood.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn table<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        key: &str,
    ) -> Result<&'v DeTable<'i>, ConfigError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.unexpected(value, key, "a table")),
        }
    }

    fn turns(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<usize, ConfigError> {
        let number = self.number(value, key, TURNS)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }

    fn number(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let number = match value.get_ref() {
            DeValue::Integer(integer) => {
                u64::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            _ => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.unexpected(value, key, &said(&range)))
    }

    fn durability(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> Result<Durability, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) => text
                .parse()
                .map_err(|error| self.wrong(value.span(), key, format!("{error}"))),
            _ => Err(self.unexpected(value, key, "a text such as \"wal/full\"")),
        }
    }

    fn unexpected(&self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) -> ConfigError {
        let found = match value.get_ref() {
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
            _ => &self.0[value.span()],
        };
        self.wrong(
            value.span(),
            key,
            format!("expected {expected}, found {found}"),
        )
    }

    fn wrong(&self, span: Range<usize>, key: &str, problem: String) -> ConfigError {
        ConfigError::Key {
            line: Some(self.line_at(span.start)),
            key: key.to_owned(),
            problem,
        }
    }

    /// The line that a byte stands in, from 1.
    fn line_at(&self, at: usize) -> usize {
        let before = &self.0.as_bytes()[..at.min(self.0.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_the_defaults() {
        let text = "[ppp.trajectory]\nbuffer_size = 10\nflush_interval_ms = 500\n\
                    channel_capacity = 100\ndurability = \"wal/full\"\nclose_timeout_ms = 5000\n";
        assert_eq!(Config::from_toml(text), Ok(Config::default()));
        for text in ["", "[ppp]\nother = 1\n", "[other]\nbuffer_size = 0\n"] {
            assert_eq!(Config::from_toml(text), Ok(Config::default()));
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "[ppp.trajectory]\nbuffer_size = 0x20\nflush_interval_ms = 1_000\n\
                    channel_capacity = 7\ndurability = \"delete/extra\"\nclose_timeout_ms = 0\n";
        let config = Config {
            buffer_size: 32,
            flush_interval_ms: 1_000,
            channel_capacity: 7,
            durability: "delete/extra".parse().expect("one"),
            close_timeout_ms: 0,
        };
        assert_eq!(Config::from_toml(text), Ok(config));
    }

    #[test]
    fn an_error_names_line_and_key() {
        for (lines, said) in [
            (
                "buffer_size = -1",
                "line 2: ppp.trajectory.buffer_size: expected 1 to 1000000, found -1",
            ),
            (
                "buffer_size = 1.5",
                "line 2: ppp.trajectory.buffer_size: expected 1 to 1000000, found 1.5",
            ),
            (
                "\nflush_interval_ms = 0",
                "line 3: ppp.trajectory.flush_interval_ms: expected 1 to 3600000, found 0",
            ),
            (
                "flush_interval_ms = \"500\"",
                "line 2: ppp.trajectory.flush_interval_ms: expected 1 to 3600000, found \"500\"",
            ),
            (
                "channel_capacity = 99999999999999999999",
                "line 2: ppp.trajectory.channel_capacity: expected 1 to 1000000, found 99999999999999999999",
            ),
            (
                "durability = true",
                "line 2: ppp.trajectory.durability: expected a text such as \"wal/full\", found true",
            ),
            (
                "durability = \"fast\"",
                "line 2: ppp.trajectory.durability: \"fast\" is no durability; it is wal, delete, truncate or persist, a slash, and normal, full or extra: \"wal/full\"",
            ),
            (
                "close_timeout_ms = []",
                "line 2: ppp.trajectory.close_timeout_ms: expected 0 to 3600000, found an array",
            ),
            (
                "bufer_size = 1",
                "line 2: ppp.trajectory.bufer_size: unknown key; known are buffer_size, flush_interval_ms, channel_capacity, durability, close_timeout_ms",
            ),
        ] {
            let error =
                Config::from_toml(&format!("[ppp.trajectory]\n{lines}\n")).expect_err(lines);
            assert_eq!(error.to_string(), said);
        }
        let error = Config::from_toml("ppp = 1\n").expect_err("no table");
        assert_eq!(error.to_string(), "line 1: ppp: expected a table, found 1");
        let error = Config::from_toml("[ppp.trajectory]\nbuffer_size =\n").expect_err("no TOML");
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }

    #[test]
    fn code_is_checked_too() {
        assert_eq!(Config::default().check(), Ok(()));
        let config = Config {
            channel_capacity: 0,
            ..Config::default()
        };
        let error = config.check().expect_err("no capacity");
        assert_eq!(
            error.to_string(),
            "channel_capacity: expected 1 to 1000000, found 0"
        );
    }
}
