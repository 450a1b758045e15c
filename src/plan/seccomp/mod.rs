//! Seccomp: the profile of `config.json` becomes a BPF program, ready for seccomp(2).
//!
//! ```text
//!  profile  what is written: entries, answers, conditions        the same for all architectures
//!  abi      numbers of the calls, width of the arguments         libseccomp's tables
//!  order    which of several rules for one call answers
//!  blocks   a search tree over the number, conditions behind it  one graph for all architectures
//!  assemble instructions
//! ```
//!
//! libseccomp serves for the numbers alone. Given all rules of a docker-sized profile, its version 2.5 needs 20 ms, most
//! of them in loops over its own blocks; overlapping conditions on one argument lose one another there (the default
//! answers), and wild sets of them send it into an endless loop. What our program says is what libseccomp's says where
//! that one is right: a test compares them over thousands of profiles.
//!
//! Calls newer than the profile get ENOSYS, as with runc, so that a C library falls back to the older call instead of
//! failing with the profile's EPERM.
//!
//! Source: config-linux.md#seccomp, and runc and libseccomp for everything that the specification leaves open.
//! [`compile`] depends on nothing but the profile and libseccomp's [`version`], so a cache can stand in front of it.

// Numbers of calls and places in a program: all are small, and the program is checked as a whole.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "halves of arguments are cut on purpose, and a program has 4096 instructions at most"
)]

mod abi;
mod assemble;
mod blocks;
mod check;
mod order;
mod permits;
mod profile;

pub use check::is_program;
pub use permits::{Call, permits};

use std::path::PathBuf;

use libseccomp::ScmpVersion;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use crate::error::{Error, Result};
use crate::sys::Errno;
use abi::{Numbers, X32_BIT};
use assemble::Instruction;
use blocks::{Blocks, Id, Is, Test};
use order::{Contradiction, Rule, Verdict};
use profile::{Profile, ret};

/// A filter that only waits to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `struct sock_filter[]`, native endian.
    pub program: Vec<u8>,
    /// What was ignored, and why.
    pub warnings: Vec<String>,
}

/// How a filter is loaded; costs nothing to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Who receives the notification descriptor; `Some` if and only if `flags` ask for one.
    pub notify: Option<Notify>,
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

/// libseccomp's version: another one may know other calls.
pub fn version() -> String {
    ScmpVersion::current().map(|v| v.to_string()).unwrap_or_default()
}

/// Translates a profile. Errors carry pointers below `/linux/seccomp`.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Filter> {
    let mut warnings = Vec::new();
    let profile = profile::read(seccomp, &mut warnings)?;
    let archs = abi::all(seccomp)?;
    let mut blocks = Blocks::default();
    let root = decision(&archs, seccomp, &profile, &mut blocks)?;
    let Some(code) = assemble::assemble(&blocks, root, MAX_INSTRUCTIONS) else {
        let why = format!(
            "the seccomp profile needs more than the {MAX_INSTRUCTIONS} BPF instructions that the kernel takes"
        );
        return Err(Error::spec("/linux/seccomp", why));
    };
    Ok(Filter { program: code.into_iter().flat_map(Instruction::to_bytes).collect(), warnings })
}

// ---- one architecture's answers ---------------------------------------------------------------------------------------

/// Numbers from here to the next span, and what they get.
#[derive(Clone, Copy, PartialEq)]
struct Span {
    from: u32,
    then: Id,
}

