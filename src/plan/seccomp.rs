//! Seccomp: the profile of `config.json` becomes a BPF program, ready for seccomp(2).
//!
//! For each architecture the program has two parts. In front a search tree of our own over the call's number, which
//! answers for every call whose arguments do not matter, and says ENOSYS to calls newer than the profile, as runc does,
//! so that a C library falls back to the older call instead of failing with the profile's EPERM. Behind it what
//! libseccomp makes of the rest: argument rules, calls that share a number (socketcall on i386), the default. Given all
//! the rules at once, libseccomp 2.5 needs 20 ms for a docker-sized profile, most of them in loops over its own blocks;
//! given the few that need it, less than one. That both mean the same is a test.
//!
//! What libseccomp 2.5.4 gets wrong, found by these tests, and is not repaired here: several rules with overlapping
//! conditions on one argument of one call may lose one another (the default answers), and wild sets of them can send it
//! into an endless loop.
//!
//! Source: config-linux.md#seccomp, and runc for everything that the specification leaves open. [`compile`] depends on
//! nothing but the profile and libseccomp's [`version`], so a cache can stand in front of it.

use std::collections::{BTreeMap, HashSet};
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

    let default = action(profile.default_action(), profile.default_errno_ret());
    let abis: Vec<_> = archs(profile).into_iter().map(|arch| Abi::of(arch, profile, &rules)).collect();
    let code = program(&abis, |abi| rest(abi, default, &rules))?;
    if code.len() > MAX_INSTRUCTIONS {
        let why = format!(
            "the seccomp profile needs {} BPF instructions, the kernel takes {MAX_INSTRUCTIONS}",
            code.len()
        );
        return Err(Error::spec("/linux/seccomp", why));
    }
    Ok(Filter {
        program: code.into_iter().flat_map(Instruction::to_bytes).collect(),
        flags,
        notify,
        warnings,
    })
}

/// What libseccomp makes of the rules that the front cannot answer for, for one architecture: with several in one
/// filter, a rule for a call that one of them lacks can spoil that one's program, see [`put_first`].
fn rest(abi: &Abi, default: ScmpAction, rules: &[Rule<'_>]) -> Result<Vec<Instruction>> {
    let mut ctx = ScmpFilterContext::new(default).map_err(|e| refused("create the filter", &e))?;
    let only = |ctx: &mut ScmpFilterContext| {
        ctx.add_arch(scmp_arch(abi.arch))?;
        if abi.arch != NATIVE {
            ctx.remove_arch(ScmpArch::Native)?;
        }
        Ok(())
    };
    only(&mut ctx)
        .map_err(|e| refused("add the architecture", &e).pointer("/linux/seccomp/architectures"))?;
    let mut shared = HashSet::new();
    for rule in rules {
        match number(rule.name, abi.arch) {
            Number::Own(n) if abi.plain.contains_key(&n) => continue,
            Number::None => continue,
            Number::Own(_) => {}
            Number::Shared(by) => _ = shared.insert(by),
        }
        let args: Vec<_> = rule.args.iter().map(|c| c.to_scmp()).collect();
        ctx.add_rule_conditional(rule.action, rule.call, &args).map_err(|e| {
            refused("add the rule", &e).pointer(format!("/linux/seccomp/syscalls/{}", rule.position))
        })?;
    }
    for by in shared {
        put_first(&mut ctx, by).map_err(|e| refused("order the rules", &e))?;
    }
    export(&ctx)
}

/// libseccomp 2.5.4 loads the call's number in the first block of an architecture, and has a block for each pseudo
/// number too, which it then leaves out. Were that the first, the program would compare numbers with the architecture.
/// So a shared number, which surely has a block of its own, goes before the calls behind it.
fn put_first(ctx: &mut ScmpFilterContext, shared: &str) -> std::result::Result<(), SeccompError> {
    ctx.set_syscall_priority(ScmpSyscall::from_name(shared)?, 1).map(|_| ())
}

/// libseccomp's program. It only writes to descriptors (to memory from 2.6 on), and a pipe could be too short.
fn export(ctx: &ScmpFilterContext) -> Result<Vec<Instruction>> {
    let memfd = sys::fd::memfd(c"seccomp").on("make a memory file for", "the seccomp program")?;
    ctx.export_bpf(&memfd).map_err(|e| refused("generate the program", &e))?;
    let mut file = File::from(memfd);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).on("read back", "the seccomp program")?;
    Ok(bytes.as_chunks().0.iter().map(Instruction::of_bytes).collect())
}

// ---- rules -----------------------------------------------------------------------------------------------------------

/// A system call by name, what must hold, what shall happen.
#[derive(Clone, Debug)]
struct Rule<'a> {
    name: &'a str,
    call: ScmpSyscall,
    action: ScmpAction,
    /// All must hold.
    args: Vec<Comparison>,
    /// Index into the profile's `syscalls`.
    position: usize,
}

