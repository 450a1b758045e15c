//! Seccomp: the profile of `config.json` becomes a BPF program, ready for seccomp(2).
//!
//! libseccomp translates the rules. In front of its program stands a stub of our own, as in runc: a system call
//! newer than the profile gets ENOSYS, so that a C library falls back to the older call instead of failing with the
//! profile's EPERM. Source: config-linux.md#seccomp, and runc for everything that the specification leaves open.
//!
//! [`compile`] depends on nothing but the profile and libseccomp's [`version`], so a cache can stand in front of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;

use libseccomp::error::{SeccompErrno, SeccompError};
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::sys::{self, Errno};

/// A filter that only waits to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `struct sock_filter[]`, native endian.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Who receives the notification descriptor; `Some` if and only if `flags` ask for one.
    pub notify: Option<Notify>,
    /// What was ignored, and why.
    pub warnings: Vec<String>,
}

/// The agent that answers for SCMP_ACT_NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// A UNIX socket, in the runtime's mount namespace.
    pub listener_path: PathBuf,
    pub metadata: String,
}

pub mod flag {
    pub const LOG: u32 = 1 << 1;
    pub const SPEC_ALLOW: u32 = 1 << 2;
    pub const NEW_LISTENER: u32 = 1 << 3;
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// BPF_MAXINSNS: the kernel refuses longer programs.
const MAX_INSTRUCTIONS: usize = 4096;

/// libseccomp's version: of the same profile another version may make another program.
pub fn version() -> String {
    ScmpVersion::current().map(|v| v.to_string()).unwrap_or_default()
}

/// Translates a profile. Errors carry pointers below `/linux/seccomp`.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    let mut warnings = Vec::new();
    let rules = rules(profile, &mut warnings)?;
    let notify = notify(profile)?;
    let flags = flags(profile, notify.is_some());
    let archs = archs(profile);

    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut ctx = ScmpFilterContext::new(default).map_err(|e| refused("create the filter", &e))?;
    for arch in &archs {
        ctx.add_arch(scmp_arch(*arch))
            .map_err(|e| refused("add the architecture", &e).pointer("/linux/seccomp/architectures"))?;
    }
    if rules.len() > TREE_FROM {
        ctx.set_ctl_optimize(2).map_err(|e| refused("ask for a binary tree", &e))?;
    }
    for rule in &rules {
        let added = match &rule.args[..] {
            [] => ctx.add_rule(rule.action, rule.call),
            args => {
                let args: Vec<_> = args.iter().map(Comparison::to_scmp).collect();
                ctx.add_rule_conditional(rule.action, rule.call, &args)
            }
        };
        added.map_err(|e| {
            refused("add the rule", &e).pointer(format!("/linux/seccomp/syscalls/{}", rule.position))
        })?;
    }

    let mut program = enosys_stub(profile, &archs);
    export(&ctx, &mut program)?;
    let count = program.len() / INSTRUCTION_SIZE;
    if count > MAX_INSTRUCTIONS {
        let why = format!(
            "the seccomp profile needs {count} BPF instructions, the kernel takes {MAX_INSTRUCTIONS}"
        );
        return Err(Error::spec("/linux/seccomp", why));
    }
    Ok(Filter { program, flags, notify, warnings })
}

/// With more rules than this a binary tree is faster than a list (libseccomp puts four calls into a leaf). With no
/// rules at all libseccomp 2.5.4 makes a wrong tree.
const TREE_FROM: usize = 32;

/// libseccomp's program, appended. It only writes to descriptors (to memory from 2.6 on); a pipe could be too short.
fn export(ctx: &ScmpFilterContext, program: &mut Vec<u8>) -> Result<()> {
    let memfd = sys::fd::memfd(c"seccomp").on("make a memory file for", "the seccomp program")?;
    ctx.export_bpf(&memfd).map_err(|e| refused("generate the program", &e))?;
    let mut file = File::from(memfd);
    file.rewind().and_then(|()| file.read_to_end(program)).on("read back", "the seccomp program").map(|_| ())
}

