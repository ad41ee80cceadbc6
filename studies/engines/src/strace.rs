//! A third witness, where it is installed: strace, which knows nothing of fsync-counter. It also
//! sees the writes that are durable without a sync call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::drive::MARKS;
use crate::phases::{Cut, cut};
use crate::sync::relative;
use crate::{Class, Result, SyncCall};

/// What strace is to watch. The opening and closing of descriptors tells which of them are
/// `O_DSYNC`. Not every architecture has those with a question mark.
pub const CALLS: &str = "fsync,fdatasync,msync,sync_file_range,syncfs,sync,?open,openat,?openat2,\
                         ?creat,close,write,writev,pwrite64,pwritev,?pwritev2";

/// A write that is durable without a sync, among the syncs.
const DURABLE_WRITE: &str = "durable write";

const WRITES: [&str; 5] = ["write", "writev", "pwrite64", "pwritev", "pwritev2"];
const SYNCS: [&str; 6] = [
    "fsync",
    "fdatasync",
    "msync",
    "sync_file_range",
    "syncfs",
    "sync",
];

/// What a trace shows of each phase.
#[derive(Debug, Eq, PartialEq)]
pub struct Trace {
    /// The syncs; their class and that of `msync` is not known, nor is the path of the latter.
    pub syncs: Cut,
    /// How many writes went through descriptors opened with `O_SYNC` or `O_DSYNC`, or had such a
    /// flag themselves.
    pub durable_writes: Vec<u64>,
}

/// Reads the output of `strace -f -y`, of which every line begins with the id of a thread.
///
/// # Errors
/// As [`cut`].
pub fn read(output: &str, root: &Path, phases: &[String]) -> Result<Trace> {
    let mut durable = BTreeSet::new();
    let mut opening = BTreeMap::new();
    let mut syncs = Vec::new();
    for line in output.lines() {
        let Some((thread, line)) = line.trim_start().split_once(char::is_whitespace) else {
            continue;
        };
        let line = line.trim_start();
        if let Some(resumed) = line.strip_prefix("<... ") {
            // What was opened is known from the end of the call only.
            if let Some(flags) = opening.remove(thread) {
                opened(&mut durable, flags, resumed);
            }
            continue;
        }
        let Some((call, arguments)) = line.split_once('(') else {
            continue;
        };
        let unfinished = line.ends_with("<unfinished ...>");
        if SYNCS.contains(&call) {
            syncs.push(sync_call(call, arguments, root));
        } else if call.starts_with("open") || call == "creat" {
            let flags = is_durable(arguments);
            if unfinished {
                opening.insert(thread, flags);
            } else {
                opened(&mut durable, flags, arguments);
            }
        } else if call == "close" {
            durable.remove(number(arguments));
        } else if WRITES.contains(&call)
            && (durable.contains(number(arguments)) || has_durable_flag(arguments))
        {
            // Cut at the marks together with the syncs, and taken out again below.
            syncs.push(SyncCall {
                call: DURABLE_WRITE.to_owned(),
                path: None,
                ..sync_call(call, arguments, root)
            });
        }
    }
    let mut all = cut("strace", syncs, phases)?;
    let durable_writes = all
        .phases
        .iter_mut()
        .map(|phase| {
            let before = phase.len();
            phase.retain(|sync| sync.call != DURABLE_WRITE);
            (before - phase.len()) as u64
        })
        .collect();
    all.late.retain(|sync| sync.call != DURABLE_WRITE);
    Ok(Trace {
        syncs: all,
        durable_writes,
    })
}

/// The call as the scopes would tell it, as far as strace knows.
fn sync_call(call: &str, arguments: &str, root: &Path) -> SyncCall {
    let asynchronous = call == "msync" && !arguments.contains("MS_SYNC");
    SyncCall {
        call: if asynchronous {
            "msync(async)".to_owned()
        } else {
            call.to_owned()
        },
        class: Class::Unknown,
        weak: asynchronous || call == "sync_file_range",
        path: path(arguments).map(|path| relative(Path::new(path), root)),
        process: None,
    }
}

/// The same syncs as a scope saw them, without what strace does not know.
pub fn as_strace_would_tell(syncs: &[SyncCall]) -> Vec<SyncCall> {
    syncs
        .iter()
        .map(|sync| SyncCall {
            class: Class::Unknown,
            path: sync
                .path
                .clone()
                .filter(|_| !sync.call.starts_with("msync")),
            process: None,
            ..sync.clone()
        })
        .collect()
}

/// The path of the descriptor that is the first argument: `5</tmp/a>(deleted), …`.
fn path(arguments: &str) -> Option<&str> {
    let (descriptor, rest) = arguments.split_once('<')?;
    let is_descriptor =
        !descriptor.is_empty() && descriptor.bytes().all(|byte| byte.is_ascii_digit());
    let (path, _) = rest.split_once('>')?;
    is_descriptor.then_some(path)
}

/// The number of the descriptor that is the first argument.
fn number(arguments: &str) -> &str {
    let end = arguments
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(arguments.len());
    &arguments[..end]
}

