//! The function that a piece of machine code belongs to, by the symbol table of its file.
//!
//! The format is ELF-64, little-endian (`elf(5)`): what Linux on x86_64 and aarch64 has. A file
//! without a symbol table (stripped) has no names.

/// The name of the function at this offset of the file.
pub(super) fn function_at(file: &[u8], offset: u64) -> Option<String> {
    let address = address_of(file, offset)?;
    let sections = table(file, 0x28, 0x3a, 0x3c)?;
    for symbols in sections.clone() {
        const SYMBOL_TABLE: u32 = 2;
        if u32_at(symbols, 4)? != SYMBOL_TABLE {
            continue;
        }
        let names = sections
            .clone()
            .nth(usize::try_from(u32_at(symbols, 0x28)?).ok()?)?;
        let names = content(file, names)?;
        let found = content(file, symbols)?.chunks_exact(24).find(|symbol| {
            const FUNCTION: u8 = 2;
            let (Some(start), Some(size)) = (u64_at(symbol, 8), u64_at(symbol, 16)) else {
                return false;
            };
            symbol[4] & 0xf == FUNCTION && address >= start && address - start < size
        })?;
        let name = names.get(usize::try_from(u32_at(found, 0)?).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        return Some(readable(std::str::from_utf8(name).ok()?));
    }
    None
}

/// The address at which code of the file wants to stand: that of its segment.
fn address_of(file: &[u8], offset: u64) -> Option<u64> {
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    table(file, 0x20, 0x36, 0x38)?.find_map(|segment| {
        const LOAD: u32 = 1;
        let (from, size) = (u64_at(segment, 8)?, u64_at(segment, 32)?);
        let is_in = u32_at(segment, 0)? == LOAD && offset >= from && offset - from < size;
        is_in.then_some(u64_at(segment, 16)? + (offset - from))
    })
}

/// The entries of a table: where the header says its place, the size of an entry, their number.
fn table(
    file: &[u8],
    place: usize,
    size: usize,
    number: usize,
) -> Option<impl Iterator<Item = &[u8]> + Clone> {
    let start = usize::try_from(u64_at(file, place)?).ok()?;
    let size = usize::from(u16_at(file, size)?).max(1);
    let len = size * usize::from(u16_at(file, number)?);
    Some(file.get(start..start.checked_add(len)?)?.chunks_exact(size))
}

/// What a section contains.
fn content<'a>(file: &'a [u8], section: &[u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(u64_at(section, 0x18)?).ok()?;
    let len = usize::try_from(u64_at(section, 0x20)?).ok()?;
    file.get(start..start.checked_add(len)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A symbol as a path: Rust's symbols, of either mangling, have its names in order, each behind its
/// length. Not a demangler: generic arguments run together with the rest.
fn readable(symbol: &str) -> String {
    let (mut rest, is_v0) = match (symbol.strip_prefix("_ZN"), symbol.strip_prefix("_R")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return symbol.to_owned(),
    };
    let mut names: Vec<&str> = Vec::new();
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            let Some((name, behind)) = name_at(rest) else {
                break;
            };
            if !name.is_empty() && !is_hash(name) {
                names.push(name);
            }
            rest = behind;
            continue;
        }
        // The newer mangling has other numbers, which end in an underscore; and what kind of thing a
        // name is.
        let skipped = match first {
            's' | 'B' if is_v0 => rest.find('_').map_or(rest.len(), |end| end + 1),
            'N' if is_v0 => 2,
            first => first.len_utf8(),
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    if names.is_empty() {
        symbol.to_owned()
    } else {
        names.join("::")
    }
}

/// The name at the start, behind its length, and what follows it.
fn name_at(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let len: usize = text[..end].parse().ok()?;
    let start = end + usize::from(text[end..].starts_with('_'));
    let name = text.get(start..start.checked_add(len)?)?;
    Some((name, &text[start + len..]))
}

/// What the older mangling ends with.
fn is_hash(name: &str) -> bool {
    name.len() == 17
        && name.starts_with('h')
        && name[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_manglings_are_readable() {
        let legacy = "_ZN6rustix7backend2fs8syscalls5fsync17h0123456789abcdefE";
        assert_eq!(readable(legacy), "rustix::backend::fs::syscalls::fsync");
        let v0 = "_RNvNtNtCs4fqI2P2rA04_6rustix7backend2fs5fsync";
        assert_eq!(readable(v0), "rustix::backend::fs::fsync");
        assert_eq!(readable("fsync_by_hand"), "fsync_by_hand");
        assert_eq!(readable("_R"), "_R");
        assert_eq!(readable("_ZN99a"), "_ZN99a");
    }

    #[test]
    fn what_is_no_such_file_has_no_functions() {
        for file in [&b""[..], b"\x7fELF\x02\x01", b"#!/bin/sh\n", &[0xff; 200]] {
            assert_eq!(function_at(file, 0), None);
        }
    }
}
