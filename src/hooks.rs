//! Running one hook: the container's state on its standard input, its own process group, a deadline, and the end of
//! what it printed in the error. Source: config.md#posix-platform-hooks; the error texts are runc's.
//!
//! Used by main and, for createContainer and startContainer hooks, by init.

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

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::error::{Context, Error, Kind, OnSys, Result, Stage};
use crate::sys::Errno;
use crate::sys::child::{self, Program, Running};
use crate::sys::process::{Deadline, Exit};

/// A hook, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Absolute.
    pub path: CString,
    /// Never empty.
    pub argv: Vec<CString>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<CString>,
    /// `None`: waits as long as it takes.
    pub timeout: Option<Duration>,
}

impl Hook {
    pub fn new(hook: &oci_spec::runtime::Hook) -> Result<Self> {
        let text = |bytes: &[u8], what| {
            CString::new(bytes)
                .map_err(|_| Error::new(Kind::Spec, format!("the {what} of a hook contains a NUL byte")))
        };
        let texts = |list: &Option<Vec<String>>, what| {
            list.iter().flatten().map(|s| text(s.as_bytes(), what)).collect::<Result<Vec<_>>>()
        };
        if !hook.path().is_absolute() {
            let why = format!("the path of a hook must be absolute, not {:?}", hook.path());
            return Err(Error::new(Kind::Spec, why));
        }
        let timeout = match hook.timeout() {
            None => None,
            Some(s @ 1..) => Some(Duration::from_secs(s.unsigned_abs())),
            Some(s) => {
                return Err(Error::new(
                    Kind::Spec,
                    format!("the timeout of a hook must be greater than zero, not {s}"),
                ));
            }
        };
        let path = text(hook.path().as_os_str().as_bytes(), "path")?;
        let mut argv = texts(hook.args(), "arguments")?;
        if argv.is_empty() {
            argv.push(path.clone());
        }
        Ok(Self { path, argv, env: texts(hook.env(), "environment")?, timeout })
    }
}

/// Can there be hooks of these kinds in this text? Most configurations have none, and need not be parsed again for them.
/// In JSON a name may be written with escapes.
pub fn may_be_in(config: &[u8], kinds: &[&str]) -> bool {
    let names = |text: &str| text.contains("\\u") || kinds.iter().any(|kind| text.contains(kind));
    std::str::from_utf8(config).ok().is_none_or(names)
}

/// Runs the hooks of one kind ("createRuntime") in their order, where we are, until one fails.
pub fn run_all(kind: &str, hooks: &[Hook], state: &[u8]) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(i, hook)| {
        run(hook, state, &format!("{kind} hook #{i}")).map_err(|e| e.pointer(format!("/hooks/{kind}/{i}")))
    })
}

/// Runs a hook where we are. `what`: "createRuntime hook #0".
pub fn run(hook: &Hook, state: &[u8], what: &str) -> Result<()> {
    run_in(hook, None, state, what)
}

/// Runs a hook in the directory `cwd`.
pub fn run_in(hook: &Hook, cwd: Option<BorrowedFd<'_>>, state: &[u8], what: &str) -> Result<()> {
    start_and_wait(hook, cwd, state)
        // What runc leaves out: which of the machine's programs it was.
        .map_err(
            |e| if e.object().is_none() { e.within(hook.path.to_string_lossy().into_owned()) } else { e },
        )
        .map_err(|e| e.at_stage(Stage::Hook))
        .within_with(|| format!("error running {what}"))
}

/// How long hooks with these timeouts may take altogether, and `more`; none where one of them is not bounded.
pub fn patience(timeouts: impl IntoIterator<Item = Option<Duration>>, more: Duration) -> Option<Duration> {
    // The largest that a configuration can say are more than fit together.
    timeouts.into_iter().try_fold(more, |all, t| Some(all.saturating_add(t?)))
}

