//! Who the program is: ids, groups, capabilities, limits.

use oci_spec::runtime::{Capabilities, LinuxCapabilities, PosixRlimitType, Process};

use crate::error::{Error, OnSys, Result};
use crate::sys::cred::Caps;

#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Where setgroups(2) is denied to a whole user namespace, go without.
    pub groups_if_possible: bool,
    pub umask: u32,
    /// None: nothing is taken away, as with runc; a program that is not root loses them by execve(2).
    pub caps: Option<CapSets>,
    pub no_new_privs: bool,
    pub rlimits: Vec<Rlimit>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    pub bounding: Caps,
    pub effective: Caps,
    pub permitted: Caps,
    pub inheritable: Caps,
    pub ambient: Caps,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    pub name: &'static str,
    /// The kernel's number.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
    pub index: usize,
}

impl Rlimit {
    pub fn apply(&self, pid: i32) -> Result<()> {
        self.said(crate::sys::cred::set_rlimit(pid, self.resource, self.soft, self.hard))
    }

    /// So that this process can [`Rlimit::apply`] it later without the right to raise a limit.
    pub fn allow(&self) -> Result<()> {
        self.said(crate::sys::cred::allow_rlimit(self.resource, self.hard))
    }

    fn said(&self, r: crate::sys::Result<()>) -> Result<()> {
        r.on("set rlimit", format!("{} soft {} hard {}", self.name, self.soft, self.hard))
            .map_err(|e| e.pointer(format!("/process/rlimits/{}", self.index)))
    }
}

/// `grantable`: what the runtime itself may give away; what it lacks is left out with a warning, as the spec wants.
pub fn build(process: &Process, grantable: Caps, warnings: &mut Vec<String>) -> Result<Identity> {
    let user = process.user();
    for (id, pointer) in [(user.uid(), "/process/user/uid"), (user.gid(), "/process/user/gid")] {
        refuse_minus_one(id, pointer)?;
    }
    let groups = user.additional_gids().clone().unwrap_or_default();
    for (i, g) in groups.iter().enumerate() {
        refuse_minus_one(*g, &format!("/process/user/additionalGids/{i}"))?;
    }
    Ok(Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups,
        groups_if_possible: crate::sys::cred::geteuid() == 0,
        // As runc, where nobody asks for another.
        umask: user.umask().unwrap_or(0o022),
        caps: process.capabilities().as_ref().map(|c| cap_sets(c, grantable, warnings)),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(process),
    })
}

/// (uid_t)-1 means "leave as it is" to the kernel: the program would keep root's id.
pub fn refuse_minus_one(id: u32, pointer: &str) -> Result<()> {
    if id == u32::MAX {
        return Err(Error::spec(pointer, "id 4294967295 means \"no change\" to the kernel and is refused"));
    }
    Ok(())
}

/// The bits of a list of capabilities.
pub fn bits(list: &Option<Capabilities>) -> Caps {
    let number = |c: &oci_spec::runtime::Capability| {
        Caps::number(&format!("CAP_{c}")).or_else(|| Caps::number(&c.to_string()))
    };
    list.iter().flatten().filter_map(number).fold(Caps::default(), |set, nr| set.union(Caps(1 << nr)))
}

pub fn cap_sets(c: &LinuxCapabilities, grantable: Caps, warnings: &mut Vec<String>) -> CapSets {
    let sets = CapSets {
        bounding: bits(c.bounding()),
        effective: bits(c.effective()),
        permitted: bits(c.permitted()),
        inheritable: bits(c.inheritable()),
        ambient: bits(c.ambient()),
    };
    let wanted = [sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient];
    let missing = Caps(wanted.into_iter().fold(0, |all, s| all | s.0) & !grantable.0);
    if missing.0 != 0 {
        let names: Vec<_> = (0..64).filter(|n| missing.has(*n)).filter_map(Caps::name).collect();
        warnings.push(format!("ignoring capabilities that cannot be granted here: {}", names.join(", ")));
    }
    let permitted = sets.permitted.intersection(grantable);
    let inheritable = sets.inheritable.intersection(grantable);
    CapSets {
        bounding: sets.bounding.intersection(grantable),
        effective: sets.effective.intersection(permitted),
        permitted,
        inheritable,
        // The kernel's own rule: capabilities(7).
        ambient: sets.ambient.intersection(permitted).intersection(inheritable),
    }
}

fn rlimits(process: &Process) -> Vec<Rlimit> {
    let of = |(index, l): (usize, &oci_spec::runtime::PosixRlimit)| {
        let (name, resource) = resource(l.typ());
        Rlimit { name, resource, soft: l.soft(), hard: l.hard(), index }
    };
    process.rlimits().iter().flatten().enumerate().map(of).collect()
}

/// getrlimit(2)'s numbers on all architectures that we build for (asm-generic).
fn resource(typ: PosixRlimitType) -> (&'static str, u32) {
    use PosixRlimitType as T;
    match typ {
        T::RlimitCpu => ("RLIMIT_CPU", 0),
        T::RlimitFsize => ("RLIMIT_FSIZE", 1),
        T::RlimitData => ("RLIMIT_DATA", 2),
        T::RlimitStack => ("RLIMIT_STACK", 3),
        T::RlimitCore => ("RLIMIT_CORE", 4),
        T::RlimitRss => ("RLIMIT_RSS", 5),
        T::RlimitNproc => ("RLIMIT_NPROC", 6),
        T::RlimitNofile => ("RLIMIT_NOFILE", 7),
        T::RlimitMemlock => ("RLIMIT_MEMLOCK", 8),
        T::RlimitAs => ("RLIMIT_AS", 9),
        T::RlimitLocks => ("RLIMIT_LOCKS", 10),
        T::RlimitSigpending => ("RLIMIT_SIGPENDING", 11),
        T::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", 12),
        T::RlimitNice => ("RLIMIT_NICE", 13),
        T::RlimitRtprio => ("RLIMIT_RTPRIO", 14),
        T::RlimitRttime => ("RLIMIT_RTTIME", 15),
    }
}
