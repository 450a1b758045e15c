//! v1: files of many hierarchies, each there or not.

use super::{Blkio, BlkioEntry, Cpu, CpuSet, Hugetlb, Memory, MemoryEntry, Pids, Stats, keyed, number};
use crate::error::Result;

/// The text of a file of a controller; `None` where there is no such controller or file.
pub type Read<'a> = &'a dyn Fn(&str, &str) -> Result<Option<String>>;

/// cpuacct.stat counts in ticks of `USER_HZ`, which is 100 on every architecture that we run on.
const NANOSECONDS_A_TICK: u64 = 10_000_000;

pub fn stats(read: Read<'_>, page_sizes: &[String]) -> Result<Stats> {
    Ok(Stats {
        cpu: cpu(read)?,
        cpuset: cpuset(read)?,
        memory: memory(read)?,
        pids: pids(read)?,
        blkio: blkio(read)?,
        hugetlb: page_sizes
            .iter()
            .filter_map(|size| hugetlb(read, size).transpose())
            .collect::<Result<_>>()?,
        ..Stats::default()
    })
}

fn cpu(read: Read<'_>) -> Result<Cpu> {
    let mut cpu = Cpu::default();
    for (key, value) in keyed(&read("cpu", "cpu.stat")?.unwrap_or_default()) {
        match key {
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_time" => cpu.throttling.throttled_time = value,
            _ => {}
        }
    }
    let Some(total) = read("cpuacct", "cpuacct.usage")? else { return Ok(cpu) };
    cpu.usage.total = number(&total);
    for (key, value) in keyed(&read("cpuacct", "cpuacct.stat")?.unwrap_or_default()) {
        match key {
            "user" => cpu.usage.user = value.saturating_mul(NANOSECONDS_A_TICK),
            "system" => cpu.usage.kernel = value.saturating_mul(NANOSECONDS_A_TICK),
            _ => {}
        }
    }
    let percpu = read("cpuacct", "cpuacct.usage_percpu")?.unwrap_or_default();
    cpu.usage.percpu = Some(percpu.split_whitespace().map(number).collect());
    // A header, then `cpu user system`.
    let all = read("cpuacct", "cpuacct.usage_all")?.unwrap_or_default();
    let column =
        |n: usize| Some(all.lines().skip(1).filter_map(|l| l.split(' ').nth(n)).map(number).collect());
    cpu.usage.percpu_user = column(1);
    cpu.usage.percpu_kernel = column(2);
    Ok(cpu)
}

fn cpuset(read: Read<'_>) -> Result<CpuSet> {
    let text = |file: &str| Ok(read("cpuset", &format!("cpuset.{file}"))?.unwrap_or_default());
    let flag = |file: &str| text(file).map(|t| number(&t));
    Ok(CpuSet {
        cpus: ids(&text("cpus")?),
        cpu_exclusive: flag("cpu_exclusive")?,
        mems: ids(&text("mems")?),
        mem_hardwall: flag("mem_hardwall")?,
        mem_exclusive: flag("mem_exclusive")?,
        memory_migrate: flag("memory_migrate")?,
        memory_spread_page: flag("memory_spread_page")?,
        memory_spread_slab: flag("memory_spread_slab")?,
        memory_pressure: flag("memory_pressure")?,
        sched_load_balance: flag("sched_load_balance")?,
        // May be -1.
        sched_relax_domain_level: text("sched_relax_domain_level")?.trim().parse().unwrap_or(0),
    })
}

/// `0-2,7` as the numbers.
fn ids(text: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for part in text.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) {
            all.extend(from..=to);
        }
    }
    all
}

