//! What a runtime may leave behind, found by the case's token: everything a test makes has it in its name.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One thing that should not be there.
#[derive(Debug, PartialEq, Eq)]
pub enum Leak {
    Process { pid: i32, what: String },
    Mount(String),
    Cgroup(PathBuf),
    State(PathBuf),
    File(PathBuf),
}

/// Everything with this token that is still around; `root` is the state root, `ours` the case's own directory.
pub fn find(token: &str, root: &Path, ours: &Path) -> Vec<Leak> {
    crate::call::reap_orphans();
    let mut all = processes(token);
    all.extend(mounts(token).into_iter().map(Leak::Mount));
    all.extend(cgroups(token).into_iter().map(Leak::Cgroup));
    all.extend(states(root).into_iter().map(Leak::State));
    for place in
        ["/tmp", "/run", "/run/netns", "/run/runc", "/run/orlop", "/var/tmp", "/dev/shm", "/dev/mqueue"]
    {
        let named = |p: &PathBuf| p.to_string_lossy().contains(token) && !ours.starts_with(p);
        all.extend(entries(Path::new(place)).into_iter().filter(named).map(Leak::File));
    }
    all
}

/// What is still around after a time of grace, since whoever was told to go takes a moment: shorter than any deadline of the
/// runtime's; and longer where all that is left are processes that the kernel is about to end.
pub fn lasting(token: &str, root: &Path, ours: &Path) -> Vec<Leak> {
    let mut found = Vec::new();
    let mut look = || {
        found = find(token, root, ours);
        found.is_empty()
    };
    if !crate::within(crate::PROMPT, &mut look) {
        crate::within(crate::LONG, || look() || !are_dying(token));
    }
    found
}

/// Whether each process with this token has been killed, and needs a processor to see it.
fn are_dying(token: &str) -> bool {
    let is_dying = |leak: &Leak| {
        let Leak::Process { pid, .. } = leak else { return false };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map_or("", str::trim);
        let killed =
            |set: &str| u64::from_str_radix(field(set), 16).is_ok_and(|s| s >> (libc::SIGKILL - 1) & 1 == 1);
        status.is_empty() || field("State:").starts_with(['Z', 'X']) || killed("SigPnd:") || killed("ShdPnd:")
    };
    let processes = processes(token);
    !processes.is_empty() && processes.iter().all(is_dying)
}

/// What is in the state root; crun keeps a hidden directory there for all its containers, orlop compiled filters.
pub fn states(root: &Path) -> Vec<PathBuf> {
    let kept =
        |p: &PathBuf| crate::name() == "crun" && p.ends_with(".empty-directory") || p.ends_with("@filters");
    entries(root).into_iter().filter(|p| !kept(p)).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

fn processes(token: &str) -> Vec<Leak> {
    let mut all = Vec::new();
    for entry in entries(Path::new("/proc")) {
        let Some(pid) = entry.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()) else {
            continue;
        };
        if pid == std::process::id() as i32 {
            continue;
        }
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(entry.join(name)).unwrap_or_default()).replace('\0', " ")
        };
        if read("cgroup").contains(token) || read("cmdline").contains(token) {
            let state = read("stat").rsplit(')').next().unwrap_or_default().trim().chars().next();
            all.push(Leak::Process { pid, what: format!("{} ({state:?})", read("cmdline").trim()) });
        }
    }
    all
}

/// The targets of mounts in the test's own mount namespace.
fn mounts(token: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let named = table.lines().filter(|l| l.contains(token));
    named.filter_map(|l| l.split(' ').nth(4)).map(str::to_string).collect()
}

/// The case's directories in every hierarchy, parents first.
pub fn cgroups(token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if !entry.file_type().is_ok_and(|t| t.is_dir()) || !seen.insert(path.clone()) {
                continue;
            }
            if path.to_string_lossy().contains(token) {
                found.push(path.clone());
            }
            left.push(path);
        }
    }
    found
}

/// Removes what was found, by force and in the order that can work.
pub fn sweep(token: &str, ours: &Path) {
    for round in 0..100 {
        let processes = processes(token);
        for leak in &processes {
            if let Leak::Process { pid, .. } = leak {
                // SAFETY: found by the token, so it belongs to this case.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
        }
        crate::call::reap_orphans();
        for dir in cgroups(token) {
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
        }
        if processes.is_empty() || round == 99 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for target in mounts(token).into_iter().rev() {
        let target = std::ffi::CString::new(target).expect("no NUL in a path");
        // SAFETY: a NUL-terminated path.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
    for dir in cgroups(token).into_iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    // Never through a mount that would not go away.
    if mounts(token).is_empty() {
        let _ = fs::remove_dir_all(ours);
    }
}
