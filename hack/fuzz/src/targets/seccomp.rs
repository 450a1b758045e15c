//! Seccomp: orlop's program against libseccomp's own for the same rules, each asked about the calls that the profile
//! speaks of and their neighbours, in an interpreter of classic BPF.
//!
//! What libseccomp 2.5 is known to get wrong is not asked for: several rules with conditions for one call, and rules for
//! calls that an architecture does not have.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};
use orlop::launch::filters;
use orlop::plan::seccomp::{compile, is_program};

use super::judged;
use crate::Bytes;

const NAMES: [&str; 28] = [
    "read",
    "write",
    "open",
    "close",
    "mmap",
    "clone",
    "clone3",
    "execve",
    "kill",
    "socket",
    "socketcall",
    "connect",
    "ipc",
    "shmget",
    "personality",
    "ptrace",
    "mount",
    "umount2",
    "openat2",
    "arch_prctl",
    "ioctl",
    "bpf",
    "keyctl",
    "setns",
    "unshare",
    "mkdir",
    "no_such_call",
    "futex_wait",
];

const ACTIONS: [(Action, ScmpAction); 6] = [
    (Action::ScmpActAllow, ScmpAction::Allow),
    (Action::ScmpActErrno, ScmpAction::Errno(1)),
    (Action::ScmpActKillProcess, ScmpAction::KillProcess),
    (Action::ScmpActKillThread, ScmpAction::KillThread),
    (Action::ScmpActTrap, ScmpAction::Trap),
    (Action::ScmpActLog, ScmpAction::Log),
];

const ARCHS: [(Arch, ScmpArch, u32); 3] = [
    (Arch::ScmpArchX86_64, ScmpArch::X8664, 0xc000_003e),
    (Arch::ScmpArchX86, ScmpArch::X86, 0x4000_0003),
    (Arch::ScmpArchAarch64, ScmpArch::Aarch64, 0xc000_00b7),
];

const ENOSYS: u32 = 0x0005_0000 | 38;
/// Those behind whose number others are, on i386.
const SHARED: [&str; 2] = ["socketcall", "ipc"];
/// No call has such a number, here or in libseccomp.
const BEYOND: u32 = 3000;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (default, default_scmp) = bytes.of(&ACTIONS);
    let mut archs = ARCHS.to_vec();
    archs.truncate(1 + bytes.below(ARCHS.len()));
    let mut used = HashSet::new();
    let mut rules = Vec::new();
    while !bytes.is_empty() && rules.len() < 24 {
        let name = bytes.of(&NAMES);
        let (action, scmp) = bytes.of(&ACTIONS);
        let args = conditions(&mut bytes);
        if used.insert(name) {
            rules.push((name, action, scmp, args));
        }
    }
    let profile = profile(default, &archs, &rules);
    let Some(filter) = judged(compile(&profile)) else { return };
    assert!(is_program(&filter.program), "the kernel would refuse it, and so would a cache");

    for (_, arch, audit) in &archs {
        let reference = reference(*arch, default_scmp, &rules);
        let number =
            |name: &str| ScmpSyscall::from_name_by_arch(name, *arch).ok().map(|n| n.as_raw_syscall());
        let numbers: Vec<u32> =
            rules.iter().filter_map(|(n, ..)| number(n)).filter_map(|n| u32::try_from(n).ok()).collect();
        let newest = numbers.iter().copied().max().filter(|n| *n > 0);
        let enosys = newest.filter(|_| !matches!(default, Action::ScmpActAllow | Action::ScmpActLog));
        for nr in
            numbers.iter().flat_map(|n| [*n, n + 1, n.saturating_sub(1)]).chain([0, 102, 117, 500, BEYOND])
        {
            if *arch == ScmpArch::X86 && SHARED.iter().any(|name| number(name) == Some(nr as i32)) {
                continue;
            }
            for args in some_args(&rules) {
                let call = Call { arch: *audit, nr, args };
                let want = match enosys {
                    Some(newest) if nr > newest => ENOSYS,
                    _ => interpret(&reference, call),
                };
                let got = interpret(&filter.program, call);
                assert_eq!(
                    got,
                    want,
                    "{call:x?}: got {got:#x}, want {want:#x}: {}",
                    serde_json::to_string(&profile).expect("JSON")
                );
            }
        }
    }
    // An architecture that the profile does not have.
    assert_eq!(interpret(&filter.program, Call { arch: 0x8000_0016, nr: 1, args: [0; 6] }), 0);
}

/// A kept filter: as it is, and as what a whole file holds.
pub fn file(data: &[u8]) {
    for text in [data, &filters::bytes(b"key", data)] {
        if let Some(program) = filters::parse(text, b"key") {
            assert!(is_program(program));
            interpret(program, Call { arch: 0xc000_003e, nr: 1, args: [0; 6] });
        }
    }
}

