//! The JSON documents: config.json, those of `exec` and `update`, and the record.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use orlop::cgroup::{self, Cgroup, DeviceRules, path, systemd};
use orlop::container::record::Record;
use orlop::error::Error;
use orlop::plan::{self, hooks::HookState, idmap::IdMaps, rootfs::BasePropagation};
use orlop::spec::{self, rules};
use orlop::sys::cred::Caps;
use serde_json::Value;

use super::{judge, judged};

pub fn config(data: &[u8]) {
    let loaded = match spec::parse_config(data.to_vec()) {
        Ok(loaded) => loaded,
        Err(e) => return judge_place(&e, data),
    };
    again(&loaded.spec);
    match rules::check(&loaded.spec) {
        Ok(_) => plan(&loaded.spec),
        Err(e) => judge_place(&e, data),
    }
}

/// What orlop made of it, written down, is a configuration that says the same.
fn again(spec: &Spec) {
    let text = serde_json::to_vec(spec).expect("a configuration can be written");
    let back = spec::parse_config(text).expect("and read again");
    assert_eq!(back.spec, *spec);
}

/// The pointer leads to a value of the document, or to where one is missing.
fn judge_place(e: &Error, data: &[u8]) {
    judge(e);
    let facts = e.facts();
    let (Some(pointer), Ok(document)) =
        (facts.get("pointer").and_then(Value::as_str), serde_json::from_slice::<Value>(data))
    else {
        return;
    };
    assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer:?} is no pointer");
    let parent = pointer.rsplit_once('/').map_or("", |(p, _)| p);
    let grandparent = parent.rsplit_once('/').map_or("", |(p, _)| p);
    let leads = |p: &str| document.pointer(p).is_some();
    assert!(leads(pointer) || leads(parent) || leads(grandparent), "{pointer} leads nowhere: {e}");
}

/// All of the plan that opens nothing.
fn plan(spec: &Spec) {
    let (nobody, mut warnings) = (Process::default(), Vec::new());
    let process = spec.process().as_ref().unwrap_or(&nobody);
    let program = spec.process().as_ref().and_then(|p| judged(plan::exec::build(p)));
    judged(plan::identity::build(process, Caps(u64::MAX), &mut warnings));
    judged(plan::schedule::build(process));
    let _ = plan::console::build(process, true);
    let env = program.map(|p| p.env).unwrap_or_default();
    judged(plan::hooks::build(spec.hooks().as_ref(), &HookState::default(), &env));
    judged(plan::kernel::build(spec, "id", true));
    judged(plan::devices::build(spec));
    judged(plan::rootfs::wanted_propagation(spec));
    if let Some(linux) = spec.linux() {
        judged(plan::idmap::build(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref(), "/linux"));
        judged(DeviceRules::from_config(
            linux.resources().as_ref().and_then(|r| r.devices().as_deref()).unwrap_or_default(),
            linux.devices().as_deref().unwrap_or_default(),
        ));
        if let Some(r) = linux.resources() {
            limits(r);
        }
        if let Some(seccomp) = linux.seccomp() {
            judged(plan::seccomp::terms(seccomp));
            if let Some(filter) = judged(plan::seccomp::compile(seccomp)) {
                assert!(plan::seccomp::is_program(&filter.program));
            }
        }
        if let Some(path) = linux.cgroups_path() {
            let path = path.to_string_lossy();
            super::cgroups::check_place(judged(path::place(Some(&path), "id")));
            judged(systemd::Scope::plan(Some(&path), "id", false).and_then(|s| s.below()));
        }
    }
    if let Some(annotations) = spec.annotations() {
        let all: BTreeMap<_, _> = annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        judged(systemd::annotation::properties(&all));
    }
    mounts(spec.mounts().as_deref().unwrap_or_default());
}

/// Binds open their sources, and hierarchies of v1 are opened too: not here.
fn mounts(all: &[Mount]) {
    let opens = |m: &Mount| plan::mounts::is_bind(m) || m.typ().as_deref() == Some("cgroup");
    let pure: Vec<Mount> = all.iter().filter(|m| !opens(m)).cloned().collect();
    let cgroup = Cgroup::none();
    let input = plan::mounts::Input {
        bundle: Path::new("/bundle"),
        base: BasePropagation::of(None),
        cgroup: &cgroup,
        new_cgroup_namespace: true,
        maps: &IdMaps::default(),
        may_clone: false,
        own_user: true,
        new_pid_namespace: true,
        beside: false,
        label: None,
    };
    for label in [None, Some("system_u:object_r:container_file_t:s0:c1,c2")] {
        let input = plan::mounts::Input { label, ..input };
        for step in judged(plan::mounts::build(&pure, &input)).into_iter().flatten() {
            assert!(step.target.is_absolute(), "{:?}", step.target);
            assert!(!step.target.components().any(|c| c.as_os_str() == ".."), "{:?}", step.target);
        }
    }
}

fn limits(r: &LinuxResources) {
    for writes in [judged(cgroup::v1::writes(r)), judged(cgroup::v2::writes(r))].into_iter().flatten() {
        for w in writes {
            assert!(!w.file.contains(['/', '\0']), "{} is no file name", w.file);
            assert!(w.file != ".." && w.file != ".");
        }
    }
    cgroup::v1::before_join(r);
    cgroup::v2::without_meaning(r);
    cgroup::v2::needs_domain(r);
    for version in [219, 245, 255] {
        judged(systemd::property::of_resources(r, true, version));
        judged(systemd::property::of_resources(r, false, version));
        systemd::property::oom_policy(r, version);
    }
    let once = systemd::property::rounded(r);
    assert_eq!(systemd::property::rounded(&once), once, "rounded twice is rounded once");
}

pub fn process(data: &[u8]) {
    let Some((process, _)) = judged(spec::parse_process(data)) else { return };
    if judged(rules::check_process(&process)).is_none() {
        return;
    }
    let mut warnings = Vec::new();
    judged(plan::exec::build(&process));
    judged(plan::identity::build(&process, Caps(u64::MAX), &mut warnings));
    judged(plan::schedule::build(&process));
    let _ = plan::console::build(&process, true);
    let mut completed = process.clone();
    plan::join::complete(&mut completed, Some(&process));
}

pub fn resources(data: &[u8]) {
    let Some((resources, _)) = judged(spec::parse_resources(data)) else { return };
    if judged(rules::check_resources(&resources)).is_some() {
        limits(&resources);
    }
}

pub fn record(data: &[u8]) {
    let Some(record) = judged(Record::parse(data, "state.json")) else { return };
    let _ = record.is_of_this_boot();
    let _: Value = serde_json::from_slice(&record.hook_state().json("created", 1)).expect("a state document");
    let Some(cgroup) = judged(Cgroup::from_record(&record.cgroup)) else { return };
    for m in record.cgroup.v1.iter().chain(&record.cgroup.v2) {
        super::cgroups::check_below(&m.below);
    }
    assert_eq!(cgroup.record(), record.cgroup, "what was reopened is what was written");
}
