//! Assembling the root file system, and entering it.

use std::path::PathBuf;

use super::root::Root;
use super::{devices, fds, mounts, paths};
use crate::error::{OnSys, Result};
use crate::plan::paths::Paths;
use crate::plan::rootfs::{Enter, Rootfs, clone_root, libc_free};
use crate::sys::fs;
use crate::sys::mount::{self, ATTR_RDONLY, Attr};

/// Cuts the mount namespace off from the host and attaches the root tree. It goes over `/`: paths still mean the
/// host's, because a process's root is below what is mounted on it; only the tree's descriptor leads into it.
///
/// `share`: volumes are cloned from the host's mounts as their peers, so all but `/` itself stay what they are until
/// the clones are made.
fn attach(tree: std::os::fd::OwnedFd, enter: Enter, share: bool) -> Result<Root> {
    if enter != Enter::Chroot {
        mount::set_root_attr(SLAVE, !share).on("set propagation of", "/")?;
        mount::attach_over_root(&tree).on("attach", "the root file system")?;
    }
    Ok(Root::new(tree))
}

/// What is left to do to the root file system once it is entered.
pub struct Rest {
    pub enter: Enter,
    own_dev: bool,
    paths: Paths,
    readonly: bool,
    readonly_later: Vec<PathBuf>,
    propagation: Option<(u64, bool)>,
}

/// All mounts and devices, in the root's own tree.
pub fn assemble(plan: Rootfs) -> Result<(Root, Rest)> {
    let Rootfs { tree, path, enter, share, mounts, dev, paths, readonly, propagation, readonly_later } = plan;
    let tree = match tree {
        Some(tree) => tree,
        None => clone_root(&path, propagation)?,
    };
    let root = attach(tree, enter, share)?;
    for step in mounts {
        mounts::make(&root, step)?;
    }
    if let Some(dev) = &dev {
        devices::make(&root, dev)?;
    }
    let rest = Rest { enter, own_dev: dev.is_some(), paths, readonly, readonly_later, propagation };
    Ok((root, rest))
}

const SLAVE: Attr = Attr { set: 0, clear: 0, propagation: libc_free::MS_SLAVE, userns: 0 };

pub fn enter(root: &Root, how: Enter) -> Result<()> {
    let old = fs::open_dir("/").on("open", "/")?;
    mount::fchdir(root.fd()).on("chdir to", "the root file system")?;
    match how {
        Enter::Pivot => {
            mount::pivot_into_cwd()
                .on("pivot_root", "into the root file system")
                .map_err(|e| e.hint("on an initial ramfs the root cannot be pivoted: --no-pivot"))?;
            // The old root is stacked on "." now. As a slave it goes without the host's mounts going, too.
            mount::set_attr(&old, SLAVE, true).on("set propagation of", "the old root")?;
            mount::detach_cwd().on("detach", "the old root")?;
        }
        Enter::Move => {
            mount::chroot_cwd().on("chroot into", "the root file system")?;
        }
        Enter::Chroot => mount::chroot_cwd().on("chroot into", "the root file system")?,
    }
    mount::chdir(c"/").on("chdir to", "/")
}

/// The last changes, when nothing is written any more: masks, what is read-only, how mounts spread.
pub fn seal(root: &Root, rest: Rest) -> Result<()> {
    if rest.own_dev {
        fds::reopen_null(root)?;
    }
    paths::apply(root, rest.paths)?;
    for path in &rest.readonly_later {
        let at = root.open(path).on("open", path.display())?;
        mount::set_attr(&at, READONLY, false).on("make read-only", path.display())?;
    }
    if rest.readonly {
        mount::set_attr(root.fd(), READONLY, false).on("make read-only", "the root file system")?;
    }
    if let Some((kind, recursive)) = rest.propagation {
        mount::set_attr(root.fd(), Attr { propagation: kind, ..Attr::default() }, recursive)
            .on("set propagation of", "the root file system")
            .map_err(|e| e.pointer("/linux/rootfsPropagation"))?;
    }
    Ok(())
}

const READONLY: Attr = Attr { set: ATTR_RDONLY, clear: 0, propagation: 0, userns: 0 };
