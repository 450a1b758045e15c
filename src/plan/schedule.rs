//! Scheduling policy, I/O priority, CPU affinity.

use oci_spec::runtime::{IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler};

use crate::error::{Error, Result};
use crate::sys::sched::{Attr, CpuSet};

pub struct Schedule {
    pub attr: Option<Attr>,
    /// Class and level.
    pub ioprio: Option<(u32, u32)>,
    /// What the program runs on, within its cgroup: all CPUs, never what the runtime's caller happened to be bound to.
    pub affinity: CpuSet,
}

pub fn build(process: &Process) -> Result<Schedule> {
    let ioprio = match process.io_priority() {
        Some(p) => {
            let level = u32::try_from(p.priority()).ok().filter(|l| *l <= 7).ok_or_else(|| {
                Error::spec(
                    "/process/ioPriority/priority",
                    format!("I/O priority {} is not in 0..=7", p.priority()),
                )
            })?;
            let class = match p.class() {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            };
            Some((class, level))
        }
        None => None,
    };
    Ok(Schedule {
        attr: process.scheduler().as_ref().map(attr).transpose()?,
        ioprio,
        affinity: CpuSet::all(),
    })
}

/// sched_setattr(2): `struct sched_attr`.
fn attr(s: &Scheduler) -> Result<Attr> {
    let policy = match s.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |f: &LinuxSchedulerFlag| match f {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let priority = u32::try_from(s.priority().unwrap_or(0))
        .map_err(|_| Error::spec("/process/scheduler/priority", "a scheduling priority is not negative"))?;
    Ok(Attr {
        policy,
        flags: s.flags().iter().flatten().map(flag).fold(0, |all, f| all | f),
        nice: s.nice().unwrap_or(0),
        priority,
        runtime: s.runtime().unwrap_or(0),
        deadline: s.deadline().unwrap_or(0),
        period: s.period().unwrap_or(0),
        ..Attr::default()
    })
}

/// `0-3,7`: cpuset(7)'s list format.
pub fn cpu_list(text: &str, pointer: &str) -> Result<CpuSet> {
    let bad = || Error::spec(pointer, format!("{text:?} is no list of CPUs (such as 0-3,7)"));
    let mut set = CpuSet::default();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |s: &str| s.trim().parse::<usize>().ok().filter(|n| *n < 8192).ok_or_else(bad);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(bad());
        }
        (first..=last).for_each(|c| set.insert(c));
    }
    Ok(set)
}
