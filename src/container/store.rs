//! The state root: one directory a container, locked while a verb changes it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};

use super::id::Id;
use super::record::Record;
use super::status::{self, Status};
use crate::error::{Error, Kind, OnSys, Result, compat};
use crate::sys::fs::{self, OFlag, Resolve};
use crate::sys::process::Deadline;
use crate::sys::{Errno, cred, ns};

const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";
const LIMITS: &str = "resources.json";
pub const GATE: &str = "start.sock";

/// How long a verb waits for another one on the same container.
const WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// The directory that holds all containers of one `--root`.
pub struct Store {
    path: PathBuf,
    dir: OwnedFd,
}

/// Where state goes when `--root` is not given.
pub fn default_root() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) if !is_real_root() => PathBuf::from(dir).join("orlop"),
        _ => "/run/orlop".into(),
    }
}

/// As runc: root of a user namespace is an ordinary user who calls himself root, unless he has root's own environment.
fn is_real_root() -> bool {
    if cred::geteuid() != 0 {
        return false;
    }
    !ns::in_user_namespace() || std::env::var_os("USER").is_some_and(|user| user == "root")
}

impl Store {
    /// Opens the root; verbs that make a container make it, too, for root alone to enter (CVE-2021-41103).
    pub fn open(path: &Path, make: bool) -> Result<Self> {
        let absolute = std::path::absolute(path).on("resolve", path.display())?;
        if absolute == Path::new("/") {
            return Err(Error::new(Kind::Usage, "the state root cannot be /"));
        }
        if make {
            use std::os::unix::fs::DirBuilderExt;
            #[expect(clippy::disallowed_methods, reason = "a path of the host, named by the user")]
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&absolute);
            made.on("create", absolute.display())?;
        }
        let dir = fs::open(&absolute, OFlag::O_RDONLY | OFlag::O_DIRECTORY).on("open", absolute.display())?;
        Ok(Self { path: absolute, dir })
    }

    /// Whoever tidies $XDG_RUNTIME_DIR leaves alone what has the sticky bit (XDG Base Directory Specification).
    pub fn keep(&self) -> Result<()> {
        let mode = fs::fstat(&self.dir).on("stat", self.path.display())?.mode & 0o7777;
        if mode == 0o1700 {
            return Ok(());
        }
        fs::fchmod(&self.dir, 0o1700).on("set the sticky bit of", self.path.display())
    }

    /// As [`Store::open`], but a root that is not there is a store without containers.
    pub fn open_existing(path: &Path) -> Result<Option<Self>> {
        match Self::open(path, false) {
            Ok(s) => Ok(Some(s)),
            Err(e) if e.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reserves the id, with the lock held.
    pub fn reserve(&self, id: &Id) -> Result<Entry> {
        let _t = crate::trace::span("reserve the id");
        match fs::mkdirat(&self.dir, id.as_str(), 0o711) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(Error::new(Kind::Exists, compat::ID_EXISTS)),
            Err(e) => return Err(e).on("create", self.path.join(id.as_str()).display()),
        }
        let entry = self.enter(id)?.ok_or_else(|| Error::new(Kind::NotFound, compat::DOES_NOT_EXIST))?;
        entry.lock()?;
        Ok(entry)
    }

    /// The container's directory, unlocked.
    pub fn find(&self, id: &Id) -> Result<Entry> {
        self.enter(id)?.ok_or_else(|| Error::new(Kind::NotFound, compat::DOES_NOT_EXIST))
    }

    fn enter(&self, id: &Id) -> Result<Option<Entry>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let path = self.path.join(id.as_str());
        match fs::openat(&self.dir, id.as_str(), flags, 0) {
            Ok(dir) => {
                let root = self.dir.try_clone().on("duplicate", self.path.display())?;
                Ok(Some(Entry { id: id.clone(), path, dir, root }))
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(e) => Err(e).on("open", path.display()),
        }
    }

    /// All ids, sorted.
    pub fn ids(&self) -> Result<Vec<Id>> {
        let names = fs::list_at(&self.dir, ".").on("list", self.path.display())?;
        let mut ids: Vec<_> =
            names.iter().filter_map(|n| n.to_str()).filter_map(|n| Id::parse(n).ok()).collect();
        ids.sort();
        Ok(ids)
    }
}

