//! cgroup v1: the same cgroup in every hierarchy, and in the v2 tree beside them where there is one.
//!
//! Why the v2 tree of a hybrid machine too: as runc, and because it gives `cgroup.kill`, which no fork bomb
//! outruns, and `cgroup.events`, which says when the last process is gone. It limits nothing there, so failing to
//! make it is no error.

mod beside;
mod cpuset;
pub mod freezer;
mod limits;

use std::cell::RefCell;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::Errno;
use crate::sys::process::Pid;

use super::Door;
use super::devices::DeviceRules;
use super::dir::{self, Dir, Made};
use super::layout::{self, Layout};
use super::path::Place;
use super::write::{self, Write};

pub use limits::{before_join, cpuset as cpuset_writes, without_meaning, writes};

/// The controllers that a container is put under, in the order in which it joins (runc's `fs.subsystems`). Other
/// hierarchies are not ours.
const KNOWN: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    NAMED,
    "misc",
];
const NAMED: &str = "name=systemd";

/// The container's cgroup in one hierarchy.
#[derive(Debug)]
pub struct Member {
    pub controllers: Vec<String>,
    pub dir: Dir,
}

impl Member {
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// Nothing is limited there: a failure is no error.
    fn is_optional(&self) -> bool {
        self.controllers.iter().all(|c| c == NAMED || c == "misc")
    }
}

#[derive(Debug)]
pub struct Hierarchies {
    members: Vec<Member>,
    unified: Option<Dir>,
    /// Rootless and without a path of the user's: a hierarchy that refuses us is left out.
    tolerant: bool,
    /// What was made ahead, as long as the rest is not.
    begun: RefCell<Option<Vec<PathBuf>>>,
}

impl Drop for Hierarchies {
    fn drop(&mut self) {
        dir::unmake(&self.begun.take().unwrap_or_default());
    }
}

/// What reopens it; see [`super::Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    pub controllers: Vec<String>,
    pub mountpoint: PathBuf,
    pub below: String,
}

impl Hierarchies {
    pub fn plan(layout: &Layout, place: &Place, tolerant: bool) -> Result<Self> {
        if layout.v1_of("devices").is_none() {
            // A container that no device rule can hold is none: fatal in runc too.
            return Err(Error::new(Kind::Host, "mountpoint for devices not found")
                .hint("mount the devices cgroup hierarchy, or use cgroup v2"));
        }
        let rank = |c: &str| KNOWN.iter().position(|k| *k == c);
        let mut members: Vec<(usize, Member)> = layout
            .v1
            .iter()
            .filter_map(|h| {
                let rank = h.controllers.iter().filter_map(|c| rank(c)).min()?;
                let dir = Dir::new(h.mountpoint.clone(), layout::below_v1(h, place));
                Some((rank, Member { controllers: h.controllers.clone(), dir }))
            })
            .collect();
        members.sort_by_key(|(rank, _)| *rank);
        let unified = layout.v2.as_ref().map(|h| Dir::new(h.mountpoint.clone(), layout::below_hybrid(place)));
        let members = members.into_iter().map(|(_, m)| m).collect();
        Ok(Self { members, unified, tolerant, begun: RefCell::default() })
    }

    pub fn reopen(members: &[MemberRecord], unified: Option<&MemberRecord>, tolerant: bool) -> Self {
        let dir = |r: &MemberRecord| Dir::new(r.mountpoint.clone(), r.below.clone());
        let member = |r: &MemberRecord| Member { dir: dir(r), controllers: r.controllers.clone() };
        let members = members.iter().map(member).collect();
        Self { members, unified: unified.map(dir), tolerant, begun: RefCell::default() }
    }

