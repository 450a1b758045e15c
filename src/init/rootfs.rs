//! Assembling the root file system, and entering it.

use std::path::PathBuf;

use super::root::Root;
use super::{devices, fds, mounts, paths};
use crate::error::{Error, Kind, OnSys, Result};
use crate::plan::paths::{Paths, null_tree};
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
    /// The mounts at /proc and /sys, below which masks and read-only paths mean something.
    kernel: [Option<u64>; 2],
}

/// What the kernel tells the container, and what masks are mostly about.
const KERNEL: [&str; 2] = ["/proc", "/sys"];

fn kernel_mounts(root: &Root) -> [Option<u64>; 2] {
    let identity = |path| {
        let dir = root.open(std::path::Path::new(path))?;
        // Below a filter that is older than statx(2): the file system itself, which a procfs has for itself.
        mount::id(&dir).or_else(|_| fs::fstat(&dir).map(|stat| stat.dev))
    };
    KERNEL.map(|path| identity(path).ok())
}

/// All mounts and devices, in the root's own tree.
pub fn assemble(plan: Rootfs) -> Result<(Root, Rest)> {
    let Rootfs { tree, path, enter, share, mounts, dev, mut paths, readonly, propagation, readonly_later } =
        plan;
    // Main could not; while the host's is where it was.
    if paths.null.is_none() && !paths.masked.is_empty() {
        paths.null = Some(null_tree()?);
    }
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
    let kernel = kernel_mounts(&root);
    let own_dev = dev.is_some();
    let rest = Rest { enter, own_dev, paths, readonly, readonly_later, propagation, kernel };
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
            hide_kernel_mounts(root)?;
            mount::chroot_cwd().on("chroot into", "the root file system")?;
        }
        Enter::Chroot => mount::chroot_cwd().on("chroot into", "the root file system")?,
    }
    mount::chdir(c"/").on("chdir to", "/")
}

/// Below a root that is not pivoted away the host's whole /proc and /sys stay mounted. While one is there, the kernel
/// lets a user namespace mount another without our masks; so they go, or disappear under something else.
fn hide_kernel_mounts(root: &Root) -> Result<()> {
    let ours = mount::id(root.fd()).on("identify", "the root file system")?;
    let table = fs::read_file("/proc/self/mountinfo", 64 << 20).on("read", "/proc/self/mountinfo")?;
    let table = String::from_utf8_lossy(&table).into_owned();
    // The last mounted first: what is stacked on another must go before it.
    for path in foreign_kernel_mounts(&table, ours).into_iter().rev() {
        let name = fs::cstr(&path).on("detach", &path)?;
        if mount::detach(&name).is_err() {
            let ctx = mount::open_fs(c"tmpfs").on("cover", &path)?;
            ctx.create().on("cover", &path)?;
            let cover = ctx.mount(ATTR_RDONLY).on("cover", &path)?;
            mount::attach(&cover, fs::open_path(&path).on("cover", &path)?).on("cover", &path)?;
        }
    }
    Ok(())
}

/// Where procfs and sysfs are mounted outside the tree of the mount `ours`: proc_pid_mountinfo(5).
pub fn foreign_kernel_mounts(table: &str, ours: u64) -> Vec<String> {
    let mut inside = std::collections::HashSet::from([ours]);
    let mut found = Vec::new();
    let mut lines: Vec<(u64, u64, &str, &str)> = Vec::new();
    for line in table.lines() {
        let (front, back) = line.split_once(" - ").unwrap_or((line, ""));
        let f: Vec<_> = front.split(' ').collect();
        if let (Some(Ok(id)), Some(Ok(parent)), Some(at)) =
            (f.first().map(|n| n.parse()), f.get(1).map(|n| n.parse()), f.get(4))
        {
            lines.push((id, parent, at, back.split(' ').next().unwrap_or("")));
        }
    }
    // Ids are given out anew, so a child may stand before its parent: until nobody new is found inside.
    loop {
        let before = inside.len();
        inside.extend(
            lines
                .iter()
                .filter(|(_, parent, ..)| inside.contains(parent))
                .map(|(id, ..)| *id)
                .collect::<Vec<_>>(),
        );
        if inside.len() == before {
            break;
        }
    }
    for (id, _, at, kind) in lines {
        if !inside.contains(&id) && matches!(kind, "proc" | "sysfs") {
            found.push(at.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"));
        }
    }
    found
}

/// The last changes, when nothing is written any more: masks, what is read-only, how mounts spread.
pub fn seal(root: &Root, rest: Rest) -> Result<()> {
    if rest.own_dev {
        fds::reopen_null(root)?;
    }
    // Whoever shares the rootfs could rename them meanwhile; then the masks would find nothing to hide.
    if kernel_mounts(root) != rest.kernel {
        return Err(Error::new(Kind::Denied, "/proc or /sys was moved while the container was made"));
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
