//! The code whose time is compared: it sorts pages of numbers, one after the other, so that twice
//! as many pages are twice the work. It branches as data has it, reads and writes memory, and
//! allocates nothing.

mod pages;

use std::hint::black_box;

pub use pages::PAGES;

/// Numbers on a page.
const NUMBERS: usize = 128;

/// Sorts so many pages, each of other numbers, the same in every run.
pub fn work(pages: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sum = 0_u64;
    for _ in 0..black_box(pages) {
        let mut page = [0_u64; NUMBERS];
        for number in &mut page {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *number = state;
        }
        page.sort_unstable();
        sum = sum.wrapping_add(black_box(&page)[NUMBERS / 2]);
    }
    black_box(sum);
}
