//! Processes: clone3(2), pidfds, exec, waiting, and the attributes that prctl(2) sets.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Errno, Result, cvt, retry};

pub type Pid = i32;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
/// All that [`fork_sibling`] asks for.
pub const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a new process is born with.
#[derive(Default)]
pub struct Birth<'a> {
    /// `CLONE_NEW*`.
    pub namespaces: u64,
    /// cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// A child of the caller's parent instead of the caller.
    pub sibling: bool,
}

/// A child process: killed and reaped when dropped, unless let go.
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    ours: bool,
}

/// fork(2) with namespaces and a pidfd: runs `child` in a copy of this process, and never comes back there.
///
/// `child` ends by exec or by its return value as exit status; no destructor of the parent runs in it.
pub fn spawn(birth: &Birth<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: birth.namespaces | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(dir) = birth.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    let pid = clone(&mut args)?;
    if pid == 0 {
        exit_now(child());
    }
    // SAFETY: the kernel stored a fresh descriptor for the child that was made.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: pid as Pid, pidfd, ours: true })
}

/// A fork(2) that comes back twice: with the child's pid in the caller's pid namespace, and with `None` in the child.
/// For a process that exists to make another; `spawn` is for all others.
pub fn fork(birth: &Birth<'_>) -> Result<Option<Pid>> {
    let mut args =
        CloneArgs { flags: birth.namespaces, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if birth.sibling {
        // The exit signal is the parent's own then, and must not be given: clone(2).
        args.flags |= CLONE_PARENT;
        args.exit_signal = 0;
    }
    let pid = clone(&mut args)?;
    Ok((pid != 0).then_some(pid as Pid))
}

/// A fork(2) of a process that exists to make another, the caller's sibling, and may have a filter already: by clone(2),
/// since container profiles say ENOSYS to clone3(2). Comes back as [`fork`] does.
pub fn fork_sibling() -> Result<Option<Pid>> {
    let null = std::ptr::null_mut::<libc::c_void>();
    // The exit signal is the parent's own then, and must not be given. On s390x the stack stands before the flags.
    #[cfg(not(target_arch = "s390x"))]
    // SAFETY: as in `spawn`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, CLONE_PARENT, null, null, null, null) };
    #[cfg(target_arch = "s390x")]
    // SAFETY: as in `spawn`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, null, CLONE_PARENT, null, null, null) };
    let pid = cvt(pid)?;
    Ok((pid != 0).then_some(pid as Pid))
}

/// clone3(2), or clone(2) where that is not known: filters of containers say ENOSYS or EPERM to it, for they cannot look
/// into its arguments. Only a birth in a cgroup has no other way: EOPNOTSUPP.
fn clone(args: &mut CloneArgs) -> Result<libc::c_long> {
    // SAFETY: no CLONE_VM, so the child has memory of its own and continues on a copy of this stack; the process is
    // single-threaded (orlop starts no thread), so no lock of another thread is held in the copy. `args` lives across
    // the call, and so does what it points to, by the callers.
    match cvt(unsafe { libc::syscall(libc::SYS_clone3, &raw mut *args, size_of::<CloneArgs>()) }) {
        Err(Errno::ENOSYS | Errno::EPERM) if args.flags & CLONE_INTO_CGROUP != 0 => Err(Errno::EOPNOTSUPP),
        Err(Errno::ENOSYS | Errno::EPERM) => clone_of_old(args),
        r => r,
    }
}

/// clone(2). The bits of the exit signal are those of CLONE_NEWTIME, which no process is born with here.
fn clone_of_old(args: &CloneArgs) -> Result<libc::c_long> {
    let flags = (args.flags | args.exit_signal) as libc::c_long;
    let null = std::ptr::null_mut::<libc::c_void>();
    #[cfg(not(target_arch = "s390x"))]
    // SAFETY: as in `clone`; without a stack the child goes on on a copy of ours.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, null, args.pidfd, null, null) };
    #[cfg(target_arch = "s390x")]
    // SAFETY: as above; there the stack stands before the flags.
    let pid = unsafe { libc::syscall(libc::SYS_clone, null, flags, args.pidfd, null, null) };
    cvt(pid)
}

impl Child {
    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A process that another made for us (a sibling's child): known by pid, held by pidfd. ECHILD if it is not ours:
    /// who told us may have been made to say anything.
    pub fn adopt(pid: Pid) -> Result<Self> {
        let pidfd = pidfd_open(pid)?;
        wait_how(&pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)?;
        Ok(Self { pid, pidfd, ours: true })
    }

    /// Not killed when dropped any more.
    pub fn let_go(mut self) -> (Pid, OwnedFd) {
        self.ours = false;
        let pidfd = self.pidfd.try_clone();
        let pid = self.pid;
        match pidfd {
            Ok(fd) => (pid, fd),
            // Out of descriptors: the old one serves, its drop only closes it.
            Err(_) => {
                let fd = self.pidfd.as_raw_fd();
                #[expect(clippy::mem_forget, reason = "what would be dropped is handed out")]
                std::mem::forget(self);
                // SAFETY: `self` was forgotten, so this is the only owner.
                (pid, unsafe { OwnedFd::from_raw_fd(fd) })
            }
        }
    }

    /// Kills and reaps it; ETIMEDOUT when the kernel does not let it die in time.
    pub fn end(&mut self) -> Result<Exit> {
        pidfd_send_signal(&self.pidfd, libc::SIGKILL)?;
        if poll_read(&[self.pidfd.as_fd()], Deadline::after(DYING))?.is_empty() {
            self.ours = false;
            return Err(Errno::ETIMEDOUT);
        }
        let exit = wait_pidfd(&self.pidfd)?;
        self.ours = false;
        Ok(exit)
    }

    /// Waits for its end, without a deadline.
    pub fn wait(mut self) -> Result<Exit> {
        let exit = wait_pidfd(&self.pidfd)?;
        self.ours = false;
        Ok(exit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ours {
            let _ = self.end();
        }
    }
}

/// How long a process may take to die of SIGKILL: one that the kernel holds (a frozen cgroup above ours, a dead file
/// server) dies later, or never, and is not waited for.
const DYING: Duration = Duration::from_secs(2);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The shell's number: the code, or 128 + the signal.
    pub fn status(self) -> i32 {
        match self {
            Self::Code(c) => c,
            Self::Signal(s) => 128 + s,
        }
    }
}

/// waitid(2) on a pidfd: reaps the child.
pub fn wait_pidfd(pidfd: impl AsFd) -> Result<Exit> {
    wait_how(&pidfd, libc::WEXITED).and_then(|e| e.ok_or(Errno::EAGAIN))
}

/// As [`wait_pidfd`], but `None` while the child lives.
pub fn try_wait_pidfd(pidfd: impl AsFd) -> Result<Option<Exit>> {
    wait_how(&pidfd, libc::WEXITED | libc::WNOHANG)
}

fn wait_how(pidfd: &impl AsFd, how: i32) -> Result<Option<Exit>> {
    // SAFETY: siginfo_t is a plain C struct for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_fd().as_raw_fd() as libc::id_t;
    // SAFETY: `info` is writable and lives across the call.
    retry(|| cvt(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, how) }.into()))?;
    // SAFETY: after a successful waitid the fields of a SIGCHLD siginfo are set, or zero for "none yet".
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok(Some(if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) }))
}

