//! One call of the runtime: its arguments, its deadline, what it printed, logged and returned.

use crate::time::{FORESEEN, LONG, Moment};
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// No call may take longer: longer than any machine needs, shorter than what would last for ever.
const DEADLINE: Duration = Duration::from_secs(120);

/// Children that somebody will wait for by themselves; all others are orphans of containers, ours as their subreaper.
static EXPECTED: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

/// A call in the making.
pub struct Call {
    program: PathBuf,
    args: Vec<OsString>,
    log: Option<PathBuf>,
    out: PathBuf,
    err: PathBuf,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    deadline: Duration,
    pass: Vec<(RawFd, OwnedFd)>,
    terminal: Option<OwnedFd>,
    prefix: Vec<OsString>,
    without: Option<(String, String)>,
}

impl Call {
    /// `scratch` is a path prefix for the files that take the call's output.
    pub fn new(program: PathBuf, scratch: &Path) -> Self {
        let with = |suffix| PathBuf::from(format!("{}.{suffix}", scratch.display()));
        Call {
            program,
            args: Vec::new(),
            log: None,
            out: with("out"),
            err: with("err"),
            stdin: None,
            stdout: None,
            env: Vec::new(),
            cwd: None,
            deadline: if FORESEEN.get() { Duration::from_secs(20) } else { DEADLINE },
            pass: Vec::new(),
            terminal: None,
            prefix: Vec::new(),
            without: None,
        }
    }

    /// The kernel shall not know these system calls ("openat2,clone3"), and say ENOSYS or EPERM.
    pub fn without(mut self, calls: &str, errno: &str) -> Self {
        self.without = Some((calls.into(), errno.into()));
        self
    }

    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Reads this file back as the call's JSON log.
    pub fn log(mut self, path: PathBuf) -> Self {
        self.log = Some(path);
        self
    }

    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.stdin = Some(from.into());
        self
    }

    /// Instead of the file that [`Output::stdout`] reads.
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.stdout = Some(to.into());
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// The runtime shall find this file open as descriptor `number`.
    pub fn pass(mut self, number: RawFd, file: impl Into<OwnedFd>) -> Self {
        self.pass.push((number, file.into()));
        self
    }

    /// The runtime shall lead a session with this terminal, and have it as its standard descriptors.
    pub fn terminal(mut self, slave: OwnedFd) -> Self {
        self.terminal = Some(slave);
        self
    }

    /// Puts another program in front, as `strace -f … --`.
    pub fn under<S: AsRef<std::ffi::OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.prefix = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        self
    }

    pub fn spawn(self) -> Running {
        let mut words = Vec::new();
        // Before anything of the prefix: an ordinary user could only load a filter together with no_new_privs, and
        // newuidmap would be setuid no more; and strace need not see how the filter comes to be.
        if let Some((calls, errno)) = self.without {
            let probe = crate::built().join("probe").into_os_string();
            words.extend([probe, "without".into(), calls.into(), errno.into()]);
        }
        words.extend(self.prefix.clone());
        words.push(self.program.clone().into());
        words.extend(self.args);
        let shown: Vec<String> = words.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.env);
        if let Some(dir) = self.cwd {
            command.current_dir(dir);
        }
        let file = |path: &Path| File::create(path).expect("a file for output");
        match &self.terminal {
            Some(slave) => {
                let dup = || Stdio::from(slave.try_clone().expect("dup"));
                command.stdin(dup()).stdout(dup()).stderr(dup());
            }
            None => {
                command.stdin(self.stdin.unwrap_or_else(Stdio::null));
                command.stdout(self.stdout.unwrap_or_else(|| file(&self.out).into()));
                command.stderr(file(&self.err));
            }
        }
        let lead = self.terminal.is_some();
        let pass: Vec<(RawFd, RawFd)> = self.pass.iter().map(|(n, f)| (*n, f.as_raw_fd())).collect();
        // SAFETY: between fork and exec the closure makes system calls only.
        unsafe {
            command.pre_exec(move || {
                // A shell that starts us in the background has them ignored, and all our children would.
                for interrupt in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                    libc::signal(interrupt, libc::SIG_DFL);
                }
                // As from a shell, whoever started the tests: one that runs in the background ignores interrupts.
                for signal in 1..libc::SIGRTMIN() {
                    libc::signal(signal, libc::SIG_DFL);
                }
                if lead {
                    libc::setsid();
                    libc::ioctl(0, libc::TIOCSCTTY, 0);
                } else {
                    libc::setpgid(0, 0);
                }
                // In two rounds, so that no target overwrites a source that is still wanted.
                let mut high = [(0, 0); 512];
                for (slot, (to, from)) in high.iter_mut().zip(&pass) {
                    *slot = (*to, libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, 600));
                }
                for (to, from) in high.iter().take(pass.len()) {
                    libc::dup2(*from, *to);
                }
                Ok(())
            });
        }
        let mut expected = EXPECTED.lock().expect("no panic while locked");
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot run {}: {e}", shown.join(" ")));
        expected.get_or_insert_default().insert(child.id() as i32);
        drop(expected);
        Running {
            child,
            shown,
            out: self.out,
            err: self.err,
            log: self.log,
            deadline: self.deadline,
            ended: None,
            forgotten: false,
        }
    }

    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

