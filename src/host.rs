//! What this machine is, and what we are on it: one probe, plain data.

use crate::cgroup;
use crate::error::{OnSys, Result};
use crate::sys::cred::{self, Caps};

pub struct Host {
    pub layout: cgroup::Layout,
    /// What the runtime itself may give away.
    pub caps: Caps,
    pub euid: u32,
}

pub fn probe() -> Result<Host> {
    let (_, permitted, _) = cred::get_caps().on("read", "own capabilities")?;
    Ok(Host { layout: cgroup::detect()?, caps: permitted, euid: cred::geteuid() })
}
