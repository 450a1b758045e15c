//! cgroup v2: one directory with every controller.

pub mod devices;
mod limits;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::fs::{self, AT_FDCWD};
use crate::sys::process::{Deadline, Pid};
use crate::sys::{self, Errno};

use super::devices::DeviceRules;
use super::dir::{self, Dir, Made};
use super::layout::{self, Hierarchy};
use super::path::Place;
use super::write::{self, Write};

pub use limits::{checked_before, needs_domain, swap_max, weight, without_meaning, writes};

const CONTROL: &str = "cgroup.subtree_control";

#[derive(Debug)]
pub struct Tree {
    dir: Dir,
    /// Rootless and without a path of the user's: without permission, and without limits, the container stays in
    /// the caller's cgroup.
    tolerant: bool,
}

impl Tree {
    pub fn plan(h: &Hierarchy, place: &Place, tolerant: bool) -> Self {
        Self { dir: Dir::new(h.mountpoint.clone(), layout::below_v2(h, place)), tolerant }
    }

    pub fn reopen(dir: Dir, tolerant: bool) -> Self {
        Self { dir, tolerant }
    }

    pub fn tolerant(&self) -> bool {
        self.tolerant
    }

    pub fn dir(&self) -> Option<&Dir> {
        Some(&self.dir).filter(|d| !d.is_absent())
    }

