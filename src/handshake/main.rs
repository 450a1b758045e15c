//! Main's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::child::program_frame;
use super::{MAX_FRAME, Program, Sent, Tag, decode, frame, parse};
use crate::error::{Error, Kind, OnSys, Result, Stage};
use crate::sys::process::{Deadline, poll_read};
use crate::sys::{Errno, socket};

/// Main's socket.
pub struct Main {
    fd: OwnedFd,
}

/// How long to wait, and for whom not to.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    pub deadline: Deadline,
    /// After each second of silence; it may know why there will never be a word.
    pub look: &'a dyn Fn() -> Result<()>,
}

impl Patience<'_> {
    /// Until there is something to read; false when the time is over.
    pub fn poll(&self, fd: BorrowedFd<'_>) -> Result<bool> {
        loop {
            let soon = self.deadline.or_after(Duration::from_secs(1));
            if !poll_read(&[fd], soon).on("wait for", "the container's init")?.is_empty() {
                return Ok(true);
            }
            (self.look)()?;
            if self.deadline.passed() {
                return Ok(false);
            }
        }
    }
}

/// What init answered last.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Mounted,
    /// With the number of its filter's listener, if that notifies.
    Ready(Option<i32>),
    /// The number of the listener of a filter that was loaded after all.
    Listening(i32),
    /// End of file.
    Gone,
}

impl Main {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The connection to a container's gate.
    pub fn over(connection: OwnedFd) -> Self {
        Self::new(connection)
    }

    /// `kept`: of what init was promised, what there is, by descriptor.
    pub fn go(&self, pid: i32, kept: &Sent) -> Result<()> {
        let mut body = pid.to_ne_bytes().to_vec();
        body.push(kept.tight.into());
        body.extend(kept.there.iter().map(|b| u8::from(*b)));
        match socket::send_all_of(&self.fd, &frame(Tag::Go, &body), &kept.fds) {
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            r => r.on("write", "the handshake"),
        }
    }

    pub fn proceed(&self, program: &Program) -> Result<()> {
        self.say(&program_frame(program))
    }

    pub fn start(&self) -> Result<()> {
        self.say(&frame(Tag::Start, &[]))
    }

    /// A child that is gone cannot be told; why it went is what the next wait hears.
    fn say(&self, bytes: &[u8]) -> Result<()> {
        match socket::send(&self.fd, bytes, None) {
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            r => r.on("write", "the handshake"),
        }
    }

    /// Waits for the next word. `doing`: what the child does meanwhile, for the error. A descriptor that comes along
    /// goes to `console`. The child's last word is returned as the error that it is.
    pub fn hear(
        &mut self,
        doing: &'static str,
        patience: Patience<'_>,
        mut console: impl FnMut(OwnedFd) -> Result<()>,
    ) -> Result<Answer> {
        loop {
            if !patience.poll(self.fd.as_fd())? {
                return Err(Error::new(
                    Kind::Timeout,
                    format!("the container's init timed out while {doing}"),
                )
                .at_stage(Stage::Init));
            }
            let mut received = socket::receive_whole(&self.fd, MAX_FRAME);
            // A child that ended without reading what we said last: the kernel tells that once, before the child's own
            // last word.
            if matches!(received, Err(Errno::ECONNRESET)) {
                received = socket::receive_whole(&self.fd, MAX_FRAME);
            }
            let (frame, fd) = match received {
                Err(Errno::ECONNRESET) => (Vec::new(), None),
                r => r.on("read", "the handshake")?,
            };
            if frame.is_empty() {
                return Ok(Answer::Gone);
            }
            match parse(&frame)? {
                (Tag::Mounted, _) => return Ok(Answer::Mounted),
                (Tag::Ready, body) => {
                    return Ok(Answer::Ready(body.first_chunk().map(|n| i32::from_ne_bytes(*n))));
                }
                (Tag::Listening, body) => {
                    let n = body
                        .first_chunk()
                        .ok_or_else(|| Error::bug("handshake: a listener without number"))?;
                    return Ok(Answer::Listening(i32::from_ne_bytes(*n)));
                }
                (Tag::Console, _) => {
                    console(fd.ok_or_else(|| Error::bug("handshake: a console without descriptor"))?)?;
                }
                (Tag::Failed, body) => return Err(decode::<Error>(body)?),
                (tag, _) => return Err(Error::bug(format!("handshake: unexpected {tag:?}"))),
            }
        }
    }
}

impl AsFd for Main {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Deadline;

    #[test]
    fn a_last_word_is_heard_though_ours_was_not_read() {
        let (mut main, line) = crate::handshake::line().unwrap();
        main.proceed(&Program::default()).unwrap();
        line.failed(&Error::new(Kind::Failed, "permission denied"));
        drop(line);
        let deadline = Deadline::after(std::time::Duration::from_secs(120));
        let patience = Patience { deadline, look: &|| Ok(()) };
        let heard = main.hear("ending", patience, |_| Ok(())).unwrap_err();
        assert_eq!(heard.to_string(), "permission denied");
    }
}
