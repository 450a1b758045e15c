//! The mount API by descriptor: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2).
//!
//! mount(2) itself remains for two things that the new calls cannot say: an option of more than 255 bytes, and
//! superblock flags of a mount that exists.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::fs::cstr;
use super::{Errno, Result, cvt};

/// `MOUNT_ATTR_*` and `MS_*` propagation for mount_setattr(2): `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    pub set: u64,
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0.
    pub propagation: u64,
    /// With `MOUNT_ATTR_IDMAP` in `set`: a user namespace's descriptor.
    pub userns: u64,
}

impl Attr {
    /// Ids as the maps of this user namespace have them.
    pub fn idmap(userns: &OwnedFd) -> Self {
        Self { set: ATTR_IDMAP, userns: userns.as_raw_fd() as u64, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All of it, if [`FsContext::mount`] can say it.
    pub fn said_at_birth(&self) -> Option<u64> {
        let set = self.set & (ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
        (*self == Self { set, ..Self::default() }).then_some(set)
    }
}

pub const ATTR_RDONLY: u64 = 0x1;
pub const ATTR_NOSUID: u64 = 0x2;
pub const ATTR_NODEV: u64 = 0x4;
pub const ATTR_NOEXEC: u64 = 0x8;
pub const ATTR_ATIME: u64 = 0x70;
pub const ATTR_NOATIME: u64 = 0x10;
pub const ATTR_STRICTATIME: u64 = 0x20;
pub const ATTR_NODIRATIME: u64 = 0x80;
pub const ATTR_IDMAP: u64 = 0x0010_0000;
pub const ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const AT_RECURSIVE: i32 = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSPICK_NO_SYMLINK_FOLLOW: u32 = 2;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;

fn owned(r: Result<libc::c_long>) -> Result<OwnedFd> {
    // SAFETY: every caller passes the result of a system call that returns a fresh descriptor.
    r.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A detached copy of the mount that an O_PATH descriptor stands in, from that place downwards.
pub fn clone_tree(at: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    clone_tree_at(at, c"", recursive)
}

/// A detached copy of the mount at `path` below `dir`, links followed.
pub fn clone_tree_at(dir: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as u32;
    }
    if recursive {
        flags |= AT_RECURSIVE as u32;
    }
    // SAFETY: the path is NUL-terminated, the descriptor open.
    owned(cvt(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), path.as_ptr(), flags) }))
}

/// An O_PATH handle on a host path, links followed, after what automounts there.
pub fn reach(path: &CStr) -> Result<OwnedFd> {
    // SAFETY: the path is NUL-terminated.
    owned(cvt(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLOEXEC)
    }))
}

/// Attaches a detached mount on the inode that `target`, an O_PATH descriptor, stands for.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    // SAFETY: both paths are empty and NUL-terminated, both descriptors open.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
    .map(|_| ())
}

/// Attaches a detached mount at `name` in a directory that nobody else can change.
pub fn attach_in(tree: impl AsFd, dir: impl AsFd, name: &CStr) -> Result<()> {
    // SAFETY: NUL-terminated paths and open descriptors.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(|_| ())
}

/// Attaches a detached mount over the caller's root directory.
pub fn attach_over_root(tree: impl AsFd) -> Result<()> {
    // SAFETY: NUL-terminated constant paths and an open descriptor.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            c"/".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(|_| ())
}

/// mount_setattr(2) on the mount behind a descriptor: all of `attr` or nothing.
pub fn set_attr(mount: impl AsFd, attr: Attr, recursive: bool) -> Result<()> {
    if attr.is_empty() {
        return Ok(());
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: an empty NUL-terminated path, an open descriptor, and a struct mount_attr with its own size.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<Attr>(),
        )
    })
    .map(|_| ())
}

/// mount_setattr(2) on the caller's root mount.
pub fn set_root_attr(attr: Attr, recursive: bool) -> Result<()> {
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: a NUL-terminated constant path and a struct mount_attr with its own size.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            flags,
            &raw const attr,
            size_of::<Attr>(),
        )
    })
    .map(|_| ())
}

/// A file system context: configuration of a superblock to be.
pub struct FsContext(OwnedFd);

/// fsopen(2).
pub fn open_fs(fstype: &CStr) -> Result<FsContext> {
    // SAFETY: a NUL-terminated name and a flag.
    owned(cvt(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) })).map(FsContext)
}

/// fspick(2): the context of the superblock that is mounted at the descriptor.
pub fn pick_fs(mount: impl AsFd) -> Result<FsContext> {
    let flags = FSPICK_CLOEXEC | FSPICK_NO_SYMLINK_FOLLOW | FSPICK_EMPTY_PATH;
    // SAFETY: an empty NUL-terminated path and an open descriptor.
    owned(cvt(unsafe { libc::syscall(libc::SYS_fspick, mount.as_fd().as_raw_fd(), c"".as_ptr(), flags) }))
        .map(FsContext)
}

