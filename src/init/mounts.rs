//! Making the planned mounts, each by descriptor: the target is looked up once, checked, and never looked up again.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::root::{Make, Root, describe};
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::plan::mounts::{Hierarchy, HierarchySource, Instead, MountStep, NewFs, What, hierarchy_attr};
use crate::sys::mount::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attr};
use crate::sys::{Errno, fs};

pub fn make(root: &Root, step: MountStep) -> Result<()> {
    let index = step.index;
    let shown = step.target.clone();
    let source = match &step.what {
        What::Bind { source, .. } => source.display().to_string(),
        What::New(new) => new.source.to_string_lossy().into_owned(),
        What::CgroupV1 { .. } => "cgroup".into(),
        What::Remount => String::new(),
    };
    make_one(root, step)
        .within_with(|| format!("error mounting \"{source}\" to rootfs at \"{}\"", shown.display()))
        .pointer(|| format!("/mounts/{index}"))
}

fn make_one(root: &Root, step: MountStep) -> Result<()> {
    let MountStep { target, what, attr, rec_attr, propagation, .. } = step;
    let is_proc = target == Path::new("/proc") && matches!(&what, What::New(new) if new.fstype == "proc");
    if target == Path::new("/") {
        return Err(Error::spec("", "a mount over / would hide the root file system").of_kind(Kind::Spec));
    }
    let tree = match what {
        What::Remount => {
            let at = root.open(&target).on("open", target.display())?;
            mount::set_attr(&at, attr, false).on("remount", target.display())?;
            return finish(&at, rec_attr, &propagation, &target);
        }
        What::CgroupV1 { hierarchies, readonly, label } => {
            return cgroup_v1(root, &target, hierarchies, readonly, label.as_deref(), &propagation);
        }
        What::Bind { tree, dress, seen, source } => {
            let tree = match tree {
                Some(tree) if dress.needs_the_host() => tree,
                // What is not to be reached from here, or is another here, main has.
                Some(tree) => match dress.bare(&source).and_then(|own| verified(own, &seen, &source)) {
                    Ok(own) => dress.put_on(own, &source)?,
                    Err(_) => tree,
                },
                None => verified(dress.clone_of(&source)?, &seen, &source)?,
            };
            let at = place(
                root,
                &target,
                if seen.is_dir() { Make::Dir } else { Make::File },
                "bind",
                Some(&tree),
            )?
            .at;
            mount::attach(&tree, &at).on("mount", target.display())?;
            return Ok(());
        }
        What::New(new) => new_fs(root, &target, new, attr)?,
    };
    // Empty when mount(2) had to do it.
    match tree {
        Some((tree, at)) => {
            finish(&tree, rec_attr, &propagation, &target)?;
            mount::attach(&tree, &at).on("mount", target.display())?;
            if is_proc {
                root.set_has_proc();
            }
            Ok(())
        }
        None => {
            let at = root.open(&target).on("open", target.display())?;
            finish(&at, rec_attr, &propagation, &target)
        }
    }
}

/// What was cloned is what main saw: a path of the host that is swapped meanwhile binds nothing else.
fn verified(tree: OwnedFd, seen: &fs::Stat, source: &Path) -> Result<OwnedFd> {
    if fs::stat_cached(&tree).on("stat", source.display())?.same(seen) {
        return Ok(tree);
    }
    Err(Error::new(
        Kind::Host,
        format!("mount source {} was replaced while the container was made", source.display()),
    ))
}

fn finish(mount: &OwnedFd, rec: Attr, propagation: &[(u64, bool)], target: &Path) -> Result<()> {
    mount::set_attr(mount, rec, true).on("set recursive attributes of", target.display())?;
    for (kind, recursive) in propagation {
        mount::set_attr(mount, Attr { propagation: *kind, ..Attr::default() }, *recursive)
            .on("set propagation of", target.display())?;
    }
    Ok(())
}

