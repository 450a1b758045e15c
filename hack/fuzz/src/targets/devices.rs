//! Device rules: what is made of them against the kernel's own algorithm (`security/device_cgroup.c`), followed here rule by
//! rule as each would be written to `devices.allow` and `devices.deny`.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};
use orlop::cgroup::DeviceRules;
use orlop::cgroup::devices::{Access, Kind, Step, Which};
use orlop::cgroup::v2::devices::program;
use orlop::sys::bpf::Insn;

use super::judged;
use crate::Bytes;

/// The kernel's `dev_cgroup`.
#[derive(Clone, Debug)]
struct Kernel {
    allow: bool,
    exceptions: Vec<(Which, u8)>,
}

fn bits(a: Access) -> u8 {
    u8::from(a.reads()) | u8::from(a.writes()) << 1 | u8::from(a.mknods()) << 2
}

fn access(bits: u8) -> String {
    [(1, 'r'), (2, 'w'), (4, 'm')].iter().filter(|(b, _)| bits & b != 0).map(|(_, c)| *c).collect()
}

impl Kernel {
    /// dev_exception_add() and dev_exception_rm(): by the exact device.
    fn rule(&mut self, which: Which, mask: u8, allow: bool) {
        let at = self.exceptions.iter().position(|(w, _)| *w == which);
        match (allow != self.allow, at) {
            (true, Some(at)) => self.exceptions[at].1 |= mask,
            (true, None) => self.exceptions.push((which, mask)),
            (false, Some(at)) => {
                self.exceptions[at].1 &= !mask;
                if self.exceptions[at].1 == 0 {
                    self.exceptions.remove(at);
                }
            }
            (false, None) => {}
        }
    }

    fn all(&mut self, allow: bool) {
        *self = Self { allow, exceptions: Vec::new() };
    }

    fn write(&mut self, step: &Step) {
        let fields: Vec<&str> = step.line.split([' ', ':']).collect();
        let [kind, major, minor, what] = fields[..] else { panic!("{:?} is no rule", step.line) };
        if kind == "a" {
            return self.all(step.allow);
        }
        let number = |n: &str| (n != "*").then(|| n.parse().expect("a number"));
        let kind = if kind == "b" { Kind::Block } else { Kind::Char };
        let mask = what.chars().fold(0, |all, c| {
            all | match c {
                'r' => 1,
                'w' => 2,
                _ => 4,
            }
        });
        self.rule(Which { major: number(major), minor: number(minor), kind }, mask, step.allow);
    }

    /// devcgroup_legacy_check_permission(): all that is asked for in one exception, or nothing of it in any.
    fn permits(&self, kind: Kind, major: u32, minor: u32, mask: u8) -> bool {
        let fits = |w: &Which| {
            w.kind == kind && w.major.is_none_or(|m| m == major) && w.minor.is_none_or(|m| m == minor)
        };
        let mut fitting = self.exceptions.iter().filter(|(w, _)| fits(w)).map(|(_, has)| *has);
        if self.allow { !fitting.any(|has| has & mask != 0) } else { fitting.any(|has| mask & !has == 0) }
    }
}

const NUMBERS: [Option<i64>; 8] =
    [None, Some(-1), Some(0), Some(1), Some(5), Some(10), Some(136), Some(0xfff_ffff)];

fn some_rules(bytes: &mut Bytes) -> Vec<LinuxDeviceCgroup> {
    let mut all = Vec::new();
    while !bytes.is_empty() && all.len() < 24 {
        let kind = bytes.of(&[LinuxDeviceType::C, LinuxDeviceType::B, LinuxDeviceType::A]);
        let (allow, mask) = (bytes.flag(), 1 + bytes.u8() % 7);
        let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access(mask));
        if let Some(n) = bytes.of(&NUMBERS) {
            rule = rule.major(n);
        }
        if let Some(n) = bytes.of(&NUMBERS) {
            rule = rule.minor(n);
        }
        all.push(rule.build().expect("a rule"));
    }
    all
}