/// Reaps ended children, but leaves `spare` (0: none) for who waits for it by name.
pub fn reap_all_but(spare: Pid) {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
    loop {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::All, look) {
            Ok(WaitStatus::Exited(p, _) | WaitStatus::Signaled(p, ..)) if p.as_raw() != spare => {
                let _ = waitpid(p, Some(WaitPidFlag::WNOHANG));
            }
            // Nobody, or the spared one first in line: it is waited for soon, the rest goes with us.
            _ => return,
        }
    }
}

/// _exit(2): no destructor, no buffer of the parent's.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(status) }
}

pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: two integers; the kernel returns a fresh close-on-exec descriptor.
    let fd = cvt(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: an open descriptor, an integer, a null siginfo.
    cvt(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, none, 0) })
        .map(|_| ())
}

/// pidfd_getfd(2): a copy of another process's descriptor.
pub fn pidfd_getfd(pidfd: impl AsFd, fd: i32) -> Result<OwnedFd> {
    // SAFETY: three integers; the kernel returns a fresh close-on-exec descriptor.
    let fd = cvt(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), fd, 0) })?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: two integers.
    cvt(unsafe { libc::kill(pid, signal) }.into()).map(|_| ())
}

/// Until a signal ends it, or its parent's end does.
pub fn wait_for_ever() {
    let _ = die_with_parent(libc::SIGKILL);
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// execve(2). Returns only to say why it did not happen.
pub fn exec(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    match nix::unistd::execve(path, argv, envp) {
        Err(e) => e,
        Ok(never) => match never {},
    }
}

/// execveat(2) of an open file.
pub fn exec_fd(fd: impl AsFd, argv: &[CString], envp: &[CString]) -> Errno {
    match nix::unistd::execveat(fd.as_fd(), c"", argv, envp, nix::fcntl::AtFlags::AT_EMPTY_PATH) {
        Err(e) => e,
        Ok(never) => match never {},
    }
}

fn prctl(op: i32, a: u64, b: u64, c: u64, d: u64) -> Result<libc::c_long> {
    // SAFETY: every caller passes an operation whose arguments are integers.
    cvt(unsafe { libc::prctl(op, a, b, c, d) }.into())
}

/// Our own files in /proc are ours, and not root's.
pub fn set_dumpable() -> Result<()> {
    ::prctl::set_dumpable(true).map_err(Errno::from_raw)
}

/// Neither ptrace nor /proc/PID/{fd,root,exe,mem} for anybody without privilege over our user namespace
/// (CVE-2016-9962).
pub fn set_not_dumpable() -> Result<()> {
    ::prctl::set_dumpable(false).map_err(Errno::from_raw)
}

/// To be killed when the parent dies. Check the parent afterwards: it may be dead already.
pub fn die_with_parent(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0, 0, 0).map(|_| ())
}

