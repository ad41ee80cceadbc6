//! Where it was measured, for the head of the document.

use std::fs;
use std::path::Path;
use std::thread;

use crate::Result;

/// `AMD EPYC, 2 cores, Linux 6.18.44`.
#[must_use]
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, Linux {}",
        processor(&cpuinfo).unwrap_or("unknown processor"),
        plain_release(&release)
    )
}

/// Tasks that are ready to run, averaged over a minute: 0 is idle.
#[must_use]
pub fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = load.split(' ').next().and_then(|load| load.parse().ok());
    first.unwrap_or_default()
}

/// Memory of this process that is in use, in bytes.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes: Option<u64> = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    kibibytes.unwrap_or_default() * 1024
}

fn processor(cpuinfo: &str) -> Option<&str> {
    cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map(|(_, name)| name.trim())
}

/// The kernel's version without what its builder called it.
fn plain_release(release: &str) -> &str {
    let end = release
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(release.len());
    &release[..end]
}

/// The type of the file system that a directory lies on.
///
/// # Errors
/// When the directory or the kernel's list of mounts can't be read.
pub fn file_system(directory: &Path) -> Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount_of = |line: &str| -> Option<(usize, String)> {
        let mut fields = line.split(' ');
        let point = fields.nth(1)?;
        let kind = fields.next()?;
        directory
            .starts_with(point)
            .then(|| (point.len(), kind.to_owned()))
    };
    let longest = mounts.lines().filter_map(mount_of).max();
    Ok(longest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind))
}

/// The version of a crate in a lock file.
#[must_use]
pub fn version_in(lock: &str, name: &str) -> String {
    let entry = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != entry);
    lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \""))
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or("?")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_lists() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(processor(cpuinfo), Some("Some CPU"));
        assert_eq!(plain_release("6.18.44-made-by-me\n"), "6.18.44");
        assert!(resident_bytes() > 100_000);
    }

    #[test]
    fn a_version_stands_below_its_name() {
        let lock = "[[package]]\nname = \"redb\"\nversion = \"4.4.0\"\n";
        assert_eq!(version_in(lock, "redb"), "4.4.0");
        assert_eq!(version_in(lock, "sled"), "?");
    }
}