pub fn rules(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let before = some_rules(&mut Bytes::new(&data[..data.len() / 3]));
    let all = some_rules(&mut bytes);
    let Some(made) = judged(DeviceRules::from_config(&all, &[])) else { return };

    // The kernel, told each rule in turn, and then what every container may do.
    let mut kernel = Kernel { allow: false, exceptions: Vec::new() };
    for r in &all {
        let mask = bits_of(r);
        let number = |n: Option<i64>| n.filter(|n| *n >= 0).map(|n| n as u32);
        match r.typ() {
            Some(LinuxDeviceType::A) | None => kernel.all(r.allow()),
            Some(kind) => {
                let kind = if kind == LinuxDeviceType::B { Kind::Block } else { Kind::Char };
                kernel.rule(
                    Which { major: number(r.major()), minor: number(r.minor()), kind },
                    mask,
                    r.allow(),
                );
            }
        }
    }
    for kind in [Kind::Char, Kind::Block] {
        kernel.rule(Which { major: None, minor: None, kind }, 4, true);
    }
    for (major, minor) in [
        (1, Some(3)),
        (1, Some(8)),
        (1, Some(7)),
        (5, Some(0)),
        (1, Some(5)),
        (1, Some(9)),
        (136, None),
        (5, Some(2)),
        (10, Some(200)),
    ] {
        kernel.rule(Which { major: Some(major), minor, kind: Kind::Char }, 7, true);
    }
    same(&kernel, &made, "the rules");

    // From another cgroup's rules by the steps that v1 takes.
    if let Some(now) = judged(DeviceRules::from_config(&before, &[])) {
        let mut kernel = Kernel {
            allow: now.allow,
            exceptions: now.exceptions.iter().map(|(w, a)| (*w, bits(*a))).collect(),
        };
        made.steps_from(&now).iter().for_each(|s| kernel.write(s));
        same(&kernel, &made, "the steps");
    }
}

fn bits_of(r: &LinuxDeviceCgroup) -> u8 {
    let text = r.access().clone().unwrap_or_default();
    [("r", 1), ("w", 2), ("m", 4)].iter().filter(|(c, _)| text.contains(c)).fold(0, |all, (_, b)| all | b)
}

/// Rules as orlop holds them, and as v2's program says them, against the kernel's list.
fn same(kernel: &Kernel, made: &DeviceRules, what: &str) {
    let code = program(made);
    let held = Kernel {
        allow: made.allow,
        exceptions: made.exceptions.iter().map(|(w, a)| (*w, bits(*a))).collect(),
    };
    for kind in [Kind::Block, Kind::Char] {
        for major in [0, 1, 5, 10, 136, 0xfff_ffff] {
            for minor in [0, 1, 3, 5, 200, 0xfff_ffff] {
                for mask in 1..8 {
                    let want = kernel.permits(kind, major, minor, mask);
                    let at = (kind, major, minor, mask);
                    assert_eq!(
                        held.permits(kind, major, minor, mask),
                        want,
                        "{what}: {at:?}: {kernel:?} {made:?}"
                    );
                    assert_eq!(
                        interpret(&code, kind, major, minor, mask),
                        want,
                        "{what}: the program: {at:?}: {made:?}"
                    );
                }
            }
        }
    }
}

/// Just enough of an eBPF machine.
fn interpret(code: &[Insn], kind: Kind, major: u32, minor: u32, mask: u8) -> bool {
    // linux/bpf.h: mknod 1, read 2, write 4.
    let asked = u32::from(mask & 4 != 0) | u32::from(mask & 1 != 0) << 1 | u32::from(mask & 2 != 0) << 2;
    let context = [asked << 16 | if kind == Kind::Block { 1 } else { 2 }, major, minor];
    let (mut r, mut pc) = ([0_u64; 11], 0_usize);
    loop {
        let i = code[pc].0;
        let (op, dst, src) = (i as u8, (i >> 8 & 0xf) as usize, (i >> 12 & 0xf) as usize);
        let (off, imm) = ((i >> 16) as u16 as i16, (i >> 32) as u32 as i32);
        pc += 1;
        let wide = i64::from(imm) as u64;
        let taken = match op {
            0x61 => {
                r[dst] = u64::from(context[off as usize / 4]);
                false
            }
            0xb7 => {
                r[dst] = wide;
                false
            }
            0xbf => {
                r[dst] = r[src];
                false
            }
            0x57 => {
                r[dst] &= wide;
                false
            }
            0x77 => {
                r[dst] >>= imm;
                false
            }
            0x55 => r[dst] != wide,
            0x15 => r[dst] == wide,
            0x95 => return r[0] == 1,
            _ => panic!("opcode {op:#x}"),
        };
        if taken {
            pc = pc.checked_add_signed(off.into()).expect("forwards");
        }
    }
}

/// A devices.list as the kernel shows it, or as it does not.
pub fn list(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(now) = judged(DeviceRules::from_list(&text)) else { return };
    let wanted = DeviceRules::from_config(&[], &[]).expect("no rules are good rules");
    let mut kernel =
        Kernel { allow: now.allow, exceptions: now.exceptions.iter().map(|(w, a)| (*w, bits(*a))).collect() };
    wanted.steps_from(&now).iter().for_each(|s| kernel.write(s));
    same(&kernel, &wanted, "the steps");
}
