//! What the kernel is asked to tell: the filter program, and what its notifications mean.
//!
//! A filter is a program for the kernel's classic BPF machine
//! (`Documentation/userspace-api/seccomp_filter.rst`). It runs at every system call of a watched
//! thread, so it decides by the call's number first. For numbers that it always lets pass the
//! kernel remembers that (Linux 5.11), and does not run it again.

use std::sync::OnceLock;

use libc::sock_filter;

use crate::event::Operation;

/// A system call that is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A sync of the descriptor in the first argument; `flags` is the argument that has them.
    Descriptor {
        operation: Operation,
        flags: Option<usize>,
    },
    /// `msync`: address, length, flags.
    Msync,
    /// `sync`.
    Sync,
    /// `open` or `openat` with a flag that makes writes durable; `path` is the argument with the
    /// path's address, and the one before it, if any, the directory's descriptor.
    Open { path: usize },
    /// `openat2`, whose flags a filter can't see.
    Openat2,
    /// `pwritev2` with a flag that makes it durable.
    Write,
    /// `io_uring_setup`.
    IoUring,
    /// `io_setup`.
    Aio,
    /// The caller gets a table of descriptors of its own.
    OwnDescriptors,
}

/// When to tell of a call: always, or if the argument with this index has one of these bits.
type Condition = Option<(usize, u32)>;

struct Rule {
    number: i64,
    call: Call,
    when: Condition,
}

impl Rule {
    /// The number as the filter's machine has it.
    fn word(&self) -> u32 {
        u32::try_from(self.number).expect("a number of a system call")
    }
}

/// One calling convention of the processor, with its own numbers.
struct Convention {
    /// `AUDIT_ARCH_…` of `linux/audit.h`.
    architecture: u32,
    /// A bit that stands for another width of pointers and is no part of the number; calls that have
    /// it are all told, as they are rare.
    width: Option<u32>,
    rules: &'static [Rule],
}

const O_DSYNC: u32 = libc::O_DSYNC as u32;
/// What `O_SYNC` has beyond `O_DSYNC`, `__O_SYNC` of `asm-generic/fcntl.h`.
const O_SYNC_ONLY: u32 = libc::O_SYNC as u32 & !O_DSYNC;
/// Flags of `open` that make every write durable.
const DURABLE_OPEN: u32 = O_DSYNC | O_SYNC_ONLY;

/// Whether a file that is opened with these flags is written durably: not if it is opened to read
/// only, or only to be asked about.
pub(super) fn is_durable_open(flags: u64) -> bool {
    let has = |bits: i32| u32::try_from(bits).is_ok_and(|bits| flags & u64::from(bits) != 0);
    flags & u64::from(DURABLE_OPEN) != 0 && has(libc::O_WRONLY | libc::O_RDWR) && !has(libc::O_PATH)
}
const DURABLE_WRITE: u32 = (libc::RWF_DSYNC | libc::RWF_SYNC) as u32;
const CLONE_FILES: u32 = libc::CLONE_FILES as u32;
const CLOSE_RANGE_UNSHARE: u32 = libc::CLOSE_RANGE_UNSHARE;

const fn descriptor(number: i64, operation: Operation, flags: Option<usize>) -> Rule {
    Rule {
        number,
        call: Call::Descriptor { operation, flags },
        when: None,
    }
}

const fn rule(number: i64, call: Call, when: Condition) -> Rule {
    Rule { number, call, when }
}

/// The rules of one convention, from its numbers.
macro_rules! rules {
    (
        fsync $fsync:expr, fdatasync $fdatasync:expr, syncfs $syncfs:expr,
        sync_file_range $range:expr => $range_flags:expr, msync $msync:expr, sync $sync:expr,
        openat $openat:expr, openat2 $openat2:expr, pwritev2 $pwritev2:expr,
        io_uring_setup $ring:expr, io_setup $aio:expr,
        unshare $unshare:expr, close_range $close_range:expr
        $(, open $open:expr)? $(, x32 pwritev2 $x32:expr)?
    ) => {
        &[
            descriptor($fsync, Operation::Fsync, None),
            descriptor($fdatasync, Operation::Fdatasync, None),
            descriptor($syncfs, Operation::Syncfs, None),
            descriptor($range, Operation::SyncFileRange, Some($range_flags)),
            rule($msync, Call::Msync, None),
            rule($sync, Call::Sync, None),
            rule($openat, Call::Open { path: 1 }, Some((2, DURABLE_OPEN))),
            rule($openat2, Call::Openat2, None),
            rule($pwritev2, Call::Write, Some((5, DURABLE_WRITE))),
            rule($ring, Call::IoUring, None),
            rule($aio, Call::Aio, None),
            rule($unshare, Call::OwnDescriptors, Some((0, CLONE_FILES))),
            rule($close_range, Call::OwnDescriptors, Some((2, CLOSE_RANGE_UNSHARE))),
            $(rule($open, Call::Open { path: 0 }, Some((1, DURABLE_OPEN))),)?
            $(rule($x32, Call::Write, Some((5, DURABLE_WRITE))),)?
        ]
    };
}

