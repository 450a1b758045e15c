//! What an ordinary user cannot have, whatever his configuration says; and ids that nobody is mapped to.
//!
//! The words are runc's (libcontainer/configs/validate/rootless.go), which refuses the same; the places are ours.

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::idmap::{IdMaps, Of};
use super::mounts;
use super::namespaces::Namespaces;
use crate::error::{Error, Result};
use crate::host::Host;

/// Not root of any user namespace.
pub fn check(spec: &Spec, host: &Host, namespaces: &Namespaces) -> Result<()> {
    if host.euid == 0 {
        return Ok(());
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    if !listed.iter().any(|n| n.typ() == LinuxNamespaceType::User) {
        let e = Error::spec("/linux/namespaces", "rootless container requires user namespaces");
        return Err(e.hint("`spec --rootless` writes a configuration for an ordinary user"));
    }
    if linux.net_devices().as_ref().is_some_and(|n| !n.is_empty()) {
        let text = "network devices are not supported for rootless containers";
        return Err(Error::spec("/linux/netDevices", text));
    }
    for (i, m) in spec.mounts().iter().flatten().enumerate() {
        let option = m.options().iter().flatten().any(|o| o == "idmap" || o == "ridmap");
        if option || m.uid_mappings().as_ref().is_some_and(|l| !l.is_empty()) {
            let text = "id-mapped mounts are not supported for rootless containers";
            let e = Error::spec(format!("/mounts/{i}"), text);
            return Err(e.hint("the kernel wants CAP_SYS_ADMIN over the file system"));
        }
    }
    let groups = spec.process().as_ref().and_then(|p| p.user().additional_gids().as_ref());
    if groups.is_some_and(|g| !g.is_empty()) && namespaces.maps.one_gid() {
        let text = "cannot set any additional groups in a rootless container that has one gid";
        return Err(Error::spec("/process/user/additionalGids", text)
            .hint("with more gids mapped, by newgidmap, it can"));
    }
    Ok(())
}

/// With a user namespace of its own: the ids that the configuration speaks of must be there.
pub fn check_mapped(spec: &Spec, maps: &IdMaps) -> Result<()> {
    let missing = |of, id, pointer: String, what: &str| match maps.outside(of, id) {
        Some(_) => Ok(()),
        None => {
            Err(Error::spec(pointer, format!("{what} {id} is not mapped in the container's user namespace"))
                .hint(format!("{} must hold it", of.pointer())))
        }
    };
    if let Some(user) = spec.process().as_ref().map(oci_spec::runtime::Process::user) {
        missing(Of::Uids, user.uid(), "/process/user/uid".into(), "uid")?;
        missing(Of::Gids, user.gid(), "/process/user/gid".into(), "gid")?;
        for (i, gid) in user.additional_gids().iter().flatten().enumerate() {
            missing(Of::Gids, *gid, format!("/process/user/additionalGids/{i}"), "gid")?;
        }
    }
    for (i, m) in spec.mounts().iter().flatten().enumerate().filter(|(_, m)| !mounts::is_bind(m)) {
        for (o, (of, id)) in ids(m) {
            missing(of, id, format!("/mounts/{i}/options/{o}"), "the id of a mount option,")?;
        }
    }
    Ok(())
}

/// `uid=` and `gid=` among the options, each with its place.
fn ids(m: &Mount) -> impl Iterator<Item = (usize, (Of, u32))> {
    let one = |o: &str| {
        let (of, id) = match o.split_once('=')? {
            ("uid", id) => (Of::Uids, id),
            ("gid", id) => (Of::Gids, id),
            _ => return None,
        };
        Some((of, id.parse().ok()?))
    };
    let all = m.options().iter().flatten().enumerate();
    all.flat_map(move |(i, o)| o.split(',').filter_map(move |o| one(o).map(|id| (i, id))).collect::<Vec<_>>())
}
