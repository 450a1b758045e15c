//! Control groups: where the container's processes are counted, limited, frozen, killed as one.
//!
//! Two questions, kept apart: where the files are ([`Tree`]) and who may make and remove them ([`Owner`]). A
//! [`Cgroup`] is planned ([`Cgroup::plan`], pure: so that its paths can be recorded before anything exists), made,
//! joined, limited and removed.
//!
//! | file | does |
//! |---|---|
//! | `layout` | what is mounted: one probe, plain data |
//! | `path` | which cgroup `cgroupsPath` names |
//! | `dir` | one directory of one hierarchy |
//! | `entrance` | how a process of `exec` comes in |
//! | `write`, `undo` | limits as data, and the loop that writes them; what they were before |
//! | `blkio`, `devices` | resources that both versions share |
//! | `v1/`, `v2/` | each version: creation, limits, freezer |
//! | `systemd/` | a cgroup that systemd makes and removes |
//! | `kill`, `facts` | signals for all; what the kernel says about memory |
//! | `walk` | all cgroups below one |
//! | `stats`, `watch` | what has been used; waiting for what happens |

mod blkio;
pub mod devices;
mod dir;
pub mod entrance;
mod facts;
mod kill;
pub mod layout;
pub mod path;
pub mod stats;
pub mod systemd;
mod undo;
pub mod v1;
pub mod v2;
mod walk;
pub mod watch;
pub mod write;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::process::{Deadline, Pid};
use crate::sys::{Errno, fs};

pub use devices::DeviceRules;
pub use dir::Dir;
pub use facts::MemoryFacts;
pub use layout::{Hierarchy, Layout, Mode, detect};

use v1::MemberRecord;

/// A container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    tree: Tree,
    owner: Owner,
    /// The way to the owner, if that is systemd.
    driver: Option<systemd::Driver>,
    rootless: Rootless,
}

/// Are refusals to be forgiven that an ordinary user meets, and root of a user namespace? As runc's `--rootless`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// If we are one.
    #[default]
    Auto,
    Yes,
    No,
}

impl Rootless {
    fn holds(self) -> bool {
        match self {
            Self::Auto => crate::sys::cred::geteuid() != 0 || crate::sys::ns::in_user_namespace(),
            Self::Yes => true,
            Self::No => false,
        }
    }
}

/// Where the files are.
#[derive(Debug)]
enum Tree {
    V2(v2::Tree),
    /// Hybrid too: v1 and the v2 tree's rest.
    V1(v1::Hierarchies),
    /// The container stays in the cgroup of the runtime's caller.
    None,
}

/// Who may create and remove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    Us,
    Systemd(systemd::Scope),
    /// Somebody else's, joined as it is: never removed.
    Delegated,
}

/// What reopens a cgroup: part of the container's record. Known before anything exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub owner: Owner,
    /// v1 hierarchies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v1: Vec<MemberRecord>,
    /// The v2 tree: the only one, or beside v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<MemberRecord>,
    #[serde(default)]
    pub tolerant: bool,
}

/// One hierarchy as a mount of type `cgroup` on v1 shows it in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Directory name below the mount point: `cpu,cpuacct`, `systemd`. Each of several controllers is linked to it.
    pub name: String,
    /// Also what a new mount of the hierarchy takes as options: `cpu`, `cpuacct`; `name=systemd`.
    pub controllers: Vec<String>,
    /// The container's own cgroup on the host.
    pub path: PathBuf,
}

/// One file that a process opens itself the way in with.
#[derive(Debug)]
pub struct Door {
    pub fd: OwnedFd,
    pub path: PathBuf,
    /// A refusal is no error: nothing is limited there.
    pub optional: bool,
}

