//! What a configuration must fulfil before anything is done with it: one row, one rule; all violations are found,
//! not only the first. What depends on the machine (does the source exist, is this the host's network namespace, is
//! SELinux on) is asked in `plan`.
//!
//! Where runc refuses the same its words are kept: people search for them. Beyond runc, refused are the specification's
//! MUSTs and what the kernel would refuse later with a bare EINVAL.

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
    ("process is there", process),
    ("the work directory is absolute", cwd),
    ("there is something to run", args),
    ("the environment is NAME=VALUE", env),
    ("ids are ids", user_ids),
    ("umask is made of permission bits", umask),
    ("each resource has one limit, soft below hard", rlimits),
    ("capabilities can be had", capabilities),
    ("oomScoreAdj is in range", oom_score_adj),
    ("ioPriority is in range", io_priority),
    ("scheduler members fit the policy", scheduler),
    ("CPU lists are lists of CPUs", cpu_affinity),
    ("labels are text", labels),
    ("names need a UTS namespace and fit into it", names),
    ("mount destinations", mount_destinations),
    ("mounts have a type or are binds", mount_types),
    ("bind mounts have no file system options", bind_options),
    ("idmapped mounts", idmapped_mounts),
    ("hooks can be run", hooks),
    ("annotations have names", annotations),
    ("each namespace once, by absolute path", namespaces),
    ("user namespaces and mappings go together", user_namespace),
    ("id mappings are ranges that do not overlap", id_mappings),
    ("time namespaces and offsets go together", time_offsets),
    ("masked and read-only paths need a mount namespace", restricted_paths),
    ("sysctls are the container's own", sysctls),
    ("device nodes", devices),
    ("device rules", device_rules),
    ("resource files are file names", resource_names),
    ("huge page limits", hugepages),
    ("block I/O weights", block_io_weights),
    ("cgroupsPath is a path", cgroups_path),
    ("rootfsPropagation is a propagation", rootfs_propagation),
    ("personality flags", personality),
    ("memory policy and nodes fit together", memory_policy),
    ("intelRdt names and schemata", intel_rdt),
    ("network devices need a network namespace", net_devices),
    ("seccomp metadata needs a listener", seccomp),
    ("kernel memory limits are gone", kernel_memory),
];

