//! Files, by descriptor. Everything of a container is reached through a directory descriptor and `openat2`; plain
//! paths are for the host's own files alone.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::{Errno, Result, cvt, retry};

pub use nix::fcntl::{AT_FDCWD, OFlag};
pub use nix::sys::stat::Mode;

/// How a path may be resolved; openat2(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve(u64);

impl Resolve {
    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// `/` and `..` stop at the directory; no magic links. For paths inside a container's root.
    pub const IN_ROOT: Self = Self(libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS);
    /// Must stay below the directory, on its file system, without any link: for cgroup and procfs files.
    pub const BENEATH: Self = Self(
        libc::RESOLVE_BENEATH
            | libc::RESOLVE_NO_MAGICLINKS
            | libc::RESOLVE_NO_SYMLINKS
            | libc::RESOLVE_NO_XDEV,
    );
    /// Below the directory without any link, crossing mounts.
    pub const NO_LINKS: Self =
        Self(libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_SYMLINKS);
    /// Anywhere, without any link.
    pub const PLAIN: Self = Self(libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_SYMLINKS);
    /// Below the directory on its own file system; plain symlinks may be followed while they stay there.
    pub const BENEATH_LINKS: Self =
        Self(libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV);
}

/// A path as C wants it. A NUL byte in it is EINVAL: no such file can exist.
pub fn cstr(path: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(path.as_ref().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// openat2(2): bounded retry on EAGAIN, which a rename storm in the tree can provoke for ever. Where it is not known, [`walk`] does the same.
pub fn openat2(
    dir: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlag,
    mode: u32,
    how: Resolve,
) -> Result<OwnedFd> {
    let walked = path.as_ref();
    let path = cstr(walked)?;
    // SAFETY: open_how is a plain C struct of integers for which all zeroes is a valid value.
    let mut open_how: libc::open_how = unsafe { std::mem::zeroed() };
    open_how.flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
    open_how.mode = u64::from(mode);
    open_how.resolve = how.0;
    let mut tries = 0;
    loop {
        // SAFETY: the path is NUL-terminated and open_how lives across the call, with its own size.
        let r = cvt(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_fd().as_raw_fd(),
                path.as_ptr(),
                &raw const open_how,
                size_of::<libc::open_how>(),
            )
        });
        match r {
            // SAFETY: a fresh descriptor that nobody else owns.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if tries < 128 => tries += 1,
            Err(Errno::ENOSYS | Errno::EPERM) => return super::walk::open(dir.as_fd(), walked, flags, how),
            Err(e) => return Err(e),
        }
    }
}

/// An O_PATH handle on a host path, if nobody need be asked for it: EAGAIN otherwise. EINVAL: before Linux 5.12.
pub fn open_cached(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = cstr(path.as_ref())?;
    // SAFETY: open_how is a plain C struct of integers for which all zeroes is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (OFlag::O_PATH | OFlag::O_CLOEXEC).bits() as u64;
    how.resolve = libc::RESOLVE_CACHED;
    let size = size_of::<libc::open_how>();
    let open = || {
        // SAFETY: the path is NUL-terminated and `how` lives across the call, with its own size.
        cvt(unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size) })
    };
    let fd = retry(open)?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// openat(2) of a host path, or of one component below a descriptor.
pub fn openat(dir: impl AsFd, path: impl AsRef<Path>, flags: OFlag, mode: u32) -> Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(mode);
    retry(|| nix::fcntl::openat(dir.as_fd(), path.as_ref(), flags | OFlag::O_CLOEXEC, mode))
}

/// A host path, opened as it is (links followed).
pub fn open(path: impl AsRef<Path>, flags: OFlag) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, flags, 0)
}

/// An O_PATH handle on a host path.
pub fn open_path(path: impl AsRef<Path>) -> Result<OwnedFd> {
    open(path, OFlag::O_PATH)
}

/// An O_PATH handle on a host directory.
pub fn open_dir(path: impl AsRef<Path>) -> Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// The whole of an open file, at most `cap` bytes (EFBIG beyond).
pub fn read_all(fd: impl AsFd, cap: usize) -> Result<Vec<u8>> {
    let mut buf = Vec::new();
    loop {
        // One more than it may be, to see that it is no more.
        let room = cap.saturating_add(1).saturating_sub(buf.len());
        if buf.capacity() - buf.len() < room.min(512) {
            buf.reserve(room.min(buf.len().max(4096)));
        }
        if read_into(&fd, &mut buf, room)? == 0 {
            return Ok(buf);
        }
        if buf.len() > cap {
            return Err(Errno::EFBIG);
        }
    }
}

