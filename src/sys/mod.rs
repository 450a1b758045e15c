//! Typed system calls: the only room with `unsafe`, and the only one that imports `nix`, `libc`, `caps`, `prctl` and
//! `procfs`. One function per meaning; every descriptor is owned and close-on-exec.

#![allow(unsafe_code, reason = "the floor")]

pub mod bpf;
pub mod child;
pub mod cred;
pub mod event;
pub mod exe;
pub mod fd;
pub mod fs;
pub mod keyring;
pub mod known;
pub mod lookup;
pub mod mount;
pub mod net;
pub mod ns;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod trace;
pub mod tty;
mod walk;

pub use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Errno>;

/// The result of a raw system call: -1 and errno, or a value.
pub(crate) fn cvt(r: libc::c_long) -> Result<libc::c_long> {
    if r < 0 { Err(Errno::last()) } else { Ok(r) }
}

/// Repeats an interrupted call.
pub(crate) fn retry<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match f() {
            Err(Errno::EINTR) => {}
            r => return r,
        }
    }
}
