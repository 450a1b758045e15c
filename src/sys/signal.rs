//! Signals: names, masks, dispositions, and reading them from a descriptor.

use std::os::fd::AsFd;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Errno, Result, cvt};

pub use libc::{SIGCHLD, SIGCONT, SIGKILL, SIGTERM, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};

/// Every disposition to its default (Rust's runtime ignores SIGPIPE) and nothing blocked: what a program may expect
/// at its start. By the raw calls: the C library keeps two signals for itself and would leave them as they came.
pub fn reset() -> Result<()> {
    const SET_SIZE: usize = 8;
    // `struct kernel_sigaction`, all zeroes: SIG_DFL, no flags, an empty mask. No architecture has a longer one.
    let default = [0u64; 8];
    let none: *mut u64 = std::ptr::null_mut();
    for n in (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)) {
        // SAFETY: a readable sigaction that lives across the call, a null pointer for the old one, and the size of
        // the kernel's signal set. SIG_DFL is valid for each of these signals.
        cvt(unsafe { libc::syscall(libc::SYS_rt_sigaction, n, default.as_ptr(), none, SET_SIZE) })?;
    }
    let empty = 0u64;
    // SAFETY: a readable set of that size, a null pointer for the old one.
    cvt(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const empty, none, SET_SIZE)
    })
    .map(|_| ())
}

/// The signals that this process ignores, one bit each from the first on: all that execve(2) does not put back to its
/// default by itself.
pub fn ignored() -> Result<u64> {
    let text = super::fs::read_file("/proc/self/status", 1 << 16)?;
    let text = String::from_utf8_lossy(&text);
    let mask = text.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).ok_or(Errno::EILSEQ)
}

/// As [`reset`], of a process that is known to ignore these signals and will execute a program.
pub fn reset_ignored(ignored: u64) -> Result<()> {
    for n in (1..=64).filter(|n| ignored & (1 << (n - 1)) != 0) {
        // SAFETY: as in `reset`.
        unsafe { libc::signal(n, libc::SIG_DFL) };
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// A reader that has gone away is an error of write(2), not our end.
pub fn survive_broken_pipes() -> Result<()> {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map(|_| ())
}

/// SIGCHLD to its default: children stay until they are waited for.
pub fn wait_for_children() -> Result<()> {
    // SAFETY: SIG_DFL installs no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(|_| ())
}

/// Blocks every signal and gives a descriptor to read them from.
pub fn watch() -> Result<Watch> {
    let all = SigSet::all();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Watch)
}

pub struct Watch(SignalFd);

impl Watch {
    /// The next signal that has come, if any.
    #[expect(clippy::should_implement_trait, reason = "reading can fail")]
    pub fn next(&mut self) -> Result<Option<i32>> {
        loop {
            match self.0.read_signal() {
                Ok(Some(info)) => return Ok(Some(info.ssi_signo as i32)),
                Ok(None) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub fn ignore(signal: i32) -> Result<()> {
    let signal = Signal::try_from(signal)?;
    // SAFETY: SIG_IGN installs no handler.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.map(|_| ())
}

/// Those by which a Go program ends that does not care for them, as runc's waiting init is one: the polite ones, and
/// those that tell of its own faults. Not USR1, ALRM, the real-time ones, whose default action ends a process as well.
pub fn asks_for_an_end(signal: i32) -> bool {
    let polite = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
    let faults = [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGXCPU,
        libc::SIGXFSZ,
    ];
    polite.contains(&signal) || faults.contains(&signal)
}

/// A signal by number or name, any case, with or without `SIG`, real-time ones as `RTMIN+n` and `RTMAX-n`.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(n) = text.parse::<i32>() {
        return (0..=libc::SIGRTMAX()).contains(&n).then_some(n);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset =
        |s: &str| if s.is_empty() { Some(0) } else { s.get(1..)?.parse::<i32>().ok().filter(|n| *n >= 0) };
    let real_time = |n: i32| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&n).then_some(n);
    match name {
        "IOT" => Some(libc::SIGIOT),
        "POLL" => Some(libc::SIGIO),
        "CLD" => Some(libc::SIGCHLD),
        _ => {
            if let Some(rest) = name.strip_prefix("RTMIN").filter(|r| r.is_empty() || r.starts_with('+')) {
                return offset(rest).and_then(|n| real_time(libc::SIGRTMIN() + n));
            }
            if let Some(rest) = name.strip_prefix("RTMAX").filter(|r| r.is_empty() || r.starts_with('-')) {
                return offset(rest).and_then(|n| real_time(libc::SIGRTMAX() - n));
            }
            format!("SIG{name}").parse::<Signal>().ok().map(|s| s as i32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_numbers_and_real_time_signals() {
        for (text, want) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigkill", Some(9)),
            ("kill", Some(9)),
            ("9", Some(9)),
            ("0", Some(0)),
            ("RTMIN", Some(libc::SIGRTMIN())),
            ("SIGRTMIN+3", Some(libc::SIGRTMIN() + 3)),
            ("RTMAX-1", Some(libc::SIGRTMAX() - 1)),
            ("RTMIN+99", None),
            ("65", None),
            ("-1", None),
            ("BOGUS", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
