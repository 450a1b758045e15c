//! Mounts: from option strings to steps with their sources already open.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::Mount;

use super::idmap::{self, IdMaps};
use super::rootfs::BasePropagation;
use crate::cgroup::Cgroup;
use crate::error::{Error, OnSys, Result};
use crate::spec::mount_options::{self, MountOptions};
use crate::sys::lookup::Lookup;
use crate::sys::mount::{self, Attr};
use crate::sys::{Errno, fs};

/// One mount, ready to be made.
pub struct MountStep {
    /// Its place in `mounts`, for errors.
    pub index: usize,
    /// Absolute, inside the container, `.` and empty components removed.
    pub target: PathBuf,
    pub what: What,
    /// On the mount, once it stands.
    pub attr: Attr,
    /// On it and all below.
    pub rec_attr: Attr,
    /// Propagation changes in order, each with whether for all below.
    pub propagation: Vec<(u64, bool)>,
    /// Made read-only when the root file system is sealed, not now.
    pub readonly_later: bool,
}

impl MountStep {
    fn bare(index: usize, target: PathBuf) -> Self {
        let (attr, rec_attr) = (Attr::default(), Attr::default());
        Self {
            index,
            target,
            what: What::Remount,
            attr,
            rec_attr,
            propagation: Vec::new(),
            readonly_later: false,
        }
    }
}

pub enum What {
    /// A clone of the host's `source`, a file or a directory. Init makes it, in the order of the list, by which the
    /// kernel shows mounts; unless it is in a user namespace, to which the source may be out of reach: then main has.
    /// `seen`: what main saw there, so that nothing else is bound in its place.
    Bind { tree: Option<OwnedFd>, dress: Dress, seen: fs::Stat, source: PathBuf },
    /// A new instance of a file system.
    New(NewFs),
    /// cgroup v1 hierarchies below a tmpfs.
    CgroupV1 { hierarchies: Vec<Hierarchy>, readonly: bool, label: Option<CString> },
    /// `remount`: attributes of a mount that an earlier step made.
    Remount,
}

pub struct NewFs {
    pub fstype: String,
    pub source: CString,
    /// fsconfig(2) keys, with their values, in order.
    pub options: Vec<(CString, Option<CString>)>,
    /// All of them as mount(2) takes them, where one is too long for fsconfig(2).
    pub legacy: Option<CString>,
    pub legacy_flags: u64,
    /// SELinux's label of its root, where the file system takes none for the whole.
    pub root_label: Option<CString>,
    /// tmpfs: begins with a copy of what the target holds.
    pub copy_up: bool,
    /// tmpfs without a mode of its own takes the mode of the directory that it covers.
    pub inherit_mode: bool,
    /// For where the kernel refuses a new instance to a user namespace, which does not own the namespace that it would
    /// show: cgroup2 (as runc), sysfs without a network of its own, mqueue without an IPC namespace, proc without a pid
    /// namespace (as crun).
    pub instead: Option<Instead>,
}

/// What stands in for a new file system.
pub enum Instead {
    /// A clone of the host's.
    Bind(PathBuf, Dress),
    /// An empty directory: there is no cgroup to show (a container in a container, without cgroups).
    Nothing,
}

pub struct Hierarchy {
    /// Directory name: `cpu,cpuacct`.
    pub name: String,
    /// Names that link to it: `cpu`, `cpuacct`.
    pub links: Vec<String>,
    pub source: HierarchySource,
}

pub enum HierarchySource {
    /// A clone of this cgroup, which is made when init is there already: main sends it, with these attributes.
    Promised(PathBuf, Attr),
    /// What was promised, ready to be attached.
    Dressed(OwnedFd),
    /// A new mount in the container's cgroup namespace, with these fsconfig(2) keys.
    New(Vec<(CString, Option<CString>)>),
    /// A clone of the host's mount at the container's cgroup.
    Bind(OwnedFd),
    /// One for init to make.
    Path(PathBuf, Dress),
}

