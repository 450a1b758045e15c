//! update: other limits for a container that is there.

use oci_spec::runtime::LinuxResources;
use serde_json::Value;

use super::record::Record;
use super::store::Entry;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result, compat};
use crate::launch::rdt;
use crate::log::Log;
use crate::plan;
use crate::spec::{self, rules};

/// Sets what `change` names and leaves the rest; all of it or nothing. Device rules are never touched, as others may
/// have changed them meanwhile (runc, for GPU plugins).
pub fn update(entry: &Entry, change: &LinuxResources, schemata: &Schemata, log: &Log) -> Result<()> {
    check(change).map_err(Error::without_pointer)?;
    let _lock = entry.lock_limits()?;
    let record = entry.record()?;
    if !entry.status(&record).alive() {
        return Err(Error::new(Kind::WrongState, compat::NOT_RUNNING));
    }
    let before = match entry.limits()? {
        Some(limits) => limits,
        None => {
            let config = spec::parse_config(entry.config()?)?;
            config.spec.linux().as_ref().and_then(|l| l.resources().clone()).unwrap_or_default()
        }
    };
    let mut change = complete(change, &before);
    change.set_devices(None);
    let after = merge(&before, &change)?;
    for warning in rules::check_resources(&change).map_err(Error::without_pointer)? {
        log.warn(&warning);
    }
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    for name in cgroup.without_meaning(&change) {
        log.warn(&format!("{name} has no meaning on this cgroup layout and is ignored"));
    }
    let take_back = schemata.apply(&record)?;
    if let Err(e) = cgroup.update(&change) {
        take_back.into_iter().for_each(|back| back());
        return Err(e.without_pointer());
    }
    entry.save_limits(&after)
}

/// Lines for the container's resctrl group.
#[derive(Debug, Default)]
pub struct Schemata {
    pub l3: Option<String>,
    pub bandwidth: Option<String>,
}

