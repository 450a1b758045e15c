//! On this machine's own hierarchies: every cgroup has a name of its own and is removed again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use oci_spec::runtime::LinuxResources;

use crate::sys::process::{Birth, Child, Deadline, exit_now, spawn};

use super::*;

static COUNT: AtomicU32 = AtomicU32::new(0);

fn name(what: &str) -> String {
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("/orlop-test-{}-{n}-{what}", std::process::id())
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).expect("test document")
}

/// Removed, with all that lives in it, at the end of the test.
struct Guard(Cgroup);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill_all(crate::sys::signal::SIGKILL);
        let _ = self.0.remove();
    }
}

impl std::ops::Deref for Guard {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        &self.0
    }
}

/// `None` where cgroups cannot be made here.
fn planned(what: &str) -> Option<Guard> {
    let layout = detect().expect("detect");
    if layout.mode() != Mode::Hybrid || crate::sys::cred::geteuid() != 0 {
        return None;
    }
    Some(Guard(Cgroup::plan(&layout, Some(&name(what)), "id").expect("plan")))
}

fn made(what: &str) -> Option<Guard> {
    let g = planned(what)?;
    g.create().expect("create");
    Some(g)
}

fn sleeper() -> Child {
    spawn(&Birth::default(), || {
        loop {
            std::thread::sleep(Duration::from_secs(100));
        }
    })
    .expect("spawn")
}

