//! What this machine is, and what we are on it: one probe, plain data.

use crate::cgroup;
use crate::error::{OnSys, Result};
use crate::sys::cred::{self, Caps};
use crate::sys::fs;

#[derive(Default)]
pub struct Host {
    pub layout: cgroup::Layout,
    /// What the runtime itself may give away.
    pub caps: Caps,
    pub euid: u32,
    pub egid: u32,
    pub apparmor: bool,
    pub selinux: bool,
}

pub fn probe() -> Result<Host> {
    let (_, permitted, _) = cred::get_caps().on("read", "own capabilities")?;
    Ok(Host {
        layout: cgroup::detect()?,
        caps: permitted,
        euid: cred::geteuid(),
        egid: cred::getegid(),
        apparmor: has_apparmor(),
        selinux: has_selinux(),
    })
}

pub fn has_apparmor() -> bool {
    fs::read_file("/sys/module/apparmor/parameters/enabled", 16).is_ok_and(|t| t.starts_with(b"Y"))
}

pub fn has_selinux() -> bool {
    fs::stat("/sys/fs/selinux/enforce").is_ok()
}