/// How long a removal waits for processes that are dying.
pub const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Decides where the cgroup is; touches nothing.
    pub fn plan(layout: &Layout, cgroups_path: Option<&str>, id: &str) -> Result<Self> {
        Self::plan_with(layout, cgroups_path, id, Rootless::No)
    }

    /// `rootless`: without a path of the user's, a hierarchy that refuses permission is left out rather than an
    /// error, as in runc.
    pub fn plan_with(
        layout: &Layout,
        cgroups_path: Option<&str>,
        id: &str,
        rootless: Rootless,
    ) -> Result<Self> {
        let place = path::place(cgroups_path, id)?;
        let tolerant = cgroups_path.is_none_or(str::is_empty) && rootless.holds();
        let tree = match layout.mode() {
            Mode::None if tolerant => Tree::None,
            _ => Tree::plan(layout, &place, tolerant)?,
        };
        Ok(Self { tree, owner: Owner::Us, driver: None, rootless })
    }

    /// That of a scope of systemd's, `slice:prefix:name`; `annotations` may set properties of it. Nothing is made yet,
    /// but a user's systemd is asked where it stands.
    pub fn plan_systemd(
        layout: &Layout,
        cgroups_path: Option<&str>,
        id: &str,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let driver = systemd::Driver::plan(cgroups_path, id, annotations, layout.is_v2())?;
        let place = path::place(Some(&format!("/{}", driver.place()?)), id)?;
        // Devices are beyond a user's systemd, as they are beyond the user.
        let tree = Tree::plan(layout, &place, driver.scope().user)?;
        let owner = Owner::Systemd(driver.scope().clone());
        Ok(Self { tree, owner, driver: Some(driver), rootless: Rootless::Auto })
    }

    /// No cgroup of its own: `--cgroup-manager=disabled`.
    pub fn none() -> Self {
        Self { tree: Tree::None, owner: Owner::Us, driver: None, rootless: Rootless::Auto }
    }

    /// Opens nothing yet. The record may have been tampered with: its paths are checked as a plan's are.
    pub fn from_record(r: &Record) -> Result<Self> {
        for m in r.v1.iter().chain(&r.v2) {
            if m.below.is_empty() || path::clean(&m.below) != m.below || !m.mountpoint.is_absolute() {
                return Err(Error::new(
                    Kind::Bug,
                    format!("the record names no cgroup: {:?} below {:?}", m.below, m.mountpoint),
                ));
            }
        }
        let tree = match &r.v2 {
            v2 if !r.v1.is_empty() => Tree::V1(v1::Hierarchies::reopen(&r.v1, v2.as_ref(), r.tolerant)),
            Some(v2) => {
                Tree::V2(v2::Tree::reopen(Dir::new(v2.mountpoint.clone(), v2.below.clone()), r.tolerant))
            }
            None => Tree::None,
        };
        let driver = match &r.owner {
            Owner::Systemd(scope) => {
                scope.check().map_err(|e| e.without_pointer().of_kind(Kind::Bug).within("the record"))?;
                Some(systemd::Driver::of(scope.clone()))
            }
            _ => None,
        };
        Ok(Self { tree, owner: r.owner.clone(), driver, rootless: Rootless::Auto })
    }

    pub fn record(&self) -> Record {
        let (v1, v2, tolerant) = match &self.tree {
            Tree::V1(h) => h.record(),
            Tree::V2(t) => {
                let dir = t.planned();
                let (mountpoint, below) = (dir.mountpoint().to_owned(), dir.below_mountpoint().to_owned());
                (Vec::new(), Some(MemberRecord { controllers: Vec::new(), mountpoint, below }), t.tolerant())
            }
            Tree::None => (Vec::new(), None, false),
        };
        Record { owner: self.owner.clone(), v1, v2, tolerant }
    }

    /// Makes the directories, ready to be joined. An existing cgroup is taken over only when it is empty and thawed.
    /// On failure nothing new is left.
    pub fn create(&self) -> Result<()> {
        self.create_for(None)
    }

    /// As [`Cgroup::create`], with those of the limits that must be there before a process comes: a cpuset that may
    /// not have all of its parent's, real-time bandwidth, and whether v2 must be able to hold memory limits.
    pub fn create_for(&self, r: Option<&LinuxResources>) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.create(r),
            // systemd makes it, around a process.
            Tree::V2(_) if self.driver.is_some() => Ok(()),
            Tree::V2(t) => t.create(r),
            Tree::None => Ok(()),
        }
    }

    /// Are refusals no errors that an ordinary user meets, or root of a user namespace?
    pub fn forgives(&self) -> bool {
        self.rootless.holds()
    }

    /// Must its first process be there before it?
    pub fn is_made_around_a_process(&self) -> bool {
        self.driver.is_some()
    }

    /// Is it somebody else's, as [`Cgroup::settle`] found out? Then nobody in it is ours to kill, and its unit lives on.
    pub fn is_taken(&self) -> bool {
        self.driver.as_ref().is_some_and(systemd::Driver::is_taken)
    }

    /// Of a cgroup that is taken: what systemd has not made on v1, as long as it is empty.
    pub fn leave(&self) {
        if let Tree::V1(h) = &self.tree {
            for dir in h.dirs() {
                let _ = fs::rmdirat(fs::AT_FDCWD, dir.path());
            }
        }
    }

    /// Puts the container's first process in.
    pub fn settle(&self, pid: Pid, r: Option<&LinuxResources>) -> Result<()> {
        if let Some(driver) = &self.driver {
            driver.start(pid, r, self.is_v2())?;
            if let Tree::V2(t) = &self.tree {
                return t.adopt(r);
            }
            // On v1 systemd does not know all controllers.
        }
        self.join(pid)
    }

    /// Moves a process in, in every hierarchy.
    pub fn join(&self, pid: Pid) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.join(pid),
            Tree::V2(t) => t.join(pid),
            Tree::None => Ok(()),
        }
    }

    /// How a new process comes in without a wait: born in [`Cgroup::birthplace`], it writes `0` to each of these, in
    /// this order, first of all and while it has one thread.
    ///
    /// Writing another's pid to `cgroup.procs` ([`Cgroup::join`]) takes a lock of all process groups, which costs an
    /// RCU grace period: measured here 1 to 10 ms, more than all the rest of a container's creation. A single thread
    /// that moves itself is spared it (cgroup_procs_write_start(), since Linux 5.6), as is a process born in a v2
    /// cgroup.
    pub fn doors(&self) -> Result<Vec<Door>> {
        match &self.tree {
            Tree::V1(h) if self.driver.is_none() => h.doors(),
            _ => Ok(Vec::new()),
        }
    }

    /// The paths of those doors that can be expected, and whether a refusal is no error. They may be opened when the
    /// process is there already; nothing of the cgroup has to be before it but what [`Cgroup::begin`] makes.
    pub fn planned_doors(&self) -> Vec<(PathBuf, bool)> {
        match &self.tree {
            Tree::V1(h) if self.driver.is_none() => h.planned_doors(),
            _ => Vec::new(),
        }
    }

    /// Makes the birthplace, if there is to be one, ahead of what [`Cgroup::create_for`] makes. It goes with the value if
    /// it comes to nothing.
    pub fn begin(&self) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.begin(),
            _ => Ok(()),
        }
    }

    /// For `CLONE_INTO_CGROUP`: the directory in the v2 tree, also in that of a hybrid machine. There once created.
    /// Should the kernel refuse on a hybrid machine, being born without it and [`Cgroup::join_unified`] do.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match &self.tree {
            _ if self.driver.is_some() => None,
            Tree::V1(h) => h.unified().and_then(|d| d.fd().ok()),
            Tree::V2(t) => t.fd(),
            Tree::None => None,
        }
    }

    /// Hybrid: into the v2 tree, which limits nothing there; so if it refuses, the container is not in it.
    pub fn join_unified(&self, pid: Pid) {
        if let Tree::V1(h) = &self.tree
            && let Some(d) = h.unified()
            && d.join(pid).is_err()
        {
            let _ = d.try_remove(Deadline::never());
            d.set_absent();
        }
    }

    /// Sets all that is asked for, but the devices; what is not is left as it is.
    pub fn apply(&self, r: &LinuxResources) -> Result<()> {
        if let Some(driver) = &self.driver {
            let r = &systemd::property::rounded(r);
            // What is wrong is told by what says it best.
            self.check(r)?;
            driver.set(r, self.is_v2())?;
            return self.write(r);
        }
        self.write(r)
    }

    fn write(&self, r: &LinuxResources) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.apply(r),
            Tree::V2(t) => t.apply(r),
            Tree::None => Ok(()),
        }
    }

    /// What no write could say: before systemd is told of it.
    fn check(&self, r: &LinuxResources) -> Result<()> {
        if self.is_v2() { v2::writes(r).map(drop) } else { v1::writes(r).map(drop) }
    }

    /// As [`Cgroup::apply`], on a cgroup in use: should one limit be refused, those set before it are taken back.
    pub fn update(&self, r: &LinuxResources) -> Result<()> {
        if let Some(driver) = &self.driver {
            let r = &systemd::property::rounded(r);
            // The files first: they refuse what the kernel refuses, and are taken back then. systemd writes the same.
            self.change(r)?;
            driver.set(r, self.is_v2())?;
            // It writes whole controllers, and for some values an approximation.
            return self.write(r);
        }
        self.change(r)
    }

    fn change(&self, r: &LinuxResources) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.update(r),
            Tree::V2(t) => t.update(r),
            Tree::None => Err(Error::new(
                Kind::Host,
                "the container has no cgroup, so there is nothing to set limits on",
            )),
        }
    }

    pub fn apply_devices(&self, rules: &DeviceRules) -> Result<()> {
        if let Some(driver) = &self.driver {
            driver.set_devices(rules)?;
        }
        let done = match &self.tree {
            Tree::V1(h) => h.apply_devices(rules),
            Tree::V2(t) => t.apply_devices(rules),
            Tree::None => Ok(()),
        };
        match done {
            // As runc: without rights over them there are none over devices either, in a user namespace.
            Err(e) if matches!(e.errno(), Some(Errno::EPERM | Errno::EACCES)) && self.rootless.holds() => {
                Ok(())
            }
            done => done,
        }
    }

    /// Refuses a cgroup that somebody else lives in. To be asked before the intent to create it is recorded: what a
    /// record names is killed and removed with the container, should the creator die before [`Cgroup::create`] asks
    /// again.
    pub fn check_free(&self) -> Result<()> {
        let both = [self.main_dir(), self.kill_dir()];
        both.into_iter().flatten().try_for_each(check_empty)
    }

    /// What is asked for and has no meaning on this layout, or for this kernel: for a warning.
    pub fn without_meaning(&self, r: &LinuxResources) -> Vec<&'static str> {
        let has = |dir: Option<&Dir>, file: &str| dir.is_none_or(|d| d.read(file).is_ok());
        let (cpu, io) = (r.cpu().as_ref(), r.block_io().as_ref());
        match &self.tree {
            Tree::V1(h) => {
                let mut all = v1::without_meaning(r);
                if cpu.is_some_and(|c| c.burst().is_some()) && !has(h.dir("cpu"), "cpu.cfs_burst_us") {
                    all.push("cpu.burst");
                }
                all
            }
            Tree::V2(t) => {
                let mut all = v2::without_meaning(r);
                let weights = io.and_then(|io| io.weight_device().as_ref()).is_some_and(|w| !w.is_empty());
                if weights && !has(t.dir(), "io.bfq.weight") {
                    all.push("blockIO.weightDevice");
                }
                all
            }
            Tree::None => Vec::new(),
        }
    }

    /// The cgroup's own processes.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        self.listed(Dir::pids)
    }

    /// Its processes and those of all cgroups below.
    pub fn all_pids(&self) -> Result<Vec<Pid>> {
        self.listed(Dir::all_pids)
    }

    fn listed(&self, list: impl Fn(&Dir) -> crate::sys::Result<Vec<Pid>>) -> Result<Vec<Pid>> {
        let Some(dir) = self.main_dir() else { return Ok(Vec::new()) };
        list(dir).on("list processes of cgroup", dir.path().display())
    }

    /// The directory that stands for the cgroup where one is enough: on v1 that of the devices hierarchy.
    pub(crate) fn main_dir(&self) -> Option<&Dir> {
        match &self.tree {
            Tree::V1(h) => h.dir("devices").or_else(|| h.dirs().next()),
            Tree::V2(t) => t.dir(),
            Tree::None => None,
        }
    }

    /// The directory with `cgroup.kill`.
    fn kill_dir(&self) -> Option<&Dir> {
        match &self.tree {
            Tree::V1(h) => h.unified(),
            Tree::V2(t) => t.dir(),
            Tree::None => None,
        }
    }

    fn dirs(&self) -> Vec<&Dir> {
        match &self.tree {
            Tree::V1(h) => h.dirs().collect(),
            Tree::V2(t) => t.dir().into_iter().collect(),
            Tree::None => Vec::new(),
        }
    }

    /// Does it exist?
    pub fn exists(&self) -> bool {
        self.main_dir().is_some_and(Dir::exists)
    }

    pub fn is_v2(&self) -> bool {
        matches!(self.tree, Tree::V2(_))
    }

    /// Has it no directory at all?
    pub fn is_none(&self) -> bool {
        self.dirs().is_empty()
    }

    pub fn has_controller(&self, controller: &str) -> bool {
        match &self.tree {
            Tree::V1(h) => h.dir(controller).is_some(),
            Tree::V2(t) => t.dir().is_some_and(|d| {
                d.read("cgroup.controllers").is_ok_and(|all| all.split(' ').any(|c| c == controller))
            }),
            Tree::None => false,
        }
    }

    /// For `CLONE_INTO_CGROUP`; there once created, on v2 alone: on v1 one directory of ten would be joined so.
    pub fn v2_dir_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.tree {
            Tree::V2(t) => t.fd(),
            _ => None,
        }
    }

    /// What of the v2 tree a container may see that cannot mount it: with a cgroup namespace its own cgroup.
    pub fn v2_view(&self, own: bool) -> Option<PathBuf> {
        let Tree::V2(t) = &self.tree else { return None };
        Some(if own { t.planned().path() } else { t.planned().mountpoint().to_owned() })
    }

    /// controller → directory, "" for v2: as in runc's state.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let mut all = BTreeMap::new();
        match &self.tree {
            Tree::V1(h) => {
                for m in h.members().iter().filter(|m| !m.dir.is_absent()) {
                    all.extend(m.controllers.iter().map(|c| (c.clone(), m.dir.path())));
                }
                all.extend(h.unified().map(|d| (String::new(), d.path())));
            }
            Tree::V2(t) => all.extend(t.dir().map(|d| (String::new(), d.path()))),
            Tree::None => {}
        }
        all
    }

    /// The hierarchies as a mount of type `cgroup` shows them; `None` where there are none (v2).
    pub fn v1_views(&self) -> Option<Vec<View>> {
        let Tree::V1(h) = &self.tree else { return None };
        let view = |m: &v1::Member| View {
            name: m
                .dir
                .mountpoint()
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            controllers: m.controllers.clone(),
            path: m.dir.path(),
        };
        Some(h.members().iter().filter(|m| !m.dir.is_absent()).map(view).collect())
    }

    /// Stops every process. Never leaves it half frozen.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(PATIENCE)
    }

    fn freeze_within(&self, limit: Duration) -> Result<()> {
        let text = "cannot toggle freezer: cgroups not configured for container";
        let none = || Error::new(Kind::Host, text);
        match &self.tree {
            Tree::V1(h) => v1::freezer::freeze(h.dir("freezer").ok_or_else(none)?),
            Tree::V2(t) => v2::freeze(t.dir().ok_or_else(none)?, limit),
            Tree::None => Err(none()),
        }
    }

    pub fn thaw(&self) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.dir("freezer").map_or(Ok(()), v1::freezer::thaw),
            Tree::V2(t) => t.dir().map_or(Ok(()), v2::thaw),
            Tree::None => Ok(()),
        }
    }

    /// So that SIGKILL reaches everybody: v2 kills the frozen too.
    fn thaw_to_die(&self) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.dir("freezer").map_or(Ok(()), v1::freezer::thaw_all),
            _ => self.thaw(),
        }
    }

    /// Frozen by itself, not by an ancestor. False when it is gone.
    pub fn is_frozen(&self) -> Result<bool> {
        match &self.tree {
            Tree::V1(h) => h.dir("freezer").map_or(Ok(false), v1::freezer::is_frozen),
            Tree::V2(t) => t.dir().map_or(Ok(false), v2::is_frozen),
            Tree::None => Ok(false),
        }
    }

    /// A signal for every process of the cgroup and below, frozen or forking. SIGKILL thaws. No process: no error.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let _t = crate::trace::span("kill what is left");
        kill::all(self, signal)
    }

    /// What the kernel remembers of the memory limit: why a process may have died.
    pub fn memory_facts(&self) -> MemoryFacts {
        match &self.tree {
            Tree::V1(h) => h.dir("memory").map(facts::v1).unwrap_or_default(),
            Tree::V2(t) => t.dir().map(facts::v2).unwrap_or_default(),
            Tree::None => MemoryFacts::default(),
        }
    }

    /// What it has used.
    pub fn stats(&self) -> Result<stats::Stats> {
        let read = |dir: Option<&Dir>, file: &str| {
            let Some(dir) = dir else { return Ok(None) };
            match dir.read_all(file) {
                Ok(text) => Ok(Some(text)),
                // The last: pressure on a kernel that would have to be told to count it.
                Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
                Err(e) => Err(e).on("read", dir.path().join(file).display()),
            }
        };
        match &self.tree {
            Tree::V1(h) => {
                let sizes = stats::page_sizes();
                let mut all = stats::v1::stats(&|controller, file| read(h.dir(controller), file), &sizes)?;
                if all.hugetlb.is_empty() && h.unified().is_some() {
                    all.hugetlb = stats::v2::hugetlbs(&|file| read(h.unified(), file), &sizes)?;
                }
                Ok(all)
            }
            Tree::V2(t) => stats::v2::stats(&|file| read(t.dir(), file), &stats::page_sizes()),
            Tree::None => Ok(stats::Stats::default()),
        }
    }

    /// Tells when memory runs out; `None` without a memory controller.
    pub fn watch_oom(&self) -> Result<Option<watch::Oom<'_>>> {
        match &self.tree {
            Tree::V1(h) => h.dir("memory").map(|d| watch::OomV1::new(d).map(watch::Oom::V1)).transpose(),
            Tree::V2(t) => match t.dir().map(watch::OomV2::new) {
                Some(Err(e)) if e.errno() == Some(Errno::ENOENT) => Ok(None),
                watch => Ok(watch.transpose()?.map(watch::Oom::V2)),
            },
            Tree::None => Ok(None),
        }
    }

    /// Tells of `populated`, where the kernel does.
    pub fn watch_events(&self) -> Option<watch::Changes<'_>> {
        self.kill_dir().and_then(|d| watch::Changes::of(d, "cgroup.events").ok())
    }

    pub fn oom_killed(&self) -> Result<bool> {
        Ok(self.memory_facts().oom_killed())
    }

    /// v2: gives the cgroup to the root of a user namespace.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        match &self.tree {
            Tree::V2(t) => t.delegate(uid),
            _ => Ok(()),
        }
    }

    /// Which cgroup above this one is frozen, and this with it? Nothing in it can run until that is thawed, nor die on
    /// v1, where the freezer holds even SIGKILL back.
    pub fn frozen_above(&self) -> Option<PathBuf> {
        match &self.tree {
            Tree::V1(h) => h.dir("freezer").and_then(v1::freezer::frozen_above),
            Tree::V2(t) => t.dir().and_then(v2::frozen_above),
            Tree::None => None,
        }
    }

    /// Says so, if a cgroup above is frozen, and nothing here can go on.
    pub fn check_not_frozen_above(&self) -> Result<()> {
        self.frozen_above().map_or(Ok(()), |by| Err(frozen_from_above(&by)))
    }

    /// Removes it with all cgroups below. Processes that are dying are waited for, ten seconds at most. Every
    /// hierarchy is tried; what is not there is no failure. Parents are left, as runc leaves them.
    pub fn remove(&self) -> Result<()> {
        self.remove_until(Deadline::after(PATIENCE))
    }

    pub fn remove_until(&self, deadline: Deadline) -> Result<()> {
        let _t = crate::trace::span("remove cgroups");
        if self.owner == Owner::Delegated {
            return Ok(());
        }
        let there = self.exists();
        let removed = self.remove_dirs(deadline);
        if let Some(driver) = &self.driver
            && removed.is_ok()
        {
            // Its processes and directories are gone, and systemd sees that by itself. To wait until it has lets the
            // next container have the name; that systemd cannot be reached must not keep this one.
            let _ = driver.stop(there);
        }
        removed
    }

    fn remove_dirs(&self, deadline: Deadline) -> Result<()> {
        let mut left = self.dirs();
        let mut failed: Vec<Error> = Vec::new();
        let mut held = None;
        let mut pause = Duration::from_micros(200);
        loop {
            // First wait where one can: some kernels (6.9 to 7.0) block in rmdir on dying processes.
            let is_empty = self
                .kill_dir()
                .is_none_or(|d| d.wait_unpopulated(deadline.or_after(Duration::from_millis(100))));
            if !is_empty {
                // Who cannot die need not be waited for.
                held = self.held_from_above();
                if held.is_none() && !deadline.passed() {
                    continue;
                }
            }
            left.retain(|d| match d.try_remove(deadline) {
                Ok(done) => !done,
                Err(e) => {
                    failed.push(e);
                    false
                }
            });
            if left.is_empty() || held.is_some() || deadline.passed() {
                break;
            }
            held = self.held_from_above();
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        failed.extend(busy(&left, held.as_deref()));
        together(failed)
    }

    /// The cgroup above that keeps processes here from dying.
    fn held_from_above(&self) -> Option<PathBuf> {
        let above = if self.is_v2() { None } else { self.frozen_above() };
        above.filter(|_| self.all_pids().is_ok_and(|p| !p.is_empty()))
    }
}

