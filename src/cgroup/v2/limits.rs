//! `linux.resources` as writes to v2's files; the order is runc's. As in runc, 0 means "not given" where the
//! specification has no other meaning for it. Sources: config-linux.md of the specification and
//! Documentation/admin-guide/cgroup-v2.rst of the kernel, which names each file and its range.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use crate::cgroup::blkio;
use crate::cgroup::limits::{check_page_size, pids_max, rdma};
use crate::cgroup::write::Write;
use crate::error::{Error, Result};

/// All of `linux.resources` but the devices.
pub fn writes(r: &LinuxResources) -> Result<Vec<Write>> {
    let mut all = Vec::new();
    if let Some(pids) = r.pids() {
        all.push(Write::new("pids", "pids.max", pids_max(pids.limit()), "/linux/resources/pids/limit"));
    }
    if let Some(memory) = r.memory() {
        all.extend(self::memory(memory)?);
    }
    if let Some(io) = r.block_io() {
        all.extend(blkio::v2(io));
    }
    if let Some(cpu) = r.cpu() {
        all.extend(self::cpu(cpu));
        all.extend(crate::cgroup::v1::cpuset_writes(cpu));
    }
    for (i, h) in r.hugepage_limits().iter().flatten().enumerate() {
        let at = format!("/linux/resources/hugepageLimits/{i}");
        check_page_size(h.page_size(), &at)?;
        all.push(Write::new("hugetlb", format!("hugetlb.{}.max", h.page_size()), h.limit(), at.clone()));
        let rsvd = Write::new("hugetlb", format!("hugetlb.{}.rsvd.max", h.page_size()), h.limit(), at);
        all.push(rsvd.skip_if_missing());
    }
    all.extend(rdma(r));
    all.extend(unified(r)?);
    Ok(all)
}

/// What v1 could do, and v2 cannot, of what is asked for: for a warning.
pub fn without_meaning(r: &LinuxResources) -> Vec<&'static str> {
    let memory = r.memory().as_ref();
    let cpu = r.cpu().as_ref();
    let io = r.block_io().as_ref();
    let net = r.network().as_ref();
    let leaf = |io: &oci_spec::runtime::LinuxBlockIo| {
        let device = |d: &oci_spec::runtime::LinuxWeightDevice| d.leaf_weight().is_some_and(|v| v != 0);
        io.leaf_weight().is_some_and(|v| v != 0) || io.weight_device().iter().flatten().any(device)
    };
    let all = [
        ("memory.useHierarchy", memory.is_some_and(|m| m.use_hierarchy() == Some(false))),
        ("memory.swappiness", memory.is_some_and(|m| m.swappiness().is_some_and(|v| v != u64::MAX))),
        ("memory.disableOOMKiller", memory.is_some_and(|m| m.disable_oom_killer() == Some(true))),
        ("cpu.realtimeRuntime", cpu.is_some_and(|c| c.realtime_runtime().is_some_and(|v| v != 0))),
        ("cpu.realtimePeriod", cpu.is_some_and(|c| c.realtime_period().is_some_and(|v| v != 0))),
        ("blockIO.leafWeight", io.is_some_and(leaf)),
        ("network.classID", net.is_some_and(|n| n.class_id().is_some_and(|v| v != 0))),
        ("network.priorities", net.is_some_and(|n| n.priorities().as_ref().is_some_and(|p| !p.is_empty()))),
    ];
    all.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect()
}

/// Does a limit ask for a controller that cannot work in a threaded cgroup (cgroups(7))?
pub fn needs_domain(r: &LinuxResources) -> bool {
    writes(r)
        .is_ok_and(|all| all.iter().any(|w| matches!(&*w.controller, "memory" | "io" | "cpu" | "hugetlb")))
}

const LIMIT: &str = "/linux/resources/memory/limit";
const SWAP: &str = "/linux/resources/memory/swap";

