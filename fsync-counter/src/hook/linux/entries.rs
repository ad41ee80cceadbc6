//! Changes of directory entries, for the scopes that note them: renames, and removals of names.
//!
//! With no such scope open a call is forwarded and nothing else. Otherwise the entry is looked at
//! too: before it is removed, after it has its new name. It is opened for that without rights
//! (`O_PATH`), so that the kernel reads the caller's path, follows it and tells the canonical one;
//! nothing here has to, and a path that is no string is refused by the call itself. The
//! descriptor is closed before a removal: a network file system would keep a file that is open.
//!
//! Only what succeeded is noted: a call that failed has changed no entry. Its number, by which
//! events stand in order, is of the moment before the call.
//!
//! glibc and musl make `rename`, `unlink` and `rmdir` of different system calls on different
//! architectures. The ones here do the same to the same files.

use std::hint::black_box;

use libc::{c_char, c_int, c_long, c_uint};

use super::place::Placement;
use super::raw::{self, RawResult};
use super::{ids, int, next_sequence, pointer, this_thread, value, witness, witnessed};
use crate::event::Operation;
use crate::linkage::HookError;
use crate::registry;
use crate::watch::Sighting;

/// What happens to which entry.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// Another one gets this name.
    Rename(c_int, *const c_char),
    /// It is removed.
    Unlink(c_int, *const c_char),
}

impl Change {
    /// What the system call with this number changes, if it is one of those here.
    pub(super) fn by_call(number: c_long, arguments: [c_long; 6]) -> Option<Self> {
        let name = |at: usize| pointer(arguments[at]).cast::<c_char>().cast_const();
        let directory = |at: usize| int(arguments[at]);
        Some(match number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => Self::Rename(libc::AT_FDCWD, name(1)),
            libc::SYS_renameat | libc::SYS_renameat2 => Self::Rename(directory(2), name(3)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink | libc::SYS_rmdir => Self::Unlink(libc::AT_FDCWD, name(0)),
            libc::SYS_unlinkat => Self::Unlink(directory(0), name(1)),
            _ => return None,
        })
    }

    fn operation(self) -> Operation {
        match self {
            Self::Rename(..) => Operation::Rename,
            Self::Unlink(..) => Operation::Unlink,
        }
    }

    /// Forwards the call that makes the change, and notes that it did.
    #[inline]
    pub(super) fn watched(self, forward: impl Fn() -> RawResult) -> RawResult {
        if registry::any_open() {
            self.noted(&forward)
        } else {
            forward()
        }
    }

    #[cold]
    #[inline(never)]
    fn noted(self, forward: &dyn Fn() -> RawResult) -> RawResult {
        let mut is_wanted = false;
        registry::for_each_open(|_, watch| is_wanted |= watch.notes_entries());
        if !is_wanted {
            return forward();
        }
        let (thread, process) = ids::thread_and_process();
        let sequence = next_sequence();
        let mut placement = Placement::default();
        if let Self::Unlink(directory, name) = self {
            placement.find_entry(directory, name, process);
        }
        let done = forward()?;
        if let Self::Rename(directory, name) = self {
            placement.find_entry(directory, name, process);
        }
        let sighting = Sighting {
            sequence,
            operation: self.operation(),
            flags: 0,
            class: placement.class,
            place: placement.place,
            path: placement.path(),
            caller: this_thread(),
            thread,
            process,
        };
        registry::for_each_open(|_, watch| watch.entry_changed(&sighting));
        Ok(done)
    }
}

/// The way of every function here.
#[inline]
fn change(change: Change, forward: impl Fn() -> RawResult) -> c_int {
    int(value(if witness() {
        Err(libc::ECANCELED)
    } else {
        change.watched(forward)
    }))
}

#[inline]
fn rename_in(
    old_directory: c_int,
    old: *const c_char,
    new_directory: c_int,
    new: *const c_char,
) -> c_int {
    change(Change::Rename(new_directory, new), || {
        raw::renameat(old_directory, old, new_directory, new)
    })
}

#[inline]
fn unlink_in(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    change(Change::Unlink(directory, path), || {
        raw::unlinkat(directory, path, flags)
    })
}

