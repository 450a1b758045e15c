//! The program's meaning against the profile's, in an interpreter of classic BPF.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxSyscall;
use serde_json::json;

use super::*;

const PODMAN: &str = include_str!("podman-seccomp-amd64.json");

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = RET_ENOSYS;
const EPERM: u32 = RET_ERRNO | 1;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;

fn profile(v: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(v).unwrap()
}

fn podman() -> LinuxSeccomp {
    serde_json::from_str(PODMAN).unwrap()
}

fn refusal(v: serde_json::Value) -> String {
    compile(&profile(v)).unwrap_err().to_string()
}

// ---- the machine -----------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
struct Call {
    arch: u32,
    nr: u32,
    args: [u64; 6],
}

fn call(arch: u32, nr: u32, args: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Call { arch, nr, args: all }
}

/// Runs the program as the kernel would, checking that it is one that the kernel takes.
fn run(program: &[u8], c: Call) -> u32 {
    let insns: Vec<_> = program
        .chunks_exact(8)
        .map(|b| (u16::from_ne_bytes([b[0], b[1]]), b[2], b[3], u32::from_ne_bytes([b[4], b[5], b[6], b[7]])))
        .collect();
    let load = |offset: u32| match offset {
        0 => c.nr,
        4 => c.arch,
        16..64 if offset.is_multiple_of(4) => {
            let arg = c.args[(offset as usize - 16) / 8];
            let low = offset.is_multiple_of(8) == cfg!(target_endian = "little");
            if low { arg as u32 } else { (arg >> 32) as u32 }
        }
        _ => panic!("load from {offset}"),
    };
    let (mut pc, mut a, mut x, mut scratch) = (0_usize, 0_u32, 0_u32, [0_u32; 16]);
    loop {
        let (code, jt, jf, k) = insns[pc];
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

// ---- what the profile says -------------------------------------------------------------------------------------------

fn ret(a: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action(a, errno) {
        ScmpAction::KillProcess => KILL_PROCESS,
        ScmpAction::KillThread => KILL,
        ScmpAction::Trap => TRAP,
        ScmpAction::Notify => NOTIFY,
        ScmpAction::Errno(e) => RET_ERRNO | e as u32,
        ScmpAction::Trace(e) => TRACE | u32::from(e),
        ScmpAction::Log => LOG,
        ScmpAction::Allow => ALLOW,
        other => panic!("{other:?}"),
    }
}

/// The profile's answer, read off without BPF. For calls of which all rules have the same action.
fn expect(p: &LinuxSeccomp, c: Call) -> u32 {
    let abi = match c.arch {
        X86_64 if c.nr & X32_BIT != 0 => Arch::ScmpArchX32,
        X86_64 => Arch::ScmpArchX86_64,
        X86 => Arch::ScmpArchX86,
        AARCH64 => Arch::ScmpArchAarch64,
        _ => return KILL,
    };
    if !archs(p).contains(&abi) {
        return KILL;
    }
    let number =
        |name: &str| ScmpSyscall::from_name_by_arch(name, scmp_arch(abi)).ok().map(|n| n.as_raw_syscall());
    let named = |p: &LinuxSeccomp| {
        p.syscalls()
            .iter()
            .flatten()
            .flat_map(|e| e.names().clone())
            .filter_map(|n| number(&n))
            .max()
            .unwrap_or(0)
    };
    let default = ret(p.default_action(), p.default_errno_ret());
    let permissive = default == ALLOW || default == LOG || default & TRACE == TRACE && default < LOG;
    if !permissive && named(p) > 0 && c.nr > named(p) as u32 {
        return ENOSYS;
    }
    // libseccomp compares 32 bits where a register has no more.
    let wide =
        |v: u64| if matches!(abi, Arch::ScmpArchX86 | Arch::ScmpArchX32) { v & 0xffff_ffff } else { v };
    // By name: on i386 libseccomp gives the socket calls, which have two numbers each, none of the two.
    let name = ScmpSyscall::from(c.nr as i32).get_name_by_arch(scmp_arch(abi)).unwrap_or_default();
    for e in p.syscalls().iter().flatten() {
        if !e.names().contains(&name) {
            continue;
        }
        let holds = |a: &LinuxSeccompArg| {
            use LinuxSeccompOperator as Op;
            let (is, v) = (wide(c.args[a.index()]), wide(a.value()));
            match a.op() {
                Op::ScmpCmpNe => is != v,
                Op::ScmpCmpLt => is < v,
                Op::ScmpCmpLe => is <= v,
                Op::ScmpCmpEq => is == v,
                Op::ScmpCmpGe => is >= v,
                Op::ScmpCmpGt => is > v,
                Op::ScmpCmpMaskedEq => is & v == wide(a.value_two().unwrap_or(0)),
            }
        };
        let args = e.args().as_deref().unwrap_or_default();
        let twice = (0..6).any(|i| args.iter().filter(|a| a.index() == i).count() > 1);
        if if twice { args.iter().any(holds) } else { args.iter().all(holds) } {
            return ret(e.action(), e.errno_ret());
        }
    }
    default
}

fn check(p: &LinuxSeccomp, program: &[u8], c: Call) {
    let (got, want) = (run(program, c), expect(p, c));
    let of_native = |e: &&LinuxSyscall| {
        let number = |n: &String| ScmpSyscall::from_name(n).map_or(-1, |n| n.as_raw_syscall());
        c.arch == X86_64 && e.names().iter().any(|n| number(n) == (c.nr & !X32_BIT) as i32)
    };
    let rules: Vec<_> = p.syscalls().iter().flatten().filter(of_native).collect();
    assert_eq!(got, want, "{c:x?}: got {got:#x}, want {want:#x}\n{}", serde_json::to_string(&rules).unwrap());
}

// ---- tables ----------------------------------------------------------------------------------------------------------

#[test]
fn podmans_profile_means_what_it_says() {
    let mut p = podman();
    for default_errno in [Some(38), Some(1), None] {
        p.set_default_errno_ret(default_errno);
        let f = compile(&p).unwrap();
        assert_eq!(f.flags, flag::SPEC_ALLOW);
        for nr in 0..600 {
            for first in [0, 8, 0x20000, 0xffff_ffff, 16, 0x7e02_0000] {
                check(&p, &f.program, call(X86_64, nr, &[first, 0, 9]));
                check(&p, &f.program, call(X86_64, nr | X32_BIT, &[first, 1, 2]));
            }
            // 102 and 117 carry the socket and ipc calls on i386, in their first argument.
            if nr != 102 && nr != 117 {
                check(&p, &f.program, call(X86, nr, &[8, 0, 9]));
            }
            assert_eq!(run(&f.program, call(AARCH64, nr, &[])), KILL);
        }
        let named = |n| run(&f.program, call(X86_64, n, &[]));
        assert_eq!([named(500), named(1000), named(0)], [ENOSYS, ENOSYS, ALLOW]);
    }
}

#[test]
fn newer_calls_get_enosys_unless_the_default_is_lenient() {
    let with = |default: serde_json::Value, archs: &[&str]| {
        let mut v = json!({"architectures": archs, "syscalls": [
            {"names": ["read", "write", "openat2"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["close"], "action": "SCMP_ACT_KILL_PROCESS"}]});
        v.as_object_mut().unwrap().extend(default.as_object().unwrap().clone());
        compile(&profile(v)).unwrap().program
    };
    let (newer, older, known) = (438, 436, 437);
    for (default, new, old) in [
        (json!({"defaultAction": "SCMP_ACT_ERRNO"}), ENOSYS, EPERM),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13}), ENOSYS, RET_ERRNO | 13),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}), ENOSYS, ENOSYS),
        (json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 38}), ENOSYS, KILL),
        (json!({"defaultAction": "SCMP_ACT_KILL_PROCESS"}), ENOSYS, KILL_PROCESS),
        (json!({"defaultAction": "SCMP_ACT_TRAP"}), ENOSYS, TRAP),
        (json!({"defaultAction": "SCMP_ACT_LOG"}), LOG, LOG),
        (json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 7}), TRACE | 7, TRACE | 7),
    ] {
        let one = with(default.clone(), &[]);
        let got = [newer, older, known].map(|nr| run(&one, call(X86_64, nr, &[])));
        assert_eq!(got, [new, old, ALLOW], "{default}");
        // x32 was not asked for: as any architecture that is not in the profile.
        assert_eq!(run(&one, call(X86_64, newer | X32_BIT, &[])), KILL, "{default}");
        // Number -1 is a tracer's "skip this call".
        assert_eq!(run(&one, call(X86_64, u32::MAX, &[])), old, "{default}");
        assert_eq!(run(&one, call(X86, newer, &[])), KILL, "{default}");

        let all = with(
            default.clone(),
            &["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64"],
        );
        for (arch, bit) in [(X86_64, 0), (X86_64, X32_BIT), (X86, 0), (AARCH64, 0)] {
            let got = [newer, older, known].map(|nr| run(&all, call(arch, nr | bit, &[])));
            assert_eq!(got, [new, old, ALLOW], "{default} on {arch:x}");
        }
    }
}

