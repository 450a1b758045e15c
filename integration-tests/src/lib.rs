//! Drives an OCI runtime's binary on bundles made for the occasion and asks what came of it.
//!
//! A test is one closure given to [`check`]: it gets a [`Case`] with a unique token, a temporary directory and a state
//! root of its own, makes [`Bundle`]s (a rootfs with the probe and busybox, and a config.json to patch by JSON pointer),
//! calls the runtime, and asserts on facts that the probe (`src/bin/probe`) printed from inside. When the closure has
//! returned, the case deletes what is left and looks for leaks: processes, mounts, cgroups, state, temporary files.
//!
//! `RUNTIME` chooses the runtime: `orlop` (the default), `runc` (the reference in `.cache/peers/bin`), or a path.
//! `skips.toml` lists the tests that this machine cannot run (`ITEST_MACHINE=vm`: `skips-vm.toml`, for hack/vm), `differences.toml` those where the reference differs.

mod agent;
mod bundle;
mod call;
mod case;
mod container;
mod leaks;
mod ledger;
mod runtime;
mod terminal;
mod time;
mod user;

pub use agent::{Agent, Reply};
pub use bundle::{Bundle, default_config};
pub use call::{Call, Output, Running, adopt, copy_executable, executable, is_rfc3339, wait_for_adopted};
pub use case::{Case, check};
pub use container::Container;
pub use ledger::{MISSING, skip};
pub use runtime::{binary, is_reference, name};
pub use terminal::{ConsoleSocket, Pty};
pub use time::{LONG, Moment, PROMPT, patience, until, within};
pub use user::{SAILOR, SUBORDINATE};

pub use serde_json::{Value, json};

use std::path::PathBuf;

/// Ends the test as skipped, which `skips.toml` must foresee: `skip!("no {thing} here")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => { $crate::skip(format!($($reason)*)) };
}

/// Where the project is.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent directory").to_path_buf()
}

/// The target directory's profile folder, which holds the probe.
pub fn built() -> PathBuf {
    let me = std::env::current_exe().expect("our own path");
    me.ancestors().nth(2).expect("target/…/deps/test").to_path_buf()
}

/// Whether this machine has cgroup version 2 and nothing else.
pub fn unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// For tests of what only version 1 has, or names files of it.
pub fn version_one() {
    if unified() {
        skip!("cgroup version 2");
    }
}

/// The processors that a cgroup without a cpuset of its own has, which is what a container has by default.
pub fn cpus() -> Vec<u32> {
    let files =
        ["cgroup/cpuset/cpuset.effective_cpus", "cgroup/cpuset.cpus.effective", "devices/system/cpu/online"];
    let list =
        files.iter().find_map(|f| std::fs::read_to_string(format!("/sys/{f}")).ok()).expect("processors");
    let number = |n: &str| n.parse::<u32>().expect("a processor's number");
    let range =
        |r: &str| r.split_once('-').map_or_else(|| number(r)..=number(r), |(a, b)| number(a)..=number(b));
    list.trim().split(',').flat_map(range).collect()
}

/// The cgroup that a probe saw itself in: of this controller's hierarchy, or of the only one.
pub fn cgroup_in<'v>(facts: &'v Value, controller: &str) -> &'v Value {
    &facts["cgroups"][if unified() { "" } else { controller }]
}

/// The inode of one of the test's own namespaces, that is: of the host's.
pub fn host_namespace(kind: &str) -> u64 {
    namespace_of(std::process::id() as i32, kind)
}

/// The inode of another process's namespace.
pub fn namespace_of(pid: i32, kind: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).expect("a namespace").ino()
}

/// The members of a JSON list of strings.
pub fn words(list: &Value) -> Vec<&str> {
    list.as_array().map(|a| a.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// The last entry of a probe's mount table for a target, which is the one on top.
pub fn mount_at<'v>(facts: &'v Value, target: &str) -> Option<&'v Value> {
    facts["mounts"].as_array()?.iter().rfind(|m| m["target"] == target)
}