// ---- rules -----------------------------------------------------------------------------------------------------------

/// One call of seccomp_rule_add.
#[derive(Clone, Debug)]
struct Rule {
    call: ScmpSyscall,
    action: ScmpAction,
    /// All must hold.
    args: Vec<Comparison>,
    /// Index into the profile's `syscalls`.
    position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Comparison {
    index: u32,
    op: ScmpCompareOp,
    value: u64,
}

impl Comparison {
    fn to_scmp(&self) -> ScmpArgCompare {
        ScmpArgCompare::new(self.index, self.op, self.value)
    }
}

/// The profile as libseccomp takes it: names resolved, no rule that says what is the default anyway (libseccomp
/// refuses those), none twice.
fn rules(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> Result<Vec<Rule>> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    if default == ScmpAction::Notify {
        let why = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::spec("/linux/seccomp/defaultAction", why));
    }
    let mut rules = Vec::new();
    let mut seen = HashSet::new();
    for (position, entry) in profile.syscalls().iter().flatten().enumerate() {
        let pointer = || format!("/linux/seccomp/syscalls/{position}");
        let action = action(entry.action(), entry.errno_ret());
        if entry.errno_ret().is_some() && !matches!(action, ScmpAction::Errno(_) | ScmpAction::Trace(_)) {
            warnings.push(format!(
                "seccomp: errnoRet of {} has no meaning with {}",
                pointer(),
                entry.action()
            ));
        }
        let conditions = conditions(entry.args().as_deref().unwrap_or_default()).pointer(pointer)?;
        for name in entry.names() {
            if name.is_empty() {
                return Err(Error::spec(pointer(), "empty string is not a valid syscall"));
            }
            // Init reports to main by write(2) after the filter is loaded: nobody could answer for it.
            if action == ScmpAction::Notify && name == "write" {
                let why = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
                return Err(Error::spec(pointer(), why));
            }
            if action == default {
                continue;
            }
            let Ok(call) = ScmpSyscall::from_name(name) else {
                warnings.push(format!("unknown seccomp syscall {name:?} ignored"));
                continue;
            };
            for args in &conditions {
                if seen.insert((call.as_raw_syscall(), action, args.clone())) {
                    rules.push(Rule { call, action, args: args.clone(), position });
                }
            }
        }
    }
    Ok(rules)
}

/// The conditions of an entry, as alternatives of which each becomes a rule. All conditions of a rule must hold, and
/// libseccomp takes one for each argument only; with two for the same argument runc makes each condition a rule of its
/// own (so any is enough), and profiles rely on it.
fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Comparison>>> {
    let mut all = Vec::with_capacity(args.len());
    let mut used = [false; 6];
    let mut twice = false;
    for arg in args {
        let index = arg.index();
        let Some(used) = used.get_mut(index) else {
            return Err(Error::new(
                Kind::Spec,
                format!("syscalls only have up to 6 arguments, not argument {index}"),
            ));
        };
        twice |= std::mem::replace(used, true);
        all.push(comparison(arg));
    }
    Ok(if twice { all.into_iter().map(|c| vec![c]).collect() } else { vec![all] })
}

fn comparison(arg: &LinuxSeccompArg) -> Comparison {
    use LinuxSeccompOperator as Op;
    let (op, value) = match arg.op() {
        Op::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Op::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Op::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Op::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Op::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Op::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        // `value` is the mask, `valueTwo` what must remain.
        Op::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0)),
    };
    Comparison { index: arg.index() as u32, op, value }
}

/// `errno` counts for ERRNO and TRACE only; without it they give EPERM, as in runc.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    use LinuxSeccompAction as A;
    // 16 bits are what a filter can return.
    let errno = errno.unwrap_or(Errno::EPERM as u32) as u16;
    match action {
        A::ScmpActKill | A::ScmpActKillThread => ScmpAction::KillThread,
        A::ScmpActKillProcess => ScmpAction::KillProcess,
        A::ScmpActTrap => ScmpAction::Trap,
        A::ScmpActErrno => ScmpAction::Errno(errno.into()),
        A::ScmpActNotify => ScmpAction::Notify,
        A::ScmpActTrace => ScmpAction::Trace(errno),
        A::ScmpActLog => ScmpAction::Log,
        A::ScmpActAllow => ScmpAction::Allow,
    }
}