type Rule = (&'static str, Action, ScmpAction, Vec<LinuxSeccompArg>);

fn conditions(bytes: &mut Bytes) -> Vec<LinuxSeccompArg> {
    let first = bytes.u8();
    (0..6_usize)
        .filter(|index| first & 0xc0 == 0xc0 && first >> index & 1 == 1)
        .map(|index| {
            let op = bytes.of(&[
                Operator::ScmpCmpEq,
                Operator::ScmpCmpNe,
                Operator::ScmpCmpLt,
                Operator::ScmpCmpLe,
                Operator::ScmpCmpGe,
                Operator::ScmpCmpGt,
                Operator::ScmpCmpMaskedEq,
            ]);
            let (value, two) = (bytes.u64(), bytes.u64());
            LinuxSeccompArgBuilder::default()
                .index(index)
                .op(op)
                .value(value)
                .value_two(two)
                .build()
                .expect("an argument")
        })
        .collect()
}

fn profile(default: Action, archs: &[(Arch, ScmpArch, u32)], rules: &[Rule]) -> LinuxSeccomp {
    let one = |(name, action, _, args): &Rule| -> LinuxSyscall {
        let rule = LinuxSyscallBuilder::default().names(vec![(*name).to_owned()]).action(*action);
        if args.is_empty() { rule } else { rule.args(args.clone()) }.build().expect("a rule")
    };
    LinuxSeccompBuilder::default()
        .default_action(default)
        .architectures(archs.iter().map(|(a, ..)| *a).collect::<Vec<_>>())
        .syscalls(rules.iter().map(one).collect::<Vec<_>>())
        .build()
        .expect("a profile")
}

fn reference(arch: ScmpArch, default: ScmpAction, rules: &[Rule]) -> Vec<u8> {
    let mut ctx = ScmpFilterContext::new(default).expect("a filter");
    if !ctx.is_arch_present(arch).expect("known") {
        ctx.add_arch(arch).expect("an architecture");
        ctx.remove_arch(ScmpArch::Native).expect("the native one");
    }
    for (name, _, action, args) in rules {
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        // Calls that the architecture has not, or behind another's number: libseccomp's first block must not be of one.
        let here = ScmpSyscall::from_name_by_arch(name, arch).is_ok_and(|n| n.as_raw_syscall() >= 0);
        if *action == default || !here || SHARED.contains(name) {
            continue;
        }
        let args: Vec<_> = args.iter().map(compare).collect();
        ctx.add_rule_conditional(*action, call, &args).expect("a rule");
    }
    let mut file = tempfile();
    ctx.export_bpf(&file).expect("a program");
    let mut program = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut program)).expect("read back");
    program
}

fn tempfile() -> File {
    File::from(orlop::sys::fd::memfd(c"reference").expect("a memory file"))
}

fn compare(a: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, value) = match a.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, a.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, a.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, a.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, a.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, a.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, a.value()),
        Operator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(a.value()), a.value_two().unwrap_or(0)),
    };
    ScmpArgCompare::new(a.index() as u32, op, value)
}

/// All zero, and for each condition its value and what lies beside it.
fn some_args(rules: &[Rule]) -> Vec<[u64; 6]> {
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    for (.., args) in rules {
        for change in [0, 1, u64::MAX, 1 << 32] {
            let mut some = [0; 6];
            for a in args {
                let value =
                    if a.op() == Operator::ScmpCmpMaskedEq { a.value_two().unwrap_or(0) } else { a.value() };
                some[a.index()] = value.wrapping_add(change);
            }
            all.push(some);
        }
    }
    all
}

#[derive(Clone, Copy, Debug)]
struct Call {
    arch: u32,
    nr: u32,
    args: [u64; 6],
}

/// As the kernel runs it, which takes programs of these instructions alone.
fn interpret(program: &[u8], call: Call) -> u32 {
    let (insns, rest) = program.as_chunks::<8>();
    assert!(rest.is_empty());
    let load = |offset: u32| match offset {
        0 => call.nr,
        4 => call.arch,
        // The instruction pointer: no program of ours looks at it, one in a kept file may.
        8 | 12 => 0,
        16..64 if offset.is_multiple_of(4) => {
            let arg = call.args[(offset as usize - 16) / 8];
            let low = offset.is_multiple_of(8) == cfg!(target_endian = "little");
            if low { arg as u32 } else { (arg >> 32) as u32 }
        }
        _ => panic!("load from {offset}"),
    };
    let (mut pc, mut a, mut x, mut scratch) = (0_usize, 0_u32, 0_u32, [0_u32; 16]);
    loop {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = insns[pc];
        let (code, k) = (u16::from_ne_bytes([c0, c1]), u32::from_ne_bytes([k0, k1, k2, k3]));
        pc += 1;
        let mut branch = |yes: bool| pc += usize::from(if yes { jt } else { jf });
        match code {
            0x20 => a = load(k),
            0x00 => a = k,
            0x60 => a = scratch[k as usize],
            0x61 => x = scratch[k as usize],
            0x02 => scratch[k as usize] = a,
            0x54 => a &= k,
            0x07 => x = a,
            0x87 => a = x,
            0x05 => pc += k as usize,
            0x15 => branch(a == k),
            0x25 => branch(a > k),
            0x35 => branch(a >= k),
            0x45 => branch(a & k != 0),
            0x06 => return k,
            _ => panic!("opcode {code:#x}"),
        }
    }
}
