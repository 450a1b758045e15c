//! The foreground: one poll loop between the caller's terminal, the container's, signals, and init's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::notify::Proxy;
use crate::error::{OnSys, Result};
use crate::sys::process::{self, Child, Exit};
use crate::sys::signal::{self, Watch};
use crate::sys::{Errno, fd, fs, tty};

/// Watches signals from before init is started, so that none is missed (a short payload may end at once).
pub struct Relay {
    signals: Watch,
    console: Option<Console>,
    notify: Option<Proxy>,
}

struct Console {
    master: OwnedFd,
    /// The caller's terminal in raw mode; what it was before when dropped.
    raw: tty::Raw,
    input_open: bool,
    /// False once no slave is open: polling would spin.
    output_open: bool,
    /// Bytes read from the caller that the container has not taken yet.
    pending: Vec<u8>,
}

impl Relay {
    pub fn new() -> Result<Self> {
        Ok(Self { signals: signal::watch().on("watch", "signals")?, console: None, notify: None })
    }

    /// Takes the container's terminal over.
    pub fn attach(&mut self, master: OwnedFd) -> Result<()> {
        let stdin = fd::borrow_standard(0).ok();
        let outer = (0..3).find_map(|n| fd::borrow_standard(n).ok().filter(|f| tty::is_tty(*f)));
        let raw = match outer {
            Some(fd) => tty::make_raw(fd),
            None => fs::open("/dev/tty", fs::OFlag::O_RDWR).and_then(tty::make_raw),
        };
        let raw = raw.on("open", "/dev/tty").map_err(|e| {
            e.hint("a terminal in the foreground needs one outside; without: --detach and --console-socket")
        })?;
        raw.copy_size(&master);
        tty::clear_onlcr(&master).on("set up", "the terminal")?;
        tty::set_nonblocking(&master).on("set non-blocking", "the terminal")?;
        self.console = Some(Console {
            master,
            raw,
            input_open: stdin.is_some(),
            output_open: true,
            pending: Vec::new(),
        });
        Ok(())
    }

    /// Passes on what the container says to our service manager.
    pub fn listen(&mut self, proxy: Proxy) {
        self.notify = Some(proxy);
    }

    /// Until init ends; its exit. Signals go to init, output goes out, children that are ours by adoption are reaped.
    pub fn wait(mut self, child: Child) -> Result<Exit> {
        loop {
            let (ready, can_write, notified) = self.poll(child.pidfd())?;
            if let Some(proxy) = self.notify.as_mut().filter(|_| notified) {
                // We are the manager's main process. The container runs on, whatever the manager hears of it.
                let _ = proxy.pass_on(process::getpid());
            }
            if ready.contains(&1) {
                self.forward(&child)?;
            }
            if let Some(c) = &mut self.console {
                c.pump(&ready, can_write)?;
            }
            if ready.contains(&0) {
                let exit = child.wait().on("wait for", "the container's init")?;
                if let Some(c) = &mut self.console {
                    c.drain();
                }
                reap();
                return Ok(exit);
            }
        }
    }

    fn poll(&self, pidfd: BorrowedFd<'_>) -> Result<(Vec<usize>, bool, bool)> {
        let mut read = vec![pidfd, self.signals.as_fd()];
        let mut write = None;
        if let Some(c) = &self.console {
            // A place that is always there, so that indices keep their meaning; without output it watches signals twice.
            read.push(if c.output_open { c.master.as_fd() } else { self.signals.as_fd() });
            if !c.pending.is_empty() {
                write = Some(c.master.as_fd());
            } else if c.input_open {
                read.extend(fd::borrow_standard(0).ok());
            }
        }
        let last = read.len();
        read.extend(self.notify.as_ref().map(AsFd::as_fd));
        let (mut ready, can_write) = process::poll_both(&read, write).on("wait for", "the container")?;
        let notified = ready.contains(&last);
        ready.retain(|i| *i != last);
        Ok((ready, can_write, notified))
    }

    fn forward(&mut self, child: &Child) -> Result<()> {
        while let Some(n) = self.signals.next().on("read", "signals")? {
            match n {
                signal::SIGCHLD => reap_others(child),
                signal::SIGURG | signal::SIGTTIN | signal::SIGTTOU => {}
                signal::SIGWINCH if self.console.is_some() => {
                    if let Some(c) = &self.console {
                        c.raw.copy_size(&c.master);
                    }
                }
                n => match process::pidfd_send_signal(child.pidfd(), n) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(e) => return Err(e).on("forward", format!("signal {n}")),
                },
            }
        }
        Ok(())
    }
}

/// As a subreaper we get what the container leaves behind; init itself is waited for by name.
fn reap_others(child: &Child) {
    let _ = child;
    process::reap_all_but(child.pid());
}

fn reap() {
    process::reap_all_but(0);
}

impl Console {
    fn pump(&mut self, ready: &[usize], can_write: bool) -> Result<()> {
        if ready.contains(&2) && self.output_open {
            self.output();
        }
        if can_write {
            self.flush();
        } else if ready.contains(&3) {
            self.input();
        }
        Ok(())
    }

    /// From the container out. False when there is nothing more now.
    fn output(&mut self) -> bool {
        let mut buf = [0; 8192];
        match fs::read_some(&self.master, &mut buf) {
            Err(Errno::EAGAIN) => false,
            // EIO: no slave is open any more.
            Ok(0) | Err(_) => {
                self.output_open = false;
                false
            }
            Ok(n) => {
                // A reader that is gone must not kill us before the exit status is known.
                fd::borrow_standard(1)
                    .is_ok_and(|out| fs::write_all(out, buf.get(..n).unwrap_or_default()).is_ok())
            }
        }
    }

    fn input(&mut self) {
        let mut buf = [0; 4096];
        let read = fd::borrow_standard(0).and_then(|stdin| fs::read_some(stdin, &mut buf));
        match read {
            Ok(0) => {
                self.input_open = false;
                // A terminal's way to say end of file, where standard input is none that could say it.
                if !fd::borrow_standard(0).is_ok_and(tty::is_tty) {
                    self.pending.push(4);
                    self.flush();
                }
            }
            Ok(n) => {
                self.pending.extend_from_slice(buf.get(..n).unwrap_or_default());
                self.flush();
            }
            Err(Errno::EAGAIN) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn flush(&mut self) {
        match fs::write_some(&self.master, &self.pending) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(Errno::EAGAIN) => {}
            Err(_) => self.pending.clear(),
        }
    }

    fn drain(&mut self) {
        while self.output() {}
    }
}
