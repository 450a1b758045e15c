//! What init is born without. Making its namespaces is the kernel's largest part of a container's creation, and making
//! its cgroups the next: so init makes the namespaces, main the cgroups, at the same time, and main sends what init needs
//! of them with its first word.

use std::path::PathBuf;

use super::mounts::{HierarchySource, MountStep, What};
use crate::cgroup::Cgroup;
use crate::sys::mount::Attr;
use crate::sys::ns;

/// `CLONE_NEW*` that init can make for itself. A pid namespace takes its first process at birth, and a user namespace
/// owns the others.
pub const OWN: u64 = ns::NEWNS | ns::NEWNET | ns::NEWIPC | ns::NEWUTS;

/// One message carries no more descriptors, SCM_MAX_FD in unix(7) being 253.
const MAX: usize = 120;

/// What main sends; each may turn out not to be there, where that is no error.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// `CLONE_NEW*` that init makes meanwhile.
    pub namespaces: u64,
    /// cgroups to be mounted, in the order in which they are, and with what attributes.
    pub trees: Vec<(PathBuf, Attr)>,
    /// The ways into the cgroups, and whether a refusal is no error.
    pub doors: Vec<(PathBuf, bool)>,
}

/// `born`: what init is to have.
pub fn build(born: u64, mounts: &[MountStep], cgroup: &Cgroup) -> Promise {
    let hierarchies = mounts.iter().filter_map(|step| match &step.what {
        What::CgroupV1 { hierarchies, .. } => Some(hierarchies),
        _ => None,
    });
    let trees = hierarchies.flatten().filter_map(|h| match &h.source {
        HierarchySource::Promised(path, attr) => Some((path.clone(), *attr)),
        _ => None,
    });
    Promise { namespaces: born & OWN, trees: trees.collect(), doors: cgroup.planned_doors() }
}

/// May the cgroups be made when init is there already? `mounts`: how many mounts of cgroups there are.
pub fn serves(cgroup: &Cgroup, mounts: usize) -> bool {
    let doors = cgroup.planned_doors().len();
    doors > 0 && doors.saturating_mul(mounts.saturating_add(1)) <= MAX
}
