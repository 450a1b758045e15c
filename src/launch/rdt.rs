//! Groups of a resctrl file system: made, joined, changed, measured, removed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, OnSys, Result};
use crate::plan::rdt::{BENEATH, Rdt, Record, open_root};
use crate::sys::Errno;
use crate::sys::fs::{self, OFlag};

/// Before the process does anything. The schemata before it joins.
pub fn apply(rdt: &Rdt, pid: i32) -> Result<()> {
    let group = make(rdt)?;
    if !rdt.schemata.is_empty() {
        if rdt.exists {
            compare(&rdt.root, &rdt.record, &rdt.schemata)?;
        } else {
            write(&rdt.root, &group.join("schemata"), &rdt.schemata, &rdt.record)?;
        }
    }
    enter(&rdt.root, &rdt.record, pid)
}

/// The group, and the one that it is measured in. What `mkdir` finds there it leaves.
fn make(rdt: &Rdt) -> Result<PathBuf> {
    let group = group_of(&rdt.record);
    let made = |path: &Path, may_exist: bool| match fs::mkdirat(&rdt.root, path, 0o755) {
        Err(Errno::EEXIST) if may_exist => Ok(()),
        Err(Errno::ENOSPC) => Err(failed(&rdt.root, "create", &rdt.record.root.join(path), Errno::ENOSPC)
            .hint("the processor has no more classes of service, or monitoring ids")),
        r => r.map_err(|e| failed(&rdt.root, "create", &rdt.record.root.join(path), e)),
    };
    if !rdt.exists {
        // Somebody else's of that name, made meanwhile, must not go with the container.
        made(&group, !rdt.record.ours)?;
    }
    if let Some(path) = monitor_of(&rdt.record) {
        made(&path, true)?;
    }
    Ok(group)
}

fn group_of(record: &Record) -> PathBuf {
    record.group.as_deref().unwrap_or(".").into()
}

fn monitor_of(record: &Record) -> Option<PathBuf> {
    record.monitor.as_ref().map(|id| group_of(record).join("mon_groups").join(id))
}

fn enter(root: &OwnedFd, record: &Record, pid: i32) -> Result<()> {
    for dir in [Some(group_of(record)), monitor_of(record)].into_iter().flatten() {
        write(root, &dir.join("tasks"), &format!("{pid}\n"), record)?;
    }
    Ok(())
}

/// A process of `exec`. A file system or a group that is no more there is nothing to be in, as with runc.
pub fn join(record: Option<&Record>, pid: i32) -> Result<()> {
    let Some(record) = record else { return Ok(()) };
    let Ok(root) = open_root(&record.root) else { return Ok(()) };
    if fs::openat2(&root, group_of(record), OFlag::O_PATH, 0, BENEATH).is_err() {
        return Ok(());
    }
    enter(&root, record, pid)
}

fn write(root: &OwnedFd, path: &Path, text: &str, record: &Record) -> Result<()> {
    fs::write_at(root, path, text, BENEATH).map_err(|e| failed(root, "write", &record.root.join(path), e))
}

/// The kernel keeps what it had to say about the last thing that it refused.
fn failed(root: impl AsFd, op: &'static str, path: &Path, e: Errno) -> Error {
    let said = fs::read_text_at(root, "info/last_cmd_status", BENEATH).unwrap_or_default();
    let e = Error::sys(op, path.display().to_string(), e).pointer("/linux/intelRdt");
    match said.trim() {
        "" | "ok" => e,
        said => e.hint(format!("last_cmd_status: {said}")),
    }
}

/// Spec: a group that was there is not changed, but must be as the configuration says.
fn compare(root: &OwnedFd, record: &Record, wanted: &str) -> Result<()> {
    let path = group_of(record).join("schemata");
    let shown = record.root.join(&path);
    let text = fs::read_text_at(root, &path, BENEATH).map_err(|e| failed(root, "read", &shown, e))?;
    let (have, want) = (entries(&text), entries(wanted));
    match want.iter().find(|(of, value)| !have.iter().any(|(o, v)| o == of && v == value)) {
        None => Ok(()),
        Some(((resource, domain), value)) => {
            let text =
                format!("{} is there already, and not as {resource}:{domain}={value}", shown.display());
            Err(Error::new(Kind::Spec, text).pointer("/linux/intelRdt"))
        }
    }
}

