//! What the machine and the build are: facts for the record, and whether time can be measured.

use std::env;
use std::fs;
use std::sync::OnceLock;
use std::thread;

use crate::record::Host;
use crate::tmpfs;

/// The machine and the build, as far as the system tells.
pub(crate) fn host() -> Host {
    Host {
        os: env::consts::OS.to_owned(),
        kernel: line_of("/proc/sys/kernel/osrelease"),
        arch: env::consts::ARCH.to_owned(),
        cpu: cpu_model().clone(),
        cores: thread::available_parallelism().map_or(1, Into::into),
        load_1m: line_of("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
        build: build(),
        fixtures: tmpfs::used(),
        ..Host::default()
    }
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next()?.to_owned())
}

fn cpu_model() -> &'static Option<String> {
    static MODEL: OnceLock<Option<String>> = OnceLock::new();
    MODEL.get_or_init(|| model_name(&fs::read_to_string("/proc/cpuinfo").ok()?))
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

const OPT_LEVEL: &str = env!("PERFBUDGET_OPT_LEVEL");
const INSTRUMENTED: &str = env!("PERFBUDGET_INSTRUMENTED");

fn build() -> String {
    let mut text = format!("opt-level {OPT_LEVEL}");
    if cfg!(debug_assertions) {
        text.push_str(", debug assertions");
    }
    if !INSTRUMENTED.is_empty() {
        text.push_str(", ");
        text.push_str(INSTRUMENTED);
    }
    text
}

/// Why time can't be measured in this build, or `None` when it can.
pub(crate) fn why_not_timed() -> Option<String> {
    if cfg!(miri) {
        Some("Miri interprets the code".to_owned())
    } else if cfg!(debug_assertions) || OPT_LEVEL == "0" {
        Some(
            "this is a debug build; build the gates with optimisation, as `cargo nextest run \
             --cargo-profile <a release-like profile>` does"
                .to_owned(),
        )
    } else if !INSTRUMENTED.is_empty() {
        Some(format!("this build has {INSTRUMENTED}"))
    } else if env::var_os("LLVM_PROFILE_FILE").is_some() {
        // What cargo-llvm-cov sets for a run; its flags come by a wrapper that no build script sees.
        Some("LLVM_PROFILE_FILE is set: this build has coverage instrumentation".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_follows_the_colon() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: fpu\n";
        assert_eq!(model_name(cpuinfo).as_deref(), Some("AMD EPYC"));
        assert_eq!(model_name("Processor: ARMv8"), None);
    }

    #[test]
    fn a_debug_build_is_not_timed() {
        assert_eq!(why_not_timed().is_some(), cfg!(debug_assertions));
    }
}
