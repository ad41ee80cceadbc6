//! How fast the core goes: the time that fixed work takes, beside the samples.
//!
//! A core is not always as fast: its frequency changes, and what runs on its other hardware thread,
//! be it a stranger's on the same host, takes a share of its execution units. No book of the kernel
//! has that, and nothing waits for it, so that wall and the code's own time have all of it. On a
//! shared host it is the most of what two processes of the same code differ by (`make ab-study`).
//! Work that never changes has it, too: where it takes longer, so does the code. `cargo perfbudget
//! compare` asks for it, and takes out of the times what goes along with it.
//!
//! The work is instructions and not Rust, with their registers, so that it is the same to the byte
//! whatever compiles it: two builds that are compared would otherwise have works of their own. It
//! keeps the arithmetic units of a core busy, of which another hardware thread takes its share; it
//! touches no memory, so that caches are what they would have been. It takes some 40 µs: a core that
//! changes its speed within a sample is not known better from a shorter look.

use std::env;
use std::time::Duration;

/// The variable that has gates also time fixed work just before and just after each sample, into
/// [`RoundTimes::pace_ns`](crate::record::RoundTimes::pace_ns). Any value that is not empty asks for
/// it. Some 80 µs a sample, outside the clock.
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

/// Times that the loop is gone through. Paces are compared between revisions, each of which has the
/// work of its own `perfbudget`: a change of the work wants another name for the record's field.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
const TURNS: u64 = 32_000;

/// Six chains that hardly depend on each other: more than a core can begin in a cycle.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn work() {
    use std::arch::asm;

    // SAFETY: it changes nothing but the registers named and the flags, touches neither memory nor
    // stack, and ends after as many turns as its counter says.
    unsafe {
        asm!(
            ".p2align 6",
            "2:",
            "mov r10, rdx",
            "rol r10, 3",
            "add rax, rcx",
            "xor rax, r10",
            "add rdx, 85",
            "xor rdx, rcx",
            "sub rsi, rcx",
            "rol rsi, 7",
            "xor rdi, rcx",
            "add rdi, 77",
            "mov r11, rcx",
            "shr r11",
            "add r8, r11",
            "xor r8, 85",
            "xor r9, rcx",
            "rol r9",
            "dec rcx",
            "jnz 2b",
            inout("rcx") TURNS => _,
            inout("rax") 1_u64 => _,
            inout("rdx") 2_u64 => _,
            inout("rsi") 3_u64 => _,
            inout("rdi") 4_u64 => _,
            inout("r8") 5_u64 => _,
            inout("r9") 6_u64 => _,
            out("r10") _,
            out("r11") _,
            options(nomem, nostack),
        );
    }
}

/// The same, in its instructions.
#[cfg(all(target_arch = "aarch64", not(miri)))]
fn work() {
    use std::arch::asm;

    // SAFETY: it changes nothing but the registers named and the flags, touches neither memory nor
    // stack, and ends after as many turns as its counter says.
    unsafe {
        asm!(
            ".p2align 6",
            "2:",
            "add x9, x9, x8",
            "eor x9, x9, x10, ror #61",
            "add x10, x10, #85",
            "eor x10, x10, x8",
            "sub x11, x11, x8",
            "ror x11, x11, #57",
            "eor x12, x12, x8",
            "add x12, x12, #77",
            "add x13, x13, x8, lsr #1",
            "eor x13, x13, #255",
            "eor x14, x14, x8",
            "ror x14, x14, #63",
            "subs x8, x8, #1",
            "b.ne 2b",
            inout("x8") TURNS => _,
            inout("x9") 1_u64 => _,
            inout("x10") 2_u64 => _,
            inout("x11") 3_u64 => _,
            inout("x12") 4_u64 => _,
            inout("x13") 5_u64 => _,
            inout("x14") 6_u64 => _,
            options(nomem, nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each turn has at least two steps that need the one before it, so that 32,000 of them take
    /// 64,000 cycles, and no core has more than 8 of those in a nanosecond.
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    #[test]
    fn all_of_the_work_is_done_each_time() {
        for _ in 0..100 {
            let pace = pace().expect("this architecture has it");
            assert!(pace >= Duration::from_nanos(64_000 / 8), "{pace:?}");
        }
    }
}