/// A call that is still going on. Dropped before its end, it is killed.
pub struct Running {
    child: Child,
    shown: Vec<String>,
    out: PathBuf,
    err: PathBuf,
    log: Option<PathBuf>,
    deadline: Duration,
    /// Its status, and the processor time that it and the children that it waited for have had.
    ended: Option<(ExitStatus, Duration)>,
    forgotten: bool,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        assert!(self.ended.is_none(), "it has ended");
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// What stands in the output file so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub fn wait_for(&self, text: &str) {
        let read = || fs::read_to_string(&self.err).unwrap_or_default();
        if !crate::within(LONG, || self.stdout().contains(text)) {
            panic!("{text:?} did not appear\nstdout: {}\nstderr: {}", self.stdout(), read());
        }
    }

    pub fn is_over(&mut self) -> bool {
        self.look().is_some()
    }

    fn look(&mut self) -> Option<(ExitStatus, Duration)> {
        if self.ended.is_none() {
            let mut status = 0;
            // SAFETY: all zeroes is a valid rusage.
            let mut used: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: an int and a rusage to write to. Nobody else waits for this child.
            let reaped = unsafe { libc::wait4(self.pid(), &raw mut status, libc::WNOHANG, &raw mut used) };
            assert!(reaped >= 0, "wait4: {}", std::io::Error::last_os_error());
            let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
            self.ended = (reaped > 0)
                .then(|| (ExitStatus::from_raw(status), time(used.ru_utime) + time(used.ru_stime)));
        }
        self.ended
    }

    /// Until the end or the deadline; past it the call and its process group are killed and the test fails.
    pub fn wait(mut self) -> Output {
        let begin = Moment::now();
        let mut next_reaping = Instant::now() + Duration::from_millis(200);
        let mut pause = Duration::from_micros(200);
        let ended = loop {
            if let Some(ended) = self.look() {
                break ended;
            }
            if begin.elapsed() > crate::patience(self.deadline) {
                self.put_down();
                panic!("no end within {:?}: {}\n{}", self.deadline, self.shown.join(" "), self.collect(None));
            }
            // As conmon and containerd's shim do all the time: an orphan that nobody reaps keeps its pid namespace from
            // ending, and a long wait may be for just that.
            if Instant::now() > next_reaping {
                reap_orphans();
                next_reaping = Instant::now() + Duration::from_millis(50);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        self.forget();
        self.collect(Some(ended))
    }

    fn collect(&self, ended: Option<(ExitStatus, Duration)>) -> Output {
        let status = ended.map(|(status, _)| status);
        let read = |p: &Path| String::from_utf8_lossy(&fs::read(p).unwrap_or_default()).into_owned();
        let log = self.log.as_deref().map(read).unwrap_or_default();
        Output {
            command: self.shown.join(" "),
            status: status.map_or(-1, |s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0))),
            killed: status.is_some_and(|s| s.signal().is_some()),
            worked: ended.map_or(Duration::ZERO, |(_, worked)| worked),
            stdout: read(&self.out),
            stderr: read(&self.err),
            log,
        }
    }

    fn put_down(&mut self) {
        if self.ended.is_none() {
            // SAFETY: our own child's group; the child is not waited for yet, so its id is not reused.
            unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.forgotten = true;
        EXPECTED.lock().expect("no panic while locked").get_or_insert_default().remove(&self.pid());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.forgotten {
            self.put_down();
        }
    }
}

/// What a call came to.
#[derive(Clone)]
pub struct Output {
    pub command: String,
    /// 128+n when the runtime itself died of a signal.
    pub status: i32,
    pub killed: bool,
    /// The processor time of the call and of whom it waited for, which does not depend on who else is at work.
    pub worked: Duration,
    pub stdout: String,
    pub stderr: String,
    pub log: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "$ {}\nstatus {}\n--- stdout\n{}\n--- stderr\n{}\n--- log\n{}",
            self.command, self.status, self.stdout, self.stderr, self.log
        )
    }
}