/// The place for a mount: opened or made, and allowed.
fn place(root: &Root, target: &Path, make: Make, fstype: &str, tree: Option<&OwnedFd>) -> Result<Place> {
    // A procfs or sysfs found through a link would stand where the image wants it, not where the masks and label
    // writes look for it: CVE-2019-19921, CVE-2023-27561.
    let plain = matches!(fstype, "proc" | "sysfs");
    let (at, there) = match root.open_or_make(target, make, plain) {
        Err(Errno::ELOOP) if plain => {
            return Err(Error::new(
                Kind::Denied,
                format!(
                    "filesystem \"{fstype}\" must be mounted on ordinary directory: {} is or has a symbolic link",
                    target.display()
                ),
            ));
        }
        r => r.on("create mount point", target.display())?,
    };
    let here = fs::fstat(&at).on("stat", target.display())?;
    if plain && !here.is_dir() {
        return Err(Error::new(
            Kind::Denied,
            format!(
                "filesystem \"{fstype}\" must be mounted on ordinary directory: {} is a {}",
                target.display(),
                describe(&here)
            ),
        ));
    }
    guard_proc(root, &at, &here, target, fstype, tree)?;
    // By whatever link: a mount there would be what every later process has for its root.
    if here.same(root.stat().on("stat", "/")?) {
        return Err(Error::new(
            Kind::Denied,
            format!("mountpoint {} is on the top of rootfs", target.display()),
        ));
    }
    let is_dir = here.is_dir();
    if is_dir != (make == Make::Dir) {
        // Not "is a directory": Docker would take that for the program's fault.
        let (source, what) = if is_dir { ("file", "directory") } else { ("directory", "file") };
        return Err(Error::sys("mount", target.display().to_string(), Errno::ENOTDIR)
            .hint(format!("a {source} cannot be mounted on a {what}: look at what the source has become")));
    }
    Ok(Place { at, there, stat: here })
}

/// Where a mount goes.
struct Place {
    at: OwnedFd,
    /// It was there before.
    there: bool,
    stat: fs::Stat,
}

/// Files of /proc that lxcfs and the like may cover: they inform, nothing trusts them.
const PROC_FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Nothing may be mounted over /proc or in it but a procfs and the harmless files: later writes of labels and
/// sysctls, and the container's own tools, trust what is there (CVE-2019-16884, CVE-2025-52881).
fn guard_proc(
    root: &Root,
    at: &OwnedFd,
    here: &fs::Stat,
    target: &Path,
    fstype: &str,
    tree: Option<&OwnedFd>,
) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(Kind::Denied, format!("\"{}\" cannot be mounted because {why}", target.display())))
    };
    let on_proc = fs::fstatfs(at).on("stat", target.display())?.0 == mount::PROC_MAGIC;
    if on_proc && fstype != "proc" {
        // Where it stands, whatever links led there.
        let real = fs::readlinkat(
            fs::open_dir("/proc/self/fd").on("open", "/proc/self/fd")?,
            at.as_raw_fd().to_string(),
        )
        .on("read", "/proc/self/fd")?;
        let real = PathBuf::from(real);
        match real.strip_prefix("/proc") {
            Ok(below) if below.as_os_str().is_empty() => {}
            Ok(below) if PROC_FILES.iter().any(|f| Path::new(f) == below) => return Ok(()),
            _ => return refuse("it is inside /proc"),
        }
    }
    // Once a procfs is there, only what is on one can be it.
    let may_be = on_proc || !root.has_proc();
    let over_proc = target == Path::new("/proc") || may_be && same_as_proc(root, here)?;
    if over_proc && fstype != "proc" {
        let from_proc = match tree {
            Some(tree) => mount::verify_fs(tree, mount::PROC_MAGIC).is_ok(),
            None => false,
        };
        if !from_proc {
            return refuse("it is not of type proc");
        }
    }
    Ok(())
}

