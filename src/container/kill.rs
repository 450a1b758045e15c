//! kill: a signal for init, or for all of a container's processes.

use super::store::Entry;
use super::{Record, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, OnSys, Result, compat};
use crate::sys::signal::SIGKILL;
use crate::sys::{Errno, process};

/// Takes no lock: a signal must get through while another verb is at work.
pub fn kill(entry: &Entry, signal: i32, all: bool) -> Result<()> {
    let record = entry.record()?;
    let status = entry.status(&record);
    if status == Status::Stopped {
        return gone(&record, signal, all);
    }
    let Some(init) = record.init else {
        return Err(not_running());
    };
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    // Without a pid namespace of its own the rest does not die with init.
    let everybody = all || (signal == SIGKILL && !record.own_pid_namespace);
    if everybody {
        cgroup.kill_all(signal)?;
    }
    let sent = signal_init(init.pid, init.start_time, signal);
    // What is frozen dies only when it is thawed (v1; v2 kills frozen ones).
    if signal == SIGKILL && cgroup.is_frozen().unwrap_or(false) {
        let _ = cgroup.thaw();
    }
    match sent {
        Err(e) if everybody && e.kind() == Kind::WrongState => Ok(()),
        r => r,
    }
}

/// Init has ended. With a shared pid namespace others may live on, and `--all` or KILL reaches them (runc 1.2 on).
fn gone(record: &Record, signal: i32, all: bool) -> Result<()> {
    // Before the machine started anew: whoever is in a cgroup of that name now is somebody else.
    if !record.is_of_this_boot() {
        return if all { Ok(()) } else { Err(not_running()) };
    }
    if record.own_pid_namespace && !all {
        return Err(not_running());
    }
    if all || signal == SIGKILL {
        let cgroup = Cgroup::from_record(&record.cgroup)?;
        let left = cgroup.all_pids().unwrap_or_default();
        if !left.is_empty() {
            return cgroup.kill_all(signal);
        }
    }
    if all { Ok(()) } else { Err(not_running()) }
}

fn not_running() -> Error {
    Error::new(Kind::WrongState, compat::NOT_RUNNING)
}

/// By pidfd, and only if it is still the process that was recorded: pids come again.
pub fn signal_init(pid: i32, start_time: u64, signal: i32) -> Result<()> {
    let pidfd = match process::pidfd_open(pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Err(not_running()),
        r => r.on("open", format!("process {pid}"))?,
    };
    if !process::lives(pid, start_time) {
        return Err(not_running());
    }
    match process::pidfd_send_signal(&pidfd, signal) {
        Err(Errno::ESRCH) => Err(not_running()),
        r => r.on("send", format!("signal {signal} to process {pid}")),
    }
}
