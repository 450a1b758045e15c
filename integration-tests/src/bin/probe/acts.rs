//! What the probe can do besides telling facts. One word each; what happens is printed line by line and flushed.

use crate::facts;
use crate::kernel::{errno_name, last_errno, signal_name, signal_number};
use libc::c_int;
use serde_json::{Value, json};
use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

/// Prints a line at once and survives a reader that is gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
    let _ = std::io::stdout().flush();
}

fn number(word: Option<&&str>) -> i64 {
    word.expect("a number is missing").parse().expect("a number")
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

pub fn perform(act: &str, rest: &[&str], fds: Value) -> i32 {
    match act {
        "exit" => return number(rest.first()) as i32,
        "signal" => kill_self(signal_number(rest[0])),
        "say" => say(&rest.join(" ")),
        "wait" => return wait(),
        "deaf" => deaf(),
        "sleep" => std::thread::sleep(Duration::from_millis(number(rest.first()) as u64)),
        "echo" => return echo(),
        "hook" => return hook(rest[0], rest[1]),
        "family" => family(number(rest.first())),
        "orphan" => orphan(),
        "allocate" => return allocate(number(rest.first()) as usize),
        "threads" => threads(number(rest.first())),
        "forks" => forks(number(rest.first())),
        "mount" => mount(rest),
        "mknod" => mknod(rest),
        "opens" => opens(rest),
        "syscalls" => syscalls(rest),
        "int80" => int80(number(rest.first())),
        "size" => return sizes(),
        "execute" => return execute(rest),
        "keyed" => return keyed(rest),
        "overwrite-exe" => overwrite_exe(),
        "snoop" => snoop(),
        "push" => push(rest[0]),
        "bytes" => return bytes(number(rest.first()) as usize),
        "descriptors" => say(&fds.to_string()),
        "notify" => return notify(rest),
        _ => {
            eprintln!("probe: no act called {act}");
            return 2;
        }
    }
    0
}

/// Tells each word to $NOTIFY_SOCKET, sd_notify(3), then waits. `barrier` is told with a pipe, whose end is waited for;
/// `sleep` lasts a moment.
fn notify(words: &[&str]) -> i32 {
    let path = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    if let Err(e) = socket.connect(&path) {
        say(&format!("cannot connect to {path}: {e}"));
        return 1;
    }
    for word in words {
        match *word {
            "sleep" => std::thread::sleep(Duration::from_millis(300)),
            "barrier" => {
                let (mut ours, theirs) = std::io::pipe().expect("a pipe");
                send_with(&socket, b"BARRIER=1", theirs.into());
                let _ = ours.read(&mut [0]);
                say("barrier passed");
            }
            // A descriptor that is no pipe.
            "barrier-file" => {
                let file = fs::File::open("/probe").expect("our own file");
                send_with(&socket, b"BARRIER=1", file.into());
            }
            message => drop(socket.send(message.as_bytes()).map_err(|e| say(&format!("{message:?}: {e}")))),
        }
    }
    wait()
}

/// sendmsg(2) with a descriptor.
fn send_with(socket: &std::os::unix::net::UnixDatagram, text: &[u8], fd: OwnedFd) {
    use std::os::fd::AsRawFd;
    let mut iov = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    let mut space = [0_u64; 4];
    // SAFETY: a plain C struct for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    // SAFETY: arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    // SAFETY: the control buffer has room for one header and one descriptor.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: as above; aligned as u64.
    unsafe {
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd.as_raw_fd());
    }
    // SAFETY: all that the message points to lives across the call.
    unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
}

fn kill_self(signal: c_int) {
    // SAFETY: default action, no handler; as pid 1 only SIGKILL from outside would kill, which the tests know.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// All catchable signals blocked, to be taken by `sigwait`.
fn block_all() -> libc::sigset_t {
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        all
    }
}

fn next_signal(set: &libc::sigset_t) -> c_int {
    let mut signal = 0;
    // SAFETY: the set is valid, one int is written.
    unsafe { libc::sigwait(set, &raw mut signal) };
    signal
}

