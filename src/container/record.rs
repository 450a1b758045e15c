//! What is written down about a container: before anything exists in the kernel, and again when init is ready.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::error::{Error, Kind, OnSys, Result};
use crate::plan::hooks::HookState;
use crate::plan::rdt;
use crate::sys::process;

/// `state.json` in the container's directory. Readers of another version refuse what they cannot know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    pub id: String,
    pub oci_version: String,
    /// Absolute.
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339 with nanoseconds.
    pub created: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the kernel calls this boot: pids of another one mean nothing.
    pub boot: String,
    /// Init, once it is ready; none while the container is being created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// Who creates it, while it is being created: who may wait for ever for a hook, and is ended by `delete --force`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<Init>,
    pub cgroup: cgroup::Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<rdt::Record>,
    /// Its processes keep the keyring of who makes them.
    #[serde(default)]
    pub no_new_keyring: bool,
    /// Does init have a pid namespace of its own, so that all dies with it?
    pub own_pid_namespace: bool,
}

/// A process, so that no other can be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Init {
    pub pid: i32,
    /// Clock ticks since boot: /proc/PID/stat, field 22.
    pub start_time: u64,
}

impl Init {
    /// The process of that number, as it is now.
    pub fn of(pid: i32) -> Result<Self> {
        let (_, start_time) = process::stat(pid).on("read", format!("/proc/{pid}/stat"))?;
        Ok(Self { pid, start_time })
    }
}

impl Record {
    pub const VERSION: u32 = 1;

    /// Reads it from its text; `shown` is the file's name for the error.
    pub fn parse(text: &[u8], shown: impl std::fmt::Display) -> Result<Self> {
        let record: Self = serde_json::from_slice(text).map_err(|e| {
            Error::new(Kind::Host, format!("{shown} is damaged: {e}"))
                .hint("delete --force removes the container")
        })?;
        if record.version != Self::VERSION {
            let text = format!("{shown} has version {}, not {}", record.version, Self::VERSION);
            return Err(Error::new(Kind::Host, text));
        }
        Ok(record)
    }

    /// Pids and cgroups of an earlier boot mean nothing now.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot == super::status::boot_id()
    }

    /// For hooks.
    pub fn hook_state(&self) -> HookState {
        HookState {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status: String::new(),
            pid: 0,
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }
}
