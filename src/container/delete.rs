//! delete: takes away all that a container was made of, and says what would not go.

use std::os::fd::AsFd;
use std::time::Duration;

use super::record::Init;
use super::store::{Entry, Store};
use super::{Id, Record, Status};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::launch::rdt;
use crate::log::Log;
use crate::spec;
use crate::sys::process::{self, Deadline};
use crate::sys::signal::SIGKILL;

/// How long all of it may take, hooks apart.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left of it for directories, even if all of it went by until the processes were gone: each delete must get
/// somewhere.
const AT_LEAST: Duration = Duration::from_secs(2);
/// How long a creation may go on that is to be undone by force: mostly it is over in no time, and then its caller
/// hears that it succeeded.
const GRACE: Duration = Duration::from_secs(1);

pub fn delete(store: &Store, id: &Id, force: bool, log: &Log) -> Result<()> {
    let entry = match store.find(id) {
        Err(e) if force && e.kind() == Kind::NotFound => return Ok(()),
        r => r?,
    };
    let deadline = Deadline::after(PATIENCE);
    if force {
        lock_by_force(&entry, deadline)?;
    } else {
        entry.lock()?;
    }
    let record = match entry.record() {
        Ok(r) => r,
        // The record is written before the configuration: where only that is, it was lost, and processes may live.
        Err(e) if e.kind() == Kind::NotFound && entry.config().is_ok() => {
            let lost = Error::new(Kind::Host, format!("the record of container {id} is lost"));
            return match force {
                true => remove_damaged(&entry, &lost, deadline, log),
                false => Err(lost.within(e.to_string()).hint("delete --force removes the container")),
            };
        }
        // Reserved and never written down.
        Err(e) if e.kind() == Kind::NotFound => {
            entry.remove()?;
            return if force { Ok(()) } else { Err(e) };
        }
        Err(e) if force => return remove_damaged(&entry, &e, deadline, log),
        Err(e) => return Err(e),
    };
    match entry.status(&record) {
        Status::Stopped => {}
        // Nobody is creating it: the creator would hold the lock.
        Status::Creating | Status::Created => end(&record, deadline)?,
        _ if force => end(&record, deadline)?,
        s => {
            return Err(Error::new(
                Kind::WrongState,
                format!("cannot delete container {id} that is not stopped: {s}"),
            )
            .hint("kill it first, or delete --force"));
        }
    }
    destroy_until(&entry, &record, deadline, log)
}

/// Whoever holds the lock may be waiting for the very processes that this kills; or be creating the container, and
/// waiting for a hook that never ends.
fn lock_by_force(entry: &Entry, deadline: Deadline) -> Result<()> {
    if let Ok(record) = entry.record() {
        end(&record, deadline)?;
    }
    if entry.lock_until(deadline.or_after(GRACE)).is_ok() {
        return Ok(());
    }
    if let Ok(record) = entry.record()
        && record.is_of_this_boot()
        && let Some(creator) = record.creator.filter(|_| record.init.is_none())
    {
        // Init sees its end, and hooks die with it.
        kill(creator, deadline);
    }
    entry.lock_until(deadline)
}

/// Kills init and waits until it is gone: a cgroup cannot be removed before.
fn end(record: &Record, deadline: Deadline) -> Result<()> {
    let Some(init) = record.init.filter(|_| record.is_of_this_boot()) else { return Ok(()) };
    let cgroup = Cgroup::from_record(&record.cgroup);
    // A frozen process dies when it thaws.
    let thaw = || {
        if let Ok(c) = &cgroup
            && c.is_frozen().unwrap_or(false)
        {
            let _ = c.thaw();
        }
    };
    if kill_and(init, thaw, deadline.or_after(Duration::from_millis(200))) {
        return Ok(());
    }
    if let Ok(c) = &cgroup {
        if !c.is_v2() {
            c.check_not_frozen_above().within("container init still running")?;
        }
        // The first of a pid namespace ends after all others, of whom some may be frozen by themselves.
        let _ = c.kill_all(SIGKILL);
    }
    if kill_and(init, thaw, deadline) {
        return Ok(());
    }
    let state = process::stat(init.pid).map_or('?', |(state, _)| state);
    let why = format!(
        "process {} is in state {state}: the kernel holds it, or it waits for a zombie of its pid namespace that somebody \
         outside has not reaped; delete again later",
        init.pid
    );
    Err(Error::new(Kind::Timeout, "container init still running").hint(why))
}