/// fsconfig(2) refuses longer strings.
const MAX_VALUE: usize = 255;

/// Kernel file systems whose superblock may be shared with other mounts: read-only there is a matter of the mount.
const SHARED_SUPERBLOCKS: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "tmpfs"];

/// SELinux's options of a mount.
const CONTEXTS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// As runc: these have labels of their own; mqueue has its root labelled instead.
const UNLABELLED: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// SELinux's label as the kernel takes it.
pub fn context(label: &str) -> Result<CString> {
    CString::new(label).map_err(|_| Error::spec("/linux/mountLabel", "mountLabel contains a NUL byte"))
}

/// The options in a data string: between commas, of which those in a quoted label are part of it.
fn words(data: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let label = CONTEXTS.iter().find_map(|k| rest.strip_prefix(k)?.strip_prefix("=\""));
        // Where the label begins, so that its commas are passed over.
        let passed = label.and_then(|l| l.split_once('"').map(|(_, after)| after).or(Some("")));
        let end = passed.unwrap_or(rest).split_once(',').map(|(_, after)| after);
        let length = rest.len().saturating_sub(end.map_or(0, |after| after.len().saturating_add(1)));
        all.push(rest.get(..length).unwrap_or_default());
        rest = end.unwrap_or_default();
    }
    all.retain(|o| !o.is_empty());
    all
}

/// Absolute and without `.` or empty components; `..` stays for the look-up inside the root.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for c in path.components() {
        match c {
            Component::Normal(n) => out.push(n),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// As runc: the type says so, or an option does.
pub fn is_bind(m: &Mount) -> bool {
    m.typ().as_deref() == Some("bind") || m.options().iter().flatten().any(|o| o == "bind" || o == "rbind")
}

pub struct Input<'a> {
    pub bundle: &'a Path,
    pub base: BasePropagation,
    pub cgroup: &'a Cgroup,
    pub new_cgroup_namespace: bool,
    /// The cgroup is made when init is there already.
    pub beside: bool,
    /// The container's.
    pub maps: &'a IdMaps,
    /// Main may clone mounts, and does where init may not reach them; else init does.
    pub may_clone: bool,
    /// The container has another user namespace than we.
    pub own_user: bool,
    pub new_pid_namespace: bool,
    /// SELinux's, for what is made new.
    pub label: Option<&'a str>,
}

pub fn build(mounts: &[Mount], input: &Input<'_>) -> Result<Vec<MountStep>> {
    let mut steps = Vec::with_capacity(mounts.len());
    let mut lookup = Lookup::with_patience(PATIENCE);
    for (index, m) in mounts.iter().enumerate() {
        let step =
            build_one(index, m, input, &mut lookup).map_err(|e| e.pointer(format!("/mounts/{index}")))?;
        steps.push(step);
    }
    Ok(steps)
}

fn build_one(index: usize, m: &Mount, input: &Input<'_>, lookup: &mut Lookup) -> Result<MountStep> {
    let empty = Vec::new();
    let options = mount_options::parse(m.options().as_ref().unwrap_or(&empty))?;
    let target = clean(m.destination());
    let mut attr = Attr { set: options.set, clear: options.clear, ..Attr::default() };
    let rec_attr = Attr { set: options.rec_set, clear: options.rec_clear, ..Attr::default() };
    let what = if options.remount {
        What::Remount
    } else if is_bind(m) {
        let what = bind(m, &options, input, index, lookup).map_err(|e| e.within(failing(m)))?;
        return Ok(MountStep { what, ..MountStep::bare(index, target) });
    } else {
        new(m, &options, input)?
    };
    // A read-only /dev becomes so when its nodes are made.
    let readonly_later =
        target == Path::new("/dev") && attr.set & mount::ATTR_RDONLY != 0 && matches!(what, What::New(_));
    if readonly_later {
        attr.set &= !mount::ATTR_RDONLY;
    }
    let propagation = options.propagation.iter().map(|p| (p.kind, p.recursive)).collect();
    Ok(MountStep { index, target, what, attr, rec_attr, propagation, readonly_later })
}