fn same_as_proc(root: &Root, here: &fs::Stat) -> Result<bool> {
    let Ok(proc) = root.open(Path::new("/proc")) else { return Ok(false) };
    Ok(here.same(&fs::fstat(&proc).on("stat", "/proc")?))
}

/// A new file system; with its place, or nothing when mount(2) put it there already.
fn new_fs(root: &Root, target: &Path, new: NewFs, attr: Attr) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let Place { at, there, stat: covered } = place(root, target, Make::Dir, &new.fstype, None)?;
    let fstype = mount::fs_name(&new.fstype).on("use", &new.fstype)?;
    if let Some(data) = &new.legacy {
        mount::mount_legacy(&new.source, &at, &fstype, new.legacy_flags, data)
            .on("mount", target.display())?;
        return Ok(None);
    }
    let unknown = |e: Errno| {
        let e = Error::sys("open file system", new.fstype.clone(), e);
        if e.errno() == Some(Errno::ENODEV) {
            e.hint("this kernel has no such file system (or its module is not loaded)")
        } else {
            e
        }
    };
    let ctx = match mount::open_fs(&fstype) {
        Err(e) if new.instead.is_some() && is_refusal(e) => {
            return Ok(Some((bound(new.instead, &new.fstype, target)?, at)));
        }
        r => r.map_err(unknown)?,
    };
    let refused = |e: Errno, what: String| {
        let e = Error::sys(what, target.display().to_string(), e);
        match ctx.complaint() {
            Some(said) => e.hint(format!("the kernel says: {said}")),
            None => e,
        }
    };
    ctx.set_string(c"source", &new.source).map_err(|e| refused(e, "set source of".into()))?;
    for (key, value) in &new.options {
        let set = match value {
            Some(v) => ctx.set_string(key, v),
            None => ctx.set_flag(key),
        };
        set.map_err(|e| {
            let value = value.as_ref().map_or(String::new(), |v| format!("={}", v.to_string_lossy()));
            refused(e, format!("mount option {}{value} of {} at", key.to_string_lossy(), new.fstype))
        })?;
    }
    if new.inherit_mode && there {
        let mode = CString::new(format!("{:o}", covered.mode & 0o7777)).unwrap_or_default();
        ctx.set_string(c"mode", &mode).map_err(|e| refused(e, "set mode of".into()))?;
    }
    // Whether a user namespace may have another proc or sysfs is asked only when it is mounted.
    // What is written into it first must find it writable.
    let written = new.root_label.is_some() || new.copy_up;
    let (at_once, later) = match attr.said_at_birth() {
        Some(set) if !written => (set, Attr::default()),
        _ => (0, attr),
    };
    let tree = match ctx.create().and_then(|()| ctx.mount(at_once)) {
        Err(e) if new.instead.is_some() && is_refusal(e) => {
            return Ok(Some((bound(new.instead, &new.fstype, target)?, at)));
        }
        r => r.map_err(|e| match revealing(e, &new.fstype, target) {
            Some(e) => e,
            None => refused(e, format!("mount {} at", new.fstype)),
        })?,
    };
    if let Some(label) = &new.root_label {
        fs::set_label(&tree, label).on("label", target.display())?;
    }
    if new.copy_up && there {
        super::copyup::copy(root, target, &tree).on("copy up", target.display())?;
    }
    mount::set_attr(&tree, later, false).on("set attributes of", target.display())?;
    Ok(Some((tree, at)))
}

/// Of a user namespace that does not own what the file system would show.
fn is_refusal(e: Errno) -> bool {
    matches!(e, Errno::EPERM | Errno::EBUSY)
}

