//! The end of a cgroup, in bounded time, whatever is in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys::fs;
use crate::sys::process::Deadline;

use super::live::frozen_from_above;
use super::{Cgroup, Dir, Owner, PATIENCE, Tree};

impl Cgroup {
    /// On v1: removes what stands for the cgroup, where [`Cgroup::kill_all`] looks for processes, if that can be done at
    /// once. True: so there was nobody, here or below, nor can anybody come; the rest is for [`Cgroup::remove`]. One system
    /// call in place of a dozen that look for whom to kill.
    pub fn remove_if_unused(&self) -> bool {
        let is_v1 = matches!(self.tree, Tree::V1(_)) && self.kill_dir().is_none();
        if !is_v1 || self.owner != Owner::Us {
            return false;
        }
        let _t = crate::trace::span("remove the first cgroup");
        let Some(dir) = self.main_dir() else { return false };
        let gone = fs::rmdirat(fs::AT_FDCWD, dir.path()).is_ok();
        if gone {
            dir.set_absent();
        }
        gone
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
        let there = self.driver.is_some() && self.exists();
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

/// Several failures as one: the first with its facts, the others in words.
fn together(failed: Vec<Error>) -> Result<()> {
    let mut rest = failed.into_iter();
    let Some(first) = rest.next() else { return Ok(()) };
    Err(rest.fold(first, |e, other| e.and(&other)))
}
