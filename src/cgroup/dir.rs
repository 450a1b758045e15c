//! One directory of one cgroup hierarchy: made, opened once, read, written, walked and removed.
//!
//! Names below a mounted cgroup file system cannot be symbolic links, and paths here have no `..` ([`super::path`]),
//! so a path below the mount point means the same directory to every call.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::fs::{self, AT_FDCWD, OFlag};
use crate::sys::process::{Deadline, Pid};
use crate::sys::{self, Errno};

use super::path;
use super::walk::{self, Visitor};

/// Of a list of processes: a fork bomb's at most.
const LIST_CAP: usize = 64 << 20;

#[derive(Debug)]
pub struct Dir {
    mountpoint: PathBuf,
    /// Clean, not empty.
    below: String,
    fd: OnceCell<OwnedFd>,
    /// Could not be made, and the caller may do without.
    absent: Cell<bool>,
}

/// What [`Dir::make`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// New: empty, thawed, nothing set.
    Fresh,
    Existed,
}

impl Dir {
    pub fn new(mountpoint: PathBuf, below: String) -> Self {
        Self { mountpoint, below, fd: OnceCell::new(), absent: Cell::new(false) }
    }

    /// Also `a/b` below: for the sub-cgroups of a container.
    pub fn below(&self, more: &str) -> Self {
        Self::new(self.mountpoint.clone(), path::join(&self.below, more))
    }

    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    pub fn below_mountpoint(&self) -> &str {
        &self.below
    }

    pub fn path(&self) -> PathBuf {
        self.mountpoint.join(&self.below)
    }

    /// The directories on the way, from the mount point (included) to the parent.
    pub fn ancestors(&self) -> Vec<PathBuf> {
        let mut at = path::parent(&self.below);
        let mut all = Vec::new();
        while !at.is_empty() {
            all.push(self.mountpoint.join(at));
            at = path::parent(at);
        }
        all.push(self.mountpoint.clone());
        all.reverse();
        all
    }

    pub fn is_absent(&self) -> bool {
        self.absent.get()
    }

    pub fn set_absent(&self) {
        self.absent.set(true);
    }

    /// One mkdir in the common case. Parents are made where they lack, never the mount point itself; what was made is
    /// appended to `made`, outermost first.
    pub fn make(&self, made: &mut Vec<PathBuf>) -> Result<Made> {
        let path = self.path();
        let first = mkdir(&path, made);
        let last = match first {
            Err(Errno::ENOENT) => {
                for parent in self.ancestors().iter().skip(1) {
                    mkdir(parent, made).on("create cgroup", parent.display())?;
                }
                mkdir(&path, made)
            }
            r => r,
        };
        last.on("create cgroup", path.display())
    }

