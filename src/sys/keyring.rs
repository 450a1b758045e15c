//! The session keyring: keyctl(2).

use std::ffi::CStr;

use super::{Result, cvt};

/// A new session keyring of that name, so that the program cannot see the caller's keys.
pub fn join_session(name: &CStr) -> Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: u32 = 1;
    // SAFETY: a NUL-terminated name.
    cvt(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0) })
        .map(|id| id as i32)
}

/// Lets the owning uid of whoever comes later search the keyring (a root that is mapped elsewhere).
pub fn allow_uid_search(id: i32) -> Result<()> {
    const KEYCTL_DESCRIBE: u32 = 6;
    const KEYCTL_SETPERM: u32 = 5;
    let mut text = [0u8; 256];
    // SAFETY: a writable buffer and its length.
    let n = cvt(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, id, text.as_mut_ptr(), text.len(), 0)
    })?;
    let text = String::from_utf8_lossy(&text[..(n as usize).min(text.len())]).into_owned();
    let perm = text.split(';').nth(3).and_then(|p| u32::from_str_radix(p, 16).ok()).unwrap_or(0);
    // Search for the possessor (0x08 in the top byte) and for the user (0x08 in the second).
    let perm = perm | 0x0800_0000 | 0x0008_0000;
    // SAFETY: integers.
    cvt(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, id, perm, 0, 0) }).map(|_| ())
}
