//! Becoming the user.

use crate::error::{Error, OnSys, Result};
use crate::plan::identity::{CapSets, Identity};
use crate::sys::cred::{self, Caps};
use crate::sys::{Errno, fs, mount, process};

pub fn limits(plan: &Identity) -> Result<()> {
    plan.rlimits.iter().try_for_each(|l| l.apply(0))
}

/// Root of our own user namespace: until then our ids are whatever the caller's are called in here.
pub fn become_root() -> Result<()> {
    match cred::set_groups(&[]) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(e) => return Err(e).on("drop", "supplementary groups"),
    }
    let unmapped = |e: Error| e.hint("the user namespace needs a mapping for id 0");
    cred::set_gid(0).on("set gid", 0).map_err(|e| unmapped(e).pointer("/linux/gidMappings"))?;
    cred::set_uid(0).on("set uid", 0).map_err(|e| unmapped(e).pointer("/linux/uidMappings"))
}

pub fn no_new_privs(plan: &Identity) -> Result<()> {
    if plan.no_new_privs { process::no_new_privs().on("set", "no_new_privs") } else { Ok(()) }
}

/// `until_exec`: capabilities to hold on to until execve(2), which takes them away: they are in no other set, and not
/// in the bounding set, from which a root program would get them back.
///
/// The order is the kernel's: the bounding set while CAP_SETPCAP is there; groups before ids, while CAP_SETGID is;
/// the capabilities last, when the ids cannot take them away any more (capabilities(7)).
pub fn assume(plan: &Identity, until_exec: Caps) -> Result<()> {
    if let Some(caps) = &plan.caps {
        cred::limit_bounding(caps.bounding).on("limit", "the capability bounding set")?;
    }
    match cred::set_groups(&plan.groups) {
        // A user namespace that denies setgroups(2): nothing to drop is nothing lost. As runc, root of one that was made
        // so before us gets along with the groups that he has.
        Err(Errno::EPERM) if plan.groups.is_empty() || (plan.groups_if_possible && setgroups_is_denied()) => {
        }
        r => r.on("set", "supplementary groups").map_err(|e| e.pointer("/process/user/additionalGids"))?,
    }
    cred::keep_caps(true).on("set", "keep capabilities")?;
    let unmapped = |e: Error| match e.errno() {
        Some(Errno::EINVAL) => e.hint("the id is not mapped in the container's user namespace"),
        _ => e,
    };
    cred::set_gid(plan.gid).on("set gid", plan.gid).map_err(|e| unmapped(e).pointer("/process/user/gid"))?;
    cred::set_uid(plan.uid).on("set uid", plan.uid).map_err(|e| unmapped(e).pointer("/process/user/uid"))?;
    cred::keep_caps(false).on("clear", "keep capabilities")?;
    match &plan.caps {
        Some(caps) => take(caps, until_exec)?,
        // A change of ids has made them ineffective, though they are kept: until execve(2), which takes them away.
        None if until_exec != Caps::default() => {
            let (_, permitted, inheritable) = cred::get_caps().on("read", "capabilities")?;
            cred::set_caps(permitted, permitted, inheritable).on("set", "capabilities")?;
        }
        None => {}
    }
    process::umask(plan.umask);
    Ok(())
}

fn setgroups_is_denied() -> bool {
    let read = || {
        let proc = mount::private_procfs(true)?;
        fs::read_text_at(&proc, "self/setgroups", fs::Resolve::BENEATH_LINKS)
    };
    read().is_ok_and(|word| word.trim() == "deny")
}

fn take(caps: &CapSets, until_exec: Caps) -> Result<()> {
    cred::set_caps(caps.effective.union(until_exec), caps.permitted.union(until_exec), caps.inheritable)
        .on("set", "capabilities")
        .map_err(|e| e.pointer("/process/capabilities"))?;
    match cred::clear_ambient() {
        // Linux before 4.3 has none.
        Err(Errno::EINVAL) if caps.ambient.0 == 0 => {}
        r => r.on("clear", "ambient capabilities")?,
    }
    for nr in (0..64).filter(|nr| caps.ambient.has(*nr)) {
        cred::raise_ambient(nr).on("raise", format!("ambient capability {nr}"))?;
    }
    Ok(())
}