/// Says each signal that arrives; TERM and INT end it with status 0 and 130.
fn wait() -> i32 {
    let all = block_all();
    say("ready");
    loop {
        let signal = next_signal(&all);
        say(&format!("signal {}", signal_name(signal)));
        match signal {
            libc::SIGTERM => return 0,
            libc::SIGINT => return 130,
            _ => (),
        }
    }
}

/// Takes note of no signal at all; only SIGKILL helps.
fn deaf() {
    block_all();
    say("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn echo() -> i32 {
    let mut input = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut input);
    i32::from(std::io::stdout().write_all(&input).is_err())
}

/// As a hook: appends one line with the state on stdin and where we are to a file, which `name` marks.
fn hook(file: &str, name: &str) -> i32 {
    let mut input = String::new();
    let _ = std::io::stdin().read_to_string(&mut input);
    let all = facts::all(&[], Value::Null, &[]);
    let state: Value = serde_json::from_str(&input).unwrap_or(Value::String(input));
    let line = json!({
        "hook": name, "state": state, "env": all["env"], "cwd": all["cwd"], "namespaces": all["namespaces"],
        "capabilities": all["capabilities"], "session": all["session"], "cgroups": all["cgroups"],
        "rootHasProbe": fs::metadata("/probe").is_ok(),
    });
    let opened = fs::OpenOptions::new().create(true).append(true).open(file);
    i32::from(opened.and_then(|mut f| f.write_all(format!("{line}\n").as_bytes())).is_err())
}

/// `n` children that hear nothing, each with a session of its own; then waits like them.
fn family(n: i64) {
    block_all();
    for _ in 0..n {
        // SAFETY: one thread, and the child uses nothing but system calls.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: a fresh child is no group leader.
            unsafe { libc::setsid() };
            loop {
                // SAFETY: sleeps.
                unsafe { libc::pause() };
            }
        }
    }
    deaf();
}

/// Leaves a child behind and ends.
fn orphan() {
    block_all();
    // SAFETY: one thread, and the child only sleeps.
    if unsafe { libc::fork() } == 0 {
        loop {
            // SAFETY: sleeps.
            unsafe { libc::pause() };
        }
    }
    say("ready");
}

fn allocate(mib: usize) -> i32 {
    let mut kept = Vec::new();
    for _ in 0..mib {
        kept.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&kept);
    }
    say(&format!("allocated {mib}"));
    0
}

fn threads(n: i64) {
    let mut made = 0;
    for _ in 0..n {
        if std::thread::Builder::new().spawn(|| std::thread::sleep(Duration::from_secs(3600))).is_ok() {
            made += 1;
        }
    }
    say(&format!("threads {made}"));
}

