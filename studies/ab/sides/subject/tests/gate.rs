//! The gate that is compared.

use std::time::Duration;

use perfbudget::{Budget, Gate};
use subject::{PAGES, work};

/// No limit that could be met: what the gate measures is compared, its verdict is not.
const ANY: Budget = Budget::warm(Duration::from_secs(10));

#[test]
fn perf_study_pages() {
    Gate::new("study/pages", ANY).run(|| work(PAGES));
}
