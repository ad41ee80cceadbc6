//! Any text as the name of a gate: taken or refused by its documented form, and a name that is
//! taken is the name of one file.
#![no_main]

use std::panic::{catch_unwind, set_hook, take_hook};

use libfuzzer_sys::fuzz_target;
use perfbudget::{Gate, Record};

/// `[a-z0-9-]+(/[a-z0-9-]+)*`
fn is_name(text: &str) -> bool {
    text.split('/').all(|word| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    })
}

fuzz_target!(|name: &str| {
    // The fuzzer's hook ends the process; a refusal is a panic that is caught here.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let is_taken = catch_unwind(|| _ = Gate::counts(name)).is_ok();
    set_hook(hook);
    assert_eq!(is_taken, is_name(name), "{name:?}");
    if is_taken {
        let file = Record::file_name(name);
        let stem = file.strip_suffix(".json").unwrap();
        assert_eq!(stem.replace('.', "/"), name);
        assert_ne!(file, Record::claim_file_name(name));
    }
});