// ---- flags and the agent ---------------------------------------------------------------------------------------------

fn flags(profile: &LinuxSeccomp, listens: bool) -> u32 {
    use LinuxSeccompFilterFlag as F;
    let asked = match profile.flags() {
        // runc's default; an empty list means none.
        None => flag::SPEC_ALLOW,
        Some(list) => list.iter().fold(0, |all, f| {
            all | match f {
                F::SeccompFilterFlagLog => flag::LOG,
                F::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
                F::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV,
                // Init has one thread, so "all threads" asks for nothing; and the kernel refuses it with a listener.
                F::SeccompFilterFlagTsync => 0,
            }
        }),
    };
    if listens { asked | flag::NEW_LISTENER } else { asked }
}

fn notify(profile: &LinuxSeccomp) -> Result<Option<Notify>> {
    let asks = |e: &oci_spec::runtime::LinuxSyscall| e.action() == LinuxSeccompAction::ScmpActNotify;
    let Some(position) = profile.syscalls().iter().flatten().position(asks) else {
        return Ok(None);
    };
    let Some(path) = profile.listener_path().clone().filter(|p| !p.as_os_str().is_empty()) else {
        let e = Error::spec(format!("/linux/seccomp/syscalls/{position}"), "seccomp listenerPath is not set");
        return Err(e.hint("SCMP_ACT_NOTIFY needs an agent that listens on linux.seccomp.listenerPath"));
    };
    Ok(Some(Notify {
        listener_path: path,
        metadata: profile.listener_metadata().clone().unwrap_or_default(),
    }))
}

// ---- architectures ---------------------------------------------------------------------------------------------------

#[cfg(target_arch = "x86_64")]
const NATIVE: Arch = Arch::ScmpArchX86_64;
#[cfg(target_arch = "aarch64")]
const NATIVE: Arch = Arch::ScmpArchAarch64;
#[cfg(target_arch = "riscv64")]
const NATIVE: Arch = Arch::ScmpArchRiscv64;
#[cfg(target_arch = "s390x")]
const NATIVE: Arch = Arch::ScmpArchS390x;
#[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
const NATIVE: Arch = Arch::ScmpArchPpc64le;
#[cfg(target_arch = "loongarch64")]
const NATIVE: Arch = Arch::ScmpArchLoongarch64;

