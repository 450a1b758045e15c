//! Every cgroup below one, however deep and wide: a container may nest them as it likes, and what it has nested must be
//! found, thawed and removed. The way back up is `..`, so that depth costs neither descriptors nor stack. (A cgroup
//! cannot be moved to another parent, so `..` is where we came from.)

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::fs::{self, OFlag};
use crate::sys::process::Deadline;
use crate::sys::{self};

/// What is done on the way.
pub trait Visitor {
    /// Before a cgroup is entered: is there a need to?
    fn wants(&mut self, _parent: BorrowedFd<'_>, _name: &OsStr) -> bool {
        true
    }
    /// In it, before all below.
    fn enter(&mut self, _cgroup: BorrowedFd<'_>) {}
    /// After it and all below.
    fn leave(&mut self, _parent: BorrowedFd<'_>, _name: &OsStr) {}
}

/// Visits all below `top`, which itself is not visited, depth first. Cgroups that vanish meanwhile are passed over; past
/// the deadline nothing more is.
pub fn below(top: BorrowedFd<'_>, deadline: Deadline, visitor: &mut dyn Visitor) {
    // An error on the way up ends the walk: the place is gone, and with it what is below.
    let _ = walk(top, deadline, visitor);
}

fn walk(top: BorrowedFd<'_>, deadline: Deadline, visitor: &mut dyn Visitor) -> sys::Result<()> {
    let mut at = open(top, ".")?;
    // The names from the top to here, and beside each level what is still to be visited on it.
    let mut way: Vec<OsString> = Vec::new();
    let mut left = vec![children(&at)];
    while let Some(names) = left.last_mut() {
        if deadline.passed() {
            return Ok(());
        }
        let Some(name) = names.pop() else {
            left.pop();
            let Some(name) = way.pop() else { break };
            at = open(&at, "..")?;
            visitor.leave(at.as_fd(), &name);
            continue;
        };
        if visitor.wants(at.as_fd(), &name)
            && let Ok(sub) = open(&at, &name)
        {
            visitor.enter(sub.as_fd());
            left.push(children(&sub));
            way.push(name);
            at = sub;
        }
    }
    Ok(())
}

fn open(dir: impl AsFd, name: impl AsRef<std::path::Path>) -> sys::Result<OwnedFd> {
    fs::openat(dir, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)
}

fn children(dir: &OwnedFd) -> Vec<OsString> {
    open(dir, ".").and_then(fs::subdirs).unwrap_or_default()
}

/// Removes what can be removed below `top`.
pub fn remove(top: BorrowedFd<'_>, deadline: Deadline) {
    struct Remover;
    impl Visitor for Remover {
        // Most have nothing below them.
        fn wants(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> bool {
            fs::rmdirat(parent, name).is_err()
        }
        fn leave(&mut self, parent: BorrowedFd<'_>, name: &OsStr) {
            let _ = fs::rmdirat(parent, name);
        }
    }
    below(top, deadline, &mut Remover);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Names(Vec<String>);
    impl Visitor for Names {
        fn enter(&mut self, _: BorrowedFd<'_>) {
            self.0.push("(".into());
        }
        fn leave(&mut self, _: BorrowedFd<'_>, name: &OsStr) {
            self.0.push(format!("{})", name.display()));
        }
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("orlop-walk-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Any directories do.
    #[test]
    fn children_before_their_parent_and_links_not_at_all() {
        let top = folder("order");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/", top.join("a/link")).unwrap();
        let fd = fs::open_dir(&top).unwrap();
        let mut names = Names(Vec::new());
        below(fd.as_fd(), Deadline::never(), &mut names);
        assert_eq!(names.0.concat(), "((b)a)");
        let mut none = Names(Vec::new());
        below(fd.as_fd(), Deadline::after(Duration::ZERO), &mut none);
        assert_eq!(none.0.concat(), "", "no time, no visit");
        std::fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn a_deep_one() {
        let top = folder("deep");
        let mut at = fs::open_dir(&top).unwrap();
        for _ in 0..1_200 {
            fs::mkdirat(&at, "d", 0o755).unwrap();
            at = open(&at, "d").unwrap();
        }
        let fd = open(fs::AT_FDCWD, &top).unwrap();
        remove(fd.as_fd(), Deadline::never());
        std::fs::remove_dir(&top).unwrap();
    }
}
