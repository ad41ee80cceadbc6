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
        let names = sections.clone().nth(usize::try_from(u32_at(symbols, 0x28)?).ok()?)?;
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
/// length. Not a demangler: generic arguments and such are left out or run together.
fn readable(symbol: &str) -> String {
    let mangled = symbol
        .strip_prefix("_ZN")
        .or_else(|| symbol.strip_prefix("_R"));
    let Some(mut rest) = mangled else {
        return symbol.to_owned();
    };
    let mut names: Vec<&str> = Vec::new();
    while let Some(digit) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[digit..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let len: usize = rest[..end].parse().unwrap_or(0);
        let start = end + usize::from(rest[end..].starts_with('_'));
        let Some(name) = rest.get(start..start + len) else {
            break;
        };
        rest = &rest[start + len..];
        let is_hash = name.len() == 17
            && name.starts_with('h')
            && name[1..].bytes().all(|b| b.is_ascii_hexdigit());
        if !name.is_empty() && !is_hash {
            names.push(name);
        }
    }
    if names.is_empty() {
        symbol.to_owned()
    } else {
        names.join("::")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_manglings_are_readable() {
        let legacy = "_ZN6rustix7backend2fs8syscalls5fsync17h0123456789abcdefE";
        assert_eq!(readable(legacy), "rustix::backend::fs::syscalls::fsync");
        let v0 = "_RNvNtNtCs4fqI2P2rA04_6rustix7backend2fs5fsync";
        assert!(
            readable(v0).ends_with("rustix::backend::fs::fsync"),
            "{}",
            readable(v0)
        );
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
