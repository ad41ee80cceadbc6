//! The machine that a run was on, for the head of the document.

use std::fs;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

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
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let directory = directory
            .canonicalize()
            .unwrap_or_else(|_| directory.to_owned());
        Self {
            cpu: processor(&read("/proc/cpuinfo"))
                .unwrap_or("unknown processor")
                .to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib(&read("/proc/meminfo")),
            system: format!(
                "Linux {}",
                plain_release(&read("/proc/sys/kernel/osrelease"))
            ),
            file_system: type_of(&read("/proc/self/mounts"), &directory)
                .unwrap_or("unknown")
                .to_owned(),
        }
    }
}

/// Tasks that ran in the last minute, on average.
#[must_use]
pub fn load_1m() -> Option<f64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split(' ').next()?.parse().ok()
}

fn processor(cpuinfo: &str) -> Option<&str> {
    cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map(|(_, name)| name.trim())
}

fn memory_gib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kib + (1 << 19)) >> 20)
}

/// The kernel's version without what its builder called it.
fn plain_release(release: &str) -> &str {
    let end = release
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(release.len());
    &release[..end]
}

/// The last mount of the longest mount point above the path.
fn type_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let point = fields.nth(1)?;
            Some((point, fields.next()?))
        })
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind)
}

/// The version of a crate in a lock file.
#[must_use]
pub fn version_in<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let entry = format!("name = \"{name}\"");
    lock.lines()
        .skip_while(|line| *line != entry)
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \""))
        .and_then(|rest| rest.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_lists() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(processor(cpuinfo), Some("Some CPU"));
        assert_eq!(plain_release("6.18.44-made-by-me\n"), "6.18.44");
        let meminfo = "MemTotal:       24683912 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_gib(meminfo), Some(24));
    }

    #[test]
    fn the_longest_mount_point_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        for (path, kind) in [("/tmp/y", "tmpfs"), ("/tmp/x/y", "xfs"), ("/tmpy", "ext4")] {
            assert_eq!(type_of(mounts, Path::new(path)), Some(kind));
        }
    }

    #[test]
    fn a_version_stands_below_its_name() {
        let lock = "[[package]]\nname = \"redb\"\nversion = \"4.4.0\"\n\
                    [[package]]\nname = \"redb-derive\"\nversion = \"9.0.0\"\n";
        assert_eq!(version_in(lock, "redb"), Some("4.4.0"));
        assert_eq!(version_in(lock, "sled"), None);
    }
}
