//! Everything decided before the first clone: [`Spec`](oci_spec::runtime::Spec) and [`Host`](crate::host::Host) in,
//! one envelope for each process out. A plan is consumed by its launch; it cannot be run twice.

// Numbers and texts here are others': no index that may not be there, no sum that wraps, no id that a cast makes another's
// (CVE-2026-30892).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
    )
)]

pub mod beside;
pub mod console;
pub mod devices;
pub mod exec;
pub mod hooks;
pub mod identity;
pub mod idmap;
pub mod join;
pub mod kernel;
pub mod lsm;
pub mod mounts;
pub mod namespaces;
pub mod netdev;
pub mod paths;
pub mod rdt;
pub mod rootfs;
pub mod rootless;
pub mod schedule;
pub mod seccomp;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxSeccomp, Mount, Process, Spec};

use crate::cgroup::{Cgroup, DeviceRules};
use crate::error::{Error, OnSys, Result};
use crate::host::Host;
use crate::init::gate::Gate;

pub struct Plan {
    pub main: ForMain,
    pub init: ForInit,
}

/// What needs the host's privileges or paths.
pub struct ForMain {
    /// `CLONE_NEW*` for the clone.
    pub born: u64,
    /// A new time namespace, with its offsets.
    pub time: Option<String>,
    /// The pid namespace that init is born in, if it is not a new one.
    pub pid: Option<namespaces::Join>,
    pub intermediate: Option<namespaces::ForIntermediate>,
    /// What is made when init is there already.
    pub promise: Option<beside::Promise>,
    /// Nothing that main has to do needs init to have come anywhere: it need not wait for main.
    pub ahead: bool,
    /// Init comes from an intermediate, and is not born in its cgroup.
    pub staged: bool,
    /// Init copies files of the image into memory: the limit of it holds before that.
    pub copies: bool,
    /// Of a new user namespace; empty without one.
    pub maps: idmap::IdMaps,
    /// In a user namespace init may not raise limits; main does it.
    pub rlimits: Vec<identity::Rlimit>,
    /// Which devices the container may use; those that every container may, too.
    pub devices: DeviceRules,
    /// v2: whom the cgroup is given, for it to be divided inside.
    pub cgroup_owner: Option<u32>,
    pub oom_score_adj: Option<i32>,
    pub net_devices: Vec<netdev::NetDevice>,
    pub rdt: Option<rdt::Rdt>,
    pub hooks: hooks::HostHooks,
    pub seccomp: Option<LinuxSeccomp>,
    /// The state root, where compiled filters are kept.
    pub filters: Option<OwnedFd>,
    pub terminal: bool,
}

/// What init is born with; nothing in it needs the host any more.
pub struct ForInit {
    pub promise: Option<beside::Promise>,
    pub namespaces: namespaces::ForInit,
    pub rootfs: rootfs::Rootfs,
    pub kernel: kernel::Kernel,
    pub schedule: schedule::Schedule,
    pub lsm: lsm::Lsm,
    pub identity: identity::Identity,
    pub console: Option<console::Console>,
    pub program: exec::Program,
    pub hooks: hooks::ContainerHooks,
    pub gate: Gate,
    /// How many descriptors from 3 on the program inherits.
    pub preserve: u32,
}

/// What was typed beside the configuration, decided.
pub struct Options<'a> {
    pub id: &'a str,
    pub bundle: &'a Path,
    pub no_pivot: bool,
    pub new_keyring: bool,
    pub preserve: u32,
    pub gate: Gate,
    pub cgroup: &'a Cgroup,
    /// It is made when init is there already: [`beside`].
    pub beside: bool,
    /// Planned before, for the container's record.
    pub rdt: Option<rdt::Rdt>,
    pub state: hooks::HookState,
    /// LISTEN_FDS and the like: `NAME=value`, added to the program's environment.
    pub extra_env: Vec<String>,
    /// The state root, with a seccomp profile.
    pub filters: Option<OwnedFd>,
}

