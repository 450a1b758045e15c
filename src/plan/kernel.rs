//! Names, sysctls, personality, and what memory and time look like.

use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{
    Linux, LinuxPersonalityDomain, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode, Spec,
};

use super::schedule::cpu_list;
use crate::error::{Error, Result};
use crate::sys::sched::CpuSet;

#[derive(Default)]
pub struct Kernel {
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctls: Vec<Sysctl>,
    /// personality(2).
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicy>,
    /// The session keyring's name; none: the caller's is kept (`--no-new-keyring`).
    pub keyring: Option<CString>,
}

/// set_mempolicy(2).
pub struct MemoryPolicy {
    /// With its flags.
    pub mode: u32,
    pub nodes: CpuSet,
}

pub struct Sysctl {
    pub key: String,
    /// Below /proc/sys.
    pub path: PathBuf,
    pub value: String,
}

pub fn build(spec: &Spec, id: &str, new_keyring: bool) -> Result<Kernel> {
    let linux = spec.linux().as_ref();
    let mut sysctls = Vec::new();
    for (key, value) in linux.and_then(|l| l.sysctl().as_ref()).into_iter().flatten() {
        sysctls.push(Sysctl { path: sysctl_path(key)?, key: key.clone(), value: value.clone() });
    }
    sysctls.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Kernel {
        hostname: spec.hostname().clone().filter(|h| !h.is_empty()),
        domainname: spec.domainname().clone().filter(|d| !d.is_empty()),
        sysctls,
        personality: personality(linux),
        memory_policy: memory_policy(linux)?,
        keyring: keyring(id, new_keyring),
    })
}

/// personality(2)'s number.
pub fn personality(linux: Option<&Linux>) -> Option<u64> {
    linux.and_then(|l| l.personality().as_ref()).map(|p| match p.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// In the numbers of linux/mempolicy.h.
pub fn memory_policy(linux: Option<&Linux>) -> Result<Option<MemoryPolicy>> {
    let Some(policy) = linux.and_then(|l| l.memory_policy().as_ref()) else { return Ok(None) };
    let mode = match policy.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flag = |f: &Flag| match f {
        Flag::MpolFNumaBalancing => 1 << 13,
        Flag::MpolFRelativeNodes => 1 << 14,
        Flag::MpolFStaticNodes => 1 << 15,
    };
    let flags = policy.flags().iter().flatten().fold(0, |all, f| all | flag(f));
    let nodes = cpu_list(policy.nodes().as_deref().unwrap_or_default(), "/linux/memoryPolicy/nodes")?;
    Ok(Some(MemoryPolicy { mode: mode | flags, nodes }))
}

/// As runc names it: one for each container.
pub fn keyring(id: &str, new: bool) -> Option<CString> {
    new.then(|| CString::new(format!("_ses.{id}")).unwrap_or_default())
}

/// sysctl(8)'s rule: the first separator tells which of `.` and `/` separates; the other one stands for itself.
fn sysctl_path(key: &str) -> Result<PathBuf> {
    let dots = match key.find(['.', '/']) {
        Some(i) => key.as_bytes().get(i) == Some(&b'.'),
        None => true,
    };
    let path: String = if dots {
        key.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    } else {
        key.to_owned()
    };
    let bad = |c: &str| c.is_empty() || c == "." || c == "..";
    if path.split('/').any(bad) || path.contains('\0') {
        return Err(Error::spec(
            format!("/linux/sysctl/{}", key.replace('~', "~0").replace('/', "~1")),
            format!("sysctl key {key:?} is no name of a sysctl"),
        ));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_policies_in_the_kernels_numbers() {
        for (text, mode, nodes) in [
            (r#"{"mode":"MPOL_DEFAULT"}"#, 0, &[][..]),
            (r#"{"mode":"MPOL_BIND","nodes":"0-1,3"}"#, 2, &[0, 1, 3]),
            (r#"{"mode":"MPOL_PREFERRED","nodes":""}"#, 1, &[]),
            (r#"{"mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_STATIC_NODES"]}"#, 0x8003, &[0]),
            (r#"{"mode":"MPOL_LOCAL"}"#, 4, &[]),
            (
                r#"{"mode":"MPOL_PREFERRED_MANY","nodes":"64","flags":["MPOL_F_RELATIVE_NODES"]}"#,
                0x4005,
                &[64],
            ),
            (r#"{"mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":"0"}"#, 6, &[0]),
            (r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]}"#, 0x2002, &[0]),
        ] {
            let linux: Linux = serde_json::from_str(&format!(r#"{{"memoryPolicy":{text}}}"#)).unwrap();
            let got = memory_policy(Some(&linux)).unwrap().unwrap();
            let mut want = CpuSet::default();
            nodes.iter().for_each(|n| want.insert(*n));
            assert_eq!((got.mode, got.nodes), (mode, want), "{text}");
        }
    }

    #[test]
    fn sysctl_keys() {
        for (key, want) in [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net/ipv4/conf/eth0.1/x", Some("net/ipv4/conf/eth0.1/x")),
            ("net.ipv4.conf.eth0/1.x", Some("net/ipv4/conf/eth0.1/x")),
            ("net..x", None),
            ("net/../kernel/core_pattern", None),
            ("", None),
            (".net", None),
        ] {
            assert_eq!(sysctl_path(key).ok(), want.map(PathBuf::from), "{key}");
        }
    }
}
