//! Any text as a `perfbudget.toml`: understood, or refused with the line that is wrong.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use perfbudget::config::Config;

fuzz_target!(|text: &str| {
    let path = Path::new("perfbudget.toml");
    match Config::parse(text, path) {
        Ok(config) => assert_eq!(Config::parse(text, path).unwrap(), config),
        Err(error) => assert!(error.to_string().contains("perfbudget.toml"), "{error}"),
    }
});
