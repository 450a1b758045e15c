//! What a hostile image or config could try: the static cases of the security bar. In each of them the victim, a directory
//! of the host outside the rootfs, must be the same afterwards; whether the container then runs or is refused is second.

mod descriptors;
mod dev;
mod identity;
mod proc;
mod state;
mod targets;

pub use integration_tests::*;
pub use std::collections::BTreeMap;
pub use std::fs;
pub use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
pub use std::path::{Path, PathBuf};

/// A directory of the host with a decoy for each thing that might be touched.
pub struct Victim {
    pub dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Victim {
    pub fn new(t: &Case) -> Self {
        let dir = t.folder("victim");
        for name in ["ptmx", "null", "console", "passwd"] {
            fs::write(dir.join(name), "decoy").unwrap();
        }
        for name in ["pts", "shm", "mqueue", "proc", "sys"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let before = snapshot(&dir);
        Victim { dir, before }
    }

    #[track_caller]
    pub fn unharmed(&self) {
        assert_eq!(snapshot(&self.dir), self.before);
    }
}

/// Every entry with its kind, owner, mode and content.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let m = entry.metadata().unwrap();
        let content = if m.is_file() { fs::read_to_string(entry.path()).unwrap() } else { String::new() };
        all.insert(entry.path(), format!("{:o} {}:{} {} {content}", m.mode(), m.uid(), m.gid(), m.dev()));
        if m.is_dir() {
            all.extend(snapshot(&entry.path()));
        }
    }
    all
}

/// The bar's base bundle: proc and sysfs only, so that nothing covers /dev, and capabilities that help an attacker.
pub fn base<'c>(t: &'c Case) -> Bundle<'c> {
    let mut b = t.bundle();
    let mounts: Vec<Value> = b.config["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["destination"] == "/proc" || m["destination"] == "/sys")
        .cloned()
        .collect();
    b.set("/mounts", mounts).writable();
    b.capabilities(&["CAP_KILL", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_CHOWN"]);
    b
}

/// Runs it; a refusal must be an orderly one. Returns the payload's facts where it ran.
#[track_caller]
pub fn ran_or_refused(t: &Case, b: &mut Bundle) -> Option<Value> {
    b.probe(&["facts"]);
    let out = b.run();
    t.nothing_left();
    if out.status == 0 {
        return Some(out.facts());
    }
    out.complains(&[]);
    None
}