pub fn become_subreaper() -> Result<()> {
    ::prctl::set_child_subreaper(true).map_err(Errno::from_raw)
}

pub fn no_new_privs() -> Result<()> {
    ::prctl::set_no_new_privileges(true).map_err(Errno::from_raw)
}

pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated string of which the kernel reads at most 16 bytes.
    cvt(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }.into()).map(|_| ())
}

pub fn setsid() -> Result<()> {
    nix::unistd::setsid().map(|_| ())
}

pub fn umask(mask: u32) {
    nix::sys::stat::umask(super::fs::Mode::from_bits_truncate(mask));
}

pub fn getpid() -> Pid {
    nix::unistd::getpid().as_raw()
}

pub fn getppid() -> Pid {
    nix::unistd::getppid().as_raw()
}

/// getcwd(2) itself, which says `(unreachable)/…` of a directory outside the root; the C library would hide that.
pub fn getcwd() -> Result<Vec<u8>> {
    let mut buf = vec![0u8; 4096];
    // SAFETY: a writable buffer and its length.
    let n = cvt(unsafe { libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) })? as usize;
    buf.truncate(n.saturating_sub(1));
    Ok(buf)
}

pub fn set_personality(domain: u64) -> Result<()> {
    // SAFETY: an integer.
    cvt(unsafe { libc::personality(domain) }.into()).map(|_| ())
}

/// What /proc/PID/stat says: state letter and start time in clock ticks since boot. ENOENT when there is none.
///
/// The letter is `Z` only for a process that has ended whole: a first thread that has ended while others go on is told
/// as sleeping, for that process lives.
pub fn stat(pid: Pid) -> Result<(char, u64)> {
    let stat = stat_of(pid)?;
    let state = if stat.state == 'Z' && stat.num_threads > 1 { 'S' } else { stat.state };
    Ok((state, stat.starttime))
}

fn stat_of(pid: Pid) -> Result<procfs::process::Stat> {
    // One read(2): the kernel gives the line whole.
    let text = super::fs::open(format!("/proc/{pid}/stat"), super::fs::OFlag::O_RDONLY)
        .and_then(|file| super::fs::read_once(file, 4096))
        .map_err(|e| if e == Errno::ESRCH { Errno::ENOENT } else { e })?;
    procfs::process::Stat::from_reader_of(&text).ok_or(Errno::EILSEQ)
}

/// `procfs`'s parser on bytes that we read ourselves.
trait FromBytes: Sized {
    fn from_reader_of(bytes: &[u8]) -> Option<Self>;
}

impl FromBytes for procfs::process::Stat {
    fn from_reader_of(bytes: &[u8]) -> Option<Self> {
        procfs::FromRead::from_read(bytes).ok()
    }
}

/// Is this the very process, alive, and no zombie?
pub fn lives(pid: Pid, start_time: u64) -> bool {
    matches!(stat(pid), Ok((state, start)) if start == start_time && !matches!(state, 'Z' | 'X'))
}

/// Has it memory of its own still? One system call; a process that ends gives that back before its descriptors. Who
/// may not ask is told yes.
pub fn has_memory(pid: Pid) -> bool {
    let exe = Path::new("/proc").join(pid.to_string()).join("exe");
    !matches!(super::fs::readlinkat(super::fs::AT_FDCWD, exe), Err(Errno::ENOENT))
}