/// As runc: a bind mount with any attribute asked for has just those; without any it keeps its source's.
fn bind_attr(attr: Attr) -> Attr {
    if attr.is_empty() {
        return attr;
    }
    let plain = mount::ATTR_RDONLY
        | mount::ATTR_NOSUID
        | mount::ATTR_NODEV
        | mount::ATTR_NOEXEC
        | mount::ATTR_NOSYMFOLLOW;
    Attr { clear: attr.clear | (plain & !attr.set), ..attr }
}

/// How long a source may take to be found: a file server, or what automounts it, may be slow, or dead.
const PATIENCE: Duration = Duration::from_secs(10);

fn bind(
    m: &Mount,
    options: &MountOptions,
    input: &Input<'_>,
    index: usize,
    lookup: &mut Lookup,
) -> Result<What> {
    let source = m.source().as_deref().unwrap_or(Path::new(""));
    let shown = input.bundle.join(source);
    let found = if source.as_os_str().is_empty() { Err(Errno::ENOENT) } else { lookup.find(&shown) };
    let (found, stat) = found.on("mount source", shown.display()).map_err(|e| {
        let e = e.pointer(format!("/mounts/{index}/source"));
        match e.errno() {
            Some(Errno::ENOENT) => e.hint("create it on the host, or remove the mount"),
            Some(Errno::ETIMEDOUT) => e.hint(format!(
                "whoever serves its file system (FUSE, NFS, an automounter) has not answered for {} s",
                PATIENCE.as_secs()
            )),
            _ => e,
        }
    })?;
    let dress = Dress {
        base: input.base.attr(),
        idmap: idmap(m, options, input, index)?,
        attr: bind_attr(Attr { set: options.set, clear: options.clear, ..Attr::default() }),
        insisted: options.clear,
        rec_attr: Attr { set: options.rec_set, clear: options.rec_clear, ..Attr::default() },
        propagation: options.propagation.iter().map(|p| (p.kind, p.recursive)).collect(),
        recursive: options.bind.is_some_and(|b| b.recursive),
    };
    let tree =
        if input.own_user && input.may_clone { Some(dress.clone_for_others(&found, &shown)?) } else { None };
    Ok(What::Bind { tree, dress, seen: stat, source: shown })
}

/// What a clone of host mounts gets before it is attached.
pub struct Dress {
    /// Before all: nothing in it may get out.
    base: Attr,
    /// A user namespace through whose maps the ids are seen; and whether all below is.
    idmap: Option<(OwnedFd, bool)>,
    attr: Attr,
    /// What of `attr.clear` was asked for. The rest stays where it is locked: a user namespace may not take flags from
    /// mounts that it was given (mount_namespaces(7)).
    insisted: u64,
    rec_attr: Attr,
    propagation: Vec<(u64, bool)>,
    recursive: bool,
}

impl Dress {
    /// Of one mount; what `attr` does not speak of stays as the host has it, which a user namespace may not change.
    fn plain(base: BasePropagation, attr: Attr) -> Self {
        let (rec_attr, propagation) = Default::default();
        let insisted = attr.clear;
        Self { base: base.attr(), idmap: None, attr, insisted, rec_attr, propagation, recursive: false }
    }

    /// Of all below, too, which is as read-only as the mount itself.
    fn whole(base: BasePropagation, attr: Attr) -> Self {
        let rec_attr = Attr { set: attr.set & mount::ATTR_RDONLY, ..Attr::default() };
        Self { rec_attr, recursive: true, ..Self::plain(base, attr) }
    }

    /// A detached clone of the host's `source`, ready to be attached.
    pub fn clone_of(&self, source: &Path) -> Result<OwnedFd> {
        self.put_on(self.bare(source)?, source)
    }