/// All numbers of an architecture, in order, from 0 on.
fn spans(
    arch: Arch,
    seccomp: &LinuxSeccomp,
    profile: &Profile<'_>,
    blocks: &mut Blocks,
) -> Result<Vec<Span>> {
    let wide = abi::is_wide(arch);
    let mut numbers = Numbers::of(arch);
    let mut newest = 0;
    // By number; of one number in the profile's order.
    let mut rules: Vec<(u32, Rule)> = Vec::new();
    for entry in &profile.entries {
        for name in &entry.names {
            for (at, place) in numbers.places(name).into_iter().enumerate() {
                let Some(place) = place else { continue };
                if at == 0 && place.which.is_none() {
                    newest = newest.max(place.number);
                }
                if entry.answer == profile.default {
                    continue;
                }
                for conditions in &entry.alternatives {
                    let mut conditions = conditions.clone();
                    if let Some(which) = place.which {
                        order::ask_which(&mut conditions, which);
                    }
                    let conditions = order::seen(conditions, wide);
                    let rule = Rule { conditions, answer: entry.answer, position: entry.position };
                    rules.push((place.number, rule));
                }
            }
        }
    }
    rules.sort_by_key(|(number, _)| *number);

    let default = blocks.answer(profile.default);
    let mut spans = vec![Span { from: 0, then: default }];
    for same in rules.chunk_by_mut(|(a, _), (b, _)| a == b) {
        let number = same[0].0;
        let of_call = same.iter_mut().map(|(_, r)| std::mem::take(r)).collect();
        let then = match order::decide(of_call, wide).map_err(contradiction)? {
            Verdict::Always(answer) => blocks.answer(answer),
            Verdict::Depends(rules) => blocks.first_of(&rules, wide, default),
        };
        spans.push(Span { from: number, then });
        spans.push(Span { from: number + 1, then: default });
    }
    // Of an architecture of which no call is named, or only number 0, nothing is known.
    if refuses_the_unknown(seccomp) && newest > 0 {
        if let Some((number, answer)) = abi::multiplexer(arch) {
            let then = blocks.answer(answer);
            spans.retain(|s| s.from > number);
            spans.splice(0..0, [Span { from: number, then }, Span { from: number + 1, then: default }]);
        }
        // What is above, the profile's author could not know.
        spans.retain(|s| s.from <= newest);
        spans.push(Span { from: newest + 1, then: blocks.answer(ret::ENOSYS) });
    }
    Ok(merged(spans))
}

/// Is the answer to an unknown call a refusal, and not ENOSYS anyway? With TRACE the tracer decides, and may emulate
/// calls that it knows.
fn refuses_the_unknown(seccomp: &LinuxSeccomp) -> bool {
    use LinuxSeccompAction as A;
    let default = seccomp.default_action();
    let says_enosys = seccomp.default_errno_ret() == Some(Errno::ENOSYS as u32) && default == A::ScmpActErrno;
    !says_enosys && !matches!(default, A::ScmpActAllow | A::ScmpActLog | A::ScmpActTrace)
}

/// The later of two spans with one start counts; neighbours with one answer become one span.
fn merged(spans: Vec<Span>) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        if all.last().is_some_and(|last| last.from == span.from) {
            all.pop();
        }
        if all.last().is_none_or(|last| last.then != span.then) {
            all.push(span);
        }
    }
    all
}

fn contradiction(Contradiction(first, second): Contradiction) -> Error {
    let pointer = format!("/linux/seccomp/syscalls/{second}");
    let why = if first == second {
        "seccomp: names a call twice, with conditions that contradict each other".to_owned()
    } else {
        format!(
            "seccomp: for a call and its arguments, another action than in /linux/seccomp/syscalls/{first}"
        )
    };
    Error::spec(pointer, why)
}

// ---- the whole decision -----------------------------------------------------------------------------------------------

