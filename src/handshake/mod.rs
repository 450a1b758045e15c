//! The words between main and its children: one `SOCK_SEQPACKET` pair, a straight line.
//!
//! ```text
//!  init   (born)                      main: joins it to its cgroup · oom_score_adj · id maps
//!         ◀──────── Go(fds)           descriptors of its cgroups, where main makes those while init makes its namespaces
//!         Mounted ────────▶           main: limits · prestart, createRuntime hooks · filter ready
//!         ◀──────── Continue(filter)
//!         Console(fd) ────▶           only with a terminal: the pty's master
//!         Ready(fd no.) ──▶           main: takes the listener of a filter that notifies · record created · pid file
//!         ◀──────── Start             written down: `run` and `exec` go on, `create` waits at its gate
//!  any    Failed(Error) ──▶           at most one, instead of any of the above
//!  end of file  after Start: the program runs. Anywhere else: it died without a word.
//! ```
//!
//! `exec` is shorter: Console(fd), if any · Continue(filter), which main sends when it has it · Ready(fd no.) · Start. A
//! filter that could not be loaded before is loaded then; one that notifies is told of by Listening(fd no.), and another
//! Start says that main has the descriptor.
//!
//! The order is in the types: each phase's end has only the methods that the phase allows, and a method consumes it.
//! Children use write(2) and read(2), but for a terminal, which comes before the filter: one that notifies must not catch
//! the word without which nobody could answer it.

// Numbers and texts here are others': no index that may not be there, no sum that wraps, no id that a cast makes another's
// (CVE-2026-30892).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
    )
)]

mod child;
mod main;

pub use child::{Born, Child, Continued, Joining, Line, Mapped, Ready};
pub use main::{Answer, Main, Patience};

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A compiled seccomp program on its way to init.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `struct sock_filter[]`; empty: no filter.
    pub code: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// `exec`: it allows all that the process still has to do.
    pub early: bool,
}

impl Program {
    /// Loading it gives a descriptor that is for an agent.
    pub fn listens(&self) -> bool {
        self.flags & NEW_LISTENER != 0
    }
}

const NEW_LISTENER: u32 = crate::sys::seccomp::NEW_LISTENER;

/// What goes with the first word: which of all that was promised is there, and the descriptors of those.
#[derive(Debug, Default)]
pub struct Sent {
    /// There may be too little memory above to execute a program: to be found out before init is ready.
    pub tight: bool,
    pub there: Vec<bool>,
    pub fds: Vec<OwnedFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Go = 1,
    Continue,
    Start,
    Mounted,
    Console,
    Ready,
    Listening,
    Failed,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        use Tag::*;
        [Go, Continue, Start, Mounted, Console, Ready, Listening, Failed]
            .into_iter()
            .find(|t| *t as u8 == byte)
    }
}

/// A frame: its tag, then its words. The cap holds the largest filter (4096 instructions of 8 bytes) and any error; and
/// it is below what makes the C library tidy up its heap when it is given back.
const MAX_FRAME: usize = 40 << 10;

fn frame(tag: Tag, body: &[u8]) -> Vec<u8> {
    let mut f = Vec::with_capacity(body.len().saturating_add(1));
    f.push(tag as u8);
    f.extend_from_slice(body);
    f
}

fn parse(bytes: &[u8]) -> Result<(Tag, &[u8])> {
    let (tag, body) = bytes.split_first().ok_or_else(|| Error::bug("handshake: an empty frame"))?;
    let tag = Tag::of(*tag).ok_or_else(|| Error::bug(format!("handshake: unknown frame {tag}")))?;
    Ok((tag, body))
}

fn encode_program(p: &Program) -> Vec<u8> {
    let mut body = Vec::with_capacity(p.code.len().saturating_add(5));
    body.extend_from_slice(&p.flags.to_ne_bytes());
    body.push(p.early.into());
    body.extend_from_slice(&p.code);
    body
}

fn decode_program(body: &[u8]) -> Result<Program> {
    let ([a, b, c, d, early], code) =
        body.split_first_chunk::<5>().ok_or_else(|| Error::bug("handshake: a filter without its flags"))?;
    Ok(Program { flags: u32::from_ne_bytes([*a, *b, *c, *d]), early: *early != 0, code: code.to_vec() })
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Error::bug(format!("handshake: {e}")))
}

/// Both ends of a fresh line.
pub fn line() -> crate::sys::Result<(Main, Line)> {
    let (ours, theirs) = crate::sys::socket::pair()?;
    Ok((Main::new(ours), Line::new(theirs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let p = Program { code: vec![1, 2, 3, 4, 5, 6, 7, 8], flags: 5, early: true };
        let f = frame(Tag::Continue, &encode_program(&p));
        let (tag, body) = parse(&f).unwrap();
        assert_eq!(tag, Tag::Continue);
        assert_eq!(decode_program(body).unwrap(), p);
    }

    #[test]
    fn the_first_word_brings_descriptors() {
        let (main, line) = line().unwrap();
        let (one, other) = crate::sys::socket::pair().unwrap();
        main.go(77, &Sent { tight: true, there: vec![true, false, true], fds: vec![one, other] }).unwrap();
        let (_, pid, sent) = line.born().wait_for_go().unwrap();
        assert!(sent.tight);
        assert_eq!((pid, sent.there.as_slice(), sent.fds.len()), (77, &[true, false, true][..], 2));
        // They are the pair's ends.
        crate::sys::fs::write_once(&sent.fds[0], b"x").unwrap();
        assert_eq!(crate::sys::fs::read_once(&sent.fds[1], 8).unwrap(), b"x");
    }

    #[test]
    fn garbage_is_an_error_not_a_panic() {
        for bytes in [&[][..], &[0], &[200, 1], &[Tag::Continue as u8, 1]] {
            let r = parse(bytes).and_then(|(_, body)| decode_program(body));
            assert!(r.is_err());
        }
    }
}
