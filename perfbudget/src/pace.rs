//! How fast the core goes: the time that fixed work takes, beside the samples.
//!
//! A core is not always as fast: its frequency changes, and what runs on its other hardware thread,
//! be it a stranger's on the same host, takes a share of its execution units. No book of the kernel
//! has that, and nothing waits for it, so that wall and the code's own time have all of it. On a
//! shared host it is the most of what two processes of the same code differ by (`docs/ab-study.md`).
//! Work that never changes has it, too: where it takes longer, so does the code. `cargo perfbudget
//! compare` asks for it, and takes out of the times what goes along with it.
//!
//! The work is instructions and not Rust, so that it is the same to the byte whatever compiles it:
//! two builds that are compared would otherwise have works of their own. It keeps the arithmetic
//! units of a core busy, from registers alone, as it is these that another hardware thread takes
//! from it; it touches no memory, so that caches are what they would have been. Some 40 µs: a core that
//! changes its speed within a sample is not known better from a shorter look.

use std::env;
use std::time::Duration;

/// The variable that has gates also time fixed work just before and just after each sample, into
/// [`RoundTimes::pace_ns`](crate::record::RoundTimes::pace_ns). Some 80 µs a sample, outside the
/// clock.
pub const PACE_ENV: &str = "PERFBUDGET_PACE";

/// Whether it is asked for: the variable is set to something.
pub(crate) fn is_wanted() -> bool {
    env::var_os(PACE_ENV).is_some_and(|value| !value.is_empty())
}

/// The time that the fixed work takes now; `None` where there is none for the architecture.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
pub(crate) fn pace() -> Option<Duration> {
    let start = std::time::Instant::now();
    work();
    Some(start.elapsed())
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
pub(crate) fn pace() -> Option<Duration> {
    None
}

/// Times that the loop is gone through.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const TURNS: u64 = 32_000;

/// Six chains that hardly depend on each other: more than a core can begin in a cycle.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn work() {
    use std::arch::asm;

    // SAFETY: it changes nothing but the registers named, touches neither memory nor stack, and
    // ends after as many turns as its counter says.
    unsafe {
        asm!(
            ".p2align 6",
            "2:",
            "mov {g}, {b}",
            "rol {g}, 3",
            "add {a}, {n}",
            "xor {a}, {g}",
            "add {b}, 85",
            "xor {b}, {n}",
            "sub {c}, {n}",
            "rol {c}, 7",
            "xor {d}, {n}",
            "add {d}, 77",
            "mov {h}, {n}",
            "shr {h}",
            "add {e}, {h}",
            "xor {e}, 85",
            "xor {f}, {n}",
            "rol {f}",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) TURNS => _,
            a = inout(reg) 1_u64 => _,
            b = inout(reg) 2_u64 => _,
            c = inout(reg) 3_u64 => _,
            d = inout(reg) 4_u64 => _,
            e = inout(reg) 5_u64 => _,
            f = inout(reg) 6_u64 => _,
            g = out(reg) _,
            h = out(reg) _,
            options(nomem, nostack),
        );
    }
}

/// The same, in its instructions.
#[cfg(all(target_arch = "aarch64", not(miri)))]
fn work() {
    use std::arch::asm;

    // SAFETY: it changes nothing but the registers named, touches neither memory nor stack, and
    // ends after as many turns as its counter says.
    unsafe {
        asm!(
            ".p2align 6",
            "2:",
            "add {a}, {a}, {n}",
            "eor {a}, {a}, {b}, ror #61",
            "add {b}, {b}, #85",
            "eor {b}, {b}, {n}",
            "sub {c}, {c}, {n}",
            "ror {c}, {c}, #57",
            "eor {d}, {d}, {n}",
            "add {d}, {d}, #77",
            "add {e}, {e}, {n}, lsr #1",
            "eor {e}, {e}, #255",
            "eor {f}, {f}, {n}",
            "ror {f}, {f}, #63",
            "subs {n}, {n}, #1",
            "b.ne 2b",
            n = inout(reg) TURNS => _,
            a = inout(reg) 1_u64 => _,
            b = inout(reg) 2_u64 => _,
            c = inout(reg) 3_u64 => _,
            d = inout(reg) 4_u64 => _,
            e = inout(reg) 5_u64 => _,
            f = inout(reg) 6_u64 => _,
            options(nomem, nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32,000 turns of 18 instructions are 576,000 of them, of which no core begins more than 16 in
    /// a cycle, at 8 GHz at most.
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    #[test]
    fn all_of_the_work_is_done_each_time() {
        for _ in 0..100 {
            let pace = pace().expect("this architecture has it");
            assert!(pace > Duration::from_nanos(4_400), "{pace:?}");
        }
    }
}
