//! Looking up paths of the host that may lead to a file server which never answers (FUSE, NFS). The kernel lets nobody go
//! who waits for one, or nobody but the dying; so what is not in its cache is looked up by a child, and that is given up.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::fs::{self, Stat};
use super::process::{self, Birth, Child, Deadline};
use super::{Errno, Result, fd, mount, socket};

/// The longest path with its NUL: PATH_MAX.
const LONGEST: usize = 4096;

pub struct Lookup {
    patience: Duration,
    /// Born when the first path needs it.
    scout: Option<Scout>,
}

/// The child that waits in our place.
struct Scout {
    line: OwnedFd,
    /// Dropped last: it ends by itself when the line is gone.
    _child: Child,
}

impl Lookup {
    /// None of its answers takes longer than `patience`.
    pub fn with_patience(patience: Duration) -> Self {
        Self { patience, scout: None }
    }

    /// An O_PATH handle on a path, links followed, and what it stands for; ETIMEDOUT: nobody has answered.
    pub fn find(&mut self, path: &Path) -> Result<(OwnedFd, Stat)> {
        let found = match fs::open_cached(path) {
            // Not all of it is in the cache, or this kernel does not look there alone.
            Err(Errno::EAGAIN | Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => self.ask(path)?,
            r => r?,
        };
        let stat = fs::stat_cached(&found)?;
        Ok((found, stat))
    }

    fn ask(&mut self, path: &Path) -> Result<OwnedFd> {
        let path = path.as_os_str().as_bytes();
        if path.len() >= LONGEST {
            return Err(Errno::ENAMETOOLONG);
        }
        let scout = match self.scout.take() {
            Some(scout) => scout,
            None => Scout::new()?,
        };
        socket::send(&scout.line, path, None)?;
        // One that has not answered is not asked again.
        if process::poll_read(&[scout.line.as_fd()], Deadline::after(self.patience))?.is_empty() {
            return Err(Errno::ETIMEDOUT);
        }
        let mut why = [0; 4];
        let (length, found) = socket::receive(&scout.line, &mut why)?;
        if length == 0 {
            return Err(Errno::ECHILD);
        }
        self.scout = Some(scout);
        found.ok_or_else(|| Errno::from_raw(i32::from_ne_bytes(why)))
    }
}

impl Scout {
    fn new() -> Result<Self> {
        let (line, theirs) = socket::pair()?;
        let child = process::spawn(&Birth::default(), || {
            let _ = process::die_with_parent(libc::SIGKILL);
            // It may outlive us, held by the dead server: no lock and no stream of ours may.
            if fd::close_every_but(&theirs).is_ok() {
                answer(&theirs);
            }
            0
        })?;
        Ok(Self { line, _child: child })
    }
}

/// Until the other end is gone.
fn answer(line: &OwnedFd) {
    use std::ffi::OsStr;
    let mut path = [0; LONGEST];
    while let Ok((length @ 1.., _)) = socket::receive(line, &mut path) {
        let found = fs::cstr(OsStr::from_bytes(path.get(..length).unwrap_or_default())).and_then(|path| {
            // Mounts what automounts there, as the clone that is made of it later does.
            match mount::reach(&path) {
                Err(Errno::ENOSYS | Errno::EPERM) => fs::open_path(OsStr::from_bytes(path.to_bytes())),
                r => r,
            }
        });
        let sent = match found {
            Ok(found) => socket::send(line, &0_i32.to_ne_bytes(), Some(found.as_fd())),
            Err(e) => socket::send(line, &(e as i32).to_ne_bytes(), None),
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let mut lookup = Lookup::with_patience(Duration::from_secs(120));
        let real = fs::stat("/proc/self/root/usr").expect("stat");
        for path in ["/usr", "/usr/./bin/..", "/proc/self/root/usr"] {
            let (found, seen) = lookup.find(Path::new(path)).expect(path);
            assert!(seen.is_dir() && seen.same(&real), "{path}");
            assert!(fs::fstat(&found).expect("fstat").same(&real), "{path}");
            // By the child, too, and by the same one.
            let found = lookup.ask(Path::new(path)).expect(path);
            assert!(fs::fstat(&found).expect("fstat").same(&real), "{path}");
        }
        for (path, errno) in [("/no/such", Errno::ENOENT), ("/proc/version/x", Errno::ENOTDIR)] {
            assert_eq!(lookup.find(Path::new(path)).map(|_| ()), Err(errno), "{path}");
            assert_eq!(lookup.ask(Path::new(path)).map(|_| ()), Err(errno), "{path}");
        }
        let long = format!("/{}", "x/".repeat(LONGEST));
        assert_eq!(lookup.ask(Path::new(&long)).map(|_| ()), Err(Errno::ENAMETOOLONG));
        assert_eq!(lookup.find(Path::new(&long)).map(|_| ()), Err(Errno::ENAMETOOLONG));
    }
}