impl Rule<'_> {
    /// To libseccomp a mask without a bit is no condition at all, and where arguments have 32 bits it sees the lower
    /// half of the mask alone. Whether such a rule has conditions is for libseccomp to say.
    fn may_be_void(&self) -> bool {
        let void = |c: &Comparison| matches!(c.op, ScmpCompareOp::MaskedEqual(mask) if mask as u32 == 0);
        !self.args.is_empty() && self.args.iter().all(void)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Comparison {
    index: u32,
    op: ScmpCompareOp,
    value: u64,
}

impl Comparison {
    fn to_scmp(self) -> ScmpArgCompare {
        ScmpArgCompare::new(self.index, self.op, self.value)
    }
}

/// The profile as libseccomp takes it: names resolved, no rule that says what is the default anyway (libseccomp
/// refuses those), none twice.
fn rules<'a>(profile: &'a LinuxSeccomp, warnings: &mut Vec<String>) -> Result<Vec<Rule<'a>>> {
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
                    rules.push(Rule { name, call, action, args: args.clone(), position });
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
    let mut archs = vec![NATIVE];
    for arch in profile.architectures().iter().flatten() {
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

// ---- what an architecture's numbers mean ------------------------------------------------------------------------------

/// What is known of an architecture's calls without looking at their arguments.
struct Abi {
    arch: Arch,
    /// Calls that always get the same answer: number → `SECCOMP_RET_*`.
    plain: BTreeMap<u32, u32>,
    /// Above this ENOSYS.
    newest: Option<u32>,
}

/// In the number of every x32 call, which otherwise comes as x86_64.
const X32_BIT: u32 = 1 << 30;
/// Also the answer to an architecture that the profile does not have.
const RET_KILL_THREAD: u32 = 0;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ENOSYS: u32 = RET_ERRNO | Errno::ENOSYS as u32;

impl Abi {
    fn of(arch: Arch, profile: &LinuxSeccomp, rules: &[Rule<'_>]) -> Self {
        let mut plain = BTreeMap::new();
        for rule in rules.iter().filter(|r| r.args.is_empty()) {
            if let Number::Own(n) = number(rule.name, arch) {
                // Of several rules without conditions libseccomp takes the first, and drops those with conditions.
                plain.entry(n).or_insert(returned(rule.action));
            }
        }
        for rule in rules.iter().filter(|r| r.may_be_void()) {
            if let Number::Own(n) = number(rule.name, arch) {
                plain.remove(&n);
            }
        }
        let newest = newest(arch, profile);
        if newest.is_some() && matches!(arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x) {
            // setup(2): calls with large numbers come through it, and stay there when the kernel does not know them.
            plain.insert(0, RET_ENOSYS);
        }
        Self { arch, plain, newest }
    }

    /// The answers over all numbers, in order.
    fn spans(&self) -> Vec<Span> {
        let mut spans = vec![Span { from: 0, answer: None }];
        for (n, ret) in &self.plain {
            spans.push(Span { from: *n, answer: Some(*ret) });
            spans.push(Span { from: *n + 1, answer: None });
        }
        if let Some(n) = self.newest {
            spans.push(Span { from: n + 1, answer: Some(RET_ENOSYS) });
        }
        if self.arch == Arch::ScmpArchX86_64 {
            // Of an architecture that is not in the profile, or a tracer's -1: libseccomp tells them apart.
            spans.push(Span { from: X32_BIT, answer: None });
        }
        merged(spans)
    }

    /// As which the kernel names it: x32 calls come as x86_64.
    fn audit(&self) -> Arch {
        if self.arch == Arch::ScmpArchX32 { Arch::ScmpArchX86_64 } else { self.arch }
    }
}

/// The calls behind whose number others are, told by an argument.
const SHARED: [&str; 2] = ["socketcall", "ipc"];

/// Under what number an architecture has a call.
#[derive(Clone, Copy, PartialEq)]
enum Number {
    Own(u32),
    /// That of one of [`SHARED`].
    Shared(&'static str),
    None,
}

fn number(name: &str, arch: Arch) -> Number {
    let Ok(call) = ScmpSyscall::from_name_by_arch(name, scmp_arch(arch)) else {
        return Number::None;
    };
    // Pseudo numbers: seccomp.h, `__PNR_*`.
    match call.as_raw_syscall() {
        n @ 0.. => match SHARED.into_iter().find(|shared| *shared == name) {
            Some(shared) => Number::Shared(shared),
            None => Number::Own(n as u32),
        },
        -199..=-100 => Number::Shared("socketcall"),
        -299..=-200 => Number::Shared("ipc"),
        _ => Number::None,
    }
}

/// The largest number that the profile names: what is above, its author could not know. `None` when the answer to an
/// unknown call is ENOSYS anyway or not a refusal: with TRACE the tracer decides, and may emulate calls that it knows.
/// Of an architecture of which no call is named, or only number 0, nothing is known.
fn newest(arch: Arch, profile: &LinuxSeccomp) -> Option<u32> {
    use LinuxSeccompAction as A;
    let default = profile.default_action();
    let says_enosys = profile.default_errno_ret() == Some(Errno::ENOSYS as u32) && default == A::ScmpActErrno;
    if says_enosys || matches!(default, A::ScmpActAllow | A::ScmpActLog | A::ScmpActTrace) {
        return None;
    }
    let named = profile.syscalls().iter().flatten().flat_map(|e| e.names());
    let numbers = named.filter_map(|name| {
        let n = ScmpSyscall::from_name_by_arch(name, scmp_arch(arch)).ok()?;
        u32::try_from(n.as_raw_syscall()).ok()
    });
    numbers.max().filter(|n| *n > 0)
}

/// `SECCOMP_RET_*`; linux/seccomp.h.
fn returned(action: ScmpAction) -> u32 {
    match action {
        ScmpAction::KillProcess => 0x8000_0000,
        ScmpAction::Trap => 0x0003_0000,
        ScmpAction::Errno(e) => RET_ERRNO | (e as u32 & 0xffff),
        ScmpAction::Notify => 0x7fc0_0000,
        ScmpAction::Trace(e) => 0x7ff0_0000 | u32::from(e),
        ScmpAction::Log => 0x7ffc_0000,
        ScmpAction::Allow => 0x7fff_0000,
        // KillThread, and nothing else that this runtime knows.
        _ => RET_KILL_THREAD,
    }
}

// ---- the front -------------------------------------------------------------------------------------------------------

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

impl Instruction {
    fn to_bytes(self) -> [u8; 8] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, c, d, e, f]
    }

    fn of_bytes(&[a, b, jt, jf, c, d, e, f]: &[u8; 8]) -> Self {
        Self { code: u16::from_ne_bytes([a, b]), jt, jf, k: u32::from_ne_bytes([c, d, e, f]) }
    }
}

// Offsets into struct seccomp_data, and the few opcodes that the front is made of; linux/bpf_common.h.
const NR: u32 = 0;
const ARCH: u32 = 4;
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// A conditional jump: how many instructions to skip when it holds, and when not.
fn test(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Numbers from here to the next span, and what they get. `None`: ask libseccomp's part.
#[derive(Clone, Copy, PartialEq)]
struct Span {
    from: u32,
    answer: Option<u32>,
}

/// For each architecture its front, and behind that its rest, which ends in an answer.
fn program(abis: &[Abi], rest: impl Fn(&Abi) -> Result<Vec<Instruction>>) -> Result<Vec<Instruction>> {
    let code_of = |abi: &Abi| -> Result<Vec<Instruction>> {
        let mut code = search(&abi.spans(), 0);
        code.extend(rest(abi)?);
        Ok(code)
    };
    let mut program = vec![step(LOAD, ARCH)];
    let x32 = abis.iter().find(|abi| abi.arch == Arch::ScmpArchX32);
    for abi in abis {
        let mut code = code_of(abi)?;
        match (abi.arch, x32) {
            (Arch::ScmpArchX86_64, Some(x32)) => {
                code.splice(0..0, [test(IF_AT_LEAST, X32_BIT, 0, 1), step(JUMP, code.len() as u32)]);
                code.extend(code_of(x32)?);
            }
            (Arch::ScmpArchX32, _) if abis.iter().any(|abi| abi.arch == Arch::ScmpArchX86_64) => continue,
            _ => {}
        }
        program.push(test(IF_EQUAL, abi.audit() as u32, 1, 0));
        program.push(step(JUMP, code.len() as u32 + 1));
        program.push(step(LOAD, NR));
        program.extend(code);
    }
    program.push(step(RETURN, RET_KILL_THREAD));
    Ok(program)
}

/// The later of two spans with one start counts; neighbours with one answer become one span.
fn merged(spans: Vec<Span>) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        if all.last().is_some_and(|last| last.from == span.from) {
            all.pop();
        }
        if all.last().is_none_or(|last| last.answer != span.answer) {
            all.push(span);
        }
    }
    all
}

/// A binary search for the number in the accumulator. `way_to_end`: instructions between this code and the end of
/// the front.
fn search(spans: &[Span], way_to_end: usize) -> Vec<Instruction> {
    if let [span] = spans {
        return vec![match span.answer {
            Some(ret) => step(RETURN, ret),
            None => step(JUMP, way_to_end as u32),
        }];
    }
    let (lower, upper) = spans.split_at(spans.len() / 2);
    let upper_code = search(upper, way_to_end);
    let lower_code = search(lower, way_to_end + upper_code.len());
    let border = upper.first().map_or(0, |s| s.from);
    let mut code = match u8::try_from(lower_code.len()) {
        Ok(skip) => vec![test(IF_AT_LEAST, border, skip, 0)],
        Err(_) => vec![test(IF_AT_LEAST, border, 0, 1), step(JUMP, lower_code.len() as u32)],
    };
    code.extend(lower_code);
    code.extend(upper_code);
    code
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
