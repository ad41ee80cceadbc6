//! The proof that the hook is what the program calls: it fails where the hook is dead, and issues
//! no sync.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use fsync_counter::{HookError, Scope, SyncCounts, check_linkage};

use crate::alone::{alone, is_child};
use crate::strace;

#[test]
fn this_program_is_hooked() {
    assert_eq!(check_linkage(), Ok(()));
}

/// `examples/hook_in_a_library.rs`, which `cargo test` and cargo-nextest build beside the tests.
fn library() -> PathBuf {
    example("libhook_in_a_library.so")
}

/// What is built of the crate's examples.
fn example(file: &str) -> PathBuf {
    let this = env::current_exe().expect("the path of this binary");
    let profile = this.ancestors().nth(2).expect("target/<profile>/deps");
    let path = profile.join("examples").join(file);
    assert!(
        path.is_file(),
        "{} is not there\nbuild it with `cargo build -p fsync-counter --examples`",
        path.display()
    );
    path
}

/// A function of the library, loaded as a program loads a plug-in.
fn function(name: &CStr) -> *mut c_void {
    let path = CString::new(library().as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string, and the library has no initialisers of its own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "the library does not load");
    // SAFETY: the library stays loaded; the name is a C string.
    let function = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!function.is_null(), "the library has no such function");
    function
}

/// What the library's copy of the hook says.
fn what_the_library_says() -> String {
    type Says = unsafe extern "C" fn(*mut c_char, usize) -> usize;
    let says = function(c"hook_in_a_library_says");
    // SAFETY: the function has this signature.
    let says = unsafe { std::mem::transmute::<*mut c_void, Says>(says) };
    let mut text = vec![0_u8; 1024];
    // SAFETY: the buffer is as large as is said.
    let length = unsafe { says(text.as_mut_ptr().cast(), text.len()) };
    text.truncate(length);
    String::from_utf8(text).unwrap()
}

/// The program's `fsync` comes before the library's in the dynamic linker's search.
#[test]
fn a_copy_of_the_hook_in_a_library_says_that_it_is_dead() {
    const TEST: &str = "linkage::a_copy_of_the_hook_in_a_library_says_that_it_is_dead";
    alone(TEST, || {
        let expected = HookError::NotLinked { function: "fsync" }.to_string();
        assert_eq!(what_the_library_says(), expected);
    });
}

/// For the same reason the library's syncs are the program's to count.
#[test]
fn the_syncs_of_a_loaded_library_are_counted() {
    type Syncs = unsafe extern "C" fn(c_int) -> c_int;
    let syncs = function(c"hook_in_a_library_syncs");
    // SAFETY: the function has this signature.
    let syncs = unsafe { std::mem::transmute::<*mut c_void, Syncs>(syncs) };
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("a")).unwrap();
    let seen = Scope::under(dir.path()).observe(|| {
        // SAFETY: the file is open, and the library leaves it so.
        unsafe { syncs(file.as_raw_fd()) }
    });
    assert_eq!(seen.value, 0);
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
}

/// A program that lists the crate and never names it has no hook. Nobody in it can count: a library
/// with a copy of the hook says so, and is not silent.
#[test]
fn where_nobody_names_the_crate_nothing_counts_zero() {
    let host = example("host_without_the_hook");
    let output = Command::new(host).arg(library()).output().unwrap();
    let expected = HookError::NotLinked { function: "fsync" }.to_string();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn the_error_names_the_function_and_the_cure() {
    assert_eq!(
        HookError::NotLinked { function: "msync" }.to_string(),
        "the fsync-counter hook is not linked: this program's `msync` is answered by something \
         else, so a count would be a silent zero\n\
         link the crate into the test binary itself: a dev-dependency and \
         `use fsync_counter as _;` in that test, not in a library that is loaded at run time"
    );
}

#[test]
fn the_proof_issues_no_sync() {
    const TEST: &str = "linkage::the_proof_issues_no_sync";
    if is_child(TEST) {
        assert_eq!(check_linkage(), Ok(()));
        return;
    }
    if let Some(syncs) = strace::syncs_of(TEST, &[]) {
        assert_eq!(syncs, [] as [String; 0]);
    }
}

/// Not only no sync: nothing is opened, written, renamed or removed, except that a device is opened
/// for the standard library to sync. Everything between the two calls that mark the proof.
#[test]
fn the_proof_has_no_effect() {
    const TEST: &str = "linkage::the_proof_has_no_effect";
    if is_child(TEST) {
        mark();
        assert_eq!(check_linkage(), Ok(()));
        mark();
        return;
    }
    let calls = format!(
        "getppid,%file,close,writev,pwritev,pwritev2,{}",
        strace::SYNCS
    );
    let Some(lines) = strace::lines_of(TEST, &calls, &[]) else {
        return;
    };
    let is_mark = |line: &&String| strace::call_in(line).as_deref() == Some("getppid");
    let thread = |line: &str| line.split(' ').next().map(str::to_owned);
    let marked = lines.iter().find(is_mark).map(|line| thread(line));
    let marked = marked.expect("the marks are traced");
    let of_the_thread = lines.iter().filter(|line| thread(line) == marked);
    let proof: Vec<_> = of_the_thread
        .skip_while(|line| !is_mark(line))
        .skip(1)
        .take_while(|line| !is_mark(line))
        .collect();
    let names: Vec<_> = proof
        .iter()
        .filter_map(|line| strace::call_in(line))
        .collect();
    assert_eq!(names, ["openat", "close"], "{proof:?}");
    assert!(proof[0].contains("\"/dev/null\", O_RDONLY"), "{proof:?}");
}

/// A call that the standard library does not make.
fn mark() {
    // SAFETY: takes nothing.
    unsafe { libc::getppid() };
}

/// That an empty answer from strace means something.
#[test]
fn strace_sees_a_sync() {
    const TEST: &str = "linkage::strace_sees_a_sync";
    if is_child(TEST) {
        std::fs::File::open("/dev/null")
            .unwrap()
            .sync_data()
            .unwrap_err();
        return;
    }
    if let Some(syncs) = strace::syncs_of(TEST, &[]) {
        assert_eq!(syncs, ["fdatasync"]);
    }
}