/// The rules that a process document alone must fulfil: those of `exec`.
const PROCESS_RULES: &[Rule] = &[
    process,
    cwd,
    args,
    env,
    user_ids,
    umask,
    rlimits,
    capabilities,
    oom_score_adj,
    io_priority,
    scheduler,
    cpu_affinity,
    labels,
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
    for rule in [resource_names, hugepages, block_io_weights, kernel_memory] {
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

fn process(f: &Facts<'_>, out: &mut Findings) {
    // Spec: config.md, "process": required when the container is started; it then ends at once.
    if f.process.is_none() {
        out.warn("/process: there is no process to run");
    }
}

fn cwd(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.process else { return };
    let at = format!("{}/cwd", f.base);
    if p.cwd().as_os_str().is_empty() {
        out.wrong(at, "Cwd property must not be empty");
    } else if !p.cwd().is_absolute() {
        out.wrong(at, "Cwd must be an absolute path");
    } else {
        out.nul_path(at, "cwd", p.cwd());
    }
}

fn args(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.process else { return };
    let args = p.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        out.wrong(format!("{}/args", f.base), "args must not be empty");
    }
    for (i, a) in args.iter().enumerate() {
        out.nul(format_args!("{}/args/{i}", f.base), "argument", a);
    }
}

fn env(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.process else { return };
    for (i, e) in p.env().iter().flatten().enumerate() {
        env_entry(format_args!("{}/env/{i}", f.base), e, out);
    }
}

fn env_entry(at: impl Display, entry: &str, out: &mut Findings) {
    match entry.split_once('=') {
        None => out.wrong(at, format!("invalid environment variable: missing '=' in {entry:?}")),
        Some(("", _)) => out.wrong(at, "invalid environment variable: name cannot be empty"),
        Some((name, _)) if entry.contains('\0') => {
            out.wrong(at, format!("invalid environment variable {name:?}: contains nul byte (\\x00)"));
        }
        Some(_) => {}
    }
}

fn user_ids(f: &Facts<'_>, out: &mut Findings) {
    let Some(user) = f.process.map(Process::user) else { return };
    let base = f.base;
    out.id(format_args!("{base}/user/uid"), user.uid());
    out.id(format_args!("{base}/user/gid"), user.gid());
    for (i, gid) in user.additional_gids().iter().flatten().enumerate() {
        out.id(format_args!("{base}/user/additionalGids/{i}"), *gid);
    }
}

fn umask(f: &Facts<'_>, out: &mut Findings) {
    let Some(umask) = f.process.and_then(|p| p.user().umask()) else { return };
    if umask > 0o777 {
        let hint = "a number is decimal in JSON: 18 for 022";
        out.wrong(
            format!("{}/user/umask", f.base),
            format!("invalid umask {umask} (octal {umask:o}); {hint}"),
        );
    }
}

fn rlimits(f: &Facts<'_>, out: &mut Findings) {
    let mut seen = Vec::new();
    for (i, r) in f.process.iter().flat_map(|p| p.rlimits().iter().flatten()).enumerate() {
        let at = format!("{}/rlimits/{i}", f.base);
        let name = r.typ();
        if seen.contains(&name) {
            out.wrong(&at, format!("rlimit type {name} is given more than once"));
        }
        seen.push(name);
        if r.soft() > r.hard() {
            out.wrong(
                at,
                format!(
                    "{name}: soft limit {} is above the hard limit {}: invalid argument",
                    r.soft(),
                    r.hard()
                ),
            );
        }
    }
}

fn capabilities(f: &Facts<'_>, out: &mut Findings) {
    let Some(c) = f.process.and_then(|p| p.capabilities().as_ref()) else { return };
    let none = HashSet::new();
    let of = |s: &'_ Option<HashSet<Capability>>| s.clone().unwrap_or_else(|| none.clone());
    let (permitted, inheritable) = (of(c.permitted()), of(c.inheritable()));
    let beyond = |set: HashSet<Capability>, allowed: &dyn Fn(&Capability) -> bool| {
        let mut names: Vec<_> = set.iter().filter(|c| !allowed(c)).map(|c| format!("CAP_{c}")).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let effective = beyond(of(c.effective()), &|c| permitted.contains(c));
    if !effective.is_empty() {
        let at = format!("{}/capabilities/effective", f.base);
        out.wrong(at, format!("can't apply capabilities: effective but not permitted: {effective}"));
    }
    let bounding = of(c.bounding());
    let unbounded = beyond(inheritable.clone(), &|c| bounding.contains(c));
    if !unbounded.is_empty() {
        let at = format!("{}/capabilities/inheritable", f.base);
        out.wrong(
            at,
            format!("can't apply capabilities: inheritable but not in the bounding set: {unbounded}"),
        );
    }
    let ambient = beyond(of(c.ambient()), &|c| permitted.contains(c) && inheritable.contains(c));
    if !ambient.is_empty() {
        out.warn(format!(
            "can't raise ambient capabilities that are not both permitted and inheritable: {ambient}"
        ));
    }
}

fn oom_score_adj(f: &Facts<'_>, out: &mut Findings) {
    let Some(adj) = f.process.and_then(Process::oom_score_adj) else { return };
    if !(-1000..=1000).contains(&adj) {
        out.wrong(
            format!("{}/oomScoreAdj", f.base),
            format!("oomScoreAdj {adj} is not between -1000 and 1000"),
        );
    }
}

fn io_priority(f: &Facts<'_>, out: &mut Findings) {
    let Some(io) = f.process.and_then(|p| p.io_priority().as_ref()) else { return };
    if !(0..=7).contains(&io.priority()) {
        out.wrong(
            format!("{}/ioPriority/priority", f.base),
            format!("invalid ioPriority.Priority: {}", io.priority()),
        );
    }
}

fn scheduler(f: &Facts<'_>, out: &mut Findings) {
    let Some(s) = f.process.and_then(|p| p.scheduler().as_ref()) else { return };
    let base = f.base;
    let (policy, nice, priority) = (*s.policy(), s.nice().unwrap_or(0), s.priority().unwrap_or(0));
    if matches!(policy, Policy::SchedOther | Policy::SchedBatch) && !(-20..=19).contains(&nice) {
        let said = format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}");
        out.wrong(format!("{base}/scheduler/nice"), said);
    }
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    if !real_time && priority != 0 {
        let said = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        out.wrong(format!("{base}/scheduler/priority"), said);
    }
    if real_time && !(1..=99).contains(&priority) {
        let said = format!(
            "invalid scheduler.priority: {priority} when scheduler.policy is {policy}: 1 to 99 are real-time"
        );
        out.wrong(format!("{base}/scheduler/priority"), said);
    }
    let times = [s.runtime(), s.deadline(), s.period()];
    if policy != Policy::SchedDeadline && times.iter().any(|t| t.is_some_and(|t| t != 0)) {
        let said = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        out.wrong(format!("{base}/scheduler"), said);
    }
}

fn cpu_affinity(f: &Facts<'_>, out: &mut Findings) {
    let Some(a) = f.process.and_then(|p| p.exec_cpu_affinity().as_ref()) else { return };
    for (name, shown, cpus) in
        [("initial", "Initial", a.initial()), ("final", "Final", a.cpu_affinity_final())]
    {
        if let Some(Err(said)) = cpus.as_deref().map(id_list) {
            out.wrong(
                format!("{}/execCPUAffinity/{name}", f.base),
                format!("bad CPUAffinity.{shown}: {said}"),
            );
        }
    }
}

fn labels(f: &Facts<'_>, out: &mut Findings) {
    let base = f.base;
    if let Some(p) = f.process {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        label(format!("{base}/apparmorProfile"), "apparmorProfile", &text(p.apparmor_profile()), out);
        label(format!("{base}/selinuxLabel"), "selinuxLabel", &text(p.selinux_label()), out);
    }
    if let Some(text) = f.linux.and_then(|l| l.mount_label().as_ref()) {
        label("/linux/mountLabel".to_owned(), "mountLabel", text, out);
    }
}

/// To the kernel a line break ends a label, and an empty one takes away what was set; what is longer than a page it cuts.
fn label(at: String, what: &str, text: &str, out: &mut Findings) {
    const MOST: usize = 4000;
    out.nul(&at, what, text);
    if text.contains('\n') {
        out.wrong(&at, format!("{what} is more than one line"));
    }
    if text.len() > MOST {
        out.wrong(at, format!("{what} is longer than {MOST} bytes"));
    }
}

fn names(f: &Facts<'_>, out: &mut Findings) {
    /// `__NEW_UTS_LEN` of `linux/utsname.h`.
    const MOST: usize = 64;
    let Some(spec) = f.spec else { return };
    for (member, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(name) = name.as_ref().filter(|n| !n.is_empty()) else { continue };
        let at = format!("/{member}");
        if !f.has(Ns::Uts) {
            out.wrong(&at, format!("unable to set {member} without a private UTS namespace"));
        }
        if name.len() > MOST {
            out.wrong(&at, format!("{member} is longer than {MOST} bytes: invalid argument"));
        }
        out.nul(at, member, name);
    }
}

fn mount_destinations(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate() {
        let at = format!("/mounts/{i}/destination");
        let dest = m.destination();
        if dest.as_os_str().is_empty() {
            out.wrong(&at, "mount destination must not be empty");
        } else if lexically_root(dest) {
            out.wrong(&at, format!("mountpoint {dest:?} is on the top of rootfs"));
        } else if !dest.is_absolute() {
            out.warn(format!(
                "mount destination {} is not absolute; taking it as relative to /",
                dest.display()
            ));
        }
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let null = "mount field contains null byte:";
        out.nul_path(&at, null, dest);
        out.nul(format_args!("/mounts/{i}/type"), null, text(m.typ()));
        out.nul_path(
            format_args!("/mounts/{i}/source"),
            null,
            m.source().as_deref().unwrap_or(Path::new("")),
        );
        for (o, option) in m.options().iter().flatten().enumerate() {
            out.nul(format_args!("/mounts/{i}/options/{o}"), null, option);
        }
    }
}

/// `/`, `.`, `//`, `/a/..`: the root, before any link is looked at.
fn lexically_root(path: &Path) -> bool {
    use std::path::Component;
    let mut depth = 0usize;
    for c in path.components() {
        match c {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth == 0
}

/// As runc: a bind is what has the option, whatever its type says; the type alone means the same.
fn is_bind(m: &Mount) -> bool {
    m.typ().as_deref() == Some("bind") || m.options().iter().flatten().any(|o| o == "bind" || o == "rbind")
}

fn mount_types(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate() {
        let remount = m.options().iter().flatten().any(|o| o == "remount");
        if m.typ().as_deref().unwrap_or_default().is_empty() && !is_bind(m) && !remount {
            out.wrong(format!("/mounts/{i}"), "a mount needs a type, or the option bind or rbind");
        }
    }
}

fn bind_options(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate().filter(|(_, m)| is_bind(m)) {
        if m.source().is_none() {
            let to = m.destination().display();
            out.wrong(format!("/mounts/{i}"), format!("a bind mount needs a source (destination {to})"));
        }
        let known = |o: &str| o.is_empty() || mount_options::names().any(|n| n == o);
        let Some((o, option)) = m.options().iter().flatten().enumerate().find(|(_, o)| !known(o)) else {
            continue;
        };
        let to = m.destination().display();
        // Spec: mounts, "options": what the file system cannot mean is ignored (runc refuses it, crun does not).
        out.warn(format!("/mounts/{i}/options/{o}: ignoring {option:?}, a bind mount (to {to}) has no file system of its own"));
    }
}

fn idmapped_mounts(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate() {
        let (uids, gids) = (list(Some(m.uid_mappings())), list(Some(m.gid_mappings())));
        let asked = m.options().iter().flatten().any(|o| o == "idmap" || o == "ridmap");
        if !asked && uids.is_empty() && gids.is_empty() {
            continue;
        }
        let at = format!("/mounts/{i}");
        if !is_bind(m) {
            out.wrong(&at, "id-mapped mounts are only supported for bind-mounts");
            continue;
        }
        let from_container = uids.is_empty() && gids.is_empty() && f.has(Ns::User);
        if (uids.is_empty() || gids.is_empty()) && !from_container {
            out.wrong(&at, "id-mapped mounts must have both uid and gid mappings specified");
        }
        mappings(&format!("{at}/uidMappings"), uids, out);
        mappings(&format!("{at}/gidMappings"), gids, out);
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

fn namespaces(f: &Facts<'_>, out: &mut Findings) {
    let mut seen = Vec::new();
    for (i, n) in f.namespaces().iter().enumerate() {
        let at = format!("/linux/namespaces/{i}");
        if seen.contains(&n.typ()) {
            out.wrong(&at, format!("malformed spec file: duplicated ns {:?}", namespace_name(n.typ())));
        }
        seen.push(n.typ());
        if let Some(path) = n.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
            if !path.is_absolute() {
                out.wrong(format!("{at}/path"), format!("namespace path {path:?} is not absolute"));
            }
            out.nul_path(format_args!("{at}/path"), "namespace path", path);
        }
    }
}

/// As the specification writes it; oci-spec's `Display` is the name in /proc/PID/ns.
fn namespace_name(typ: Ns) -> &'static str {
    match typ {
        Ns::Mount => "mount",
        Ns::Cgroup => "cgroup",
        Ns::Uts => "uts",
        Ns::Ipc => "ipc",
        Ns::User => "user",
        Ns::Pid => "pid",
        Ns::Network => "network",
        Ns::Time => "time",
    }
}

fn joins(n: Option<&LinuxNamespace>) -> bool {
    n.is_some_and(|n| n.path().as_ref().is_some_and(|p| !p.as_os_str().is_empty()))
}

fn user_namespace(f: &Facts<'_>, out: &mut Findings) {
    let (uids, gids) = (list(f.linux.map(Linux::uid_mappings)), list(f.linux.map(Linux::gid_mappings)));
    let ns = f.namespace(Ns::User);
    let mapped = !uids.is_empty() || !gids.is_empty();
    if ns.is_none() {
        if mapped {
            let at = if uids.is_empty() { "/linux/gidMappings" } else { "/linux/uidMappings" };
            // As runc: podman writes them for containers that share the host's user namespace.
            out.warn(format!("{at}: ignoring mappings without a user namespace"));
        }
        return;
    }
    if joins(ns) {
        return; // whether the mappings are those of the namespace is a question for the host
    }
    if !mapped {
        let said = "user namespaces enabled, but no namespace path to join nor mappings to apply specified";
        out.wrong("/linux/namespaces", said);
        return;
    }
    for (at, kind, map) in [("/linux/uidMappings", "uid", uids), ("/linux/gidMappings", "gid", gids)] {
        if map.is_empty() {
            out.wrong(at, format!("user namespaces enabled, but no {kind} mappings found"));
        } else if !map.iter().any(|m| m.container_id() == 0 && m.size() > 0) {
            out.wrong(at, format!("user namespaces enabled, but no mapping found for {kind} 0"));
        }
    }
}

fn id_mappings(f: &Facts<'_>, out: &mut Findings) {
    mappings("/linux/uidMappings", list(f.linux.map(Linux::uid_mappings)), out);
    mappings("/linux/gidMappings", list(f.linux.map(Linux::gid_mappings)), out);
}

/// What the kernel takes into a map; user_namespaces(7).
fn mappings(at: &str, map: &[LinuxIdMapping], out: &mut Findings) {
    /// `UID_GID_MAP_MAX_EXTENTS` of `linux/user_namespace.h`.
    const MOST: usize = 340;
    if map.len() > MOST {
        out.wrong(at, format!("{} id mappings, the kernel takes {MOST}", map.len()));
        return;
    }
    for (i, m) in map.iter().enumerate() {
        if m.size() == 0 {
            out.wrong(format!("{at}/{i}/size"), "id mapping of size 0");
        }
        for (member, first) in [("containerID", m.container_id()), ("hostID", m.host_id())] {
            if u64::from(first) + u64::from(m.size()) > u64::from(u32::MAX) {
                let said = format!("id mapping goes beyond the last id, {}", u32::MAX - 1);
                out.wrong(format!("{at}/{i}/{member}"), said);
            }
        }
    }
    for (what, first) in [
        ("container", LinuxIdMapping::container_id as fn(&LinuxIdMapping) -> u32),
        ("host", LinuxIdMapping::host_id),
    ] {
        let mut order: Vec<_> = map.iter().enumerate().filter(|(_, m)| m.size() > 0).collect();
        order.sort_unstable_by_key(|(_, m)| first(m));
        for pair in order.windows(2) {
            if u64::from(first(pair[0].1)) + u64::from(pair[0].1.size()) > u64::from(first(pair[1].1)) {
                let (a, b) = (pair[0].0.min(pair[1].0), pair[0].0.max(pair[1].0));
                out.wrong(format!("{at}/{b}"), format!("id mappings {a} and {b} overlap in {what} ids"));
            }
        }
    }
}

fn time_offsets(f: &Facts<'_>, out: &mut Findings) {
    let offsets = sorted(f.linux.and_then(|l| l.time_offsets().as_ref()));
    if offsets.is_empty() {
        return;
    }
    let at = "/linux/timeOffsets";
    match f.namespace(Ns::Time) {
        None => {
            out.wrong(at, "time namespace offsets specified, but time namespace isn't enabled in the config");
        }
        ns if joins(ns) => {
            let said = "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one";
            out.wrong(at, said);
        }
        _ => {}
    }
    for (clock, offset) in offsets {
        if clock != "monotonic" && clock != "boottime" {
            out.wrong(
                format!("{at}/{}", escape(clock)),
                format!("unknown clock {clock:?}: monotonic and boottime have offsets"),
            );
        }
        if offset.nanosecs().unwrap_or(0) >= 1_000_000_000 {
            out.wrong(format!("{at}/{}/nanosecs", escape(clock)), "nanosecs is a second or more");
        }
    }
}

fn restricted_paths(f: &Facts<'_>, out: &mut Findings) {
    for (member, paths) in [
        ("maskedPaths", list(f.linux.map(Linux::masked_paths))),
        ("readonlyPaths", list(f.linux.map(Linux::readonly_paths))),
    ] {
        if !paths.is_empty() && !f.has(Ns::Mount) {
            let said = "unable to restrict sys entries without a private MNT namespace";
            out.wrong(format!("/linux/{member}"), said);
        }
        for (i, p) in paths.iter().enumerate() {
            let at = format!("/linux/{member}/{i}");
            if !p.starts_with('/') {
                out.wrong(&at, format!("{p:?} is not an absolute path"));
            }
            out.nul(at, "path", p);
        }
    }
}

fn sysctls(f: &Facts<'_>, out: &mut Findings) {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    for (key, value) in sorted(f.linux.and_then(|l| l.sysctl().as_ref())) {
        let at = format!("/linux/sysctl/{}", escape(key));
        if value.contains(['\0', '\n']) {
            out.wrong(
                &at,
                format!("the value of sysctl {key:?} is more than one line, or contains a NUL byte"),
            );
        }
        let Some(path) = sysctl_path(key) else {
            out.wrong(at, format!("sysctl {key:?} is no name of one"));
            continue;
        };
        // As sysctl(8) and runc show it.
        let shown: String = path.chars().map(swap).collect();
        let ipc =
            path.strip_prefix("kernel/").is_some_and(|k| IPC.contains(&k)) || path.starts_with("fs/mqueue/");
        if ipc {
            if !f.has(Ns::Ipc) {
                out.wrong(at, format!("sysctl {shown:?} is not allowed in the hosts ipc namespace"));
            }
        } else if path.starts_with("net/") {
            // A joined namespace may turn out to be the host's: `plan` looks.
            if !f.has(Ns::Network) {
                out.wrong(at, format!("sysctl {shown:?} not allowed in host network namespace"));
            }
        } else if path == "kernel/domainname" && f.has(Ns::Uts) {
        } else if path == "kernel/hostname" && f.has(Ns::Uts) {
            out.wrong(
                at,
                format!("sysctl {shown:?} is not allowed as it conflicts with the OCI \"hostname\" field"),
            );
        } else if path.starts_with("user/") {
            if !f.has(Ns::User) {
                out.wrong(at, format!("setting ucounts without a user namespace not allowed: {shown}"));
            }
        } else {
            out.wrong(at, format!("sysctl {shown:?} is not in a separate kernel namespace"));
        }
    }
}

fn devices(f: &Facts<'_>, out: &mut Findings) {
    let mut seen: HashMap<&Path, (LinuxDeviceType, i64, i64)> = HashMap::new();
    for (i, d) in list(f.linux.map(Linux::devices)).iter().enumerate() {
        let at = format!("/linux/devices/{i}");
        if d.typ() == LinuxDeviceType::A {
            out.wrong(format!("{at}/type"), "invalid device type \"a\"");
        }
        if !d.path().is_absolute() {
            out.wrong(format!("{at}/path"), format!("device path {:?} is not absolute", d.path()));
        }
        out.nul_path(format_args!("{at}/path"), "device path", d.path());
        let numbered = d.typ() != LinuxDeviceType::P;
        for (member, n, most) in [("major", d.major(), 0xfff), ("minor", d.minor(), 0xf_ffff)] {
            if numbered && !(0..=most).contains(&n) {
                out.wrong(
                    format!("{at}/{member}"),
                    format!("{n} is not a {member} device number: 0 to {most} are"),
                );
            }
        }
        out.id(format_args!("{at}/uid"), d.uid().unwrap_or(0));
        out.id(format_args!("{at}/gid"), d.gid().unwrap_or(0));
        let same = |t| if t == LinuxDeviceType::U { LinuxDeviceType::C } else { t };
        let node = if numbered { (same(d.typ()), d.major(), d.minor()) } else { (d.typ(), 0, 0) };
        if seen.insert(d.path(), node).is_some_and(|before| before != node) {
            out.wrong(at, format!("device {:?} is listed twice, as two different ones", d.path()));
        }
    }
}

fn device_rules(f: &Facts<'_>, out: &mut Findings) {
    for (i, d) in list(f.resources().map(LinuxResources::devices)).iter().enumerate() {
        let at = format!("/linux/resources/devices/{i}");
        match d.access().as_deref().unwrap_or_default() {
            "" => out.wrong(format!("{at}/access"), format!("device access at {i} field cannot be empty")),
            a if a.contains(|c| !"rwm".contains(c)) => {
                out.wrong(format!("{at}/access"), format!("invalid device access {a:?}: some of r, w and m"));
            }
            _ => {}
        }
        if let Some(t) = d.typ().filter(|t| matches!(t, LinuxDeviceType::U | LinuxDeviceType::P)) {
            out.wrong(format!("{at}/type"), format!("invalid cgroup device type {:?}", t.as_str()));
        }
        for (member, n) in [("major", d.major()), ("minor", d.minor())] {
            if n.is_some_and(|n| !(-1..=i64::from(u32::MAX)).contains(&n)) {
                out.wrong(format!("{at}/{member}"), format!("{} is not a device number", n.unwrap_or(0)));
            }
        }
    }
}

/// Names that become names of files in a cgroup, or words of a line there.
fn resource_names(f: &Facts<'_>, out: &mut Findings) {
    let Some(r) = f.resources() else { return };
    let base = "/linux/resources";
    for (key, value) in sorted(r.unified().as_ref()) {
        let at = format!("{base}/unified/{}", escape(key));
        if key.contains(['/', '\0']) || key.is_empty() || key.starts_with('.') {
            out.wrong(&at, format!("unified resource {key:?} must be a file name (no slashes)"));
        }
        out.nul(at, "value of a unified resource", value);
    }
    for (device, _) in sorted(r.rdma().as_ref()) {
        if device.is_empty() || device.contains([' ', '\n', '\0']) {
            out.wrong(
                format!("{base}/rdma/{}", escape(device)),
                format!("{device:?} is no name of an RDMA device"),
            );
        }
    }
    let priorities = r.network().as_ref().and_then(|n| n.priorities().as_ref());
    for (i, p) in priorities.into_iter().flatten().enumerate() {
        if !is_interface_name(p.name()) {
            let at = format!("{base}/network/priorities/{i}/name");
            out.wrong(at, format!("invalid network device name {:?}", p.name()));
        }
    }
}

fn hugepages(f: &Facts<'_>, out: &mut Findings) {
    for (i, h) in list(f.resources().map(LinuxResources::hugepage_limits)).iter().enumerate() {
        let at = format!("/linux/resources/hugepageLimits/{i}");
        let size = h.page_size();
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
            out.wrong(
                format!("{at}/pageSize"),
                format!("invalid page size {size:?}: a number and KB, MB or GB"),
            );
        }
        if h.limit() < 0 {
            out.wrong(format!("{at}/limit"), format!("hugepage limit {} is negative", h.limit()));
        }
    }
}

/// config-linux.md: from 10 to 1000; 0 is Go's "not given".
fn block_io_weights(f: &Facts<'_>, out: &mut Findings) {
    let Some(io) = f.resources().and_then(|r| r.block_io().as_ref()) else { return };
    let mut check = |at: &str, weight: Option<u16>| {
        if let Some(w) = weight.filter(|w| !matches!(w, 0 | 10..=1000)) {
            let at = format!("/linux/resources/blockIO/{at}");
            out.wrong(at, format!("invalid blkio weight {w}: range is from 10 to 1000"));
        }
    };
    check("weight", io.weight());
    check("leafWeight", io.leaf_weight());
    for (i, d) in io.weight_device().iter().flatten().enumerate() {
        check(&format!("weightDevice/{i}/weight"), d.weight());
        check(&format!("weightDevice/{i}/leafWeight"), d.leaf_weight());
    }
}

fn cgroups_path(f: &Facts<'_>, out: &mut Findings) {
    let Some(path) = f.linux.and_then(|l| l.cgroups_path().as_ref()) else { return };
    out.nul_path("/linux/cgroupsPath", "cgroupsPath", path);
    if path.as_os_str().as_bytes().contains(&b'\n') {
        out.wrong("/linux/cgroupsPath", "cgroupsPath contains a newline");
    }
}

fn rootfs_propagation(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.linux.and_then(|l| l.rootfs_propagation().as_ref()).filter(|p| !p.is_empty()) else {
        return;
    };
    if mount_options::propagation(p).is_none() {
        out.wrong("/linux/rootfsPropagation", format!("rootfsPropagation={p} is not supported"));
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

fn memory_policy(f: &Facts<'_>, out: &mut Findings) {
    let Some(m) = f.linux.and_then(|l| l.memory_policy().as_ref()) else { return };
    let nodes = match id_list(m.nodes().as_deref().unwrap_or_default()) {
        Ok(ranges) => ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum::<u64>(),
        Err(said) => {
            let nodes = m.nodes().as_deref().unwrap_or_default();
            return out.wrong(
                "/linux/memoryPolicy/nodes",
                format!("invalid memory policy nodes {nodes:?}: {said}"),
            );
        }
    };
    match m.mode() {
        Mpol::MpolDefault | Mpol::MpolLocal if nodes != 0 => {
            out.wrong(
                "/linux/memoryPolicy/nodes",
                format!("memory policy mode requires 0 nodes but got {nodes}"),
            );
        }
        Mpol::MpolBind | Mpol::MpolInterleave | Mpol::MpolPreferredMany | Mpol::MpolWeightedInterleave
            if nodes == 0 =>
        {
            out.wrong("/linux/memoryPolicy/nodes", "memory policy mode requires at least one node but got 0");
        }
        _ => {}
    }
}

fn intel_rdt(f: &Facts<'_>, out: &mut Findings) {
    let Some(rdt) = f.linux.and_then(|l| l.intel_rdt().as_ref()) else { return };
    if let Some(clos) = rdt.clos_id() {
        let inside = clos.contains('/') && clos.len() > 1;
        if clos == "." || clos == ".." || inside || clos.contains(['\n', '\0']) {
            out.wrong("/linux/intelRdt/closID", format!("invalid intelRdt.ClosID {clos:?}"));
        }
    }
    let mut line = |at: String, text: &str| {
        if text.contains(['\n', '\0']) {
            out.wrong(at, "a schema is one line");
        }
    };
    line("/linux/intelRdt/l3CacheSchema".to_owned(), rdt.l3_cache_schema().as_deref().unwrap_or_default());
    line("/linux/intelRdt/memBwSchema".to_owned(), rdt.mem_bw_schema().as_deref().unwrap_or_default());
    for (i, s) in rdt.schemata().iter().flatten().enumerate() {
        line(format!("/linux/intelRdt/schemata/{i}"), s);
    }
    if rdt.mem_bw_schema().as_ref().is_some_and(|s| !s.is_empty() && !s.starts_with("MB:")) {
        out.wrong("/linux/intelRdt/memBwSchema", "memBwSchema must start with MB:");
    }
}

/// `dev_valid_name` of the kernel's net/core/dev.c.
fn is_interface_name(name: &str) -> bool {
    let bad = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace() || b == 0x0b;
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.bytes().any(bad)
}

fn net_devices(f: &Facts<'_>, out: &mut Findings) {
    let devices = sorted(f.linux.and_then(|l| l.net_devices().as_ref()));
    if !devices.is_empty() && !f.has(Ns::Network) {
        out.wrong("/linux/netDevices", "unable to move network devices without a NET namespace");
    }
    for (name, device) in devices {
        let at = format!("/linux/netDevices/{}", escape(name));
        if !is_interface_name(name) {
            out.wrong(&at, format!("invalid network device name {name:?}"));
        }
        if let Some(new) = device.name().as_ref().filter(|n| !n.is_empty() && !is_interface_name(n)) {
            out.wrong(format!("{at}/name"), format!("invalid network device name {new:?}"));
        }
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

#[allow(deprecated, reason = "what runc warns about too")]
fn kernel_memory(f: &Facts<'_>, out: &mut Findings) {
    let Some(m) = f.resources().and_then(|r| r.memory().as_ref()) else { return };
    if m.kernel().is_some() || m.kernel_tcp().is_some() {
        out.warn("Kernel memory settings are ignored and will be removed");
    }
}

#[cfg(test)]
mod tests;