impl FsContext {
    fn config(&self, cmd: u32, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
        let key = key.map_or(std::ptr::null(), CStr::as_ptr);
        let value = value.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are null or NUL-terminated strings that live across the call.
        cvt(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), cmd, key, value, 0) }).map(|_| ())
    }

    pub fn set_flag(&self, key: &CStr) -> Result<()> {
        self.config(0, Some(key), None)
    }

    pub fn set_string(&self, key: &CStr, value: &CStr) -> Result<()> {
        self.config(1, Some(key), Some(value))
    }

    pub fn create(&self) -> Result<()> {
        self.config(6, None, None)
    }

    pub fn reconfigure(&self) -> Result<()> {
        self.config(7, None, None)
    }

    /// fsmount(2): a detached mount with these `ATTR_*`.
    pub fn mount(&self, attr: u64) -> Result<OwnedFd> {
        // SAFETY: an open descriptor and two integers.
        owned(cvt(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attr as u32)
        }))
    }

    /// What the kernel has to say about the failure just seen: its messages, without their class letter.
    pub fn complaint(&self) -> Option<String> {
        let mut said = Vec::new();
        let mut buf = [0; 512];
        while let Ok(n) = nix::unistd::read(&self.0, &mut buf) {
            let line = String::from_utf8_lossy(&buf[..n]);
            said.push(line.trim_end().trim_start_matches(|c: char| "ewi ".contains(c)).to_owned());
            if n == 0 || said.len() > 8 {
                break;
            }
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// mount(2) with a data string onto a descriptor, through `proc`, a handle on a procfs of the caller's pid namespace
/// which must be the real /proc of the host: for options that do not fit into fsconfig(2).
pub fn mount_legacy(source: &CStr, target: impl AsFd, fstype: &CStr, flags: u64, data: &CStr) -> Result<()> {
    let target = cstr(format!("/proc/self/fd/{}", target.as_fd().as_raw_fd()))?;
    // SAFETY: all four strings are NUL-terminated and live across the call.
    cvt(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), fstype.as_ptr(), flags, data.as_ptr().cast())
    }
    .into())
    .map(|_| ())
}

/// pivot_root(".", ".") and the detaching of the old root, which is stacked on the new one afterwards: pivot_root(2).
pub fn pivot_into_cwd() -> Result<()> {
    // SAFETY: two NUL-terminated constant paths.
    cvt(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(|_| ())
}

/// umount2(MNT_DETACH) of what is on top at the current directory.
pub fn detach_cwd() -> Result<()> {
    detach(c".")
}

pub fn detach(path: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated path.
    cvt(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }.into()).map(|_| ())
}

/// Moves the mount at the current directory over `/`, for `--no-pivot`: mount(2) with MS_MOVE.
pub fn move_cwd_over_root() -> Result<()> {
    let none: *const libc::c_char = std::ptr::null();
    // SAFETY: NUL-terminated constant paths; type and data may be null for MS_MOVE.
    cvt(unsafe { libc::mount(c".".as_ptr(), c"/".as_ptr(), none, libc::MS_MOVE, none.cast()) }.into())
        .map(|_| ())
}

pub fn chroot_cwd() -> Result<()> {
    nix::unistd::chroot(".")
}

pub fn fchdir(fd: impl AsFd) -> Result<()> {
    nix::unistd::fchdir(fd.as_fd())
}

pub fn chdir(path: &CStr) -> Result<()> {
    nix::unistd::chdir(path)
}

/// A procfs of our own that nothing can be mounted over: new and detached where allowed, else a clone of /proc
/// without its submounts (CVE-2025-52881). `pids_only`: no /proc/sys in it.
pub fn private_procfs(pids_only: bool) -> Result<OwnedFd> {
    let fresh = || {
        let ctx = open_fs(c"proc")?;
        if pids_only {
            // Linux 5.8; harmless to lack.
            let _ = ctx.set_string(c"subset", c"pid");
        }
        ctx.create()?;
        ctx.mount(ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
    };
    match fresh() {
        // A user namespace whose own /proc is partly hidden may not make a whole one.
        Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
            let proc = super::fs::open_dir("/proc")?;
            verify_fs(&proc, libc::PROC_SUPER_MAGIC)?;
            clone_tree(&proc, false).or(Ok(proc))
        }
        r => r,
    }
}

/// EXDEV unless the descriptor is on a file system of that magic number.
pub fn verify_fs(fd: impl AsFd, magic: i64) -> Result<()> {
    if super::fs::fstatfs(fd)?.0 == magic { Ok(()) } else { Err(Errno::EXDEV) }
}

pub const PROC_MAGIC: i64 = libc::PROC_SUPER_MAGIC;
pub const DEVPTS_MAGIC: i64 = 0x1cd1;

/// The borrowed descriptor of a context, for tests of inheritance.
impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file system type's name as C wants it.
pub fn fs_name(name: &str) -> Result<CString> {
    cstr(name)
}

/// The id of the mount that a descriptor stands in, as /proc/self/mountinfo numbers it: statx(2), Linux 5.8.
pub fn id(fd: impl AsFd) -> Result<u64> {
    // SAFETY: statx is a plain C struct of integers for which all zeroes is a valid value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, flags) = (fd.as_fd().as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: an open descriptor, an empty NUL-terminated path, and a writable struct that lives across the call.
    cvt(unsafe { libc::statx(fd, c"".as_ptr(), flags, libc::STATX_MNT_ID, &raw mut stat) }.into())?;
    if stat.stx_mask & libc::STATX_MNT_ID == 0 { Err(Errno::ENOSYS) } else { Ok(stat.stx_mnt_id) }
}
