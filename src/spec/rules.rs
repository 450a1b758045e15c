//! What a configuration must fulfil before anything is done with it: one row, one rule; all violations are found,
//! not only the first. What depends on the machine (does the source exist, is this the host's network namespace, is
//! SELinux on) is asked in `plan`.
//!
//! Where runc refuses the same its words are kept: people search for them. Beyond runc, refused are the specification's
//! MUSTs and what the kernel would refuse later with a bare EINVAL.

mod mounts;
mod namespaces;
mod process;
mod resources;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{
    Capability, Hook, Linux, LinuxDeviceType, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType as Ns,
    LinuxResources, LinuxSchedulerPolicy as Policy, MemoryPolicyModeType as Mpol, Mount, Process, Spec,
};

use super::locate::escape;
use super::mount_options;
use crate::error::{Error, Kind, Result};

type Rule = fn(&Facts<'_>, &mut Findings);

const RULES: &[(&str, Rule)] = &[
    ("the version is one that is known", version),
    ("root is there and has a path", root),
    ("process is there", process::process),
    ("the work directory is absolute", process::cwd),
    ("there is something to run", process::args),
    ("the environment is NAME=VALUE", process::env),
    ("ids are ids", process::user_ids),
    ("umask is made of permission bits", process::umask),
    ("each resource has one limit, soft below hard", process::rlimits),
    ("capabilities can be had", process::capabilities),
    ("oomScoreAdj is in range", process::oom_score_adj),
    ("ioPriority is in range", process::io_priority),
    ("scheduler members fit the policy", process::scheduler),
    ("CPU lists are lists of CPUs", process::cpu_affinity),
    ("labels are text", process::labels),
    ("names need a UTS namespace and fit into it", namespaces::names),
    ("mount destinations", mounts::mount_destinations),
    ("mounts have a type or are binds", mounts::mount_types),
    ("bind mounts have no file system options", mounts::bind_options),
    ("idmapped mounts", mounts::idmapped_mounts),
    ("hooks can be run", hooks),
    ("annotations have names", annotations),
    ("each namespace once, by absolute path", namespaces::namespaces),
    ("user namespaces and mappings go together", namespaces::user_namespace),
    ("id mappings are ranges that do not overlap", namespaces::id_mappings),
    ("time namespaces and offsets go together", namespaces::time_offsets),
    ("masked and read-only paths need a mount namespace", mounts::restricted_paths),
    ("sysctls are the container's own", namespaces::sysctls),
    ("device nodes", resources::devices),
    ("device rules", resources::device_rules),
    ("resource files are file names", resources::resource_names),
    ("huge page limits", resources::hugepages),
    ("block I/O weights", resources::block_io_weights),
    ("cgroupsPath is a path", resources::cgroups_path),
    ("rootfsPropagation is a propagation", mounts::rootfs_propagation),
    ("personality flags", personality),
    ("memory policy and nodes fit together", resources::memory_policy),
    ("intelRdt names and schemata", resources::intel_rdt),
    ("network devices need a network namespace", namespaces::net_devices),
    ("seccomp metadata needs a listener", seccomp),
    ("kernel memory limits are gone", resources::kernel_memory),
];

/// The rules that a process document alone must fulfil: those of `exec`.
const PROCESS_RULES: &[Rule] = &[
    process::process,
    process::cwd,
    process::args,
    process::env,
    process::user_ids,
    process::umask,
    process::rlimits,
    process::capabilities,
    process::oom_score_adj,
    process::io_priority,
    process::scheduler,
    process::cpu_affinity,
    process::labels,
];

/// Checks a configuration of `create` or `run`. Gives warnings, or one error with all findings.
pub fn check(spec: &Spec) -> Result<Vec<String>> {
    let _t = crate::trace::span("check the configuration");
    let facts = Facts {
        spec: Some(spec),
        process: spec.process().as_ref(),
        linux: spec.linux().as_ref(),
        base: "/process",
    };
    let mut findings = Findings::default();
    for (_, rule) in RULES {
        rule(&facts, &mut findings);
    }
    findings.into_result(true)
}

/// Checks the process of `exec`. Its places are told in the text: they are not places of `config.json`.
pub fn check_process(process: &Process) -> Result<Vec<String>> {
    let facts = Facts { spec: None, process: Some(process), linux: None, base: "" };
    let mut findings = Findings::default();
    for rule in PROCESS_RULES {
        rule(&facts, &mut findings);
    }
    findings.into_result(false)
}

/// Checks the resources of `update`.
pub fn check_resources(resources: &LinuxResources) -> Result<Vec<String>> {
    let mut linux = Linux::default();
    linux.set_resources(Some(resources.clone()));
    let facts = Facts { spec: None, process: None, linux: Some(&linux), base: "" };
    let mut findings = Findings::default();
    for rule in [
        resources::resource_names,
        resources::hugepages,
        resources::block_io_weights,
        resources::kernel_memory,
    ] {
        rule(&facts, &mut findings);
    }
    findings.into_result(false)
}

/// Where a sysctl stands below `/proc/sys`; `None` if the key is no name of one. sysctl(8)'s rule: the first
/// separator tells which of `.` and `/` separates, the other stands for itself.
pub fn sysctl_path(key: &str) -> Option<String> {
    let first = key.find(['.', '/']);
    let path = match first.map(|at| key.as_bytes()[at]) {
        Some(b'/') => key.to_owned(),
        _ => key.chars().map(swap).collect(),
    };
    let bad = |c: &str| c.is_empty() || c == "." || c == ".." || c.contains('\0');
    (!path.split('/').any(bad)).then_some(path)
}

fn swap(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        c => c,
    }
}