    /// The same for a user namespace that cannot make it. The kernel would not let it take flags away from the host's
    /// mount; nor do we, unless it is asked for.
    fn clone_for_others(&self, found: &OwnedFd, source: &Path) -> Result<OwnedFd> {
        let attr = Attr { clear: self.attr.clear & self.insisted, ..self.attr };
        let tree = mount::clone_tree(found, self.recursive).on("mount source", source.display())?;
        self.put(attr, tree, source)
    }

    /// In a user namespace the clone is made there if it can be, for what it makes itself has the host's flags for good:
    /// even with CAP_SYS_ADMIN the container cannot take them away. Not what takes the host's rights, though.
    pub fn needs_the_host(&self) -> bool {
        self.idmap.is_some() || self.base.is_empty()
    }

    pub fn bare(&self, source: &Path) -> Result<OwnedFd> {
        let name = fs::cstr(source).on("mount source", source.display())?;
        mount::clone_tree_at(fs::AT_FDCWD, &name, self.recursive).on("mount source", source.display())
    }

    pub fn put_on(&self, tree: OwnedFd, source: &Path) -> Result<OwnedFd> {
        self.put(self.attr, tree, source)
    }

    fn put(&self, attr: Attr, tree: OwnedFd, source: &Path) -> Result<OwnedFd> {
        let path = source.display();
        if !self.recursive && self.propagation.is_empty() {
            // One mount: its propagation and its attributes in one call.
            self.set(&tree, Attr { propagation: self.base.propagation, ..attr }, source)?;
        } else {
            mount::set_attr(&tree, self.base, true).on("set propagation of", &path)?;
            self.set(&tree, attr, source)?;
        }
        if let Some((userns, recursive)) = &self.idmap {
            let attr = Attr::idmap(userns);
            mount::set_attr(&tree, attr, *recursive)
                .on("idmap", &path)
                .map_err(|e| match e.errno() {
                    Some(Errno::EINVAL) => e.hint(
                        "its file system (or, with ridmap, one below) cannot be idmapped on this kernel; ext4, xfs, btrfs and tmpfs can, overlay, FUSE, 9p, proc and sysfs mostly cannot",
                    ),
                    Some(Errno::EPERM) => {
                        e.hint("it belongs to another user namespace, or is idmapped already")
                    }
                    _ => e,
                })?;
        }
        mount::set_attr(&tree, self.rec_attr, true).on("set recursive attributes of", &path)?;
        for (kind, recursive) in &self.propagation {
            mount::set_attr(&tree, Attr { propagation: *kind, ..Attr::default() }, *recursive)
                .on("set propagation of", &path)?;
        }
        Ok(tree)
    }

    fn set(&self, tree: &OwnedFd, attr: Attr, source: &Path) -> Result<()> {
        let done = match mount::set_attr(tree, attr, false) {
            Err(Errno::EPERM) if attr.clear & !self.insisted != 0 => {
                mount::set_attr(tree, Attr { clear: attr.clear & self.insisted, ..attr }, false)
            }
            done => done,
        };
        done.on("set attributes of", source.display()).map_err(|e| match e.errno() {
            Some(Errno::EPERM) => {
                e.hint("the host's mount has flags that a user namespace cannot take away: ro, nosuid, nodev, noexec, atime")
            }
            _ => e,
        })
    }

    pub fn descriptor(&self) -> Option<RawFd> {
        self.idmap.as_ref().map(|(fd, _)| fd.as_raw_fd())
    }
}

/// The mount's own mappings or, where it only says so, the container's.
fn idmap(
    m: &Mount,
    options: &MountOptions,
    input: &Input<'_>,
    index: usize,
) -> Result<Option<(OwnedFd, bool)>> {
    let own =
        idmap::build(m.uid_mappings().as_ref(), m.gid_mappings().as_ref(), &format!("/mounts/{index}"))?;
    let maps = match (own.is_empty(), options.idmap) {
        (true, None) => return Ok(None),
        (true, Some(_)) => input.maps.clone(),
        (false, _) => own,
    };
    if maps.uids.is_empty() || maps.gids.is_empty() {
        let text = "an idmapped mount needs mappings for uids and gids, its own or the container's";
        return Err(Error::spec(format!("/mounts/{index}"), text));
    }
    Ok(Some((idmap::namespace(&maps)?, options.idmap.is_some_and(|i| i.recursive))))
}

