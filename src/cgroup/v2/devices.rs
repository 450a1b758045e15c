//! Device rules on v2: a small eBPF program, which means what v1's lists mean.
//!
//! The kernel asks it with the kind of device, the access and the numbers; 1 allows, 0 denies (cgroups(7),
//! `BPF_PROG_TYPE_CGROUP_DEVICE`). When all is denied but the exceptions, one exception must cover the whole access
//! asked for; when all is allowed, an exception that touches it denies.

use std::os::fd::{AsFd, BorrowedFd};

use crate::cgroup::DeviceRules;
use crate::cgroup::devices::{Access, Kind};
use crate::error::{Error, OnSys, Result};
use crate::sys::bpf::{self, Insn};

// Registers: r0 the answer, r1 the context and later a scratch, r2 kind, r3 access, r4 major, r5 minor.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R5: u8 = 5;

// linux/bpf.h: `bpf_cgroup_dev_ctx.access_type` is the access << 16 | the kind.
const KIND_BLOCK: i32 = 1;
const KIND_CHAR: i32 = 2;
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    let registers = u64::from(src << 4 | dst);
    Insn(u64::from(code) | registers << 8 | u64::from(off as u16) << 16 | u64::from(imm as u32) << 32)
}

fn load(dst: u8, off: i16) -> Insn {
    insn(0x61, dst, R1, off, 0)
}
fn mov(dst: u8, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}
fn copy(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}
fn and(dst: u8, imm: i32) -> Insn {
    insn(0x57, dst, 0, 0, imm)
}
fn shift_right(dst: u8, imm: i32) -> Insn {
    insn(0x77, dst, 0, 0, imm)
}
fn jump_unless_equal(dst: u8, imm: i32, off: i16) -> Insn {
    insn(0x55, dst, 0, off, imm)
}
fn jump_if_equal(dst: u8, imm: i32, off: i16) -> Insn {
    insn(0x15, dst, 0, off, imm)
}
fn exit() -> Insn {
    insn(0x95, 0, 0, 0, 0)
}

fn bits(a: Access) -> i32 {
    let bit = |has: bool, bit: u8| if has { bit } else { 0 };
    i32::from(bit(a.mknods(), MKNOD) | bit(a.reads(), READ) | bit(a.writes(), WRITE))
}

/// The program of these rules.
pub fn program(rules: &DeviceRules) -> Vec<Insn> {
    let mut code =
        vec![load(R2, 0), copy(R3, R2), and(R2, 0xffff), shift_right(R3, 16), load(R4, 4), load(R5, 8)];
    for (which, access) in &rules.exceptions {
        let number = |n: Option<u32>| n.map(i32::try_from).transpose();
        // No device has a number beyond 20 bits, so no device is such an exception.
        let (Ok(major), Ok(minor)) = (number(which.major), number(which.minor)) else { continue };
        let kind = if which.kind == Kind::Block { KIND_BLOCK } else { KIND_CHAR };
        let mut tests = vec![(R2, kind)];
        tests.extend(major.map(|n| (R4, n)));
        tests.extend(minor.map(|n| (R5, n)));
        // Scratch := what decides about the access; then the test of it, the answer, the end.
        let tail = 5;
        let count = tests.len();
        for (i, (register, value)) in tests.into_iter().enumerate() {
            code.push(jump_unless_equal(register, value, (count - i - 1 + tail) as i16));
        }
        code.push(copy(R1, R3));
        if rules.allow {
            code.extend([and(R1, bits(*access)), jump_if_equal(R1, 0, 2), mov(R0, 0)]);
        } else {
            code.extend([and(R1, !bits(*access) & 7), jump_unless_equal(R1, 0, 2), mov(R0, 1)]);
        }
        code.push(exit());
    }
    code.extend([mov(R0, i32::from(rules.allow)), exit()]);
    code
}

