//! events: what a container uses, now and then, and when it runs out of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::store::Entry;
use super::{Record, Status};
use crate::cgroup::Cgroup;
use crate::cgroup::stats::Stats;
use crate::cgroup::watch::{Changes, Oom, Wakes};
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::launch::rdt;
use crate::log::Log;
use crate::sys::fd;
use crate::sys::process::{self, Deadline, Interest};

/// Nobody waits longer, and no clock ends so soon.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// One line of the output: runc's `types.Event`.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

/// What it uses now.
pub fn stats(entry: &Entry) -> Result<Event<'_>> {
    let record = alive(entry)?;
    event(entry, &record, &Cgroup::from_record(&record.cgroup)?)
}

fn event<'a>(entry: &'a Entry, record: &Record, cgroup: &Cgroup) -> Result<Event<'a>> {
    let mut data = cgroup.stats().within("unable to get container cgroup stats")?;
    data.intel_rdt = rdt::stats(record.rdt.as_ref()).within("unable to get container Intel RDT stats")?;
    Ok(Event { kind: "stats", id: entry.id.as_str(), data: Some(data) })
}

fn alive(entry: &Entry) -> Result<Record> {
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Stopped | Status::Creating => {
            Err(Error::new(Kind::WrongState, format!("container with id {} is not running", entry.id)))
        }
        _ => Ok(record),
    }
}

/// Until no process is left in the container, or `tell` says that nobody listens any more. Locks nothing.
pub fn follow(
    entry: &Entry,
    interval: Duration,
    log: &Log,
    mut tell: impl FnMut(&Event<'_>) -> Result<bool>,
) -> Result<()> {
    let record = alive(entry)?;
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    let mut watch = Watch::new(&record, &cgroup)?;
    if watch.oom.is_none() {
        log.warn("memory controller missing: nobody tells when memory runs out");
    }
    let after = |t: Instant| t.checked_add(interval.min(YEAR)).unwrap_or(t);
    let mut next = after(Instant::now());
    loop {
        let listening = watch.wait(next)?;
        // Before the end is looked for, of which it may be the cause.
        if watch.oom.as_mut().is_some_and(Oom::happened)
            && !tell(&Event { kind: "oom", id: entry.id.as_str(), data: None })?
        {
            return Ok(());
        }
        if !listening || watch.is_over(&cgroup) {
            return Ok(());
        }
        if Instant::now() < next {
            continue;
        }
        next = after(next).max(Instant::now());
        match event(entry, &record, &cgroup) {
            Ok(e) if tell(&e)? => {}
            Ok(_) => return Ok(()),
            // The next may be better.
            Err(e) => log.warn(&e.to_string()),
        }
    }
}

/// All that wakes us between two reports.
struct Watch<'c> {
    oom: Option<Oom<'c>>,
    /// Where the kernel tells of the last process's end.
    events: Option<Changes<'c>>,
    /// Until it has ended: others may live on without it.
    init: Option<OwnedFd>,
}

impl<'c> Watch<'c> {
    fn new(record: &Record, cgroup: &'c Cgroup) -> Result<Self> {
        let oom = cgroup.watch_oom()?;
        let mut events = cgroup.watch_events();
        if let Some(e) = &mut events {
            e.number("populated");
        }
        // Ended by now, or another's pid: then nothing is left to wait for.
        let init = record.init.and_then(|i| {
            let fd = process::pidfd_open(i.pid).ok()?;
            process::lives(i.pid, i.start_time).then_some(fd)
        });
        Ok(Self { oom, events, init })
    }

    /// Until something happens, `next` at the latest. False when nobody can read our output any more.
    fn wait(&mut self, next: Instant) -> Result<bool> {
        // Without init and without news of the rest, the rest is looked after every second.
        let left = next.saturating_duration_since(Instant::now());
        let left = if self.init.is_none() { left.min(Duration::from_secs(1)) } else { left };
        let reader = fd::borrow_standard(1).on("use", "standard output")?;
        let mut fds: Vec<(BorrowedFd<'_>, Interest)> = vec![(reader, Interest::Gone)];
        fds.extend(self.init.as_ref().map(|fd| (fd.as_fd(), Interest::Readable)));
        fds.extend(self.oom.as_ref().map(Wakes::wake));
        fds.extend(self.events.as_ref().map(Wakes::wake));
        let ready = process::poll_each(&fds, Deadline::after(left)).on("wait for", "the container")?;
        let init_ended = self.init.is_some() && ready.contains(&1);
        if init_ended {
            self.init = None;
        }
        Ok(!ready.contains(&0))
    }

    /// With init's end, unless it had its pid namespace in common with others, who live on.
    fn is_over(&mut self, cgroup: &Cgroup) -> bool {
        // Read each time, or the next change would not wake us.
        let populated = self.events.as_mut().and_then(|e| e.number("populated"));
        if populated == Some(1) || self.init.is_some() {
            return false;
        }
        cgroup.all_pids().map_or(true, |all| all.is_empty())
    }
}
