//! Which namespaces are made, which are joined, by whom.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::idmap::{self, IdMaps};
use crate::error::{Error, Kind, OnSys, Result};
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
    /// Who clones init instead of main, where main must not go.
    pub intermediate: Option<ForIntermediate>,
    /// Of a new user namespace.
    pub maps: IdMaps,
    pub init: ForInit,
}

impl Namespaces {
    /// Is a namespace of this kind entered by path, by init or on the way to it?
    pub fn joins(&self, kind: u64) -> bool {
        let before = self.intermediate.iter().flat_map(|i| &i.join);
        self.init.join.iter().chain(before).any(|j| j.kind == kind)
    }
}

/// A user namespace takes away the right to enter namespaces of the one above it; so those come first, and a process
/// of its own goes there, for main could not come back.
pub struct ForIntermediate {
    /// In this order.
    pub join: Vec<Join>,
}

#[derive(Default)]
pub struct ForInit {
    /// In this order.
    pub join: Vec<Join>,
    pub new_cgroup: bool,
    /// In a user namespace, new or joined: become its root first.
    pub own_user: bool,
    /// A new network namespace: its loopback comes up.
    pub loopback: bool,
    /// It must not hide before its maps are written.
    pub shown_until_mapped: bool,
    /// A new time namespace that init makes, with the lines for timens_offsets: of a new user namespace, which is to own
    /// it, and where main could not go and come back.
    pub time: Option<String>,
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
    let mut user = None;
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    for (i, n) in listed.iter().enumerate() {
        let kind = flag(n.typ());
        match n.path().as_deref().filter(|p| !p.as_os_str().is_empty()) {
            Some(path) => {
                let join = open(kind, path).map_err(|e| e.pointer(format!("/linux/namespaces/{i}/path")))?;
                match kind {
                    ns::NEWPID => plan.pid = Some(join),
                    ns::NEWUSER => user = Some(join),
                    _ => plan.init.join.push(join),
                }
            }
            None => match kind {
                ns::NEWCGROUP => plan.init.new_cgroup = true,
                ns::NEWTIME => plan.time = Some(String::new()),
                _ => plan.born |= kind,
            },
        }
    }
    plan.init.loopback = plan.born & ns::NEWNET != 0;
    plan.init.join.sort_by_key(|j| JOIN_ORDER.iter().position(|k| *k == j.kind));
    plan.init.own_user = user.is_some() || plan.born & ns::NEWUSER != 0;
    if plan.born & ns::NEWUSER != 0 {
        plan.maps = idmap::build(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref(), "/linux")?;
        if plan.maps.uids.is_empty() || plan.maps.gids.is_empty() {
            return Err(Error::spec(
                "/linux/uidMappings",
                "a new user namespace needs mappings for uids and gids",
            ));
        }
    }
    if plan.init.own_user {
        divide(&mut plan, user)?;
    }
    if let Some(pid) = plan.pid.take_if(|_| !may_come_back("pid")) {
        let before = plan.intermediate.get_or_insert_with(|| ForIntermediate { join: Vec::new() });
        before.join.push(pid);
    }
    if let Some(lines) = &mut plan.time {
        for (clock, o) in linux.time_offsets().iter().flatten() {
            lines.push_str(&format!("{clock} {} {}\n", o.secs().unwrap_or(0), o.nanosecs().unwrap_or(0)));
        }
    }
    // Of a joined one we know not who else is in it, and how it is mapped: there it stays the host's.
    if plan.time.is_some() && (plan.born & ns::NEWUSER != 0 || !may_come_back("time")) {
        plan.init.time = plan.time.take();
    }
    Ok(plan)
}

/// Root of a user namespace may leave its namespace of this kind, and not enter it again: it is not his.
fn may_come_back(kind: &str) -> bool {
    super::own_namespace(kind).is_ok_and(|own| ns::owner(own).is_ok())
}

/// Whose is each namespace? What a joined user namespace owns is entered by init, with the rights it has there; the
/// rest is entered before, with the rights we have here. The kernel knows the owner: ioctl_nsfs(2).
fn divide(plan: &mut Namespaces, user: Option<Join>) -> Result<()> {
    let theirs = match &user {
        Some(u) => Some(fs::fstat(&u.fd).on("stat", u.path.display())?),
        None => None,
    };
    let later = |j: &Join| -> Result<bool> {
        let owner = ns::owner(&j.fd).and_then(fs::fstat).on("find the owner of", j.path.display())?;
        Ok(theirs.is_some_and(|t| t.same(&owner)))
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for join in std::mem::take(&mut plan.init.join) {
        if later(&join)? { after.push(join) } else { before.push(join) }
    }
    plan.init.join = after;
    match plan.pid.take() {
        Some(pid) if user.is_none() && before.is_empty() => plan.pid = Some(pid),
        Some(pid) if later(&pid)? => {
            before.extend(user);
            before.push(pid);
            plan.intermediate = Some(ForIntermediate { join: before });
            return Ok(());
        }
        pid => before.extend(pid),
    }
    before.extend(user);
    if !before.is_empty() {
        plan.intermediate = Some(ForIntermediate { join: before });
    }
    Ok(())
}

/// Of the time namespace that the caller has just made.
pub fn set_time_offsets(lines: &str) -> Result<()> {
    let path = "/proc/self/timens_offsets";
    let file = fs::open(path, fs::OFlag::O_WRONLY).on("open", path)?;
    fs::write_once(&file, lines.as_bytes())
        .on("set time offsets", lines.trim_end().replace('\n', ", "))
        .map_err(|e| e.pointer("/linux/timeOffsets"))
}

fn open(kind: u64, path: &Path) -> Result<Join> {
    let fd = fs::open(path, fs::OFlag::O_RDONLY | fs::OFlag::O_NONBLOCK)
        .on("open", format!("{} namespace {}", name(kind), path.display()))?;
    match ns::kind(&fd) {
        Ok(k) if k == kind => Ok(Join { kind, fd, path: path.to_owned() }),
        Ok(k) => Err(Error::new(
            Kind::Spec,
            format!("{} is a {} namespace, not a {} namespace", path.display(), name(k), name(kind)),
        )),
        Err(Errno::ENOTTY) => Err(Error::new(Kind::Spec, format!("{} is not a namespace", path.display()))),
        Err(e) => Err(e).on("inspect namespace", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceBuilder};

    #[test]
    fn a_file_that_is_no_such_namespace_is_told_with_its_place() {
        for (path, says) in [
            ("/proc/self/ns/uts", "/proc/self/ns/uts is a uts namespace, not a network namespace"),
            ("/proc/self/status", "/proc/self/status is not a namespace"),
            ("/no/such/ns", "open network namespace /no/such/ns: no such file or directory"),
        ] {
            let network = LinuxNamespaceBuilder::default().typ(super::LinuxNamespaceType::Network).path(path);
            let linux = LinuxBuilder::default().namespaces(vec![network.build().unwrap()]).build().unwrap();
            let told = super::build(&linux).map(|_| ()).unwrap_err().to_string();
            assert!(
                told.starts_with(says) && told.contains("(config.json: /linux/namespaces/0/path)"),
                "{told}"
            );
        }
    }
}