/// Forks until it has `n` sleeping children or may not; says how many, and why it stopped.
fn forks(n: i64) {
    let mut children = Vec::new();
    let mut why = "ok".to_string();
    for _ in 0..n {
        // SAFETY: one thread; the child sleeps.
        match unsafe { libc::fork() } {
            -1 => {
                why = last_errno();
                break;
            }
            0 => loop {
                // SAFETY: sleeps.
                unsafe { libc::pause() };
            },
            pid => children.push(pid),
        }
    }
    say(&format!("forks {} {why}", children.len()));
    for pid in children {
        // SAFETY: our own children.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// `source target type flags(number) data`
fn mount(rest: &[&str]) {
    let [source, target, kind, flags, data] = rest else { panic!("mount wants five words") };
    // SAFETY: NUL-terminated strings.
    let r = unsafe {
        libc::mount(
            c(source).as_ptr(),
            c(target).as_ptr(),
            c(kind).as_ptr(),
            flags.parse().expect("flags"),
            c(data).as_ptr().cast(),
        )
    };
    say(&facts::errno_or(r.into()).to_string());
}

/// `path c|b major minor`, then tries to open it for reading and writing.
fn mknod(rest: &[&str]) {
    let [path, kind, major, minor] = rest else { panic!("mknod wants four words") };
    let kind = if *kind == "b" { libc::S_IFBLK } else { libc::S_IFCHR };
    let device = libc::makedev(major.parse().expect("major"), minor.parse().expect("minor"));
    // SAFETY: NUL-terminated path.
    let made = unsafe { libc::mknod(c(path).as_ptr(), kind | 0o666, device) };
    let made = facts::errno_or(made.into());
    let open = |flags| {
        // SAFETY: NUL-terminated path; the descriptor is ours to close.
        let fd = unsafe { libc::open(c(path).as_ptr(), flags | libc::O_NONBLOCK) };
        if fd < 0 {
            return json!({"errno": last_errno()});
        }
        // SAFETY: just opened.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        json!("ok")
    };
    say(&json!({"made": made, "read": open(libc::O_RDONLY), "write": open(libc::O_WRONLY)}).to_string());
}

/// Opens each `path=r|w=ok|ERRNO` again and again, for ever; says each surprise once, and `round N` ten times a second.
fn opens(rest: &[&str]) {
    let mut told = std::collections::HashSet::new();
    let mut last = std::time::Instant::now();
    for round in 1u64.. {
        for word in rest {
            let mut parts = word.split('=');
            let (path, mode, want) = (parts.next(), parts.next(), parts.next());
            let flags = if mode == Some("w") { libc::O_WRONLY } else { libc::O_RDONLY };
            // SAFETY: NUL-terminated path.
            let fd = unsafe { libc::open(c(path.expect("a path")).as_ptr(), flags | libc::O_NONBLOCK) };
            let came = if fd < 0 { last_errno() } else { "ok".into() };
            if fd >= 0 {
                // SAFETY: just opened.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
            if want != Some(came.as_str()) && told.insert((*word, came.clone())) {
                say(&format!("surprise: {word} is {came} in round {round}"));
            }
        }
        if last.elapsed() > Duration::from_millis(100) {
            last = std::time::Instant::now();
            say(&format!("round {round}"));
        }
    }
}

/// Each word is `number[:arg[:arg…]]`; says each one's result, all in one object.
fn syscalls(rest: &[&str]) {
    let mut all = serde_json::Map::new();
    for word in rest {
        let mut n = word.split(':').map(|w| w.parse::<i64>().expect("a number"));
        let nr = n.next().expect("a system call's number");
        let a: Vec<i64> = n.chain(std::iter::repeat(0)).take(6).collect();
        // SAFETY: the tests choose calls whose arguments are harmless.
        let r = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
        all.insert((*word).to_string(), facts::errno_or(r));
    }
    say(&Value::Object(all).to_string());
}

/// A system call without arguments by its number on i386, through that architecture's own door.
#[cfg(target_arch = "x86_64")]
fn int80(nr: i64) {
    let r: i64;
    // SAFETY: the kernel reads the number and changes nothing but the registers named here.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") nr => r,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    say(&json!({"returned": i64::from(r as i32)}).to_string());
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: i64) {
    say("no such door");
}

/// Says the size of the terminal now and at each SIGWINCH; ends on TERM or INT.
fn sizes() -> i32 {
    let all = block_all();
    loop {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel writes one winsize.
        unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) };
        say(&format!("size {}x{}", size.ws_col, size.ws_row));
        match next_signal(&all) {
            libc::SIGTERM => return 0,
            libc::SIGINT => return 130,
            _ => (),
        }
    }
}

fn execute(rest: &[&str]) -> i32 {
    let words: Vec<CString> = rest.iter().map(|w| c(w)).collect();
    let mut argv: Vec<_> = words.iter().map(|w| w.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: a NULL-terminated array of C strings that outlive the call.
    unsafe { libc::execv(argv[0], argv.as_ptr()) };
    say(&format!("errno {}", last_errno()));
    1
}

/// Executes the rest with a new session keyring that has a key of that name.
fn keyed(rest: &[&str]) -> i32 {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a keyring without a name.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if let Err(e) = facts::keep_key(rest[0]) {
        eprintln!("probe: no key: {e}");
        return 1;
    }
    let e = std::os::unix::process::CommandExt::exec(std::process::Command::new(rest[1]).args(&rest[2..]));
    eprintln!("probe: {}: {e}", rest[1]);
    1
}

/// The attack of CVE-2019-5736: for a second, tries to open for writing every other process's program.
fn overwrite_exe() {
    let until = std::time::Instant::now() + Duration::from_millis(1000);
    let mut outcomes = std::collections::BTreeSet::new();
    while std::time::Instant::now() < until {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            if pid == std::process::id() {
                continue;
            }
            match fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/exe")) {
                Ok(_) => outcomes.insert("opened".to_string()),
                Err(e) => outcomes.insert(errno_name(e.raw_os_error().unwrap_or(0))),
            };
        }
    }
    say(&outcomes.into_iter().collect::<Vec<_>>().join(" "));
}

