//! Descriptors: which survive, which do not.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, Result, cvt};

/// close_range(2): Linux 5.9.
fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    // SAFETY: three integers. Closing is for the caller to answer for; see the callers.
    cvt(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(|_| ())
}

/// Closes every descriptor above 2 that is not in `keep`. For a child right after its birth, while /proc is still the
/// host's: the owners of the closed ones are never used or dropped again there, because it leaves by exec or _exit alone.
pub fn close_all_but(keep: &[RawFd]) -> Result<()> {
    match each_gap(keep, |first, last| close_range(first, last, 0)) {
        Err(Errno::ENOSYS | Errno::EPERM) if keep.iter().all(|fd| *fd < GIVEN_OUT) => each_other(keep, close),
        r => r,
    }
}

/// And the standard streams. For a child as in [`close_all_but`].
pub fn close_every_but(keep: impl AsFd) -> Result<()> {
    let keep = keep.as_fd().as_raw_fd();
    for stream in (0..3).filter(|n| *n != keep) {
        // It may not be open.
        let _ = close(stream);
    }
    close_all_but(&[keep])
}

/// As [`close_all_but`], right before exec, when nobody knows what /proc is. Numbers are given out from the lowest on, so
/// without close_range(2) what was opened since the birth is found among the first.
pub fn close_the_rest_but(keep: &[RawFd]) -> Result<()> {
    match each_gap(keep, |first, last| close_range(first, last, 0)) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            for fd in (3..2 * GIVEN_OUT).filter(|fd| !keep.contains(fd)) {
                // Most are not open.
                let _ = close(fd);
            }
            Ok(())
        }
        r => r,
    }
}

/// Marks every descriptor above 2 that is not in `keep` as close-on-exec.
pub fn cloexec_all_but(keep: &[RawFd]) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    match each_gap(keep, |first, last| close_range(first, last, CLOSE_RANGE_CLOEXEC)) {
        Err(Errno::ENOSYS | Errno::EPERM) => each_other(keep, |fd| {
            // SAFETY: F_SETFD takes integers, and harms nobody.
            cvt(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }.into()).map(|_| ())
        }),
        r => r,
    }
}

/// No number above is kept over a birth without close_range(2).
const GIVEN_OUT: RawFd = 1 << 15;

fn close(fd: RawFd) -> Result<()> {
    // SAFETY: an integer. Whose it was is for the callers of `close_all_but` to answer for.
    cvt(unsafe { libc::close(fd) }.into()).map(|_| ())
}

