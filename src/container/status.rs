//! What a container is doing: derived each time, never written down.

use super::record::Record;
use crate::sys::process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    pub fn alive(self) -> bool {
        matches!(self, Self::Created | Self::Running | Self::Paused)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The facts, each found out only if the answer depends on it.
pub fn derive(
    record: &Record,
    this_boot: &str,
    gate_present: impl FnOnce() -> bool,
    frozen: impl FnOnce() -> bool,
) -> Status {
    let Some(init) = record.init else { return Status::Creating };
    if record.boot != this_boot || !process::lives(init.pid, init.start_time) {
        return Status::Stopped;
    }
    decide(frozen(), gate_present)
}

fn decide(frozen: bool, gate_present: impl FnOnce() -> bool) -> Status {
    match frozen {
        true => Status::Paused,
        false if gate_present() => Status::Created,
        false => Status::Running,
    }
}

/// The kernel's id of this boot.
pub fn boot_id() -> String {
    let text = crate::sys::fs::read_file("/proc/sys/kernel/random/boot_id", 64).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}
