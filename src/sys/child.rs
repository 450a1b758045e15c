//! Running a program beside us: what hooks need.
//!
//! Not `std::process`, because hooks also run in the container's init: no allocation between fork and exec, no
//! descriptor of ours in the program, and an exact word when exec fails.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::process::{self, Deadline, Exit, Pid};
use super::{Errno, Result, cvt, retry};

/// A program to run, in a process group of its own, with default signal dispositions and nothing blocked.
pub struct Program<'a> {
    pub path: &'a CStr,
    pub argv: &'a [CString],
    /// All of its environment.
    pub env: &'a [CString],
    /// Where it starts; `None`: where we are.
    pub cwd: Option<BorrowedFd<'a>>,
}

/// A child that leads a process group. Dropped while it may still run, the whole group is killed and it is reaped.
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

/// A started program and our ends of its standard streams.
pub struct Running {
    pub child: Child,
    /// Writing end, not blocking.
    pub stdin: OwnedFd,
    /// Reading ends, not blocking.
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Ends without a byte when the program runs; gives an errno (`i32`) when it could not be executed. Not blocking.
    pub report: OwnedFd,
}

/// Starts it. An error here is ours (no process, no descriptor); why it could not be executed comes by the report.
pub fn start(program: &Program<'_>) -> Result<Running> {
    let (child_in, stdin) = pipe()?;
    let (stdout, child_out) = pipe()?;
    let (stderr, child_err) = pipe()?;
    let (report, child_report) = pipe()?;
    for fd in [&stdin, &stdout, &stderr, &report] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    }
    let birth = Birth {
        path: program.path,
        argv: &pointers(program.argv),
        env: &pointers(program.env),
        cwd: program.cwd.map(|fd| fd.as_raw_fd()),
        streams: [child_in.as_raw_fd(), child_out.as_raw_fd(), child_err.as_raw_fd()],
        report: child_report.as_raw_fd(),
    };

    let mut pidfd: RawFd = -1;
    let pidfd_out = &raw mut pidfd;
    let flags = libc::c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    let null = std::ptr::null_mut::<libc::c_void>();
    // clone(2) and not clone3(2), to which container profiles say ENOSYS: a runtime may itself run in a container.
    // On s390x the stack stands before the flags.
    #[cfg(not(target_arch = "s390x"))]
    // SAFETY: without CLONE_VM and without a stack the child continues on a copy of ours, as after fork(2). It does
    // nothing but system calls on memory prepared above, so it needs no lock that another thread may have held.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, null, pidfd_out, null, null) };
    #[cfg(target_arch = "s390x")]
    // SAFETY: as above.
    let pid = unsafe { libc::syscall(libc::SYS_clone, null, flags, pidfd_out, null, null) };
    let pid = cvt(pid)? as Pid;
    if pid == 0 {
        birth.become_program();
    }
    // SAFETY: the kernel stored a fresh descriptor when it made the child.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // The child does the same; a kill of the group must reach it whoever is first.
    // SAFETY: two integers. It fails after the child's exec, which has done it itself then.
    unsafe { libc::setpgid(pid, pid) };
    Ok(Running { child: Child { pid, pidfd, reaped: false }, stdin, stdout, stderr, report })
}

/// Close-on-exec, and above the standard streams, onto which the child moves its ends.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (r, w) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    Ok((above_streams(r)?, above_streams(w)?))
}

fn above_streams(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let new = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: F_DUPFD_CLOEXEC made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// As execve(2) wants it: with a null at the end.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// All that the child needs, ready before the fork: it must not allocate.
struct Birth<'a> {
    path: &'a CStr,
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    cwd: Option<RawFd>,
    streams: [RawFd; 3],
    report: RawFd,
}

