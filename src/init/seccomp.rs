//! Loading the filter.
//!
//! As late as can be: what the runtime still has to do is not the profile's business. Two filters come earlier. One that
//! notifies is for an agent that waits for it while the container is created. And one of a process that joins a living
//! container: what is born in the container's pid namespace may be traced by the container from then on, and must have
//! nothing that the program does not have.

use std::os::fd::OwnedFd;

use crate::error::{Error, OnSys, Result};
use crate::handshake::Program;
use crate::plan::identity::Identity;
use crate::sys::cred::{self, Caps};
use crate::sys::{Errno, seccomp};

/// Loading a filter without no_new_privs needs CAP_SYS_ADMIN, which the program must not have: kept until execve(2).
pub fn needs_until_exec(filtered: bool, no_new_privs: bool) -> Caps {
    if filtered && !no_new_privs { Caps::SYS_ADMIN } else { Caps::default() }
}

/// The listener of a filter that notifies: for main to take, and closed by execve(2).
pub fn load(filter: &Program) -> Result<Option<OwnedFd>> {
    if filter.code.is_empty() {
        return Ok(None);
    }
    seccomp::load(&filter.code, filter.flags).map_err(|e| {
        let error = Error::sys("load", "the seccomp filter", e).pointer("/linux/seccomp");
        match e {
            Errno::EINVAL if filter.flags != 0 => {
                error.hint("this kernel may not know one of the flags: see `orlop features`")
            }
            _ => error,
        }
    })
}

/// Gives up what was kept for loading, as execve(2) would.
pub fn relinquish(plan: &Identity) -> Result<()> {
    match &plan.caps {
        _ if plan.no_new_privs => return Ok(()),
        Some(caps) => cred::set_caps(caps.effective, caps.permitted, caps.inheritable),
        // Root has what root has.
        None if plan.uid == 0 => return Ok(()),
        None => {
            let (_, _, inheritable) = cred::get_caps().on("read", "capabilities")?;
            cred::set_caps(Caps::default(), Caps::default(), inheritable)
        }
    }
    .on("give up", "capabilities")
}