pub fn build(spec: &Spec, host: &Host, options: Options<'_>, warnings: &mut Vec<String>) -> Result<Plan> {
    let _t = crate::trace::span("plan");
    // Spec: without a process there is a container to create, and nothing to run in it when it starts.
    let nobody = Process::default();
    let process = spec.process().as_ref().unwrap_or(&nobody);
    let linux =
        spec.linux().as_ref().ok_or_else(|| Error::spec("/linux", "linux property must not be empty"))?;
    let lsm = lsm::build(process, host.modules, warnings)?;
    let label = lsm::mount_label(linux, host.modules, warnings);
    let mut namespaces = namespaces::build(linux)?;
    rootless::check(spec, host, &namespaces)?;
    if !namespaces.maps.is_empty() {
        let path = std::env::var("PATH").unwrap_or_default();
        namespaces.maps.choose_writers(host, &path)?;
        // Main could not open our files in /proc, which would be root's.
        namespaces.init.shown_until_mapped = host.euid != 0;
        rootless::check_mapped(spec, &namespaces.maps)?;
    }
    let rootfs = rootfs::build(spec, &options, &namespaces, label.as_deref())?;
    let mut program = match spec.process() {
        Some(p) => exec::build(p)?,
        None => exec::Program::none(),
    };
    for e in &options.extra_env {
        program
            .env
            .push(std::ffi::CString::new(e.as_str()).map_err(|_| Error::bug("NUL in the environment"))?);
    }
    // Root of a user namespace has them all there.
    let grantable = if namespaces.init.own_user { crate::sys::cred::Caps(u64::MAX) } else { host.caps };
    let identity = identity::build(process, grantable, warnings)?;
    let (main_hooks, init_hooks) = hooks::build(spec.hooks().as_ref(), &options.state, &program.env)?;
    let owner = cgroup_owner(spec, &namespaces, process.user().uid());
    // An ordinary user has made the cgroup himself, and can give nothing away.
    let cgroup_owner = owner.filter(|_| host.euid == 0);
    let promise = options.beside.then(|| beside::build(namespaces.born, &rootfs.mounts, options.cgroup));
    let net_devices = netdev::build(linux);
    let ahead = main_hooks.prestart.is_empty()
        && main_hooks.create_runtime.is_empty()
        && net_devices.is_empty()
        && hinders_nothing(linux, &rootfs.mounts);
    Ok(Plan {
        main: ForMain {
            cgroup_owner,
            born: namespaces.born & !promise.as_ref().map_or(0, |p| p.namespaces),
            promise: promise.clone(),
            ahead,
            time: namespaces.time,
            pid: namespaces.pid,
            staged: namespaces.intermediate.is_some(),
            copies: rootfs.mounts.iter().any(|m| matches!(&m.what, mounts::What::New(new) if new.copy_up)),
            intermediate: namespaces.intermediate,
            maps: namespaces.maps,
            rlimits: if namespaces.init.own_user { identity.rlimits.clone() } else { Vec::new() },
            devices: DeviceRules::from_config(
                linux.resources().as_ref().and_then(|r| r.devices().as_deref()).unwrap_or_default(),
                linux.devices().as_deref().unwrap_or_default(),
            )?,
            oom_score_adj: process.oom_score_adj(),
            net_devices,
            rdt: options.rdt,
            hooks: main_hooks,
            seccomp: linux.seccomp().clone(),
            filters: options.filters,
            terminal: process.terminal().unwrap_or(false),
        },
        init: ForInit {
            promise,
            namespaces: namespaces.init,
            rootfs,
            kernel: kernel::build(spec, options.id, options.new_keyring)?,
            schedule: schedule::build(process)?,
            lsm,
            identity,
            console: console::build(process, true),
            program,
            hooks: init_hooks,
            gate: options.gate,
            preserve: options.preserve,
        },
    })
}

