//! Scheduling, while the capabilities for it are still there.

use crate::error::{OnSys, Result};
use crate::plan::schedule::Schedule;
use crate::sys::sched::{self, Attr};

pub fn apply(plan: &Schedule) -> Result<()> {
    sched::set_affinity(0, &plan.affinity)
        .on("set", "CPU affinity")
        .map_err(|e| e.pointer("/process/execCPUAffinity"))?;
    set_policy(plan.attr.as_ref(), plan.ioprio)
}

pub fn set_policy(attr: Option<&Attr>, ioprio: Option<(u32, u32)>) -> Result<()> {
    if let Some(attr) = attr {
        sched::set_attr(attr).on("set", "scheduler").map_err(|e| e.pointer("/process/scheduler"))?;
    }
    if let Some((class, level)) = ioprio {
        sched::set_ioprio(class, level)
            .on("set", "I/O priority")
            .map_err(|e| e.pointer("/process/ioPriority"))?;
    }
    Ok(())
}
