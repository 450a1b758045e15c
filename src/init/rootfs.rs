//! Assembling the root file system, and entering it.

use super::root::Root;
use super::{devices, mounts};
use crate::error::{OnSys, Result};
use crate::plan::mounts::MountStep;
use crate::plan::rootfs::{Enter, libc_free};
use crate::sys::fs;
use crate::sys::mount::{self, ATTR_RDONLY, Attr};

/// Cuts the mount namespace off from the host and attaches the root tree. It goes over `/`: paths still mean the
/// host's, because a process's root is below what is mounted on it; only the tree's descriptor leads into it.
///
/// `share`: volumes are cloned from the host's mounts as their peers, so all but `/` itself stay what they are until
/// the clones are made.
pub fn attach(tree: std::os::fd::OwnedFd, enter: Enter, share: bool) -> Result<Root> {
    if enter != Enter::Chroot {
        mount::set_root_attr(SLAVE, !share).on("set propagation of", "/")?;
        mount::attach_over_root(&tree).on("attach", "the root file system")?;
    }
    Ok(Root::new(tree))
}

pub fn assemble(root: &Root, steps: Vec<MountStep>, dev: Option<&crate::plan::devices::Dev>) -> Result<()> {
    for step in steps {
        mounts::make(root, step)?;
    }
    match dev {
        Some(dev) => devices::make(root, dev),
        None => Ok(()),
    }
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

pub fn make_read_only(root: &Root, mounts: &[std::path::PathBuf]) -> Result<()> {
    for path in mounts {
        let at = root.open(path).on("open", path.display())?;
        mount::set_attr(&at, Attr { set: ATTR_RDONLY, ..Attr::default() }, false)
            .on("make read-only", path.display())?;
    }
    Ok(())
}

/// The last changes to the root mount.
pub fn seal(root: &Root, readonly: bool, propagation: Option<(u64, bool)>) -> Result<()> {
    if readonly {
        mount::set_attr(root.fd(), Attr { set: ATTR_RDONLY, ..Attr::default() }, false)
            .on("make read-only", "the root file system")?;
    }
    if let Some((kind, recursive)) = propagation {
        mount::set_attr(root.fd(), Attr { propagation: kind, ..Attr::default() }, recursive)
            .on("set propagation of", "the root file system")
            .map_err(|e| e.pointer("/linux/rootfsPropagation"))?;
    }
    Ok(())
}