/// May the limits and the rules for devices hold while init makes the mounts? Those take memory that a small limit does
/// not have, time that a small share does not give, and a block device is opened for one.
fn hinders_nothing(linux: &Linux, mounts: &[mounts::MountStep]) -> bool {
    const ENOUGH: i64 = 16 << 20;
    const VIRTUAL: [&str; 7] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];
    let resources = linux.resources().as_ref();
    let memory = resources.and_then(|r| *r.memory());
    let has_memory = memory.is_none_or(|m| {
        [m.limit(), m.swap(), m.kernel(), m.kernel_tcp()].into_iter().flatten().all(|l| l <= 0 || l >= ENOUGH)
    });
    let cpu = resources.and_then(|r| r.cpu().as_ref());
    let has_time = cpu.is_none_or(|c| {
        let quarter = c.period().unwrap_or(100_000) / 4;
        c.idle().is_none_or(|i| i == 0)
            && c.quota().is_none_or(|q| u64::try_from(q).is_ok_and(|q| q == 0 || q >= quarter) || q < 0)
    });
    let opens_nothing = |m: &mounts::MountStep| match &m.what {
        mounts::What::New(new) => VIRTUAL.contains(&new.fstype.as_str()),
        _ => true,
    };
    has_memory && has_time && mounts.iter().all(opens_nothing)
}

/// As runc: who has a cgroup namespace of its own, and its cgroup writable in it, is to manage it.
fn cgroup_owner(spec: &Spec, namespaces: &namespaces::Namespaces, uid: u32) -> Option<u32> {
    let writable = |m: &Mount| {
        matches!(m.typ().as_deref(), Some("cgroup" | "cgroup2"))
            && mounts::clean(m.destination()) == Path::new("/sys/fs/cgroup")
            && !m.options().iter().flatten().any(|o| o == "ro")
    };
    let managed = namespaces.init.new_cgroup && spec.mounts().iter().flatten().any(writable);
    // Root has it already.
    namespaces.maps.outside(idmap::Of::Uids, uid).filter(|owner| managed && *owner != 0)
}

impl ForInit {
    /// Every descriptor in the envelope: all that a child keeps.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut fds: Vec<RawFd> = self.rootfs.tree.iter().map(AsRawFd::as_raw_fd).collect();
        for step in &self.rootfs.mounts {
            match &step.what {
                mounts::What::Bind { tree, dress, .. } => {
                    fds.extend(tree.as_ref().map(AsRawFd::as_raw_fd));
                    fds.extend(dress.descriptor());
                }
                mounts::What::CgroupV1 { hierarchies, .. } => {
                    for h in hierarchies {
                        if let mounts::HierarchySource::Bind(tree) = &h.source {
                            fds.push(tree.as_raw_fd());
                        }
                    }
                }
                mounts::What::New(_) | mounts::What::Remount => {}
            }
        }
        fds.extend(self.rootfs.paths.null.as_ref().map(AsRawFd::as_raw_fd));
        fds.extend(self.namespaces.join.iter().map(|j| j.fd.as_raw_fd()));
        if let Gate::Listen(fd) = &self.gate {
            fds.push(fd.as_raw_fd());
        }
        fds
    }
}

/// Reads a link of /proc/self/ns as a descriptor: to come back after the clone.
pub fn own_namespace(kind: &str) -> Result<std::os::fd::OwnedFd> {
    let path = format!("/proc/self/ns/{kind}");
    crate::sys::fs::open(&path, crate::sys::fs::OFlag::O_RDONLY).on("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hinders_an_init_that_mounts() {
        let table = [
            ("{}", true),
            (
                r#"{"memory":{"limit":134217728,"swap":134217728},"cpu":{"shares":2,"quota":50000,"period":100000}}"#,
                true,
            ),
            (r#"{"memory":{"limit":-1},"cpu":{"quota":-1},"pids":{"limit":1}}"#, true),
            (r#"{"memory":{"limit":4194304}}"#, false),
            (r#"{"memory":{"limit":134217728,"kernel":65536}}"#, false),
            (r#"{"cpu":{"quota":1000}}"#, false),
            (r#"{"cpu":{"quota":1000,"period":2000}}"#, true),
            (r#"{"cpu":{"idle":1}}"#, false),
        ];
        for (resources, want) in table {
            let linux: Linux = serde_json::from_str(&format!(r#"{{"resources":{resources}}}"#)).unwrap();
            assert_eq!(hinders_nothing(&linux, &[]), want, "{resources}");
        }
    }
}
