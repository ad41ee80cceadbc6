//! The machine that a run was on, for the head of the document.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shared::machine;

/// What the kernel says of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's model.
    pub cpu: String,
    /// CPUs that a process may use.
    pub cores: usize,
    /// In GiB.
    pub memory_gib: Option<u64>,
    /// The operating system and its release.
    pub system: String,
    /// The type of the file system that temporary files lie on.
    pub file_system: String,
}

impl Machine {
    /// This one, with the file system of `directory`.
    #[must_use]
    pub fn here(directory: &Path) -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: machine::cpu(),
            cores: machine::cores(),
            memory_gib: memory_gib(&meminfo),
            system: machine::system(),
            file_system: machine::file_system(directory).unwrap_or_else(|_| "unknown".to_owned()),
        }
    }
}

fn memory_gib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kib + (1 << 19)) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_whole_gibibytes() {
        let meminfo = "MemTotal:       24683912 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_gib(meminfo), Some(24));
    }
}
