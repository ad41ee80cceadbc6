//! Any text as a multiplier: a positive finite number or a typed refusal, and no budget's limit
//! panics over it.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use perfbudget::{Budget, FLOOR, Multiplier, MultiplierError};

fuzz_target!(|text: &str| {
    let number = text.parse::<f64>();
    match text.parse::<Multiplier>() {
        Ok(multiplier) => {
            assert_eq!(number, Ok(multiplier.get()));
            assert!(multiplier.get() > 0.0 && multiplier.get().is_finite());
            for base in [1, 999, 1_000_000, u64::MAX].map(Duration::from_nanos) {
                for budget in [Budget::warm(base), Budget::cold(base)] {
                    let limit = budget.limit(multiplier);
                    let unscaled = budget.limit(Multiplier::ONE);
                    assert!(unscaled >= FLOOR);
                    if multiplier.get() >= 1.0 {
                        assert!(limit >= unscaled, "{limit:?} < {unscaled:?}");
                    } else {
                        assert!(limit <= unscaled, "{limit:?} > {unscaled:?}");
                    }
                }
            }
        }
        Err(MultiplierError::NotANumber(refused)) => {
            assert_eq!(refused, text);
            assert!(number.is_err() || number.is_ok_and(f64::is_nan));
        }
        Err(MultiplierError::NotFinite(refused)) => {
            assert_eq!(refused, text);
            assert!(number.unwrap().is_infinite());
        }
        Err(MultiplierError::NotPositive(refused)) => {
            assert_eq!(refused, text);
            assert!(number.unwrap() <= 0.0);
        }
        Err(error) => panic!("{error:?} is new to this target"),
    }
});