/// runc's words around a mount that failed, which users search for.
fn failing(m: &Mount) -> String {
    let source = m.source().as_deref().unwrap_or(Path::new("")).display();
    format!("error mounting \"{source}\" to rootfs at \"{}\"", m.destination().display())
}

fn new(m: &Mount, options: &MountOptions, input: &Input<'_>) -> Result<What> {
    let fstype = m.typ().clone().unwrap_or_default();
    if fstype == "cgroup"
        && let readonly = options.set & mount::ATTR_RDONLY != 0
        && let Some(hierarchies) = v1_hierarchies(input, readonly)?
    {
        return Ok(What::CgroupV1 { hierarchies, readonly, label: input.label.map(context).transpose()? });
    }
    let fstype = if fstype == "cgroup" { "cgroup2".to_owned() } else { fstype };
    if fstype.is_empty() {
        return Err(Error::spec("", "a mount needs a type, or the option bind"));
    }
    let c = |s: &str| CString::new(s).map_err(|_| Error::spec("", format!("option {s:?} holds a NUL byte")));
    let source = m.source().as_deref().map_or(fstype.clone(), |s| s.to_string_lossy().into_owned());
    let mut keys = Vec::new();
    let mut too_long = source.len() > MAX_VALUE;
    for flag in &options.superblock {
        if *flag == "ro" && SHARED_SUPERBLOCKS.contains(&fstype.as_str()) {
            continue;
        }
        keys.push((c(flag)?, None));
    }
    for o in options.data.iter().flat_map(|d| words(d)) {
        match o.split_once('=') {
            Some((k, v)) => {
                // mount(2) wants a label quoted, for there are commas in it; fsconfig(2) wants it as it is.
                let v = if CONTEXTS.contains(&k) { v.trim_matches('"') } else { v };
                too_long |= v.len() > MAX_VALUE;
                keys.push((c(k)?, Some(c(v)?)));
            }
            None => keys.push((c(o)?, None)),
        }
    }
    let mut data = options.data.join(",");
    let labelled = keys.iter().any(|(k, _)| CONTEXTS.iter().any(|name| k.to_bytes() == name.as_bytes()));
    let label = input.label.filter(|_| !labelled && !UNLABELLED.contains(&fstype.as_str()));
    if let Some(label) = label {
        too_long |= label.len() > MAX_VALUE;
        keys.push((c"context".to_owned(), Some(context(label)?)));
        data.push_str(&format!("{}context=\"{label}\"", if data.is_empty() { "" } else { "," }));
    }
    let legacy = if too_long { Some(c(&data)?) } else { None };
    let tmpfs = fstype == "tmpfs";
    let attr = Attr { set: options.set, clear: options.clear, ..Attr::default() };
    Ok(What::New(NewFs {
        instead: instead(m.typ().as_deref().unwrap_or_default(), attr, input),
        copy_up: tmpfs && options.tmpcopyup,
        inherit_mode: tmpfs && !options.data.iter().any(|d| d.split(',').any(|o| o.starts_with("mode="))),
        legacy_flags: options.legacy_flags(),
        root_label: input.label.filter(|_| fstype == "mqueue").map(context).transpose()?,
        fstype,
        source: c(&source)?,
        options: keys,
        legacy,
    }))
}

fn instead(typ: &str, attr: Attr, input: &Input<'_>) -> Option<Instead> {
    if typ == "cgroup" {
        return Some(match input.cgroup.v2_view(input.new_cgroup_namespace) {
            Some(view) => Instead::Bind(view, Dress::plain(input.base, attr)),
            None => Instead::Nothing,
        });
    }
    let path = match typ {
        "sysfs" => "/sys",
        "mqueue" => "/dev/mqueue",
        // Any other would show processes that are not the container's.
        "proc" if !input.new_pid_namespace => "/proc",
        _ => return None,
    };
    Some(Instead::Bind(path.into(), Dress::whole(input.base, attr)))
}