/// One read(2) to the end of what is there, of at most `cap` bytes and of what there is room for: memory that is not
/// read into is not touched.
fn read_into(fd: &impl AsFd, buf: &mut Vec<u8>, cap: usize) -> Result<usize> {
    let room = buf.spare_capacity_mut();
    let size = room.len().min(cap);
    // SAFETY: `size` bytes of memory that is ours to write to.
    let n =
        retry(|| cvt(unsafe { libc::read(fd.as_fd().as_raw_fd(), room.as_mut_ptr().cast(), size) } as i64))?;
    let n = usize::try_from(n).unwrap_or(0);
    // SAFETY: read(2) has written the first `n` bytes of the room.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}

/// What one read(2) gives, at most `cap` bytes: a message.
pub fn read_once(fd: impl AsFd, cap: usize) -> Result<Vec<u8>> {
    let mut buf = Vec::with_capacity(cap);
    read_into(&fd, &mut buf, cap)?;
    Ok(buf)
}

/// The whole of a host file, at most `cap` bytes.
pub fn read_file(path: impl AsRef<Path>, cap: usize) -> Result<Vec<u8>> {
    read_all(open(path, OFlag::O_RDONLY)?, cap)
}

/// The text of a small file below `dir`, without its last newline.
pub fn read_text_at(dir: impl AsFd, path: impl AsRef<Path>, how: Resolve) -> Result<String> {
    let fd = openat2(dir, path, OFlag::O_RDONLY, 0, how)?;
    let mut text = String::from_utf8(read_all(fd, 1 << 20)?).map_err(|_| Errno::EILSEQ)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// One write(2) of all of `data` to an existing file below `dir`: the way of kernel files, which take or refuse a
/// value whole.
pub fn write_at(dir: impl AsFd, path: impl AsRef<Path>, data: impl AsRef<[u8]>, how: Resolve) -> Result<()> {
    let fd = openat2(dir, path, OFlag::O_WRONLY, 0, how)?;
    write_once(fd, data.as_ref())
}

/// One write(2) that must take all of `data`.
pub fn write_once(fd: impl AsFd, data: &[u8]) -> Result<()> {
    let n = retry(|| nix::unistd::write(fd.as_fd(), data))?;
    if n == data.len() { Ok(()) } else { Err(Errno::EIO) }
}

/// All of `data`, in as many writes as it takes.
pub fn write_all(fd: impl AsFd, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let n = retry(|| nix::unistd::write(fd.as_fd(), data))?;
        data = &data[n..];
    }
    Ok(())
}

/// Makes `name` in `dir` with the whole of `data`, durable against readers: written aside, then renamed.
pub fn replace_file_at(dir: impl AsFd, name: &str, data: &[u8], mode: u32) -> Result<()> {
    let dir = dir.as_fd();
    let aside = write_aside(dir, name, data, mode)?;
    renameat(dir, &aside, dir, name).inspect_err(|_| {
        let _ = unlinkat(dir, &aside);
    })
}

/// The first half of [`replace_file_at`]: what is to be renamed to `name`.
pub fn write_aside(dir: impl AsFd, name: &str, data: &[u8], mode: u32) -> Result<String> {
    let dir = dir.as_fd();
    let aside = format!(".{name}.{}", std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let fd = match openat(dir, &aside, flags, mode) {
        // Left by a process of our pid that was killed between the two steps.
        Err(Errno::EEXIST) => {
            unlinkat(dir, &aside)?;
            openat(dir, &aside, flags, mode)?
        }
        r => r?,
    };
    match write_all(&fd, data) {
        Ok(()) => Ok(aside),
        Err(e) => {
            let _ = unlinkat(dir, &aside);
            Err(e)
        }
    }
}

pub fn renameat(from: impl AsFd, old: impl AsRef<Path>, to: impl AsFd, new: impl AsRef<Path>) -> Result<()> {
    nix::fcntl::renameat(from.as_fd(), old.as_ref(), to.as_fd(), new.as_ref())
}

pub fn mkdirat(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> Result<()> {
    nix::sys::stat::mkdirat(dir.as_fd(), name.as_ref(), Mode::from_bits_truncate(mode))
}

/// mknodat(2). `kind`: S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO.
pub fn mknodat(
    dir: impl AsFd,
    name: impl AsRef<Path>,
    kind: u32,
    mode: u32,
    major: u64,
    minor: u64,
) -> Result<()> {
    let kind = nix::sys::stat::SFlag::from_bits_truncate(kind);
    let dev = nix::sys::stat::makedev(major, minor);
    nix::sys::stat::mknodat(dir.as_fd(), name.as_ref(), kind, Mode::from_bits_truncate(mode), dev)
}

pub fn symlinkat(target: impl AsRef<Path>, dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    nix::unistd::symlinkat(target.as_ref(), dir.as_fd(), name.as_ref())
}

pub fn unlinkat(dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    nix::unistd::unlinkat(dir.as_fd(), name.as_ref(), nix::unistd::UnlinkatFlags::NoRemoveDir)
}

pub fn rmdirat(dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    nix::unistd::unlinkat(dir.as_fd(), name.as_ref(), nix::unistd::UnlinkatFlags::RemoveDir)
}

pub fn readlinkat(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OsString> {
    nix::fcntl::readlinkat(dir.as_fd(), name.as_ref())
}

/// What stat says of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    /// File type and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The device a device node stands for.
    pub rdev: u64,
    pub size: i64,
    /// Hard links.
    pub has_other_names: bool,
    /// Since 1970.
    pub modified: std::time::Duration,
}

impl Stat {
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }
    pub fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }
    pub fn is_link(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }
    pub fn is_char(&self, major: u32, minor: u32) -> bool {
        self.kind() == libc::S_IFCHR && self.rdev == libc::makedev(major, minor)
    }
    /// The same inode of the same file system.
    pub fn same(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

impl From<libc::statx> for Stat {
    fn from(s: libc::statx) -> Self {
        Self {
            dev: libc::makedev(s.stx_dev_major, s.stx_dev_minor),
            ino: s.stx_ino,
            mode: s.stx_mode.into(),
            uid: s.stx_uid,
            gid: s.stx_gid,
            rdev: libc::makedev(s.stx_rdev_major, s.stx_rdev_minor),
            size: i64::try_from(s.stx_size).unwrap_or(i64::MAX),
            has_other_names: s.stx_nlink > 1,
            modified: std::time::Duration::new(s.stx_mtime.tv_sec.max(0) as u64, s.stx_mtime.tv_nsec),
        }
    }
}

impl From<libc::stat> for Stat {
    fn from(s: libc::stat) -> Self {
        Self {
            dev: s.st_dev,
            ino: s.st_ino,
            mode: s.st_mode,
            uid: s.st_uid,
            gid: s.st_gid,
            rdev: s.st_rdev,
            size: s.st_size,
            has_other_names: s.st_nlink > 1,
            modified: std::time::Duration::new(s.st_mtime.max(0) as u64, s.st_mtime_nsec as u32),
        }
    }
}

pub fn fstat(fd: impl AsFd) -> Result<Stat> {
    nix::sys::stat::fstat(fd.as_fd()).map(Stat::from)
}

/// As [`fstat`], but as the kernel knows it: no file server is asked. What stands in it is the same for all who look so.
pub fn stat_cached(fd: impl AsFd) -> Result<Stat> {
    // SAFETY: statx is a plain C struct of integers for which all zeroes is a valid value.
    let mut s: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let raw = fd.as_fd().as_raw_fd();
    // SAFETY: an open descriptor, an empty path, and a writable struct that lives across the call.
    let r = unsafe {
        libc::syscall(libc::SYS_statx, raw, c"".as_ptr(), flags, libc::STATX_BASIC_STATS, &raw mut s)
    };
    match cvt(r) {
        // A filter around us that is older than the call.
        Err(Errno::ENOSYS | Errno::EPERM) => fstat(fd),
        r => r.map(|_| Stat::from(s)),
    }
}

/// lstat of `name` in `dir`.
pub fn lstatat(dir: impl AsFd, name: impl AsRef<Path>) -> Result<Stat> {
    nix::sys::stat::fstatat(dir.as_fd(), name.as_ref(), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
        .map(Stat::from)
}

/// stat of a host path, links followed.
pub fn stat(path: impl AsRef<Path>) -> Result<Stat> {
    nix::sys::stat::stat(path.as_ref()).map(Stat::from)
}

/// The file system's magic number and its `ST_*` flags.
pub fn fstatfs(fd: impl AsFd) -> Result<(i64, u64)> {
    let s = nix::sys::statfs::fstatfs(fd.as_fd())?;
    Ok((s.filesystem_type().0, s.flags().bits()))
}

/// Changes the owner of the inode behind an O_PATH descriptor. `None` keeps the id.
/// SELinux's label of a directory, of which an O_PATH descriptor is enough: fsetxattr(2).
pub fn set_label(dir: impl AsFd, label: &CStr) -> Result<()> {
    let dir = openat(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
    let (name, bytes) = (c"security.selinux", label.to_bytes());
    // SAFETY: an open descriptor, a NUL-terminated name, and `bytes.len()` bytes that live across the call.
    cvt(unsafe { libc::fsetxattr(dir.as_raw_fd(), name.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0) }
        .into())
    .map(|_| ())
}

pub fn chown_fd(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    let uid = uid.map(nix::unistd::Uid::from_raw);
    let gid = gid.map(nix::unistd::Gid::from_raw);
    nix::unistd::fchownat(fd.as_fd(), "", uid, gid, flags)
}

/// Changes the mode of the inode behind an O_PATH descriptor: fchmodat2(2) (Linux 6.6), else through `procfs`, a
/// handle on a procfs of ours.
pub fn chmod_fd(fd: impl AsFd, mode: u32, procfs: Option<BorrowedFd<'_>>) -> Result<()> {
    const SYS_FCHMODAT2: libc::c_long = 452;
    // SAFETY: an empty NUL-terminated path and an open descriptor.
    let r = cvt(unsafe {
        libc::syscall(SYS_FCHMODAT2, fd.as_fd().as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    });
    match (r, procfs) {
        (Ok(_), _) => Ok(()),
        (Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL), Some(proc)) => {
            let link = format!("thread-self/fd/{}", fd.as_fd().as_raw_fd());
            let mode = Mode::from_bits_truncate(mode);
            nix::sys::stat::fchmodat(proc, link.as_str(), mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
        }
        (Err(e), _) => Err(e),
    }
}

/// The names in a directory, `.` and `..` left out. `dir` must be open for reading (not O_PATH).
pub fn list(dir: OwnedFd) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in nix::dir::Dir::from_fd(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

/// Opens `name` in `dir` and lists it.
pub fn list_at(dir: impl AsFd, name: impl AsRef<Path>) -> Result<Vec<OsString>> {
    list(openat(dir, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)?)
}

/// flock(2), exclusive. `wait` = false: EWOULDBLOCK when another holds it.
pub fn lock(fd: impl AsFd, wait: bool) -> Result<()> {
    let op = if wait { libc::LOCK_EX } else { libc::LOCK_EX | libc::LOCK_NB };
    // SAFETY: flock takes an open descriptor and an integer.
    retry(|| cvt(unsafe { libc::flock(fd.as_fd().as_raw_fd(), op) }.into())).map(|_| ())
}

/// Gives a [`lock`] back before the descriptor is closed.
pub fn unlock(fd: impl AsFd) -> Result<()> {
    // SAFETY: as in `lock`.
    retry(|| cvt(unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_UN) }.into())).map(|_| ())
}

pub fn access(path: impl AsRef<Path>, exec: bool) -> Result<()> {
    let how = if exec { nix::unistd::AccessFlags::X_OK } else { nix::unistd::AccessFlags::F_OK };
    nix::unistd::access(path.as_ref(), how)
}

/// Changes the mode of an open file (not O_PATH).
pub fn fchmod(fd: impl AsFd, mode: u32) -> Result<()> {
    nix::sys::stat::fchmod(fd.as_fd(), Mode::from_bits_truncate(mode))
}

/// May the effective user execute this file?
pub fn may_execute(path: impl AsRef<Path>) -> Result<()> {
    let flags = nix::fcntl::AtFlags::AT_EACCESS;
    match nix::unistd::faccessat(AT_FDCWD, path.as_ref(), nix::unistd::AccessFlags::X_OK, flags) {
        // No file's mode says this, but filters older than faccessat2(2) do; the real user is the effective one here.
        Err(Errno::EPERM) => access(path, true),
        r => r,
    }
}

/// The names of the directories in a directory, links left out. `dir` must be open for reading (not O_PATH).
pub fn subdirs(dir: OwnedFd) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in nix::dir::Dir::from_fd(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && entry.file_type() == Some(nix::dir::Type::Directory) {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

/// What one read(2) gives of a small kernel file, without its last newline: a single value below a page comes whole.
pub fn read_value_at(dir: impl AsFd, name: impl AsRef<Path>) -> Result<String> {
    let fd = openat(dir, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0)?;
    let mut text = String::from_utf8(read_once(fd, 4096)?).map_err(|_| Errno::EILSEQ)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Waits until a kernel file that tells of its changes (cgroup.events) changes, at most `timeout`.
pub fn wait_change(fd: impl AsFd, timeout: std::time::Duration) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut set = [PollFd::new(fd.as_fd(), PollFlags::POLLPRI)];
    let timeout = PollTimeout::try_from(timeout.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut set, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(e) => Err(e),
    }
}

/// One read(2).
pub fn read_some(fd: impl AsFd, buf: &mut [u8]) -> Result<usize> {
    retry(|| nix::unistd::read(fd.as_fd(), buf))
}

/// One write(2).
pub fn write_some(fd: impl AsFd, data: &[u8]) -> Result<usize> {
    retry(|| nix::unistd::write(fd.as_fd(), data))
}