/// A list such as `0-3,5` as its ranges, ends included; the error is a sentence.
pub fn id_list(text: &str) -> Result<Vec<(u32, u32)>, String> {
    /// The most CPUs that a kernel is built for.
    const MOST: u32 = 8192;
    let number = |n: &str| match n.parse::<u32>() {
        Ok(n) if n < MOST && !text.contains('+') => Ok(n),
        Ok(_) => Err(format!("values larger than {} are not supported", MOST - 1)),
        Err(_) => Err(format!("{n:?} is not a number")),
    };
    let mut ranges = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = (number(first)?, number(last)?);
        if range.0 > range.1 {
            return Err(format!("invalid range: {part}"));
        }
        ranges.push(range);
    }
    if ranges.is_empty() && !text.is_empty() {
        return Err(format!("no members found in set {text:?}"));
    }
    Ok(ranges)
}

/// What the rules look at.
struct Facts<'a> {
    spec: Option<&'a Spec>,
    process: Option<&'a Process>,
    linux: Option<&'a Linux>,
    /// The process's pointer.
    base: &'static str,
}

impl<'a> Facts<'a> {
    fn namespaces(&self) -> &'a [LinuxNamespace] {
        list(self.linux.map(Linux::namespaces))
    }

    fn namespace(&self, typ: Ns) -> Option<&'a LinuxNamespace> {
        self.namespaces().iter().find(|n| n.typ() == typ)
    }

    fn has(&self, typ: Ns) -> bool {
        self.namespace(typ).is_some()
    }

    fn mounts(&self) -> &'a [Mount] {
        list(self.spec.map(Spec::mounts))
    }

    fn resources(&self) -> Option<&'a LinuxResources> {
        self.linux.and_then(|l| l.resources().as_ref())
    }
}

fn list<T>(l: Option<&Option<Vec<T>>>) -> &[T] {
    l.and_then(Option::as_deref).unwrap_or_default()
}

/// The entries of a map in the order of their keys, so that findings have an order.
fn sorted<V>(map: Option<&HashMap<String, V>>) -> Vec<(&String, &V)> {
    let mut entries: Vec<_> = map.into_iter().flatten().collect();
    entries.sort_unstable_by_key(|(k, _)| *k);
    entries
}

#[derive(Default)]
struct Findings {
    /// Pointer and sentence, of the first ones.
    wrong: Vec<(String, String)>,
    /// How many there are beside.
    more: usize,
    warnings: Vec<String>,
}

impl Findings {
    fn wrong(&mut self, pointer: impl Display, said: impl Into<String>) {
        const SHOWN: usize = 13;
        if self.wrong.len() < SHOWN {
            self.wrong.push((pointer.to_string(), said.into()));
        } else {
            self.more += 1;
        }
    }

    fn warn(&mut self, said: impl Into<String>) {
        self.warnings.push(said.into());
    }

    fn nul(&mut self, pointer: impl Display, what: &str, text: impl AsRef<[u8]>) {
        if text.as_ref().contains(&0) {
            self.wrong(pointer, format!("{what} contains a NUL byte"));
        }
    }

    fn nul_path(&mut self, pointer: impl Display, what: &str, path: &Path) {
        self.nul(pointer, what, path.as_os_str().as_bytes());
    }

