//! The container's root as a descriptor: every look-up and every creation stays inside it, whatever the image or a
//! neighbour with a shared volume puts in the way (CVE-2019-19921, CVE-2021-30465, CVE-2024-45310, CVE-2026-41579).

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use crate::sys::fs::{self, OFlag, Resolve, Stat};
use crate::sys::{Errno, Result};

/// Links followed in one look-up before it counts as a loop: as many as the kernel's own limit.
const MAX_LINKS: usize = 40;

pub struct Root {
    fd: OwnedFd,
    /// Asked for once: what the descriptor stands for does not change.
    stat: OnceCell<Stat>,
    /// A procfs has been mounted at /proc.
    has_proc: Cell<bool>,
}

/// What a mount target must be, if it has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Dir,
    File,
}

impl Root {
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, stat: OnceCell::new(), has_proc: Cell::new(false) }
    }

    pub fn stat(&self) -> Result<&Stat> {
        if self.stat.get().is_none() {
            let _ = self.stat.set(fs::fstat(&self.fd)?);
        }
        self.stat.get().ok_or(Errno::EIO)
    }

    /// From now on whatever leads to /proc leads to a procfs.
    pub fn set_has_proc(&self) {
        self.has_proc.set(true);
    }

    pub fn has_proc(&self) -> bool {
        self.has_proc.get()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// An O_PATH handle on `path`, links followed inside the root.
    pub fn open(&self, path: &Path) -> Result<OwnedFd> {
        fs::openat2(&self.fd, path, OFlag::O_PATH, 0, Resolve::IN_ROOT)
    }

    /// As [`Root::open`], but with no link anywhere in `path`: ELOOP.
    pub fn open_plain(&self, path: &Path) -> Result<OwnedFd> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        fs::openat2(&self.fd, below, OFlag::O_PATH, 0, Resolve::NO_LINKS)
    }

    /// A readable descriptor on the directory or file at `path`, links followed inside the root.
    pub fn open_for_reading(&self, path: &Path) -> Result<OwnedFd> {
        fs::openat2(
            &self.fd,
            path,
            OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
            0,
            Resolve::IN_ROOT,
        )
    }

    /// An O_PATH handle on `path`; what is missing is made, directories with mode 0755, the last component as asked.
    /// `plain`: no link may be followed. The flag tells whether the last component was there.
    pub fn open_or_make(&self, path: &Path, make: Make, plain: bool) -> Result<(OwnedFd, bool)> {
        let found = if plain { self.open_plain(path) } else { self.open(path) };
        match found {
            Ok(fd) => Ok((fd, true)),
            Err(Errno::ENOENT) => self.walk(path, make, plain).map(|fd| (fd, false)),
            Err(e) => Err(e),
        }
    }

    /// Opens or makes the directory at `path`.
    pub fn make_dir(&self, path: &Path) -> Result<OwnedFd> {
        self.open_or_make(path, Make::Dir, false).map(|(fd, _)| fd)
    }

    /// Component by component, each step by descriptor: a directory that somebody swaps for a link between two steps
    /// is not followed, and `..` goes back to what we came through, never out of the root.
    fn walk(&self, path: &Path, make: Make, plain: bool) -> Result<OwnedFd> {
        let mut todo: VecDeque<OsString> = components(path);
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut links = 0_usize;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let here = way.last().map_or(self.fd.as_fd(), AsFd::as_fd);
            let last = todo.is_empty();
            let fd = match open_one(here, &name) {
                Err(Errno::ENOENT) => {
                    make_one(here, &name, if last { make } else { Make::Dir })?;
                    open_one(here, &name)?
                }
                r => r?,
            };
            let stat = fs::fstat(&fd)?;
            if stat.is_link() {
                links = links.saturating_add(1);
                if plain || links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = fs::readlinkat(&fd, "")?;
                let target = Path::new(&target);
                if target.is_absolute() {
                    way.clear();
                }
                for c in components(target).into_iter().rev() {
                    todo.push_front(c);
                }
                continue;
            }
            if !last && !stat.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            way.push(fd);
        }
        match way.pop() {
            Some(fd) => Ok(fd),
            None => fs::openat2(&self.fd, ".", OFlag::O_PATH, 0, Resolve::NO_LINKS),
        }
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(n) => Some(n.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn open_one(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    fs::openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)
}

/// Somebody else may make the same thing at the same time: many containers can share a root file system.
fn make_one(dir: BorrowedFd<'_>, name: &OsStr, make: Make) -> Result<()> {
    let made = match make {
        Make::Dir => fs::mkdirat(dir, name, 0o755),
        // mknod, not open(O_CREAT): it follows nothing and truncates nothing.
        Make::File => fs::mknodat(dir, name, S_IFREG, 0o755, 0, 0),
    };
    match made {
        Err(Errno::EEXIST) => Ok(()),
        r => r,
    }
}

/// stat(2)'s type of a regular file.
const S_IFREG: u32 = 0o100_000;

/// The kind of a handle's inode, for errors.
pub fn describe(stat: &Stat) -> &'static str {
    match stat.kind() {
        0o040_000 => "directory",
        0o100_000 => "regular file",
        0o120_000 => "symbolic link",
        0o020_000 => "character device",
        0o060_000 => "block device",
        0o010_000 => "FIFO",
        _ => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> (std::path::PathBuf, Root) {
        let dir = std::env::temp_dir().join(format!("orlop-root-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("root/a/b")).unwrap();
        std::fs::create_dir_all(dir.join("victim")).unwrap();
        let root = Root::new(fs::open_dir(dir.join("root")).unwrap());
        (dir, root)
    }

    #[test]
    fn what_is_missing_is_made_inside_whatever_links_say() {
        let (dir, root) = scratch("links");
        let victim = dir.join("victim");
        symlink(&victim, dir.join("root/abs")).unwrap();
        symlink("../../../../victim", dir.join("root/a/rel")).unwrap();
        symlink("loop", dir.join("root/loop")).unwrap();
        for (path, kind) in [
            ("/abs/x/y", Make::Dir),
            ("/a/rel/x", Make::File),
            ("/a/../../../z", Make::Dir),
            ("/a/b/c/d", Make::Dir),
        ] {
            let (fd, there) = root.open_or_make(Path::new(path), kind, false).unwrap();
            assert!(!there, "{path}");
            assert_eq!(fs::fstat(&fd).unwrap().is_dir(), kind == Make::Dir, "{path}");
        }
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
        assert!(dir.join("root").join(victim.strip_prefix("/").unwrap()).join("x/y").is_dir());
        assert!(dir.join("root/victim/x").is_file());
        assert!(dir.join("root/z").is_dir());
        assert_eq!(root.open_or_make(Path::new("/loop/x"), Make::Dir, false).unwrap_err(), Errno::ELOOP);
        assert_eq!(root.open_or_make(Path::new("/abs/x"), Make::Dir, true).unwrap_err(), Errno::ELOOP);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
