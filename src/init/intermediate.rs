//! Stage 1: enters what main must not, and clones init from there as main's own child.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, OnSys, Result, Stage};
use crate::handshake::Line;
use crate::plan::namespaces::{ForIntermediate, name};
use crate::sys::process::{self, Birth};
use crate::sys::{ns, signal, socket};

/// Sends init's pid over `report`, and ends.
pub fn run(
    plan: ForIntermediate,
    born: u64,
    report: OwnedFd,
    line: Line,
    init: impl FnOnce(Line) -> i32,
) -> i32 {
    match clone_init(plan, born, report) {
        Ok(Side::Intermediate) => 0,
        Ok(Side::Init) => init(line),
        Err(e) => {
            line.failed(&e.at_stage(Stage::Intermediate));
            1
        }
    }
}

enum Side {
    Intermediate,
    Init,
}

fn clone_init(plan: ForIntermediate, born: u64, report: OwnedFd) -> Result<Side> {
    process::set_not_dumpable().map_err(|e| Error::sys("clear", "dumpable", e))?;
    process::die_with_parent(signal::SIGKILL).map_err(|e| Error::sys("set", "parent-death signal", e))?;
    for join in plan.join {
        ns::join(&join.fd, join.kind)
            .on("join", format!("{} namespace {}", name(join.kind), join.path.display()))?;
    }
    let birth = Birth { namespaces: born, cgroup: None, sibling: true };
    match process::fork(&birth).on("create namespaces", "for the container's init")? {
        Some(pid) => {
            socket::send(report.as_fd(), &pid.to_ne_bytes(), None).on("report", "init's pid")?;
            Ok(Side::Intermediate)
        }
        None => {
            drop(report);
            Ok(Side::Init)
        }
    }
}
