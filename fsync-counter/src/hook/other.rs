//! Platforms without a hook: everything compiles, and the first use says "unsupported".

use std::path::PathBuf;

use crate::linkage::HookError;

pub(crate) fn notes_entries() -> bool {
    false
}

pub(crate) fn prove() -> Result<(), HookError> {
    Err(HookError::Unsupported {
        why: if cfg!(miri) {
            "Miri answers the sync functions itself"
        } else {
            "the hook exists for Linux, macOS and FreeBSD, on x86_64 and aarch64"
        },
    })
}

pub(crate) fn this_thread() -> u64 {
    0
}

pub(crate) fn calls_on_this_thread() -> u64 {
    0
}

pub(crate) fn prepare() {}

pub(crate) fn stub_process() {}

pub(crate) fn unstub_process() {}

pub(crate) fn stub_thread() {}

pub(crate) fn unstub_thread() {}

pub(crate) fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}
