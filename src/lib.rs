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
//! | [`seal`], [`log`], [`trace`], [`error`], [`sys`] | the floor; `sys` alone has `unsafe` |

#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::disallowed_methods,
        clippy::type_complexity,
        clippy::unreachable,
        clippy::get_unwrap,
        clippy::unwrap_in_result,
        clippy::panic_in_result_fn,
        clippy::string_slice,
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "a test may stop at what it does not expect, makes its files as it likes, and its tables are types"
    )
)]

pub mod cgroup;
pub mod cli;
pub mod container;
pub mod error;
pub mod features;
pub mod handshake;
pub mod hooks;
pub mod host;
pub mod init;
pub mod launch;
pub mod log;
pub mod plan;
pub mod seal;
pub mod spec;
pub mod sys;
pub mod trace;

/// Before anything is parsed: standard streams that are closed become the null device, so that no file of ours takes
/// their place, and what enters a container is sealed.
pub fn start_up(args: &[std::ffi::OsString]) -> error::Result<()> {
    use error::OnSys;
    sys::fd::fill_standard_streams().on("open", "/dev/null")?;
    sys::signal::survive_broken_pipes().on("ignore", "SIGPIPE")?;
    // A caller that ignores SIGCHLD has the kernel reap our children before we can ask how they ended.
    sys::signal::wait_for_children().on("reset", "SIGCHLD")?;
    if cli::enters_container(args) { seal::ensure() } else { Ok(()) }
}
