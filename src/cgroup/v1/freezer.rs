//! The v1 freezer, which may fail to freeze, and holds back even SIGKILL.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cgroup::dir::{self, Dir};
use crate::cgroup::walk::{self, Visitor};
use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::Errno;
use crate::sys::fs::{self, AT_FDCWD};
use crate::sys::process::Deadline;

const STATE: &str = "freezer.state";

/// Freezes, or thaws again and fails: a cgroup stuck half way can be neither used nor killed.
///
/// The kernel cannot reliably freeze while processes appear in the cgroup, so it is asked up to a thousand times,
/// with an occasional thaw and pause, as runc found to work.
pub fn freeze(dir: &Dir) -> Result<()> {
    try_freeze(dir).inspect_err(|_| {
        let _ = dir.write(STATE, "THAWED");
    })
}

fn try_freeze(dir: &Dir) -> Result<()> {
    let at = || dir.path().join(STATE).display().to_string();
    for i in 0..1000 {
        if i % 50 == 49 {
            let _ = dir.write(STATE, "THAWED");
            std::thread::sleep(Duration::from_millis(10));
        }
        dir.write(STATE, "FROZEN").on("freeze", at())?;
        if i % 25 == 24 {
            std::thread::sleep(Duration::from_micros(10));
        }
        match dir.read(STATE).on("read", at())?.as_str() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => return Err(Error::new(Kind::Host, format!("unexpected state {other} while freezing"))),
        }
    }
    Err(Error::new(Kind::Timeout, "unable to freeze").within(at()))
}

/// Also what is frozen below by itself: a container may have frozen some of its own.
pub fn thaw_all(dir: &Dir) -> Result<()> {
    struct Thaw;
    impl Visitor for Thaw {
        fn enter(&mut self, cgroup: BorrowedFd<'_>) {
            let _ = dir::write_at(cgroup, STATE, "THAWED");
        }
    }
    thaw(dir)?;
    if let Ok(fd) = dir.fd() {
        walk::below(fd, Deadline::never(), &mut Thaw);
    }
    Ok(())
}

/// The cgroup above that is frozen, and this with it.
pub fn frozen_above(dir: &Dir) -> Option<PathBuf> {
    let says_yes = |at: &Path, file: &str| fs::read_value_at(AT_FDCWD, at.join(file)).is_ok_and(|v| v == "1");
    if !says_yes(&dir.path(), "freezer.parent_freezing") {
        return None;
    }
    let mut above = dir.ancestors();
    let nearest = above.iter().rposition(|at| says_yes(at, "freezer.self_freezing"));
    // Beyond what is mounted here, if it is none of them.
    Some(above.swap_remove(nearest.unwrap_or(0)))
}

pub fn thaw(dir: &Dir) -> Result<()> {
    match dir.write(STATE, "THAWED") {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        r => r.on("thaw", dir.path().join(STATE).display()),
    }
}

/// Frozen by itself, not by an ancestor: what is only frozen from above is not paused. One system call triple when it
/// is not. A cgroup that is gone is not frozen.
pub fn is_frozen(dir: &Dir) -> Result<bool> {
    let gone = |r: crate::sys::Result<String>, file: &str| match r {
        Ok(s) => Ok(Some(s)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => Err(e).on("read", dir.path().join(file).display()),
    };
    // On its way to either state: wait for a stable one, but not for ever, as a process in the kernel's hands may
    // hold it up.
    for _ in 0..200 {
        match gone(dir.read_alone(STATE), STATE)?.as_deref() {
            Some("FREEZING") => std::thread::sleep(Duration::from_millis(1)),
            Some("FROZEN") => break,
            _ => return Ok(false),
        }
    }
    let file = "freezer.self_freezing";
    // Very old kernels do not tell the two apart.
    Ok(gone(dir.read(file), file)?.is_none_or(|s| s == "1"))
}
