//! `api-listing [--write] LISTING=RUSTDOC_JSON …`
//!
//! Lists the public items of a crate, one a line, from rustdoc's JSON, and compares them with the
//! listing that is committed. What differs is printed, and the exit code is 1; `--write` writes
//! the listing instead.
//!
//! Without blanket implementations, which every type has, and of the automatic traits with `Send`
//! and `Sync` only: those are what a user's code can come to depend on.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Automatic traits that a listing leaves out.
const LEFT_OUT: [&str; 5] = [
    "core::marker::Freeze",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

fn listing(json: &Path) -> Result<String, Box<dyn Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .build()?;
    let mut text = String::new();
    for item in api.items() {
        let line = item.to_string();
        let is_left_out =
            |name: &&str| line.starts_with("impl") && line.contains(&format!("{name} for "));
        if !LEFT_OUT.iter().any(|name| is_left_out(&name)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// Prints what only one of the two has; whether that is anything.
fn differs(name: &str, committed: &str, present: &str) -> bool {
    if committed == present {
        return false;
    }
    println!("{name} is not what the code says:");
    let [before, now] = [committed, present].map(|text| text.lines().collect::<BTreeSet<_>>());
    for line in before.difference(&now) {
        println!("- {line}");
    }
    for line in now.difference(&before) {
        println!("+ {line}");
    }
    true
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let writes = arguments.first().is_some_and(|first| first == "--write");
    if writes {
        arguments.remove(0);
    }
    if arguments.is_empty() {
        return Err("what is to be compared?".into());
    }
    let mut has_changed = false;
    for argument in &arguments {
        let (name, json) = argument
            .split_once('=')
            .ok_or("an argument is LISTING=RUSTDOC_JSON")?;
        let present = listing(Path::new(json))?;
        if writes {
            fs::write(name, &present)?;
            println!("wrote {name}");
        } else {
            has_changed |= differs(name, &fs::read_to_string(name)?, &present);
        }
    }
    if has_changed {
        println!("if that is meant: `make api-listings`, and a line in CHANGELOG.md");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
