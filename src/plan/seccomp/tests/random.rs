//! Thousands of profiles: our programs against the profile's words, and against libseccomp's programs.
//!
//! A short form every day; `make seccomp-long` for ten thousand of each, see ORLOP_TEST_ROUNDS.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};

use super::machine::{AARCH64, ARM, Call, X86, X86_64, run};
use super::model::{abi_of, answers, libseccomp_alone};
use super::{podman, profile};
use crate::plan::seccomp::abi::{self, X32_BIT};
use crate::plan::seccomp::profile::ret;
use crate::plan::seccomp::{compile, is_program};

pub struct Dice(u64);

impl Dice {
    pub fn of(round: u64) -> Self {
        let mut dice = Self(0x9e37_79b9_7f4a_7c15 ^ (round + 1));
        for _ in 0..8 {
            dice.roll(2);
        }
        dice
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize].clone()
    }
}

/// How many profiles, and from where on.
fn rounds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = number("ORLOP_TEST_FIRST").unwrap_or(0);
    first..first + number("ORLOP_TEST_ROUNDS").unwrap_or(30)
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

const VALUES: [u64; 16] = [
    0,
    1,
    2,
    7,
    9,
    16,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    (1 << 32) + 7,
    0x1_8000_0000,
    u64::MAX,
    u64::MAX - 7,
    1 << 63,
];
const OPS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const ACTIONS: [&str; 7] = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW"];

fn condition(dice: &mut Dice, index: u64) -> Value {
    let (op, value, two) = (dice.pick(&OPS), dice.pick(&VALUES), dice.pick(&VALUES));
    json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": two})
}

/// A call that has something to do with the profile.
fn a_call(dice: &mut Dice, names: &[String]) -> Call {
    let (scmp, arch) = dice.pick(&[
        (ScmpArch::X8664, X86_64),
        (ScmpArch::X8664, X86_64),
        (ScmpArch::X32, X86_64),
        (ScmpArch::X86, X86),
        (ScmpArch::Aarch64, AARCH64),
        (ScmpArch::Arm, ARM),
    ]);
    let named = ScmpSyscall::from_name_by_arch(&dice.pick(names), scmp).map_or(-1, |n| n.as_raw_syscall());
    let any = dice.roll(500) as u32;
    let nr = match u32::try_from(named) {
        Ok(nr) if dice.roll(8) > 0 => nr,
        _ => dice.pick(&[u32::MAX, any, any | X32_BIT, 102, 117, 359]),
    };
    let mut args = [0; 6];
    for a in &mut args {
        *a = dice.pick(&VALUES).wrapping_add(dice.pick(&[0, 0, 1, u64::MAX]));
    }
    if matches!(nr, 102 | 117) && arch == X86 && dice.roll(2) == 0 {
        args[0] = dice.roll(26);
    }
    Call { arch, nr, args }
}

fn shown(p: &LinuxSeccomp, c: Call) -> String {
    let arch = abi_of(c).unwrap_or(abi::NATIVE);
    let mut numbers = abi::Numbers::of(arch);
    let mut of_call = |n: &String| numbers.places(n).iter().flatten().any(|p| p.number == c.nr);
    let rules: Vec<_> =
        p.syscalls().iter().flatten().filter(|e| e.names().iter().any(&mut of_call)).collect();
    format!("{c:x?} on {arch}, default {}\n{}", p.default_action(), serde_json::to_string(&rules).unwrap())
}

const WITH_FAMILIES: [&str; 10] = [
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
];

fn some_archs(dice: &mut Dice) -> Vec<&'static str> {
    ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X86_64"]
        .into_iter()
        .filter(|_| dice.roll(2) == 0)
        .collect()
}

