//! `tmpcopyup`: a tmpfs that begins with a copy of the directory that it covers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::root::Root;
use crate::sys::fs::{self, OFlag};
use crate::sys::{Errno, Result};

/// Deeper trees are refused rather than overflow the stack.
const MAX_DEPTH: usize = 128;

/// Copies what is below `target` into the detached mount `into`: directories, files and links with mode and owner;
/// anything else is left out.
pub fn copy(root: &Root, target: &Path, into: &OwnedFd) -> Result<()> {
    let from = root.open_for_reading(target)?;
    let to = fs::openat(into, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
    copy_dir(from, to.as_fd(), 0)
}

fn copy_dir(from: OwnedFd, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let names = fs::list(fs::openat(&from, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?)?;
    for name in names {
        let stat = fs::lstatat(&from, &name)?;
        if stat.is_link() {
            fs::symlinkat(fs::readlinkat(&from, &name)?, to, &name)?;
            let made = fs::openat(to, &name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
            fs::chown_fd(&made, Some(stat.uid), Some(stat.gid))?;
        } else if stat.is_dir() {
            fs::mkdirat(to, &name, 0o700)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let (inner, made) = (fs::openat(&from, &name, flags, 0)?, fs::openat(to, &name, flags, 0)?);
            copy_dir(inner, made.as_fd(), depth.saturating_add(1))?;
            own(&made, &stat)?;
        } else if stat.is_file() {
            let source =
                fs::openat(&from, &name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, 0)?;
            let made = fs::openat(
                to,
                &name,
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW,
                0o600,
            )?;
            crate::sys::fd::copy_sparse(&source, &made, stat.size)?;
            own(&made, &stat)?;
        }
    }
    Ok(())
}

fn own(made: &OwnedFd, like: &fs::Stat) -> Result<()> {
    fs::chown_fd(made, Some(like.uid), Some(like.gid))?;
    // After chown, which clears set-id bits.
    fs::fchmod(made, like.mode & 0o7777)
}
