//! Says once for the whole crate which hook the platform has: `cfg(linux_hook)`, which the kernel
//! scope goes with, `cfg(portable_hook)`, or neither; `cfg(supported)` is either. (`links` wants a
//! build script, too.)
//!
//! `FSYNC_COUNTER_TEST_HOOK=portable` or `none`, for this crate's own tests, selects on Linux what
//! other platforms have.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FSYNC_COUNTER_TEST_HOOK");
    println!("cargo::rustc-check-cfg=cfg(supported, linux_hook, portable_hook)");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let processor = variable("CARGO_CFG_TARGET_ARCH");
    let is_miri = env::var_os("CARGO_CFG_MIRI").is_some();
    if is_miri || !["x86_64", "aarch64"].contains(&processor.as_str()) {
        return;
    }
    let hook = match (
        variable("CARGO_CFG_TARGET_OS").as_str(),
        variable("FSYNC_COUNTER_TEST_HOOK").as_str(),
    ) {
        (_, "none") => return,
        ("linux", "portable") | ("macos" | "freebsd", _) => "portable_hook",
        ("linux", _) => "linux_hook",
        _ => return,
    };
    println!("cargo::rustc-cfg=supported");
    println!("cargo::rustc-cfg={hook}");
}
