//! Intel RDT: which group of a resctrl file system the container is in, and what it may use of caches and memory
//! bandwidth (config-linux.md, "IntelRdt"; the kernel's filesystems/resctrl.rst).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIntelRdt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, OnSys, Result};
use crate::sys::fs::{self, OFlag, Resolve};
use crate::sys::{Errno, mount};

/// What is written down about it: enough for `delete` to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where the file system is mounted.
    pub root: PathBuf,
    /// The group's name below it; none: the default group.
    pub group: Option<String>,
    /// The container's own, which goes with it.
    pub ours: bool,
    /// The name of its monitoring group, where it has one.
    pub monitor: Option<String>,
}

pub struct Rdt {
    pub root: OwnedFd,
    pub record: Record,
    /// The group was there before.
    pub exists: bool,
    /// Lines for the group's `schemata`.
    pub schemata: String,
}

const POINTER: &str = "/linux/intelRdt";

/// Names and schemata are judged by `spec::rules`.
pub fn build(linux: &Linux, id: &str) -> Result<Option<Rdt>> {
    let Some(wanted) = linux.intel_rdt() else { return Ok(None) };
    let (root, path) = find_root()?.ok_or_else(|| {
        let text = "intelRdt is specified in config, but Intel RDT is not enabled";
        Error::unsupported(text).pointer(POINTER).hint("no resctrl file system is mounted")
    })?;
    of(wanted, id, root, path).map(Some)
}

fn of(wanted: &LinuxIntelRdt, id: &str, root: OwnedFd, path: PathBuf) -> Result<Rdt> {
    let has = |feature: &str| {
        fs::openat2(&root, Path::new("info").join(feature), OFlag::O_PATH, 0, BENEATH).is_ok()
    };
    let given = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
    for (schema, feature, member, name) in [
        (wanted.l3_cache_schema(), "L3", "l3CacheSchema", "CAT"),
        (wanted.mem_bw_schema(), "MB", "memBwSchema", "MBA"),
    ] {
        if given(schema).is_some() && !has(feature) {
            let text =
                format!("intelRdt.{member} is specified in config, but Intel RDT/{name} is not enabled");
            return Err(Error::unsupported(text).pointer(format!("{POINTER}/{member}")));
        }
    }
    // In the order of the specification, the lines of `schemata` last.
    let lines = [given(wanted.l3_cache_schema()), given(wanted.mem_bw_schema())];
    let lines = lines.into_iter().flatten().chain(wanted.schemata().iter().flatten().cloned());
    let schemata: String = lines.filter(|l| !l.is_empty()).map(|l| l + "\n").collect();
    let clos = given(wanted.clos_id());
    let group = match clos.as_deref() {
        Some("/") => None,
        Some(name) => Some(name.to_owned()),
        None => Some(id.to_owned()),
    };
    let exists = match &group {
        None => true,
        Some(name) => match fs::openat2(&root, name, OFlag::O_PATH | OFlag::O_DIRECTORY, 0, BENEATH) {
            Ok(_) => true,
            Err(Errno::ENOENT) => false,
            Err(e) => return Err(e).on("open", path.join(name).display()).map_err(|e| e.pointer(POINTER)),
        },
    };
    if clos.is_some() && schemata.is_empty() && !exists {
        let text = "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)";
        return Err(Error::spec(format!("{POINTER}/closID"), text));
    }
    let monitor = wanted.enable_monitoring().unwrap_or(false).then(|| id.to_owned());
    let record = Record { root: path, group, ours: clos.is_none() && !exists, monitor };
    Ok(Rdt { root, record, exists, schemata })
}

pub const BENEATH: Resolve = Resolve::BENEATH;
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;

/// As runc: the place that the kernel has for it, else wherever somebody mounted it.
pub fn find_root() -> Result<Option<(OwnedFd, PathBuf)>> {
    const USUAL: &str = "/sys/fs/resctrl";
    if let Ok(root) = open_root(Path::new(USUAL)) {
        return Ok(Some((root, USUAL.into())));
    }
    // The directory is there wherever the kernel and the processor have it.
    if fs::open_path(USUAL).is_err() {
        return Ok(None);
    }
    let table = fs::read_file("/proc/self/mountinfo", 64 << 20).on("read", "/proc/self/mountinfo")?;
    let table = String::from_utf8_lossy(&table);
    let at = table.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        back.starts_with("resctrl ").then(|| front.split(' ').nth(4))?
    });
    match at {
        Some(path) => Ok(Some((open_root(Path::new(path)).on("open", path)?, path.into()))),
        None => Ok(None),
    }
}

/// `L3` or `MB`: may caches, or memory bandwidth, be divided here?
pub fn is_there(feature: &str) -> bool {
    let of =
        |root: OwnedFd| fs::openat2(root, Path::new("info").join(feature), OFlag::O_PATH, 0, BENEATH).is_ok();
    find_root().ok().flatten().is_some_and(|(root, _)| of(root))
}

