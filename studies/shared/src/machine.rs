//! The machine that a study runs on, for the head of its document.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;

/// `AMD EPYC, 2 cores, Linux 6.18.44`.
#[must_use]
pub fn describe() -> String {
    let cores = match cores() {
        1 => "1 core".to_owned(),
        n => format!("{n} cores"),
    };
    format!("{}, {cores}, {}", cpu(), system())
}

/// The CPU's model, or its architecture where the kernel does not name one.
#[must_use]
pub fn cpu() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    processor(&cpuinfo)
        .unwrap_or(std::env::consts::ARCH)
        .to_owned()
}

/// CPUs that a process may use.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The operating system and its release.
#[must_use]
pub fn system() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", plain_release(&release))
}

/// Tasks that were ready to run, averaged over the last minute: 0 is idle.
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
pub fn file_system(directory: &Path) -> io::Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(type_of(&mounts, &directory).unwrap_or("unknown").to_owned())
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

/// The version of a crate in a lock file; of several the newest that is listed.
#[must_use]
pub fn version_in<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let entry = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    let mut version = None;
    while lines.any(|line| line == entry) {
        version = lines
            .next()
            .and_then(|line| line.strip_prefix("version = \""))
            .and_then(|rest| rest.strip_suffix('"'))
            .or(version);
    }
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_lists() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(processor(cpuinfo), Some("Some CPU"));
        assert_eq!(plain_release("6.18.44-made-by-me\n"), "6.18.44");
        assert_eq!(plain_release("6.18.44\n"), "6.18.44");
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
        let lock = "[[package]]\nname = \"redb\"\nversion = \"3.9.0\"\n\
                    [[package]]\nname = \"redb\"\nversion = \"4.4.0\"\n\
                    [[package]]\nname = \"redb-derive\"\nversion = \"9.0.0\"\n";
        assert_eq!(version_in(lock, "redb"), Some("4.4.0"));
        assert_eq!(version_in(lock, "sled"), None);
    }
}
