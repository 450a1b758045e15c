//! What openat2(2) does, component by component, where a filter around us does not let it through.
//!
//! Each step opens one name below a descriptor and follows nothing, so that what is swapped between two steps leads
//! nowhere; `..` goes back to what we came through, never to what the kernel would call its parent by now.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::fs::{OFlag, Resolve, Stat, fstat, fstatfs, openat, readlinkat};
use super::{Errno, Result, mount};

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;
/// What is swapped between the look and the opening is looked at again.
const MAX_TRIES: usize = 128;

/// `flags` without any that makes something.
pub(super) fn open(dir: BorrowedFd<'_>, path: &Path, flags: OFlag, how: Resolve) -> Result<OwnedFd> {
    if flags.contains(OFlag::O_CREAT) || flags.contains(OFlag::O_TMPFILE) {
        return Err(Errno::ENOSYS);
    }
    for _ in 0..MAX_TRIES {
        match walk(dir, path, flags, how) {
            Err(Errno::EAGAIN) => {}
            r => return r,
        }
    }
    Err(Errno::EAGAIN)
}

/// How far a walk has come.
struct Way<'d> {
    start: BorrowedFd<'d>,
    /// In place of `start`, for an absolute path that means the caller's own root.
    top: Option<OwnedFd>,
    /// The directories entered, the innermost last.
    below: Vec<OwnedFd>,
}

impl Way<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.below.last().or(self.top.as_ref()).map_or(self.start, AsFd::as_fd)
    }
}

fn walk(dir: BorrowedFd<'_>, path: &Path, flags: OFlag, how: Resolve) -> Result<OwnedFd> {
    let in_root = how.has(libc::RESOLVE_IN_ROOT);
    let beneath = how.has(libc::RESOLVE_BENEATH);
    let mut way = Way { start: dir, top: None, below: Vec::new() };
    let mut todo = components(path.as_os_str());
    if todo.is_empty() {
        return Err(Errno::ENOENT);
    }
    if path.has_root() {
        match (in_root, beneath) {
            (true, _) => {}
            (_, true) => return Err(Errno::EXDEV),
            _ => way.top = Some(super::fs::open_dir("/")?),
        }
    }
    let place = Place::of(way.here(), how)?;
    let mut links = 0;
    // What to open in the end: the name in `way.here()`, and what the look at it saw.
    let mut found: Option<(OsString, OwnedFd, Stat)> = None;
    while let Some(name) = todo.pop_front() {
        let last = todo.is_empty();
        if name == "." {
            continue;
        }
        if name == ".." {
            if way.below.pop().is_none() && !in_root {
                if beneath {
                    return Err(Errno::EXDEV);
                }
                let up = openat(way.here(), "..", OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
                way.top = Some(up);
            }
            continue;
        }
        let fd = openat(way.here(), &name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
        let stat = fstat(&fd)?;
        place.holds(&fd, &stat)?;
        if stat.is_link() {
            if last && flags.contains(OFlag::O_NOFOLLOW | OFlag::O_PATH) {
                return Ok(fd);
            }
            links += 1;
            if (last && flags.contains(OFlag::O_NOFOLLOW))
                || how.has(libc::RESOLVE_NO_SYMLINKS)
                || links > MAX_LINKS
                || is_magic(way.here(), &fd)?
            {
                return Err(Errno::ELOOP);
            }
            let target = readlinkat(&fd, "")?;
            if Path::new(&target).has_root() {
                if beneath {
                    return Err(Errno::EXDEV);
                }
                way.below.clear();
                if !in_root {
                    way.top = Some(super::fs::open_dir("/")?);
                }
            }
            let mut ahead = components(&target);
            if ahead.is_empty() {
                return Err(Errno::ENOENT);
            }
            ahead.append(&mut todo);
            todo = ahead;
            continue;
        }
        if last {
            found = Some((name, fd, stat));
        } else if stat.is_dir() {
            way.below.push(fd);
        } else {
            return Err(Errno::ENOTDIR);
        }
    }
    let Some((name, fd, seen)) = found else {
        return openat(way.here(), ".", flags, 0);
    };
    if flags.contains(OFlag::O_DIRECTORY) && !seen.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if flags.contains(OFlag::O_PATH) {
        return Ok(fd);
    }
    let opened = match openat(way.here(), &name, flags | OFlag::O_NOFOLLOW, 0) {
        // It was no link when we looked.
        Err(Errno::ELOOP) => return Err(Errno::EAGAIN),
        r => r?,
    };
    if fstat(&opened)?.same(&seen) { Ok(opened) } else { Err(Errno::EAGAIN) }
}

/// A slash at the end asks for a directory, as `.` does.
fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|b| *b == b'/');
    let mut all: VecDeque<_> =
        parts.filter(|p| !p.is_empty()).map(|p| OsStr::from_bytes(p).to_owned()).collect();
    if path.as_bytes().last() == Some(&b'/') {
        all.push_back(".".into());
    }
    all
}

