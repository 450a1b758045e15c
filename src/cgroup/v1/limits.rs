//! `linux.resources` as writes to v1's files; the order is runc's. As in runc, 0 means "not given" where the
//! specification has no other meaning for it. `kernel` is no longer a setting of any kernel and is left out. Sources:
//! config-linux.md of the specification; Documentation/admin-guide/cgroup-v1/{memory,cpusets,pids,hugetlb,net_cls,
//! net_prio,blkio-controller}.rst and Documentation/scheduler/sched-{bwc,rt-group}.rst of the kernel.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use crate::cgroup::blkio;
use crate::cgroup::limits::{check_page_size, pids_max, rdma};
use crate::cgroup::write::Write;
use crate::error::{Error, Result};

/// What must be set before a process can be moved in: a cpuset without CPUs or memory nodes takes none, and a
/// cgroup without real-time bandwidth takes no real-time process.
pub fn before_join(r: &LinuxResources) -> Vec<Write> {
    r.cpu().as_ref().map(real_time).unwrap_or_default()
}

/// All of `linux.resources` but the devices.
pub fn writes(r: &LinuxResources) -> Result<Vec<Write>> {
    if r.unified().as_ref().is_some_and(|u| !u.is_empty()) {
        let text = "invalid configuration: cannot use unified on cgroup v1";
        return Err(Error::spec("/linux/resources/unified", text));
    }
    let mut all = Vec::new();
    if let Some(cpu) = r.cpu() {
        let unprefixed = |w: Write| {
            let (file, value) = (super::cpuset::unprefixed(&w.file).to_owned(), w.value.clone());
            w.or(file, value)
        };
        all.extend(cpuset(cpu).into_iter().map(unprefixed));
    }
    if let Some(memory) = r.memory() {
        all.extend(self::memory(memory)?);
    }
    if let Some(cpu) = r.cpu() {
        all.extend(self::cpu(cpu)?);
    }
    if let Some(pids) = r.pids() {
        all.push(Write::new("pids", "pids.max", pids_max(pids.limit()), "/linux/resources/pids/limit"));
    }
    if let Some(io) = r.block_io() {
        all.extend(blkio::v1(io));
    }
    for (i, h) in r.hugepage_limits().iter().flatten().enumerate() {
        let at = format!("/linux/resources/hugepageLimits/{i}");
        let file = |part: &str| format!("hugetlb.{}{part}.limit_in_bytes", h.page_size());
        check_page_size(h.page_size(), &at)?;
        all.push(Write::new("hugetlb", file(""), h.limit(), at.clone()));
        // Reservations are limited too where the kernel can (5.7).
        all.push(Write::new("hugetlb", file(".rsvd"), h.limit(), at).skip_if_missing());
    }
    if let Some(net) = r.network() {
        if let Some(id) = net.class_id().filter(|id| *id != 0) {
            all.push(Write::new("net_cls", "net_cls.classid", id, "/linux/resources/network/classID"));
        }
        for (i, p) in net.priorities().iter().flatten().enumerate() {
            let at = format!("/linux/resources/network/priorities/{i}");
            all.push(Write::new(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{} {}", p.name(), p.priority()),
                at,
            ));
        }
    }
    all.extend(rdma(r));
    Ok(all)
}

/// What is asked for and no kernel of ours can do otherwise: for a warning. Memory has been accounted with that of
/// the cgroups below since Linux 5.11, whatever `use_hierarchy` says.
pub fn without_meaning(r: &LinuxResources) -> Vec<&'static str> {
    let flat = r.memory().as_ref().is_some_and(|m| m.use_hierarchy() == Some(false));
    flat.then_some("memory.useHierarchy").into_iter().collect()
}

