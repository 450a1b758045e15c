//! Waiting for what happens in a cgroup: kills for want of memory, and its last process's end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{OnSys, Result};
use crate::sys::event::Counter;
use crate::sys::fs::{self, OFlag};
use crate::sys::process::Interest;

use super::dir::Dir;

/// A source of wake-ups.
pub trait Wakes {
    fn wake(&self) -> (BorrowedFd<'_>, Interest);
}

/// Says when memory ran out.
pub enum Oom<'a> {
    V1(OomV1<'a>),
    V2(OomV2<'a>),
}

impl Oom<'_> {
    /// Has it happened since the last call?
    pub fn happened(&mut self) -> bool {
        match self {
            Self::V1(w) => w.happened(),
            Self::V2(w) => w.happened(),
        }
    }
}

impl Wakes for Oom<'_> {
    fn wake(&self) -> (BorrowedFd<'_>, Interest) {
        match self {
            Self::V1(w) => (w.counter.as_fd(), Interest::Readable),
            Self::V2(w) => (w.file.fd.as_fd(), Interest::Changed),
        }
    }
}

/// Documentation/admin-guide/cgroup-v1/memory.rst, section 10.
pub struct OomV1<'a> {
    dir: &'a Dir,
    counter: Counter,
    _control: OwnedFd,
}

impl<'a> OomV1<'a> {
    const CONTROL: &'static str = "cgroup.event_control";

    pub fn new(dir: &'a Dir) -> Result<Self> {
        let at = || dir.path().join(Self::CONTROL).display().to_string();
        let register = || -> crate::sys::Result<(Counter, OwnedFd)> {
            let counter = Counter::new()?;
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
            let control = fs::openat(dir.fd()?, "memory.oom_control", flags, 0)?;
            dir.write(Self::CONTROL, &format!("{} {}", counter.as_fd().as_raw_fd(), control.as_raw_fd()))?;
            Ok((counter, control))
        };
        let (counter, control) = register().on("watch for memory running out by", at())?;
        Ok(Self { dir, counter, _control: control })
    }

    fn happened(&self) -> bool {
        // The removal of the cgroup is told in the same way.
        self.counter.take().is_ok_and(|n| n > 0) && self.dir.read_all("memory.oom_control").is_ok()
    }
}

/// `memory.events`, of which other lines change too.
pub struct OomV2<'a> {
    file: Changes<'a>,
    kills: u64,
}

impl<'a> OomV2<'a> {
    pub fn new(dir: &'a Dir) -> Result<Self> {
        let mut file =
            Changes::of(dir, "memory.events").on("watch", dir.path().join("memory.events").display())?;
        let kills = file.number("oom_kill").unwrap_or(0);
        Ok(Self { file, kills })
    }

    fn happened(&mut self) -> bool {
        let now = self.file.number("oom_kill").unwrap_or(self.kills);
        std::mem::replace(&mut self.kills, now) < now
    }
}

/// A file of the kernel's that tells of its changes: poll(2) with POLLPRI.
pub struct Changes<'a> {
    dir: &'a Dir,
    name: &'static str,
    fd: OwnedFd,
}

impl<'a> Changes<'a> {
    pub fn of(dir: &'a Dir, name: &'static str) -> crate::sys::Result<Self> {
        Ok(Self { dir, name, fd: Self::open(dir, name)? })
    }

    fn open(dir: &Dir, name: &str) -> crate::sys::Result<OwnedFd> {
        fs::openat(dir.fd()?, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0)
    }

    /// The value of a line, after which the next change wakes. `None` when the cgroup is gone.
    pub fn number(&mut self, key: &str) -> Option<u64> {
        // Each reading needs a descriptor of its own: a change is one since the last read on it.
        self.fd = Self::open(self.dir, self.name).ok()?;
        let text = fs::read_all(&self.fd, 1 << 16).ok()?;
        let text = String::from_utf8_lossy(&text);
        text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

impl Wakes for Changes<'_> {
    fn wake(&self) -> (BorrowedFd<'_>, Interest) {
        (self.fd.as_fd(), Interest::Changed)
    }
}