#[cfg(target_arch = "x86_64")]
const CONVENTIONS: [Convention; 2] = [
    Convention {
        architecture: 0xc000_003e,
        // `__X32_SYSCALL_BIT`: the same calls with short pointers.
        width: Some(0x4000_0000),
        rules: rules! {
            fsync libc::SYS_fsync, fdatasync libc::SYS_fdatasync, syncfs libc::SYS_syncfs,
            sync_file_range libc::SYS_sync_file_range => 3, msync libc::SYS_msync,
            sync libc::SYS_sync, openat libc::SYS_openat, openat2 libc::SYS_openat2,
            pwritev2 libc::SYS_pwritev2, io_uring_setup libc::SYS_io_uring_setup,
            io_setup libc::SYS_io_setup, unshare libc::SYS_unshare,
            close_range libc::SYS_close_range, open libc::SYS_open, x32 pwritev2 547
        },
    },
    // 32-bit programs: `arch/x86/entry/syscalls/syscall_32.tbl`.
    Convention {
        architecture: 0x4000_0003,
        width: None,
        rules: rules! {
            fsync 118, fdatasync 148, syncfs 344, sync_file_range 314 => 5, msync 144, sync 36,
            openat 295, openat2 437, pwritev2 379, io_uring_setup 425, io_setup 245,
            unshare 310, close_range 436, open 5
        },
    },
];

#[cfg(target_arch = "aarch64")]
const CONVENTIONS: [Convention; 2] = [
    Convention {
        architecture: 0xc000_00b7,
        width: None,
        rules: rules! {
            fsync libc::SYS_fsync, fdatasync libc::SYS_fdatasync, syncfs libc::SYS_syncfs,
            sync_file_range libc::SYS_sync_file_range => 3, msync libc::SYS_msync,
            sync libc::SYS_sync, openat libc::SYS_openat, openat2 libc::SYS_openat2,
            pwritev2 libc::SYS_pwritev2, io_uring_setup libc::SYS_io_uring_setup,
            io_setup libc::SYS_io_setup, unshare libc::SYS_unshare,
            close_range libc::SYS_close_range
        },
    },
    // 32-bit programs: `arch/arm/tools/syscall.tbl`; `sync_file_range2` has its flags second.
    Convention {
        architecture: 0x4000_0028,
        width: None,
        rules: rules! {
            fsync 118, fdatasync 148, syncfs 373, sync_file_range 341 => 1, msync 144, sync 36,
            openat 322, openat2 437, pwritev2 393, io_uring_setup 425, io_setup 243,
            unshare 337, close_range 436, open 5
        },
    },
];

/// Offsets into `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Where the low half of an argument stands. Both architectures are little-endian.
fn low_half(argument: usize) -> u32 {
    ARGUMENTS + 8 * u32::try_from(argument).expect("one of six")
}

const LOAD: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
const IF_EQUAL: u16 = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
const IF_AT_LEAST: u16 = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
const IF_ANY_BIT: u16 = code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K);
const RETURN: u16 = code(libc::BPF_RET | libc::BPF_K);

#[expect(clippy::cast_possible_truncation, reason = "the codes have 8 bits")]
const fn code(code: u32) -> u16 {
    code as u16
}

/// The filter: what no rule names is allowed, also of conventions that are not known here.
pub(super) fn program() -> &'static [sock_filter] {
    static PROGRAM: OnceLock<Vec<sock_filter>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut program = Backwards::new();
        let mut next = program.allow;
        for convention in CONVENTIONS.iter().rev() {
            let block = program.block(convention);
            next = program.test(IF_EQUAL, convention.architecture, block, next);
        }
        program.load(ARCHITECTURE, next);
        program.in_order()
    })
}

/// How many numbers are compared one after the other.
///
/// To install a filter, the kernel translates it, 0.46 µs an instruction, and walks it once for
/// every number of either convention, 0.004 µs a step (measured on an AMD EPYC with Linux 6.18 by
/// programs of several lengths). Halving three numbers again would cost more instructions than it
/// saves steps.
const COMPARED_IN_TURN: usize = 3;

/// A program that is written from its end: each jump knows its targets.
struct Backwards {
    steps: Vec<sock_filter>,
    allow: Place,
    tell: Place,
    /// The tests of arguments, which conventions share.
    conditions: Vec<((usize, u32), Place)>,
}

