//! Directory names for parent ids.
//!
//! Any non-empty string is a legal parent id. This file turns it into one path component
//! that cannot leave the root and that no other id shares. It does not touch the disk.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::Error;

/// The longest encoded name used as it is; file systems commonly allow 255 bytes.
const ENCODED_BYTES_MAX: usize = 100;

/// How much of a longer encoding stays readable in front of the digest.
const PREFIX_BYTES: usize = 32;

/// Returns the directory name of `parent_id`.
///
/// Lower-case letters, digits, `_` and `-` stand for themselves; every other byte becomes
/// `%XX`. Upper-case letters are among the others, because a case-insensitive file system
/// would let `A` and `a` share a directory. An encoding over 100 bytes is cut and gets `~`
/// and the SHA-256 of the id; `~` occurs in no other name.
pub(crate) fn directory_name(parent_id: &str) -> Result<String, Error> {
    if parent_id.is_empty() {
        return Err(Error::EmptyParent);
    }
    let mut name = String::with_capacity(parent_id.len());
    for byte in parent_id.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => write!(name, "%{byte:02X}").expect("a String takes any text"),
        }
    }
    if name.len() > ENCODED_BYTES_MAX {
        name.truncate(PREFIX_BYTES);
        name.push('~');
        for byte in Sha256::digest(parent_id.as_bytes()) {
            write!(name, "{byte:02x}").expect("a String takes any text");
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn readable_ids_stay_readable() {
        assert_eq!(directory_name("agent_7-b").unwrap(), "agent_7-b");
        assert_eq!(directory_name("Agent 7").unwrap(), "%41gent%207");
        assert_eq!(directory_name("../é").unwrap(), "%2E%2E%2F%C3%A9");
    }

    #[test]
    fn an_empty_id_is_refused() {
        assert!(matches!(directory_name(""), Err(Error::EmptyParent)));
    }

    #[test]
    fn the_longest_plain_name_and_the_shortest_hashed_one() {
        let plain = "a".repeat(100);
        assert_eq!(directory_name(&plain).unwrap(), plain);
        let hashed = directory_name(&"a".repeat(101)).unwrap();
        assert_eq!(hashed.len(), PREFIX_BYTES + 1 + 64);
        assert!(hashed.contains('~'));
    }

    /// Every string of up to four pieces from an alphabet of awkward ones, plus long ids
    /// that differ only past the cut: 16,000 ids, no two in one directory on a file system
    /// that folds case, and each a single ordinary path component.
    #[test]
    fn no_two_ids_share_a_name_and_none_escapes() {
        let pieces = [
            "a", "A", "/", "\\", "..", ".", " ", "%", "%2E", "~", "é", "\u{0}",
        ];
        let mut ids: Vec<String> = vec![String::new()];
        let mut start = 0;
        for _ in 0..4 {
            let end = ids.len();
            for index in start..end {
                for piece in pieces {
                    ids.push(format!("{}{piece}", ids[index]));
                }
            }
            start = end;
        }
        for tail in ["", "x", "X", "/", "é", "~"] {
            ids.push(format!("{}{tail}", "p".repeat(300)));
            ids.push(format!("{}{tail}", "É".repeat(150)));
            ids.push(format!("{}{tail}", "../".repeat(100)));
        }
        ids.sort();
        ids.dedup();
        let mut seen: HashMap<String, String> = HashMap::new();
        for id in ids.into_iter().filter(|id| !id.is_empty()) {
            let name = directory_name(&id).unwrap();
            assert!(name.len() <= ENCODED_BYTES_MAX, "{id:?} gives {name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-%~".contains(&byte)),
                "{id:?} gives {name}"
            );
            if let Some(other) = seen.insert(name.to_ascii_lowercase(), id.clone()) {
                panic!("{id:?} and {other:?} share {name}");
            }
        }
        assert!(seen.len() > 15_000);
    }
}