/// Whatever can be written, wild sets of overlapping conditions too: the answer is one that the profile gives.
#[test]
fn they_mean_what_they_say() {
    let mut names = plain_names();
    assert!(names.len() > 100);
    names.extend(WITH_FAMILIES.map(str::to_owned));
    let mut by_answer: BTreeMap<u32, usize> = BTreeMap::new();
    let (mut compared, mut refused) = (0, 0);
    for round in rounds() {
        let dice = &mut Dice::of(round);
        let (archs, few) = (some_archs(dice), 4 + dice.roll(40) as usize);
        let start = dice.roll((names.len() - few) as u64) as usize;
        let mut used = names[start..start + few].to_vec();
        used.push(dice.pick(&WITH_FAMILIES).to_owned());
        used.retain(|n| n != "write");
        let rules: Vec<_> = (0..dice.roll(80))
            .map(|_| {
                let first = dice.roll(4);
                let args: Vec<_> = match dice.roll(4) {
                    0 => (0..1 + dice.roll(4)).map(|_| condition(dice, first)).collect(),
                    1 => Vec::new(),
                    _ => (first..first + 1 + dice.roll(3)).map(|i| condition(dice, i)).collect(),
                };
                let action =
                    dice.pick(&["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW", "NOTIFY"]);
                // Without conditions once in a while only: it makes all others void.
                let args = if args.is_empty() && dice.roll(3) > 0 { vec![condition(dice, 1)] } else { args };
                json!({"names": [dice.pick(&used)], "args": args, "action": format!("SCMP_ACT_{action}")})
            })
            .collect();
        let p = profile(json!({"defaultAction": format!("SCMP_ACT_{}", dice.pick(&ACTIONS)), "flags": [],
            "architectures": archs, "listenerPath": "/agent", "syscalls": rules}));
        let program = match compile(&p) {
            Ok(f) => f.program,
            Err(e) if e.to_string().contains("seccomp: ") => {
                refused += 1;
                continue;
            }
            Err(e) => panic!("{e}\n{}", serde_json::to_string(&p).unwrap()),
        };
        assert!(is_program(&program));
        for _ in 0..400 {
            let c = a_call(dice, &used);
            let (got, want) = (run(&program, c), answers(&p, c));
            assert!(want.contains(&got), "{}: got {got:#x}, want {want:x?}\n{round}", shown(&p, c));
            *by_answer.entry(got).or_default() += 1;
            compared += 1;
        }
    }
    assert!(by_answer.len() >= 8, "{by_answer:x?}");
    println!("{compared} calls compared, {refused} profiles refused: {by_answer:x?}");
}

/// libseccomp's program, unless it makes none in five seconds of a processor: version 2.5.4 can lose itself in a loop without end.
fn libseccomp_in_time(p: &LinuxSeccomp) -> Option<Result<Vec<(Arch, Vec<u8>)>, String>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (clock, clocks) = std::sync::mpsc::channel();
    let p = p.clone();
    // It is left alone then, and ends with the tests.
    std::thread::spawn(move || {
        clock.send(std::fs::File::open("/proc/thread-self/schedstat").unwrap()).unwrap();
        sender.send(libseccomp_alone(&p))
    });
    let clock = clocks.recv().unwrap();
    let worked = || {
        let mut told = [0; 64];
        let n = std::os::unix::fs::FileExt::read_at(&clock, &mut told, 0).unwrap_or(0);
        let nanoseconds = String::from_utf8_lossy(&told[..n]).split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    };
    loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if worked() < Duration::from_secs(5) => {}
            came => return came.ok(),
        }
    }
}

/// What libseccomp makes of it, with runc's ENOSYS in front.
fn theirs(p: &LinuxSeccomp, alone: &[(Arch, Vec<u8>)], c: Call) -> u32 {
    let archs = abi::all(p).unwrap();
    // An x86_64 number may be any below the bit of x32, which is bad without x32.
    let arch = match abi_of(c) {
        Some(Arch::ScmpArchX32) if !archs.contains(&Arch::ScmpArchX32) => Arch::ScmpArchX86_64,
        Some(arch) => arch,
        None => return ret::KILL_THREAD,
    };
    let Some((_, program)) = alone.iter().find(|(a, _)| *a == arch) else { return ret::KILL_THREAD };
    let numbers = abi::Numbers::of(arch);
    let names = p.syscalls().iter().flatten().flat_map(|e| e.names());
    let newest = names.filter_map(|n| numbers.raw(n)).max().unwrap_or(0);
    let patched = crate::plan::seccomp::refuses_the_unknown(p) && newest > 0 && c.nr > newest as u32;
    if patched && (arch != Arch::ScmpArchX86_64 || c.nr & X32_BIT == 0) {
        return ret::ENOSYS;
    }
    run(program, c)
}