    /// The directory, opened on first use (O_PATH).
    pub fn fd(&self) -> sys::Result<BorrowedFd<'_>> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let fd = fs::openat(AT_FDCWD, self.path(), flags, 0)?;
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }

    /// The descriptor, if the directory has been opened.
    pub fn opened(&self) -> Option<BorrowedFd<'_>> {
        self.fd.get().map(AsFd::as_fd)
    }

    pub fn exists(&self) -> bool {
        self.fd().is_ok()
    }

    pub fn read(&self, file: &str) -> sys::Result<String> {
        fs::read_value_at(self.fd()?, file)
    }

    /// As [`Dir::read`], where nothing else of the directory is wanted.
    pub fn read_alone(&self, file: &str) -> sys::Result<String> {
        match self.opened() {
            Some(fd) => fs::read_value_at(fd, file),
            None => fs::read_value_at(AT_FDCWD, self.path().join(file)),
        }
    }

    /// A file of any length.
    pub fn read_all(&self, file: &str) -> sys::Result<String> {
        let fd = fs::openat(self.fd()?, file, OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0)?;
        Ok(String::from_utf8_lossy(&fs::read_all(fd, LIST_CAP)?).into_owned())
    }

    /// A number; `max` is `u64::MAX`.
    pub fn read_number(&self, file: &str) -> sys::Result<u64> {
        let text = self.read(file)?;
        if text == "max" { Ok(u64::MAX) } else { text.parse().map_err(|_| Errno::EILSEQ) }
    }

    /// The number after `key ` in a flat keyed file.
    pub fn read_key(&self, file: &str, key: &str) -> sys::Result<Option<u64>> {
        let text = self.read(file)?;
        let value = |l: &str| l.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
        Ok(text.lines().find_map(value))
    }

    pub fn write(&self, file: &str, value: &str) -> sys::Result<()> {
        write_at(self.fd()?, file, value)
    }

    /// Each value by a write(2) of its own on one descriptor; the failing one is told by index.
    pub fn write_each<'a>(
        &self,
        file: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> std::result::Result<(), (usize, Errno)> {
        let open = || fs::openat(self.fd()?, file, OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0);
        let fd = open().map_err(|e| (0, e))?;
        values
            .into_iter()
            .enumerate()
            .try_for_each(|(i, v)| fs::write_once(&fd, v.as_bytes()).map_err(|e| (i, e)))
    }

    /// Moves a process (0: the caller) here.
    pub fn join(&self, pid: Pid) -> sys::Result<()> {
        let fd = fs::openat(self.fd()?, "cgroup.procs", OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0)?;
        let text = pid.to_string();
        let mut tries = 0;
        loop {
            match fs::write_once(&fd, text.as_bytes()) {
                // The task may be in state TASK_NEW still: as runc, five times 30 ms.
                Err(Errno::EINVAL) if tries < 5 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(30));
                }
                r => return r,
            }
        }
    }

    /// v1's `tasks`, open for the thread that is to let itself in; see [`super::Cgroup::doors`].
    pub fn door(&self) -> sys::Result<OwnedFd> {
        match self.opened() {
            Some(fd) => fs::openat(fd, "tasks", OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0),
            None => fs::openat(AT_FDCWD, self.path().join("tasks"), OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0),
        }
    }

    /// The processes in this cgroup alone.
    pub fn pids(&self) -> sys::Result<Vec<Pid>> {
        pids_at(self.fd()?)
    }

    /// The processes in this cgroup and all below. Cgroups that vanish meanwhile have none.
    pub fn all_pids(&self) -> sys::Result<Vec<Pid>> {
        let fd = self.fd()?;
        let mut found = Pids(pids_at(fd)?);
        walk::below(fd, Deadline::never(), &mut found);
        Ok(found.0)
    }

    /// Removes the cgroup if nothing holds it, and all below. One system call in the common case. `Ok(false)`:
    /// something does, or the time is over.
    pub fn try_remove(&self, deadline: Deadline) -> Result<bool> {
        let path = self.path();
        let e = match fs::rmdirat(AT_FDCWD, &path) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(true),
            Err(e) => e,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        match (fs::openat(AT_FDCWD, &path, flags, 0), e) {
            // A read-only mount says EROFS even where nothing is (runc #4518).
            (Err(Errno::ENOENT), _) => Ok(true),
            (Ok(fd), Errno::EBUSY | Errno::ENOTEMPTY) => {
                walk::remove(fd.as_fd(), deadline);
                match fs::rmdirat(AT_FDCWD, &path) {
                    Ok(()) | Err(Errno::ENOENT) => Ok(true),
                    Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(false),
                    Err(e) => Err(e).on("remove cgroup", path.display()),
                }
            }
            (_, e) => Err(e).on("remove cgroup", path.display()),
        }
    }

    /// Why the cgroup could not be removed in time.
    pub fn busy(&self) -> Error {
        let pids = self.all_pids().unwrap_or_default();
        let e = Error::sys("remove cgroup", self.path().display().to_string(), Errno::EBUSY)
            .of_kind(Kind::Timeout);
        if pids.is_empty() {
            let below = self.fd().and_then(|fd| fs::openat(fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0));
            return match below.and_then(fs::subdirs).map(|all| all.len()) {
                Ok(n @ 1..) => {
                    e.hint(format!("{n} cgroups below it are left: delete again to go on with them"))
                }
                _ => e,
            };
        }
        let who: Vec<String> = pids.iter().take(8).map(|p| format!("{p} ({})", command(*p))).collect();
        let more = if pids.len() > who.len() { ", …" } else { "" };
        e.hint(format!("it still holds {} process(es): {}{more}", pids.len(), who.join(", ")))
    }

    /// v2: waits until no process is left here and below. `false` when the deadline passed.
    pub fn wait_unpopulated(&self, deadline: Deadline) -> bool {
        self.wait_event("populated", "0", deadline)
    }

    /// v2: waits for a line of cgroup.events. True, too, where there is nothing to wait for.
    pub fn wait_event(&self, key: &str, value: &str, deadline: Deadline) -> bool {
        let open = || fs::openat(self.fd()?, "cgroup.events", OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0);
        let Ok(mut fd) = open() else { return true };
        loop {
            let Ok(text) = fs::read_all(&fd, 4096) else { return true };
            let text = String::from_utf8_lossy(&text);
            let now = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
            if now.is_none_or(|v| v == value) {
                return true;
            }
            let Some(left) = deadline.left().filter(|d| !d.is_zero()) else {
                if deadline.passed() {
                    return false;
                }
                continue;
            };
            // Woken by a change since the read; bounded, should a kernel forget to wake us.
            let _ = fs::wait_change(&fd, left.min(Duration::from_millis(100)));
            match open() {
                Ok(again) => fd = again,
                Err(_) => return true,
            }
        }
    }
}

