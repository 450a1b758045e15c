//! Namespaces: setns(2), unshare(2), and what ioctl_nsfs(2) tells.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::{Result, cvt, retry};

pub const NEWTIME: u64 = libc::CLONE_NEWTIME as u64;
pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;

/// setns(2) on a namespace or, with several flags, on a pidfd.
pub fn join(fd: impl AsFd, flags: u64) -> Result<()> {
    // SAFETY: an open descriptor and an integer.
    cvt(unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags as i32) }.into()).map(|_| ())
}

pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: an integer.
    retry(|| cvt(unsafe { libc::unshare(flags as i32) }.into())).map(|_| ())
}

/// `CLONE_NEW*` of the namespace that the descriptor stands for: NS_GET_NSTYPE.
pub fn kind(fd: impl AsFd) -> Result<u64> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: an ioctl without argument that returns an integer.
    cvt(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) }.into()).map(|k| k as u64)
}

/// The user namespace that owns it: NS_GET_USERNS.
pub fn owner(fd: impl AsFd) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: an ioctl without argument that returns a fresh close-on-exec descriptor.
    let fd = cvt(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_USERNS) }.into())?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Is our user namespace another than the initial one? The kernel tells only by the map, as everybody reads it.
pub fn in_user_namespace() -> bool {
    let map = super::fs::read_file("/proc/self/uid_map", 1 << 16).unwrap_or_default();
    !map.is_empty() && !String::from_utf8_lossy(&map).split_whitespace().eq(["0", "0", "4294967295"])
}

pub fn set_hostname(name: &str) -> Result<()> {
    nix::unistd::sethostname(name)
}

pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: a pointer and its length; the kernel copies.
    cvt(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(|_| ())
}