fn kill(process: Init, deadline: Deadline) -> bool {
    kill_and(process, || {}, deadline)
}

/// Is it gone by then?
fn kill_and(process: Init, then: impl FnOnce(), deadline: Deadline) -> bool {
    if !process::lives(process.pid, process.start_time) {
        return true;
    }
    let Ok(pidfd) = process::pidfd_open(process.pid) else { return true };
    // Between the look and the open the pid may have changed hands.
    if !process::lives(process.pid, process.start_time) {
        return true;
    }
    let _ = process::pidfd_send_signal(&pidfd, SIGKILL);
    then();
    process::poll_read(&[pidfd.as_fd()], deadline).is_ok_and(|ready| !ready.is_empty())
}

/// Every line of this runs, whatever failed before; all failures are told. What could not be removed keeps its
/// record, so that a second delete can finish.
pub fn destroy(entry: &Entry, record: &Record, log: &Log) -> Result<()> {
    destroy_until(entry, record, Deadline::after(PATIENCE), log)
}

fn destroy_until(entry: &Entry, record: &Record, deadline: Deadline, log: &Log) -> Result<()> {
    let mut failures = Vec::new();
    let enough = |deadline: Deadline| deadline.not_before(AT_LEAST);
    match Cgroup::from_record(&record.cgroup) {
        // The machine started anew: who is in a cgroup of that name now is somebody else, and so is the cgroup.
        Ok(c) if !record.is_of_this_boot() => {
            if c.all_pids().unwrap_or_default().is_empty() {
                failures.extend(c.remove_until(enough(deadline)).err());
            } else {
                log.warn(
                    "leaving the cgroup: the container is of an earlier boot, and others live there now",
                );
            }
        }
        Ok(c) => {
            // Also what init left behind in a pid namespace that it shared.
            if !c.remove_if_unused()
                && let Err(e) = c.kill_all(SIGKILL)
            {
                log.debug(&format!("killing what is left: {e}"));
            }
            failures.extend(c.remove_until(enough(deadline)).err());
        }
        Err(e) => failures.push(e),
    }
    failures.extend(rdt::remove(record.rdt.as_ref()).err());
    if failures.is_empty() {
        // The directory after the hooks: they may want to look at it. The hooks after the processes.
        let hooks = poststop_hooks(entry);
        failures.extend(entry.remove().err());
        run_poststop(record, hooks, log);
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(()),
        Some(first) => Err(failures.fold(first, |e, other| e.and(&other))),
    }
}

fn poststop_hooks(entry: &Entry) -> Vec<hooks::Hook> {
    let text = entry.config().ok().filter(|text| hooks::may_be_in(text, &["poststop"]));
    let Some(config) = text.and_then(|c| spec::parse_config(c).ok()) else {
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
fn remove_damaged(entry: &Entry, why: &Error, deadline: Deadline, log: &Log) -> Result<()> {
    log.warn(&format!("{why}; removing what its configuration and its name lead to"));
    let path = entry
        .config()
        .ok()
        .and_then(|c| spec::parse_config(c).ok())
        .and_then(|l| l.spec.linux().as_ref().and_then(|l| l.cgroups_path().clone()))
        .map(|p| p.to_string_lossy().into_owned());
    let cgroup = Cgroup::plan(&crate::cgroup::detect()?, path.as_deref(), entry.id.as_str())?;
    cgroup.kill_all(SIGKILL)?;
    cgroup.remove_until(deadline)?;
    entry.remove()
}
