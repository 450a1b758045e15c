//! Names, sysctls, personality.

use crate::error::{OnSys, Result};
use crate::plan::kernel::{Kernel, MemoryPolicy};
use crate::sys::fs::{self, Resolve};
use crate::sys::{Errno, mount, ns, process, sched};

pub fn names(plan: &Kernel) -> Result<()> {
    if let Some(name) = &plan.hostname {
        ns::set_hostname(name).on("set hostname", name).map_err(|e| e.pointer("/hostname"))?;
    }
    if let Some(name) = &plan.domainname {
        ns::set_domainname(name).on("set domainname", name).map_err(|e| e.pointer("/domainname"))?;
    }
    Ok(())
}

/// Through a procfs of our own, over which nobody can have mounted anything (CVE-2025-52881).
pub fn sysctls(plan: &Kernel) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let proc = mount::private_procfs(false).on("open", "a private procfs")?;
    for s in &plan.sysctls {
        fs::write_at(&proc, std::path::Path::new("sys").join(&s.path), &s.value, Resolve::BENEATH)
            .on("write sysctl", format!("{} = {:?}", s.key, s.value))
            .map_err(|e| {
                e.pointer(format!("/linux/sysctl/{}", s.key.replace('~', "~0").replace('/', "~1")))
            })?;
    }
    Ok(())
}

/// As runc, when all that main does to the cgroup is done: the nodes are those that its cpuset leaves.
pub fn memory_policy(plan: Option<&MemoryPolicy>) -> Result<()> {
    let Some(policy) = plan else { return Ok(()) };
    sched::set_mempolicy(policy.mode, &policy.nodes).on("set", "memory policy").map_err(|e| {
        let e = e.pointer("/linux/memoryPolicy");
        match e.errno() {
            Some(Errno::EINVAL) => e.hint("no such node is there and allowed to the container, or the kernel does not take the mode with its flags"),
            _ => e,
        }
    })
}

pub fn personality(plan: &Kernel) -> Result<()> {
    set_personality(plan.personality)
}

pub fn set_personality(domain: Option<u64>) -> Result<()> {
    match domain {
        Some(p) => {
            process::set_personality(p).on("set", "personality").map_err(|e| e.pointer("/linux/personality"))
        }
        None => Ok(()),
    }
}