/// One error for all hierarchies of a cgroup: what is in one of them is mostly in all.
fn busy(left: &[&Dir], held: Option<&Path>) -> Option<Error> {
    let (first, others) = left.split_first()?;
    let e = match held {
        Some(by) => frozen_from_above(by).within(format!("remove cgroup {}", first.path().display())),
        None => first.busy(),
    };
    Some(match others.len() {
        0 => e,
        n => e.within(format!("in {} hierarchies", n + 1)),
    })
}

fn frozen_from_above(by: &Path) -> Error {
    Error::new(Kind::WrongState, format!("the cgroup is frozen from above, by {}", by.display()))
        .hint("its processes can neither run nor die; thaw that cgroup, then try again")
}

impl Tree {
    fn plan(layout: &Layout, place: &path::Place, tolerant: bool) -> Result<Self> {
        Ok(match (layout.mode(), &layout.v2) {
            (Mode::V2, Some(h)) => Self::V2(v2::Tree::plan(h, place, tolerant)),
            (Mode::V1 | Mode::Hybrid, _) => Self::V1(v1::Hierarchies::plan(layout, place, tolerant)?),
            _ => return Err(Error::new(Kind::Host, "no cgroup mount found in mountinfo")),
        })
    }
}

/// Several failures as one: the first with its facts, the others in words.
fn together(failed: Vec<Error>) -> Result<()> {
    let mut rest = failed.into_iter();
    let Some(first) = rest.next() else { return Ok(()) };
    Err(rest.fold(first, |e, other| e.and(&other)))
}

