//! What the hook misses: the same closure, seen by the hook and by the kernel.

mod symbols;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::counts::SyncCounts;
use crate::event::Operation;
use crate::incomplete::Incomplete;
use crate::kernel::origin::Origin;
use crate::kernel::{KernelScope, KernelScopeUnavailable, Told, note, watched};

/// Runs `f` under the hook and under the kernel's eyes, and says what only the kernel saw, by whom
/// it was called and what to do about it.
///
/// Run it once where you begin to count: an empty list means that [`Scope`](crate::Scope), which
/// costs less and works everywhere, sees all that this code syncs.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))] {
/// use std::fs::File;
///
/// let dir = tempfile::tempdir().unwrap();
/// let audit = match fsync_counter::audit(|| {
///     File::create(dir.path().join("a")).unwrap().sync_all().unwrap();
/// }) {
///     Ok(audit) => audit,
///     Err(refused) => return eprintln!("{refused}"),
/// };
/// assert!(audit.missed().is_empty(), "{audit}");
/// assert_eq!(audit.kernel().files, 1);
/// # }
/// ```
///
/// # Errors
/// Where there is no [`KernelScope`].
///
/// # Panics
/// When `f` does, and as [`KernelScope::observe`].
#[track_caller]
pub fn audit<F, T>(f: F) -> Result<Audit<T>, KernelScopeUnavailable>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let scope = KernelScope::open()?;
    let (mut hook, mut kernel) = (SyncCounts::new(), SyncCounts::new());
    let mut missed: BTreeMap<(Origin, &'static str), (Operation, u64)> = BTreeMap::new();
    let mut incomplete = Vec::new();
    let value = watched(scope.traced(), f, &mut |told| match told {
        Told::Incomplete(reason) => note(&mut incomplete, reason),
        Told::Sync(seen) => {
            kernel.add(&seen.event);
            match seen.origin {
                Some(Origin::Hook) => hook.add(&seen.event),
                origin => {
                    let origin = origin.unwrap_or(Origin::Code {
                        object: None,
                        offset: 0,
                    });
                    let operation = seen.event.operation;
                    missed
                        .entry((origin, operation.name()))
                        .or_insert((operation, 0))
                        .1 += 1;
                }
            }
        }
    });
    Ok(Audit {
        value,
        hook,
        kernel,
        missed: lines(missed),
        incomplete,
    })
}

/// One line a caller and operation: several places of one function are one caller.
fn lines(missed: BTreeMap<(Origin, &'static str), (Operation, u64)>) -> Vec<AuditLine> {
    let mut lines: Vec<AuditLine> = Vec::new();
    let mut program = Program::default();
    for ((origin, _), (operation, syncs)) in missed {
        let caller = Caller::of(origin, &mut program);
        let known = lines
            .iter_mut()
            .find(|line| line.caller == caller && line.operation == operation);
        match known {
            Some(line) => line.syncs += syncs,
            None => lines.push(AuditLine {
                caller,
                operation,
                syncs,
            }),
        }
    }
    lines.sort_by_key(|line| Reverse(line.syncs));
    lines
}

/// What [`audit`] found. Its `Display` is a report.
#[derive(Clone, Debug)]
#[must_use]
pub struct Audit<T> {
    /// What the closure returned.
    pub value: T,
    hook: SyncCounts,
    kernel: SyncCounts,
    missed: Vec<AuditLine>,
    incomplete: Vec<Incomplete>,
}

impl<T> Audit<T> {
    /// What the hook passed on to the kernel.
    #[must_use]
    pub fn hook(&self) -> SyncCounts {
        self.hook
    }

    /// What reached the kernel.
    #[must_use]
    pub fn kernel(&self) -> SyncCounts {
        self.kernel
    }

    /// What the hook did not see, by caller; empty when it saw all.
    #[must_use]
    pub fn missed(&self) -> &[AuditLine] {
        &self.missed
    }

    /// Why also the kernel's counts may be too low.
    #[must_use]
    pub fn incomplete(&self) -> &[Incomplete] {
        &self.incomplete
    }
}

/// The two numbers, a line for each caller that the hook does not see with its cure, and what else
/// may be missing.
impl<T> fmt::Display for Audit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |counts: SyncCounts| counts.total() + counts.weak;
        let (hook, kernel) = (all(self.hook), all(self.kernel));
        write!(f, "hook {hook}, kernel {kernel}: ")?;
        match kernel - hook {
            0 => f.write_str("the hook sees all")?,
            1 => f.write_str("1 sync that the hook does not see")?,
            more => write!(f, "{more} syncs that the hook does not see")?,
        }
        for line in &self.missed {
            write!(f, "\n  {line}\n    {}", line.caller.cure())?;
        }
        for reason in &self.incomplete {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

/// Syncs of one caller that the hook does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditLine {
    /// Who called.
    pub caller: Caller,
    /// The function called.
    pub operation: Operation,
    /// How often.
    pub syncs: u64,
}

impl fmt::Display for AuditLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} by {}", self.syncs, self.operation, self.caller)
    }
}

