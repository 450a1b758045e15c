//! The root file system: what it is made of and how init gets in.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::Options;
use super::devices::Dev;
use super::mounts::{self, MountStep};
use super::namespaces::Namespaces;
use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::mount::{self, Attr};
use crate::sys::{Errno, fs, ns};

/// How the new root becomes `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enter {
    /// pivot_root(2), the old root detached.
    Pivot,
    /// `--no-pivot`: moved over `/`, for a root on the initial ramfs. The old root stays below, out of reach of paths.
    Move,
    /// No mount namespace of its own, be it the host's or one that is joined: chroot(2) into a mount tree that is
    /// attached nowhere. Pivoting would change the root of everybody else in there. Linux 6.15.
    Chroot,
}

pub struct Rootfs {
    /// A detached clone of the root directory's mounts, private or slave: nothing mounted in it gets out. In a mount
    /// namespace that is joined by path the root directory is what is there, so init takes it: `None`.
    pub tree: Option<OwnedFd>,
    pub path: PathBuf,
    pub enter: Enter,
    /// Volumes may be peers of the host's mounts.
    pub share: bool,
    pub mounts: Vec<MountStep>,
    pub dev: Option<Dev>,
    pub paths: super::paths::Paths,
    pub readonly: bool,
    /// The last change: `linux.rootfsPropagation`, and whether for all below.
    pub propagation: Option<(u64, bool)>,
    /// Mounts that become read-only when all is in them.
    pub readonly_later: Vec<PathBuf>,
}

pub fn build(
    spec: &Spec,
    options: &Options<'_>,
    namespaces: &Namespaces,
    label: Option<&str>,
) -> Result<Rootfs> {
    let propagation = wanted_propagation(spec)?;
    let path = locate(spec, options.bundle)?;
    let (tree, may_clone) = match namespaces.joins(ns::NEWNS) {
        true => (None, true),
        // Whoever may not mount here lets init do it, in a mount namespace of its own.
        false => match clone_root(&path, propagation) {
            Err(e) if e.errno() == Some(Errno::EPERM) => (None, false),
            r => (Some(r?), true),
        },
    };
    let base = BasePropagation::of(propagation);
    let input = mounts::Input {
        bundle: options.bundle,
        base,
        cgroup: options.cgroup,
        beside: options.beside,
        new_cgroup_namespace: namespaces.init.new_cgroup || namespaces.joins(ns::NEWCGROUP),
        maps: &namespaces.maps,
        may_clone,
        own_user: namespaces.init.own_user,
        new_pid_namespace: namespaces.born & ns::NEWPID != 0,
        label,
    };
    let mounts = mounts::build(spec.mounts().as_deref().unwrap_or_default(), &input)?;
    let enter = enter(namespaces, options.no_pivot);
    Ok(Rootfs {
        tree,
        path,
        enter,
        // Without pivot_root(2) the old root stays, and must stay cut off.
        share: enter == Enter::Pivot && base.is_shared(),
        readonly_later: mounts.iter().filter(|m| m.readonly_later).map(|m| m.target.clone()).collect(),
        mounts,
        dev: super::devices::build(spec)?,
        paths: super::paths::build(spec, label, may_clone)?,
        readonly: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        propagation,
    })
}

/// What a clone of host mounts begins with, before its own options: nothing that happens in the container may get
/// out, unless the whole root was asked to be shared, which is how a client asks for volumes that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasePropagation(Option<u64>);

impl BasePropagation {
    pub fn of(root: Option<(u64, bool)>) -> Self {
        const SHARED: u64 = libc_free::MS_SHARED;
        match root {
            None => Self(Some(libc_free::MS_SLAVE)),
            Some((SHARED, _)) => Self(None),
            Some((p, _)) => Self(Some(p)),
        }
    }

    pub fn is_shared(self) -> bool {
        self.0.is_none()
    }

    pub fn attr(self) -> Attr {
        Attr { propagation: self.0.unwrap_or(0), ..Attr::default() }
    }
}

/// mount(2)'s propagation types.
pub mod libc_free {
    pub const MS_UNBINDABLE: u64 = 1 << 17;
    pub const MS_PRIVATE: u64 = 1 << 18;
    pub const MS_SLAVE: u64 = 1 << 19;
    pub const MS_SHARED: u64 = 1 << 20;
    pub const MS_REC: u64 = 1 << 14;
}

/// `shared`, `rslave`, … : the type, and whether recursively.
pub fn propagation(word: &str) -> Option<(u64, bool)> {
    let (name, recursive) = match word.strip_prefix('r') {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    let kind = match name {
        "shared" => libc_free::MS_SHARED,
        "slave" => libc_free::MS_SLAVE,
        "private" => libc_free::MS_PRIVATE,
        "unbindable" => libc_free::MS_UNBINDABLE,
        _ => return None,
    };
    Some((kind, recursive))
}

/// The root directory as an absolute host path.
pub fn locate(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let root = spec.root().as_ref().ok_or_else(|| Error::spec("/root", "root is missing"))?;
    Ok(bundle.join(root.path()))
}

/// Opens the root directory and clones its mounts.
pub fn clone_root(path: &Path, propagation: Option<(u64, bool)>) -> Result<OwnedFd> {
    let missing = |e: Error| match e.errno() {
        Some(Errno::ELOOP) => {
            e.hint("invalid rootfs: not an absolute path, or a symlink; name the directory itself")
        }
        Some(Errno::ENOENT) => e.hint("root.path must name an existing directory, relative to the bundle"),
        _ => e,
    };
    let dir =
        fs::openat2(fs::AT_FDCWD, path, fs::OFlag::O_PATH | fs::OFlag::O_DIRECTORY, 0, fs::Resolve::PLAIN)
            .on("open", format!("rootfs {}", path.display()))
            .map_err(|e| missing(e).pointer("/root/path"))?;
    let tree = mount::clone_tree(&dir, true).on("clone mount source", path.display())?;
    // Never shared with the host, whatever the final propagation: the mounts made here are the container's.
    let base = match propagation {
        Some((libc_free::MS_SHARED | libc_free::MS_UNBINDABLE, _)) => libc_free::MS_PRIVATE,
        Some((p, _)) => p,
        None => libc_free::MS_SLAVE,
    };
    mount::set_attr(&tree, Attr { propagation: base, ..Attr::default() }, true)
        .on("make private", path.display())?;
    Ok(tree)
}

/// How to enter, from the namespaces and the flag.
pub fn enter(namespaces: &Namespaces, no_pivot: bool) -> Enter {
    match (namespaces.born & ns::NEWNS != 0, no_pivot) {
        (false, _) => Enter::Chroot,
        (true, true) => Enter::Move,
        (true, false) => Enter::Pivot,
    }
}

/// `linux.rootfsPropagation`.
pub fn wanted_propagation(spec: &Spec) -> Result<Option<(u64, bool)>> {
    let word =
        spec.linux().as_ref().and_then(|l| l.rootfs_propagation().as_deref()).filter(|w| !w.is_empty());
    word.map(|w| {
        propagation(w).ok_or_else(|| {
            Error::spec("/linux/rootfsPropagation", format!("unknown propagation {w:?}")).of_kind(Kind::Spec)
        })
    })
    .transpose()
}