/// Runs a program of ours that is no hook: nothing on its standard input, and what it said in the error.
pub fn program(program: &Hook) -> Result<()> {
    start_and_wait(program, None, &[])
}

fn start_and_wait(hook: &Hook, cwd: Option<BorrowedFd<'_>>, state: &[u8]) -> Result<()> {
    let path = || hook.path.to_string_lossy().into_owned();
    let deadline = hook.timeout.map_or(Deadline::never(), Deadline::after);
    let _signals = child::Signals::of_a_parent().on("set signals for", "a hook")?;
    let program = Program { path: &hook.path, argv: &hook.argv, env: &hook.env, cwd };
    let Running { child, stdin, stdout, stderr, report } = child::start(&program).on("start", path())?;

    let mut state = Feed { to: Some(stdin), rest: state };
    let (mut out, mut err) = (Tail::of(stdout), Tail::of(stderr));
    let mut report = Some(report);
    state.go_on();
    loop {
        let wanted = [
            (Some(child.pidfd()), false),
            (report.as_ref().map(AsFd::as_fd), false),
            (out.fd(), false),
            (err.fd(), false),
            (state.fd(), true),
        ];
        let Some([ended, word, o, e, s]) = child::poll(wanted, deadline).on("wait for", path())? else {
            child.kill_group();
            let seconds = hook.timeout.unwrap_or_default().as_secs_f64();
            let mut why = format!("hook ran past specified timeout of {seconds:.1}s");
            if out.drain() | err.drain() {
                why.push_str(&format!(", stdout: {out}, stderr: {err}"));
            }
            // A process that hangs in the kernel dies when the kernel lets it; we have a promise to keep.
            match child::poll([(Some(child.pidfd()), false)], Deadline::after(GRACE)) {
                Ok(Some(_)) => drop(child),
                _ => child.abandon(),
            }
            return Err(Error::new(Kind::Timeout, why));
        };
        if word && let Some(fd) = report.take() {
            let mut errno = [0; 4];
            if child::read(fd, &mut errno) == Ok(errno.len()) {
                return Err(Error::sys("fork/exec", path(), Errno::from_raw(i32::from_ne_bytes(errno))));
            }
        }
        if s {
            state.go_on();
        }
        // Their end is not waited for: what the hook leaves running may keep them open.
        if o || ended {
            out.drain();
        }
        if e || ended {
            err.drain();
        }
        if ended {
            let how = match child.reap().on("wait for", path())? {
                Exit::Code(0) => return Ok(()),
                Exit::Code(n) => format!("exit status {n}"),
                Exit::Signal(n) => format!("signal: {}", signal_text(n)),
            };
            return Err(Error::new(Kind::Failed, format!("{how}, stdout: {out}, stderr: {err}")));
        }
    }
}

/// How long a killed hook may take to go.
const GRACE: Duration = Duration::from_secs(2);

/// What is still to be written to a pipe.
struct Feed<'a> {
    to: Option<OwnedFd>,
    rest: &'a [u8],
}

impl Feed<'_> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().map(AsFd::as_fd)
    }

    /// Writes what fits; closes at the end, or when nobody reads: a hook need not.
    fn go_on(&mut self) {
        while let (Some(fd), false) = (&self.to, self.rest.is_empty()) {
            match child::write(fd, self.rest) {
                Ok(n) => self.rest = self.rest.get(n..).unwrap_or_default(),
                Err(Errno::EAGAIN) => return,
                Err(_) => break,
            }
        }
        self.to = None;
    }
}

/// The end of what came out of a pipe.
struct Tail {
    from: Option<OwnedFd>,
    kept: Vec<u8>,
    cut: bool,
}

impl Tail {
    const KEEP: usize = 1024;

