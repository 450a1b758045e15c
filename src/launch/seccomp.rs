//! The filter on its way to the child, and its listener on its way to the agent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use oci_spec::runtime::LinuxSeccomp;
use serde::Serialize;

use super::filters;
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::features::OCI_VERSION_MAX;
use crate::handshake::Program;
use crate::log::Log;
use crate::plan::hooks::HookState;
use crate::plan::seccomp::{self, Notify};
use crate::sys::process::{self, Deadline};
use crate::sys::{Errno, socket};

/// A filter, ready to be sent.
#[derive(Default)]
pub struct Prepared {
    pub program: Program,
    /// Who is given the listener.
    pub agent: Option<Notify>,
    /// What a program that was compiled is to be kept under.
    fresh: Option<Vec<u8>>,
}

/// Slow and pure: to be done beside the child. `filters`: the state root, where programs are kept.
pub fn prepare(profile: Option<&LinuxSeccomp>, filters: Option<&OwnedFd>, log: &Log) -> Result<Prepared> {
    let Some(profile) = profile else { return Ok(Prepared::default()) };
    let terms = seccomp::terms(profile)?;
    let t = crate::trace::span("look for the filter");
    let key = filters::key(profile);
    let kept = filters.and_then(|root| filters::find(root, &key));
    drop(t);
    let (code, fresh) = match kept {
        Some(code) => (code, None),
        None => {
            let _t = crate::trace::span("compile the filter");
            let filter = seccomp::compile(profile)?;
            filter.warnings.iter().for_each(|w| log.debug(w));
            (filter.program, Some(key))
        }
    };
    let origin = if fresh.is_some() { "compiled" } else { "kept" };
    log.debug(&format!("seccomp filter flags: {}, {origin}", terms.flags));
    let program = Program { code, flags: terms.flags, early: false };
    Ok(Prepared { program, agent: terms.notify, fresh })
}

impl Prepared {
    /// For the next container with this profile; when nobody waits for us.
    pub fn keep(&self, filters: Option<&OwnedFd>, log: &Log) {
        if let (Some(key), Some(root)) = (&self.fresh, filters)
            && let Err(e) = filters::keep(root, key, &self.program.code)
        {
            log.debug(&format!("the seccomp filter is not kept: {e}"));
        }
    }
}

/// How long an agent may take to listen, and for each write; and when the last write may begin.
const PATIENCE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(3);

/// The process's own listener, by its number there.
pub fn take_listener(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    process::pidfd_getfd(pidfd, number).on("take over", "the seccomp listener")
}

/// What the agent is told. Spec: runtime-linux, "The Container Process State".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'static str,
    /// What each of the descriptors is that come along.
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: HookState,
}

/// Over a connection of its own, as runc does it. `state`: the container's; `pid`: of the filtered process.
pub fn hand_over(agent: &Notify, listener: &OwnedFd, pid: i32, state: HookState) -> Result<()> {
    let message = ContainerProcessState {
        oci_version: OCI_VERSION_MAX,
        fds: ["seccompFd"],
        pid,
        metadata: &agent.metadata,
        state,
    };
    let message = serde_json::to_vec(&message).map_err(|e| Error::bug(format!("container state: {e}")))?;
    send(agent, &message, listener).map_err(|e| e.pointer("/linux/seccomp/listenerPath"))
}

fn send(agent: &Notify, message: &[u8], listener: &OwnedFd) -> Result<()> {
    let path = agent.listener_path.display();
    let late = |e: Error| match e.errno() {
        Some(Errno::EAGAIN) => e.of_kind(Kind::Timeout).hint("the agent has not listened in time"),
        Some(Errno::ENOENT | Errno::ECONNREFUSED) => e.hint(
            "the agent that answers for SCMP_ACT_NOTIFY must listen there before the container is made",
        ),
        _ => e,
    };
    let deadline = Deadline::after(DEADLINE);
    let agent = socket::connect_stream_within(&agent.listener_path, PATIENCE)
        .on("connect to", &path)
        .map_err(late)
        .within("failed to connect with seccomp agent specified in the seccomp profile")?;
    socket::send_all(&agent, message, listener.as_fd(), deadline)
        .on("write to", &path)
        .map_err(late)
        .within("cannot send seccomp fd to the seccomp agent")
}
