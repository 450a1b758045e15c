//! Control groups: where the container's processes are counted, limited, frozen, killed as one.
//!
//! Two questions, kept apart: where the files are ([`Tree`]) and who may make and remove them ([`Owner`]). A
//! [`Cgroup`] is planned ([`Cgroup::plan`], pure: so that its paths can be recorded before anything exists), made,
//! joined, limited and removed.
//!
//! | file | does |
//! |---|---|
//! | `make`, `limits`, `live`, `remove` | a cgroup's life, one file a stage |
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
mod limits;
mod live;
mod make;
pub mod path;
mod remove;
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
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

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

impl Record {
    /// As [`Cgroup::is_frozen`], with no more of it than that takes. False where it cannot be told.
    pub fn is_frozen(&self) -> bool {
        let freezer = self.v1.iter().find(|m| m.controllers.iter().any(|c| c == "freezer"));
        let (v1, v2) = match freezer {
            Some(m) => (vec![m.clone()], None),
            None if self.v1.is_empty() => (Vec::new(), self.v2.clone()),
            None => return false,
        };
        let part = Self { owner: Owner::Us, v1, v2, tolerant: self.tolerant };
        Cgroup::from_record(&part).is_ok_and(|c| c.is_frozen().unwrap_or(false))
    }
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

#[cfg(test)]
mod tests;
