//! What a hostile image, configuration, neighbour or caller could try: the cases of the security bar; bar.toml says which
//! test is which. In most of them the victim, a directory of the host outside the rootfs, must be the same afterwards;
//! whether the container then runs or is refused is second.
//!
//! What an attack has won is said with `bites!`, so that hack/bites can tell it from another runtime's other words. Races
//! and sweeps take their short form unless `ATTACKS=long` (`make attacks`).

mod bulk;
mod descriptors;
mod dev;
mod identity;
mod proc;
mod races;
mod scarce;
mod state;
mod targets;

pub use integration_tests::*;
pub use std::collections::BTreeMap;
pub use std::fs;
pub use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
pub use std::path::{Path, PathBuf};

/// As `assert!`, for what an attacker must not win.
macro_rules! bites {
    ($held:expr, $($what:tt)*) => {
        if !$held {
            panic!("BITES: {}", format_args!($($what)*));
        }
    };
}
pub(crate) use bites;

/// Whether the long forms were asked for.
pub fn long() -> bool {
    std::env::var("ATTACKS").is_ok_and(|v| v == "long")
}

/// How often to try: in the short form, in the long one.
pub fn rounds(short: u32, long_one: u32) -> std::ops::Range<u32> {
    0..if long() { long_one } else { short }
}

/// Numbers below what is asked for: always the same ones, so that a failure can be seen again; in the long form others each
/// time, by a seed that is printed (xorshift).
pub fn chance() -> impl FnMut(usize) -> usize {
    let mut seed = if long() { std::process::id() | 1 } else { 0x0123_4567 };
    println!("seed {seed}");
    move |n| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize % n
    }
}

/// A path as the words of a configuration have it.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

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
        let now = snapshot(&self.dir);
        bites!(now == self.before, "the victim was {:#?} and is {now:#?}", self.before);
    }
}

/// Every entry with its kind, owner, mode and content.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let m = entry.metadata().unwrap();
        let content = if m.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        let content = String::from_utf8_lossy(&content[..content.len().min(4096)]).into_owned();
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
