//! Tells the crate how it is built, which decides whether time can be measured at all.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");

    let opt_level = env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=PERFBUDGET_OPT_LEVEL={opt_level}");

    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let instrumented = [
        ("instrument-coverage", "coverage instrumentation"),
        ("sanitizer=", "a sanitizer"),
        ("profile-generate", "profile instrumentation"),
    ]
    .into_iter()
    .find(|(flag, _)| flags.contains(flag))
    .map_or("", |(_, name)| name);
    println!("cargo::rustc-env=PERFBUDGET_INSTRUMENTED={instrumented}");
}
