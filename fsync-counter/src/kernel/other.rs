//! Platforms whose kernel can't be asked.

use std::thread;

use super::{KernelScopeUnavailable, Offer, Options, Told};

const UNSUPPORTED: KernelScopeUnavailable = KernelScopeUnavailable::Unsupported {
    why: if cfg!(miri) {
        "Miri has no kernel"
    } else {
        "it exists for Linux on x86_64 and aarch64"
    },
};

pub(super) fn try_filter() -> Result<Offer, KernelScopeUnavailable> {
    Err(UNSUPPORTED)
}

pub(super) fn watch<T: Send>(
    _options: Options,
    _f: impl FnOnce() -> T + Send,
    _tell: &mut dyn FnMut(Told),
) -> Result<thread::Result<T>, KernelScopeUnavailable> {
    Err(UNSUPPORTED)
}
