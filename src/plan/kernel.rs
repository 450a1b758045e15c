//! Names, sysctls, personality, and what memory and time look like.

use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxPersonalityDomain, Spec};

use crate::error::{Error, Result};

#[derive(Default)]
pub struct Kernel {
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctls: Vec<Sysctl>,
    /// personality(2).
    pub personality: Option<u64>,
    /// The session keyring's name; none: the caller's is kept (`--no-new-keyring`).
    pub keyring: Option<CString>,
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

/// As runc names it: one for each container.
pub fn keyring(id: &str, new: bool) -> Option<CString> {
    new.then(|| CString::new(format!("_ses.{id}")).unwrap_or_default())
}

/// sysctl(8)'s rule: the first separator tells which of `.` and `/` separates; the other one stands for itself.
fn sysctl_path(key: &str) -> Result<PathBuf> {
    let dots = match key.find(['.', '/']) {
        Some(i) => key.as_bytes()[i] == b'.',
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
