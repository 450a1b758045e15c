//! Which namespaces are made, which are joined, by whom.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use crate::error::{Error, OnSys, Result};
use crate::sys::{Errno, fs, ns};

/// Decided namespaces. One clone3(2) makes all new ones but two: a cgroup namespace shows the cgroup that its maker
/// is in, so init makes it after main has put it there; a time namespace takes its offsets before its first process.
#[derive(Default)]
pub struct Namespaces {
    /// `CLONE_NEW*` for clone3(2).
    pub born: u64,
    /// Main makes it around the clone, with these lines for timens_offsets.
    pub time: Option<String>,
    /// Main enters it around the clone, for a child is born in it.
    pub pid: Option<Join>,
    pub init: ForInit,
}

#[derive(Default)]
pub struct ForInit {
    /// In this order.
    pub join: Vec<Join>,
    pub new_cgroup: bool,
    /// A new network namespace: its loopback comes up.
    pub loopback: bool,
}

/// A namespace to enter.
pub struct Join {
    pub kind: u64,
    pub fd: OwnedFd,
    pub path: PathBuf,
}

/// `CLONE_NEW*` of a type in the spec's words.
pub fn flag(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Mount => ns::NEWNS,
        LinuxNamespaceType::Cgroup => ns::NEWCGROUP,
        LinuxNamespaceType::Uts => ns::NEWUTS,
        LinuxNamespaceType::Ipc => ns::NEWIPC,
        LinuxNamespaceType::User => ns::NEWUSER,
        LinuxNamespaceType::Pid => ns::NEWPID,
        LinuxNamespaceType::Network => ns::NEWNET,
        LinuxNamespaceType::Time => ns::NEWTIME,
    }
}

/// The namespace's type as the spec spells it.
pub fn name(flag: u64) -> &'static str {
    match flag {
        ns::NEWNS => "mount",
        ns::NEWCGROUP => "cgroup",
        ns::NEWUTS => "uts",
        ns::NEWIPC => "ipc",
        ns::NEWUSER => "user",
        ns::NEWPID => "pid",
        ns::NEWNET => "network",
        _ => "time",
    }
}

/// Joining needs the rights of now: the user namespace that owns the others first, the mount namespace last because
/// entering it changes what paths mean.
const JOIN_ORDER: [u64; 6] = [ns::NEWIPC, ns::NEWUTS, ns::NEWNET, ns::NEWCGROUP, ns::NEWTIME, ns::NEWNS];

pub fn build(linux: &Linux) -> Result<Namespaces> {
    let mut plan = Namespaces::default();
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    for (i, n) in listed.iter().enumerate() {
        let kind = flag(n.typ());
        match n.path().as_deref().filter(|p| !p.as_os_str().is_empty()) {
            Some(path) => {
                let join = open(kind, path).map_err(|e| e.pointer(format!("/linux/namespaces/{i}/path")))?;
                match kind {
                    ns::NEWPID => plan.pid = Some(join),
                    ns::NEWUSER => {
                        return Err(Error::unsupported("joining a user namespace by path is not supported yet")
                            .pointer(format!("/linux/namespaces/{i}")));
                    }
                    _ => plan.init.join.push(join),
                }
            }
            None => match kind {
                ns::NEWCGROUP => plan.init.new_cgroup = true,
                ns::NEWTIME => plan.time = Some(String::new()),
                ns::NEWUSER => {
                    return Err(Error::unsupported("user namespaces are not supported yet")
                        .pointer(format!("/linux/namespaces/{i}")));
                }
                _ => plan.born |= kind,
            },
        }
    }
    plan.init.loopback = plan.born & ns::NEWNET != 0;
    plan.init.join.sort_by_key(|j| JOIN_ORDER.iter().position(|k| *k == j.kind));
    if let Some(lines) = &mut plan.time {
        for (clock, o) in linux.time_offsets().iter().flatten() {
            lines.push_str(&format!("{clock} {} {}\n", o.secs().unwrap_or(0), o.nanosecs().unwrap_or(0)));
        }
    }
    Ok(plan)
}

fn open(kind: u64, path: &Path) -> Result<Join> {
    let fd = fs::open(path, fs::OFlag::O_RDONLY | fs::OFlag::O_NONBLOCK)
        .on("open", format!("{} namespace {}", name(kind), path.display()))?;
    match ns::kind(&fd) {
        Ok(k) if k == kind => Ok(Join { kind, fd, path: path.to_owned() }),
        Ok(k) => Err(Error::spec("", format!("{} is a {} namespace, not a {} namespace", path.display(), name(k), name(kind)))),
        Err(Errno::ENOTTY) => Err(Error::spec("", format!("{} is not a namespace", path.display()))),
        Err(e) => Err(e).on("inspect namespace", path.display()),
    }
}