/// A record that is written, and not the container's yet.
#[derive(Debug)]
pub struct Aside(String);

/// One container's directory.
pub struct Entry {
    pub id: Id,
    path: PathBuf,
    dir: OwnedFd,
    root: OwnedFd,
}

impl Entry {
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One verb at a time changes a container; the lock goes with the process. Afterwards the directory may be gone.
    pub fn lock(&self) -> Result<()> {
        self.lock_until(Deadline::after(WAIT))
    }

    pub fn lock_until(&self, deadline: Deadline) -> Result<()> {
        self.hold(&self.dir, deadline)
    }

    /// For a verb that stays when it has done its work.
    pub fn unlock(&self) -> Result<()> {
        fs::unlock(&self.dir).on("unlock", self.path.display())
    }

    /// One verb at a time changes its limits. Another lock, so that a container that starves while it starts can be
    /// given more.
    pub fn lock_limits(&self) -> Result<OwnedFd> {
        let file = fs::openat2(&self.dir, CONFIG, OFlag::O_RDONLY, 0, Resolve::BENEATH)
            .on("open", self.path.join(CONFIG).display())?;
        self.hold(&file, Deadline::after(WAIT))?;
        Ok(file)
    }

    fn hold(&self, file: &OwnedFd, deadline: Deadline) -> Result<()> {
        loop {
            match fs::lock(file, false) {
                Ok(()) => return Ok(()),
                Err(Errno::EWOULDBLOCK) if !deadline.passed() => {
                    crate::sys::sched::pause(std::time::Duration::from_millis(2));
                }
                Err(Errno::EWOULDBLOCK) => {
                    return Err(Error::new(
                        Kind::Timeout,
                        format!("container {} is busy with another command", self.id),
                    ));
                }
                Err(e) => return Err(e).on("lock", self.path.display()),
            }
        }
    }

