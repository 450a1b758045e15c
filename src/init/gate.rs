//! The wait between *created* and *running*.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, Kind, OnSys, Result};
use crate::handshake::{Child, Line, Ready};
use crate::sys::process::{Deadline, poll_read};
use crate::sys::signal::{self, Watch};
use crate::sys::{process, socket};

/// What init waits at.
pub enum Gate {
    /// A listening socket in the state directory: `start` connects, and hears over the connection why the program
    /// could not be executed, or its end of file when it was.
    Listen(OwnedFd),
    /// Main says when, over the handshake.
    Word,
}

/// Who hears the last word from here on.
pub enum Starter {
    Connection(Line),
    Main,
}

/// Signals that ask a process to end are obeyed while it waits, though the kernel spares the first process of a pid
/// namespace: a client that stops a created container sends TERM and expects it to work. Others, such as USR1, are
/// meant for the program and lost, as with runc.
pub fn wait(gate: Gate, link: &Child<'_, Ready>, for_agent: Option<OwnedFd>) -> Result<Starter> {
    // With a gate, main's word says that this container is written down; its end without it, that nobody knows us.
    link.wait_for_start()?;
    // Main has taken it. While a copy is open, calls wait for an agent that may be gone.
    drop(for_agent);
    let listener = match gate {
        Gate::Word => return Ok(Starter::Main),
        Gate::Listen(fd) => fd,
    };
    let mut signals = signal::watch().on("watch", "signals")?;
    loop {
        let ready =
            poll_read(&[listener.as_fd(), signals.as_fd()], Deadline::never()).on("wait for", "start")?;
        obey(&mut signals)?;
        if ready.contains(&0) {
            let connection = socket::accept(&listener).on("accept", "start")?;
            signal::reset().on("reset", "signals")?;
            return Ok(Starter::Connection(Line::over(connection)));
        }
    }
}

fn obey(signals: &mut Watch) -> Result<()> {
    while let Some(n) = signals.next().map_err(|e| Error::sys("read", "signals", e).of_kind(Kind::Host))? {
        if signal::asks_for_an_end(n) {
            process::exit_now(n.saturating_add(128));
        }
    }
    Ok(())
}
