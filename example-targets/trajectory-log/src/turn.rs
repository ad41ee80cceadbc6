//! A turn: what a run logs.
//!
//! Content is text or JSON. JSON is kept as it came, digits and order of keys included.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::Error;

/// The most bytes that run id, role and content may have together: 64 MiB. SQLite takes more, but
/// what the channel holds is held in memory.
pub const TURN_BYTES_MAX: usize = 64 << 20;

/// One turn of a run.
///
/// ```
/// use trajectory_log::{Content, Turn};
///
/// let question = Turn::new("run-7", 1, "user", "What is 6 × 7?");
/// let answer = Turn::with_json("run-7", 2, "assistant", &[("answer", 42)])?;
/// assert_eq!(answer.content, Content::Json(r#"[["answer",42]]"#.into()));
/// let line = r#"{"run_id":"run-7","turn":1,"role":"user","content":"What is 6 × 7?"}"#;
/// assert_eq!(serde_json::from_str::<Turn>(line).unwrap(), question);
/// # Ok::<(), trajectory_log::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// The run that it belongs to: any text.
    pub run_id: String,
    /// Its number in the run. The log keeps the order in which turns came, not that of numbers.
    pub turn: u32,
    /// Who speaks: `user`, `assistant`, `tool`, any text.
    pub role: String,
    /// What is said.
    pub content: Content,
}

impl Turn {
    /// A turn whose content is text, NUL bytes and all.
    pub fn new(
        run_id: impl Into<String>,
        turn: u32,
        role: impl Into<String>,
        content: impl Into<String>,
    ) -> Self {
        Self {
            run_id: run_id.into(),
            turn,
            role: role.into(),
            content: Content::Text(content.into()),
        }
    }

    /// A turn whose content is a value, as JSON.
    ///
    /// # Errors
    /// [`Error::Unserialisable`] when the value has no JSON: a map whose keys are no strings, or a
    /// `Serialize` that refuses.
    pub fn with_json(
        run_id: impl Into<String>,
        turn: u32,
        role: impl Into<String>,
        content: &impl serde::Serialize,
    ) -> Result<Self, Error> {
        let run_id = run_id.into();
        let role = role.into();
        match serde_json::to_string(content) {
            Ok(json) => Ok(Self {
                run_id,
                turn,
                role,
                content: Content::Json(json),
            }),
            Err(source) => Err(Error::Unserialisable {
                run_id,
                turn,
                source,
            }),
        }
    }

    /// Bytes of run id, role and content.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.run_id.len() + self.role.len() + self.content.as_str().len()
    }

    /// Refuses what would not be stored.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bytes = self.bytes();
        if bytes > TURN_BYTES_MAX {
            return Err(Error::TurnTooLong { bytes });
        }
        Ok(())
    }
}

/// What a turn says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text; in a JSON line, a string.
    Text(String),
    /// JSON that is no string: an object, an array, a number, `true`, `null`.
    Json(String),
}

impl Content {
    /// The text, or the JSON as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Json(text) => text,
        }
    }

    /// Whether it is JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Json(json) => serde_json::from_str::<&RawValue>(json)
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if json.get().starts_with('"') {
            let text = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
            Ok(Self::Text(text))
        } else {
            Ok(Self::Json(Box::<str>::from(json).into()))
        }
    }
}

/// A turn as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LoggedTurn {
    /// Its place in the log: larger is later.
    pub id: i64,
    /// What was logged.
    #[serde(flatten)]
    pub turn: Turn,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_at_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(line: &str) -> Turn {
        let turn: Turn = serde_json::from_str(line).expect(line);
        assert_eq!(serde_json::to_string(&turn).expect("JSON"), line);
        turn
    }

    #[test]
    fn json_content_is_kept_to_the_digit() {
        let json = r#"{"z":1.10,"a":[1e3,{"deep":null}],"n":12345678901234567890123}"#;
        let line = format!(r#"{{"run_id":"r","turn":3,"role":"tool","content":{json}}}"#);
        assert_eq!(round_trip(&line).content, Content::Json(json.into()));
        for json in ["null", "true", "-0.0", "[]"] {
            let line = format!(r#"{{"run_id":"r","turn":3,"role":"tool","content":{json}}}"#);
            assert_eq!(round_trip(&line).content, Content::Json(json.into()));
        }
    }

    #[test]
    fn a_string_is_text_with_its_escapes_undone() {
        let line = r#"{"run_id":"r","turn":1,"role":"user","content":"a\u0000b\n\"ü\""}"#;
        assert_eq!(
            round_trip(line).content,
            Content::Text("a\0b\n\"ü\"".into())
        );
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        for (line, named) in [
            (r#"{"run_id":"r","turn":1,"role":"user"}"#, "`content`"),
            (r#"{"turn":1,"role":"user","content":""}"#, "`run_id`"),
            (
                r#"{"run_id":"r","turn":-1,"role":"user","content":""}"#,
                "-1",
            ),
            (
                r#"{"run_id":"r","turn":1,"role":"u","content":"","rolle":1}"#,
                "`rolle`",
            ),
        ] {
            let error = serde_json::from_str::<Turn>(line).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_value_without_json_is_refused() {
        let map = std::collections::HashMap::from([((1, 2), 3)]);
        let error = Turn::with_json("r", 4, "tool", &map).unwrap_err();
        assert_eq!(error.to_string(), "make JSON of turn 4 of run r");
    }
}
