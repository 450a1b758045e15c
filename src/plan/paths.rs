//! Masked and read-only paths.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Spec;

use crate::error::{Error, OnSys, Result};
use crate::sys::mount::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attr};
use crate::sys::{Errno, fs};

#[derive(Default)]
pub struct Paths {
    pub masked: Vec<PathBuf>,
    pub readonly: Vec<PathBuf>,
    /// What covers a masked file: the host's null device, read-only, verified. Never the container's own, which may
    /// be anything (CVE-2025-31133). Only where something is masked; `None` there: init makes it.
    pub null: Option<OwnedFd>,
    /// SELinux's label of what covers a masked directory.
    pub label: Option<CString>,
}

/// `may_clone`: we may; else init does.
pub fn build(spec: &Spec, label: Option<&str>, may_clone: bool) -> Result<Paths> {
    let Some(linux) = spec.linux() else { return Ok(Paths::default()) };
    let list = |l: &Option<Vec<String>>| {
        let mut seen = Vec::new();
        for p in l.iter().flatten().map(PathBuf::from) {
            if !seen.contains(&p) {
                seen.push(p);
            }
        }
        seen
    };
    let masked = list(linux.masked_paths());
    let null = if masked.is_empty() || !may_clone { None } else { Some(null_tree()?) };
    let label = label.map(super::mounts::context).transpose()?;
    Ok(Paths { masked, readonly: list(linux.readonly_paths()), null, label })
}

/// A detached, read-only mount of the host's /dev/null, which is what it says it is.
pub fn null_tree() -> Result<OwnedFd> {
    let node = fs::open_path("/dev/null").on("open", "/dev/null")?;
    if !fs::fstat(&node).on("stat", "/dev/null")?.is_char(1, 3) {
        return Err(Error::sys("use", "the host's /dev/null, which is not the null device", Errno::ENXIO));
    }
    let tree = mount::clone_tree(&node, false).on("clone mount source", "/dev/null")?;
    let attr = Attr {
        set: ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC,
        clear: ATTR_NODEV,
        propagation: super::rootfs::libc_free::MS_PRIVATE,
        ..Attr::default()
    };
    mount::set_attr(&tree, attr, false).on("make read-only", "/dev/null")?;
    Ok(tree)
}