#[test]
fn an_architecture_of_which_no_call_is_named_gets_the_default() {
    let p = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["arch_prctl", "newfstatat", "read"], "action": "SCMP_ACT_ALLOW"}]})))
    .unwrap();
    assert_eq!(run(&p.program, call(X86_64, 263, &[])), ENOSYS);
    let only_zero = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]})))
    .unwrap();
    assert_eq!([0, 1, 500].map(|n| run(&only_zero.program, call(X86_64, n, &[]))), [ALLOW, EPERM, EPERM]);
    let none = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO"}))).unwrap();
    assert_eq!(run(&none.program, call(X86_64, 500, &[])), EPERM);
}

#[test]
fn every_action_and_its_errno() {
    for (text, errno, want) in [
        ("KILL", None, KILL),
        ("KILL_THREAD", None, KILL),
        ("KILL_PROCESS", None, KILL_PROCESS),
        ("TRAP", None, TRAP),
        ("ERRNO", None, EPERM),
        ("ERRNO", Some(13), RET_ERRNO | 13),
        ("ERRNO", Some(0), RET_ERRNO),
        ("TRACE", None, TRACE | 1),
        ("TRACE", Some(99), TRACE | 99),
        ("LOG", None, LOG),
        ("NOTIFY", None, NOTIFY),
        ("TRAP", Some(5), TRAP),
    ] {
        let mut v = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
            "syscalls": [{"names": ["mkdir"], "action": format!("SCMP_ACT_{text}")}]});
        if let Some(e) = errno {
            v["syscalls"][0]["errnoRet"] = e.into();
        }
        let f = compile(&profile(v)).unwrap();
        assert_eq!(run(&f.program, call(X86_64, 83, &[])), want, "{text} {errno:?}");
        assert_eq!(run(&f.program, call(X86_64, 84, &[])), ALLOW);
        assert_eq!(f.warnings.len(), usize::from(text == "TRAP" && errno.is_some()));
        assert_eq!(f.notify.is_some(), text == "NOTIFY");
        assert_eq!(f.flags & flag::NEW_LISTENER != 0, text == "NOTIFY");
    }
}

