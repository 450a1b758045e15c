//! What this machine is, and what we are on it: one probe, plain data.

use crate::cgroup;
use crate::error::{OnSys, Result};
use crate::plan::lsm::Modules;
use crate::sys::cred::{self, Caps};
use crate::sys::{Errno, fs, known};

#[derive(Default)]
pub struct Host {
    pub layout: cgroup::Layout,
    /// What the runtime itself may give away.
    pub caps: Caps,
    pub euid: u32,
    pub egid: u32,
    pub modules: Modules,
}

pub fn probe() -> Result<Host> {
    let _t = crate::trace::span("probe the host");
    let (_, permitted, _) = cred::get_caps().on("read", "own capabilities")?;
    Ok(Host {
        layout: cgroup::detect()?,
        caps: permitted,
        euid: cred::geteuid(),
        egid: cred::getegid(),
        modules: modules(),
    })
}

/// Which security modules can label.
pub fn modules() -> Modules {
    Modules { apparmor: has_apparmor(), selinux: has_selinux() }
}

fn has_apparmor() -> bool {
    fs::read_file("/sys/module/apparmor/parameters/enabled", 16).is_ok_and(|t| t.starts_with(b"Y"))
}

/// As libselinux and runc see it: its file system is there and writable (a container sees it read-only), and it has a
/// policy, without which everything is called `kernel`.
fn has_selinux() -> bool {
    const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
    const ST_RDONLY: u64 = 1;
    let mounted = fs::open_path("/sys/fs/selinux").and_then(fs::fstatfs);
    let own = || fs::read_file("/proc/self/attr/current", 4096);
    mounted.is_ok_and(|(magic, flags)| magic == SELINUX_MAGIC && flags & ST_RDONLY == 0)
        && own().is_ok_and(|label| !matches!(label.trim_ascii_end(), b"kernel" | b"kernel\0"))
}

/// What the kernel lacks, or a filter around us forbids, where that may be why something failed with `errno`.
pub fn lack(errno: Errno) -> Option<String> {
    let call = match errno {
        Errno::ENOSYS => known::first_refused(errno)?,
        // Not allowed to mount, that is what the kernel says to most of these by itself.
        Errno::EPERM if cred::get_caps().is_ok_and(|(e, ..)| e.contains(Caps::SYS_ADMIN)) => {
            known::first_refused(errno)?
        }
        _ => return None,
    };
    let known::Call { name, since, .. } = call;
    Some(match errno {
        Errno::ENOSYS => format!(
            "kernel too old: needs {name} (Linux {since}), or a seccomp filter around the runtime hides it"
        ),
        _ => format!("a seccomp filter around the runtime forbids what it needs: {name} (Linux {since})"),
    })
}