fn mkdir(path: &Path, made: &mut Vec<PathBuf>) -> sys::Result<Made> {
    match fs::mkdirat(AT_FDCWD, path, 0o755) {
        Ok(()) => {
            made.push(path.to_owned());
            Ok(Made::Fresh)
        }
        Err(Errno::EEXIST) => Ok(Made::Existed),
        // A read-only mount says so before it looks whether the directory is there.
        Err(Errno::EROFS) if fs::open_dir(path).is_ok() => Ok(Made::Existed),
        Err(e) => Err(e),
    }
}

/// Undoes [`Dir::make`], innermost first, as far as it goes.
pub fn unmake(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = fs::rmdirat(AT_FDCWD, path);
    }
}

/// One write(2) of a whole value to a file of a cgroup.
pub fn write_at(dir: impl AsFd, file: impl AsRef<Path>, value: &str) -> sys::Result<()> {
    let fd = fs::openat(dir, file, OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0)?;
    fs::write_once(fd, value.as_bytes())
}

fn pids_at(dir: impl AsFd) -> sys::Result<Vec<Pid>> {
    let read = |file| {
        let fd = fs::openat(dir.as_fd(), file, OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0)?;
        fs::read_all(fd, LIST_CAP)
    };
    let text = match read("cgroup.procs") {
        // A threaded cgroup has threads only.
        Err(Errno::EOPNOTSUPP) => read("cgroup.threads")?,
        r => r?,
    };
    let line = |l: &str| l.trim().parse().ok();
    // 0 is a process that this pid namespace cannot name.
    Ok(String::from_utf8_lossy(&text).lines().filter_map(line).filter(|p| *p != 0).collect())
}

struct Pids(Vec<Pid>);

impl Visitor for Pids {
    fn enter(&mut self, cgroup: BorrowedFd<'_>) {
        if let Ok(more) = pids_at(cgroup) {
            self.0.extend(more);
        }
    }
}

fn command(pid: Pid) -> String {
    let file = format!("/proc/{pid}/comm");
    fs::read_file(file, 64).map_or_else(|_| "?".into(), |b| String::from_utf8_lossy(&b).trim_end().to_owned())
}
