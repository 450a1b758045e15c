//! `tmpcopyup`: a tmpfs that begins with a copy of the directory that it covers.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::root::Root;
use crate::sys::fs::{self, OFlag, Stat};
use crate::sys::{Errno, Result};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

/// A directory that is being copied; of all those above only what it takes to come back, so that a tree may be as deep as it
/// likes: two descriptors do.
struct Level {
    /// What of it is still to be copied.
    names: std::vec::IntoIter<OsString>,
    from: Stat,
    /// Whose owner and mode it gets when all in it is done; the top has its own.
    like: Option<Stat>,
}

/// Copies what is below `target` into the detached mount `into`: directories, files and links with mode and owner;
/// anything else is left out.
pub fn copy(root: &Root, target: &Path, into: &OwnedFd) -> Result<()> {
    let mut from = root.open_for_reading(target)?;
    let mut to = fs::openat(into, ".", DIRECTORY, 0)?;
    let mut level = enter(&from, None)?;
    let mut above: Vec<Level> = Vec::new();
    loop {
        let Some(name) = level.names.next() else {
            let Some(outer) = above.pop() else { return Ok(()) };
            from = fs::openat(&from, "..", DIRECTORY, 0)?;
            // Somebody has moved what we were in: this is not where we came from, but anywhere.
            if !fs::fstat(&from)?.same(&outer.from) {
                return Err(Errno::ESTALE);
            }
            // Before its mode may keep us from looking.
            let up = fs::openat(&to, "..", DIRECTORY, 0)?;
            let made = std::mem::replace(&mut to, up);
            if let Some(like) = &level.like {
                own(&made, like)?;
            }
            level = outer;
            continue;
        };
        let stat = fs::lstatat(&from, &name)?;
        if stat.is_link() {
            fs::symlinkat(fs::readlinkat(&from, &name)?, &to, &name)?;
            let made = fs::openat(&to, &name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
            fs::chown_fd(&made, Some(stat.uid), Some(stat.gid))?;
        } else if stat.is_dir() {
            fs::mkdirat(&to, &name, 0o700)?;
            let (inner, made) =
                (fs::openat(&from, &name, DIRECTORY, 0)?, fs::openat(&to, &name, DIRECTORY, 0)?);
            above.push(std::mem::replace(&mut level, enter(&inner, Some(stat))?));
            (from, to) = (inner, made);
        } else if stat.is_file() {
            copy_file(&from, &to, &name, &stat)?;
        }
    }
}

fn enter(dir: &OwnedFd, like: Option<Stat>) -> Result<Level> {
    let names = fs::list(fs::openat(dir, ".", DIRECTORY, 0)?)?;
    Ok(Level { names: names.into_iter(), from: fs::fstat(dir)?, like })
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &OsString, stat: &Stat) -> Result<()> {
    let source = fs::openat(from, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, 0)?;
    let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let made = fs::openat(to, name, new, 0o600)?;
    crate::sys::fd::copy_sparse(&source, &made, stat.size)?;
    own(&made, stat)
}

fn own(made: &OwnedFd, like: &Stat) -> Result<()> {
    fs::chown_fd(made, Some(like.uid), Some(like.gid))?;
    // After chown, which clears set-id bits.
    fs::fchmod(made, like.mode & 0o7777)
}