    /// For `CLONE_INTO_CGROUP`; there once created.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.dir().and_then(Dir::opened)
    }

    pub fn planned(&self) -> &Dir {
        &self.dir
    }

    pub fn create(&self, r: Option<&LinuxResources>) -> Result<()> {
        let mut made = Vec::new();
        let done = self.create_all(r, &mut made);
        let Err(e) = done else { return Ok(()) };
        dir::unmake(&made);
        if self.tolerant && matches!(e.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)) {
            if r.is_none_or(|r| writes(r).is_ok_and(|all| all.is_empty())) {
                self.dir.set_absent();
                return Ok(());
            }
            let text = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
            return Err(e.within(text));
        }
        Err(e)
    }

    /// Readies a directory that systemd has made, with a process in it: it leaves out controllers that it does not
    /// know.
    pub fn adopt(&self, r: Option<&LinuxResources>) -> Result<()> {
        self.enable_controllers();
        self.dir.fd().on("open cgroup", self.dir.path().display())?;
        self.check_type(r)
    }

    fn create_all(&self, r: Option<&LinuxResources>, made: &mut Vec<PathBuf>) -> Result<()> {
        if self.dir.make(made)? == Made::Existed {
            super::make::check_empty(&self.dir)?;
            if is_frozen(&self.dir)? {
                return Err(super::make::unexpectedly_frozen(&self.dir));
            }
        }
        self.enable_controllers();
        self.dir.fd().on("open cgroup", self.dir.path().display())?;
        self.check_type(r)
    }

    /// Every controller of the root in every ancestor, as runc. Mostly they are on already, and two reads tell so.
    /// What cannot be had (a delegated tree, an ancestor with processes) is told when a limit asks for it.
    fn enable_controllers(&self) {
        let all = controllers_of_root(&self.dir);
        enable(&self.dir, &all.split(' ').filter(|c| !c.is_empty()).collect::<Vec<_>>());
    }

    /// A cgroup below a threaded one is born invalid (cgroups(7)): it is made threaded too, unless a limit asks for
    /// a controller that cannot work there.
    fn check_type(&self, r: Option<&LinuxResources>) -> Result<()> {
        const TYPE: &str = "cgroup.type";
        if matches!(self.dir.read(TYPE).as_deref(), Ok("domain") | Err(_)) {
            return Ok(());
        }
        let needs_domain = r.is_some_and(needs_domain);
        let below_root = self.dir.ancestors().into_iter().skip(1).chain([self.dir.path()]);
        for path in below_root {
            let kind = fs::read_value_at(AT_FDCWD, path.join(TYPE)).unwrap_or_default();
            let state = match kind.as_str() {
                "domain invalid" if !needs_domain => {
                    let _ = dir::write_at(AT_FDCWD, path.join(TYPE), "threaded");
                    continue;
                }
                "domain invalid" => "an invalid state",
                "domain threaded" | "threaded" if needs_domain => "a threaded mode",
                _ => continue,
            };
            let text = format!("cannot enter cgroupv2 {path:?} with domain controllers -- it is in {state}");
            return Err(Error::new(Kind::Host, text).hint(format!("cgroup.type is {kind:?}")));
        }
        Ok(())
    }

    pub fn join(&self, pid: Pid) -> Result<()> {
        self.dir().map_or(Ok(()), |d| super::make::join(d, pid))
    }

    pub fn apply(&self, r: &LinuxResources) -> Result<()> {
        self.write(r, |w, dir_of| write::apply(w, dir_of))
    }

    /// All or nothing.
    pub fn update(&self, r: &LinuxResources) -> Result<()> {
        self.write(r, |w, dir_of| write::change(w, dir_of))
    }

    fn write<'s>(
        &'s self,
        r: &LinuxResources,
        how: impl FnOnce(&[Write], &dyn Fn(&Write) -> Result<&'s Dir>) -> Result<()>,
    ) -> Result<()> {
        let writes = writes(r)?;
        let Some(dir) = self.dir() else {
            return writes.first().map_or(Ok(()), |w| {
                let text =
                    format!("cannot set {} limit: container could not join or create cgroup", w.controller);
                Err(Error::new(Kind::Host, text).hint(w.shown()).pointer(w.pointer.clone().into_owned()))
            });
        };
        check_usage(dir, r)?;
        how(&writes, &|_| Ok(dir)).map_err(|e| self.explain(dir, &writes, e))
    }

    /// A file that is not there because its controller is not on.
    fn explain(&self, dir: &Dir, writes: &[Write], e: Error) -> Error {
        if !matches!(e.errno(), Some(Errno::ENOENT | Errno::EACCES | Errno::EPERM)) {
            return e;
        }
        let on = dir.read("cgroup.controllers").unwrap_or_default();
        let shown = |w: &&Write| {
            e.object()
                .is_some_and(|o| o == format!("{} = {:?}", dir.path().join(&*w.file).display(), w.value))
        };
        let Some(w) = writes.iter().find(shown) else { return e };
        if w.controller == "cgroup" || on.split(' ').any(|c| c == w.controller) {
            return e;
        }
        let text = if w.pointer.starts_with("/linux/resources/unified") {
            format!("unified resource {:?} can't be set: controller {:?} not available", w.file, w.controller)
        } else {
            format!("cannot set {}: controller {:?} not available", w.shown(), w.controller)
        };
        let hint = format!("{} has only: {on}", dir.path().join("cgroup.controllers").display());
        Error::new(Kind::Host, text).hint(hint).pointer(w.pointer.clone().into_owned())
    }

    /// Attaches the device program.
    pub fn apply_devices(&self, rules: &DeviceRules) -> Result<()> {
        let Some(dir) = self.dir() else { return Ok(()) };
        // bpf(2) wants a directory that is open for reading, not an O_PATH handle.
        let fd = fs::open(dir.path(), fs::OFlag::O_RDONLY | fs::OFlag::O_DIRECTORY)
            .on("open cgroup", dir.path().display())?;
        devices::apply(std::os::fd::AsFd::as_fd(&fd), rules)
    }

    /// Gives the directory and the files that a manager of the subtree writes to `uid`: delegation, cgroups(7).
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let Some(dir) = self.dir() else { return Ok(()) };
        let fd = dir.fd().on("open cgroup", dir.path().display())?;
        fs::chown_fd(fd, Some(uid), None).on("chown", dir.path().display())?;
        let list = fs::read_file("/sys/kernel/cgroup/delegate", 1 << 16);
        // Kernels before 4.15 do not say.
        let list =
            list.unwrap_or_else(|_| b"cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_vec());
        for file in String::from_utf8_lossy(&list).lines().filter(|l| !l.is_empty() && !l.contains('/')) {
            let flags = fs::OFlag::O_PATH | fs::OFlag::O_NOFOLLOW;
            match fs::openat(fd, file, flags, 0).and_then(|f| fs::chown_fd(f, Some(uid), None)) {
                // A controller that is off.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e).on("chown", dir.path().join(file).display()),
            }
        }
        Ok(())
    }
}

