//! Terminals: a pty inside the container, raw mode, sizes.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::sys::termios::{self, SetArg, Termios};

use super::{Errno, Result, cvt};

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

/// Unlocks the slave of a pty master and opens it, without a path: TIOCGPTPEER (CVE-2025-52565).
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    const TIOCSPTLCK: libc::Ioctl = 0x4004_5431;
    const TIOCGPTPEER: libc::Ioctl = 0x5441;
    let master = master.as_fd().as_raw_fd();
    let unlock: i32 = 0;
    // SAFETY: the argument is a pointer to an int that lives across the call.
    cvt(unsafe { libc::ioctl(master, TIOCSPTLCK, &raw const unlock) }.into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is an integer; a fresh descriptor is returned.
    let fd = cvt(unsafe { libc::ioctl(master, TIOCGPTPEER, flags) }.into())?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes the terminal the controlling one of this session: TIOCSCTTY.
pub fn make_controlling(tty: impl AsFd) -> Result<()> {
    // SAFETY: the argument is an integer: do not steal.
    cvt(unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(|_| ())
}

pub fn set_size(tty: impl AsFd, size: Size) -> Result<()> {
    let ws = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a struct winsize that lives across the call.
    cvt(unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const ws) }.into()).map(|_| ())
}

pub fn size(tty: impl AsFd) -> Result<Size> {
    let mut ws = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a writable struct winsize.
    cvt(unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut ws) }.into())?;
    Ok(Size { width: ws.ws_col, height: ws.ws_row })
}

pub fn is_tty(fd: impl AsFd) -> bool {
    nix::unistd::isatty(fd.as_fd()).unwrap_or(false)
}

/// A terminal in raw mode, which is what it was before when this is dropped.
pub struct Raw {
    tty: OwnedFd,
    before: Termios,
}

pub fn make_raw(tty: impl AsFd) -> Result<Raw> {
    let tty = tty.as_fd().try_clone_to_owned().map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
    let before = termios::tcgetattr(&tty)?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    // Output is still cooked, as runc and its clients have it: the inner terminal leaves the carriage returns to us.
    raw.output_flags.insert(termios::OutputFlags::OPOST);
    termios::tcsetattr(&tty, SetArg::TCSANOW, &raw)?;
    Ok(Raw { tty, before })
}

impl Raw {
    /// Gives another terminal this one's size; that it cannot be told is no reason to stop.
    pub fn copy_size(&self, other: impl AsFd) {
        if let Ok(size) = size(&self.tty) {
            let _ = set_size(other, size);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(&self.tty, SetArg::TCSANOW, &self.before);
    }
}

/// Output as it is: no CR before each NL. What runc does to a container's pty.
pub fn clear_onlcr(tty: impl AsFd) -> Result<()> {
    let mut t = termios::tcgetattr(tty.as_fd())?;
    t.output_flags.remove(termios::OutputFlags::ONLCR);
    termios::tcsetattr(tty.as_fd(), SetArg::TCSANOW, &t)
}

pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(|_| ())
}
