//! A signal for every process of a cgroup, also for one that forks faster than we read.

use std::collections::HashSet;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::sys::process::{self, Pid};
use crate::sys::signal::SIGKILL;
use crate::sys::{self, Errno};

use super::dir::Dir;
use super::{Cgroup, Tree, v2};

/// With `cgroup.kill` in one write. Otherwise: freeze, signal each by pidfd, thaw.
pub fn all(cgroup: &Cgroup, signal: i32) -> Result<()> {
    let Some(main) = cgroup.main_dir() else {
        return Err(Error::new(
            Kind::NotFound,
            "the container has no cgroup, so its processes cannot be found",
        ));
    };
    let is_v1 = matches!(cgroup.tree, Tree::V1(_));
    if signal == SIGKILL
        && let Some(dir) = cgroup.kill_dir()
    {
        match v2::kill(dir) {
            Ok(()) => {
                // The v1 freezer holds even SIGKILL back.
                if is_v1 {
                    cgroup.thaw()?;
                }
                // What is still listed may be dying; or not be in that tree (v1); or be a process whose first thread
                // has ended, which cgroup.kill passes over. A signal by pidfd reaches them all.
                for n in 0..DYING_MS {
                    // One file tells of all below; who is in another hierarchy only must be looked for.
                    let is_empty = dir.read_key("cgroup.events", "populated") != Ok(Some(1));
                    if is_empty && (!is_v1 || settled(main)) {
                        return Ok(());
                    }
                    if n == 2 && is_v1 {
                        cgroup.thaw_to_die()?;
                    }
                    sys::sched::pause(Duration::from_millis(1));
                }
            }
            // Gone already, or an old kernel.
            Err(Errno::ENOENT | Errno::ENODEV) if !main.exists() => return Ok(()),
            Err(_) => {}
        }
    }
    by_pid(cgroup, main, signal)
}

/// What a killed process usually needs, many times over.
const DYING_MS: u32 = 50;
/// Freezing is a help, not a need; a process that hangs in the kernel never freezes.
const FREEZING: Duration = Duration::from_secs(1);

/// Nobody is listed any more, or all who are have ended and wait for their parents.
fn settled(main: &Dir) -> bool {
    let gone = |pid: &Pid| !matches!(process::stat(*pid), Ok((state, _)) if !matches!(state, 'Z' | 'X'));
    main.all_pids().unwrap_or_default().iter().all(gone)
}

fn by_pid(cgroup: &Cgroup, main: &Dir, signal: i32) -> Result<()> {
    let list = || match main.all_pids() {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
        r => r.map_err(|e| Error::sys("list processes of cgroup", main.path().display().to_string(), e)),
    };
    let first = list()?;
    if first.is_empty() {
        return Ok(());
    }
    let was_frozen = cgroup.is_frozen().unwrap_or(false);
    // Never ourselves: who would thaw us?
    let frozen =
        was_frozen || (!first.contains(&process::getpid()) && cgroup.freeze_within(FREEZING).is_ok());
    let done = rounds(main, signal, frozen, list);
    // A paused container stays paused, unless it is to die: v1 delivers SIGKILL only when thawed.
    if signal == SIGKILL {
        cgroup.thaw_to_die()?;
    } else if frozen && !was_frozen {
        cgroup.thaw()?;
    }
    done
}

/// Once is enough for a frozen cgroup. An unfrozen one is listed again until a list has nobody new: each round of
/// SIGKILL leaves fewer to fork.
fn rounds(main: &Dir, signal: i32, frozen: bool, list: impl Fn() -> Result<Vec<Pid>>) -> Result<()> {
    let mut done: HashSet<Pid> = HashSet::new();
    let mut failed = None;
    for _ in 0..if frozen { 1 } else { 1000 } {
        let new: Vec<Pid> = list()?.into_iter().filter(|p| !done.contains(p)).collect();
        if new.is_empty() {
            break;
        }
        for (pid, result) in signal_each(main, &new, signal, frozen) {
            done.insert(pid);
            match result {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => failed = Some(Error::sys("signal process", pid.to_string(), e)),
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A pid read from a cgroup may be another process's by now: the pidfd is taken, then the list is read again, and
/// who is still in it is the process that the pidfd holds. (A frozen cgroup's pids do not change.)
fn signal_each(main: &Dir, pids: &[Pid], signal: i32, frozen: bool) -> Vec<(Pid, sys::Result<()>)> {
    let mut results = Vec::new();
    // By the batch: each holds a descriptor.
    for batch in pids.chunks(256) {
        let held: Vec<_> = batch.iter().map(|p| (*p, process::pidfd_open(*p))).collect();
        let still: Option<HashSet<Pid>> =
            if frozen { None } else { Some(main.all_pids().unwrap_or_default().into_iter().collect()) };
        for (pid, fd) in held {
            if still.as_ref().is_some_and(|s| !s.contains(&pid)) {
                continue;
            }
            results.push((pid, fd.and_then(|fd| process::pidfd_send_signal(fd, signal))));
        }
    }
    results
}