type Entry = ((String, String), String);

/// `L3:0=ff;1=0f` as ((L3, 0), ff), ((L3, 1), f); the last of a domain counts.
fn entries(schemata: &str) -> Vec<Entry> {
    let plain = |s: &str| {
        let s = s.trim().trim_start_matches('0').to_ascii_lowercase();
        if s.is_empty() { "0".to_owned() } else { s }
    };
    let mut all: Vec<Entry> = Vec::new();
    for line in schemata.lines() {
        let Some((resource, domains)) = line.split_once(':') else { continue };
        for (domain, value) in domains.split(';').filter_map(|d| d.split_once('=')) {
            let of = (resource.trim().to_owned(), plain(domain));
            all.retain(|(o, _)| *o != of);
            all.push((of, plain(value)));
        }
    }
    all
}

/// What the container had made for it. What is not there any more is removed.
pub fn remove(record: Option<&Record>) -> Result<()> {
    let Some(record) = record else { return Ok(()) };
    // The machine started anew, or somebody unmounted it.
    let Ok(root) = open_root(&record.root) else { return Ok(()) };
    remove_in(&root, record)
}

fn remove_in(root: &OwnedFd, record: &Record) -> Result<()> {
    // A group takes its monitoring groups along.
    let path = if record.ours { Some(group_of(record)) } else { monitor_of(record) };
    match path.as_ref().map(|p| fs::rmdirat(root, p)) {
        None | Some(Ok(()) | Err(Errno::ENOENT)) => Ok(()),
        Some(Err(e)) => Err(e).on("remove", record.root.join(path.unwrap_or_default()).display()),
    }
}

/// `update`: lines for the group's schemata. Gives what takes them back.
pub fn change(record: &Record, lines: &str) -> Result<impl FnOnce() + use<>> {
    let root = open_root(&record.root).on("open", record.root.display()).map_err(Error::without_pointer)?;
    change_in(root, record, lines).map_err(Error::without_pointer)
}

fn change_in(root: OwnedFd, record: &Record, lines: &str) -> Result<impl FnOnce() + use<>> {
    let path = group_of(record).join("schemata");
    let before = fs::read_text_at(&root, &path, BENEATH)
        .map_err(|e| failed(&root, "read", &record.root.join(&path), e))?;
    write(&root, &path, lines, record)?;
    let changed: Vec<_> =
        lines.lines().filter_map(|l| l.split_once(':').map(|(r, _)| r.trim().to_owned())).collect();
    Ok(move || {
        let of_them =
            |l: &&str| l.split_once(':').is_some_and(|(r, _)| changed.iter().any(|c| c == r.trim()));
        let old: String = before.lines().filter(of_them).map(|l| format!("{}\n", l.trim())).collect();
        let _ = fs::write_at(&root, &path, old, BENEATH);
    })
}

/// `events`: the members of `intel_rdt`, as runc's types/events.go has them.
pub fn stats(record: Option<&Record>) -> Result<Map<String, Value>> {
    let Some(record) = record else { return Ok(Map::new()) };
    let root = open_root(&record.root).on("open", record.root.display())?;
    stats_in(&root, record).on("read", record.root.display())
}