/// Has this process executed a program since it was cloned? Of one that is gone that is not known, and denied.
pub fn has_executed(pid: Pid, start_time: u64) -> bool {
    /// `PF_FORKNOEXEC`: the kernel takes it away when nothing can keep an execve(2) from its end any more.
    const CLONED_ONLY: u32 = 0x40;
    stat_of(pid).is_ok_and(|s| s.starttime == start_time && s.flags & CLONED_ONLY == 0)
}

/// Has this signal been sent to the process, and not been taken yet? proc_pid_status(5).
pub fn has_pending(pid: Pid, signal: i32) -> bool {
    let text = super::fs::read_file(Path::new("/proc").join(pid.to_string()).join("status"), 1 << 16);
    let text = text.map(|t| String::from_utf8_lossy(&t).into_owned()).unwrap_or_default();
    let mask = |l: &str| {
        u64::from_str_radix(l.strip_prefix("SigPnd:").or(l.strip_prefix("ShdPnd:"))?.trim(), 16).ok()
    };
    (1..=64).contains(&signal) && text.lines().filter_map(mask).any(|m| m & (1 << (signal - 1)) != 0)
}

/// Are there other threads? A fork copies only its caller, and with it locks that nobody will release.
/// The kernel's count of links to /proc/self/task is its number of threads plus two.
pub fn thread_count_is_wrong() -> bool {
    nix::sys::stat::stat("/proc/self/task").is_ok_and(|s| s.st_nlink != 3)
}

/// A point in time to which a wait may last.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    pub fn after(d: Duration) -> Self {
        Self(Instant::now().checked_add(d))
    }

    pub fn never() -> Self {
        Self(None)
    }

    /// This one, or after `d` where that is sooner.
    pub fn or_after(self, d: Duration) -> Self {
        let other = Self::after(d);
        Self(self.0.into_iter().chain(other.0).min())
    }

    /// This one, or after `d` where that is later.
    pub fn not_before(self, d: Duration) -> Self {
        let least = Self::after(d);
        Self(self.0.zip(least.0).map(|(a, b)| a.max(b)))
    }

    /// For poll(2): the time left, none for ever.
    pub fn left(&self) -> Option<Duration> {
        self.0.map(|t| t.saturating_duration_since(Instant::now()))
    }

    pub fn passed(&self) -> bool {
        self.left().is_some_and(|d| d.is_zero())
    }
}

/// poll(2) for reading on several descriptors and for writing on one more, without a deadline: the indices that are
/// readable, and whether the one is writable.
pub fn poll_both(read: &[BorrowedFd<'_>], write: Option<BorrowedFd<'_>>) -> Result<(Vec<usize>, bool)> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut set: Vec<_> = read.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    set.extend(write.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
    retry(|| poll(&mut set, PollTimeout::NONE))?;
    let ready = |p: &PollFd<'_>| p.revents().is_some_and(|r| !r.is_empty());
    let readable = set[..read.len()].iter().enumerate().filter(|(_, p)| ready(p)).map(|(i, _)| i).collect();
    Ok((readable, set.get(read.len()).is_some_and(ready)))
}

/// What to wait for on a descriptor. Errors and hang-ups always count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Readable,
    /// A kernel file that tells of its changes.
    Changed,
    /// Nothing but that the other side is gone.
    Gone,
}

/// poll(2) for reading on several descriptors until the deadline; the indices that are ready, none when it passed.
pub fn poll_read(fds: &[BorrowedFd<'_>], deadline: Deadline) -> Result<Vec<usize>> {
    let fds: Vec<_> = fds.iter().map(|fd| (*fd, Interest::Readable)).collect();
    poll_each(&fds, deadline)
}

/// As [`poll_read`], each descriptor with what to wait for on it.
pub fn poll_each(fds: &[(BorrowedFd<'_>, Interest)], deadline: Deadline) -> Result<Vec<usize>> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let flags = |interest: Interest| match interest {
        Interest::Readable => PollFlags::POLLIN,
        Interest::Changed => PollFlags::POLLPRI,
        Interest::Gone => PollFlags::empty(),
    };
    let mut set: Vec<_> = fds.iter().map(|(fd, interest)| PollFd::new(*fd, flags(*interest))).collect();
    loop {
        let timeout = match deadline.left() {
            None => PollTimeout::NONE,
            // Rounded up, so that a wait is never a spin.
            Some(d) => PollTimeout::try_from(d.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX),
        };
        match poll(&mut set, timeout) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(0) if deadline.left().is_none() || !deadline.passed() => {}
            Ok(_) => {
                let ready = |p: &PollFd<'_>| p.revents().is_some_and(|r| !r.is_empty());
                return Ok(set.iter().enumerate().filter(|(_, p)| ready(p)).map(|(i, _)| i).collect());
            }
        }
    }
}
