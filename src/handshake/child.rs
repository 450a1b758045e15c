//! The child's end.

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{MAX_FRAME, Program, Sent, Tag, decode_program, encode, encode_program, frame, parse};
use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::{self, socket};

/// The child's socket, which outlives every phase: the last word may come at any time.
pub struct Line(OwnedFd);

impl Line {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// A connection of `start`: only the last word goes over it.
    pub fn over(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// The first phase.
    pub fn born(&self) -> Child<'_, Born> {
        self.phase()
    }

    /// The only phase of a process that joins a container.
    pub fn joining(&self) -> Child<'_, Joining> {
        self.phase()
    }

    fn phase<P>(&self) -> Child<'_, P> {
        Child { line: self, phase: PhantomData }
    }

    /// The last word: why this child ends. Main may be gone; then nobody is left to tell.
    ///
    /// With write(2), which even a strict filter lets through: after a failed execve the program's filter is loaded.
    pub fn failed(&self, e: &Error) {
        let mut f = frame(Tag::Failed, &encode(e));
        if f.len() > MAX_FRAME {
            let short: String = e.to_string().chars().take(2048).collect();
            f = frame(Tag::Failed, &encode(&Error::new(e.kind(), short)));
        }
        let _ = sys::fs::write_once(&self.0, &f);
    }

    fn say(&self, tag: Tag, body: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let frame = frame(tag, body);
        match fd {
            Some(_) => socket::send(&self.0, &frame, fd),
            None => sys::fs::write_once(&self.0, &frame),
        }
        .map_err(|e| gone(Some(e)))
    }

    fn hear(&self, wanted: Tag) -> Result<Vec<u8>> {
        let frame = sys::fs::read_once(&self.0, MAX_FRAME).on("read", "the handshake")?;
        self.expect(wanted, &frame).map(<[u8]>::to_vec)
    }

    fn expect<'f>(&self, wanted: Tag, frame: &'f [u8]) -> Result<&'f [u8]> {
        if frame.is_empty() {
            return Err(gone(None));
        }
        let (tag, body) = parse(frame)?;
        if tag != wanted {
            return Err(Error::bug(format!("handshake: {tag:?} where {wanted:?} was due")));
        }
        Ok(body)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn gone(errno: Option<sys::Errno>) -> Error {
    match errno {
        None | Some(sys::Errno::EPIPE) => Error::new(Kind::Died, "the runtime's main process is gone"),
        Some(e) => Error::sys("write", "the handshake", e),
    }
}

/// The child's end in phase `P`.
pub struct Child<'a, P> {
    line: &'a Line,
    phase: PhantomData<P>,
}

pub struct Born;
pub struct Mapped;
pub struct Continued;
pub struct Ready;
pub struct Joining;

impl<'a> Child<'a, Born> {
    /// Until main has put us into our cgroup and mapped our ids.
    /// Comes with our pid as the host sees it.
    pub fn wait_for_go(self) -> Result<(Child<'a, Mapped>, i32, Sent)> {
        // No filter is there yet that could keep more than read(2) from us.
        let (frame, fds) = socket::receive_all(&self.line.0, MAX_FRAME).on("read", "the handshake")?;
        let body = self.line.expect(Tag::Go, &frame)?;
        let ([a, b, c, d, tight], there) =
            body.split_first_chunk::<5>().ok_or_else(|| Error::bug("handshake: go without a pid"))?;
        let there = there.iter().map(|b| *b != 0).collect();
        let sent = Sent { tight: *tight != 0, there, fds };
        Ok((self.line.phase(), i32::from_ne_bytes([*a, *b, *c, *d]), sent))
    }
}

impl<'a> Child<'a, Mapped> {
    /// The rootfs stands; until main has set limits and run its hooks. The filter comes with the answer.
    pub fn mounted(self) -> Result<(Child<'a, Continued>, Program)> {
        self.line.say(Tag::Mounted, &[], None)?;
        let body = self.line.hear(Tag::Continue)?;
        Ok((self.line.phase(), decode_program(&body)?))
    }
}

impl<'a> Child<'a, Continued> {
    /// The pty's master, for main to keep or to pass on.
    pub fn console(&self, master: BorrowedFd<'_>) -> Result<()> {
        self.line.say(Tag::Console, &[], Some(master))
    }

    /// All is done but the wait for `start`. `listener`: for main to take before it says more.
    pub fn ready(self, listener: Option<&OwnedFd>) -> Result<Child<'a, Ready>> {
        self.line.say(Tag::Ready, &number(listener), None)?;
        Ok(self.line.phase())
    }
}

/// A descriptor's number, if there is one.
fn number(fd: Option<&OwnedFd>) -> Vec<u8> {
    fd.map(|fd| fd.as_raw_fd().to_ne_bytes().to_vec()).unwrap_or_default()
}

impl Child<'_, Joining> {
    /// The pty's master, for main to keep or to pass on.
    pub fn console(&self, master: BorrowedFd<'_>) -> Result<()> {
        self.line.say(Tag::Console, &[], Some(master))
    }

    /// Which main makes meanwhile.
    pub fn filter(&self) -> Result<Program> {
        decode_program(&self.line.hear(Tag::Continue)?)
    }

    /// All is done; until main has done what it has to. `listener`: for main to take.
    pub fn ready(&self, listener: Option<&OwnedFd>) -> Result<()> {
        self.line.say(Tag::Ready, &number(listener), None)?;
        self.line.hear(Tag::Start).map(|_| ())
    }

    /// The filter is loaded; until main has taken its listener.
    pub fn listening(&self, listener: &OwnedFd) -> Result<()> {
        self.line.say(Tag::Listening, &number(Some(listener)), None)?;
        self.line.hear(Tag::Start).map(|_| ())
    }
}

impl Child<'_, Ready> {
    /// Main has done all that it had to do: the container may start, or wait at its gate.
    pub fn wait_for_start(&self) -> Result<()> {
        self.line.hear(Tag::Start).map(|_| ())
    }
}

/// For the main end's tests and its frames: one codec.
pub(super) fn program_frame(p: &Program) -> Vec<u8> {
    frame(Tag::Continue, &encode_program(p))
}