/// A kind of caller that the hook does not see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Caller {
    /// The crate rustix, which makes its own system calls unless told otherwise.
    Rustix {
        /// The function, as far as its symbol tells.
        function: String,
    },
    /// A system call in the program's own code that does not go through the C library.
    Inline {
        /// The function that it stands in, as far as its symbol tells: a system call that was
        /// inlined stands in its caller's. `None` where there is no symbol.
        function: Option<String>,
    },
    /// The C library itself, from within.
    CLibrary {
        /// Its file.
        library: PathBuf,
    },
    /// A shared library whose calls don't reach this program's functions.
    SharedLibrary {
        /// Its file.
        library: PathBuf,
    },
    /// Code that belongs to no file: a just-in-time compiler's.
    Generated,
    /// A child process.
    Child {
        /// The command's name.
        command: String,
    },
}

impl Caller {
    fn of(origin: Origin, program: &mut Program) -> Self {
        let (object, offset) = match origin {
            Origin::Child { command } => return Self::Child { command },
            Origin::Code {
                object: Some(object),
                offset,
            } => (object, offset),
            Origin::Hook | Origin::Code { object: None, .. } => return Self::Generated,
        };
        let name = object
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if ["libc.so", "libc-", "libc.musl", "ld-musl"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            return Self::CLibrary { library: object };
        }
        if !is_this_program(&object) {
            return Self::SharedLibrary { library: object };
        }
        match program.function_at(&object, offset) {
            Some(function) if function.starts_with("rustix::") => Self::Rustix { function },
            function => Self::Inline { function },
        }
    }

    /// What to do so that the syncs of this caller are counted.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Rustix { .. } => {
                "enable rustix's feature `use-libc` in your dev-dependencies: features are \
                 unified, so that every user of rustix in the test build changes over"
            }
            Self::Inline { .. } => {
                "no hook sees a system call in machine code: count with KernelScope (is it rustix, \
                 inlined? its feature `use-libc` in your dev-dependencies makes it visible)"
            }
            Self::CLibrary { .. } => {
                "the C library calls itself (aio_fsync does): count with KernelScope"
            }
            Self::SharedLibrary { .. } => {
                "it has system calls of its own, or was loaded so that it looks into itself first \
                 (RTLD_DEEPBIND): count with KernelScope"
            }
            Self::Generated => "generated code: count with KernelScope",
            Self::Child { .. } => {
                "count with KernelScope, or put a scope into the child where it is yours"
            }
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustix { function } => write!(f, "rustix ({function})"),
            Self::Inline {
                function: Some(function),
            } => write!(f, "a system call in {function}"),
            Self::Inline { function: None } => {
                f.write_str("a system call in this program, in a function without a symbol")
            }
            Self::CLibrary { library } => write!(f, "the C library ({})", library.display()),
            Self::SharedLibrary { library } => write!(f, "{}", library.display()),
            Self::Generated => f.write_str("generated code"),
            Self::Child { command } => write!(f, "a child process, {command}"),
        }
    }
}

/// The file of this program, read once it is asked about.
#[derive(Default)]
struct Program(Option<Vec<u8>>);

impl Program {
    fn function_at(&mut self, path: &Path, offset: u64) -> Option<String> {
        let file = self
            .0
            .get_or_insert_with(|| fs::read(path).unwrap_or_default());
        symbols::function_at(file, offset)
    }
}

fn is_this_program(object: &Path) -> bool {
    std::env::current_exe()
        .and_then(|program| program.canonicalize())
        .is_ok_and(|program| program == object)
}
