//! What this machine's cgroup file systems are: one probe, plain data.
//!
//! Three layouts exist in production: v2 alone at `/sys/fs/cgroup`; v1, each controller (or a few together) in a
//! hierarchy of its own; and hybrid: v1 with a v2 tree beside it (systemd's `/sys/fs/cgroup/unified`), which may
//! have controllers of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{OnSys, Result};
use crate::sys::fs;

use super::path::{self, Place};

const UNIFIED_ROOT: &str = "/sys/fs/cgroup";
/// statfs(2): `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// v1: `["cpu", "cpuacct"]`, or `["name=systemd"]`. v2: empty.
    pub controllers: Vec<String>,
    pub mountpoint: PathBuf,
    /// The runtime's own cgroup, as a clean path below the mount point.
    pub own: String,
}

impl Hierarchy {
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// The directory's name under `/sys/fs/cgroup`, on the host and in containers: `cpu,cpuacct`, `systemd`.
    pub fn name(&self) -> &str {
        self.mountpoint.file_name().and_then(|n| n.to_str()).unwrap_or("")
    }

    /// What mount(2) of type `cgroup` takes as data for this hierarchy.
    pub fn mount_data(&self) -> String {
        self.controllers.join(",")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No cgroup file system is mounted.
    None,
    V1,
    /// v1, and a v2 tree beside it.
    Hybrid,
    V2,
}

/// The cgroup file systems that can be reached, and where the runtime itself stands in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// v1 hierarchies, in the order of the mount table, each once.
    pub v1: Vec<Hierarchy>,
    /// The v2 tree: the only tree when `v1` is empty.
    pub v2: Option<Hierarchy>,
}

impl Layout {
    pub fn mode(&self) -> Mode {
        match (self.v1.is_empty(), self.v2.is_some()) {
            (true, true) => Mode::V2,
            (true, false) => Mode::None,
            (false, true) => Mode::Hybrid,
            (false, false) => Mode::V1,
        }
    }

    pub fn is_v2(&self) -> bool {
        self.mode() == Mode::V2
    }

    pub fn v1_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|h| h.has(controller))
    }
}

/// Seven system calls on v2; ten where the mount table must be read.
pub fn detect() -> Result<Layout> {
    let own = read("/proc/self/cgroup")?;
    // Most machines answer here, and are spared the mount table, which is long where many containers run. As in
    // runc, a v1 hierarchy mounted beside it (VPN clients do so with net_cls) does not count.
    let magic = fs::open_dir(UNIFIED_ROOT).and_then(fs::fstatfs).map(|(magic, _)| magic);
    if magic == Ok(CGROUP2_MAGIC) {
        return Ok(Layout { v1: Vec::new(), v2: Some(unified(UNIFIED_ROOT.into(), "/", &own_paths(&own))) });
    }
    Ok(parse(&read("/proc/self/mountinfo")?, &own))
}

fn read(file: &str) -> Result<String> {
    let bytes = fs::read_file(file, 64 << 20).on("read", file)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// controller → the runtime's own cgroup; "" is v2. proc(5), /proc/PID/cgroup.
fn own_paths(text: &str) -> HashMap<&str, &str> {
    let mut own = HashMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            own.extend(controllers.split(',').map(|c| (c, path)));
        }
    }
    own
}

/// The own cgroup as seen below a mount whose root is `root`: in a container without a cgroup namespace,
/// /proc/self/cgroup shows the host's paths while the mount shows only a part of them.
fn own_below(root: &str, own: Option<&&str>) -> String {
    let (root, own) = (path::clean(root), path::clean(own.unwrap_or(&"/")));
    match own.strip_prefix(root.as_str()) {
        Some(rest) if root.is_empty() || rest.is_empty() || rest.starts_with('/') => path::clean(rest),
        _ => String::new(),
    }
}

fn unified(mountpoint: PathBuf, root: &str, own: &HashMap<&str, &str>) -> Hierarchy {
    Hierarchy { controllers: Vec::new(), mountpoint, own: own_below(root, own.get("")) }
}

struct Mount<'a> {
    id: u64,
    parent: u64,
    root: &'a str,
    /// Still with octal escapes.
    at: &'a str,
    kind: &'a str,
    super_options: &'a str,
}