fn memory(m: &LinuxMemory) -> Result<Vec<Write>> {
    let limit = m.limit().unwrap_or(0);
    let memory_swap = m.swap().unwrap_or(0);
    let number = |v: i64| match v {
        0 => None,
        -1 => Some("max".to_owned()),
        v => Some(v.to_string()),
    };
    let mut all = Vec::new();
    let swap = swap_max(memory_swap, limit)?;
    // Memory and memory plus swap the same: no swap, which is not "not given".
    let swap = if swap == 0 && memory_swap > 0 { Some("0".to_owned()) } else { number(swap) };
    if let Some(v) = swap {
        let no_limit = v == "max" || v == "0";
        let w = Write::new("memory", "memory.swap.max", v, SWAP);
        // Where swap is not accounted there is none to limit, unless a true amount was asked for.
        all.push(if no_limit { w.skip_if_missing() } else { w });
    }
    if let Some(v) = number(limit) {
        all.push(Write::new("memory", "memory.max", v, LIMIT));
    }
    if let Some(v) = number(m.reservation().unwrap_or(0)) {
        all.push(Write::new("memory", "memory.low", v, "/linux/resources/memory/reservation"));
    }
    Ok(all)
}

/// The specification's `swap` is memory plus swap; v2's is swap alone.
pub fn swap_max(memory_swap: i64, memory: i64) -> Result<i64> {
    match (memory_swap, memory) {
        // Unlimited memory alone means unlimited swap, as on v1.
        (0, -1) => Ok(-1),
        (-1 | 0, _) | (_, -1) => Ok(memory_swap),
        (_, 0) => Err(Error::spec(SWAP, "unable to set swap limit without memory limit")),
        (_, m) if m < 0 => Err(Error::spec(LIMIT, format!("invalid memory value: {m}"))),
        (s, m) if s < m => Err(Error::spec(SWAP, "memory+swap limit should be >= memory limit")),
        (s, m) => Ok(s - m),
    }
}

/// `checkBeforeUpdate`: (memory plus swap, memory) that the present use must stay below. On v2 the kernel would
/// else kill processes to get there.
pub fn checked_before(r: &LinuxResources) -> Option<(i64, i64)> {
    let m = r.memory().as_ref().filter(|m| m.check_before_update() == Some(true))?;
    Some((m.swap().unwrap_or(0), m.limit().unwrap_or(0))).filter(|(s, l)| *s > 0 || *l > 0)
}

