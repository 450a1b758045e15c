//! pause, resume: all of a container's processes held still, and let go again.

use super::store::Entry;
use super::{Record, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result, compat};
use crate::sys::process;
use crate::sys::signal::SIGKILL;

/// Takes no lock, as `kill`: the verb that holds it may be waiting for what this freezes. A created container can be
/// paused too, one that is paused already cannot (runc).
pub fn pause(entry: &Entry) -> Result<()> {
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Created | Status::Running => {}
        _ => return Err(not_running()),
    }
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    // It thaws again by itself should it fail half way.
    cgroup.freeze()?;
    // On v1 a frozen process does not die of SIGKILL. `kill` and `delete` signal first and look for a freezer then;
    // we freeze first and look for their signal: whoever comes second sees the other.
    if is_doomed(&record) {
        let _ = cgroup.thaw();
        return Err(not_running());
    }
    Ok(())
}

/// Takes no lock: what is frozen may be what the lock's holder waits for.
pub fn resume(entry: &Entry) -> Result<()> {
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Paused => Cgroup::from_record(&record.cgroup)?.thaw(),
        _ => Err(Error::new(Kind::WrongState, compat::NOT_PAUSED)),
    }
}

fn is_doomed(record: &Record) -> bool {
    let alive = |i: &super::record::Init| {
        process::lives(i.pid, i.start_time) && !process::has_pending(i.pid, SIGKILL)
    };
    !record.init.as_ref().is_some_and(alive)
}

fn not_running() -> Error {
    Error::new(Kind::WrongState, compat::NOT_RUNNING)
}