/// One line of proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<Mount<'_>> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ');
    let mut back = back.split(' ');
    Some(Mount {
        id: front.next()?.parse().ok()?,
        parent: front.next()?.parse().ok()?,
        root: front.nth(1)?,
        at: front.next()?,
        kind: back.next()?,
        super_options: back.nth(1)?,
    })
}

/// The mount that a path leads to: from the top of the table down, at each mount the one on it that is next on the
/// way. A mount of the table that this does not find lies below another and cannot be reached.
fn leads_to(path: &str, all: &[Mount<'_>]) -> Option<u64> {
    let on_the_way = |m: &&Mount<'_>| {
        path.strip_prefix(m.at).is_some_and(|r| r.is_empty() || r.starts_with('/') || m.at == "/")
    };
    let on_the_way: Vec<&Mount<'_>> = all.iter().filter(on_the_way).collect();
    // The top is the mount whose parent is not shown.
    let is_top = |m: &Mount<'_>| m.parent == m.id || !all.iter().any(|p| p.id == m.parent);
    let mut at: Option<u64> = None;
    loop {
        let is_next = |m: &&&Mount<'_>| at.map_or_else(|| is_top(m), |at| m.parent == at && m.id != at);
        match on_the_way.iter().filter(is_next).min_by_key(|m| m.at.len()) {
            Some(next) => at = Some(next.id),
            None => return at,
        }
    }
}