#[test]
fn flags() {
    let with = |flags: Option<serde_json::Value>| {
        let mut v = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        if let Some(f) = flags {
            v["flags"] = f;
        }
        compile(&profile(v)).unwrap().flags
    };
    assert_eq!(with(None), 4);
    assert_eq!(with(Some(json!([]))), 0);
    assert_eq!(with(Some(json!(["SECCOMP_FILTER_FLAG_TSYNC"]))), 0);
    assert_eq!(with(Some(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]))), 6);
    let f = compile(&profile(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "listenerMetadata": "m",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
    ))
    .unwrap();
    assert_eq!(f.flags, 40);
    assert_eq!(f.notify, Some(Notify { listener_path: "/a".into(), metadata: "m".into() }));
}

#[test]
fn refused_as_runc_refuses() {
    let notify = |name: &str| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a",
            "syscalls": [{"names": ["mkdir", name], "action": "SCMP_ACT_NOTIFY"}]})
    };
    assert!(refusal(notify("write")).contains("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    assert!(compile(&profile(notify("read"))).is_ok());
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"}))
            .contains("SCMP_ACT_NOTIFY cannot be used as default action")
    );
    let mut alone = notify("rmdir");
    alone.as_object_mut().unwrap().remove("listenerPath");
    assert!(refusal(alone).contains("seccomp listenerPath is not set"));
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [""], "action": "SCMP_ACT_LOG"}]}))
        .contains("empty string is not a valid syscall (config.json: /linux/seccomp/syscalls/0)")
    );
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
        "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}))
        .contains("syscalls only have up to 6 arguments")
    );
    // s390x has the other endianness.
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]}))
            .contains("/linux/seccomp/architectures")
    );
}

