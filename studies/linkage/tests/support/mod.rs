//! Libraries that are loaded at run time.

use std::env;
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;

/// A function of the library whose path is in the variable; `None` where it is empty or not set.
pub fn function(variable: &str, name: &CStr) -> Option<*mut c_void> {
    let path = env::var_os(variable).filter(|path| !path.is_empty())?;
    let path = CString::new(path.as_bytes()).unwrap();
    // SAFETY: the path is a C string, and the libraries here have no initialisers of their own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "the library does not load");
    // SAFETY: the library stays loaded; the name is a C string.
    let function = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!function.is_null(), "the library has no such function");
    Some(function)
}

/// What the copy of the hook in the library of `LINKAGE_COPY` says.
pub fn what_the_copy_says() -> Option<String> {
    type Says = unsafe extern "C" fn(*mut c_char, usize) -> usize;
    let says = function("LINKAGE_COPY", c"hook_in_a_library_says")?;
    // SAFETY: the function has this signature.
    let says = unsafe { std::mem::transmute::<*mut c_void, Says>(says) };
    let mut text = vec![0_u8; 1024];
    // SAFETY: the buffer is as large as is said.
    let length = unsafe { says(text.as_mut_ptr().cast(), text.len()) };
    Some(String::from_utf8_lossy(&text[..length]).into_owned())
}