impl Output {
    /// Must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert!(self.status == status, "expected status {status}:\n{self}");
        self
    }

    /// stdout as the JSON document that it must be, and nothing on stderr.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.stderr.is_empty(), "stderr should be empty:\n{self}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is no JSON, {e}:\n{self}"))
    }

    /// The first line of stdout as JSON.
    #[track_caller]
    pub fn facts(&self) -> Value {
        let line = self.stdout.lines().next().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("no facts on stdout, {e}:\n{self}"))
    }

    /// Every object in the log; each line must be one.
    #[track_caller]
    pub fn log_entries(&self) -> Vec<Value> {
        let parse =
            |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in log line {l}:\n{self}"));
        self.log.lines().map(parse).collect()
    }

    /// Must have failed as a runtime fails: status 1, nothing on stdout, one line on stderr, and the same text as `msg`
    /// of the only error in the log. All of `parts` must occur in it. Returns the message.
    #[track_caller]
    pub fn fails(&self, parts: &[&str]) -> String {
        assert!(self.status == 1, "expected status 1:\n{self}");
        self.complains(parts)
    }

    /// As [`Output::fails`], whatever the status (a hint for calls whose status is the payload's).
    #[track_caller]
    pub fn complains(&self, parts: &[&str]) -> String {
        assert!(!self.killed && self.status != 0, "expected an orderly failure:\n{self}");
        let lines: Vec<&str> = self.stderr.lines().filter(|l| !l.is_empty()).collect();
        assert!(lines.len() == 1, "expected one line on stderr:\n{self}");
        let message = lines[0].to_string();
        let errors: Vec<Value> = self.log_entries().into_iter().filter(|e| e["level"] == "error").collect();
        assert!(errors.len() == 1, "expected one error in the log:\n{self}");
        let logged = errors[0]["msg"].as_str().unwrap_or_default();
        assert_eq!(logged.trim_end(), message.trim_end(), "log and stderr should say the same");
        assert!(
            is_rfc3339(errors[0]["time"].as_str().unwrap_or_default()),
            "time should be RFC 3339:\n{self}"
        );
        for part in parts {
            let found = message.to_lowercase().contains(&part.to_lowercase());
            assert!(found, "{part:?} should be in the message:\n{self}");
        }
        message
    }
}

/// `2026-11-21T12:00:00Z`, with any fraction and any offset.
pub fn is_rfc3339(text: &str) -> bool {
    let b = text.as_bytes();
    let shape = |i: usize, c: u8| b.get(i) == Some(&c);
    let digits = |r: std::ops::Range<usize>| b.get(r).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    let zone = text.ends_with('Z') || text.get(19..).is_some_and(|t| t.contains('+') || t.contains('-'));
    digits(0..4)
        && shape(4, b'-')
        && digits(5..7)
        && shape(7, b'-')
        && digits(8..10)
        && shape(10, b'T')
        && digits(11..13)
        && shape(13, b':')
        && digits(14..16)
        && shape(16, b':')
        && digits(17..19)
        && zone
}

/// Writes a program. While another test's child is between fork and execve it would have the file open for writing, too, and
/// the kernel executes none that is: so nobody forks meanwhile.
pub fn executable(at: &Path, text: impl AsRef<[u8]>) {
    let _nobody_forks = EXPECTED.lock().expect("no panic while locked");
    fs::write(at, text).expect("a program");
    fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
}

/// As [`executable`], a copy.
pub fn copy_executable(from: &Path, to: &Path) {
    let _nobody_forks = EXPECTED.lock().expect("no panic while locked");
    fs::copy(from, to).unwrap_or_else(|e| panic!("cannot copy {}: {e}", from.display()));
}

/// Promises that the test itself will wait for this child, which became ours as the nearest subreaper.
pub fn adopt(pid: i32) {
    EXPECTED.lock().expect("no panic while locked").get_or_insert_default().insert(pid);
}

/// Waits for an adopted child: its status as a shell would say it.
pub fn wait_for_adopted(pid: i32) -> i32 {
    let mut status = 0;
    let mut reaped = 0;
    crate::until("the adopted child's end", || {
        // SAFETY: an int to write to.
        reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        reaped != 0
    });
    assert_eq!(reaped, pid, "process {pid} should be our child");
    EXPECTED.lock().expect("no panic while locked").get_or_insert_default().remove(&pid);
    let status = ExitStatus::from_raw(status);
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Reaps every dead orphan that became ours.
pub fn reap_orphans() {
    let expected = EXPECTED.lock().expect("no panic while locked");
    let me = std::process::id();
    let children = fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    let others = fs::read_dir(format!("/proc/{me}/task")).into_iter().flatten().flatten();
    let mut pids: Vec<i32> = children.split_whitespace().filter_map(|p| p.parse().ok()).collect();
    for task in others {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        pids.extend(list.split_whitespace().filter_map(|p| p.parse::<i32>().ok()));
    }
    for pid in pids {
        if !expected.as_ref().is_some_and(|e| e.contains(&pid)) {
            // SAFETY: does not block; nobody else waits for this child.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        }
    }
}
