//! orlop: a low-level OCI container runtime.
//!
//! `config.json` → [`spec`] (what was written) + [`host`] (what this machine is) → [`plan`] (what will be done) →
//! clone → [`init`] walks a straight list of steps → `execve`. The rooms, top down:
//!
//! | room | does |
//! |---|---|
//! | [`cli`] | what was typed: flags, runc's leniencies, one file a verb |
//! | [`container`] | the verbs, the store and the record |
//! | [`launch`] | the host side of the handshake |
//! | [`init`] | the child side: becomes the container |
//! | [`handshake`] | the frames between the two |
//! | [`plan`] | decides everything before the first clone |
//! | [`spec`], [`host`] | the input: configuration and machine |
//! | [`cgroup`], [`hooks`] | control groups; running one hook |
//! | [`seal`], [`log`], [`error`], [`sys`] | the floor; `sys` alone has `unsafe` |

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod error;
pub mod hooks;
pub mod plan;
pub mod spec;
pub mod sys;