pub fn open_root(path: &Path) -> crate::sys::Result<OwnedFd> {
    let root = fs::open_dir(path)?;
    mount::verify_fs(&root, RDTGROUP_SUPER_MAGIC)?;
    Ok(root)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A directory like a resctrl file system, as far as it needs no kernel.
    pub struct Fake {
        pub path: PathBuf,
    }

    impl Fake {
        pub fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("orlop-rdt-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            for dir in ["info/L3", "info/MB", "info/L3_MON", "mon_groups"] {
                std::fs::create_dir_all(path.join(dir)).unwrap();
            }
            let fake = Self { path };
            for (file, text) in [
                ("info/L3/cbm_mask", "fffff\n"),
                ("info/L3/min_cbm_bits", "1\n"),
                ("info/L3/num_closids", "16\n"),
                ("info/MB/bandwidth_gran", "10\n"),
                ("info/MB/delay_linear", "1\n"),
                ("info/MB/min_bandwidth", "10\n"),
                ("info/MB/num_closids", "8\n"),
                ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
                ("info/last_cmd_status", "ok\n"),
            ] {
                fake.write(file, text);
            }
            fake.files_of("");
            fake
        }

        pub fn write(&self, file: &str, text: &str) {
            std::fs::write(self.path.join(file), text).unwrap();
        }

        pub fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.path.join(file)).unwrap()
        }

        /// What the kernel puts into each group.
        pub fn files_of(&self, group: &str) {
            let dir = self.path.join(group);
            std::fs::create_dir_all(dir.join("mon_groups")).unwrap();
            std::fs::write(dir.join("tasks"), "").unwrap();
            std::fs::write(dir.join("schemata"), "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n").unwrap();
        }

        pub fn plan(&self, json: &str, id: &str) -> Result<Rdt> {
            of(&serde_json::from_str(json).unwrap(), id, fs::open_dir(&self.path).unwrap(), self.path.clone())
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }

    #[test]
    fn groups_and_who_removes_them() {
        let fake = Fake::new("groups");
        fake.files_of("there");
        for (json, group, ours, exists) in [
            ("{}", Some("c1"), true, false),
            (r#"{"closID":"/"}"#, None, false, true),
            (r#"{"closID":"there"}"#, Some("there"), false, true),
            (r#"{"closID":"new","memBwSchema":"MB:0=20"}"#, Some("new"), false, false),
            (r#"{"closID":"","schemata":["L3:0=f"]}"#, Some("c1"), true, false),
        ] {
            let rdt = fake.plan(json, "c1").unwrap();
            assert_eq!(
                (rdt.record.group.as_deref(), rdt.record.ours, rdt.exists, rdt.record.monitor),
                (group, ours, exists, None),
                "{json}"
            );
        }
        // One of that name that somebody else has made is not ours.
        assert!(!fake.plan("{}", "there").unwrap().record.ours);
        let monitored = fake.plan(r#"{"enableMonitoring":true,"enableCMT":true}"#, "c1").unwrap();
        assert_eq!(monitored.record.monitor.as_deref(), Some("c1"));
    }

    #[test]
    fn schemata_in_the_order_of_the_specification() {
        let fake = Fake::new("schemata");
        let all = r#"{"schemata":["L2:0=f","L3:0=1"],"memBwSchema":"MB:0=20","l3CacheSchema":"L3:0=ff"}"#;
        assert_eq!(fake.plan(all, "c").unwrap().schemata, "L3:0=ff\nMB:0=20\nL2:0=f\nL3:0=1\n");
        assert_eq!(fake.plan("{}", "c").unwrap().schemata, "");
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let fake = Fake::new("refused");
        let said = |json: &str| fake.plan(json, "c").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(said(r#"{"closID":"nowhere"}"#).contains("must be pre-created"));
        assert!(said(r#"{"closID":"nowhere"}"#).contains("/linux/intelRdt/closID"));
        for feature in ["L3", "MB"] {
            std::fs::remove_dir_all(fake.path.join("info").join(feature)).unwrap();
        }
        assert!(said(r#"{"l3CacheSchema":"L3:0=f"}"#).contains("Intel RDT/CAT is not enabled"));
        assert!(said(r#"{"memBwSchema":"MB:0=10"}"#).contains("Intel RDT/MBA is not enabled"));
        assert_eq!(said(r#"{"schemata":["L2:0=f"]}"#), "");
    }

    #[test]
    fn an_ordinary_directory_is_no_resctrl() {
        let fake = Fake::new("magic");
        assert_eq!(open_root(&fake.path).map(drop), Err(Errno::EXDEV));
    }
}