fn memory(read: Read<'_>) -> Result<Memory> {
    let Some(stat) = read("memory", "memory.stat")? else { return Ok(Memory::default()) };
    let raw: std::collections::BTreeMap<_, _> = keyed(&stat).map(|(k, v)| (k.to_owned(), v)).collect();
    let entry = |prefix: &str| -> Result<MemoryEntry> {
        let value =
            |name: &str| Ok(read("memory", &format!("memory.{prefix}{name}"))?.map_or(0, |t| number(&t)));
        Ok(MemoryEntry {
            limit: value("limit_in_bytes")?,
            usage: value("usage_in_bytes")?,
            max: value("max_usage_in_bytes")?,
            failcnt: value("failcnt")?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

fn pids(read: Read<'_>) -> Result<Pids> {
    let value = |file| Ok(read("pids", file)?.map_or(0, |t| number(&t)));
    let limit: u64 = value("pids.max")?;
    Ok(Pids { current: value("pids.current")?, limit: if limit == u64::MAX { 0 } else { limit } })
}

type Table = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;

/// The first of these sets of files whose first file has anything is what the I/O scheduler in use keeps up: BFQ with
/// and without debugging, CFQ (until Linux 5.0), else what throttling counts.
fn blkio(read: Read<'_>) -> Result<Blkio> {
    const SERVICED: Table = |b| &mut b.io_serviced_recursive;
    const BYTES: Table = |b| &mut b.io_service_bytes_recursive;
    let scheduler: [(&str, Table); 8] = [
        ("sectors_recursive", |b| &mut b.sectors_recursive),
        ("io_service_time_recursive", |b| &mut b.io_service_time_recursive),
        ("io_wait_time_recursive", |b| &mut b.io_wait_time_recursive),
        ("io_merged_recursive", |b| &mut b.io_merged_recursive),
        ("io_queued_recursive", |b| &mut b.io_queued_recursive),
        ("time_recursive", |b| &mut b.io_time_recursive),
        ("io_serviced_recursive", SERVICED),
        ("io_service_bytes_recursive", BYTES),
    ];
    let sets: [(&str, &[(&str, Table)]); 5] = [
        ("blkio.bfq.", &scheduler),
        ("blkio.bfq.", &scheduler[6..]),
        ("blkio.", &scheduler),
        ("blkio.throttle.", &scheduler[6..]),
        ("blkio.throttle.", &[("io_serviced", SERVICED), ("io_service_bytes", BYTES)]),
    ];
    let mut all = Blkio::default();
    for (prefix, files) in sets {
        for (i, (name, table)) in files.iter().enumerate() {
            let entries = blkio_entries(&read("blkio", &format!("{prefix}{name}"))?.unwrap_or_default());
            if entries.is_empty() && i == 0 {
                break;
            }
            *table(&mut all) = entries;
            if i + 1 == files.len() {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

/// `8:0 Read 5` or `8:0 5`; the line of totals is left out.
fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: number(value),
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(read: Read<'_>, size: &str) -> Result<Option<(String, Hugetlb)>> {
    // Reservations are what an application meets first; kernels before 5.7 do not count them.
    for reserved in [".rsvd", ""] {
        let value = |name: &str| read("hugetlb", &format!("hugetlb.{size}{reserved}.{name}"));
        if let Some(usage) = value("usage_in_bytes")? {
            let rest = |name: &str| Ok(value(name)?.map_or(0, |t| number(&t)));
            let found = Hugetlb {
                usage: number(&usage),
                max: rest("max_usage_in_bytes")?,
                failcnt: rest("failcnt")?,
            };
            return Ok(Some((size.to_owned(), found)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(files: &[(&str, &str)]) -> Value {
        let read = |controller: &str, file: &str| {
            let path = format!("{controller}/{file}");
            Ok(files.iter().find(|(p, _)| *p == path).map(|(_, text)| (*text).to_owned()))
        };
        serde_json::to_value(stats(&read, &["2MB".into(), "1GB".into()]).expect("stats")).expect("JSON")
    }

    #[test]
    fn each_controller() {
        for (files, pointer, want) in [
            (&[][..], "/memory", json!({})),
            (
                &[
                    ("cpu/cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 99\nnr_bursts 0\n"),
                    ("cpuacct/cpuacct.usage", "5000\n"),
                    ("cpuacct/cpuacct.stat", "user 3\nsystem 4\n"),
                    ("cpuacct/cpuacct.usage_percpu", "2000 3000 \n"),
                    ("cpuacct/cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
                ],
                "/cpu",
                json!({
                    "usage": {"total": 5000, "percpu": [2000, 3000], "percpu_kernel": [2, 4], "percpu_user": [1, 3],
                        "kernel": 40_000_000, "user": 30_000_000},
                    "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 99}
                }),
            ),
            (
                &[("cpuacct/cpuacct.usage", "1\n"), ("cpuacct/cpuacct.stat", "user 18446744073709551615\n")],
                "/cpu/usage/user",
                json!(u64::MAX),
            ),
            (
                &[
                    ("cpuset/cpuset.cpus", "0-2,7\n"),
                    ("cpuset/cpuset.mems", "0\n"),
                    ("cpuset/cpuset.sched_load_balance", "1\n"),
                    ("cpuset/cpuset.sched_relax_domain_level", "-1\n"),
                ],
                "/cpuset",
                json!({"cpus": [0, 1, 2, 7], "cpu_exclusive": 0, "mems": [0], "mem_hardwall": 0, "mem_exclusive": 0,
                    "memory_migrate": 0, "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0,
                    "sched_load_balance": 1, "sched_relax_domain_level": -1}),
            ),
            (
                &[
                    ("memory/memory.stat", "cache 512\nrss 1024\n"),
                    ("memory/memory.limit_in_bytes", "4096\n"),
                    ("memory/memory.usage_in_bytes", "2048\n"),
                    ("memory/memory.max_usage_in_bytes", "3000\n"),
                    ("memory/memory.failcnt", "7\n"),
                    ("memory/memory.kmem.usage_in_bytes", "8\n"),
                ],
                "/memory",
                json!({"cache": 512, "usage": {"limit": 4096, "usage": 2048, "max": 3000, "failcnt": 7},
                    "kernel": {"limit": 0, "usage": 8, "failcnt": 0}, "raw": {"cache": 512, "rss": 1024}}),
            ),
            (&[("pids/pids.current", "3\n"), ("pids/pids.max", "max\n")], "/pids", json!({"current": 3})),
            (
                &[("pids/pids.current", "3\n"), ("pids/pids.max", "9\n")],
                "/pids",
                json!({"current": 3, "limit": 9}),
            ),
            (
                &[
                    ("blkio/blkio.bfq.io_serviced_recursive", "Total 0\n"),
                    ("blkio/blkio.throttle.io_serviced_recursive", "8:0 Read 5\n8:0 Total 5\nTotal 5\n"),
                    ("blkio/blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\nTotal 4096\n"),
                ],
                "/blkio",
                json!({
                    "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}],
                    "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 5},
                        {"major": 8, "op": "Total", "value": 5}]
                }),
            ),
            (
                &[
                    ("blkio/blkio.bfq.sectors_recursive", "8:16 77\n"),
                    ("blkio/blkio.bfq.time_recursive", "8:16 9\n"),
                    ("blkio/blkio.throttle.io_serviced", "8:0 Read 5\n"),
                ],
                "/blkio",
                json!({"ioTimeRecursive": [{"major": 8, "minor": 16, "value": 9}],
                    "sectorsRecursive": [{"major": 8, "minor": 16, "value": 77}]}),
            ),
            (
                &[
                    ("hugetlb/hugetlb.2MB.rsvd.usage_in_bytes", "5\n"),
                    ("hugetlb/hugetlb.2MB.rsvd.failcnt", "1\n"),
                    ("hugetlb/hugetlb.1GB.usage_in_bytes", "0\n"),
                    ("hugetlb/hugetlb.1GB.max_usage_in_bytes", "6\n"),
                ],
                "/hugetlb",
                json!({"2MB": {"usage": 5, "failcnt": 1}, "1GB": {"max": 6, "failcnt": 0}}),
            ),
        ] {
            assert_eq!(shown(files).pointer(pointer), Some(&want), "{files:?}");
        }
    }
}