/// Tries to type this into the terminal that standard input is, and to open the session's own: TIOCSTI of tty_ioctl(4).
fn push(word: &str) {
    let told = word.bytes().map(|b| {
        // SAFETY: one byte is read.
        facts::errno_or(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const b) }.into())
    });
    let told = told.fold(Value::Null, |_, told| told);
    // SAFETY: asks only.
    let leads = unsafe { libc::getsid(0) == libc::getpid() };
    let tty = fs::File::open("/dev/tty")
        .map_or_else(|e| facts::errno_or(-i64::from(e.raw_os_error().unwrap_or(1))), |_| json!("ok"));
    say(&format!("pushed {} tty {} {}", told, tty, if leads { "leader" } else { "follower" }));
}

/// Until TERM: looks at every process but itself. What leads out of the root file system is told at the end, and whose
/// program is none of ours; both empty is what should be.
fn snoop() {
    let mut outside = std::collections::BTreeSet::new();
    let mut runtime = std::collections::BTreeSet::new();
    let mut weak = std::collections::BTreeSet::new();
    let mut looked = 0_u64;
    let all = block_all();
    let here = |path: &str| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let (root, ours) = (here("/"), [here("/probe"), here("/bin/busybox")]);
    say("ready");
    while !is_pending(libc::SIGTERM) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            if pid == std::process::id() {
                continue;
            }
            looked += 1;
            let at = |name: &str| format!("/proc/{pid}/{name}");
            weak.extend(weaknesses(&fs::read_to_string(at("status")).unwrap_or_default()));
            if here(&at("root")).is_some_and(|r| Some(r) != root) {
                outside.insert("root".to_string());
            }
            let beyond = |p: std::path::PathBuf| p.to_string_lossy().starts_with("(unreachable)");
            if fs::read_link(at("cwd")).is_ok_and(beyond) || leads_out(&at("cwd")) {
                outside.insert("cwd".to_string());
            }
            for fd in fs::read_dir(at("fd")).into_iter().flatten().flatten() {
                if leads_out(&fd.path().to_string_lossy()) {
                    outside.insert(format!("fd {}", fs::read_link(fd.path()).unwrap_or_default().display()));
                }
            }
            if here(&at("exe")).is_some_and(|e| !ours.contains(&Some(e))) {
                runtime.insert("exe".to_string());
                if fs::File::open(at("mem")).is_ok() {
                    runtime.insert("mem".to_string());
                }
            }
        }
    }
    next_signal(&all);
    say(&json!({"looked": looked, "outside": outside, "runtime": runtime, "weak": weak}).to_string());
}

/// What a process has, by its /proc/PID/status, that a program in the container must not have.
fn weaknesses(status: &str) -> impl Iterator<Item = &'static str> {
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let has_admin = |caps: &str| u64::from_str_radix(caps, 16).is_ok_and(|c| c & 1 << 21 != 0);
    let admin = ["CapPrm:", "CapEff:"].into_iter().filter_map(field).any(has_admin);
    let unfiltered = field("Seccomp:") == Some("0");
    [(admin, "CAP_SYS_ADMIN"), (unfiltered, "no filter")].into_iter().filter(|(is, _)| *is).map(|(_, w)| w)
}

/// A directory from which our own program is not to be seen; held while it is looked at.
fn leads_out(path: &str) -> bool {
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    opened.is_ok_and(|dir| {
        dir.metadata().is_ok_and(|m| m.is_dir())
            && fs::metadata(format!("/proc/self/fd/{}/probe", dir.as_raw_fd())).is_err()
    })
}

fn is_pending(signal: c_int) -> bool {
    // SAFETY: the kernel writes one set, which is then looked at.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&raw mut set);
        libc::sigismember(&raw const set, signal) == 1
    }
}

fn bytes(n: usize) -> i32 {
    let line = [b'x'; 4096];
    let mut left = n;
    while left > 0 {
        let take = left.min(line.len());
        if std::io::stdout().write_all(&line[..take]).is_err() {
            return 1;
        }
        left -= take;
    }
    0
}