/// `None` on v2. With a cgroup namespace of its own the container mounts the hierarchies anew and sees its own cgroup
/// as their root; without one it gets a clone of the host's mounts from its own cgroup downwards.
fn v1_hierarchies(input: &Input<'_>, readonly: bool) -> Result<Option<Vec<Hierarchy>>> {
    let Some(views) = input.cgroup.v1_views() else { return Ok(None) };
    let mut hierarchies = Vec::with_capacity(views.len());
    for view in views {
        let links = if view.controllers.len() > 1 {
            view.controllers.iter().filter(|c| **c != view.name).cloned().collect()
        } else {
            Vec::new()
        };
        let source = if input.new_cgroup_namespace {
            HierarchySource::New(view.controllers.iter().map(|c| v1_option(c)).collect::<Result<_>>()?)
        } else if !input.may_clone {
            HierarchySource::Path(view.path, Dress::plain(input.base, Attr::default()))
        } else if input.beside {
            HierarchySource::Promised(view.path, hierarchy_attr(readonly, input.base.attr().propagation))
        } else {
            let shown = &view.path.display();
            let at = fs::open_dir(&view.path).on("mount source", shown)?;
            let tree = mount::clone_tree(&at, false).on("clone mount source", shown)?;
            mount::set_attr(&tree, input.base.attr(), true).on("set propagation of", shown)?;
            HierarchySource::Bind(tree)
        };
        hierarchies.push(Hierarchy { name: view.name, links, source });
    }
    Ok(Some(hierarchies))
}

/// As every mount of a hierarchy in a container.
pub fn hierarchy_attr(readonly: bool, propagation: u64) -> Attr {
    let set = mount::ATTR_NOSUID | mount::ATTR_NODEV | mount::ATTR_NOEXEC;
    let set = set | if readonly { mount::ATTR_RDONLY } else { 0 };
    Attr { set, propagation, ..Attr::default() }
}

/// `memory`, or `name=systemd`, which is a hierarchy without controllers.
fn v1_option(controller: &str) -> Result<(CString, Option<CString>)> {
    let c = |s: &str| CString::new(s).map_err(|_| Error::bug("NUL in a controller's name"));
    Ok(match controller.split_once('=') {
        Some((key, value)) => (c(key)?, Some(c(value)?)),
        None => (c(controller)?, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_absolute_and_clean() {
        for (from, to) in
            [("/a/b", "/a/b"), ("a/./b/", "/a/b"), ("//x//", "/x"), (".", "/"), ("/a/../../b", "/b")]
        {
            assert_eq!(clean(Path::new(from)), Path::new(to), "{from}");
        }
    }

    #[test]
    fn options_may_hold_quoted_commas() {
        for (data, want) in [
            ("", &[][..]),
            ("size=1m", &["size=1m"]),
            ("size=1m,,mode=755,", &["size=1m", "mode=755"]),
            ("context=\"a:b:c:s0:c1,c2\",mode=755", &["context=\"a:b:c:s0:c1,c2\"", "mode=755"]),
            ("context=\"a,b", &["context=\"a,b"]),
            ("rootcontext=\"a,b\",context=c,size=1m", &["rootcontext=\"a,b\"", "context=c", "size=1m"]),
            ("lowerdir=a\"b,upperdir=c\"", &["lowerdir=a\"b", "upperdir=c\""]),
        ] {
            assert_eq!(words(data), want, "{data}");
        }
    }

    #[test]
    fn a_bind_with_one_attribute_has_just_that() {
        let a = bind_attr(Attr { set: mount::ATTR_RDONLY, ..Attr::default() });
        assert_eq!(a.clear & mount::ATTR_NOSUID, mount::ATTR_NOSUID);
        assert_eq!(a.clear & mount::ATTR_RDONLY, 0);
        assert!(bind_attr(Attr::default()).is_empty());
    }
}
