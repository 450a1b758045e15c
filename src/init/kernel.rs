//! Names, sysctls, personality.

use crate::error::{OnSys, Result};
use crate::plan::kernel::Kernel;
use crate::sys::fs::{self, Resolve};
use crate::sys::{mount, ns, process};

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