/// Moves a process into a directory, and says what refuses it.
fn join(dir: &Dir, pid: Pid) -> Result<()> {
    dir.join(pid).map_err(|errno| {
        let e =
            Error::sys(format!("move process {pid} into cgroup"), dir.path().display().to_string(), errno);
        match errno {
            Errno::ESRCH => e.of_kind(Kind::Died).hint("the process has ended"),
            Errno::ENOENT | Errno::ENODEV => e.hint("the cgroup has been removed meanwhile"),
            Errno::ENOSPC => e.hint("the cpuset has no CPUs or no memory nodes"),
            Errno::EBUSY => e.hint("it has children with controllers, so it cannot hold processes itself"),
            Errno::EOPNOTSUPP => e.hint("it is in an invalid or threaded mode; see cgroup.type"),
            Errno::EINVAL => {
                e.hint("a real-time process needs real-time bandwidth (linux.resources.cpu.realtimeRuntime)")
            }
            _ => e,
        }
    })
}

/// Whatever is in there would become part of the container, and die with it.
fn check_empty(dir: &Dir) -> Result<()> {
    let n = match dir.all_pids() {
        // Removed between the two calls, or not to be read: joining will tell.
        Err(Errno::ENOENT | Errno::ENODEV) => 0,
        r => r.on("get cgroup PIDs of", dir.path().display())?.len(),
    };
    if n == 0 {
        return Ok(());
    }
    let text = format!("container's cgroup is not empty: {n} process(es) found");
    let hint =
        format!("{} belongs to somebody else, or to a container that was not removed", dir.path().display());
    Err(Error::new(Kind::Exists, text).hint(hint))
}

