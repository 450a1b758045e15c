//! v2: files of one directory.

use std::collections::BTreeMap;

use super::{
    Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pids, Psi, PsiData, Stats, keyed, number, value_of,
};
use crate::error::Result;

/// The text of a file; `None` where there is none, or the kernel does not keep it up.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

pub fn stats(read: Read<'_>, page_sizes: &[String]) -> Result<Stats> {
    Ok(Stats {
        cpu: cpu(read)?,
        memory: memory(read)?,
        pids: pids(read)?,
        blkio: io(read)?,
        hugetlb: hugetlbs(read, page_sizes)?,
        ..Stats::default()
    })
}

/// There without the controller, too.
fn cpu(read: Read<'_>) -> Result<Cpu> {
    let mut cpu = Cpu { psi: psi(read, "cpu.pressure")?, ..Cpu::default() };
    for (key, value) in keyed(&read("cpu.stat")?.unwrap_or_default()) {
        let nanoseconds = value.saturating_mul(1000);
        match key {
            "usage_usec" => cpu.usage.total = nanoseconds,
            "user_usec" => cpu.usage.user = nanoseconds,
            "system_usec" => cpu.usage.kernel = nanoseconds,
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled_time = nanoseconds,
            _ => {}
        }
    }
    Ok(cpu)
}

fn memory(read: Read<'_>) -> Result<Memory> {
    let psi = psi(read, "memory.pressure")?;
    let Some(stat) = read("memory.stat")? else { return Ok(Memory { psi, ..Memory::default() }) };
    let raw: BTreeMap<_, _> = keyed(&stat).map(|(k, v)| (k.to_owned(), v)).collect();
    let entry = |name: &str| -> Result<MemoryEntry> {
        let value = |part: &str| Ok(read(&format!("{name}.{part}"))?.map_or(0, |t| number(&t)));
        Ok(MemoryEntry { limit: value("max")?, usage: value("current")?, max: value("peak")?, failcnt: 0 })
    };
    let usage = entry("memory")?;
    let swap = entry("memory.swap")?;
    // v1 counts memory with swap, and so does the document. The peaks of the two cannot be added.
    let swap = MemoryEntry {
        limit: swap.limit.saturating_add(usage.limit),
        usage: swap.usage.saturating_add(usage.usage),
        max: 0,
        failcnt: 0,
    };
    Ok(Memory { cache: raw.get("file").copied().unwrap_or(0), usage, swap, raw, psi, ..Memory::default() })
}

fn pids(read: Read<'_>) -> Result<Pids> {
    let Some(current) = read("pids.current")? else {
        // The controller is off.
        let list = read("cgroup.procs")?.or(read("cgroup.threads")?).unwrap_or_default();
        return Ok(Pids { current: list.lines().count() as u64, limit: 0 });
    };
    let limit = read("pids.max")?.map_or(0, |t| number(&t));
    Ok(Pids { current: number(&current), limit: if limit == u64::MAX { 0 } else { limit } })
}

/// In v1's names and tables.
fn io(read: Read<'_>) -> Result<Blkio> {
    let mut all = Blkio { psi: psi(read, "io.pressure")?, ..Blkio::default() };
    for line in read("io.stat")?.unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|d| d.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>())) else {
            continue;
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut all.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut all.io_service_bytes_recursive, "Write"),
                "rios" => (&mut all.io_serviced_recursive, "Read"),
                "wios" => (&mut all.io_serviced_recursive, "Write"),
                _ => continue,
            };
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value: number(value) });
        }
    }
    Ok(all)
}

/// Also in the v2 tree beside v1.
pub fn hugetlbs(read: Read<'_>, page_sizes: &[String]) -> Result<BTreeMap<String, Hugetlb>> {
    page_sizes.iter().filter_map(|size| hugetlb(read, size).transpose()).collect()
}