/// Puts the rules in force: in the place of what an earlier update attached, so that there is no moment without.
pub fn apply(cgroup: BorrowedFd<'_>, rules: &DeviceRules) -> Result<()> {
    let failed = |e: Error| {
        e.pointer("/linux/resources/devices").hint(
            "device rules on cgroup v2 need CAP_BPF (or CAP_SYS_ADMIN) and a kernel with CONFIG_CGROUP_BPF",
        )
    };
    let old = bpf::device_programs(cgroup).on("query", "the cgroup's device programs").map_err(failed)?;
    if old.is_empty() && rules.allow && rules.exceptions.is_empty() {
        return Ok(());
    }
    let new = bpf::load_device_program(&program(rules)).on("load", "the device program").map_err(failed)?;
    let replaced = match old.as_slice() {
        [one] => bpf::attach_device_program(cgroup, &new, Some(one.as_fd())).is_ok(),
        _ => false,
    };
    if replaced {
        return Ok(());
    }
    bpf::attach_device_program(cgroup, &new, None).on("attach", "the device program").map_err(failed)?;
    for program in &old {
        bpf::detach_device_program(cgroup, program).on("detach", "an old device program").map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just enough of an eBPF machine for these programs.
    fn run(code: &[Insn], access_type: u32, major: u32, minor: u32) -> u64 {
        let context = [access_type, major, minor];
        let mut r = [0u64; 11];
        let mut pc = 0;
        loop {
            let i = code[pc].0;
            let (op, dst, src) = (i as u8, (i >> 8 & 0xf) as usize, (i >> 12 & 0xf) as usize);
            let (off, imm) = ((i >> 16) as u16 as i16, (i >> 32) as u32 as i32);
            pc += 1;
            let taken = match op {
                0x61 => {
                    assert_eq!(src, 1, "loads come from the context, while r1 is that");
                    r[dst] = u64::from(context[off as usize / 4]);
                    false
                }
                0xb7 => {
                    r[dst] = imm as i64 as u64;
                    false
                }
                0xbf => {
                    r[dst] = r[src];
                    false
                }
                0x57 => {
                    r[dst] &= imm as i64 as u64;
                    false
                }
                0x77 => {
                    r[dst] >>= imm;
                    false
                }
                0x55 => r[dst] != imm as i64 as u64,
                0x15 => r[dst] == imm as i64 as u64,
                0x95 => return r[0],
                op => panic!("opcode {op:#x}"),
            };
            if taken {
                pc = pc.checked_add_signed(off as isize).expect("jump");
            }
        }
    }

    /// What v1 does: security/device_cgroup.c.
    fn meant(rules: &DeviceRules, block: bool, access: u8, major: u32, minor: u32) -> bool {
        let of = |(w, a): (&crate::cgroup::devices::Which, &Access)| {
            let same = (w.kind == Kind::Block) == block
                && w.major.is_none_or(|n| n == major)
                && w.minor.is_none_or(|n| n == minor);
            let a = bits(*a) as u8;
            same && if rules.allow { access & a != 0 } else { access & !a == 0 }
        };
        rules.exceptions.iter().any(of) != rules.allow
    }

    fn all_agree(rules: &DeviceRules) {
        let code = program(rules);
        for block in [false, true] {
            for access in 1..8u8 {
                for major in [0, 1, 5, 8, 10, 136, 200] {
                    for minor in [0, 1, 3, 5, 200, 229] {
                        let kind = if block { KIND_BLOCK } else { KIND_CHAR } as u32;
                        let got = run(&code, u32::from(access) << 16 | kind, major, minor) == 1;
                        assert_eq!(
                            got,
                            meant(rules, block, access, major, minor),
                            "{rules:?} {block} {access} {major}:{minor}"
                        );
                    }
                }
            }
        }
    }

    fn rules(json: &str) -> DeviceRules {
        let list: Vec<oci_spec::runtime::LinuxDeviceCgroup> =
            serde_json::from_str(json).expect("test document");
        DeviceRules::from_config(&list, &[]).expect("rules")
    }

    #[test]
    fn means_what_the_lists_mean() {
        for json in [
            "[]",
            r#"[{"allow":true,"type":"a","access":"rwm"}]"#,
            r#"[{"allow":true,"type":"b","major":8,"access":"rw"},{"allow":true,"type":"c","major":10,"minor":229,"access":"r"}]"#,
            r#"[{"allow":true,"type":"a","access":"rwm"},{"allow":false,"type":"c","major":9,"minor":3,"access":"w"}]"#,
        ] {
            all_agree(&rules(json));
        }
    }

    #[test]
    fn means_what_random_lists_mean() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        for _ in 0..300 {
            let mut all = DeviceRules::default();
            all.allow = random(2) == 0;
            let list: Vec<_> = (0..random(9))
                .map(|_| {
                    let pick = |all: &[Option<u32>], n: u64| all[n as usize % all.len()];
                    let kind = if random(2) == 0 { "b" } else { "c" };
                    let major = pick(&[None, Some(1), Some(8), Some(136)], random(4));
                    let minor = pick(&[None, Some(0), Some(3), Some(200)], random(4));
                    let access = ["r", "w", "m", "rw", "rm", "wm", "rwm"][random(7) as usize];
                    let show = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
                    format!("{kind} {}:{} {access}\n", show(major), show(minor))
                })
                .collect();
            all.exceptions = DeviceRules::from_list(&list.concat()).expect("list").exceptions;
            all_agree(&all);
        }
    }

    #[test]
    fn the_kernel_obeys_and_one_program_stays() {
        let top = std::path::Path::new("/sys/fs/cgroup");
        let top = if top.join("unified").exists() { top.join("unified") } else { top.to_owned() };
        let dir = top.join(format!("orlop-bpf-{}", std::process::id()));
        if std::fs::create_dir(&dir).is_err() {
            eprintln!("SKIP the_kernel_obeys_and_one_program_stays: no cgroup v2 tree that may be written");
            return;
        }
        let fd = crate::sys::fs::open(&dir, crate::sys::fs::OFlag::O_RDONLY).expect("open");
        let tried = apply(fd.as_fd(), &rules("[]")).and_then(|()| {
            apply(fd.as_fd(), &rules(r#"[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]"#))
        });
        let count = bpf::device_programs(&fd).map(|p| p.len());
        std::fs::remove_dir(&dir).expect("remove");
        tried.expect("apply");
        assert_eq!(count, Ok(1));
    }
}