fn unexpectedly_frozen(dir: &Dir) -> Error {
    Error::new(Kind::WrongState, "container's cgroup unexpectedly frozen")
        .hint(dir.path().display().to_string())
}

/// `pids.max`. 0 cannot be told from 1 with systemd (`TasksMax`), so it is 1 here too; below: no limit.
fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".into(),
        0 => "1".into(),
        n => n.to_string(),
    }
}

/// A page size becomes part of a file name.
fn check_page_size(size: &str, pointer: &str) -> Result<()> {
    if !size.is_empty() && size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::spec(format!("{pointer}/pageSize"), format!("invalid huge page size {size:?}: want e.g. 2MB")))
}

fn rdma(r: &LinuxResources) -> Vec<write::Write> {
    let mut devices: Vec<_> = r.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    let one = |(name, limit): (&String, &oci_spec::runtime::LinuxRdma)| {
        let part = |key: &str, v: Option<u32>| v.map_or_else(String::new, |v| format!(" {key}={v}"));
        let value = format!(
            "{name}{}{}",
            part("hca_handle", limit.hca_handles()),
            part("hca_object", limit.hca_objects())
        );
        write::Write::new("rdma", "rdma.max", value, format!("/linux/resources/rdma/{name}"))
    };
    devices.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests;