    pub fn record(&self) -> (Vec<MemberRecord>, Option<MemberRecord>, bool) {
        let one = |controllers: &[String], dir: &Dir| MemberRecord {
            controllers: controllers.to_vec(),
            mountpoint: dir.mountpoint().to_owned(),
            below: dir.below_mountpoint().to_owned(),
        };
        let members = self.members.iter().map(|m| one(&m.controllers, &m.dir)).collect();
        (members, self.unified.as_ref().map(|d| one(&[], d)), self.tolerant)
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The cgroup in the v2 tree beside, if it could be made.
    pub fn unified(&self) -> Option<&Dir> {
        self.unified.as_ref().filter(|d| !d.is_absent())
    }

    pub fn dir(&self, controller: &str) -> Option<&Dir> {
        self.members.iter().find(|m| m.has(controller)).map(|m| &m.dir).filter(|d| !d.is_absent())
    }

    /// Every directory there may be.
    pub fn dirs(&self) -> impl Iterator<Item = &Dir> {
        self.unified().into_iter().chain(self.members.iter().map(|m| &m.dir)).filter(|d| !d.is_absent())
    }

    /// Makes it in every hierarchy, and readies it to be joined. What an existing cgroup holds would be limited,
    /// killed and removed with the container, so only an empty and thawed one is taken over.
    pub fn create(&self, r: Option<&LinuxResources>) -> Result<()> {
        let mut made = Vec::new();
        self.create_all(r, &mut made).inspect_err(|_| dir::unmake(&made))?;
        self.begun.take();
        Ok(())
    }

    /// Makes the cgroup in the v2 tree alone, for a process to be born in.
    pub fn begin(&self) -> Result<()> {
        let mut made = Vec::new();
        self.create_unified(&mut made).inspect_err(|_| dir::unmake(&made))?;
        self.begun.replace(Some(made));
        Ok(())
    }

    fn create_all(&self, r: Option<&LinuxResources>, made: &mut Vec<PathBuf>) -> Result<()> {
        for m in &self.members {
            match self.create_one(m, r, made) {
                Err(e) if m.is_optional() || self.tolerates(&e) => m.dir.set_absent(),
                r => r?,
            }
        }
        if self.begun.borrow().is_some() { Ok(()) } else { self.create_unified(made) }
    }

    fn create_unified(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        let Some(unified) = &self.unified else { return Ok(()) };
        match unified.make(made) {
            Ok(Made::Fresh) => Ok(()),
            Ok(Made::Existed) => super::make::check_empty(unified),
            Err(_) => {
                unified.set_absent();
                Ok(())
            }
        }
    }

    fn create_one(&self, m: &Member, r: Option<&LinuxResources>, made: &mut Vec<PathBuf>) -> Result<()> {
        let fresh = m.dir.make(made)? == Made::Fresh;
        if !fresh {
            super::make::check_empty(&m.dir)?;
            if m.has("freezer") && freezer::is_frozen(&m.dir)? {
                return Err(super::make::unexpectedly_frozen(&m.dir));
            }
        }
        // A new one at the top cannot be frozen.
        if m.has("freezer")
            && m.dir.below_mountpoint().contains('/')
            && let Some(by) = freezer::frozen_above(&m.dir)
        {
            return Err(super::live::frozen_from_above(&by));
        }
        if m.has("cpuset") {
            cpuset::fill(&m.dir, r, fresh)?;
        }
        if m.has("cpu")
            && let Some(r) = r
        {
            write::apply(&before_join(r), |_| Ok(&m.dir))?;
        }
        Ok(())
    }

    fn tolerates(&self, e: &Error) -> bool {
        self.tolerant && matches!(e.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
    }

    pub fn join(&self, pid: Pid) -> Result<()> {
        for m in self.members.iter().filter(|m| !m.dir.is_absent()) {
            match super::make::join(&m.dir, pid) {
                Err(e) if m.is_optional() || self.tolerates(&e) => m.dir.set_absent(),
                r => r?,
            }
        }
        if let Some(unified) = self.unified()
            && unified.join(pid).is_err()
        {
            // What is not in there must not be killed through it.
            unified.set_absent();
        }
        Ok(())
    }

    /// Is a refusal of this hierarchy no error?
    pub fn spares(&self, m: &Member) -> bool {
        m.is_optional() || self.tolerant
    }

    /// In the order of [`Hierarchies::doors`]; none where a hierarchy that refuses us is left out.
    pub fn planned_doors(&self) -> Vec<(PathBuf, bool)> {
        let members = self.members.iter().filter(|m| !self.tolerant && !m.dir.is_absent());
        members.map(|m| (m.dir.path().join("tasks"), m.is_optional())).collect()
    }

    pub fn doors(&self) -> Result<Vec<Door>> {
        let mut doors = Vec::new();
        for m in self.members.iter().filter(|m| !m.dir.is_absent()) {
            let path = m.dir.path().join("tasks");
            match m.dir.door().on("open", path.display()) {
                Ok(fd) => doors.push(Door { fd, path, optional: m.is_optional() }),
                Err(e) if m.is_optional() || self.tolerates(&e) => m.dir.set_absent(),
                Err(e) => return Err(e),
            }
        }
        Ok(doors)
    }

    pub fn apply(&self, r: &LinuxResources) -> Result<()> {
        write::apply(&self.writes(r)?, |w| self.dir_for(w))
    }

    pub fn update(&self, r: &LinuxResources) -> Result<()> {
        write::change(&self.writes(r)?, |w| self.dir_for(w))
    }

    fn writes(&self, r: &LinuxResources) -> Result<Vec<Write>> {
        beside::translated(self, r, writes(r)?)
    }

    fn dir_for(&self, w: &Write) -> Result<&Dir> {
        self.dir(&w.controller).or_else(|| beside::dir(self, w)).ok_or_else(|| {
            // runc's text, which its tests match; the hint says what it does not.
            let known = self.members.iter().any(|m| m.has(&w.controller));
            let hint = match known {
                true => format!("the {} hierarchy refused us, so {} cannot be set", w.controller, w.shown()),
                false => {
                    format!(
                        "no {} hierarchy is mounted on this host, so {} cannot be set",
                        w.controller,
                        w.shown()
                    )
                }
            };
            let text =
                format!("cannot set {} limit: container could not join or create cgroup", w.controller);
            Error::new(Kind::Host, text).hint(hint).pointer(w.pointer.clone().into_owned())
        })
    }

    /// Brings the devices cgroup to these rules, with no more change than needed, and makes sure that it got there:
    /// the kernel ignores some requests silently.
    pub fn apply_devices(&self, rules: &DeviceRules) -> Result<()> {
        let Some(dir) = self.dir("devices") else {
            if self.tolerant {
                return Ok(());
            }
            return Err(Error::new(
                Kind::Host,
                "cannot set device rules: container could not join or create cgroup",
            ));
        };
        let list = || {
            let path = dir.path().join("devices.list");
            let text = dir.read_all("devices.list").on("read", path.display())?;
            DeviceRules::from_list(&text).map_err(|e| e.within(path.display().to_string()))
        };
        let steps = rules.steps_from(&list()?);
        for run in steps.chunk_by(|a, b| a.allow == b.allow) {
            let file = if run[0].allow { "devices.allow" } else { "devices.deny" };
            if let Err((i, errno)) = dir.write_each(file, run.iter().map(|s| s.line.as_str())) {
                let on = format!("{} = {:?}", dir.path().join(file).display(), run[i].line);
                let e = Error::sys("set device rule", on, errno).pointer("/linux/resources/devices");
                return if self.tolerates(&e) { Ok(()) } else { Err(e) };
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        let now = list()?;
        if now.allow != rules.allow || (!rules.allow && now != *rules) {
            return Err(Error::new(Kind::Host, "resulting devices cgroup doesn't precisely match target")
                .hint("the parent cgroup may allow fewer devices than the container asks for")
                .pointer("/linux/resources/devices"));
        }
        Ok(())
    }
}
