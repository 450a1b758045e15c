//! Loading a filter: seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use super::{Errno, Result, cvt};

/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
pub const NEW_LISTENER: u32 = 8;

/// Does the kernel know all of these flags?
pub fn knows(flags: u32) -> bool {
    const SET_MODE_FILTER: u32 = 1;
    let none: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: the kernel looks at the flags, then at the null pointer, and loads nothing.
    cvt(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, none) }) == Err(Errno::EFAULT)
}

/// Loads a classic BPF program (`struct sock_filter[]` as bytes). With SECCOMP_FILTER_FLAG_NEW_LISTENER in `flags`
/// the notification descriptor comes back.
pub fn load(program: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    const SET_MODE_FILTER: u32 = 1;
    let size = size_of::<libc::sock_filter>();
    let count = program.len() / size;
    if count == 0 || !program.len().is_multiple_of(size) {
        return Err(Errno::EINVAL);
    }
    // The bytes may stand anywhere; the kernel copies, but a sock_filter wants its alignment.
    let mut filter = Vec::with_capacity(count);
    for c in program.chunks_exact(size) {
        filter.push(libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        });
    }
    let len = u16::try_from(count).map_err(|_| Errno::E2BIG)?;
    let prog = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: a sock_fprog over `len` instructions that live across the call.
    let r = cvt(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const prog) })?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER a fresh descriptor is returned.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(r as i32) }))
}