    fn of(from: OwnedFd) -> Self {
        Self { from: Some(from), kept: Vec::new(), cut: false }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there now, but no more than a full pipe: a writer may never stop. True when anything was kept.
    fn drain(&mut self) -> bool {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            let Some(fd) = &self.from else { break };
            match child::read(fd, &mut buffer) {
                Ok(n @ 1..) => {
                    self.kept.extend(buffer.iter().take(n));
                    let excess = self.kept.len().saturating_sub(Self::KEEP);
                    self.cut |= excess > 0;
                    self.kept.drain(..excess);
                }
                Err(Errno::EAGAIN) => break,
                Ok(_) | Err(_) => self.from = None,
            }
        }
        !self.kept.is_empty()
    }
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.cut {
            f.write_str("[...]")?;
        }
        f.write_str(String::from_utf8_lossy(&self.kept).trim_end())
    }
}

/// Go's words, which runc prints.
fn signal_text(n: i32) -> String {
    const WORDS: [&str; 15] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
    ];
    let word = n.checked_sub(1).and_then(|i| WORDS.get(usize::try_from(i).ok()?));
    word.map_or_else(|| format!("signal {n}"), |w| (*w).to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_largest_timeouts_together_are_for_ever() {
        let (most, second) = (Some(Duration::from_secs(i64::MAX as u64)), Some(Duration::from_secs(1)));
        assert_eq!(patience([most, most, most], Duration::from_secs(5)), Some(Duration::MAX));
        assert_eq!(patience([second, second], Duration::from_secs(5)), Some(Duration::from_secs(7)));
        assert_eq!(patience([second, None], Duration::from_secs(5)), None);
        assert!(!Deadline::after(Duration::MAX).passed());
    }

    use std::time::Instant;

    use super::*;

    #[test]
    fn which_configurations_are_read_again() {
        for (text, want) in [
            (r#"{"hooks":{"poststop":[]}}"#, true),
            (r#"{"hooks":{"post\u0073top":[]}}"#, true),
            (r#"{"hooks":{"startContainer":[]}}"#, true),
            (r#"{"hooks":{"poststart":[]},"annotations":{"a":"\n"}}"#, false),
            ("", false),
        ] {
            assert_eq!(may_be_in(text.as_bytes(), &["startContainer", "poststop"]), want, "{text}");
        }
        assert!(may_be_in(b"\"\xff\"", &["poststop"]), "whoever reads it leniently");
    }

    fn hook(json: serde_json::Value) -> Hook {
        let spec: oci_spec::runtime::Hook = serde_json::from_value(json).unwrap();
        Hook::new(&spec).unwrap()
    }

    fn sh(script: &str) -> Hook {
        hook(
            serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}),
        )
    }

    fn within(seconds: u64, hook: Hook) -> Hook {
        Hook { timeout: Some(Duration::from_secs(seconds)), ..hook }
    }

    fn text(hook: &Hook, state: &[u8]) -> String {
        run(hook, state, "createRuntime hook #0").map_or_else(|e| e.to_string(), |()| "fine".into())
    }

    /// What a hook prints; it must fail to be heard.
    fn printed(hook: &Hook, state: &[u8]) -> String {
        // An error is one line.
        let text = text(hook, state).replace("\\n", "\n").replace("\\t", "\t");
        let text = text.split_once("stdout: ").unwrap().1;
        text.rsplit_once(", stderr: ").unwrap().0.to_owned()
    }

    #[test]
    fn success_failure_and_runcs_words() {
        assert_eq!(text(&hook(serde_json::json!({"path": "/bin/true"})), b"{}"), "fine");
        assert_eq!(
            text(&hook(serde_json::json!({"path": "/bin/false"})), b"{}"),
            "error running createRuntime hook #0: /bin/false: exit status 1, stdout: , stderr: "
        );
        assert_eq!(
            text(&sh("echo out; echo err >&2; exit 3"), b"{}"),
            "error running createRuntime hook #0: /bin/sh: exit status 3, stdout: out, stderr: err"
        );
        assert!(text(&sh("kill -9 $$"), b"").contains(": signal: killed, stdout: "));
        assert!(text(&sh("kill -USR1 $$"), b"").contains(": signal: user defined signal 1, "));
    }

    #[test]
    fn what_cannot_be_executed_is_an_error_of_exec() {
        let no = |path: &str| text(&hook(serde_json::json!({"path": path})), b"{}");
        let prefix = "error running createRuntime hook #0: fork/exec";
        assert!(no("/nope").starts_with(&format!("{prefix} /nope: no such file or directory")));
        assert!(no("/etc/passwd").starts_with(&format!("{prefix} /etc/passwd: permission denied")));
        assert!(no("/etc").starts_with(&format!("{prefix} /etc: permission denied")));
        let e = run(&hook(serde_json::json!({"path": "/nope"})), b"", "poststop hook #1").unwrap_err();
        assert_eq!((e.stage(), e.errno()), (Stage::Hook, Some(Errno::ENOENT)));
    }

    #[test]
    fn the_state_comes_whole_and_ends() {
        let state = vec![b'x'; 2 << 20];
        assert_eq!(printed(&sh("wc -c; exit 1"), &state), (2 << 20).to_string());
        assert_eq!(printed(&sh("cat; exit 1"), b"{\"id\":\"c1\"}"), "{\"id\":\"c1\"}");
    }

    #[test]
    fn a_hook_need_not_read() {
        let state = vec![b'x'; 2 << 20];
        assert_eq!(text(&hook(serde_json::json!({"path": "/bin/true"})), &state), "fine");
        assert_eq!(text(&sh("exec <&-; sleep 0.1"), &state), "fine");
        assert_eq!(text(&sh("sleep 0.1"), &state), "fine");
    }

    /// Longer than any machine takes for the rest, and half of what those sleep who must not be waited for.
    const LONG: Duration = Duration::from_secs(300);

    /// A sleep of that many seconds, and of a little more by which it is known among all processes.
    fn sleep(mark: u32) -> String {
        format!("sleep 600.{}{mark}", std::process::id())
    }

    fn sleepers(mark: u32) -> Vec<i32> {
        let found =
            std::process::Command::new("/usr/bin/pgrep").args(["-f", &format!("^{}$", sleep(mark))]).output();
        String::from_utf8(found.unwrap().stdout).unwrap().lines().map(|l| l.parse().unwrap()).collect()
    }

    /// Who was killed needs a processor to see it.
    fn end_of_sleepers(mark: u32) {
        let start = Instant::now();
        while !sleepers(mark).is_empty() {
            assert!(start.elapsed() < LONG, "{} lives on", sleep(mark));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_deadline_takes_the_whole_group() {
        let start = Instant::now();
        let script = format!("echo begun; {0} & {0}", sleep(1));
        let text = text(&within(1, sh(&script)), &vec![b'x'; 1 << 20]);
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(1) && took < LONG, "{took:?}");
        // A machine may take the second for itself: the hook has not begun then.
        let [before, after] = ["begun", ""].map(|out| {
            format!("error running createRuntime hook #0: /bin/sh: hook ran past specified timeout of 1.0s, stdout: {out}, stderr: ")
        });
        assert!([&before, &after].contains(&&text), "{text}");
        end_of_sleepers(1);
    }

    #[test]
    fn a_hook_that_left_its_group_dies_too() {
        let start = Instant::now();
        let sleep = sleep(2);
        let alone = hook(serde_json::json!({
            "path": "/usr/bin/setsid", "args": ["setsid", "--fork", "--wait", "sleep", &sleep[6..]]
        }));
        assert!(text(&within(1, alone), b"").contains("hook ran past specified timeout of 1.0s"));
        assert!(start.elapsed() < LONG);
        for pid in sleepers(2) {
            let _ = crate::sys::process::kill(pid, crate::sys::signal::SIGKILL);
        }
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_is_not_waited_for() {
        let start = Instant::now();
        let daemon = format!("setsid {} &", sleep(3));
        assert_eq!(text(&sh(&format!("{daemon} exit 0")), b"{}"), "fine");
        assert!(text(&sh(&format!("{daemon} echo bad; exit 1")), b"{}").ends_with("stdout: bad, stderr: "));
        assert!(start.elapsed() < LONG);
        // Both outlive their hooks, or are still to come.
        let mut ended = 0;
        while ended < 2 {
            assert!(start.elapsed() < LONG, "{ended} daemons");
            for pid in sleepers(3) {
                ended += usize::from(crate::sys::process::kill(pid, crate::sys::signal::SIGKILL).is_ok());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[test]
    fn much_output_neither_blocks_nor_floods() {
        let told = printed(&within(600, sh("seq 1 300000; exit 1")), b"{}");
        assert!(told.starts_with("[...]") && told.ends_with("300000") && told.len() <= 1024 + 5, "{told}");
        // It ends when nobody reads any more.
        let endless = sh("setsid timeout 600 yes & exit 1");
        let start = Instant::now();
        assert!(text(&endless, b"").contains("exit status 1"));
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn environment_arguments_directory_and_descriptors_are_exact() {
        let env = hook(serde_json::json!({"path": "/usr/bin/env", "args": ["env", "-"], "env": ["A=1"]}));
        assert_eq!(text(&env, b""), "fine");
        let show = |args: &[&str], env: &[&str]| {
            printed(&hook(serde_json::json!({"path": "/bin/sh", "args": args, "env": env})), b"")
        };
        let dump = "tr '\\0' '\\n' < /proc/self/environ; exit 1";
        assert_eq!(
            show(&["sh", "-c", &format!("PATH=/bin:/usr/bin; {dump}")], &["B=2", "PATH=/x"]).lines().next(),
            Some("B=2")
        );
        let none = printed(
            &hook(serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c",
            "/usr/bin/wc -c < /proc/$$/environ; exit 1"]})),
            b"",
        );
        assert_eq!(none, "0");
        // The directory that lists itself is one more.
        let _extra = crate::sys::fs::open_dir("/").unwrap();
        assert_eq!(printed(&sh("ls /proc/self/fd | tr '\\n' ' '; exit 1"), b""), "0 1 2 3");
        let tmp = crate::sys::fs::open_dir("/usr").unwrap();
        let e = run_in(&sh("pwd; exit 1"), Some(tmp.as_fd()), b"", "poststop hook #0").unwrap_err();
        assert!(e.to_string().contains("stdout: /usr, "), "{e}");
    }

    #[test]
    fn signals_are_at_their_defaults() {
        let told = printed(&sh("grep -E '^Sig(Blk|Ign)' /proc/self/status; exit 1"), b"");
        let sets: Vec<_> = told.lines().map(|l| u64::from_str_radix(&l[8..], 16).unwrap()).collect();
        // 32 and 33 belong to the C library, which lets nobody touch them.
        assert_eq!((sets[0], sets[1] & !(0b11 << 31)), (0, 0), "{told}");
    }

    #[test]
    fn leads_a_process_group_of_its_own() {
        let told = printed(&sh("cut -d' ' -f5 /proc/$$/stat; echo $$; exit 1"), b"");
        let (group, pid) = told.split_once('\n').unwrap();
        assert_eq!(group, pid);
    }

    #[test]
    fn refused_hooks() {
        for (json, want) in [
            (serde_json::json!({"path": "bin/true"}), "must be absolute"),
            (serde_json::json!({"path": "/bin/true", "timeout": 0}), "greater than zero"),
            (serde_json::json!({"path": "/bin/true", "timeout": -1}), "greater than zero"),
            (serde_json::json!({"path": "/bin/true", "args": ["a\u{0}b"]}), "NUL byte"),
        ] {
            let spec: oci_spec::runtime::Hook = serde_json::from_value(json).unwrap();
            assert!(Hook::new(&spec).unwrap_err().to_string().contains(want));
        }
    }
}
