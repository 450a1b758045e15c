//! A process that joins a living container: `exec`.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use oci_spec::runtime::{LinuxSeccomp, Process, Spec};

use super::console::{self, Console};
use super::exec::{self, Program};
use super::identity::{self, Identity};
use super::kernel::MemoryPolicy;
use super::lsm::{self, Lsm, Modules};
use super::namespaces;
use super::schedule::{self, cpu_list};
use crate::error::{Error, Result};

pub use crate::cgroup::Door;
pub use crate::cgroup::entrance::Entrance;

use crate::sys::cred::Caps;
use crate::sys::ns;
use crate::sys::sched::{Attr, CpuSet};

pub struct Plan {
    pub main: ForMain,
    pub joiner: ForJoiner,
}

/// What main does to the process when it is ready: with our rights, which it has given up by then.
pub struct ForMain {
    /// What a fork would not keep, or refuse.
    pub scheduler: Option<Attr>,
    pub seccomp: Option<LinuxSeccomp>,
    /// The state root, where compiled filters are kept; for whom to say who knows it.
    pub filters: Option<OwnedFd>,
    pub terminal: bool,
}

/// What the process is born with.
pub struct ForJoiner {
    /// Of an ordinary user's joiner the files in /proc would be root's if it hid at birth.
    pub oom_score_adj: Option<i32>,
    /// A pidfd of the container's init.
    pub init: OwnedFd,
    /// `CLONE_NEW*` of the namespaces that the container does not share with us.
    pub namespaces: u64,
    /// Init's root, where it is not that of a mount namespace.
    pub root: Option<OwnedFd>,
    /// CPUs until the cgroup is joined, and after it; the second is all of the cgroup's where nobody asks.
    pub affinity: (Option<CpuSet>, Option<CpuSet>),
    pub scheduler: Option<Attr>,
    /// Class and level.
    pub ioprio: Option<(u32, u32)>,
    /// The session keyring's name; none: the caller's is kept.
    pub keyring: Option<CString>,
    /// personality(2).
    pub personality: Option<u64>,
    /// The container's.
    pub memory_policy: Option<MemoryPolicy>,
    pub lsm: Lsm,
    pub identity: Identity,
    pub console: Option<Console>,
    pub program: Program,
    /// How many descriptors from 3 on the program inherits.
    pub preserve: u32,
    /// The program is told its pid in LISTEN_PID: sd_listen_fds(3).
    pub listens: bool,
    /// What we ignore and the program must not: one bit a signal, from the first on.
    pub ignored_signals: u64,
    /// A filter will come.
    pub filtered: bool,
}

/// What was found and typed beside the configuration.
pub struct Options<'a> {
    pub id: &'a str,
    pub init: OwnedFd,
    pub root: Option<OwnedFd>,
    pub new_keyring: bool,
    pub preserve: u32,
    pub ignored_signals: u64,
    /// `NAME=value`, added to the environment.
    pub listen_env: Vec<String>,
    /// `--cap`.
    pub add_caps: Caps,
    /// What the runtime itself may give away.
    pub grantable: Caps,
    pub modules: Modules,
}

/// `container`: its configuration as it was when it was created; `process`: what is to run in it now.
pub fn build(
    container: &Spec,
    process: &Process,
    options: Options<'_>,
    warnings: &mut Vec<String>,
) -> Result<Plan> {
    let namespaces = joined(container);
    let own_user = namespaces & ns::NEWUSER != 0;
    let grantable = if own_user { Caps(u64::MAX) } else { options.grantable };
    let mut identity = identity::build(process, grantable, warnings)?;
    add_caps(&mut identity, options.add_caps.intersection(grantable));
    let mut program = exec::build(process)?;
    for e in &options.listen_env {
        program.env.push(CString::new(e.as_str()).map_err(|_| Error::bug("NUL in the environment"))?);
    }
    let linux = container.linux().as_ref();
    let schedule = schedule::build(process)?;
    let seccomp = linux.and_then(|l| l.seccomp().clone());
    Ok(Plan {
        main: ForMain {
            scheduler: schedule.attr.filter(|a| !a.survives_fork()),
            terminal: process.terminal().unwrap_or(false),
            seccomp: seccomp.clone(),
            filters: None,
        },
        joiner: ForJoiner {
            oom_score_adj: process.oom_score_adj(),
            init: options.init,
            namespaces,
            root: options.root,
            affinity: affinity(process)?,
            scheduler: schedule.attr.filter(Attr::survives_fork),
            ioprio: schedule.ioprio,
            keyring: super::kernel::keyring(options.id, options.new_keyring),
            personality: super::kernel::personality(linux),
            memory_policy: super::kernel::memory_policy(linux)?,
            lsm: lsm::build(process, options.modules, warnings)?,
            identity,
            console: console::build(process, false),
            program,
            preserve: options.preserve,
            listens: !options.listen_env.is_empty(),
            ignored_signals: options.ignored_signals,
            filtered: seccomp.is_some(),
        },
    })
}