fn hugetlb(read: Read<'_>, size: &str) -> Result<Option<(String, Hugetlb)>> {
    for reserved in [".rsvd", ""] {
        if let Some(usage) = read(&format!("hugetlb.{size}{reserved}.current"))? {
            let events = read(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
            let found = Hugetlb { usage: number(&usage), max: 0, failcnt: value_of(&events, "max") };
            return Ok(Some((size.to_owned(), found)));
        }
    }
    Ok(None)
}

fn psi(read: Read<'_>, file: &str) -> Result<Option<Psi>> {
    let Some(text) = read(file)? else { return Ok(None) };
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let data = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *data = psi_data(words);
    }
    Ok(Some(psi))
}

fn psi_data<'a>(words: impl Iterator<Item = &'a str>) -> PsiData {
    let mut data = PsiData::default();
    for (key, value) in words.filter_map(|w| w.split_once('=')) {
        let percent = || value.parse().unwrap_or(0.0);
        match key {
            "avg10" => data.avg10 = percent(),
            "avg60" => data.avg60 = percent(),
            "avg300" => data.avg300 = percent(),
            "total" => data.total = number(value),
            _ => {}
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(files: &[(&str, &str)]) -> Value {
        let read =
            |file: &str| Ok(files.iter().find(|(p, _)| *p == file).map(|(_, text)| (*text).to_owned()));
        serde_json::to_value(stats(&read, &["2MB".into()]).expect("stats")).expect("JSON")
    }

    #[test]
    fn each_file() {
        for (files, pointer, want) in [
            (&[][..], "/cpu", json!({})),
            (
                &[
                    (
                        "cpu.stat",
                        "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n",
                    ),
                    (
                        "cpu.pressure",
                        "some avg10=0.00 avg60=1.50 avg300=0.25 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
                    ),
                ],
                "/cpu",
                json!({"usage": {"total": 5000, "kernel": 2000, "user": 3000},
                    "throttling": {"periods": 4, "throttledPeriods": 1, "throttledTime": 9000},
                    "psi": {"some": {"avg10": 0, "avg60": 1.5, "avg300": 0.25, "total": 77}}}),
            ),
            (
                &[
                    ("memory.stat", "anon 7\nfile 512\n"),
                    ("memory.current", "2048\n"),
                    ("memory.max", "4096\n"),
                    ("memory.peak", "3000\n"),
                    ("memory.swap.current", "10\n"),
                    ("memory.swap.max", "100\n"),
                    ("memory.swap.peak", "50\n"),
                ],
                "/memory",
                json!({"cache": 512, "usage": {"limit": 4096, "usage": 2048, "max": 3000, "failcnt": 0},
                    "swap": {"limit": 4196, "usage": 2058, "failcnt": 0}, "raw": {"anon": 7, "file": 512}}),
            ),
            (
                &[
                    ("memory.stat", ""),
                    ("memory.current", "1\n"),
                    ("memory.max", "max\n"),
                    ("memory.swap.max", "max\n"),
                ],
                "/memory/swap",
                json!({"limit": u64::MAX, "usage": 1, "failcnt": 0}),
            ),
            (&[("pids.current", "3\n"), ("pids.max", "max\n")], "/pids", json!({"current": 3})),
            (&[("cgroup.procs", "1\n2\n")], "/pids", json!({"current": 2})),
            (
                &[("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:1 rios=9\n")],
                "/blkio",
                json!({
                    "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 1},
                        {"major": 8, "op": "Write", "value": 2}],
                    "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}, {"major": 8, "op": "Write", "value": 4},
                        {"major": 254, "minor": 1, "op": "Read", "value": 9}]
                }),
            ),
            (
                &[("hugetlb.2MB.rsvd.current", "5\n"), ("hugetlb.2MB.events", "max 3\n")],
                "/hugetlb",
                json!({"2MB": {"usage": 5, "failcnt": 3}}),
            ),
        ] {
            assert_eq!(shown(files).pointer(pointer), Some(&want), "{files:?}");
        }
    }
}
