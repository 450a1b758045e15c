//! How a container's cgroup comes to be, and how its first process comes into it.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;

use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::process::{Deadline, Pid};
use crate::sys::{Errno, fs};

use super::{Cgroup, Dir, Door, Tree, systemd};

impl Cgroup {
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
        .map_err(|e| self.explain_no_memory(e))
    }

    /// What the kernel needs to make a cgroup is charged to the one above.
    fn explain_no_memory(&self, e: Error) -> Error {
        match self.smallest_memory_limit() {
            Some((file, limit, true)) if e.errno() == Some(Errno::ENOMEM) => {
                e.hint(format!("memory limit too low? {} is {limit}", file.display()))
            }
            _ => e,
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

    /// Does [`Cgroup::begin`] make anything?
    pub fn has_beginning(&self) -> bool {
        matches!(&self.tree, Tree::V1(h) if h.unified().is_some())
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

    /// Refuses a cgroup that somebody else lives in. To be asked before the intent to create it is recorded: what a
    /// record names is killed and removed with the container, should the creator die before [`Cgroup::create`] asks
    /// again.
    pub fn check_free(&self) -> Result<()> {
        let both = [self.main_dir(), self.kill_dir()];
        both.into_iter().flatten().try_for_each(check_empty)
    }

    /// v2: gives the cgroup to the root of a user namespace.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        match &self.tree {
            Tree::V2(t) => t.delegate(uid),
            _ => Ok(()),
        }
    }
}

/// Moves a process into a directory, and says what refuses it.
pub(super) fn join(dir: &Dir, pid: Pid) -> Result<()> {
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
pub(super) fn check_empty(dir: &Dir) -> Result<()> {
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

pub(super) fn unexpectedly_frozen(dir: &Dir) -> Error {
    Error::new(Kind::WrongState, "container's cgroup unexpectedly frozen")
        .hint(dir.path().display().to_string())
}