/// Those that the configuration names, whether made for the container or joined by it. The others it shares with
/// whoever created it.
pub fn joined(container: &Spec) -> u64 {
    let list = container.linux().as_ref().and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
    list.iter().fold(0, |all, n| all | namespaces::flag(n.typ()))
}

/// Never to the inheritable set, where a file's capabilities would meet them (CVE-2022-29162); so to the ambient one
/// only what the configuration makes inheritable.
fn add_caps(identity: &mut Identity, more: Caps) {
    if let Some(caps) = &mut identity.caps {
        caps.bounding = caps.bounding.union(more);
        caps.effective = caps.effective.union(more);
        caps.permitted = caps.permitted.union(more);
        caps.ambient = caps.ambient.union(more.intersection(caps.inheritable));
    }
}

fn affinity(process: &Process) -> Result<(Option<CpuSet>, Option<CpuSet>)> {
    let Some(a) = process.exec_cpu_affinity() else { return Ok((None, Some(CpuSet::all()))) };
    let set = |text: &Option<String>, name: &str| {
        let text = text.as_deref().filter(|t| !t.is_empty());
        text.map(|t| cpu_list(t, &format!("/process/execCPUAffinity/{name}"))).transpose()
    };
    Ok(match (set(a.initial(), "initial")?, set(a.cpu_affinity_final(), "final")?) {
        (None, None) => (None, Some(CpuSet::all())),
        both => both,
    })
}

/// The rest of a process document is the container's own, where runc has it so: what it does not say about
/// capabilities, limits, scheduling and labels.
pub fn complete(process: &mut Process, container: Option<&Process>) {
    let Some(c) = container else { return };
    if process.capabilities().is_none() {
        process.set_capabilities(c.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(c.rlimits().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*c.io_priority());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(c.scheduler().clone());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(c.exec_cpu_affinity().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(c.oom_score_adj());
    }
    if process.apparmor_profile().is_none() {
        process.set_apparmor_profile(c.apparmor_profile().clone());
    }
    if process.selinux_label().is_none() {
        process.set_selinux_label(c.selinux_label().clone());
    }
    if process.user().umask().is_none() {
        process.user_mut().set_umask(c.user().umask());
    }
}

impl ForJoiner {
    /// Must it be able to open its own files in /proc?
    pub fn is_shown_at_first(&self) -> bool {
        self.oom_score_adj.is_some() && crate::sys::cred::geteuid() != 0
    }

    /// Every descriptor in the envelope.
    pub fn descriptors(&self) -> Vec<RawFd> {
        std::iter::once(&self.init).chain(&self.root).map(AsRawFd::as_raw_fd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::identity::CapSets;

    #[test]
    fn added_capabilities_are_never_inheritable() {
        let table = [(0b001, 0, 0b000), (0b001, 0b001, 0b001), (0b011, 0b010, 0b010)];
        for (more, inheritable, ambient) in table {
            let mut identity = Identity {
                caps: Some(CapSets { inheritable: Caps(inheritable), ..CapSets::default() }),
                ..Identity::default()
            };
            add_caps(&mut identity, Caps(more));
            let caps = identity.caps.unwrap();
            assert_eq!((caps.bounding.0, caps.effective.0, caps.permitted.0), (more, more, more));
            assert_eq!((caps.inheritable.0, caps.ambient.0), (inheritable, ambient));
        }
    }
}
