//! run: create, start, and in the foreground wait and delete.

use std::os::fd::AsFd;

use super::create::{self, Created, Request};
use super::store::Store;
use super::{Id, delete, start};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, OnSys, Result};
use crate::handshake::Patience;
use crate::launch::relay::Relay;
use crate::log::Log;
use crate::seal;
use crate::sys::process::{self, Deadline, Exit};
use crate::trace::span;

pub struct Foreground {
    /// Do not delete the container when it ends.
    pub keep: bool,
    /// Adopt what the container leaves behind.
    pub subreaper: bool,
}

/// The payload's exit status, or 0 when detached.
pub fn run(
    store: &Store,
    id: &Id,
    request: Request,
    foreground: Option<Foreground>,
    log: &Log,
) -> Result<i32> {
    let Some(options) = foreground else {
        let created = create::create(store, id, request, log)?;
        let Created { entry, child, notify, .. } = begin(created, log)?;
        let (pid, init) = child.let_go();
        if let Some(mut proxy) = notify {
            entry.unlock()?;
            // The container runs, whatever its manager hears of it.
            if let Err(e) = proxy.wait_until_ready(init.as_fd(), pid, log) {
                log.warn(&e.to_string());
            }
        }
        return Ok(0);
    };
    if options.subreaper {
        process::become_subreaper().on("become", "a subreaper")?;
    }
    // Before init exists: its end may come at once.
    let mut relay = Relay::new()?;
    let mut created = create::create(store, id, request, log)?;
    if let Some(master) = created.console.take()
        && let Err(e) = relay.attach(master)
    {
        return Err(undo(created, e, log));
    }
    let Created { entry, record, child, notify, .. } = begin(created, log)?;
    if let Some(proxy) = notify {
        relay.listen(proxy);
    }
    let exit = {
        let _t = span("the container runs");
        seal::settle();
        relay.wait(child)?
    };
    if !options.keep {
        delete::destroy(&entry, &record, log)?;
    }
    Ok(exit_status(exit))
}

pub fn exit_status(exit: Exit) -> i32 {
    exit.status()
}

/// Starts what waits for our word. A container that does not start is removed again.
fn begin(mut created: Created, log: &Log) -> Result<Created> {
    let cgroup = Cgroup::from_record(&created.record.cgroup);
    let look = || cgroup.as_ref().map_or(Ok(()), Cgroup::check_not_frozen_above);
    let patience = Patience { deadline: Deadline::never(), look: &look };
    let started = start::wait_for_exec(&mut created.link, patience)
        .and_then(|()| cgroup.as_ref().map_or(Ok(()), |c| start::check_executed(&created.record, c)))
        .within("unable to start container process")
        .and_then(|()| start::run_poststart(&created.record, &created.poststart, log));
    match started {
        Ok(()) => Ok(created),
        Err(e) => Err(undo(created, e, log)),
    }
}

fn undo(created: Created, e: Error, log: &Log) -> Error {
    let Created { entry, record, child, .. } = created;
    // Killed and reaped; its cgroup can go.
    drop(child);
    let _ = delete::destroy(&entry, &record, log);
    e
}