impl Schemata {
    /// In runc's words where there is nothing to change. Gives what takes it back.
    fn apply(&self, record: &Record) -> Result<Option<impl FnOnce()>> {
        let lines: String = self.l3.iter().chain(&self.bandwidth).map(|l| format!("{l}\n")).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        for (schema, feature, text) in [
            (&self.l3, "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
            (&self.bandwidth, "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
        ] {
            if schema.is_some() && !plan::rdt::is_there(feature) {
                return Err(Error::unsupported(text));
            }
        }
        // A line of another kind, or a second one, would change what the flag does not name.
        let foreign = |line: &Option<String>, kind: &str| {
            line.as_ref().is_some_and(|l| l.contains('\n') || !l.trim_start().starts_with(kind))
        };
        if foreign(&self.l3, "L3") || foreign(&self.bandwidth, "MB:") {
            return Err(Error::new(Kind::Usage, "a schema is one line, of L3 or MB: as its flag says"));
        }
        match &record.rdt {
            None => Err(Error::new(
                Kind::WrongState,
                "updating a non-existent Intel RDT configuration is not supported",
            )),
            Some(rdt) => rdt::change(rdt, &lines).map(Some),
        }
    }
}

/// What no kernel would take, before anything is written.
fn check(change: &LinuxResources) -> Result<()> {
    let wrong = |text: String| Err(Error::new(Kind::Spec, text));
    if let Some(w) = change.block_io().as_ref().and_then(|io| io.weight()).filter(|w| *w != 0)
        && !(10..=1000).contains(&w)
    {
        return wrong(format!("invalid blkio weight {w}: range is from 10 to 1000"));
    }
    if let Some(cpu) = change.cpu() {
        if let Some(idle) = cpu.idle().filter(|i| !matches!(i, 0 | 1)) {
            return wrong(format!("invalid cpu idle {idle}: it is 0 or 1"));
        }
        if let (Some(runtime), Some(period)) = (cpu.realtime_runtime(), cpu.realtime_period())
            && period != 0
            && u64::try_from(runtime).is_ok_and(|r| r > period)
        {
            return wrong(format!("cpu realtime runtime {runtime} is more than its period {period}"));
        }
    }
    if let Some(m) = change.memory() {
        for (name, value) in [("", m.limit()), ("+swap", m.swap()), (" reservation", m.reservation())] {
            if let Some(v) = value.filter(|v| *v < -1) {
                return wrong(format!("invalid memory{name} value: {v}"));
            }
        }
        if let (Some(limit @ 1..), Some(swap @ 1..)) = (m.limit(), m.swap())
            && swap < limit
        {
            return wrong("memory+swap limit should be >= memory limit".into());
        }
    }
    Ok(())
}

/// Adds what must be written together with what is changed: v2 has quota and period in one file, and keeps swap alone
/// where the specification counts memory with it.
fn complete(change: &LinuxResources, before: &LinuxResources) -> LinuxResources {
    let mut change = change.clone();
    if let (Some(new), Some(old)) = (change.cpu().clone(), before.cpu()) {
        let given = |v: Option<u64>| v.filter(|v| *v != 0);
        let mut cpu = new.clone();
        match (given(new.period()), new.quota().filter(|q| *q != 0)) {
            (Some(_), None) => drop(cpu.set_quota(old.quota())),
            (None, Some(_)) => drop(cpu.set_period(old.period())),
            _ => {}
        }
        change.set_cpu(Some(cpu));
    }
    if let (Some(new), Some(old)) = (*change.memory(), *before.memory()) {
        let given = |v: Option<i64>| v.filter(|v| *v != 0);
        let mut memory = new;
        match (given(new.limit()), given(new.swap())) {
            // No limit is none for swap either.
            (Some(-1), None) => {}
            (Some(_), None) => drop(memory.set_swap(old.swap())),
            (None, Some(_)) => drop(memory.set_limit(old.limit())),
            _ => {}
        }
        change.set_memory(Some(memory));
    }
    change
}

/// The whole as it is after the change: what later updates complete themselves from.
fn merge(before: &LinuxResources, change: &LinuxResources) -> Result<LinuxResources> {
    let (mut all, new) = (value(before)?, value(change)?);
    overlay(&mut all, new);
    // By way of text, as everywhere: all that serde makes for these types is there once.
    let text = serde_json::to_vec(&all).map_err(|e| Error::bug(format!("limits: {e}")))?;
    let mut all: LinuxResources =
        serde_json::from_slice(&text).map_err(|e| Error::bug(format!("limits: {e}")))?;
    if let (Some(memory), Some(new)) = (all.memory_mut(), change.memory())
        && (new.limit(), new.swap().filter(|s| *s != 0)) == (Some(-1), None)
    {
        memory.set_swap(None);
    }
    if let (Some(cpu), Some(new)) = (all.cpu_mut(), change.cpu())
        && new.idle().is_some()
        && new.shares().is_none()
    {
        // An idle cgroup has no weight of its own.
        cpu.set_shares(None);
    }
    Ok(all)
}

fn value(r: &LinuxResources) -> Result<Value> {
    let text = serde_json::to_vec(r).map_err(|e| Error::bug(format!("limits: {e}")))?;
    serde_json::from_slice(&text).map_err(|e| Error::bug(format!("limits: {e}")))
}

/// Members of objects one by one; of lists of devices and page sizes each entry by what it is about.
fn overlay(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                overlay(old.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for entry in new {
                let subject = |v: &Value| ["major", "minor", "pageSize", "name"].map(|k| v.get(k).cloned());
                match old.iter_mut().find(|o| subject(o) == subject(&entry)) {
                    Some(o) => overlay(o, entry),
                    None => old.push(entry),
                }
            }
        }
        (old, new) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(json: &str) -> LinuxResources {
        serde_json::from_str(json).expect("test document")
    }

    #[test]
    fn what_is_written_together_is_completed() {
        for (before, change, want) in [
            (
                r#"{"cpu":{"quota":5,"period":9}}"#,
                r#"{"cpu":{"quota":7}}"#,
                r#"{"cpu":{"quota":7,"period":9}}"#,
            ),
            (
                r#"{"cpu":{"quota":5,"period":9}}"#,
                r#"{"cpu":{"period":7}}"#,
                r#"{"cpu":{"quota":5,"period":7}}"#,
            ),
            (r#"{"cpu":{"quota":5,"period":9}}"#, r#"{"cpu":{"shares":7}}"#, r#"{"cpu":{"shares":7}}"#),
            (
                r#"{"memory":{"limit":5,"swap":9}}"#,
                r#"{"memory":{"limit":6}}"#,
                r#"{"memory":{"limit":6,"swap":9}}"#,
            ),
            (
                r#"{"memory":{"limit":5,"swap":9}}"#,
                r#"{"memory":{"swap":8}}"#,
                r#"{"memory":{"limit":5,"swap":8}}"#,
            ),
            (
                r#"{"memory":{"limit":5,"swap":9}}"#,
                r#"{"memory":{"limit":-1}}"#,
                r#"{"memory":{"limit":-1}}"#,
            ),
            (
                "{}",
                r#"{"memory":{"limit":6},"cpu":{"quota":1}}"#,
                r#"{"memory":{"limit":6},"cpu":{"quota":1}}"#,
            ),
        ] {
            assert_eq!(complete(&r(change), &r(before)), r(want), "{before} {change}");
        }
    }

    #[test]
    fn what_is_there_afterwards() {
        for (before, change, want) in [
            (
                r#"{"memory":{"limit":5},"pids":{"limit":3}}"#,
                r#"{"pids":{"limit":9}}"#,
                r#"{"memory":{"limit":5},"pids":{"limit":9}}"#,
            ),
            (
                r#"{"memory":{"limit":5,"swap":9}}"#,
                r#"{"memory":{"limit":-1}}"#,
                r#"{"memory":{"limit":-1}}"#,
            ),
            (r#"{"cpu":{"shares":5,"quota":1}}"#, r#"{"cpu":{"idle":1}}"#, r#"{"cpu":{"idle":1,"quota":1}}"#),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]}}"#,
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":2},{"major":8,"minor":0,"rate":3}]}}"#,
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":3},{"major":8,"minor":1,"rate":2}]}}"#,
            ),
            (
                r#"{"unified":{"a.b":"1"}}"#,
                r#"{"unified":{"c.d":"2"}}"#,
                r#"{"unified":{"a.b":"1","c.d":"2"}}"#,
            ),
        ] {
            assert_eq!(merge(&r(before), &r(change)).ok(), Some(r(want)), "{before} {change}");
        }
    }

    #[test]
    fn what_no_kernel_takes() {
        for (change, text) in [
            (r#"{"blockIO":{"weight":9}}"#, "range is from 10 to 1000"),
            (r#"{"blockIO":{"weight":1001}}"#, "range is from 10 to 1000"),
            (r#"{"cpu":{"idle":2}}"#, "it is 0 or 1"),
            (r#"{"cpu":{"realtimeRuntime":9,"realtimePeriod":5}}"#, "more than its period"),
            (r#"{"memory":{"limit":-2}}"#, "invalid memory value: -2"),
            (r#"{"memory":{"limit":9,"swap":5}}"#, "memory+swap limit should be >= memory limit"),
        ] {
            let e = check(&r(change)).expect_err(change).to_string();
            assert!(e.contains(text), "{change}: {e}");
        }
        for change in [
            "{}",
            r#"{"blockIO":{"weight":0}}"#,
            r#"{"memory":{"limit":-1,"swap":5}}"#,
            r#"{"memory":{"limit":9,"swap":-1}}"#,
        ] {
            assert!(check(&r(change)).is_ok(), "{change}");
        }
    }
}
