//! Scheduling, while the capabilities for it are still there.

use crate::error::{OnSys, Result};
use crate::plan::schedule::Schedule;
use crate::sys::sched;

pub fn apply(plan: &Schedule) -> Result<()> {
    sched::set_affinity(0, &plan.affinity)
        .on("set", "CPU affinity")
        .map_err(|e| e.pointer("/process/execCPUAffinity"))?;
    if let Some(attr) = &plan.attr {
        sched::set_attr(attr).on("set", "scheduler").map_err(|e| e.pointer("/process/scheduler"))?;
    }
    if let Some((class, level)) = plan.ioprio {
        sched::set_ioprio(class, level).on("set", "I/O priority").map_err(|e| e.pointer("/process/ioPriority"))?;
    }
    Ok(())
}
