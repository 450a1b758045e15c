//! NOTIFY_SOCKET, sd_notify(3): what the container says of itself is passed on to the service manager that runs us.
//!
//! The container sees a socket of ours at /run/notify, in a directory of its own below the state directory. The
//! manager's socket itself stays out of its reach: it must not name another main process there, or store descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{MountBuilder, Spec};

use crate::error::{Error, OnSys, Result};
use crate::log::Log;
use crate::sys::process::{self, Deadline};
use crate::sys::{Errno, fs, sched, socket};

/// In the container's state directory.
pub const DIR: &str = "notify";
const NAME: &str = "notify.sock";
const INSIDE: &str = "/run/notify";

/// A message as systemd takes it.
const MAX: usize = 4096;
/// How long we try to tell a manager that has no room for more, of all that has come at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// statfs(2): `PIPEFS_MAGIC`.
const PIPES: i64 = 0x5049_5045;
/// How long the manager may take to say that it has read all; as in systemd-notify(1).
const BARRIER: Duration = Duration::from_secs(30);

/// What a container may say. Not MAINPID, which would be a pid of its own namespace, nor FDSTORE and its kind.
const ALLOWED: [&str; 9] = [
    "READY=",
    "RELOADING=",
    "STOPPING=",
    "STATUS=",
    "ERRNO=",
    "EXIT_STATUS=",
    "MONOTONIC_USEC=",
    "EXTEND_TIMEOUT_USEC=",
    "WATCHDOG=",
];

/// The socket that our caller wants to be told by.
pub fn asked_for() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|s| !s.is_empty()).map(PathBuf::from)
}

/// Gives the container a place for the socket, and its program the name of it.
pub fn prepare(state: BorrowedFd<'_>, path: &Path, spec: &mut Spec) -> Result<()> {
    let dir = path.join(DIR);
    fs::mkdirat(state, DIR, 0o755).on("create", dir.display())?;
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(INSIDE).source(&dir).options(options).build();
    let mount = mount.map_err(|e| Error::bug(format!("mount: {e}")))?;
    spec.mounts_mut().get_or_insert_default().push(mount);
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}"));
        process.set_env(Some(env));
    }
    Ok(())
}

pub struct Proxy {
    socket: OwnedFd,
    host: PathBuf,
    /// To the manager, once there is something to say.
    manager: Option<OwnedFd>,
    is_ready: bool,
}

impl Proxy {
    /// Listens at the prepared place; `None` where nothing was prepared.
    pub fn listen(state: BorrowedFd<'_>, host: PathBuf) -> Result<Option<Self>> {
        let flags = fs::OFlag::O_PATH | fs::OFlag::O_DIRECTORY | fs::OFlag::O_NOFOLLOW;
        let dir = match fs::openat(state, DIR, flags, 0) {
            Err(Errno::ENOENT) => return Ok(None),
            r => r.on("open", DIR)?,
        };
        let listen = || {
            match fs::unlinkat(&dir, NAME) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
            let socket = socket::datagrams_at(&dir, NAME)?;
            // Every user of the container may speak.
            let file = fs::openat(&dir, NAME, fs::OFlag::O_PATH | fs::OFlag::O_NOFOLLOW, 0)?;
            let procfs = fs::open_dir("/proc")?;
            fs::chmod_fd(file, 0o777, Some(procfs.as_fd()))?;
            Ok::<_, Errno>(socket)
        };
        let socket = listen().on("listen at", format!("{DIR}/{NAME}"))?;
        Ok(Some(Self { socket, host, manager: None, is_ready: false }))
    }

    /// Passes on all that has come, whatever fails of it. With its readiness the manager learns who `main` is.
    pub fn pass_on(&mut self, main: i32) -> Result<()> {
        let mut buf = [0; MAX];
        let mut outcome = Ok(());
        let deadline = Deadline::after(PATIENCE);
        // A container that never stops talking must not keep us from all else.
        for _ in 0..64 {
            let (n, fd) = match socket::receive(&self.socket, &mut buf) {
                // Too long: the manager would not read it either.
                Err(Errno::EMSGSIZE) => continue,
                Err(_) => return outcome,
                Ok(message) => message,
            };
            outcome = outcome.and(self.pass_one(buf.get(..n).unwrap_or_default(), fd, main, deadline));
        }
        outcome
    }