/// Forks as fast as it can, at most some hundreds at a time.
fn fork_storm() -> Child {
    spawn(&Birth::default(), || {
        // Nobody is left to be reaped.
        let _ = crate::sys::signal::ignore(crate::sys::signal::SIGCHLD);
        for _ in 0..100_000 {
            let child = spawn(&Birth::default(), || {
                std::thread::sleep(Duration::from_millis(20));
                let _ = spawn(&Birth::default(), || 0).map(Child::let_go);
                0
            });
            if let Ok(c) = child {
                let _ = c.let_go();
            }
        }
        exit_now(0)
    })
    .expect("spawn")
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn value(g: &Cgroup, controller: &str, file: &str) -> String {
    let path = g.paths().get(controller).expect("controller").join(file);
    std::fs::read_to_string(path).expect("read").trim_end().to_owned()
}

#[test]
fn a_life() {
    let Some(g) = made("life") else { return };
    assert!(g.exists() && g.has_controller("memory") && g.v2_dir_fd().is_none());
    let child = sleeper();
    g.join(child.pid()).expect("join");
    assert_eq!(g.pids().expect("pids"), [child.pid()]);
    let where_it_is = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).expect("cgroup");
    for line in where_it_is.lines() {
        assert!(line.contains("/orlop-test-"), "{line}");
    }
    g.apply(&resources(
        r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10},
            "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"},"pids":{"limit":7}}"#,
    ))
    .expect("apply");
    for (controller, file, want) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "7"),
    ] {
        assert_eq!(value(&g, controller, file), want, "{file}");
    }
    // Raised and lowered, together.
    for (limit, swap) in [(268_435_456, 536_870_912), (33_554_432, 33_554_432), (-1, -1)] {
        g.apply(&resources(&format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#))).expect("update");
    }
    g.apply(&resources(r#"{"cpu":{"period":10000,"quota":5000}}"#)).expect("shorter");
    // In the tree beside, where the hybrid layout has it.
    g.apply(&resources(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#)).expect("hugetlb");
    assert_eq!(value(&g, "", "hugetlb.2MB.max"), "4194304");
    assert!(g.stats().expect("stats").hugetlb.contains_key("2MB"));
    let e = g.apply(&resources(r#"{"rdma":{"mlx5_1":{"hcaHandles":3}}}"#)).expect_err("rdma is nowhere");
    assert!(
        e.to_string().contains("cannot set rdma limit: container could not join or create cgroup"),
        "{e}"
    );
    assert!(e.to_string().contains("rdma.max = mlx5_1 hca_handle=3"), "{e}");

    let again = Cgroup::from_record(&g.record()).expect("reopen");
    assert_eq!((again.paths(), again.all_pids().ok()), (g.paths(), g.all_pids().ok()));

    let other = Cgroup::from_record(&g.record()).expect("reopen").create().expect_err("not empty");
    assert!(other.to_string().contains("container's cgroup is not empty: 1 process(es) found"), "{other}");

    g.kill_all(crate::sys::signal::SIGKILL).expect("kill");
    child.wait().expect("wait");
    g.remove().expect("remove");
    assert!(
        g.paths().values().all(|p| !p.exists())
            && !Cgroup::from_record(&g.record()).expect("reopen").exists()
    );
    g.remove().expect("a second time");
}

#[test]
fn a_process_lets_itself_in() {
    let Some(g) = planned("doors") else { return };
    g.check_free().expect("nothing is there");
    g.create().expect("create");
    g.check_free().expect("empty");
    let doors = g.doors().expect("doors");
    let birth = Birth { cgroup: g.birthplace(), ..Birth::default() };
    let child = spawn(&birth, || {
        for d in &doors {
            if crate::sys::fs::write_once(&d.fd, b"0").is_err() && !d.optional {
                return 1;
            }
        }
        std::thread::sleep(Duration::from_secs(100));
        0
    })
    .expect("spawn");
    until("it is in all of them", || {
        let where_it_is = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).expect("cgroup");
        where_it_is.lines().count() > 5 && where_it_is.lines().all(|l| l.contains("/orlop-test-"))
    });
    assert!(
        g.check_free()
            .expect_err("in use")
            .to_string()
            .contains("container's cgroup is not empty: 1 process")
    );
}

#[test]
fn bad_values_are_named() {
    let Some(g) = made("bad") else { return };
    for (json, parts) in [
        (r#"{"cpu":{"cpus":"999"}}"#, ["cpuset.cpus = \"999\"", "/linux/resources/cpu/cpus"]),
        (r#"{"cpu":{"period":1}}"#, ["cpu.cfs_period_us = \"1\"", "/linux/resources/cpu/period"]),
        (r#"{"memory":{"limit":-5}}"#, ["memory.limit_in_bytes = \"-5\"", "/linux/resources/memory/limit"]),
    ] {
        let e = g.apply(&resources(json)).expect_err(json).to_string();
        assert!(parts.iter().all(|p| e.contains(p)), "{json}: {e}");
    }
}

#[test]
fn a_limit_below_the_usage() {
    let Some(g) = made("low") else { return };
    // Nobody's yet: the pages are whose who first writes them.
    let mut data = vec![0u8; 32 << 20];
    let (mut joined, go) = std::io::pipe().expect("pipe");
    let child = spawn(&Birth::default(), || {
        let _ = std::io::Read::read(&mut joined, &mut [0]);
        loop {
            std::thread::sleep(Duration::from_millis(1));
            data.iter_mut().step_by(4096).for_each(|b| *b = b.wrapping_add(1));
        }
    })
    .expect("spawn");
    g.join(child.pid()).expect("join");
    std::io::Write::write_all(&mut &go, b"!").expect("write");
    until("it has the memory", || g.memory_facts().peak.is_some_and(|p| p > 16 << 20));
    // Without swap nothing can be reclaimed, unless the kernel finds something to kill: both are fine answers.
    if let Err(e) = g.apply(&resources(r#"{"memory":{"limit":4096}}"#)) {
        assert!(e.to_string().contains("unable to set memory limit to 4096 (current usage: "), "{e}");
    }
}

/// On another processor, which has to be asked to give back what it holds: on v1 a limit in between was refused.
#[test]
fn a_limit_below_what_a_processor_holds() {
    const PAGE: usize = 4096;
    // The last that we may use.
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).expect("its processors");
    let last = list.rsplit([',', '-']).next().and_then(|n| n.trim().parse().ok()).expect("a number");
    let mut other = crate::sys::sched::CpuSet::default();
    other.insert(last);
    for _ in 0..20 {
        let Some(g) = made("held") else { return };
        let (told, tell) = nix::unistd::pipe().expect("pipe");
        let child = spawn(&Birth::default(), || {
            let _ = crate::sys::fs::read_once(&told, 1);
            let mut data = vec![0_u8; 16 * PAGE];
            data.iter_mut().step_by(PAGE).for_each(|b| *b = 1);
            loop {
                std::thread::sleep(Duration::from_secs(100));
            }
        })
        .expect("spawn");
        crate::sys::sched::set_affinity(child.pid(), &other).expect("set affinity");
        g.join(child.pid()).expect("join");
        crate::sys::fs::write_once(&tell, b"x").expect("write");
        let used = || value(&g, "memory", "memory.usage_in_bytes").parse::<usize>().expect("a number");
        let deadline = Deadline::after(Duration::from_secs(10));
        while used() < 16 * PAGE && !deadline.passed() {
            std::thread::sleep(Duration::from_millis(1));
        }
        g.apply(&resources(r#"{"memory":{"limit":229376}}"#)).expect("set the limit");
    }
}

#[test]
fn parents_are_made_and_cpusets_filled() {
    let Some(layout) = planned("x").map(|_| detect().expect("detect")) else { return };
    let top = name("top");
    let g = Guard(Cgroup::plan(&layout, Some(&format!("{top}/a/b")), "id").expect("plan"));
    g.create_for(Some(&resources(r#"{"cpu":{"cpus":"0"}}"#))).expect("create");
    assert_eq!(value(&g, "cpuset", "cpuset.cpus"), "0");
    assert_ne!(value(&g, "cpuset", "cpuset.mems"), "");
    let tops = Guard(Cgroup::plan(&layout, Some(&top), "id").expect("plan"));
    assert_ne!(value(&tops, "cpuset", "cpuset.cpus"), "");
    // Sub-cgroups of anybody's go with it.
    tops.remove().expect("remove all");
    assert!(!g.exists());
}

#[test]
fn what_is_begun_and_comes_to_nothing_goes() {
    let Some(layout) = planned("x").map(|_| detect().expect("detect")) else { return };
    let plan = |of: &str| Cgroup::plan(&layout, Some(of), "id").expect("plan");
    let here = |g: &Cgroup| g.birthplace().is_some();
    let top = name("begun");
    let path = format!("{top}/a");
    let hybrid = layout.v2.is_some() && !layout.is_v2();
    let g = plan(&path);
    g.begin().expect("begin");
    assert_eq!(here(&g), hybrid);
    drop(g);
    assert!(!here(&plan(&path)) && !here(&plan(&top)), "the birthplace is left");
    // A process that is in there while the rest fails: it goes when that is gone, too.
    let g = plan(&path);
    g.begin().expect("begin");
    g.create_for(Some(&resources(r#"{"cpu":{"cpus":"999"}}"#))).expect_err("no such CPU");
    assert_eq!(here(&plan(&path)), hybrid);
    drop(g);
    assert!(!here(&plan(&path)) && !here(&plan(&top)), "the birthplace is left");
    // Whole, it stays.
    let g = Guard(plan(&path));
    let _top = Guard(plan(&top));
    g.begin().expect("begin");
    g.create().expect("create");
    assert!(Cgroup::from_record(&g.record()).expect("reopen").exists());
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(layout) = planned("x").map(|_| detect().expect("detect")) else { return };
    let top = name("fail");
    let g = Guard(Cgroup::plan(&layout, Some(&format!("{top}/a")), "id").expect("plan"));
    let e = g.create_for(Some(&resources(r#"{"cpu":{"cpus":"999"}}"#))).expect_err("no such CPU");
    assert!(e.to_string().contains("/linux/resources/cpu/cpus"), "{e}");
    let tops = Cgroup::plan(&layout, Some(&top), "id").expect("plan");
    assert!(tops.paths().values().all(|p| !p.exists()));
}

#[test]
fn frozen_and_killed() {
    let Some(g) = made("frozen") else { return };
    let child = sleeper();
    g.join(child.pid()).expect("join");
    assert!(!g.is_frozen().expect("is_frozen") && !g.record().is_frozen());
    g.freeze().expect("freeze");
    assert!(g.is_frozen().expect("is_frozen") && g.record().is_frozen());
    // A signal that does not kill leaves a paused container paused.
    g.kill_all(crate::sys::signal::SIGCONT).expect("signal");
    assert!(g.is_frozen().expect("is_frozen") && g.record().is_frozen());
    g.kill_all(crate::sys::signal::SIGKILL).expect("kill");
    assert!(!g.is_frozen().expect("is_frozen") && !g.record().is_frozen());
    child.wait().expect("wait");

    g.freeze().expect("freeze the empty one");
    let e = Cgroup::from_record(&g.record()).expect("reopen").create().expect_err("frozen");
    assert!(e.to_string().contains("container's cgroup unexpectedly frozen"), "{e}");
    g.thaw().expect("thaw");
}

fn storm(how: impl Fn(&Cgroup)) {
    let Some(g) = made("storm") else { return };
    g.apply(&resources(r#"{"pids":{"limit":300}}"#)).expect("apply");
    let gate = spawn(&Birth::default(), || 0).expect("spawn");
    gate.wait().expect("wait");
    let bomb = fork_storm();
    g.join(bomb.pid()).expect("join");
    until("a storm comes up", || g.all_pids().expect("pids").len() > 5);
    how(&g);
    let _ = bomb.wait();
    g.remove().expect("remove");
}

#[test]
fn a_fork_storm_by_cgroup_kill() {
    storm(|g| g.kill_all(crate::sys::signal::SIGKILL).expect("kill"));
}

#[test]
fn a_fork_storm_by_pid() {
    storm(|g| {
        let mut record = g.record();
        record.v2 = None;
        let without = Cgroup::from_record(&record).expect("reopen");
        without.kill_all(crate::sys::signal::SIGKILL).expect("kill");
    });
}

#[test]
fn strays_of_the_unified_tree_die_too() {
    let Some(g) = made("stray") else { return };
    let child = sleeper();
    let mut record = g.record();
    record.v2 = None;
    Cgroup::from_record(&record).expect("reopen").join(child.pid()).expect("join v1 only");
    g.kill_all(crate::sys::signal::SIGKILL).expect("kill");
    child.wait().expect("wait");
}

#[test]
fn busy_is_said_and_a_second_removal_succeeds() {
    let Some(g) = made("busy") else { return };
    let child = sleeper();
    g.join(child.pid()).expect("join");
    let e = g.remove_until(Deadline::after(Duration::from_millis(50))).expect_err("busy");
    assert!(e.to_string().contains(&format!("it still holds 1 process(es): {}", child.pid())), "{e}");
    drop(child);
    g.remove().expect("remove");
}

#[test]
fn device_rules() {
    let Some(g) = made("devices") else { return };
    let rules =
        |json: &str| DeviceRules::from_config(&serde_json::from_str::<Vec<_>>(json).expect("rules"), &[]);
    let docker =
        rules(r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":7,"access":"r"}]"#);
    g.apply_devices(&docker.expect("rules")).expect("apply");
    let list = value(&g, "devices", "devices.list");
    assert!(list.contains("c 1:3 rwm") && list.contains("b 7:* r") && !list.contains("a *:*"), "{list}");
    g.apply_devices(&rules("[]").expect("rules")).expect("apply");
    assert!(!value(&g, "devices", "devices.list").contains("b 7:* r"));
    g.apply_devices(&rules(r#"[{"allow":true,"access":"rwm"}]"#).expect("rules")).expect("apply");
    assert_eq!(value(&g, "devices", "devices.list"), "a *:* rwm");
}

/// The v2 operations, in the v2 tree beside.
#[test]
fn version_2() {
    let Some(unified) = planned("x").and_then(|_| detect().expect("detect").v2) else { return };
    let layout = Layout { v1: Vec::new(), v2: Some(unified) };
    let plan = |path: &str| Guard(Cgroup::plan(&layout, Some(path), "id").expect("plan"));
    let g = plan(&name("v2"));
    g.create().expect("create");
    let birth = Birth { cgroup: g.v2_dir_fd(), ..Birth::default() };
    let child = spawn(&birth, || {
        loop {
            std::thread::sleep(Duration::from_secs(100));
        }
    })
    .expect("born in the cgroup");
    assert_eq!(g.all_pids().expect("pids"), [child.pid()]);
    g.freeze().expect("freeze");
    assert!(g.is_frozen().expect("is_frozen") && g.record().is_frozen());
    g.thaw().expect("thaw");
    let e =
        g.apply(&resources(r#"{"memory":{"limit":4096}}"#)).expect_err("no memory controller").to_string();
    assert!(e.contains("cannot set memory.max = 4096: controller \"memory\" not available"), "{e}");
    let e = g.apply(&resources(r#"{"unified":{"memory.high":"1"}}"#)).expect_err("none").to_string();
    assert!(
        e.contains("unified resource \"memory.high\" can't be set: controller \"memory\" not available"),
        "{e}"
    );
    g.apply(&resources(r#"{"unified":{"cgroup.max.depth":"3"}}"#)).expect("unified");
    g.apply(&resources(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#)).expect("hugetlb");
    assert_eq!(value(&g, "", "hugetlb.2MB.max"), "4194304");
    g.delegate(1234).expect("delegate");
    g.kill_all(crate::sys::signal::SIGKILL).expect("kill");
    child.wait().expect("wait");
    g.remove().expect("remove");
}

#[test]
fn signals_by_pid_in_version_2() {
    let Some(unified) = planned("x").and_then(|_| detect().expect("detect").v2) else { return };
    let layout = Layout { v1: Vec::new(), v2: Some(unified) };
    let g = Guard(Cgroup::plan(&layout, Some(&name("v2term")), "id").expect("plan"));
    g.create().expect("create");
    let (a, b) = (sleeper(), sleeper());
    g.join(a.pid()).expect("join");
    g.join(b.pid()).expect("join");
    g.kill_all(crate::sys::signal::SIGTERM).expect("term");
    assert_eq!((a.wait().expect("wait").status(), b.wait().expect("wait").status()), (143, 143));
}