/// Whose call it is, and what its number gets.
fn decision(
    archs: &[Arch],
    seccomp: &LinuxSeccomp,
    profile: &Profile<'_>,
    blocks: &mut Blocks,
) -> Result<Id> {
    let kill = blocks.answer(ret::KILL_THREAD);
    let default = blocks.answer(profile.default);
    let mut trees = Vec::with_capacity(archs.len());
    let x32 = archs.contains(&Arch::ScmpArchX32);
    for arch in archs.iter().copied() {
        let all = match arch {
            Arch::ScmpArchX86_64 => {
                let mut lower = spans(arch, seccomp, profile, blocks)?;
                lower.extend(match x32 {
                    true => from_x32_bit(spans(Arch::ScmpArchX32, seccomp, profile, blocks)?),
                    // Number -1 is a tracer's "skip this call".
                    false => {
                        vec![Span { from: X32_BIT, then: kill }, Span { from: u32::MAX, then: default }]
                    }
                });
                merged(lower)
            }
            Arch::ScmpArchX32 if archs.contains(&Arch::ScmpArchX86_64) => continue,
            Arch::ScmpArchX32 => {
                let mut all = vec![Span { from: 0, then: kill }];
                all.extend(from_x32_bit(spans(arch, seccomp, profile, blocks)?));
                merged(all)
            }
            _ => spans(arch, seccomp, profile, blocks)?,
        };
        trees.push((abi::audit(arch), search(&all, blocks)));
    }
    // The native one is asked for first.
    Ok(trees.into_iter().rev().fold(kill, |next, (audit, tree)| {
        let test = Test { word: blocks::ARCH, mask: u32::MAX, is: Is::Equal, value: audit };
        blocks.test(test, tree, next)
    }))
}

/// The part of x32, which begins where no call of it is yet.
fn from_x32_bit(spans: Vec<Span>) -> Vec<Span> {
    let first = spans.iter().rposition(|s| s.from <= X32_BIT).unwrap_or(0);
    spans.into_iter().skip(first).map(|s| Span { from: s.from.max(X32_BIT), ..s }).collect()
}

/// A balanced search for the number.
fn search(spans: &[Span], blocks: &mut Blocks) -> Id {
    let test = |is, value| Test { word: blocks::NR, mask: u32::MAX, is, value };
    match spans {
        [] => blocks.answer(ret::KILL_THREAD),
        [span] => span.then,
        // One number among others.
        [before, one, after] if before.then == after.then && after.from == one.from + 1 => {
            blocks.test(test(Is::Equal, one.from), one.then, before.then)
        }
        _ => {
            let (lower, upper) = spans.split_at(spans.len() / 2);
            let border = upper.first().map_or(0, |s| s.from);
            let (upper, lower) = (search(upper, blocks), search(lower, blocks));
            blocks.test(test(Is::AtLeast, border), upper, lower)
        }
    }
}

// ---- flags and the agent ----------------------------------------------------------------------------------------------

/// Whether this kernel knows a flag of the specification.
pub fn is_supported(name: &str) -> bool {
    let flag = match name {
        // Of nothing, see below.
        "SECCOMP_FILTER_FLAG_TSYNC" => return true,
        "SECCOMP_FILTER_FLAG_LOG" => flag::LOG,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => flag::SPEC_ALLOW,
        // The kernel wants it together only.
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => flag::WAIT_KILLABLE_RECV | flag::NEW_LISTENER,
        _ => return false,
    };
    crate::sys::seccomp::knows(flag)
}

/// Errors carry pointers below `/linux/seccomp`.
pub fn terms(seccomp: &LinuxSeccomp) -> Result<Terms> {
    let notify = notify(seccomp)?;
    Ok(Terms { flags: flags(seccomp, notify.is_some()), notify })
}

fn flags(seccomp: &LinuxSeccomp, listens: bool) -> u32 {
    use oci_spec::runtime::LinuxSeccompFilterFlag as F;
    let asked = match seccomp.flags() {
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

fn notify(seccomp: &LinuxSeccomp) -> Result<Option<Notify>> {
    let asks = |e: &LinuxSyscall| e.action() == LinuxSeccompAction::ScmpActNotify;
    let Some(position) = seccomp.syscalls().iter().flatten().position(asks) else {
        return Ok(None);
    };
    let Some(path) = seccomp.listener_path().clone().filter(|p| !p.as_os_str().is_empty()) else {
        let e = Error::spec(format!("/linux/seccomp/syscalls/{position}"), "seccomp listenerPath is not set");
        return Err(e.hint("SCMP_ACT_NOTIFY needs an agent that listens on linux.seccomp.listenerPath"));
    };
    Ok(Some(Notify {
        listener_path: path,
        metadata: seccomp.listener_metadata().clone().unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests;