/// The profile's architectures, and the native one in any case: libseccomp adds it too, and Docker leaves it out of
/// some lists.
fn archs(profile: &LinuxSeccomp) -> Vec<Arch> {
    let mut archs = Vec::new();
    for arch in profile.architectures().iter().flatten().chain([&NATIVE]) {
        let arch = if *arch == Arch::ScmpArchNative { NATIVE } else { *arch };
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    archs
}

fn scmp_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

// ---- the stub: ENOSYS for what the profile's author could not know -----------------------------------------------------

const INSTRUCTION_SIZE: usize = 8;

/// `struct sock_filter`.
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

// Offsets into struct seccomp_data, and the few opcodes that the stub is made of; linux/bpf_common.h.
const NR: u32 = 0;
const ARCH: u32 = 4;
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const RET_ERRNO: u32 = 0x0005_0000;

/// In the number of every x32 call, which otherwise comes as x86_64.
const X32_BIT: u32 = 1 << 30;
/// Larger than any number that is "greater than" it: no check.
const NO_LIMIT: u32 = u32::MAX;

fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// A conditional jump: how many instructions to skip when it holds, and when not.
fn test(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The stub as bytes; falls through, or jumps, to the instruction behind its end. Empty when the answer to an unknown
/// call is ENOSYS anyway, or not a refusal: with TRACE the tracer decides, and may emulate calls that it knows.
fn enosys_stub(profile: &LinuxSeccomp, archs: &[Arch]) -> Vec<u8> {
    use LinuxSeccompAction as A;
    let default = profile.default_action();
    let says_enosys = profile.default_errno_ret() == Some(Errno::ENOSYS as u32) && default == A::ScmpActErrno;
    if says_enosys || matches!(default, A::ScmpActAllow | A::ScmpActLog | A::ScmpActTrace) {
        return Vec::new();
    }
    let newest = |arch: Arch| {
        let scmp = scmp_arch(arch);
        let numbers = profile.syscalls().iter().flatten().flat_map(|e| e.names()).filter_map(|name| {
            // Negative: a call that this architecture does not have under a number of its own.
            let call = ScmpSyscall::from_name_by_arch(name, scmp).ok()?.as_raw_syscall();
            u32::try_from(call).ok()
        });
        // A profile that names no call of an architecture, or only number 0, says nothing about what is new there.
        numbers.max().filter(|n| archs.contains(&arch) && *n > 0)
    };

    // From the last architecture to the first, so that the way to the end is known.
    let mut stub: Vec<Instruction> = Vec::new();
    for arch in archs.iter().rev() {
        let limit = newest(*arch);
        let block = match arch {
            // Belongs to x86_64, which the list always contains where x32 can run.
            Arch::ScmpArchX32 => continue,
            Arch::ScmpArchX86_64 => {
                let x32 = newest(Arch::ScmpArchX32);
                if limit.or(x32).is_none() {
                    continue;
                }
                vec![
                    step(LOAD, NR),
                    test(IF_ANY_BIT, X32_BIT, 0, 1),
                    test(IF_GREATER, x32.unwrap_or(NO_LIMIT), 1, 2),
                    test(IF_GREATER, limit.unwrap_or(NO_LIMIT), 0, 1),
                ]
            }
            // Numbers above 255 come through number 0, setup(2), which stays there when the kernel does not know them.
            Arch::ScmpArchS390 | Arch::ScmpArchS390x => match limit {
                None => continue,
                Some(limit) => vec![step(LOAD, NR), test(IF_EQUAL, 0, 1, 0), test(IF_GREATER, limit, 0, 1)],
            },
            _ => match limit {
                None => continue,
                Some(limit) => vec![step(LOAD, NR), test(IF_GREATER, limit, 0, 1)],
            },
        };
        let way_to_end = stub.len() as u32;
        let skip = block.len() as u8 + 2;
        let mut with_rest = vec![test(IF_EQUAL, *arch as u32, 0, skip)];
        with_rest.extend(block);
        with_rest.push(step(RETURN, RET_ERRNO | Errno::ENOSYS as u32));
        with_rest.push(step(JUMP, way_to_end));
        with_rest.append(&mut stub);
        stub = with_rest;
    }
    if !stub.is_empty() {
        stub.insert(0, step(LOAD, ARCH));
    }
    stub.iter().flat_map(to_bytes).collect()
}

fn to_bytes(i: &Instruction) -> [u8; INSTRUCTION_SIZE] {
    let ([a, b], [c, d, e, f]) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
    [a, b, i.jt, i.jf, c, d, e, f]
}

// ---- errors ----------------------------------------------------------------------------------------------------------

/// libseccomp's errors are errnos with a meaning of their own.
fn refused(doing: &'static str, e: &SeccompError) -> Error {
    match e.errno() {
        Some(SeccompErrno::EOPNOTSUPP) => Error::unsupported(format!(
            "seccomp: {doing}: not supported by this kernel or libseccomp {}",
            version()
        )),
        Some(SeccompErrno::EEXIST) => {
            Error::new(Kind::Spec, format!("seccomp: {doing}: contradicts an earlier one"))
        }
        Some(SeccompErrno::EDOM) => {
            Error::new(Kind::Spec, format!("seccomp: {doing}: not for this architecture"))
        }
        Some(SeccompErrno::EINVAL) => {
            Error::new(Kind::Spec, format!("seccomp: {doing}: libseccomp refuses it"))
        }
        _ => Error::new(Kind::Host, format!("seccomp: {doing}: {e}")),
    }
}

#[cfg(test)]
mod tests;
