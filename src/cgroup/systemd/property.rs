//! `linux.resources` and device rules as properties of a unit, systemd.resource-control(5): pure functions.
//!
//! systemd must know every limit that it could set itself: whenever it writes one file of a controller, it writes all
//! that it has properties for.

use oci_spec::runtime::LinuxResources;

use crate::cgroup::devices::{DeviceRules, Kind};
use crate::cgroup::v2;
use crate::error::{Error, Result};

/// A value in one of D-Bus's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    U64(u64),
    Text(String),
    Texts(Vec<String>),
    /// `ay`.
    Bytes(Vec<u8>),
    /// `au`.
    Pids(Vec<u32>),
    /// `a(ss)`.
    Pairs(Vec<(String, String)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: Value,
}

impl Property {
    pub fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value }
    }
}

fn number(name: &str, value: u64) -> Property {
    Property::new(name, Value::U64(value))
}

/// The kernel's own period of cpu.max and cpu.cfs_period_us.
const PERIOD: u64 = 100_000;
/// Versions of systemd that brought a property.
const HAS_PERIOD: u32 = 242;
const HAS_CPUSET: u32 = 244;
const HAS_IDLE: u32 = 252;
pub const HAS_OOM_POLICY: u32 = 253;
const HAS_DEVICE_NUMBERS: u32 = 240;

/// All of `linux.resources` that systemd has properties for, but the devices.
pub fn of_resources(r: &LinuxResources, is_v2: bool, version: u32) -> Result<Vec<Property>> {
    let mut all = if is_v2 { memory_v2(r)? } else { memory_v1(r) };
    all.extend(cpu(r, is_v2, version)?);
    if let Some(pids) = r.pids() {
        all.push(number("TasksMax", tasks_max(pids.limit())));
    }
    if let Some(weight) = r.block_io().as_ref().and_then(|io| io.weight()).filter(|w| *w != 0) {
        all.push(if is_v2 {
            number("IOWeight", io_weight(weight.into()))
        } else {
            number("BlockIOWeight", weight.into())
        });
    }
    if is_v2 {
        all.extend(unified(r, version)?);
    }
    Ok(all)
}

/// 0 is refused for TasksMax; a negative number is no limit.
fn tasks_max(limit: i64) -> u64 {
    u64::try_from(limit).map_or(u64::MAX, |n| n.max(1))
}

/// The IOWeight that systemd turns into this io.bfq.weight (its BFQ_WEIGHT(): 100 is 100, 10000 is 1000).
fn io_weight(bfq: u64) -> u64 {
    if bfq <= 100 { bfq } else { (100 + (bfq - 100) * 11).min(10_000) }
}

fn memory_v1(r: &LinuxResources) -> Vec<Property> {
    let limit = r.memory().as_ref().and_then(|m| m.limit()).filter(|v| *v != 0);
    limit.map(|v| number("MemoryLimit", v as u64)).into_iter().collect()
}

fn memory_v2(r: &LinuxResources) -> Result<Vec<Property>> {
    let Some(m) = r.memory() else { return Ok(Vec::new()) };
    // -1 is infinity: all bits set in systemd too.
    let given = |v: Option<i64>| v.filter(|v| *v != 0).map(|v| v as u64);
    let mut all = Vec::new();
    all.extend(given(m.limit()).map(|v| number("MemoryMax", v)));
    all.extend(given(m.reservation()).map(|v| number("MemoryLow", v)));
    let both = m.swap().unwrap_or(0);
    let swap = v2::swap_max(both, m.limit().unwrap_or(0))?;
    // Memory and memory plus swap the same: no swap, which is not "not given".
    if swap != 0 || both > 0 {
        all.push(number("MemorySwapMax", swap as u64));
    }
    Ok(all)
}

fn cpu(r: &LinuxResources, is_v2: bool, version: u32) -> Result<Vec<Property>> {
    let Some(cpu) = r.cpu() else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    let shares = cpu.shares().filter(|s| *s != 0);
    if !is_v2 {
        all.extend(shares.map(|s| number("CPUShares", s)));
    } else if cpu.idle() == Some(1) && version >= HAS_IDLE {
        // A weight of 0 stands for cpu.idle, which leaves no weight of its own.
        all.push(number("CPUWeight", 0));
    } else {
        all.extend(shares.map(|s| number("CPUWeight", v2::weight(s))));
    }
    let quota = cpu.quota().unwrap_or(0);
    all.extend(cpu_quota(quota, cpu.period().unwrap_or(0), version));
    for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|l| !l.is_empty() && version >= HAS_CPUSET) {
            let at = if name == "AllowedCPUs" { "cpus" } else { "mems" };
            let bits = bits(list).map_err(|text| {
                Error::spec(format!("/linux/resources/cpu/{at}"), format!("invalid list {list:?}: {text}"))
            })?;
            all.push(Property::new(name, Value::Bytes(bits)));
        }
    }
    Ok(all)
}

fn cpu_quota(quota: i64, period: u64, version: u32) -> Vec<Property> {
    let mut all = Vec::new();
    if period != 0 && version >= HAS_PERIOD {
        all.push(number("CPUQuotaPeriodUSec", period));
    }
    if quota != 0 || period != 0 {
        all.push(number("CPUQuotaPerSecUSec", per_second(quota, period)));
    }
    all
}

/// Microseconds of CPU time per second, in whole percents as systemd counts them, rounded up; no quota: all bits set.
fn per_second(quota: i64, period: u64) -> u64 {
    let Some(quota) = u128::try_from(quota).ok().filter(|q| *q != 0) else { return u64::MAX };
    let period = if period == 0 { PERIOD } else { period };
    let usec = quota * 1_000_000 / u128::from(period);
    u64::try_from(usec.div_ceil(10_000) * 10_000).unwrap_or(u64::MAX)
}