#[test]
fn unknown_names_are_ignored_with_a_word() {
    let f = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["no_such_call", "read", "nul\u{0}byte"], "action": "SCMP_ACT_ALLOW"}]})))
    .unwrap();
    assert_eq!(f.warnings[0], "unknown seccomp syscall \"no_such_call\" ignored");
    assert_eq!(f.warnings.len(), 2);
    assert_eq!(run(&f.program, call(X86_64, 0, &[])), ALLOW);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let p = profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"],
        "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]}));
    let f = compile(&p).unwrap();
    for (args, want) in [([1, 0], EPERM), ([2, 0], EPERM), ([3, 9], EPERM), ([3, 0], ALLOW)] {
        assert_eq!(run(&f.program, call(X86_64, 83, &args)), want, "{args:?}");
        check(&p, &f.program, call(X86_64, 83, &args));
    }
}

#[test]
fn a_rule_without_conditions_swallows_those_with() {
    for turn in [false, true] {
        let mut rules = vec![
            json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW"}),
            json!({"names": ["socket", "socket"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_NE"}]}),
        ];
        if turn {
            rules.reverse();
        }
        let f = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}))).unwrap();
        assert_eq!(run(&f.program, call(X86_64, 41, &[16])), ALLOW);
    }
}

#[test]
fn a_program_that_the_kernel_would_refuse_is_named() {
    let args: Vec<_> = (0..4100).map(|v| json!({"index": 0, "value": v * 3, "op": "SCMP_CMP_EQ"})).collect();
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args}]}))
        .contains("BPF instructions, the kernel takes 4096")
    );
}

// ---- at random -------------------------------------------------------------------------------------------------------

struct Dice(u64);

impl Dice {
    fn of(round: u64) -> Self {
        let mut dice = Self(0x9e37_79b9_7f4a_7c15 ^ (round + 1));
        for _ in 0..8 {
            dice.roll(2);
        }
        dice
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize].clone()
    }
}