fn stats_in(root: &OwnedFd, record: &Record) -> crate::sys::Result<Map<String, Value>> {
    let read = |path: PathBuf| fs::read_text_at(root, path, BENEATH).map(|t| t.trim().to_owned());
    let number = |path: PathBuf| read(path)?.parse::<u64>().map_err(|_| Errno::EBADMSG);
    let info = |at: &str| PathBuf::from("info").join(at);
    let has = |at: &str| fs::openat2(root, info(at), OFlag::O_PATH, 0, BENEATH).is_ok();
    let group = group_of(record);
    let (of_root, own) = (read("schemata".into())?, read(group.join("schemata"))?);
    let line = |of: &str, word: &str| of.lines().rfind(|l| l.contains(word)).map(|l| json!(l.trim()));
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<Value>| drop(value.and_then(|v| all.insert(name.to_owned(), v)));
    put("schemata", Some(own.lines().map(str::trim).collect()));
    if has("L3") {
        let (bits, ids) = (number(info("L3/min_cbm_bits"))?, number(info("L3/num_closids"))?);
        put(
            "l3_cache_info",
            Some(json!({"cbm_mask": read(info("L3/cbm_mask"))?, "min_cbm_bits": bits, "num_closids": ids})),
        );
        put("l3_cache_schema_root", line(&of_root, "L3"));
        put("l3_cache_schema", line(&own, "L3"));
    }
    if has("MB") {
        let of = |name: &str| number(info("MB").join(name));
        put(
            "mem_bw_info",
            Some(json!({
                "bandwidth_gran": of("bandwidth_gran")?, "delay_linear": of("delay_linear")?,
                "min_bandwidth": of("min_bandwidth")?, "num_closids": of("num_closids")?,
            })),
        );
        put("mem_bw_schema_root", line(&of_root, "MB"));
        put("mem_bw_schema", line(&own, "MB"));
    }
    let features = read(info("L3_MON/mon_features")).unwrap_or_default();
    let can = |feature: &str| features.lines().any(|l| l == feature);
    let (bandwidth, occupancy) = (can("mbm_total_bytes") || can("mbm_local_bytes"), can("llc_occupancy"));
    if bandwidth || occupancy {
        // Without a monitoring group of its own these are the group's, in which others may be, too.
        let data = monitor_of(record).unwrap_or(group).join("mon_data");
        let dir = fs::openat2(root, &data, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0, BENEATH)?;
        let mut domains = fs::subdirs(dir)?;
        domains.sort();
        let counter = |domain: &std::ffi::OsString, name: &str| match can(name) {
            // The kernel says "Unavailable" or "Error" of a domain that nobody uses.
            true => Ok(number(data.join(domain).join(name)).unwrap_or(0)),
            false => Ok::<_, Errno>(0),
        };
        let (mut mbm, mut cmt) = (Vec::new(), Vec::new());
        for d in &domains {
            let (total, local) = (counter(d, "mbm_total_bytes")?, counter(d, "mbm_local_bytes")?);
            mbm.push(json!({"mbm_total_bytes": total, "mbm_local_bytes": local}));
            cmt.push(json!({"llc_occupancy": counter(d, "llc_occupancy")?}));
        }
        put("mbm_stats", bandwidth.then_some(Value::Array(mbm)));
        put("cmt_stats", occupancy.then_some(Value::Array(cmt)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::rdt::tests::Fake;

    #[test]
    fn a_group_of_its_own_comes_and_goes() {
        let fake = Fake::new("own");
        let rdt = fake.plan(r#"{"l3CacheSchema":"L3:0=f","enableMonitoring":true}"#, "c1").unwrap();
        // The first step is what the kernel fills with files.
        let group = fake.path.join("c1");
        assert!(make(&rdt).is_err_and(|e| e.to_string().contains("c1/mon_groups/c1")), "no files in it yet");
        assert!(group.is_dir());
        fake.files_of("c1");
        std::fs::create_dir(group.join("mon_groups/c1")).unwrap();
        std::fs::write(group.join("mon_groups/c1/tasks"), "").unwrap();
        write(&rdt.root, Path::new("c1/schemata"), &rdt.schemata, &rdt.record).unwrap();
        assert!(fake.read("c1/schemata").starts_with("L3:0=f\n"));
        enter(&rdt.root, &rdt.record, 4711).unwrap();
        assert_eq!(
            (fake.read("c1/tasks"), fake.read("c1/mon_groups/c1/tasks")),
            ("4711\n".into(), "4711\n".into())
        );
        // A resctrl group goes as it is; a directory goes empty.
        std::fs::remove_dir_all(&group).unwrap();
        std::fs::create_dir(&group).unwrap();
        remove_in(&rdt.root, &rdt.record).unwrap();
        assert!(!group.exists());
        remove_in(&rdt.root, &rdt.record).unwrap();
    }

    #[test]
    fn a_group_that_appears_meanwhile_is_not_taken_for_ours() {
        let fake = Fake::new("meanwhile");
        let rdt = fake.plan("{}", "c1").unwrap();
        fake.files_of("c1");
        assert!(apply(&rdt, 1).is_err_and(|e| e.errno() == Some(Errno::EEXIST)));
    }

    #[test]
    fn a_group_that_was_there_stays_as_it_is() {
        let fake = Fake::new("there");
        fake.files_of("g");
        let apply_all = |json: &str| apply(&fake.plan(json, "c1").unwrap(), 7).map_err(|e| e.to_string());
        let before = fake.read("g/schemata");
        for same in [
            r#"{"closID":"g"}"#,
            r#"{"closID":"g","l3CacheSchema":"L3:1=FFFFF;0=0fffff"}"#,
            r#"{"closID":"g","memBwSchema":"MB:0=100","schemata":["L3:0=fffff"]}"#,
        ] {
            assert_eq!(apply_all(same), Ok(()), "{same}");
        }
        for other in [r#"{"closID":"g","memBwSchema":"MB:0=20"}"#, r#"{"closID":"g","schemata":["L2:0=f"]}"#]
        {
            assert!(apply_all(other).is_err_and(|e| e.contains("there already")), "{other}");
        }
        assert_eq!((fake.read("g/schemata"), fake.read("g/tasks")), (before, "7\n".into()));
        let rdt = fake.plan(r#"{"closID":"g"}"#, "c1").unwrap();
        remove_in(&rdt.root, &rdt.record).unwrap();
        assert!(fake.path.join("g").is_dir());
        // The default group, and one for monitoring in it, which alone goes.
        let rdt = fake.plan(r#"{"closID":"/","enableMonitoring":true}"#, "c1").unwrap();
        make(&rdt).unwrap();
        assert!(fake.path.join("mon_groups/c1").is_dir());
        remove_in(&rdt.root, &rdt.record).unwrap();
        assert!(!fake.path.join("mon_groups/c1").exists() && fake.path.join("mon_groups").exists());
    }

    #[test]
    fn what_the_kernel_says_is_passed_on() {
        let fake = Fake::new("said");
        std::fs::create_dir(fake.path.join("g")).unwrap();
        fake.write("info/last_cmd_status", "Mask out of range\n");
        let rdt = fake.plan(r#"{"closID":"g"}"#, "c1").unwrap();
        let e = apply(&rdt, 7).map_err(|e| e.to_string()).unwrap_err();
        assert!(e.contains("g/tasks") && e.contains("Mask out of range"), "{e}");
    }

    #[test]
    fn changes_can_be_taken_back() {
        let fake = Fake::new("change");
        fake.files_of("g");
        let rdt = fake.plan(r#"{"closID":"g"}"#, "c1").unwrap();
        let back = change_in(rdt.root, &rdt.record, "MB:0=20\n").unwrap();
        assert!(fake.read("g/schemata").starts_with("MB:0=20\n"));
        back();
        assert!(fake.read("g/schemata").starts_with("MB:0=100;1=100\n"));
    }

    #[test]
    fn stats_are_runcs() {
        let fake = Fake::new("stats");
        fake.files_of("g");
        for (file, text) in
            [("mbm_total_bytes", "30\n"), ("mbm_local_bytes", "20\n"), ("llc_occupancy", "Unavailable\n")]
        {
            std::fs::create_dir_all(fake.path.join("g/mon_data/mon_L3_00")).unwrap();
            fake.write(&format!("g/mon_data/mon_L3_00/{file}"), text);
        }
        let rdt = fake.plan(r#"{"closID":"g"}"#, "c1").unwrap();
        let want = json!({
            "schemata": ["L3:0=fffff;1=fffff", "MB:0=100;1=100"],
            "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fffff;1=fffff",
            "l3_cache_schema": "L3:0=fffff;1=fffff",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0=100;1=100",
            "mbm_stats": [{"mbm_total_bytes": 30, "mbm_local_bytes": 20}],
            "cmt_stats": [{"llc_occupancy": 0}],
        });
        assert_eq!(Value::Object(stats_in(&rdt.root, &rdt.record).unwrap()), want);
        assert_eq!(stats(None).ok(), Some(Map::new()));
    }
}