impl Birth<'_> {
    fn become_program(&self) -> ! {
        let why = match self.prepare() {
            Ok(()) => {
                // SAFETY: a NUL-terminated path and two null-terminated arrays of NUL-terminated strings.
                unsafe { libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
                Errno::last()
            }
            Err(e) => e,
        };
        let word = (why as i32).to_ne_bytes();
        // SAFETY: four readable bytes and a descriptor of ours.
        unsafe { libc::write(self.report, word.as_ptr().cast(), word.len()) };
        process::exit_now(127)
    }

    fn prepare(&self) -> Result<()> {
        // A creation that is killed takes its hook along; what the hook has left running on purpose stays.
        process::die_with_parent(libc::SIGKILL)?;
        // SAFETY: two integers.
        cvt(unsafe { libc::setpgid(0, 0) }.into())?;
        super::signal::reset()?;
        if let Some(fd) = self.cwd {
            // SAFETY: a descriptor that the parent holds open.
            cvt(unsafe { libc::fchdir(fd) }.into())?;
        }
        for (to, from) in self.streams.iter().enumerate() {
            // SAFETY: two numbers; what stood at 0, 1 and 2 in this copy of the process is replaced for good.
            cvt(unsafe { libc::dup2(*from, to as RawFd) }.into())?;
        }
        close_all_between(3, self.report - 1);
        close_all_between(self.report + 1, RawFd::MAX);
        Ok(())
    }
}

/// In a child only, where no owner of these descriptors is left.
fn close_all_between(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: three integers.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9, or in a container whose filter does not know it: one by one, as far as numbers are given out.
    // SAFETY: an integer.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }.clamp(1024, 1 << 20) as RawFd;
    for fd in first..=last.min(limit) {
        // SAFETY: an integer.
        unsafe { libc::close(fd) };
    }
}

impl Child {
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// SIGKILL for it and for all that stayed in its process group.
    pub fn kill_group(&self) {
        // Not reaped yet, so the number is still its own. Fails when nobody is left.
        let _ = process::kill(-self.pid, libc::SIGKILL);
        // It may have left its group.
        let _ = process::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
    }

    /// Waits for its end. What it left behind lives on.
    pub fn reap(mut self) -> Result<Exit> {
        let exit = process::wait_pidfd(&self.pidfd)?;
        self.reaped = true;
        Ok(exit)
    }

    /// Neither waited for nor killed any more.
    pub fn abandon(mut self) {
        self.reaped = true;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_group();
            let _ = process::wait_pidfd(&self.pidfd);
        }
    }
}

/// SIGPIPE ignored, so that a reader who leaves is an errno, and SIGCHLD at its default, so that a status is kept for
/// us, whatever we inherited. Restored when dropped.
pub struct Signals([(Signal, SigAction); 2]);

impl Signals {
    pub fn of_a_parent() -> Result<Self> {
        let set = |signal, handler| {
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            // SAFETY: no handler is installed.
            unsafe { sigaction(signal, &action) }.map(|old| (signal, old))
        };
        Ok(Self([set(Signal::SIGPIPE, SigHandler::SigIgn)?, set(Signal::SIGCHLD, SigHandler::SigDfl)?]))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, old) in &self.0 {
            // SAFETY: the action that was in force before.
            let _ = unsafe { sigaction(*signal, old) };
        }
    }
}

/// poll(2) until the deadline: for each entry whether it is ready, for writing if asked, else for reading. An absent
/// descriptor never is. `None` when the deadline passed first.
pub fn poll<const N: usize>(
    wanted: [(Option<BorrowedFd<'_>>, bool); N],
    deadline: Deadline,
) -> Result<Option<[bool; N]>> {
    let mut set = wanted.map(|(fd, write)| libc::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: if write { libc::POLLOUT } else { libc::POLLIN },
        revents: 0,
    });
    loop {
        // Rounded up, so that a wait is never a spin.
        let timeout = deadline.left().map_or(-1, |d| i32::try_from(d.as_millis() + 1).unwrap_or(i32::MAX));
        // SAFETY: N entries, whose descriptors are borrowed for the length of the call.
        let n = retry(|| cvt(unsafe { libc::poll(set.as_mut_ptr(), N as libc::nfds_t, timeout) }.into()))?;
        if n > 0 {
            return Ok(Some(set.map(|p| p.revents != 0)));
        }
        if deadline.passed() {
            return Ok(None);
        }
    }
}

/// One read(2).
pub fn read(fd: impl AsFd, into: &mut [u8]) -> Result<usize> {
    retry(|| nix::unistd::read(fd.as_fd(), into))
}

/// One write(2).
pub fn write(fd: impl AsFd, data: &[u8]) -> Result<usize> {
    retry(|| nix::unistd::write(fd.as_fd(), data))
}
