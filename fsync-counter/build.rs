//! Says once for the whole crate which platforms have the hook and the kernel scope, as
//! `cfg(supported)`. (`links` wants a build script, too.)

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(supported)");
    let is = |name: &str, values: &[&str]| {
        env::var(name).is_ok_and(|value| values.contains(&value.as_str()))
    };
    if is("CARGO_CFG_TARGET_OS", &["linux"])
        && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"])
        && env::var_os("CARGO_CFG_MIRI").is_none()
    {
        println!("cargo::rustc-cfg=supported");
    }
}
