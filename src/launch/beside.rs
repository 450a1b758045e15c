//! Keeping a promise: descriptors of the cgroups that main has made while init made its namespaces.

use crate::cgroup::Cgroup;
use crate::error::{Context, OnSys, Result};
use crate::handshake::Sent;
use crate::plan::beside::Promise;
use crate::sys::{fs, mount};

/// In the promise's order.
pub fn keep(promise: &Promise, cgroup: &Cgroup) -> Result<Sent> {
    let mut kept = Sent::default();
    let views = cgroup.v1_views().unwrap_or_default();
    for (path, attr) in &promise.trees {
        let is_there = views.iter().any(|v| v.path == *path);
        kept.there.push(is_there);
        if is_there {
            let shown = path.display();
            let at = fs::open_dir(path).on("mount source", &shown)?;
            let tree = mount::clone_tree(&at, false).on("clone mount source", &shown)?;
            mount::set_attr(&tree, *attr, false).on("set attributes of", &shown)?;
            kept.fds.push(tree);
        }
    }
    let mut doors = cgroup.doors().within("unable to apply cgroup configuration")?.into_iter().peekable();
    for (path, _) in &promise.doors {
        let door = doors.next_if(|door| door.path == *path);
        kept.there.push(door.is_some());
        kept.fds.extend(door.map(|door| door.fd));
    }
    Ok(kept)
}