    /// The kernel takes it for "leave as it is".
    fn id(&mut self, pointer: impl Display, id: u32) {
        if id == u32::MAX {
            self.wrong(pointer, format!("{id} is not an id: it stands for \"no change\""));
        }
    }

    /// The first finding is the error; the others follow it.
    fn into_result(self, pointers: bool) -> Result<Vec<String>> {
        let mut wrong = self.wrong.into_iter();
        let Some((pointer, mut text)) = wrong.next() else { return Ok(self.warnings) };
        if !pointers {
            text.push_str(&format!(" ({pointer})"));
        }
        for (pointer, also) in wrong {
            text.push_str(&format!("; also: {also} ({pointer})"));
        }
        if self.more > 0 {
            text.push_str(&format!("; and {} more", self.more));
        }
        Err(if pointers { Error::spec(pointer, text) } else { Error::new(Kind::Spec, text) })
    }
}

fn version(f: &Facts<'_>, out: &mut Findings) {
    let Some(version) = f.spec.map(Spec::version) else { return };
    if !is_semantic(version) {
        out.wrong(
            "/ociVersion",
            format!("ociVersion {version:?} is no version of the form MAJOR.MINOR.PATCH"),
        );
    } else if !version.starts_with("1.") {
        out.warn(format!("ociVersion {version:?} is not known here; reading it as 1.3.0"));
    }
}

/// Spec: config.md, "Specification version": SemVer 2.0.0.
fn is_semantic(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let number = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    core.split('.').count() == 3 && core.split('.').all(number)
}

fn root(f: &Facts<'_>, out: &mut Findings) {
    match f.spec.and_then(|s| s.root().as_ref()) {
        None => out.wrong("/root", "root must be specified"),
        Some(r) if r.path().as_os_str().is_empty() => out.wrong("/root/path", "root.path must not be empty"),
        Some(r) => out.nul_path("/root/path", "root.path", r.path()),
    }
}

fn hooks(f: &Facts<'_>, out: &mut Findings) {
    let Some(h) = f.spec.and_then(|s| s.hooks().as_ref()) else { return };
    #[allow(deprecated, reason = "prestart is, and is still used by everybody")]
    let kinds: [(&str, &Option<Vec<Hook>>); 6] = [
        ("prestart", h.prestart()),
        ("createRuntime", h.create_runtime()),
        ("createContainer", h.create_container()),
        ("startContainer", h.start_container()),
        ("poststart", h.poststart()),
        ("poststop", h.poststop()),
    ];
    for (kind, hooks) in kinds {
        for (i, hook) in hooks.iter().flatten().enumerate() {
            let at = format!("/hooks/{kind}/{i}");
            if !hook.path().is_absolute() {
                out.wrong(format!("{at}/path"), format!("hook path {:?} is not absolute", hook.path()));
            }
            if hook.timeout().is_some_and(|t| t <= 0) {
                out.wrong(format!("{at}/timeout"), "hook timeout must be greater than zero");
            }
            out.nul_path(format_args!("{at}/path"), "hook path", hook.path());
            for (n, a) in hook.args().iter().flatten().enumerate() {
                out.nul(format_args!("{at}/args/{n}"), "hook argument", a);
            }
            for (n, e) in hook.env().iter().flatten().enumerate() {
                out.nul(format_args!("{at}/env/{n}"), "hook environment variable", e);
            }
        }
    }
}

fn annotations(f: &Facts<'_>, out: &mut Findings) {
    if f.spec.and_then(|s| s.annotations().as_ref()).is_some_and(|a| a.contains_key("")) {
        out.wrong("/annotations/", "an annotation's key must not be empty");
    }
}

fn personality(f: &Facts<'_>, out: &mut Findings) {
    let Some(flags) = f.linux.and_then(|l| l.personality().as_ref()).and_then(|p| p.flags().as_ref()) else {
        return;
    };
    if !flags.is_empty() {
        out.warn(format!("ignoring unsupported personality flags: {flags:?}"));
    }
}

fn seccomp(f: &Facts<'_>, out: &mut Findings) {
    let Some(s) = f.linux.and_then(|l| l.seccomp().as_ref()) else { return };
    if let Some(path) = s.listener_path() {
        out.nul_path("/linux/seccomp/listenerPath", "listenerPath", path);
    } else if s.listener_metadata().as_ref().is_some_and(|m| !m.is_empty()) {
        out.wrong("/linux/seccomp/listenerMetadata", "listenerMetadata without listenerPath");
    }
}
#[cfg(test)]
mod tests;
