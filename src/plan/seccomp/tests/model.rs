//! What a profile says of a call, read off without BPF.

use std::collections::BTreeSet;

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use super::machine::{AARCH64, ARM, Call, X86, X86_64};
use crate::plan::seccomp::abi::{self, Numbers, X32_BIT};
use crate::plan::seccomp::profile::{self, Op, ret};

/// Whose call it is.
pub fn abi_of(c: Call) -> Option<Arch> {
    Some(match c.arch {
        X86_64 if c.nr & X32_BIT != 0 => Arch::ScmpArchX32,
        X86_64 => Arch::ScmpArchX86_64,
        X86 => Arch::ScmpArchX86,
        AARCH64 => Arch::ScmpArchAarch64,
        ARM => Arch::ScmpArchArm,
        _ => return None,
    })
}

/// What may be answered: one answer, or several where rules overlap that say different things.
pub fn answers(p: &LinuxSeccomp, c: Call) -> BTreeSet<u32> {
    let one = |answer| BTreeSet::from([answer]);
    let default = profile::answer(p.default_action(), p.default_errno_ret());
    let Some(mut abi) = abi_of(c) else { return one(ret::KILL_THREAD) };
    let archs = abi::all(p).unwrap();
    if abi == Arch::ScmpArchX32 && !archs.contains(&abi) && c.nr == u32::MAX {
        abi = Arch::ScmpArchX86_64;
        if archs.contains(&abi) {
            return one(default);
        }
    }
    if !archs.contains(&abi) {
        return one(ret::KILL_THREAD);
    }
    let mut numbers = Numbers::of(abi);
    let entries = || p.syscalls().iter().flatten();
    let newest = entries().flat_map(|e| e.names()).filter_map(|n| numbers.raw(n)).max().unwrap_or(0);
    let permissive = matches!(
        p.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    );
    if !permissive && newest > 0 && c.nr > newest as u32 {
        return one(ret::ENOSYS);
    }
    let mut found = BTreeSet::new();
    for e in entries() {
        let answer = profile::answer(e.action(), e.errno_ret());
        if answer == default {
            continue;
        }
        for name in e.names() {
            for place in numbers.places(name).into_iter().flatten().filter(|p| p.number == c.nr) {
                let args = e.args().as_deref().unwrap_or_default();
                let twice = (0..6).any(|i| args.iter().filter(|a| a.index() == i).count() > 1);
                let here = place.which.is_none_or(|which| c.args[0] as u32 == which);
                let own = |a: &&LinuxSeccompArg| place.which.is_none() || a.index() != 0;
                let holds = |a: &LinuxSeccompArg| holds(abi, a, c);
                let is_void = |a: &LinuxSeccompArg| {
                    let wide = abi::is_wide(abi);
                    a.op() == LinuxSeccompOperator::ScmpCmpMaskedEq
                        && if wide { a.value() == 0 } else { a.value() as u32 == 0 }
                };
                let unconditional =
                    place.which.is_none() && (args.iter().all(is_void) || twice && args.iter().any(is_void));
                if unconditional {
                    // It takes all others, and of two such the first counts.
                    return one(first_unconditional(p, abi, c.nr, default).unwrap_or(answer));
                }
                let all = || args.iter().filter(own).all(holds);
                let any = || args.iter().any(|a| !own(&a) || holds(a));
                if here && if twice { any() } else { all() } {
                    found.insert(answer);
                }
            }
        }
    }
    if found.is_empty() { one(default) } else { found }
}

fn first_unconditional(p: &LinuxSeccomp, abi: Arch, nr: u32, default: u32) -> Option<u32> {
    let wide = abi::is_wide(abi);
    p.syscalls().iter().flatten().find_map(|e| {
        let answer = profile::answer(e.action(), e.errno_ret());
        let args = e.args().as_deref().unwrap_or_default();
        let void = |a: &LinuxSeccompArg| {
            a.op() == LinuxSeccompOperator::ScmpCmpMaskedEq
                && if wide { a.value() == 0 } else { a.value() as u32 == 0 }
        };
        let twice = (0..6).any(|i| args.iter().filter(|a| a.index() == i).count() > 1);
        let unconditional = args.iter().all(void) || twice && args.iter().any(void);
        let mut numbers = Numbers::of(abi);
        let named = e
            .names()
            .iter()
            .any(|n| numbers.places(n).into_iter().flatten().any(|p| p.number == nr && p.which.is_none()));
        (answer != default && unconditional && named).then_some(answer)
    })
}