/// What close_range(2) does, by the list in the host's own procfs; fails without one.
fn each_other(keep: &[RawFd], act: impl Fn(RawFd) -> Result<()>) -> Result<()> {
    let dir = super::fs::open("/proc/self/fd", super::fs::OFlag::O_RDONLY | super::fs::OFlag::O_DIRECTORY)?;
    super::mount::verify_fs(&dir, super::mount::PROC_MAGIC)?;
    for name in super::fs::list(dir)? {
        let fd: RawFd = name.to_str().and_then(|n| n.parse().ok()).ok_or(Errno::EILSEQ)?;
        if fd > 2 && !keep.contains(&fd) {
            match act(fd) {
                // The list's own, gone with it.
                Ok(()) | Err(Errno::EBADF) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

fn each_gap(keep: &[RawFd], mut close: impl FnMut(u32, u32) -> Result<()>) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter(|fd| **fd > 2).map(|fd| *fd as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close(first, u32::MAX)
}

/// Clears close-on-exec.
pub fn inherit(fd: impl AsFd) -> Result<()> {
    nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).map(|_| ())
}

/// A descriptor that the caller of the runtime passed by number; EBADF when it is not open. Owned from here on.
pub fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD on any number is harmless: it fails with EBADF when it is not open.
    cvt(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: open, and given to us by our caller; callers of this function take each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes a number that no owner is left of, as in a process that never returns from where it is.
pub fn close_number(number: RawFd) -> Result<()> {
    // SAFETY: an integer; the caller promises that nobody uses it after this.
    cvt(unsafe { libc::close(number) }.into()).map(|_| ())
}

/// Is this number an open descriptor?
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: as in `adopt`.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0
}

/// Did the caller of the runtime pass this number? All that we open ourselves is close-on-exec.
pub fn is_inherited(number: RawFd) -> bool {
    // SAFETY: as in `adopt`.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// dup3(2) onto a standard stream or another fixed number, which is inherited over exec.
pub fn dup_onto(fd: impl AsFd, number: RawFd) -> Result<()> {
    let from = fd.as_fd().as_raw_fd();
    if from == number {
        return inherit(fd);
    }
    // SAFETY: dup2 onto a number: what was open there is replaced, which is what callers ask for (0, 1, 2 only).
    cvt(unsafe { libc::dup2(from, number) }.into()).map(|_| ())
}

/// Opens /dev/null on each of 0, 1, 2 that is closed, so that no file of ours ever lands there.
pub fn fill_standard_streams() -> Result<()> {
    for n in 0..3 {
        if !is_open(n) {
            // SAFETY: a NUL-terminated path; the lowest free number is `n`, since all below it are open.
            let fd = cvt(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) }.into())?;
            if fd != libc::c_long::from(n) {
                return Err(Errno::EBADF);
            }
        }
    }
    Ok(())
}

/// memfd_create(2) that may be sealed.
pub fn memfd(name: &CStr) -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let make = |flags: u32| {
        // SAFETY: a NUL-terminated name; the kernel returns a fresh descriptor.
        cvt(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into())
    };
    let fd = make(flags | MFD_EXEC).or_else(|e| if e == Errno::EINVAL { make(flags) } else { Err(e) })?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Nobody can change a sealed memfd, nor lift its seals.
pub fn seal(memfd: impl AsFd) -> Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: F_ADD_SEALS takes an integer.
    cvt(unsafe { libc::fcntl(memfd.as_fd().as_raw_fd(), libc::F_ADD_SEALS, seals) }.into()).map(|_| ())
}

pub fn is_sealed(fd: impl AsFd) -> bool {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: F_GET_SEALS takes nothing and returns an integer, -1 on failure.
    let has = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    has >= 0 && has & seals == seals
}

/// Copies a whole file into another: sendfile(2).
pub fn copy(from: impl AsFd, to: impl AsFd, size: usize) -> Result<()> {
    let mut left = size;
    while left > 0 {
        match nix::sys::sendfile::sendfile(to.as_fd(), from.as_fd(), None, left)? {
            0 => return Err(Errno::EIO),
            n => left -= n,
        }
    }
    Ok(())
}

/// As [`copy`], but holes stay holes where the file system tells of them: lseek(2), SEEK_DATA. What is beyond `size` by
/// now is left out.
pub fn copy_sparse(from: impl AsFd, to: impl AsFd, size: i64) -> Result<()> {
    use nix::unistd::{Whence, lseek};
    let mut at = 0;
    while at < size {
        let data = match lseek(from.as_fd(), at, Whence::SeekData) {
            Ok(data) => data.min(size),
            Err(Errno::ENXIO) => break,
            Err(Errno::EINVAL) => at,
            Err(e) => return Err(e),
        };
        let end = lseek(from.as_fd(), data, Whence::SeekHole).map_or(size, |end| end.min(size));
        lseek(to.as_fd(), data, Whence::SeekSet)?;
        let mut offset = data;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(0);
            // Shorter than it was: then this is its end.
            if nix::sys::sendfile::sendfile(to.as_fd(), from.as_fd(), Some(&mut offset), left)? == 0 {
                return nix::unistd::ftruncate(to.as_fd(), offset);
            }
        }
        at = end;
    }
    nix::unistd::ftruncate(to.as_fd(), size)
}

/// Clears O_NONBLOCK.
pub fn set_blocking(fd: impl AsFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).map(|_| ())
}

/// Standard input, output or error; EBADF when it is closed.
pub fn borrow_standard(number: RawFd) -> Result<std::os::fd::BorrowedFd<'static>> {
    if !(0..3).contains(&number) || !is_open(number) {
        return Err(Errno::EBADF);
    }
    // SAFETY: open, and the standard streams are never closed by this program, only replaced.
    Ok(unsafe { std::os::fd::BorrowedFd::borrow_raw(number) })
}