    /// The state root, for a container with this configuration: compiled filters are kept there.
    pub fn filters(&self, spec: &Spec) -> Result<Option<OwnedFd>> {
        let filtered = spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some());
        filtered.then(|| self.root.try_clone()).transpose().on("duplicate", self.path.display())
    }

    pub fn owner(&self) -> Result<u32> {
        Ok(fs::fstat(&self.dir).on("stat", self.path.display())?.uid)
    }

    pub fn save(&self, record: &Record) -> Result<()> {
        let aside = self.write_aside(record)?;
        self.publish(&aside)
    }

    /// Writes it down where nobody reads it yet; it goes with the directory.
    pub fn write_aside(&self, record: &Record) -> Result<Aside> {
        let _t = crate::trace::span("write the record");
        let text = serde_json::to_vec(record).map_err(|e| Error::bug(format!("record: {e}")))?;
        let name =
            fs::write_aside(&self.dir, RECORD, &text, 0o600).on("write", self.path.join(RECORD).display())?;
        Ok(Aside(name))
    }

    /// From now on it is the record.
    pub fn publish(&self, aside: &Aside) -> Result<()> {
        fs::renameat(&self.dir, &aside.0, &self.dir, RECORD)
            .inspect_err(|_| {
                let _ = fs::unlinkat(&self.dir, &aside.0);
            })
            .on("write", self.path.join(RECORD).display())
    }

    /// The record. None where there is none yet, or none that can be read: the kind tells.
    pub fn record(&self) -> Result<Record> {
        let shown = self.path.join(RECORD);
        let fd =
            match fs::openat2(&self.dir, RECORD, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0, Resolve::BENEATH) {
                // Reserved, but not written down yet, or deleted by now.
                Err(Errno::ENOENT) => return Err(Error::new(Kind::NotFound, compat::DOES_NOT_EXIST)),
                r => r.on("open", shown.display())?,
            };
        let text = fs::read_all(fd, 16 << 20).on("read", shown.display())?;
        Record::parse(&text, shown.display())
    }

    /// The configuration as it was when the container was created.
    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        fs::openat(&self.dir, CONFIG, flags, 0o600)
            .and_then(|fd| fs::write_all(fd, text))
            .on("write", self.path.join(CONFIG).display())
    }

    pub fn config(&self) -> Result<Vec<u8>> {
        let shown = self.path.join(CONFIG);
        fs::openat2(&self.dir, CONFIG, OFlag::O_RDONLY, 0, Resolve::BENEATH)
            .and_then(|fd| fs::read_all(fd, 64 << 20))
            .on("read", shown.display())
    }

    /// The limits as the last `update` left them; none before the first.
    pub fn limits(&self) -> Result<Option<LinuxResources>> {
        let shown = self.path.join(LIMITS);
        let fd = match fs::openat2(&self.dir, LIMITS, OFlag::O_RDONLY, 0, Resolve::BENEATH) {
            Err(Errno::ENOENT) => return Ok(None),
            r => r.on("open", shown.display())?,
        };
        let text = fs::read_all(fd, 64 << 20).on("read", shown.display())?;
        let damaged = |e| Error::new(Kind::Host, format!("{} is damaged: {e}", shown.display()));
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    pub fn save_limits(&self, limits: &LinuxResources) -> Result<()> {
        let text = serde_json::to_vec(limits).map_err(|e| Error::bug(format!("limits: {e}")))?;
        fs::replace_file_at(&self.dir, LIMITS, &text, 0o600).on("write", self.path.join(LIMITS).display())
    }

    pub fn gate_present(&self) -> bool {
        fs::lstatat(&self.dir, GATE).is_ok()
    }

    pub fn status(&self, record: &Record) -> Status {
        self.status_in(record, &status::boot_id())
    }

    /// For who asks about many containers: with the id of this boot.
    pub fn status_in(&self, record: &Record, this_boot: &str) -> Status {
        status::derive(record, this_boot, || self.gate_present(), || record.cgroup.is_frozen())
    }

    /// The notification socket's.
    fn remove_dir(&self, name: &OsStr) -> Result<()> {
        let remove = || {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let dir = fs::openat(&self.dir, name, flags, 0)?;
            for file in fs::list_at(&dir, ".")? {
                fs::unlinkat(&dir, &file)?;
            }
            fs::rmdirat(&self.dir, name)
        };
        remove().on("remove", self.path.join(name).display())
    }

    /// What most containers have there, without looking. The record goes last, and the directory only if it had it: once it
    /// is gone, another container may have the name.
    fn remove_usual(&self) -> bool {
        let _ = fs::unlinkat(&self.dir, CONFIG);
        fs::unlinkat(&self.dir, RECORD).is_ok() && fs::rmdirat(&self.root, self.id.as_str()).is_ok()
    }

    /// Removes the directory and all in it: flat, by descriptor, whatever the names are.
    pub fn remove(&self) -> Result<()> {
        let _t = crate::trace::span("remove the state");
        if self.remove_usual() {
            return Ok(());
        }
        let names = match fs::list_at(&self.dir, ".") {
            Err(Errno::ENOENT) => return Ok(()),
            r => r.on("list", self.path.display())?,
        };
        for name in names {
            match fs::unlinkat(&self.dir, &name) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR) => self.remove_dir(&name)?,
                Err(e) => return Err(e).on("remove", self.path.join(&name).display()),
            }
        }
        match fs::rmdirat(&self.root, self.id.as_str()) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e).on("remove", self.path.display()),
        }
    }
}
