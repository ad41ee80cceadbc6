//! Any bytes as a record: what is understood is written the same way again, and every question
//! about it has an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perfbudget::Record;

fuzz_target!(|data: &[u8]| {
    let Ok(record) = serde_json::from_slice::<Record>(data) else {
        return;
    };
    let text = serde_json::to_string(&record).unwrap();
    let again: Record = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert!(record.headroom().is_none_or(f64::is_finite));
    assert_eq!(record.verdict_anew(), again.verdict_anew());
    let file = Record::file_name(&record.gate);
    assert!(!file.contains('/') && file.ends_with(".json"), "{file}");
});