/// A link of procfs that leads by itself and not by its text: all but those in its top directory.
fn is_magic(dir: BorrowedFd<'_>, link: &OwnedFd) -> Result<bool> {
    const PROC_ROOT: u64 = 1;
    Ok(fstatfs(link)?.0 == mount::PROC_MAGIC && fstat(dir)?.ino != PROC_ROOT)
}

/// The mount that must not be left, where none may.
struct Place(Option<(u64, Option<u64>)>);

impl Place {
    fn of(fd: BorrowedFd<'_>, how: Resolve) -> Result<Self> {
        let bound = how.has(libc::RESOLVE_NO_XDEV);
        Ok(Self(if bound { Some((fstat(fd)?.dev, mount::id(fd).ok())) } else { None }))
    }

    fn holds(&self, fd: &OwnedFd, stat: &Stat) -> Result<()> {
        let Some((dev, id)) = self.0 else { return Ok(()) };
        if stat.dev == dev && mount::id(fd).ok() == id { Ok(()) } else { Err(Errno::EXDEV) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sys::fs;

    /// Both must say the same of every path: who lets us ask the kernel, compares.
    #[test]
    fn it_finds_what_the_kernel_finds() {
        let top = std::env::temp_dir().join(format!("orlop-walk-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&top);
        std::fs::create_dir_all(top.join("root/a/b/c")).unwrap();
        std::fs::create_dir(top.join("outside")).unwrap();
        std::fs::write(top.join("outside/file"), "secret").unwrap();
        let root = top.join("root");
        std::fs::write(root.join("file"), "mine").unwrap();
        for (name, to) in [
            ("abs", "/a/b"),
            ("rel", "a/../a/b"),
            ("up", "../../../../../.."),
            ("out", "../outside/file"),
            ("loop", "loop"),
            ("dangling", "nowhere"),
            ("a/back", "../file"),
            ("slash", "a/"),
            ("self", "/proc/self/fd"),
        ] {
            symlink(to, root.join(name)).unwrap();
        }
        let dir = fs::open_dir(&root).unwrap();
        let paths = [
            "",
            ".",
            "/",
            "..",
            "a",
            "a/",
            "a/b/c",
            "/a/b/c",
            "a/../..",
            "a/../../file",
            "file",
            "file/",
            "file/x",
            "abs",
            "abs/c",
            "rel/c",
            "up",
            "up/file",
            "up/../a",
            "out",
            "loop",
            "loop/x",
            "dangling",
            "a/back",
            "slash",
            "slash/b",
            "none",
            "none/x",
            "a/./b/.",
            "/../a",
            "self",
            "a//b",
        ];
        let rules =
            [Resolve::IN_ROOT, Resolve::BENEATH, Resolve::NO_LINKS, Resolve::PLAIN, Resolve::BENEATH_LINKS];
        let flags = [
            OFlag::O_PATH,
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            OFlag::O_PATH | OFlag::O_DIRECTORY,
            OFlag::O_RDONLY | OFlag::O_NONBLOCK,
            OFlag::O_WRONLY,
        ];
        let told = |r: Result<OwnedFd>| r.and_then(|fd| fstat(fd).map(|s| (s.dev, s.ino, s.mode)));
        for path in paths {
            for how in rules {
                for flag in flags {
                    let theirs = told(fs::openat2(&dir, path, flag, 0, how));
                    let ours = told(open(dir.as_fd(), Path::new(path), flag | OFlag::O_CLOEXEC, how));
                    assert_eq!(ours, theirs, "{path:?} {how:?} {flag:?}");
                }
            }
        }
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn magic_links_and_other_mounts() {
        let proc = fs::open_dir("/proc").unwrap();
        for (path, how) in [
            ("self/exe", Resolve::IN_ROOT),
            ("self/root/etc", Resolve::IN_ROOT),
            ("self/fd/0", Resolve::IN_ROOT),
            ("self/status", Resolve::BENEATH),
            ("self/status", Resolve::BENEATH_LINKS),
            ("mounts", Resolve::IN_ROOT),
            ("sys/fs", Resolve::BENEATH),
            ("sys/fs/binfmt_misc", Resolve::BENEATH),
        ] {
            let theirs = fs::openat2(&proc, path, OFlag::O_PATH, 0, how).map(|_| ());
            let ours = open(proc.as_fd(), Path::new(path), OFlag::O_PATH, how).map(|_| ());
            assert_eq!(ours, theirs, "{path} {how:?}");
        }
        let root = fs::open_dir("/").unwrap();
        assert_eq!(
            open(root.as_fd(), Path::new("proc/1"), OFlag::O_PATH, Resolve::BENEATH).err(),
            Some(Errno::EXDEV)
        );
    }
}