/// One rule with conditions for each call, and any number without, also contradicting ones, masks without a bit, calls
/// behind one number: the same to the last call.
#[test]
fn the_same_as_libseccomp() {
    let mut names = plain_names();
    names.truncate(40);
    let plain = names.clone();
    names.extend(WITH_FAMILIES.map(str::to_owned));
    let (mut compared, mut refused, mut profiles) = (0, 0, 0);
    for round in rounds() {
        let dice = &mut Dice::of(round + 1_000_000);
        let archs = some_archs(dice);
        let mut conditional = HashSet::new();
        let rules: Vec<_> = (0..dice.roll(80))
            .map(|_| {
                let (a, b) = (dice.pick(&names), dice.pick(&names));
                let first = dice.roll(3);
                let mut args: Vec<_> =
                    (first..first + dice.roll(6).saturating_sub(3)).map(|i| condition(dice, i)).collect();
                let fit = |name: &String| plain.contains(name) && !conditional.contains(name);
                if !fit(&a) || !fit(&b) {
                    args.clear();
                }
                if !args.is_empty() {
                    conditional.extend([a.clone(), b.clone()]);
                }
                json!({"names": [a, b], "args": args, "action": format!("SCMP_ACT_{}", dice.pick(&ACTIONS))})
            })
            .collect();
        let p = profile(json!({"defaultAction": format!("SCMP_ACT_{}", dice.pick(&ACTIONS)),
            "architectures": archs, "syscalls": rules}));
        profiles += 1;
        let (ours, alone) = match (compile(&p), libseccomp_alone(&p)) {
            (Ok(ours), Ok(alone)) => (ours.program, alone),
            // What it finds contradictory in rules that another rule makes void, is void here.
            (_, Err(_)) => {
                refused += 1;
                continue;
            }
            (Err(e), Ok(_)) => panic!("{e}\n{}", serde_json::to_string(&p).unwrap()),
        };
        for _ in 0..400 {
            let c = a_call(dice, &names);
            let (got, want) = (run(&ours, c), theirs(&p, &alone, c));
            assert_eq!(got, want, "{}: got {got:#x}, want {want:#x}\n{round}", shown(&p, c));
            compared += 1;
        }
    }
    assert!(compared > 200 * (profiles - refused), "{compared} calls compared, {refused} profiles refused");
    assert!(refused * 4 < profiles * 3, "{refused} of {profiles} profiles refused");
    println!("{compared} calls compared, {refused} of {profiles} profiles refused by libseccomp");
}

/// Several rules with conditions for one call. Where libseccomp answers at all, and with something that the profile
/// says, it is what we answer; how often it does not is printed.
#[test]
fn overlapping_rules_as_libseccomp_where_it_is_right() {
    let names: Vec<String> = ["mkdir", "dup", "kill", "fchmod"].map(str::to_owned).to_vec();
    let (mut compared, mut wrong, mut hung, mut refused, mut ours_refused, mut other) = (0, 0, 0, 0, 0, 0);
    for round in rounds() {
        if hung > 3 {
            break;
        }
        let dice = &mut Dice::of(round + 2_000_000);
        let archs = some_archs(dice);
        let tame = dice.roll(2) == 0;
        let rules: Vec<_> = (0..2 + dice.roll(10))
            .map(|_| {
                let first = dice.roll(2);
                let args: Vec<_> = match tame {
                    true => vec![condition(dice, first)],
                    false => (first..first + 1 + dice.roll(2)).map(|i| condition(dice, i)).collect(),
                };
                let action = dice.pick(&["ERRNO", "LOG", "KILL"]);
                json!({"names": [dice.pick(&names)], "args": args, "action": format!("SCMP_ACT_{action}")})
            })
            .collect();
        let p =
            profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": rules}));
        let ours = compile(&p);
        let alone = match libseccomp_in_time(&p) {
            None => {
                hung += 1;
                continue;
            }
            Some(Err(_)) => {
                refused += 1;
                continue;
            }
            Some(Ok(alone)) => alone,
        };
        let Ok(ours) = ours else {
            ours_refused += 1;
            continue;
        };
        for _ in 0..400 {
            let c = a_call(dice, &names);
            let (got, want, may) = (run(&ours.program, c), theirs(&p, &alone, c), answers(&p, c));
            assert!(may.contains(&got), "{}: got {got:#x}, want {may:x?}\n{round}", shown(&p, c));
            compared += 1;
            if !may.contains(&want) {
                wrong += 1;
            } else if got != want {
                other += 1;
                if std::env::var_os("ORLOP_TEST_SHOW").is_some() {
                    println!("{}: got {got:#x}, libseccomp {want:#x}\n{round}", shown(&p, c));
                }
            }
        }
    }
    println!(
        "{compared} calls compared; libseccomp: {wrong} wrong, {other} of several, {hung} profiles without end, \
         {refused} refused; {ours_refused} refused by us alone"
    );
    // Of several answers it gives another one where it has lost the first.
    assert!(other * 200 <= compared, "{other} of {compared}");
}