/// How many profiles: a short form for every day, any number by the environment.
fn rounds() -> u64 {
    std::env::var("ORLOP_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(30)
}

/// Names that mean one plain number on all the architectures of the tests.
fn plain_names() -> Vec<String> {
    let plain = |name: &str| {
        let n =
            |a| ScmpSyscall::from_name_by_arch(name, a).ok().map(|n| n.as_raw_syscall()).filter(|n| *n >= 0);
        [ScmpArch::X8664, ScmpArch::X32, ScmpArch::X86, ScmpArch::Aarch64].iter().all(|a| n(*a).is_some())
    };
    podman().syscalls().iter().flatten().flat_map(|e| e.names().clone()).filter(|n| plain(n)).collect()
}

#[test]
fn random_profiles_mean_what_they_say() {
    let names = plain_names();
    assert!(names.len() > 100);
    let values = [0, 1, 2, 7, 16, 0x8000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    let wide = [1 << 32, (1 << 32) + 7, 0x1_8000_0000, u64::MAX, u64::MAX - 7, 1 << 63];
    let ops = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let actions = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW", "NOTIFY"];
    let mut by_answer: BTreeMap<u32, usize> = BTreeMap::new();
    for round in 0..rounds() {
        let dice = &mut Dice::of(round);
        let narrow_archs: Vec<_> =
            ["SCMP_ARCH_X86", "SCMP_ARCH_X32"].into_iter().filter(|_| dice.roll(3) == 0).collect();
        let mut archs = narrow_archs.clone();
        archs.extend(["SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64"].into_iter().filter(|_| dice.roll(2) == 0));
        // Where registers have 32 bits, only values that fit have a plain meaning.
        let mut pool = values.to_vec();
        if narrow_archs.is_empty() {
            pool.extend(wide);
        }
        let mut pairs: Vec<(String, String, Vec<serde_json::Value>)> = Vec::new();
        for _ in 0..dice.roll(60) {
            let name = dice.pick(&names);
            if name == "write" || pairs.iter().any(|(n, ..)| *n == name) {
                continue;
            }
            let action = format!("SCMP_ACT_{}", dice.pick(&actions));
            let condition = |dice: &mut Dice, index: u64, op: &str| {
                let (value, two) = (dice.pick(&pool), dice.pick(&pool));
                json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": value & two})
            };
            let first = dice.roll(4);
            let args: Vec<_> = match dice.roll(3) {
                // Alternatives for one argument. libseccomp 2.5.4 loses some when ranges overlap, see the module.
                0 => (0..2 + dice.roll(3)).map(|_| condition(dice, first, "EQ")).collect(),
                // All together.
                _ => (first..first + dice.roll(3))
                    .map(|index| {
                        let op = dice.pick(&ops);
                        condition(dice, index, op)
                    })
                    .collect(),
            };
            pairs.push((name, action, args));
        }
        let rules: Vec<_> =
            pairs.iter().map(|(n, a, args)| json!({"names": [n], "action": a, "args": args})).collect();
        let p =
            profile(json!({"defaultAction": format!("SCMP_ACT_{}", dice.pick(&actions[..7])), "flags": [],
            "architectures": archs, "listenerPath": "/agent", "syscalls": rules}));
        let f = match compile(&p) {
            Ok(f) => f,
            Err(e) => panic!("{e}\n{}", serde_json::to_string(&p).unwrap()),
        };
        for _ in 0..400 {
            let (scmp, arch) = dice.pick(&[
                (ScmpArch::X8664, X86_64),
                (ScmpArch::X32, X86_64),
                (ScmpArch::X86, X86),
                (ScmpArch::Aarch64, AARCH64),
            ]);
            let nr = match dice.roll(8) {
                0 => dice.roll(700) as u32 | if scmp == ScmpArch::X32 { X32_BIT } else { 0 },
                _ => {
                    let name = if pairs.is_empty() { dice.pick(&names) } else { dice.pick(&pairs).0 };
                    ScmpSyscall::from_name_by_arch(&name, scmp).unwrap().as_raw_syscall() as u32
                }
            };
            let mut args = [0; 6];
            for a in &mut args {
                *a = dice.pick(&pool).wrapping_add(dice.pick(&[0, 0, 1, u64::MAX]));
                if !narrow_archs.is_empty() {
                    *a &= 0xffff_ffff;
                }
            }
            let c = Call { arch, nr, args };
            check(&p, &f.program, c);
            *by_answer.entry(expect(&p, c)).or_default() += 1;
        }
    }
    assert!(by_answer.len() >= 8, "{by_answer:x?}");
}

/// The whole profile by libseccomp, architecture by architecture, without the ENOSYS of new calls.
fn libseccomp_alone(p: &LinuxSeccomp) -> Result<Vec<(Arch, Vec<u8>)>> {
    let (default, rules) = (action(p.default_action(), p.default_errno_ret()), rules(p, &mut Vec::new())?);
    archs(p)
        .into_iter()
        .map(|arch| {
            let no_front = Abi { arch, plain: BTreeMap::new(), newest: None };
            let code = rest(&no_front, default, &rules)?;
            Ok((arch, code.into_iter().flat_map(Instruction::to_bytes).collect()))
        })
        .collect()
}

/// Also where libseccomp has its own mind: contradicting rules, masks without a bit, calls behind one number.
#[test]
fn front_and_rest_mean_what_libseccomp_alone_means() {
    let mut names = plain_names();
    names.truncate(40);
    let plain = names.clone();
    names.extend(
        [
            "socket",
            "socketcall",
            "connect",
            "recvmmsg",
            "shmget",
            "ipc",
            "semop",
            "arch_prctl",
            "mmap2",
            "openat2",
        ]
        .map(str::to_owned),
    );
    let values =
        [0, 1, 2, 9, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, 0x1_8000_0000, u64::MAX, 1 << 63];
    let ops = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let actions = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW"];
    let (mut compared, mut refused) = (0, 0);
    for round in 0..rounds() {
        let dice = &mut Dice::of(round + 1_000_000);
        let archs: Vec<_> =
            ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X86_64"]
                .into_iter()
                .filter(|_| dice.roll(2) == 0)
                .collect();
        let mut conditional = HashSet::new();
        let rules: Vec<_> = (0..dice.roll(80))
            .map(|_| {
                let (a, b) = (dice.pick(&names), dice.pick(&names));
                let first = dice.roll(3);
                let mut args: Vec<_> = (first..first + dice.roll(6).saturating_sub(3))
                    .map(|index| {
                        json!({"index": index, "op": format!("SCMP_CMP_{}", dice.pick(&ops)),
                            "value": dice.pick(&values), "valueTwo": dice.pick(&values)})
                    })
                    .collect();
                // Not twice for one call: libseccomp 2.5.4 then loses rules, or itself in a loop without end.
                let fit = |name: &String| plain.contains(name) && !conditional.contains(name);
                if !fit(&a) || !fit(&b) {
                    args.clear();
                }
                if !args.is_empty() {
                    conditional.extend([a.clone(), b.clone()]);
                }
                json!({"names": [a, b], "args": args, "action": format!("SCMP_ACT_{}", dice.pick(&actions))})
            })
            .collect();
        let p = profile(json!({"defaultAction": format!("SCMP_ACT_{}", dice.pick(&actions)),
            "architectures": archs, "syscalls": rules}));
        let (ours, alone) = (compile(&p), libseccomp_alone(&p));
        let (ours, alone) = match (ours, alone) {
            (Ok(ours), Ok(alone)) => (ours.program, alone),
            // What it finds contradictory in rules that another rule makes void, we never show it.
            (_, Err(_)) => {
                refused += 1;
                continue;
            }
            (Err(e), Ok(_)) => panic!("{e}\n{}", serde_json::to_string(&p).unwrap()),
        };
        for _ in 0..400 {
            let (scmp, arch, abi) = dice.pick(&[
                (ScmpArch::X8664, X86_64, Arch::ScmpArchX86_64),
                (ScmpArch::X32, X86_64, Arch::ScmpArchX32),
                (ScmpArch::X86, X86, Arch::ScmpArchX86),
                (ScmpArch::Aarch64, AARCH64, Arch::ScmpArchAarch64),
                (ScmpArch::Arm, 0x4000_0028, Arch::ScmpArchArm),
            ]);
            let named =
                ScmpSyscall::from_name_by_arch(&dice.pick(&names), scmp).map_or(-1, |n| n.as_raw_syscall());
            let any = dice.roll(500) as u32;
            let nr = match u32::try_from(named) {
                Ok(nr) if dice.roll(4) > 0 => nr,
                _ => dice.pick(&[u32::MAX, any, any | X32_BIT, 102, 117, 359]),
            };
            let mut args = [0; 6];
            for a in &mut args {
                *a = dice.pick(&values).wrapping_add(dice.pick(&[0, 0, 1, u64::MAX]));
            }
            let c = Call { arch, nr, args };
            // An x86_64 number may be any below the bit of x32, which is bad without x32.
            let present = super::archs(&p);
            let abi = match arch {
                X86_64 if nr & X32_BIT != 0 && present.contains(&Arch::ScmpArchX32) => Arch::ScmpArchX32,
                X86_64 => Arch::ScmpArchX86_64,
                _ => abi,
            };
            let newest = newest(abi, &p).filter(|n| present.contains(&abi) && nr > *n);
            let want = match alone.iter().find(|(a, _)| *a == abi) {
                None => KILL,
                Some(_) if newest.is_some() && (nr & X32_BIT == 0 || abi != Arch::ScmpArchX86_64) => ENOSYS,
                Some((_, program)) => run(program, c),
            };
            let got = run(&ours, c);
            let name = ScmpSyscall::from(c.nr as i32).get_name_by_arch(scmp_arch(abi)).unwrap_or_default();
            let rules: Vec<_> = p.syscalls().iter().flatten().filter(|e| e.names().contains(&name)).collect();
            let rules = serde_json::to_string(&rules).unwrap();
            assert_eq!(got, want, "{c:x?} {name}: got {got:#x}, want {want:#x}\n{rules}");
            compared += 1;
        }
    }
    assert!(compared > 200 * (rounds() - refused), "{compared} calls compared, {refused} profiles refused");
    assert!(refused * 4 < rounds() * 3, "{refused} of {} profiles refused", rounds());
}

/// The kernel takes it, and does it.
#[test]
fn loaded() {
    use crate::sys::process::{self, Exit};
    let mut p = podman();
    p.set_default_errno_ret(Some(13));
    let filter = compile(&p).unwrap();
    let child = process::spawn(&process::Birth::default(), || {
        if process::no_new_privs().is_err() || sys::seccomp::load(&filter.program, filter.flags).is_err() {
            return 1;
        }
        // Allowed; refused by a rule's errno; refused by the default.
        let allowed = process::getppid() > 0;
        let by_rule = sys::fs::mkdirat(sys::fs::AT_FDCWD, "/", 0) == Err(Errno::EEXIST);
        if allowed && by_rule { 0 } else { 2 }
    });
    assert_eq!(child.unwrap().wait().unwrap(), Exit::Code(0));
}

/// `cargo test --release --lib plan::seccomp -- --ignored --nocapture time`
#[test]
#[ignore = "prints times"]
fn times() {
    let p = podman();
    let mut t: Vec<_> = (0..50)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(compile(&p).unwrap());
            start.elapsed()
        })
        .collect();
    t.sort();
    let f = compile(&p).unwrap();
    println!("compile: min {:?} median {:?}; {} instructions", t[0], t[25], f.program.len() / 8);
}
