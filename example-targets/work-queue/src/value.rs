//! The values that travel between actions: JSON as text, shared and never parsed on the way.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// A JSON value as text. Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// A value as JSON.
    ///
    /// # Errors
    ///
    /// When it can't be serialised, such as a map whose keys are no strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self(serde_json::to_string(value)?.into()))
    }

    /// Text that is JSON.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let value: &RawValue = serde_json::from_str(text)?;
        Ok(Self(value.get().into()))
    }

    /// JSON `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Text that this crate made, or that was checked when it was stored.
    pub(crate) fn trusted(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as a type.
    ///
    /// # Errors
    ///
    /// When it is of another.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The elements of an array; `None` when it is something else.
    #[must_use]
    pub fn elements(&self) -> Option<Vec<Self>> {
        let elements: Vec<&RawValue> = serde_json::from_str(&self.0).ok()?;
        Some(
            elements
                .into_iter()
                .map(|raw| Self(raw.get().into()))
                .collect(),
        )
    }

    /// The value that a JSON pointer (RFC 6901) names; the whole one for "".
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<Self> {
        if pointer.is_empty() {
            return Some(self.clone());
        }
        let value: serde_json::Value = serde_json::from_str(&self.0).ok()?;
        Self::of(value.pointer(pointer)?).ok()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes a JSON array of texts that are JSON.
pub(crate) fn array_of<'a>(values: impl Iterator<Item = &'a str>) -> Json {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(value);
    }
    text.push(']');
    Json::trusted(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_value_are_found() {
        let value = Json::parse(r#"{"a": [1, {"b": "two"}]}"#).expect("JSON");
        assert_eq!(value.at("/a/1/b").expect("there").as_str(), r#""two""#);
        assert_eq!(value.at("").expect("there"), value);
        assert_eq!(value.at("/a/7"), None);
        let elements = value.at("/a").expect("there").elements().expect("a list");
        assert_eq!(elements.len(), 2);
        assert_eq!(value.elements(), None);
        assert!(Json::parse("{").is_err());
        assert_eq!(array_of(["1", "[]"].into_iter()).as_str(), "[1,[]]");
        assert_eq!(array_of([].into_iter()).as_str(), "[]");
    }
}
