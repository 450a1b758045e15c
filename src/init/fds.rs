//! Which descriptors the program gets: the standard streams and those that the caller asked to preserve.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use super::root::Root;
use crate::error::{OnSys, Result};
use crate::sys::fs::{self, OFlag, Resolve};
use crate::sys::{Errno, fd};

/// The caller's preserved descriptors: 3, 4, … `count` of them.
pub fn preserved(count: u32) -> Vec<RawFd> {
    (3..).take(usize::try_from(count).unwrap_or(0)).collect()
}

/// Closed, not just close-on-exec: the kernel looks up the program and its interpreter before close-on-exec acts
/// (CVE-2024-21626).
pub fn fence(keep: &[RawFd]) -> Result<()> {
    fd::close_the_rest_but(keep).on("close", "descriptors")
}

/// Standard streams that are the host's null device become the container's own, if that is one (CVE-2026-88265).
pub fn reopen_null(root: &Root) -> Result<()> {
    let mut null = None;
    for n in 0..3 {
        let Ok(stream) = fd::borrow_standard(n) else { continue };
        if !fs::fstat(stream).on("stat", "a standard stream")?.is_char(1, 3) {
            continue;
        }
        if null.is_none() {
            null = open_null(root)?;
        }
        if let Some(null) = &null {
            fd::dup_onto(null, n).on("reopen", "/dev/null")?;
        }
    }
    Ok(())
}

fn open_null(root: &Root) -> Result<Option<std::os::fd::OwnedFd>> {
    let look = |flags| -> crate::sys::Result<_> {
        let fd = fs::openat2(root.fd(), "dev/null", flags, 0, Resolve::IN_ROOT)?;
        if fs::fstat(&fd)?.is_char(1, 3) { Ok(fd) } else { Err(Errno::ENXIO) }
    };
    match look(OFlag::O_PATH).and_then(|_| look(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)) {
        Ok(fd) => fd::set_blocking(&fd).map(|()| Some(fd)).on("open", "the container's /dev/null"),
        Err(e) => Err(e).on("open", "the container's /dev/null").map_err(|e| match e.errno() {
            Some(Errno::ENXIO) => e.hint("it is not the null device"),
            _ => e,
        }),
    }
}

/// The program's user owns its standard streams, as runc has it: a program that is not root opens /dev/stdout.
/// Pipes of a caller whose user namespace we are not in stay as they are, and so does every null device.
pub fn own_streams(uid: u32) -> Result<()> {
    for n in 0..3 {
        let Ok(stream) = fd::borrow_standard(n) else { continue };
        let stat = fs::fstat(stream).on("stat", "a standard stream")?;
        if stat.uid == uid || stat.is_char(1, 3) {
            continue;
        }
        match chown(stream, uid) {
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(e) => return Err(e).on("change owner of", "a standard stream"),
        }
    }
    Ok(())
}

fn chown(stream: BorrowedFd<'_>, uid: u32) -> crate::sys::Result<()> {
    fs::chown_fd(stream.as_fd(), Some(uid), None)
}
