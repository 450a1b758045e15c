//! What a profile says: entries with their answers and conditions, checked, architecture left open.

use libseccomp::ScmpSyscall;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use crate::error::{Error, Kind, Result};
use crate::sys::Errno;

/// `SECCOMP_RET_*`; linux/seccomp.h.
pub mod ret {
    pub const KILL_THREAD: u32 = 0;
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const NOTIFY: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    pub const ENOSYS: u32 = ERRNO | crate::sys::Errno::ENOSYS as u32;
}

/// What libseccomp takes; the kernel knows no more.
const MAX_ERRNO: u32 = 4094;

/// One entry of `syscalls`.
pub struct Entry<'a> {
    pub names: Vec<&'a str>,
    pub answer: u32,
    /// Any of these suffices; within one all must hold. Without conditions: one that is empty.
    pub alternatives: Vec<Vec<Comparison>>,
    /// Index into the profile's `syscalls`.
    pub position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// 0 to 5.
    pub argument: u32,
    pub op: Op,
    pub mask: u64,
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    MaskedEqual,
}

pub struct Profile<'a> {
    pub default: u32,
    pub entries: Vec<Entry<'a>>,
}

/// Errors carry pointers below `/linux/seccomp`.
pub fn read<'a>(profile: &'a LinuxSeccomp, warnings: &mut Vec<String>) -> Result<Profile<'a>> {
    let default = answer(profile.default_action(), profile.default_errno_ret());
    if default == ret::NOTIFY {
        let why = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::spec("/linux/seccomp/defaultAction", why));
    }
    let mut entries = Vec::new();
    for (position, entry) in profile.syscalls().iter().flatten().enumerate() {
        let pointer = || format!("/linux/seccomp/syscalls/{position}");
        let answer = answer(entry.action(), entry.errno_ret());
        if entry.errno_ret().is_some() && !matches!(answer & 0xffff_0000, ret::ERRNO | ret::TRACE) {
            let (at, action) = (pointer(), entry.action());
            warnings.push(format!("seccomp: errnoRet of {at} has no meaning with {action}"));
        }
        if answer & 0xffff_0000 == ret::ERRNO && answer & 0xffff > MAX_ERRNO {
            let why = format!("errnoRet must not be greater than {MAX_ERRNO}");
            return Err(Error::spec(pointer(), why));
        }
        let args = entry.args().as_deref().unwrap_or_default();
        let alternatives = alternatives(args).map_err(|e| e.pointer(pointer()))?;
        let mut names = Vec::with_capacity(entry.names().len());
        for name in entry.names() {
            if name.is_empty() {
                return Err(Error::spec(pointer(), "empty string is not a valid syscall"));
            }
            // Init reports to main by write(2) after the filter is loaded: nobody could answer for it.
            if answer == ret::NOTIFY && name == "write" {
                let why = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
                return Err(Error::spec(pointer(), why));
            }
            // The names of all architectures are known on each of them, if only as calls that it lacks.
            match ScmpSyscall::from_name(name) {
                Ok(_) => names.push(name.as_str()),
                Err(_) => warnings.push(format!("unknown seccomp syscall {name:?} ignored")),
            }
        }
        entries.push(Entry { names, answer, alternatives, position });
    }
    Ok(Profile { default, entries })
}

/// All conditions of a rule must hold, and libseccomp takes one for each argument only; with two for the same argument
/// runc makes each condition a rule of its own (so any is enough), and profiles rely on it.
fn alternatives(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Comparison>>> {
    let mut all = Vec::with_capacity(args.len());
    let mut used = [false; 6];
    let mut twice = false;
    for arg in args {
        let index = arg.index();
        let Some(used) = used.get_mut(index) else {
            let why = format!("syscalls only have up to 6 arguments, not argument {index}");
            return Err(Error::new(Kind::Spec, why));
        };
        twice |= std::mem::replace(used, true);
        all.push(comparison(arg));
    }
    if twice {
        return Ok(all.into_iter().map(|c| vec![c]).collect());
    }
    all.sort_by_key(|c| c.argument);
    Ok(vec![all])
}

fn comparison(arg: &LinuxSeccompArg) -> Comparison {
    use LinuxSeccompOperator as O;
    let op = match arg.op() {
        O::ScmpCmpNe => Op::NotEqual,
        O::ScmpCmpLt => Op::Less,
        O::ScmpCmpLe => Op::LessOrEqual,
        O::ScmpCmpEq => Op::Equal,
        O::ScmpCmpGe => Op::GreaterOrEqual,
        O::ScmpCmpGt => Op::Greater,
        O::ScmpCmpMaskedEq => Op::MaskedEqual,
    };
    let (mask, value) = match op {
        // `value` is the mask, `valueTwo` what must remain; what the mask hides of it says nothing.
        Op::MaskedEqual => (arg.value(), arg.value_two().unwrap_or(0) & arg.value()),
        _ => (u64::MAX, arg.value()),
    };
    Comparison { argument: arg.index() as u32, op, mask, value }
}

/// `errno` counts for ERRNO and TRACE only; without it they give EPERM, as in runc.
pub fn answer(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    use LinuxSeccompAction as A;
    // 16 bits are what a filter can return.
    let errno = errno.unwrap_or(Errno::EPERM as u32) & 0xffff;
    match action {
        A::ScmpActKill | A::ScmpActKillThread => ret::KILL_THREAD,
        A::ScmpActKillProcess => ret::KILL_PROCESS,
        A::ScmpActTrap => ret::TRAP,
        A::ScmpActErrno => ret::ERRNO | errno,
        A::ScmpActNotify => ret::NOTIFY,
        A::ScmpActTrace => ret::TRACE | errno,
        A::ScmpActLog => ret::LOG,
        A::ScmpActAllow => ret::ALLOW,
    }
}