/// The limits with the quota that systemd makes of it, so that the files never say something else than the unit.
pub fn rounded(r: &LinuxResources) -> LinuxResources {
    let mut r = r.clone();
    if let Some(cpu) = r.cpu_mut()
        && let Some(quota) = cpu.quota().filter(|q| *q > 0)
    {
        let period = cpu.period().filter(|p| *p != 0).unwrap_or(PERIOD);
        let rounded = u128::from(per_second(quota, period)) * u128::from(period) / 1_000_000;
        cpu.set_quota(Some(i64::try_from(rounded).unwrap_or(quota).max(quota)));
    }
    r
}

/// A list such as `0-2,5` as systemd takes it: bit by bit, the lowest first.
fn bits(list: &str) -> std::result::Result<Vec<u8>, String> {
    // More than any kernel has, CONFIG_NR_CPUS: a huge number must not become a huge message.
    const MOST: usize = 1 << 16;
    let mut bytes: Vec<u8> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let number = |s: &str| {
            s.parse()
                .ok()
                .filter(|n: &usize| *n < MOST)
                .ok_or_else(|| format!("{s:?} is no number below {MOST}"))
        };
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        if from > to {
            return Err(format!("invalid range {part}"));
        }
        for n in from..=to {
            if bytes.len() <= n / 8 {
                bytes.resize(n / 8 + 1, 0);
            }
            bytes[n / 8] |= 1 << (n % 8);
        }
    }
    if bytes.is_empty() { Err("it is empty".into()) } else { Ok(bytes) }
}

/// Files of `unified` that systemd has properties for. The keys are checked by [`v2::writes`].
fn unified(r: &LinuxResources, version: u32) -> Result<Vec<Property>> {
    let mut entries: Vec<_> = r.unified().iter().flatten().map(|(k, v)| (k.as_str(), v.trim())).collect();
    entries.sort_unstable();
    let idle = version >= HAS_IDLE && entries.contains(&("cpu.idle", "1"));
    let mut all = Vec::new();
    for (key, value) in entries {
        let bad = |text: &str| {
            let text = format!("unified resource {key:?} value {value:?}: {text}");
            Error::spec(format!("/linux/resources/unified/{key}"), text)
        };
        let count = |v: &str| v.parse::<u64>().map_err(|_| bad("not a number"));
        let or_max = |v: &str| if v == "max" { Ok(u64::MAX) } else { count(v) };
        match key {
            "cpu.idle" if idle => all.push(number("CPUWeight", 0)),
            "cpu.weight" if !idle => all.push(number("CPUWeight", count(value)?)),
            "cpu.max" => {
                let fields: Vec<&str> = value.split_whitespace().collect();
                let (quota, period) = match fields[..] {
                    [quota] => (quota, PERIOD),
                    [quota, period] => (quota, count(period)?),
                    _ => return Err(bad("expected QUOTA [PERIOD]")),
                };
                let quota = if quota == "max" { 0 } else { count(quota)? };
                all.extend(cpu_quota(i64::try_from(quota).unwrap_or(i64::MAX), period, version));
            }
            "cpuset.cpus" | "cpuset.mems" if version >= HAS_CPUSET => {
                let name = if key == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                all.push(Property::new(name, Value::Bytes(bits(value).map_err(|text| bad(&text))?)));
            }
            "memory.high" => all.push(number("MemoryHigh", or_max(value)?)),
            "memory.low" => all.push(number("MemoryLow", or_max(value)?)),
            "memory.min" => all.push(number("MemoryMin", or_max(value)?)),
            "memory.max" => all.push(number("MemoryMax", or_max(value)?)),
            "memory.swap.max" => all.push(number("MemorySwapMax", or_max(value)?)),
            "pids.max" => all.push(number("TasksMax", or_max(value)?.max(1))),
            _ => {}
        }
    }
    Ok(all)
}

/// memory.oom.group, which systemd takes only when a unit starts.
pub fn oom_policy(r: &LinuxResources, version: u32) -> Option<Property> {
    let value = r.unified().as_ref()?.get("memory.oom.group").filter(|_| version >= HAS_OOM_POLICY)?;
    let policy = match value.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(Property::new("OOMPolicy", Value::Text(policy.into())))
}

/// Device rules, so that a unit that systemd applies anew (daemon-reload) allows what our own program allows. What it
/// has no words for is left to the program: it knows no list of what is denied, and no rule about a minor number of
/// any major one.
pub fn of_devices(rules: &DeviceRules, version: u32) -> Vec<Property> {
    let policy = |p: &str| Property::new("DevicePolicy", Value::Text(p.into()));
    // An empty list takes away what was said before; what follows is added.
    let clear = Property::new("DeviceAllow", Value::Pairs(Vec::new()));
    if rules.allow {
        return vec![clear, policy("auto")];
    }
    let mut allowed = Vec::new();
    for (which, access) in &rules.exceptions {
        let kind = if which.kind == Kind::Block { "block" } else { "char" };
        let path = match (which.major, which.minor) {
            (None, None) => format!("{kind}-*"),
            (Some(major), None) if version >= HAS_DEVICE_NUMBERS => format!("{kind}-{major}"),
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            _ => continue,
        };
        allowed.push((path, access.to_string()));
    }
    vec![clear, policy("strict"), Property::new("DeviceAllow", Value::Pairs(allowed))]
}

#[cfg(test)]
mod tests;
