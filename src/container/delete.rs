//! delete: takes away all that a container was made of, and says what would not go.

use std::time::Duration;

use super::store::{Entry, Store};
use super::{Id, Record, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::hooks;
use crate::log::Log;
use crate::spec;
use crate::sys::process::{self, Deadline};
use crate::sys::signal::SIGKILL;

/// How long init may take to die of SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn delete(store: &Store, id: &Id, force: bool, log: &Log) -> Result<()> {
    let entry = match store.find(id) {
        Err(e) if force && e.kind() == Kind::NotFound => return Ok(()),
        r => r?,
    };
    if force {
        // Whoever holds the lock may be waiting for the very processes that this kills.
        if let Ok(record) = entry.record() {
            end(&record);
        }
    }
    entry.lock()?;
    let record = match entry.record() {
        Ok(r) => r,
        // Reserved and never written down, or no longer readable.
        Err(e) if e.kind() == Kind::NotFound => {
            entry.remove()?;
            return if force { Ok(()) } else { Err(e) };
        }
        Err(e) if force => return remove_damaged(&entry, &e, log),
        Err(e) => return Err(e),
    };
    match entry.status(&record) {
        Status::Stopped => {}
        // Nobody is creating it: the creator would hold the lock.
        Status::Creating | Status::Created => end(&record),
        _ if force => end(&record),
        s => {
            return Err(Error::new(
                Kind::WrongState,
                format!("cannot delete container {id} that is not stopped: {s}"),
            )
            .hint("kill it first, or delete --force"));
        }
    }
    destroy(&entry, &record, log)
}

/// Kills init and waits until it is gone: a cgroup cannot be removed before.
fn end(record: &Record) {
    if !record.is_of_this_boot() {
        return;
    }
    let cgroup = Cgroup::from_record(&record.cgroup);
    if let Some(init) = record.init.filter(|i| process::lives(i.pid, i.start_time))
        && let Ok(pidfd) = process::pidfd_open(init.pid)
        // Between the look and the open the pid may have changed hands.
        && process::lives(init.pid, init.start_time)
    {
        let _ = process::pidfd_send_signal(&pidfd, SIGKILL);
        // A frozen process dies when it thaws.
        if let Ok(c) = &cgroup
            && c.is_frozen().unwrap_or(false)
        {
            let _ = c.thaw();
        }
        use std::os::fd::AsFd;
        let _ = process::poll_read(&[pidfd.as_fd()], Deadline::after(PATIENCE));
    }
}

/// Every line of this runs, whatever failed before; all failures are told. What could not be removed keeps its
/// record, so that a second delete can finish.
pub fn destroy(entry: &Entry, record: &Record, log: &Log) -> Result<()> {
    let mut failures = Vec::new();
    match Cgroup::from_record(&record.cgroup) {
        // The machine started anew: who is in a cgroup of that name now is somebody else, and so is the cgroup.
        Ok(c) if !record.is_of_this_boot() => {
            if c.all_pids().unwrap_or_default().is_empty() {
                failures.extend(c.remove().err());
            } else {
                log.warn(
                    "leaving the cgroup: the container is of an earlier boot, and others live there now",
                );
            }
        }
        Ok(c) => {
            // Also what init left behind in a pid namespace that it shared.
            if let Err(e) = c.kill_all(SIGKILL) {
                log.debug(&format!("killing what is left: {e}"));
            }
            failures.extend(c.remove().err());
        }
        Err(e) => failures.push(e),
    }
    if failures.is_empty() {
        // The directory after the hooks: they may want to look at it. The hooks after the processes.
        let hooks = poststop_hooks(entry);
        failures.extend(entry.remove().err());
        run_poststop(record, hooks, log);
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(()),
        Some(first) => Err(failures.fold(first, |e, other| e.hint(other.to_string()))),
    }
}

fn poststop_hooks(entry: &Entry) -> Vec<hooks::Hook> {
    let Some(config) = entry.config().ok().and_then(|c| spec::parse_config(c).ok()) else {
        return Vec::new();
    };
    let list = config.spec.hooks().as_ref().and_then(|h| h.poststop().clone()).unwrap_or_default();
    list.iter().filter_map(|h| hooks::Hook::new(h).ok()).collect()
}

/// Spec: a failing poststop hook is a warning, and the others still run.
fn run_poststop(record: &Record, list: Vec<hooks::Hook>, log: &Log) {
    if list.is_empty() {
        return;
    }
    let state = record.hook_state().json("stopped", 0);
    for (i, h) in list.iter().enumerate() {
        if let Err(e) = hooks::run(h, &state, &format!("poststop hook #{i}")) {
            log.warn(&e.to_string());
        }
    }
}

/// No record to go by: the frozen configuration names the cgroup, else the id does. The directory stays while
/// processes live there.
fn remove_damaged(entry: &Entry, why: &Error, log: &Log) -> Result<()> {
    log.warn(&format!("{why}; removing what its configuration and its name lead to"));
    let path = entry
        .config()
        .ok()
        .and_then(|c| spec::parse_config(c).ok())
        .and_then(|l| l.spec.linux().as_ref().and_then(|l| l.cgroups_path().clone()))
        .map(|p| p.to_string_lossy().into_owned());
    let cgroup = Cgroup::plan(&crate::cgroup::detect()?, path.as_deref(), entry.id.as_str())?;
    cgroup.kill_all(SIGKILL)?;
    cgroup.remove()?;
    entry.remove()
}