/// `\040` and the like.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = (bytes[i] == b'\\').then(|| text.get(i + 1..i + 4)).flatten();
        match octal.and_then(|o| u8::from_str_radix(o, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// The layout that a mount table and a /proc/self/cgroup describe.
pub fn parse(mountinfo: &str, self_cgroup: &str) -> Layout {
    let own = own_paths(self_cgroup);
    let all: Vec<Mount<'_>> = mountinfo.lines().filter_map(mount).collect();
    // A container's rootfs may hold another mount of the same hierarchy: those at the usual place come first.
    let usual = |m: &&Mount<'_>| !Path::new(m.at).starts_with(UNIFIED_ROOT);
    let mut mounts: Vec<_> = all.iter().filter(|m| matches!(m.kind, "cgroup" | "cgroup2")).collect();
    mounts.sort_by_key(usual);
    mounts.retain(|m| leads_to(m.at, &all) == Some(m.id));

    let mut layout = Layout::default();
    for m in mounts {
        if m.kind == "cgroup2" {
            layout.v2.get_or_insert_with(|| unified(unescape(m.at), m.root, &own));
            continue;
        }
        // /proc/self/cgroup tells controllers from other options (rw, xattr, release_agent=…).
        let is_controller = |o: &&str| !o.is_empty() && own.contains_key(*o);
        let controllers: Vec<String> =
            m.super_options.split(',').filter(is_controller).map(str::to_owned).collect();
        let seen = controllers.first().is_none_or(|c| layout.v1_of(c).is_some());
        if !seen {
            let own = own_below(m.root, own.get(controllers[0].as_str()));
            layout.v1.push(Hierarchy { controllers, mountpoint: unescape(m.at), own });
        }
    }
    // A v2 tree with nothing but named v1 hierarchies beside it is v2, wherever it is mounted.
    if layout.v2.is_some() && layout.v1.iter().all(|h| h.controllers[0].starts_with("name=")) {
        layout.v1.clear();
    }
    layout
}

/// The container's cgroup below the mount point of a v1 hierarchy.
pub fn below_v1(h: &Hierarchy, place: &Place) -> String {
    match place {
        Place::FromRoot(p) => p.clone(),
        Place::FromOwn(p) => path::join(&h.own, p),
    }
}

/// The container's cgroup below the mount point of the v2 tree: relative paths start at the *parent* of the runtime's
/// own cgroup, which holds processes and so can give its children no controllers (no internal processes,
/// cgroups(7)).
pub fn below_v2(h: &Hierarchy, place: &Place) -> String {
    match place {
        Place::FromRoot(p) => p.clone(),
        Place::FromOwn(p) => path::join(path::parent(&h.own), p),
    }
}

/// The container's cgroup in the v2 tree of a hybrid machine: always from its root, as in runc, whatever the path's
/// kind.
pub fn below_hybrid(place: &Place) -> String {
    match place {
        Place::FromRoot(p) | Place::FromOwn(p) => p.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 0:21 / / rw - ext4 /dev/root rw
24 23 0:22 / /sys rw - sysfs sysfs rw
31 24 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const OWN: &str = "3:name=systemd:/a:b\n2:memory:/x/y\n1:cpu,cpuacct:/\n0::/u.slice/s.scope\n";

    #[test]
    fn hybrid_with_controllers_together_and_a_named_hierarchy() {
        let l = parse(HYBRID, OWN);
        assert_eq!(l.mode(), Mode::Hybrid);
        let shown: Vec<_> = l.v1.iter().map(|h| (h.name(), h.mount_data(), h.own.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("cpu,cpuacct", "cpu,cpuacct".to_owned(), ""),
                ("memory", "memory".to_owned(), "x/y"),
                ("systemd", "name=systemd".to_owned(), "a:b"),
            ]
        );
        assert_eq!(l.v2.map(|h| h.own).as_deref(), Some("u.slice/s.scope"));
    }

    #[test]
    fn a_tmpfs_over_everything_hides_it_and_what_is_mounted_again_counts() {
        let more = "\
50 31 0:50 / /sys/fs/cgroup rw - tmpfs tmpfs rw
51 50 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
        let l = parse(&format!("{HYBRID}{more}"), OWN);
        assert_eq!(l.mode(), Mode::V1);
        assert_eq!(l.v1.iter().map(Hierarchy::name).collect::<Vec<_>>(), ["memory"]);
    }

    #[test]
    fn v2_elsewhere_v2_with_a_named_one_and_nothing() {
        let v2 = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /mnt/c\\040g rw - cgroup2 none rw\n";
        let l = parse(v2, "0::/\n");
        assert_eq!((l.mode(), l.v2.map(|h| h.mountpoint)), (Mode::V2, Some("/mnt/c g".into())));
        let named = format!("{v2}3 1 0:3 / /run/elogind rw - cgroup none rw,name=elogind\n");
        assert_eq!(parse(&named, "1:name=elogind:/\n0::/\n").mode(), Mode::V2);
        assert_eq!(parse("1 0 0:1 / / rw - ext4 x rw\n", "0::/\n").mode(), Mode::None);
        assert_eq!(parse("", "").mode(), Mode::None);
        assert_eq!(parse("garbage\n1 2 3\n - cgroup\n", "x\n").mode(), Mode::None);
    }

    #[test]
    fn the_first_of_several_mounts_of_a_hierarchy_at_the_usual_place() {
        let other = "30 23 0:32 / /var/lib/x/memory rw - cgroup cgroup rw,memory\n";
        let l = parse(&format!("{other}{HYBRID}"), OWN);
        assert_eq!(l.v1_of("memory").map(|h| h.mountpoint.clone()), Some("/sys/fs/cgroup/memory".into()));
    }

    #[test]
    fn own_cgroup_below_a_mount_of_a_part() {
        for (root, own, want) in [
            ("/", "/a/b", "a/b"),
            ("/docker/1", "/docker/1", ""),
            ("/docker/1", "/docker/1/x", "x"),
            ("/docker/1", "/docker/12", ""),
            ("/docker/1", "/", ""),
            ("/", "/../x", "x"),
        ] {
            assert_eq!(own_below(root, Some(&own)), want, "{root} {own}");
        }
    }

    #[test]
    fn below_each_kind_of_tree() {
        let h = Hierarchy { controllers: vec![], mountpoint: "/m".into(), own: "user/session".into() };
        let (abs, rel) = (Place::FromRoot("a/b".into()), Place::FromOwn("c".into()));
        assert_eq!((below_v1(&h, &abs), below_v1(&h, &rel)), ("a/b".into(), "user/session/c".into()));
        assert_eq!((below_v2(&h, &abs), below_v2(&h, &rel)), ("a/b".into(), "user/c".into()));
        assert_eq!(below_hybrid(&rel), "c");
        let root = Hierarchy { own: String::new(), ..h };
        assert_eq!((below_v1(&root, &rel), below_v2(&root, &rel)), ("c".into(), "c".into()));
    }

    #[test]
    fn this_machine_answers() {
        assert_ne!(detect().expect("detect").mode(), Mode::None);
    }
}