const CONTROLLERS: &str = "cgroup.controllers";

pub fn controllers_of_root(dir: &Dir) -> String {
    fs::read_value_at(AT_FDCWD, dir.mountpoint().join(CONTROLLERS)).unwrap_or_default()
}

/// Turns these controllers on in every ancestor, as far as that is possible.
pub fn enable(dir: &Dir, controllers: &[&str]) {
    let have = dir.read(CONTROLLERS).unwrap_or_default();
    let is_off = |c: &&&str| !have.split(' ').any(|h| h == **c);
    let lacking: Vec<String> = controllers.iter().filter(is_off).map(|c| format!("+{c}")).collect();
    if lacking.is_empty() {
        return;
    }
    for ancestor in dir.ancestors() {
        let write = |what: &str| dir::write_at(AT_FDCWD, ancestor.join(CONTROL), what);
        if write(&lacking.join(" ")).is_err() {
            for one in &lacking {
                let _ = write(one);
            }
        }
    }
}

fn check_usage(dir: &Dir, r: &LinuxResources) -> Result<()> {
    let Some((swap, limit)) = checked_before(r) else { return Ok(()) };
    // As well as can be: what cannot be read does not refuse.
    let Ok(usage) = dir.read_number("memory.current") else { return Ok(()) };
    let reject = |what: &str, v: i64, pointer: &str| {
        let text = format!("rejecting {what} limit {v} <= usage {usage}");
        Err(Error::new(Kind::Host, text).pointer(pointer.to_owned()))
    };
    if swap > 0 && swap as u64 <= usage {
        return reject("memory+swap", swap, "/linux/resources/memory/swap");
    }
    if limit > 0 && limit as u64 <= usage {
        return reject("memory", limit, "/linux/resources/memory/limit");
    }
    Ok(())
}

/// Asked to be frozen, by itself and not by an ancestor. A cgroup that is gone is not.
pub fn is_frozen(dir: &Dir) -> Result<bool> {
    match dir.read("cgroup.freeze") {
        Ok(s) => Ok(s == "1"),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
        Err(e) => Err(e).on("read", dir.path().join("cgroup.freeze").display()),
    }
}

/// The cgroup above that is frozen, and this with it.
pub fn frozen_above(dir: &Dir) -> Option<PathBuf> {
    let is_frozen =
        |at: &PathBuf| fs::read_value_at(AT_FDCWD, at.join("cgroup.freeze")).is_ok_and(|v| v == "1");
    dir.ancestors().into_iter().rfind(is_frozen)
}

/// Freezes and waits for it, at most `limit`; thaws again when that fails.
pub fn freeze(dir: &Dir, limit: Duration) -> Result<()> {
    let at = dir.path().join("cgroup.freeze");
    dir.write("cgroup.freeze", "1").on("freeze", at.display())?;
    if dir.wait_event("frozen", "1", Deadline::after(limit)) {
        return Ok(());
    }
    let _ = dir.write("cgroup.freeze", "0");
    Err(Error::new(
        Kind::Timeout,
        format!("timeout of {}s reached waiting for the cgroup {} to freeze", limit.as_secs(), at.display()),
    ))
}

pub fn thaw(dir: &Dir) -> Result<()> {
    match dir.write("cgroup.freeze", "0") {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        r => r.on("thaw", dir.path().join("cgroup.freeze").display()),
    }
}

/// Kills all processes here and below at once, those that are being forked too. ENOENT before Linux 5.14.
pub fn kill(dir: &Dir) -> sys::Result<()> {
    dir.write("cgroup.kill", "1")
}

/// Is this file a directory of the v2 tree with `cgroup.kill`?
pub fn can_kill(dir: &Path) -> bool {
    fs::access(dir.join("cgroup.kill"), false).is_ok()
}