fn holds(abi: Arch, a: &LinuxSeccompArg, c: Call) -> bool {
    use LinuxSeccompOperator as O;
    // Half of an argument is all that there is where registers have 32 bits.
    let see = |v: u64| if abi::is_wide(abi) { v } else { v & 0xffff_ffff };
    let (is, v) = (see(c.args[a.index()]), see(a.value()));
    match a.op() {
        O::ScmpCmpNe => is != v,
        O::ScmpCmpLt => is < v,
        O::ScmpCmpLe => is <= v,
        O::ScmpCmpEq => is == v,
        O::ScmpCmpGe => is >= v,
        O::ScmpCmpGt => is > v,
        O::ScmpCmpMaskedEq => is & v == see(a.value_two().unwrap_or(0)) & v,
    }
}

// ---- libseccomp -------------------------------------------------------------------------------------------------------

/// The whole profile by libseccomp, architecture by architecture, without the ENOSYS of new calls. An error where it
/// finds a contradiction.
pub fn libseccomp_alone(p: &LinuxSeccomp) -> Result<Vec<(Arch, Vec<u8>)>, String> {
    let read = profile::read(p, &mut Vec::new()).map_err(|e| e.to_string())?;
    let archs = abi::all(p).map_err(|e| e.to_string())?;
    archs.into_iter().map(|arch| Ok((arch, one_arch(arch, &read)?))).collect()
}

fn one_arch(arch: Arch, p: &profile::Profile<'_>) -> Result<Vec<u8>, String> {
    let scmp = |r: Result<_, libseccomp::error::SeccompError>| r.map_err(|e| e.to_string());
    let mut ctx = ScmpFilterContext::new(action(p.default)).map_err(|e| e.to_string())?;
    ctx.add_arch(abi::scmp_arch(arch)).map_err(|e| e.to_string())?;
    if arch != abi::NATIVE {
        ctx.remove_arch(abi::scmp_arch(abi::NATIVE)).map_err(|e| e.to_string())?;
    }
    let mut shared = false;
    let mut seen = Vec::new();
    for e in p.entries.iter().filter(|e| e.answer != p.default) {
        for name in &e.names {
            let call = ScmpSyscall::from_name(name).map_err(|e| e.to_string())?;
            shared |= Numbers::of(arch).places(name).iter().flatten().any(|p| p.which.is_some());
            for alternative in &e.alternatives {
                let this = (name, e.answer, alternative.clone());
                if seen.contains(&this) {
                    continue;
                }
                seen.push(this);
                let args: Vec<_> = alternative.iter().map(compare).collect();
                scmp(ctx.add_rule_conditional(action(e.answer), call, &args).map(|_| ()))?;
            }
        }
    }
    if shared {
        // libseccomp 2.5.4 loads the call's number in the first block of an architecture, and has a block for each
        // pseudo number too, which it then leaves out. Were that the first, the program would compare numbers with the
        // architecture. So shared numbers, which have blocks, go before the calls behind them.
        for by in ["socketcall", "ipc"] {
            let by = ScmpSyscall::from_name(by).map_err(|e| e.to_string())?;
            scmp(ctx.set_syscall_priority(by, 1).map(|_| ()))?;
        }
    }
    export(&ctx)
}

fn export(ctx: &ScmpFilterContext) -> Result<Vec<u8>, String> {
    use std::io::{Read, Seek};
    let memfd = crate::sys::fd::memfd(c"seccomp").unwrap();
    ctx.export_bpf(&memfd).map_err(|e| e.to_string())?;
    let mut file = std::fs::File::from(memfd);
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

fn compare(c: &profile::Comparison) -> ScmpArgCompare {
    let op = match c.op {
        Op::Equal => ScmpCompareOp::Equal,
        Op::NotEqual => ScmpCompareOp::NotEqual,
        Op::Less => ScmpCompareOp::Less,
        Op::LessOrEqual => ScmpCompareOp::LessOrEqual,
        Op::Greater => ScmpCompareOp::Greater,
        Op::GreaterOrEqual => ScmpCompareOp::GreaterEqual,
        Op::MaskedEqual => ScmpCompareOp::MaskedEqual(c.mask),
    };
    ScmpArgCompare::new(c.argument, op, c.value)
}

fn action(answer: u32) -> ScmpAction {
    match answer & 0xffff_0000 {
        ret::KILL_PROCESS => ScmpAction::KillProcess,
        ret::TRAP => ScmpAction::Trap,
        ret::ERRNO => ScmpAction::Errno((answer & 0xffff) as i32),
        ret::NOTIFY => ScmpAction::Notify,
        ret::TRACE => ScmpAction::Trace(answer as u16),
        ret::LOG => ScmpAction::Log,
        ret::ALLOW => ScmpAction::Allow,
        _ => ScmpAction::KillThread,
    }
}