/// Whether the flags of an opening make every write durable.
fn is_durable(arguments: &str) -> bool {
    arguments
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(|word| matches!(word, "O_DSYNC" | "O_SYNC"))
}

fn has_durable_flag(arguments: &str) -> bool {
    arguments
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(|word| matches!(word, "RWF_DSYNC" | "RWF_SYNC"))
}

/// Notes what an opening returned.
fn opened(durable: &mut BTreeSet<String>, is_durable: bool, end: &str) {
    let Some((_, result)) = end.rsplit_once("= ") else {
        return;
    };
    let descriptor = number(result).to_owned();
    if is_durable && !descriptor.is_empty() {
        durable.insert(descriptor);
    } else {
        durable.remove(&descriptor);
    }
}

/// Whether two witnesses tell the same of every phase.
///
/// # Errors
/// The first phase in which they differ, with what each of them saw.
pub fn agree(phases: &[String], scopes: &[Vec<SyncCall>], strace: &[Vec<SyncCall>]) -> Result<()> {
    for ((phase, scopes), strace) in phases.iter().zip(scopes).zip(strace) {
        let mut scopes = as_strace_would_tell(scopes);
        let mut strace = as_strace_would_tell(strace);
        scopes.sort();
        strace.sort();
        if scopes != strace {
            let words = |syncs: &[SyncCall]| -> Vec<String> {
                syncs.iter().map(|sync| sync.describe(MARKS)).collect()
            };
            return Err(format!(
                "in the phase {phase} the scopes saw {:?} and strace {:?}",
                words(&scopes),
                words(&strace)
            )
            .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"
10  openat(AT_FDCWD, "/r/marks/000-begin", O_WRONLY|O_CREAT, 0666) = 3</r/marks/000-begin>
10  fsync(3</r/marks/000-begin>)      = 0
10  close(3</r/marks/000-begin>)      = 0
10  openat(AT_FDCWD, "/r/db/data.mdb", O_WRONLY|O_DSYNC|O_CLOEXEC) = 3</r/db/data.mdb>
11  openat(AT_FDCWD, "/r/db/log", O_WRONLY|O_SYNC <unfinished ...>
10  openat(AT_FDCWD, "/r/db/plain", O_WRONLY) = 5</r/db/plain>
11  <... openat resumed>, 0600)       = 4</r/db/log>
10  write(5</r/db/plain>, ""..., 9)   = 9
10  fdatasync(5</r/db/plain> <unfinished ...>
11  pwrite64(4</r/db/log>, ""..., 9, 0) = 9
10  <... fdatasync resumed>)          = 0
10  fsync(9</r/marks/001-create>)     = 0
10  pwrite64(3</r/db/data.mdb>, ""..., 120, 24) = 120
10  msync(0x7f0000000000, 4096, MS_SYNC) = 0
10  msync(0x7f0000000000, 4096, MS_ASYNC) = 0
10  pwritev2(5</r/db/plain>, [{iov_base=""..., iov_len=1}], 1, 0, RWF_DSYNC) = 1
10  close(3</r/db/data.mdb>)          = 0
10  openat(AT_FDCWD, "/r/db", O_RDONLY|O_DIRECTORY) = 3</r/db>
10  fsync(3</r/db>)                   = 0
10  fsync(8</r/db/journal>(deleted))  = 0
10  write(3</r/db>, ""..., 1)         = -1 EBADF (Bad file descriptor)
10  fsync(9</r/marks/002-commit>)     = 0
10  +++ exited with 0 +++
"#;

    fn trace(output: &str) -> Result<Trace> {
        let phases = ["create".to_owned(), "commit".to_owned()];
        read(output, Path::new("/r"), &phases)
    }

    #[test]
    fn reads_syncs_and_durable_writes() {
        let trace = trace(OUTPUT).unwrap();
        let words: Vec<Vec<String>> = trace
            .syncs
            .phases
            .iter()
            .map(|phase| phase.iter().map(|sync| sync.describe("db")).collect())
            .collect();
        assert_eq!(
            words,
            [
                vec!["`fdatasync` plain"],
                vec!["`msync`", "`msync(async)`", "`fsync` .", "`fsync` journal"]
            ]
        );
        assert_eq!(trace.durable_writes, [1, 2]);
        assert!(trace.syncs.phases[1][1].weak);
    }

    #[test]
    fn witnesses_that_differ_are_told_with_the_phase() {
        let phases = ["create".to_owned(), "commit".to_owned()];
        let trace = trace(OUTPUT).unwrap();
        let same = trace.syncs.phases.clone();
        agree(&phases, &same, &trace.syncs.phases).unwrap();
        let mut fewer = same;
        fewer[1].remove(2);
        let error = agree(&phases, &fewer, &trace.syncs.phases).unwrap_err();
        assert!(error.to_string().contains("in the phase commit"), "{error}");
    }

    #[test]
    fn a_trace_without_a_mark_is_an_error() {
        let without = OUTPUT.replace("002-commit", "002-create");
        assert!(trace(&without).is_err());
    }
}
