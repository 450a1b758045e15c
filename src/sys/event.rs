//! eventfd(2): what cgroup v1 tells its events by.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Errno, Result};

#[derive(Debug)]
pub struct Counter(EventFd);

impl Counter {
    pub fn new() -> Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Self)
    }

    /// How often it was signalled since the last call.
    pub fn take(&self) -> Result<u64> {
        match self.0.read() {
            Err(Errno::EAGAIN) => Ok(0),
            r => r,
        }
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