/// An instruction, counted from the end of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(usize);

impl Backwards {
    fn new() -> Self {
        let answer = |k| step(RETURN, k, 0, 0);
        Self {
            steps: vec![
                answer(libc::SECCOMP_RET_ALLOW),
                answer(libc::SECCOMP_RET_USER_NOTIF),
            ],
            allow: Place(0),
            tell: Place(1),
            conditions: Vec::new(),
        }
    }

    fn push(&mut self, step: sock_filter) -> Place {
        self.steps.push(step);
        Place(self.steps.len() - 1)
    }

    /// What a jump from the next instruction to that place passes over.
    fn distance(&self, to: Place) -> u8 {
        u8::try_from(self.steps.len() - to.0 - 1).expect("a program is shorter than a jump")
    }

    fn test(&mut self, code: u16, k: u32, if_true: Place, if_false: Place) -> Place {
        self.push(step(
            code,
            k,
            self.distance(if_true),
            self.distance(if_false),
        ))
    }

    /// Loads a word of the call's description, and goes on there.
    fn load(&mut self, offset: u32, then: Place) -> Place {
        assert_eq!(then.0 + 1, self.steps.len(), "a load falls through");
        self.push(step(LOAD, offset, 0, 0))
    }

    fn block(&mut self, convention: &Convention) -> Place {
        let mut rules: Vec<&Rule> = convention.rules.iter().collect();
        rules.sort_unstable_by_key(|rule| rule.number);
        let targets: Vec<(u32, Place)> = rules
            .iter()
            .map(|rule| (rule.word(), self.target(rule)))
            .collect();
        let above = match convention.width {
            Some(width) => self.test(IF_AT_LEAST, width, self.tell, self.allow),
            None => self.allow,
        };
        let search = self.search(&targets, above);
        self.load(NUMBER, search)
    }

    /// What is done about a call whose number was found.
    fn target(&mut self, rule: &Rule) -> Place {
        let Some((argument, bits)) = rule.when else {
            return self.tell;
        };
        let known = self.conditions.iter();
        if let Some((_, place)) = known.clone().find(|(it, _)| *it == (argument, bits)) {
            return *place;
        }
        let test = self.test(IF_ANY_BIT, bits, self.tell, self.allow);
        let place = self.load(low_half(argument), test);
        self.conditions.push(((argument, bits), place));
        place
    }

    /// Finds a number by halves; `above` is where to go with one that is larger than all.
    fn search(&mut self, targets: &[(u32, Place)], above: Place) -> Place {
        if targets.len() <= COMPARED_IN_TURN {
            let mut next = above;
            for (number, place) in targets.iter().rev() {
                next = self.test(IF_EQUAL, *number, *place, next);
            }
            return next;
        }
        let (lower, upper) = targets.split_at(targets.len() / 2);
        let upper_half = self.search(upper, above);
        let lower_half = self.search(lower, self.allow);
        self.test(IF_AT_LEAST, upper[0].0, upper_half, lower_half)
    }

    fn in_order(mut self) -> Vec<sock_filter> {
        self.steps.reverse();
        self.steps
    }
}

/// Passes over so many instructions.
const fn step(code: u16, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter {
        code,
        jt: if_true,
        jf: if_false,
        k,
    }
}

/// Whether a notification is about a sync.
pub(super) fn is_sync(data: &libc::seccomp_data) -> bool {
    matches!(
        call_of(data),
        Some(Call::Descriptor { .. } | Call::Msync | Call::Sync)
    )
}

/// What a notification is about.
pub(super) fn call_of(data: &libc::seccomp_data) -> Option<Call> {
    let convention = CONVENTIONS
        .iter()
        .find(|convention| convention.architecture == data.arch)?;
    let number = number_of(data) & !convention.width.unwrap_or(0);
    let rule = convention.rules.iter().find(|rule| rule.word() == number)?;
    Some(rule.call)
}

#[expect(clippy::cast_sign_loss, reason = "the filter sees its bits")]
fn number_of(data: &libc::seccomp_data) -> u32 {
    data.nr as u32
}

/// The low half of an argument, which is all that the kernel reads of an `int`.
#[expect(clippy::cast_possible_wrap, reason = "bit for bit")]
pub(super) fn int_argument(data: &libc::seccomp_data, at: usize) -> i32 {
    bits_argument(data, at) as i32
}

