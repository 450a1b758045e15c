//! Unix sockets: the handshake's pair, the start gate's listener, and descriptors passed along.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::socket as s;

use super::{Errno, Result, retry};

/// A pair that keeps the borders of what is written: socketpair(2), SOCK_SEQPACKET.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    s::socketpair(s::AddressFamily::Unix, s::SockType::SeqPacket, None, s::SockFlag::SOCK_CLOEXEC)
}

/// Sends one message, with a descriptor if given. A closed peer is EPIPE, never a signal.
pub fn send(to: impl AsFd, data: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let raw = fd.map(|f| [f.as_raw_fd()]);
    let rights = raw.as_ref().map(|r| s::ControlMessage::ScmRights(r));
    let iov = [IoSlice::new(data)];
    let to = to.as_fd().as_raw_fd();
    retry(|| s::sendmsg::<()>(to, &iov, rights.as_slice(), s::MsgFlags::MSG_NOSIGNAL, None)).map(|_| ())
}

/// As [`send`], with all of these descriptors: 253 at most, unix(7).
pub fn send_all_of(to: impl AsFd, data: &[u8], fds: &[OwnedFd]) -> Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = (!raw.is_empty()).then(|| s::ControlMessage::ScmRights(&raw));
    let iov = [IoSlice::new(data)];
    let to = to.as_fd().as_raw_fd();
    retry(|| s::sendmsg::<()>(to, &iov, rights.as_slice(), s::MsgFlags::MSG_NOSIGNAL, None)).map(|_| ())
}

/// Receives one message into `buf`: its length, and a descriptor if one came along. Length 0: the peer is gone.
pub fn receive(from: impl AsFd, buf: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let (n, fds) = receive_with(from, buf, nix::cmsg_space!([RawFd; 1]))?;
    Ok((n, fds.into_iter().next_back()))
}

fn receive_with(from: impl AsFd, buf: &mut [u8], mut space: Vec<u8>) -> Result<(usize, Vec<OwnedFd>)> {
    let from = from.as_fd().as_raw_fd();
    let mut iov = [IoSliceMut::new(buf)];
    let msg = loop {
        match s::recvmsg::<()>(from, &mut iov, Some(&mut space), s::MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            r => break r?,
        }
    };
    let is_whole = !msg.flags.contains(s::MsgFlags::MSG_TRUNC);
    // Owned before anything else: whatever came along is ours to close.
    let mut all = Vec::new();
    for c in msg.cmsgs()? {
        if let s::ControlMessageOwned::ScmRights(fds) = c {
            // SAFETY: descriptors that the kernel just installed for us.
            all.extend(fds.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    if is_whole { Ok((msg.bytes, all)) } else { Err(Errno::EMSGSIZE) }
}

/// As [`receive`], into as much memory as the message takes. Empty: the peer is gone. EMSGSIZE beyond `cap`.
pub fn receive_whole(from: impl AsFd, cap: usize) -> Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut buf = room_for_next(&from, cap)?;
    let (n, fd) = receive(from, &mut buf)?;
    buf.truncate(n);
    Ok((buf, fd))
}

/// As [`receive_whole`], with all descriptors that came along and found a number here.
pub fn receive_all(from: impl AsFd, cap: usize) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buf = room_for_next(&from, cap)?;
    let (n, fds) = receive_with(from, &mut buf, nix::cmsg_space!([RawFd; 253]))?;
    buf.truncate(n);
    Ok((buf, fds))
}

/// Waits for a message, and makes room for it.
fn room_for_next(from: &impl AsFd, cap: usize) -> Result<Vec<u8>> {
    let look = s::MsgFlags::MSG_PEEK | s::MsgFlags::MSG_TRUNC;
    let length = retry(|| s::recv(from.as_fd().as_raw_fd(), &mut [], look))?;
    if length > cap { Err(Errno::EMSGSIZE) } else { Ok(vec![0; length]) }
}

/// Listens on `name` in the directory `dir`. The address goes through /proc/self/fd: a socket's path may have 107
/// bytes only, a state root has no such limit.
pub fn listen_at(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let fd = s::socket(s::AddressFamily::Unix, s::SockType::SeqPacket, s::SockFlag::SOCK_CLOEXEC, None)?;
    // Whatever the caller's mask: who may connect may start the container.
    let mask = nix::sys::stat::umask(super::fs::Mode::from_bits_truncate(0o177));
    let bound = s::bind(fd.as_raw_fd(), &below(dir, name)?);
    nix::sys::stat::umask(mask);
    bound?;
    s::listen(&fd, s::Backlog::new(1)?)?;
    Ok(fd)
}

/// Takes datagrams at `name` in the directory `dir`, without a wait.
pub fn datagrams_at(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = s::SockFlag::SOCK_CLOEXEC | s::SockFlag::SOCK_NONBLOCK;
    let fd = s::socket(s::AddressFamily::Unix, s::SockType::Datagram, flags, None)?;
    s::bind(fd.as_raw_fd(), &below(dir, name)?)?;
    Ok(fd)
}

/// For datagrams to a host path, or to an abstract name that begins with `@`. Sends without a wait.
pub fn connect_datagrams(to: &OsStr) -> Result<OwnedFd> {
    let flags = s::SockFlag::SOCK_CLOEXEC | s::SockFlag::SOCK_NONBLOCK;
    let fd = s::socket(s::AddressFamily::Unix, s::SockType::Datagram, flags, None)?;
    let address = match to.as_bytes().strip_prefix(b"@") {
        Some(name) => s::UnixAddr::new_abstract(name)?,
        None => s::UnixAddr::new(Path::new(to))?,
    };
    s::connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Connects to the listener whose socket file the O_PATH handle stands for, whatever became of its name.
pub fn connect_to(file: impl AsFd) -> Result<OwnedFd> {
    let fd = s::socket(s::AddressFamily::Unix, s::SockType::SeqPacket, s::SockFlag::SOCK_CLOEXEC, None)?;
    let address = s::UnixAddr::new(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).as_str())?;
    retry(|| s::connect(fd.as_raw_fd(), &address))?;
    Ok(fd)
}

fn below(dir: impl AsFd, name: &str) -> Result<s::UnixAddr> {
    s::UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd()).as_str())
}