fn cpu(c: &LinuxCpu) -> Vec<Write> {
    let mut all = Vec::new();
    if let Some(v) = c.idle() {
        all.push(Write::new("cpu", "cpu.idle", v, "/linux/resources/cpu/idle"));
    }
    // What is idle has no weight, and the kernel refuses to give it one.
    if let Some(v) = c.shares().filter(|v| *v != 0 && c.idle() != Some(1)) {
        all.push(Write::new("cpu", "cpu.weight", weight(v), "/linux/resources/cpu/shares"));
    }
    let quota = c.quota().filter(|v| *v != 0);
    let period = c.period().filter(|v| *v != 0);
    if let Some(v) = c.burst() {
        let w = Write::new("cpu", "cpu.max.burst", v, "/linux/resources/cpu/burst");
        all.push(w.later_if(quota.is_some()));
    }
    if quota.is_some() || period.is_some() {
        let at = if quota.is_some() { "/linux/resources/cpu/quota" } else { "/linux/resources/cpu/period" };
        let quota = quota.filter(|v| *v > 0).map_or_else(|| "max".to_owned(), |v| v.to_string());
        // The kernel's own default period, cgroup-v2.rst.
        all.push(Write::new("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(100_000)), at));
    }
    all
}

/// cpu.shares (2…262144, default 1024) on cpu.weight's scale (1…10000, default 100): the quadratic function of the
/// logarithm that fits the three points, as runc 1.4 and crun 1.23 have it.
pub fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// Limits that belong to no controller: `cgroup.max.depth` and so on.
const OF_THE_CGROUP: [&str; 3] = ["max.depth", "max.descendants", "pressure"];

fn unified(r: &LinuxResources) -> Result<Vec<Write>> {
    let mut entries: Vec<_> = r.unified().iter().flatten().collect();
    entries.sort();
    let one = |(key, value): (&String, &String)| {
        let at = format!("/linux/resources/unified/{}", key.replace('~', "~0").replace('/', "~1"));
        let refuse = |text: String| Err(Error::spec(at.clone(), text));
        if key.contains('/') {
            return refuse(format!("unified resource {key:?} must be a file name (no slashes)"));
        }
        match key.split_once('.') {
            // Not cgroup.procs, say, with which a configuration would bring processes of the host into the container.
            Some(("cgroup", rest)) if !OF_THE_CGROUP.contains(&rest) => refuse(format!(
                "unified resource {key:?} is no limit: it moves, kills, stops or delegates processes"
            )),
            Some((controller, rest)) if !controller.is_empty() && !rest.is_empty() && !key.contains('\0') => {
                Ok(Write::new(controller.to_owned(), key.clone(), value, at))
            }
            _ => refuse(format!("unified resource {key:?} must be in the form CONTROLLER.PARAMETER")),
        }
    };
    entries.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> Result<Vec<String>, String> {
        let r: LinuxResources = serde_json::from_str(json).expect("test document");
        writes(&r).map(|all| all.iter().map(Write::shown).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn every_limit() {
        for (json, want) in [
            ("{}", vec![]),
            (r#"{"memory":{"limit":100,"swap":300}}"#, vec!["memory.swap.max = 200", "memory.max = 100"]),
            (r#"{"memory":{"limit":100,"swap":100}}"#, vec!["memory.swap.max = 0", "memory.max = 100"]),
            (r#"{"memory":{"limit":-1}}"#, vec!["memory.swap.max = max", "memory.max = max"]),
            (r#"{"memory":{"limit":-1,"swap":7}}"#, vec!["memory.swap.max = 7", "memory.max = max"]),
            (r#"{"memory":{"limit":5,"swap":-1}}"#, vec!["memory.swap.max = max", "memory.max = 5"]),
            (r#"{"memory":{"limit":5}}"#, vec!["memory.max = 5"]),
            (r#"{"memory":{"swap":-1,"reservation":3}}"#, vec!["memory.swap.max = max", "memory.low = 3"]),
            (r#"{"memory":{"reservation":-1}}"#, vec!["memory.low = max"]),
            (r#"{"memory":{"swappiness":60,"disableOOMKiller":true}}"#, vec![]),
            (
                r#"{"cpu":{"shares":1024,"quota":50000,"period":20000,"burst":9,"idle":0,"cpus":"0","mems":"0-1"}}"#,
                vec![
                    "cpu.idle = 0",
                    "cpu.weight = 100",
                    "cpu.max.burst = 9",
                    "cpu.max = 50000 20000",
                    "cpuset.cpus = 0",
                    "cpuset.mems = 0-1",
                ],
            ),
            (r#"{"cpu":{"shares":1024,"idle":1}}"#, vec!["cpu.idle = 1"]),
            (r#"{"cpu":{"quota":50000}}"#, vec!["cpu.max = 50000 100000"]),
            (r#"{"cpu":{"quota":-1}}"#, vec!["cpu.max = max 100000"]),
            (r#"{"cpu":{"period":5000}}"#, vec!["cpu.max = max 5000"]),
            (r#"{"cpu":{"realtimeRuntime":1,"realtimePeriod":2}}"#, vec![]),
            (r#"{"pids":{"limit":0}}"#, vec!["pids.max = 1"]),
            (r#"{"pids":{"limit":-5}}"#, vec!["pids.max = max"]),
            (
                r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":100}],
                    "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":4}]}}"#,
                vec![
                    "io.bfq.weight = 500",
                    "io.bfq.weight = 8:0 100",
                    "io.max = 8:0 rbps=1",
                    "io.max = 8:1 wiops=4",
                ],
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"1GB","limit":0}]}"#,
                vec!["hugetlb.1GB.max = 0", "hugetlb.1GB.rsvd.max = 0"],
            ),
            (r#"{"rdma":{"a":{"hcaHandles":3}}}"#, vec!["rdma.max = a hca_handle=3"]),
            (
                r#"{"unified":{"memory.high":"9","cpu.weight":"5","memory.min":"1","cgroup.max.depth":"2"}}"#,
                vec!["cgroup.max.depth = 2", "cpu.weight = 5", "memory.high = 9", "memory.min = 1"],
            ),
        ] {
            assert_eq!(shown(json), Ok(want.iter().map(|s| (*s).to_owned()).collect()), "{json}");
        }
    }

    /// cgroups/utils_test.go and the specification's range.
    #[test]
    fn shares_to_weight() {
        for (shares, want) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (1024, 100),
            (2048, 174),
            (10_000, 627),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight(shares), want, "{shares}");
        }
        let mut last = 0;
        for shares in 2..=262_144 {
            assert!(weight(shares) >= last, "{shares}");
            last = weight(shares);
        }
    }

    #[test]
    fn refusals() {
        for (json, text) in [
            (r#"{"memory":{"swap":5}}"#, "unable to set swap limit without memory limit"),
            (r#"{"memory":{"limit":-2,"swap":5}}"#, "invalid memory value: -2"),
            (r#"{"memory":{"limit":9,"swap":5}}"#, "memory+swap limit should be >= memory limit"),
            (r#"{"unified":{"../memory.max":"1"}}"#, "must be a file name (no slashes)"),
            (r#"{"unified":{"a/b":"1"}}"#, "(config.json: /linux/resources/unified/a~1b)"),
            (r#"{"unified":{"foo":"1"}}"#, "must be in the form CONTROLLER.PARAMETER"),
            (r#"{"unified":{"..":"1"}}"#, "must be in the form CONTROLLER.PARAMETER"),
            (r#"{"unified":{"cgroup.procs":"1"}}"#, "\"cgroup.procs\" is no limit"),
            (r#"{"unified":{"cgroup.kill":"1"}}"#, "is no limit"),
            (r#"{"unified":{"cgroup.subtree_control":"+cpu"}}"#, "is no limit"),
            (r#"{"unified":{"":"1"}}"#, "must be in the form CONTROLLER.PARAMETER"),
        ] {
            let e = shown(json).expect_err(json);
            assert!(e.contains(text), "{json}: {e}");
        }
    }

    #[test]
    fn what_v2_cannot_say() {
        let r: LinuxResources = serde_json::from_str(
            r#"{"memory":{"swappiness":1,"disableOOMKiller":true,"useHierarchy":false},"cpu":{"realtimePeriod":1},"network":{"classID":1},
                "blockIO":{"weightDevice":[{"major":1,"minor":1,"leafWeight":5}]}}"#,
        )
        .expect("test document");
        let want = [
            "memory.useHierarchy",
            "memory.swappiness",
            "memory.disableOOMKiller",
            "cpu.realtimePeriod",
            "blockIO.leafWeight",
            "network.classID",
        ];
        assert_eq!(without_meaning(&r), want);
    }

    #[test]
    fn check_before_update() {
        let checked = |json: &str| checked_before(&serde_json::from_str(json).expect("test document"));
        assert_eq!(checked(r#"{"memory":{"limit":5,"checkBeforeUpdate":true}}"#), Some((0, 5)));
        assert_eq!(checked(r#"{"memory":{"limit":5}}"#), None);
        assert_eq!(checked(r#"{"memory":{"limit":-1,"checkBeforeUpdate":true}}"#), None);
    }
}
