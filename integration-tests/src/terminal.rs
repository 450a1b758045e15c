//! Pseudoterminals: one of ours for a runtime in the foreground, and the socket on which it hands over a container's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The master's end of a terminal, and all that came out of it so far.
pub struct Pty {
    pub master: File,
    seen: String,
}

impl Pty {
    /// A new pair; the slave is for [`crate::Call::terminal`].
    pub fn pair() -> (Pty, OwnedFd) {
        // Closed on execve from the first moment: a child that another test forks just now would keep the terminal open.
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let owned = |fd: RawFd| {
            assert!(fd >= 0, "a terminal: {}", std::io::Error::last_os_error());
            // SAFETY: fresh and ours.
            unsafe { OwnedFd::from_raw_fd(fd) }
        };
        // SAFETY: flags go in, a descriptor comes out.
        let master = owned(unsafe { libc::posix_openpt(flags) });
        // SAFETY: the descriptor is open.
        assert_eq!(unsafe { libc::unlockpt(master.as_raw_fd()) }, 0);
        // SAFETY: flags go in, a descriptor comes out.
        let slave = owned(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) });
        (Pty::new(master), slave)
    }

    pub fn new(master: OwnedFd) -> Pty {
        Pty { master: master.into(), seen: String::new() }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: one winsize is read.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// The line discipline's settings, which both ends share.
    pub fn settings(&self) -> libc::termios {
        // SAFETY: all zeroes is a valid termios, and one is written.
        unsafe {
            let mut t: libc::termios = std::mem::zeroed();
            libc::tcgetattr(self.master.as_raw_fd(), &raw mut t);
            t
        }
    }

    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Reads what is there; false at the end.
    fn take(&mut self, patience: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        if unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as i32) } <= 0 {
            return true;
        }
        let mut buffer = [0; 65536];
        match self.master.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
                true
            }
        }
    }

    /// Waits until the terminal has shown this text, and returns all that was shown.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let begin = crate::Moment::now();
        while !self.seen.contains(text) {
            let open = self.take(Duration::from_millis(50));
            let late = begin.elapsed() > crate::patience(crate::LONG);
            assert!((open && !late) || self.seen.contains(text), "{text:?} was not shown: {:?}", self.seen);
        }
        self.seen.clone()
    }

    /// All that was shown until the other end closed.
    pub fn rest(&mut self) -> String {
        let begin = crate::Moment::now();
        while self.take(Duration::from_millis(50)) {
            assert!(
                begin.elapsed() < crate::patience(crate::LONG),
                "the terminal did not close: {:?}",
                self.seen
            );
        }
        self.seen.clone()
    }
}

/// The socket that `--console-socket` names.
pub struct ConsoleSocket {
    pub path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    pub fn bind(path: &Path) -> Self {
        ConsoleSocket { path: path.to_path_buf(), listener: UnixListener::bind(path).expect("a socket") }
    }

    /// The terminal, and the name that came with it.
    pub fn receive(&self) -> (Pty, String) {
        let (fd, name) = self.receive_descriptor();
        (Pty::new(fd), name)
    }

    /// What `--pidfd-socket` gets is no terminal. It must be one message with one descriptor.
    pub fn receive_descriptor(&self) -> (OwnedFd, String) {
        self.listener.set_nonblocking(true).expect("nonblocking");
        let mut connection = None;
        crate::until("a connection on the console socket", || {
            connection = self.listener.accept().ok();
            connection.is_some()
        });
        let (stream, _) = connection.expect("just seen");
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(crate::patience(crate::LONG))).expect("a timeout");
        receive_descriptor(&stream)
    }
}

pub(crate) fn receive_descriptor(stream: &UnixStream) -> (OwnedFd, String) {
    let mut text = [0_u8; 4096];
    let mut control = [0_u64; 32];
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: all zeroes is a valid header; its pointers are to the buffers above.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: as above.
    let length = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    assert!(length > 0, "a message on the console socket: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel filled the control buffer; the first message is read only where it exists.
    let fd = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        assert!(!first.is_null(), "a descriptor in the message");
        assert_eq!(
            (*first).cmsg_len as usize,
            libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize,
            "just one descriptor"
        );
        OwnedFd::from_raw_fd(std::ptr::read_unaligned(libc::CMSG_DATA(first).cast::<RawFd>()))
    };
    (fd, String::from_utf8_lossy(&text[..length as usize]).into_owned())
}