/// Connects a stream to a host path of any length.
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    connect(path, None)
}

/// As [`connect_stream`], and while the listener's queue is full waits no longer than `limit`: EAGAIN then. As long may
/// each write to it take.
pub fn connect_stream_within(path: &Path, limit: std::time::Duration) -> Result<OwnedFd> {
    connect(path, Some(limit))
}

fn connect(path: &Path, limit: Option<std::time::Duration>) -> Result<OwnedFd> {
    let fd = s::socket(s::AddressFamily::Unix, s::SockType::Stream, s::SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(limit) = limit {
        let limit = nix::sys::time::TimeVal::new(limit.as_secs() as _, limit.subsec_micros() as _);
        // connect(2) on such a socket keeps to it, unix(7) and socket(7).
        s::setsockopt(&fd, s::sockopt::SendTimeout, &limit)?;
    }
    let (address, _dir) = match s::UnixAddr::new(path) {
        Err(Errno::ENAMETOOLONG) => {
            let (dir, name) = (path.parent().ok_or(Errno::EINVAL)?, path.file_name().ok_or(Errno::EINVAL)?);
            let dir = super::fs::open_dir(dir)?;
            let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
            (s::UnixAddr::new(&short)?, Some(dir))
        }
        r => (r?, None),
    };
    retry(|| s::connect(fd.as_raw_fd(), &address))?;
    Ok(fd)
}

/// A message on a stream, with a descriptor; EAGAIN when the deadline has passed. The socket's own limit is for each
/// write.
pub fn send_all(
    to: impl AsFd,
    data: &[u8],
    fd: BorrowedFd<'_>,
    deadline: super::process::Deadline,
) -> Result<()> {
    let raw = [fd.as_raw_fd()];
    let mut rights = Some(s::ControlMessage::ScmRights(&raw));
    let to = to.as_fd().as_raw_fd();
    let mut rest = data;
    while !rest.is_empty() {
        if deadline.passed() {
            return Err(Errno::EAGAIN);
        }
        let iov = [IoSlice::new(rest)];
        let n = retry(|| s::sendmsg::<()>(to, &iov, rights.as_slice(), s::MsgFlags::MSG_NOSIGNAL, None))?;
        rights = None;
        rest = rest.get(n..).unwrap_or_default();
    }
    Ok(())
}

pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    let fd = retry(|| s::accept4(listener.as_fd().as_raw_fd(), s::SockFlag::SOCK_CLOEXEC))?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
