//! The work as a command. Started by the study, as a copy with the amount in its name.

/// So often, for a command that takes some tens of milliseconds.
const TIMES: u64 = 130;

fn main() {
    let pages = ab_study::amounts::of_this_program();
    for _ in 0..TIMES {
        subject::work(pages);
    }
}