    fn pass_one(&mut self, message: &[u8], fd: Option<OwnedFd>, main: i32, deadline: Deadline) -> Result<()> {
        let now = Deadline::after(Duration::ZERO);
        // Its sender waits until the manager closes the descriptor: the end of a pipe, sd_notify_barrier(3). Any other is
        // closed here: what it does when it is closed shall not be done to the manager.
        if message.trim_ascii_end() == b"BARRIER=1" {
            return match fd.filter(is_pipe) {
                Some(pipe) => self.say(b"BARRIER=1", Some(pipe.as_fd()), now),
                None => Ok(()),
            };
        }
        let text = allowed(&String::from_utf8_lossy(message));
        if text.is_empty() {
            return Ok(());
        }
        if !text.lines().any(|l| l.starts_with("READY=")) {
            return self.say(text.as_bytes(), None, now);
        }
        self.say(text.as_bytes(), None, deadline)?;
        self.say(format!("MAINPID={main}\n").as_bytes(), None, deadline)?;
        self.is_ready = true;
        Ok(())
    }

    /// Until when, ten milliseconds apart, is a manager asked that has no room for more?
    fn say(&mut self, text: &[u8], fd: Option<BorrowedFd<'_>>, deadline: Deadline) -> Result<()> {
        let on = || format!("to {}", self.host.display());
        if self.manager.is_none() {
            self.manager = Some(socket::connect_datagrams(self.host.as_os_str()).on("connect", on())?);
        }
        let Some(manager) = &self.manager else { return Ok(()) };
        loop {
            match socket::send(manager, text, fd) {
                Err(Errno::EAGAIN) if !deadline.passed() => sched::pause(Duration::from_millis(10)),
                r => return r.on("pass a notification on", on()),
            }
        }
    }

    /// Until the container is ready or its init, which is `main`, has ended; and until the manager knows, so that it
    /// can still see who told it.
    pub fn wait_until_ready(&mut self, init: BorrowedFd<'_>, main: i32, log: &Log) -> Result<()> {
        while !self.is_ready {
            let ready = process::poll_read(&[self.socket.as_fd(), init], Deadline::never())
                .on("wait for", "the container's readiness")?;
            self.pass_on(main)?;
            if ready.contains(&1) {
                break;
            }
        }
        if self.is_ready { self.barrier(log) } else { Ok(()) }
    }

    fn barrier(&mut self, log: &Log) -> Result<()> {
        let (ours, theirs) = std::io::pipe().on("create", "a pipe")?;
        self.say(b"BARRIER=1", Some(theirs.as_fd()), Deadline::after(PATIENCE))?;
        drop(theirs);
        let done =
            process::poll_read(&[ours.as_fd()], Deadline::after(BARRIER)).on("wait for", "the barrier")?;
        if done.is_empty() {
            log.warn("Timeout after waiting 30s for barrier. Ignored.");
        }
        Ok(())
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Of pipe(2): no file whose file system could hold up who closes it.
fn is_pipe(fd: &OwnedFd) -> bool {
    fs::fstatfs(fd).is_ok_and(|(magic, _)| magic == PIPES)
}

/// What of a container's words is passed on.
pub fn allowed(message: &str) -> String {
    let lines = message.lines().filter(|l| ALLOWED.iter().any(|a| l.starts_with(a)));
    lines.flat_map(|l| [l, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn what_a_container_may_say() {
        for (message, want) in [
            ("READY=1", "READY=1\n"),
            ("STATUS=going\nREADY=1\n", "STATUS=going\nREADY=1\n"),
            ("RELOADING=1\nMONOTONIC_USEC=5", "RELOADING=1\nMONOTONIC_USEC=5\n"),
            ("MAINPID=1\nREADY=1\nNOTIFYACCESS=all", "READY=1\n"),
            ("FDSTORE=1\nFDNAME=x", ""),
            ("XREADY=1", ""),
            ("", ""),
        ] {
            assert_eq!(allowed(message), want, "{message:?}");
        }
    }
}
