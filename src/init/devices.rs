//! /dev in the container: nodes and links, by descriptor and verified after making (CVE-2026-47766, CVE-2026-41579).

use std::os::fd::OwnedFd;
use std::path::Path;

use super::root::{Make, Root};
use crate::error::{Context, Error, OnSys, Result};
use crate::plan::devices::{Dev, Kind, LINKS, Node};
use crate::sys::mount::{self, Attr};
use crate::sys::{Errno, fs};

const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;

pub fn make(root: &Root, dev: &Dev) -> Result<()> {
    let mut last = None;
    for node in &dev.nodes {
        make_node(root, node, &mut last).map_err(|e| match &node.pointer {
            Some(p) => e.pointer(p.clone()),
            None => e,
        })?;
    }
    link(root).within("error preparing /dev")
}

/// `last`: the directory of the node before, for most are in the same.
fn make_node<'a>(root: &Root, node: &'a Node, last: &mut Option<(&'a Path, OwnedFd)>) -> Result<()> {
    let shown = &node.path.display();
    let (Some(parent), Some(name)) = (node.path.parent(), node.path.file_name()) else {
        return Err(Error::spec("", format!("device path {shown} names no file")));
    };
    let dir = match last.take().filter(|(path, _)| *path == parent) {
        Some((_, dir)) => dir,
        None => root.make_dir(parent).on("open", parent.display())?,
    };
    let (_, dir) = last.insert((parent, dir));
    let (kind, major, minor) = match node.kind {
        Kind::Char { major, minor } => (S_IFCHR, major, minor),
        Kind::Block { major, minor } => (S_IFBLK, major, minor),
        Kind::Fifo => (S_IFIFO, 0, 0),
    };
    match fs::mknodat(&*dir, name, kind, node.mode, major.into(), minor.into()) {
        Ok(()) => {
            if node.uid != 0 || node.gid != 0 {
                let made = fs::openat(&*dir, name, fs::OFlag::O_PATH | fs::OFlag::O_NOFOLLOW, 0)
                    .on("open", shown)?;
                let stat = fs::fstat(&made).on("stat", shown)?;
                let same = kind == S_IFIFO || stat.rdev == rdev(major, minor);
                if stat.kind() != kind || !same {
                    return Err(Error::sys("create device", shown.to_string(), Errno::EEXIST)
                        .hint("somebody replaced the node while it was made"));
                }
                fs::chown_fd(&made, Some(node.uid), Some(node.gid)).on("change owner of", shown)?;
            }
            Ok(())
        }
        // As runc: what the image or a mount brought along is used as it is.
        Err(Errno::EEXIST) => Ok(()),
        Err(Errno::EPERM) => bind_node(root, node, kind, major, minor),
        Err(e) => Err(e).on("create device", shown),
    }
}

/// Where mknod is forbidden, the host's own node is bound: the same device, or nothing.
fn bind_node(root: &Root, node: &Node, kind: u32, major: u32, minor: u32) -> Result<()> {
    let shown = &node.path.display();
    let host = fs::open_path(&node.path).on("create device", shown)?;
    let stat = fs::fstat(&host).on("stat", shown)?;
    if stat.kind() != kind || (kind != S_IFIFO && stat.rdev != rdev(major, minor)) {
        return Err(Error::sys("create device", shown.to_string(), Errno::EPERM)
            .hint("mknod is forbidden here and the host's node of that name is another device"));
    }
    let tree = mount::clone_tree(&host, false).on("clone mount source", shown)?;
    mount::set_attr(&tree, Attr { propagation: PRIVATE, ..Attr::default() }, false)
        .on("make private", shown)?;
    let (target, _) = root.open_or_make(&node.path, Make::File, false).on("create", shown)?;
    mount::attach(&tree, &target).on("bind device", shown)
}

const PRIVATE: u64 = crate::plan::rootfs::libc_free::MS_PRIVATE;

/// makedev(3), as stat reports it.
fn rdev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | (minor & 0xff)
}

/// The links of the spec, and ptmx → pts/ptmx, whatever stood there.
fn link(root: &Root) -> Result<()> {
    let dev = root.make_dir(Path::new("/dev")).on("open", "/dev")?;
    for (name, target) in LINKS {
        match fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e).on("link", format!("/dev/{name}")),
        }
    }
    if root.open_plain(Path::new("/proc/kcore")).is_ok() {
        match fs::symlinkat("/proc/kcore", &dev, "core") {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e).on("link", "/dev/core"),
        }
    }
    match fs::readlinkat(&dev, "ptmx") {
        Ok(t) if t == "pts/ptmx" => return Ok(()),
        _ => {}
    }
    match fs::unlinkat(&dev, "ptmx") {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e).on("remove", "/dev/ptmx"),
    }
    fs::symlinkat("pts/ptmx", &dev, "ptmx").on("link", "/dev/ptmx")
}
