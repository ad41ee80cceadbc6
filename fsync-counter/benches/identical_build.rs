//! Whether a program that is tested with this crate is the same program: its release build, bit
//! by bit, with the dev-dependency and without.
//!
//! `cargo bench -p fsync-counter --profile perf --bench identical_build`
//!
//! It writes a small program, builds it, then gives it the dev-dependency and a test that counts
//! its syncs, runs that test and builds it again in a folder of its own. The exit code is 1 where
//! the two builds differ. Nothing is downloaded (`--offline`): what the build needs, this one has
//! needed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const MANIFEST: &str = r#"
[package]
name = "program"
version = "1.0.0"
edition = "2024"

[workspace]
"#;

const PROGRAM: &str = r#"
use std::fs::File;
use std::io::Write;

fn save(path: &str) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"text")?;
    file.sync_all()
}

fn main() -> std::io::Result<()> {
    save(&std::env::args().nth(1).expect("a path"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn saving_is_one_sync() {
        let path = std::env::temp_dir().join(std::process::id().to_string());
        let saved = fsync_counter::Scope::thread()
            .observe(|| super::save(path.to_str().unwrap()).unwrap());
        std::fs::remove_file(path).unwrap();
        assert_eq!(saved.counts(), fsync_counter::SyncCounts::new().files(1));
    }
}
"#;

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path();
    fs::create_dir(program.join("src")).expect("the program's folder");
    fs::write(program.join("src/main.rs"), PROGRAM).expect("the program");

    fs::write(program.join("Cargo.toml"), MANIFEST).expect("its manifest");
    let without = build(program, "without");

    let this = env!("CARGO_MANIFEST_DIR");
    let with = format!("{MANIFEST}[dev-dependencies]\nfsync-counter = {{ path = {this:?} }}\n");
    fs::write(program.join("Cargo.toml"), with).expect("its manifest");
    cargo(program, "with", "test");
    let with = build(program, "with");

    println!("| release build | bytes | sha256 |");
    println!("|---|---|---|");
    for (name, path) in [("without the dev-dependency", &without), ("with it", &with)] {
        let bytes = fs::metadata(path).expect("a built program").len();
        println!("| {name} | {bytes} | {} |", sha256(path));
    }
    if fs::read(&without).expect("a built program") == fs::read(&with).expect("a built program") {
        println!("\nidentical, bit by bit");
        ExitCode::SUCCESS
    } else {
        println!("\nthey DIFFER");
        ExitCode::FAILURE
    }
}

/// The program's release build, in a target folder of that name.
fn build(program: &Path, target: &str) -> PathBuf {
    cargo(program, target, "build");
    program.join(target).join("release/program")
}

fn cargo(program: &Path, target: &str, command: &str) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            command,
            "--quiet",
            "--release",
            "--offline",
            "--target-dir",
            target,
        ])
        .current_dir(program)
        .stdout(Stdio::null())
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .expect("cargo starts");
    assert!(
        status.success(),
        "`cargo {command}` failed in the program's folder"
    );
}

/// By `sha256sum`, where it is installed.
fn sha256(path: &Path) -> String {
    Command::new("sha256sum")
        .arg(path)
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.split_whitespace().next().map(str::to_owned))
        .unwrap_or_else(|| "(no sha256sum here)".to_owned())
}
