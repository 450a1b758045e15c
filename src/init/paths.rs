//! Masks and read-only paths, from descriptors.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::root::Root;
use crate::error::{OnSys, Result};
use crate::plan::paths::Paths;
use crate::sys::mount::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attr};
use crate::sys::{Errno, fs};

/// After the root is entered. A path that does not exist is nothing to hide; anything else that fails is an error.
pub fn apply(root: &Root, plan: Paths) -> Result<()> {
    for path in &plan.readonly {
        if let Some(target) = find(root, path)? {
            let tree = mount::clone_tree(&target, true).on("clone", path.display())?;
            mount::set_attr(&tree, Attr { set: ATTR_RDONLY, ..Attr::default() }, true)
                .on("make read-only", path.display())?;
            mount::attach(&tree, &target).on("make read-only", path.display())?;
        }
    }
    let mut cover = Cover { null: plan.null, empty: None, label: plan.label.as_deref() };
    for path in &plan.masked {
        if let Some(target) = find(root, path)? {
            cover.put_on(path, target)?;
        }
    }
    Ok(())
}

fn find(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.open(path) {
        Ok(fd) => Ok(Some(fd)),
        // As runc: what cannot exist need not be hidden.
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(e) => Err(e).on("open", path.display()),
    }
}

/// What masks are cloned from: one null device, one empty directory, however many paths there are.
struct Cover<'a> {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
    label: Option<&'a CStr>,
}

impl Cover<'_> {
    fn put_on(&mut self, path: &Path, target: OwnedFd) -> Result<()> {
        let dir = fs::fstat(&target).on("stat", path.display())?.is_dir();
        let source = if dir { &mut self.empty } else { &mut self.null };
        let (tree, first) = match source {
            // The first use attaches the mount itself; older kernels clone only what is attached.
            Some(used) if dir => (mount::clone_tree(&*used, false).on("mask", path.display())?, false),
            Some(null) => match mount::clone_tree(&*null, false) {
                Ok(tree) => (tree, false),
                Err(Errno::EINVAL) => (null.try_clone().on("mask", path.display())?, false),
                Err(e) => return Err(e).on("mask", path.display()),
            },
            None => (empty_dir(self.label).on("mask", path.display())?, true),
        };
        mount::attach(&tree, &target).on("mask", path.display())?;
        if first {
            *source = Some(tree);
        }
        Ok(())
    }
}

/// A read-only tmpfs of one inode.
pub fn empty_dir(label: Option<&CStr>) -> crate::sys::Result<OwnedFd> {
    let ctx = mount::open_fs(c"tmpfs")?;
    ctx.set_string(c"nr_blocks", c"1")?;
    ctx.set_string(c"nr_inodes", c"1")?;
    ctx.set_string(c"mode", c"0555")?;
    ctx.set_flag(c"ro")?;
    if let Some(label) = label {
        ctx.set_string(c"context", label)?;
    }
    ctx.create()?;
    ctx.mount(ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
}