// SAFETY: no other definition with this name exists in the crate graph (`links` in Cargo.toml), and
// the signature is the C library's, so that every caller passes what is read here. The paths are
// passed on to the kernel and never followed here.
#[unsafe(no_mangle)]
extern "C" fn rename(old: *const c_char, new: *const c_char) -> c_int {
    rename_in(libc::AT_FDCWD, old, libc::AT_FDCWD, new)
}

// SAFETY: as for `rename`.
#[unsafe(no_mangle)]
extern "C" fn renameat(
    old_directory: c_int,
    old: *const c_char,
    new_directory: c_int,
    new: *const c_char,
) -> c_int {
    rename_in(old_directory, old, new_directory, new)
}

// SAFETY: as for `rename`.
#[unsafe(no_mangle)]
extern "C" fn renameat2(
    old_directory: c_int,
    old: *const c_char,
    new_directory: c_int,
    new: *const c_char,
    flags: c_uint,
) -> c_int {
    if flags == 0 {
        // As both C libraries do: no kernel is too old for it.
        return rename_in(old_directory, old, new_directory, new);
    }
    change(Change::Rename(new_directory, new), || match raw::renameat2(
        old_directory,
        old,
        new_directory,
        new,
        flags,
    ) {
        Err(libc::ENOSYS) if cfg!(target_env = "gnu") => Err(libc::EINVAL),
        result => result,
    })
}

// SAFETY: as for `rename`.
#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    unlink_in(libc::AT_FDCWD, path, 0)
}

// SAFETY: as for `rename`.
#[unsafe(no_mangle)]
extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    unlink_in(directory, path, flags)
}

// SAFETY: as for `rename`.
#[unsafe(no_mangle)]
extern "C" fn rmdir(path: *const c_char) -> c_int {
    unlink_in(libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
}

// SAFETY: as for `rename`.
#[unsafe(no_mangle)]
extern "C" fn remove(path: *const c_char) -> c_int {
    change(
        Change::Unlink(libc::AT_FDCWD, path),
        || match raw::unlinkat(libc::AT_FDCWD, path, 0) {
            Err(libc::EISDIR) => raw::unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR),
            result => result,
        },
    )
}

/// The part of the proof of linkage (`super::prove`) that concerns these functions. Whoever else
/// answers is asked for a file that has no name.
pub(super) fn prove() -> Result<(), HookError> {
    const NO_NAME: *const c_char = c"".as_ptr();
    const HERE: c_int = libc::AT_FDCWD;

    let rename: unsafe extern "C" fn(*const c_char, *const c_char) -> c_int = libc::rename;
    // SAFETY: the paths are C strings, and no file has an empty one.
    witnessed("rename", || unsafe { black_box(rename)(NO_NAME, NO_NAME) })?;
    type RenameAt = unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char) -> c_int;
    let renameat: RenameAt = libc::renameat;
    // SAFETY: as for `rename`.
    witnessed("renameat", || unsafe {
        black_box(renameat)(HERE, NO_NAME, HERE, NO_NAME)
    })?;
    type RenameAt2 =
        unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, c_uint) -> c_int;
    let renameat2: RenameAt2 = libc::renameat2;
    // SAFETY: as for `rename`.
    witnessed("renameat2", || unsafe {
        black_box(renameat2)(HERE, NO_NAME, HERE, NO_NAME, 0)
    })?;
    let unlinkat: unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int = libc::unlinkat;
    // SAFETY: as for `rename`.
    witnessed("unlinkat", || unsafe {
        black_box(unlinkat)(HERE, NO_NAME, 0)
    })?;
    type OfPath = unsafe extern "C" fn(*const c_char) -> c_int;
    let of_path: [(&'static str, OfPath); 3] = [
        ("unlink", libc::unlink),
        ("rmdir", libc::rmdir),
        ("remove", libc::remove),
    ];
    for (name, function) in of_path {
        // SAFETY: as for `rename`.
        witnessed(name, || unsafe { black_box(function)(NO_NAME) })?;
    }
    // The standard library may live in a shared library of its own.
    witnessed("rename", || std::fs::rename("", ""))?;
    witnessed("unlink", || std::fs::remove_file(""))?;
    witnessed("rmdir", || std::fs::remove_dir(""))
}
