//! A program whose `Cargo.toml` lists the crate and whose code never names it: the linker leaves the
//! hook out. It loads a library that has a copy (`hook_in_a_library.rs`, whose path is the first
//! argument), and prints what that says; `tests/it/linkage.rs` reads it.

#[cfg(unix)]
fn main() {
    use std::ffi::{CString, c_char, c_void};
    use std::os::unix::ffi::OsStringExt;

    type Says = unsafe extern "C" fn(*mut c_char, usize) -> usize;
    let path = std::env::args_os().nth(1).expect("the path of the library");
    let path = CString::new(path.into_vec()).expect("a path");
    // SAFETY: the path is a C string, and the library has no initialisers of its own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "the library does not load");
    // SAFETY: the library stays loaded; the name is a C string.
    let says = unsafe { libc::dlsym(handle, c"hook_in_a_library_says".as_ptr()) };
    assert!(!says.is_null(), "the library has no such function");
    // SAFETY: the function has this signature.
    let says = unsafe { std::mem::transmute::<*mut c_void, Says>(says) };
    let mut text = vec![0_u8; 1024];
    // SAFETY: the buffer is as large as is said.
    let length = unsafe { says(text.as_mut_ptr().cast(), text.len()) };
    print!("{}", String::from_utf8_lossy(&text[..length]));
}

#[cfg(not(unix))]
fn main() {}