/// The same without a sign.
#[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
pub(super) fn bits_argument(data: &libc::seccomp_data, at: usize) -> u32 {
    data.args[at] as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(program: &[sock_filter], data: &libc::seccomp_data) -> u32 {
        run(program, data).0
    }

    fn steps(program: &[sock_filter], data: &libc::seccomp_data) -> usize {
        run(program, data).1
    }

    /// The answer of a program to a call, and its steps: a small machine for the instructions that
    /// it has.
    fn run(program: &[sock_filter], data: &libc::seccomp_data) -> (u32, usize) {
        let word = |offset: u32| match offset {
            NUMBER => number_of(data),
            ARCHITECTURE => data.arch,
            _ => bits_argument(data, ((offset - ARGUMENTS) / 8) as usize),
        };
        let (mut at, mut accumulator) = (0, 0);
        for taken in 1.. {
            let step = program[at];
            at += 1;
            let skip = |condition| usize::from(if condition { step.jt } else { step.jf });
            match step.code {
                LOAD => accumulator = word(step.k),
                IF_EQUAL => at += skip(accumulator == step.k),
                IF_AT_LEAST => at += skip(accumulator >= step.k),
                IF_ANY_BIT => at += skip(accumulator & step.k != 0),
                RETURN => return (step.k, taken),
                code => panic!("unknown instruction {code}"),
            }
        }
        unreachable!("a program ends")
    }

    fn data(architecture: u32, number: u32, args: [u64; 6]) -> libc::seccomp_data {
        libc::seccomp_data {
            nr: i32::try_from(number).expect("a number"),
            arch: architecture,
            instruction_pointer: 0,
            args,
        }
    }

    #[test]
    fn every_rule_tells_and_only_under_its_condition() {
        let program = program();
        for convention in &CONVENTIONS {
            for rule in convention.rules {
                let mut args = [0; 6];
                if let Some((argument, bits)) = rule.when {
                    let call = data(convention.architecture, rule.word(), args);
                    assert_eq!(answer(program, &call), libc::SECCOMP_RET_ALLOW);
                    // Other bits, and the same bits of another argument, are nothing.
                    args = [u64::from(bits); 6];
                    args[argument] = u64::from(!bits);
                    let call = data(convention.architecture, rule.word(), args);
                    assert_eq!(answer(program, &call), libc::SECCOMP_RET_ALLOW);
                    args[argument] = 1 << bits.trailing_zeros();
                }
                let call = data(convention.architecture, rule.word(), args);
                assert_eq!(answer(program, &call), libc::SECCOMP_RET_USER_NOTIF);
                assert_eq!(call_of(&call), Some(rule.call), "{}", rule.number);
            }
        }
    }

    #[test]
    fn what_no_rule_names_is_allowed() {
        let program = program();
        let told = |convention: &Convention, number| {
            convention.rules.iter().any(|rule| rule.word() == number)
        };
        for convention in &CONVENTIONS {
            for number in (0..600).filter(|number| !told(convention, *number)) {
                let call = data(convention.architecture, number, [u64::MAX; 6]);
                assert_eq!(answer(program, &call), libc::SECCOMP_RET_ALLOW, "{number}");
                assert_eq!(call_of(&call), None);
            }
        }
        // A convention that is not known: its numbers mean something else.
        for number in 0..600 {
            let call = data(0x8000_0016, number, [u64::MAX; 6]);
            assert_eq!(answer(program, &call), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn short_pointers_make_no_difference() {
        let call = data(CONVENTIONS[0].architecture, 0x4000_0000 | 74, [0; 6]);
        assert_eq!(answer(program(), &call), libc::SECCOMP_RET_USER_NOTIF);
        assert!(matches!(
            call_of(&call),
            Some(Call::Descriptor {
                operation: Operation::Fsync,
                ..
            })
        ));
    }

    #[test]
    fn only_what_is_written_is_durable() {
        for (flags, durable) in [
            (libc::O_WRONLY | libc::O_DSYNC, true),
            (libc::O_RDWR | libc::O_SYNC, true),
            (libc::O_RDWR, false),
            (libc::O_RDONLY | libc::O_SYNC, false),
            (libc::O_RDWR | libc::O_SYNC | libc::O_PATH, false),
        ] {
            let flags = u64::try_from(flags).expect("no sign");
            assert_eq!(is_durable_open(flags), durable, "{flags:o}");
        }
    }

    /// Opening a scope is quick because the filter is short.
    #[test]
    fn the_program_is_short_and_so_are_its_ways() {
        let program = program();
        assert!(program.len() <= 64, "{} instructions", program.len());
        for convention in &CONVENTIONS {
            let total: usize = (0..472)
                .map(|number| steps(program, &data(convention.architecture, number, [0; 6])))
                .sum();
            let mean = total as f64 / 472.0;
            assert!(mean < 10.5, "{mean} steps");
        }
    }
}