/// The same files on v2.
pub fn cpuset(cpu: &LinuxCpu) -> Vec<Write> {
    let one = |file, at, value: &Option<String>| {
        value.as_deref().filter(|v| !v.is_empty()).map(|v| Write::new("cpuset", file, v, at))
    };
    [
        one("cpuset.cpus", "/linux/resources/cpu/cpus", cpu.cpus()),
        one("cpuset.mems", "/linux/resources/cpu/mems", cpu.mems()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `limit_in_bytes` ≤ `memsw.limit_in_bytes` must hold after every write, so when both are raised the first is
/// refused until the second is written; when both are lowered this order is the right one.
fn memory(m: &LinuxMemory) -> Result<Vec<Write>> {
    const LIMIT: &str = "/linux/resources/memory/limit";
    const SWAP: &str = "/linux/resources/memory/swap";
    let given = |v: Option<i64>| v.filter(|v| *v != 0);
    let (limit, swap) = (given(m.limit()), given(m.swap()));
    let limit_file = "memory.limit_in_bytes";
    let swap_file = "memory.memsw.limit_in_bytes";
    let mut all = Vec::new();
    // Unlimited memory alone means unlimited swap, where swap is accounted.
    let unlimited = limit == Some(-1) && swap.is_none();
    if let Some(v) = limit {
        all.push(Write::new("memory", limit_file, v, LIMIT).later_if(swap.is_some() || unlimited));
    }
    if let Some(v) = swap {
        all.push(Write::new("memory", swap_file, v, SWAP));
    } else if unlimited {
        all.push(Write::new("memory", swap_file, -1, LIMIT).skip_if_missing());
    }
    if let Some(v) = given(m.reservation()) {
        all.push(Write::new(
            "memory",
            "memory.soft_limit_in_bytes",
            v,
            "/linux/resources/memory/reservation",
        ));
    }
    if let Some(v) = given(m.kernel_tcp()) {
        // Not recommended by the specification, and gone from kernels to come: where it is missing it means nothing.
        let at = "/linux/resources/memory/kernelTCP";
        all.push(Write::new("memory", "memory.kmem.tcp.limit_in_bytes", v, at).skip_if_missing());
    }
    if m.disable_oom_killer() == Some(true) {
        all.push(Write::new("memory", "memory.oom_control", 1, "/linux/resources/memory/disableOOMKiller"));
    }
    const SWAPPINESS: &str = "/linux/resources/memory/swappiness";
    match m.swappiness() {
        // Go's -1: podman writes it for "not given".
        None | Some(u64::MAX) => {}
        Some(v @ 0..=100) => all.push(Write::new("memory", "memory.swappiness", v, SWAPPINESS)),
        Some(v) => {
            let text = format!("invalid memory swappiness value: {v} (valid range is 0-100)");
            return Err(Error::spec(SWAPPINESS, text));
        }
    }
    Ok(all)
}

fn cpu(c: &LinuxCpu) -> Result<Vec<Write>> {
    let mut all = Vec::new();
    if let Some(v) = c.shares().filter(|v| *v != 0) {
        // The kernel takes any number and clamps it silently; runc reads it back and says so.
        const SHARES: &str = "/linux/resources/cpu/shares";
        let refuse = |text: &'static str| Err(Error::spec(SHARES, text));
        match v {
            // An idle cgroup takes none until it is told to be idle no longer.
            2..=262_144 => all.push(Write::new("cpu", "cpu.shares", v, SHARES).later_if(c.idle().is_some())),
            0..2 => return refuse("the minimum allowed cpu-shares is 2"),
            _ => return refuse("the maximum allowed cpu-shares is 262144"),
        }
    }
    let quota = c.quota().filter(|v| *v != 0);
    // A shorter period, or a larger burst, may not fit the old quota; it is tried again after the new one.
    if let Some(v) = c.period().filter(|v| *v != 0) {
        let w = Write::new("cpu", "cpu.cfs_period_us", v, "/linux/resources/cpu/period");
        all.push(w.later_if(quota.is_some()));
    }
    if let Some(v) = c.burst() {
        let w = Write::new("cpu", "cpu.cfs_burst_us", v, "/linux/resources/cpu/burst");
        all.push(w.later_if(quota.is_some()).skip_if_missing());
    }
    if let Some(v) = quota {
        all.push(Write::new("cpu", "cpu.cfs_quota_us", v, "/linux/resources/cpu/quota"));
    }
    if let Some(v) = c.idle() {
        all.push(Write::new("cpu", "cpu.idle", v, "/linux/resources/cpu/idle"));
    }
    all.extend(real_time(c));
    Ok(all)
}

fn real_time(c: &LinuxCpu) -> Vec<Write> {
    let runtime = c.realtime_runtime().filter(|v| *v != 0);
    let period = c.realtime_period().filter(|v| *v != 0);
    let period = period.map(|v| {
        let w = Write::new("cpu", "cpu.rt_period_us", v, "/linux/resources/cpu/realtimePeriod");
        w.later_if(runtime.is_some())
    });
    let runtime =
        runtime.map(|v| Write::new("cpu", "cpu.rt_runtime_us", v, "/linux/resources/cpu/realtimeRuntime"));
    period.into_iter().chain(runtime).collect()
}

#[cfg(test)]
mod tests {
    use crate::cgroup::write::{Missing, Refused};

    use super::*;

    fn shown(json: &str) -> Result<Vec<String>, String> {
        let r: LinuxResources = serde_json::from_str(json).expect("test document");
        writes(&r).map(|all| all.iter().map(Write::shown).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn every_limit() {
        for (json, want) in [
            ("{}", vec![]),
            (r#"{"memory":{}, "cpu":{}, "blockIO":{}, "network":{}}"#, vec![]),
            (r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#, vec![]),
            (
                r#"{"memory":{"limit":4096,"swap":8192,"reservation":100,"swappiness":0,"disableOOMKiller":true}}"#,
                vec![
                    "memory.limit_in_bytes = 4096",
                    "memory.memsw.limit_in_bytes = 8192",
                    "memory.soft_limit_in_bytes = 100",
                    "memory.oom_control = 1",
                    "memory.swappiness = 0",
                ],
            ),
            (
                r#"{"memory":{"limit":-1}}"#,
                vec!["memory.limit_in_bytes = -1", "memory.memsw.limit_in_bytes = -1"],
            ),
            (r#"{"memory":{"swap":5,"disableOOMKiller":false}}"#, vec!["memory.memsw.limit_in_bytes = 5"]),
            (
                r#"{"cpu":{"shares":2,"quota":-1,"period":1000,"burst":0,"idle":1,"realtimeRuntime":3,"realtimePeriod":4,"cpus":"0-1","mems":"0"}}"#,
                vec![
                    "cpuset.cpus = 0-1",
                    "cpuset.mems = 0",
                    "cpu.shares = 2",
                    "cpu.cfs_period_us = 1000",
                    "cpu.cfs_burst_us = 0",
                    "cpu.cfs_quota_us = -1",
                    "cpu.idle = 1",
                    "cpu.rt_period_us = 4",
                    "cpu.rt_runtime_us = 3",
                ],
            ),
            (r#"{"pids":{"limit":32}}"#, vec!["pids.max = 32"]),
            (r#"{"pids":{"limit":0}}"#, vec!["pids.max = 1"]),
            (r#"{"pids":{"limit":-1}}"#, vec!["pids.max = max"]),
            (
                r#"{"blockIO":{"weight":500,"leafWeight":300,
                    "weightDevice":[{"major":8,"minor":0,"weight":100,"leafWeight":50},{"major":8,"minor":1}],
                    "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
                    "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
                    "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":4}]}}"#,
                vec![
                    "blkio.weight = 500",
                    "blkio.leaf_weight = 300",
                    "blkio.weight_device = 8:0 100",
                    "blkio.leaf_weight_device = 8:0 50",
                    "blkio.throttle.read_bps_device = 8:0 1",
                    "blkio.throttle.write_bps_device = 8:0 2",
                    "blkio.throttle.read_iops_device = 8:0 3",
                    "blkio.throttle.write_iops_device = 8:0 4",
                ],
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
                vec!["hugetlb.2MB.limit_in_bytes = 4194304", "hugetlb.2MB.rsvd.limit_in_bytes = 4194304"],
            ),
            (
                r#"{"network":{"classID":1048577,"priorities":[{"name":"lo","priority":5}]}}"#,
                vec!["net_cls.classid = 1048577", "net_prio.ifpriomap = lo 5"],
            ),
            (
                r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":4},"mlx5_0":{"hcaObjects":9}}}"#,
                vec!["rdma.max = mlx5_0 hca_object=9", "rdma.max = mlx5_1 hca_handle=3 hca_object=4"],
            ),
        ] {
            assert_eq!(shown(json), Ok(want.iter().map(|s| (*s).to_owned()).collect()), "{json}");
        }
    }

    #[test]
    fn refusals_point_into_the_config() {
        for (json, text, pointer) in [
            (r#"{"memory":{"swappiness":101}}"#, "invalid memory swappiness value: 101", "memory/swappiness"),
            (r#"{"cpu":{"shares":1}}"#, "minimum allowed cpu-shares is 2", "cpu/shares"),
            (r#"{"cpu":{"shares":262145}}"#, "maximum allowed cpu-shares is 262144", "cpu/shares"),
            (r#"{"unified":{"memory.max":"1"}}"#, "cannot use unified on cgroup v1", "unified"),
            (r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#, "page size", "hugepageLimits/0"),
        ] {
            let e = shown(json).expect_err(json);
            assert!(e.contains(text) && e.contains(&format!("/linux/resources/{pointer}")), "{json}: {e}");
        }
        assert_eq!(shown(r#"{"memory":{"swappiness":18446744073709551615}}"#), Ok(vec![]));
        assert_eq!(shown(r#"{"unified":{}}"#), Ok(vec![]));
    }

    #[test]
    fn what_waits_for_another_and_what_may_lack() {
        let r: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1,"swap":2},"cpu":{"period":1,"burst":1,"quota":1,"realtimePeriod":1,"realtimeRuntime":1}}"#,
        )
        .expect("test document");
        let all = writes(&r).expect("writes");
        let later: Vec<_> = all.iter().filter(|w| w.refused == Refused::Later).map(|w| &*w.file).collect();
        assert_eq!(
            later,
            ["memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.rt_period_us"]
        );
        let skip: Vec<_> = all.iter().filter(|w| w.missing == Missing::Skip).map(|w| &*w.file).collect();
        assert_eq!(skip, ["cpu.cfs_burst_us"]);
        let alone: LinuxResources = serde_json::from_str(r#"{"cpu":{"period":1}}"#).expect("test document");
        assert_eq!(writes(&alone).expect("writes")[0].refused, Refused::Fail);
        assert_eq!(before_join(&r).iter().map(Write::shown).collect::<Vec<_>>().len(), 2);
    }
}