/// What stands in for a new file system.
fn bound(instead: Option<Instead>, fstype: &str, target: &Path) -> Result<OwnedFd> {
    // An ordinary user's container may have no cgroup. What else is there must not be seen, and not be written to, through a
    // /sys below (CVE-2023-25809).
    let nothing = || super::paths::empty_dir(None).on("cover", target.display());
    let (path, dress) = match instead.ok_or_else(|| Error::bug("nothing to bind instead"))? {
        Instead::Bind(path, dress) => (path, dress),
        Instead::Nothing => return nothing(),
    };
    match dress.clone_of(&path) {
        Err(e) if e.errno() == Some(Errno::ENOENT) && fstype == "cgroup2" => nothing(),
        tree => tree,
    }
}

/// The kernel makes no procfs or sysfs for a user namespace that sees only part of the one outside.
fn revealing(e: Errno, fstype: &str, target: &Path) -> Option<Error> {
    (e == Errno::EPERM && matches!(fstype, "proc" | "sysfs")).then(|| {
        Error::sys(format!("mount {fstype} at"), target.display().to_string(), e).hint(format!(
            "in a user namespace a new {fstype} needs a namespace of its own (pid, network), and one outside of which no part is masked or covered"
        ))
    })
}

/// A tmpfs with one directory a hierarchy, and links for controllers that share one: what v1 systems have at
/// /sys/fs/cgroup.
fn cgroup_v1(
    root: &Root,
    target: &Path,
    hierarchies: Vec<Hierarchy>,
    readonly: bool,
    label: Option<&CStr>,
    propagation: &[(u64, bool)],
) -> Result<()> {
    let at = place(root, target, Make::Dir, "cgroup", None)?.at;
    let ctx = mount::open_fs(c"tmpfs").on("mount", target.display())?;
    ctx.set_string(c"source", c"tmpfs").on("mount", target.display())?;
    ctx.set_string(c"mode", c"755").on("mount", target.display())?;
    if let Some(label) = label {
        ctx.set_string(c"context", label).on("label", target.display())?;
    }
    ctx.create().on("mount", target.display())?;
    let safe = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    let tmpfs = ctx.mount(safe).on("mount", target.display())?;
    // Attached first: mounts can be attached only to what is attached itself.
    mount::attach(&tmpfs, &at).on("mount", target.display())?;
    let attr = hierarchy_attr(readonly, 0);
    for h in hierarchies {
        let shown = target.join(&h.name);
        fs::mkdirat(&tmpfs, &h.name, 0o755).on("create", shown.display())?;
        let (tree, attr) = match h.source {
            HierarchySource::Dressed(tree) => (tree, Attr::default()),
            HierarchySource::Bind(tree) => (tree, attr),
            HierarchySource::Path(path, dress) => (dress.clone_of(&path)?, attr),
            HierarchySource::New(options) => (new_hierarchy(&options).on("mount", shown.display())?, attr),
            HierarchySource::Promised(path, _) => {
                return Err(Error::bug(format!("{} was promised and not sent", path.display())));
            }
        };
        mount::set_attr(&tree, attr, false).on("set attributes of", shown.display())?;
        finish(&tree, Attr::default(), propagation, &shown)?;
        // The tmpfs is a moment old, and nobody but us can reach it.
        let name = fs::cstr(&h.name).on("mount", shown.display())?;
        mount::attach_in(&tree, &tmpfs, &name).on("mount", shown.display())?;
        for link in &h.links {
            match fs::symlinkat(&h.name, &tmpfs, link) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e).on("link", target.join(link).display()),
            }
        }
    }
    if readonly {
        mount::set_attr(&tmpfs, Attr { set: ATTR_RDONLY, ..Attr::default() }, false)
            .on("make read-only", target.display())?;
    }
    finish(&tmpfs, Attr::default(), propagation, target)
}

fn new_hierarchy(options: &[(CString, Option<CString>)]) -> crate::sys::Result<OwnedFd> {
    let ctx = mount::open_fs(c"cgroup")?;
    ctx.set_string(c"source", c"cgroup")?;
    for (key, value) in options {
        match value {
            Some(v) => ctx.set_string(key, v)?,
            None => ctx.set_flag(key)?,
        }
    }
    ctx.create()?;
    ctx.mount(0)
}
