//! A cgroup in use: its processes, stopped, told a signal, counted, watched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::Errno;
use crate::sys::process::Pid;

use super::{Cgroup, Dir, MemoryFacts, PATIENCE, Tree, facts, kill, stats, v1, v2, watch};

impl Cgroup {
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

    /// Stops every process. Never leaves it half frozen.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(PATIENCE)
    }

    pub(super) fn freeze_within(&self, limit: Duration) -> Result<()> {
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
    pub(super) fn thaw_to_die(&self) -> Result<()> {
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

    /// May there be too little memory to execute anything, by the limit of the cgroup above: a pod's? Of its own limit
    /// `start` tells, which whoever set it calls; of a pod's the first container would be taken for created, and die.
    pub fn is_tight_above(&self) -> bool {
        self.memory_dir().is_some_and(|(dir, file)| facts::is_tight_above(dir, file))
    }

    /// By which file its memory is limited most, how far, and whether that is another cgroup's.
    pub fn smallest_memory_limit(&self) -> Option<(PathBuf, u64, bool)> {
        self.memory_dir().and_then(|(dir, file)| facts::smallest_limit(dir, file))
    }

    fn memory_dir(&self) -> Option<(&Dir, &'static str)> {
        match &self.tree {
            Tree::V1(h) => h.dir("memory").map(|dir| (dir, facts::V1_LIMIT)),
            Tree::V2(t) => t.dir().map(|dir| (dir, facts::V2_LIMIT)),
            Tree::None => None,
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
}

pub(super) fn frozen_from_above(by: &Path) -> Error {
    Error::new(Kind::WrongState, format!("the cgroup is frozen from above, by {}", by.display()))
        .hint("its processes can neither run nor die; thaw that cgroup, then try again")
}
