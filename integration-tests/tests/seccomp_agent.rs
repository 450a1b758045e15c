//! SCMP_ACT_NOTIFY: an agent is given the filter's listener, for create, run and exec; whatever it then does or does not,
//! nobody waits long.

use integration_tests::*;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

const MKDIR: &str = "83";
const BOUND: Duration = Duration::from_secs(20);
fn notifying(names: &[&str], agent: &Path) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "listenerPath": agent,
        "listenerMetadata": "bar",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

fn bundle<'c>(t: &'c Case, names: &[&str], agent: &Path) -> Bundle<'c> {
    let mut b = t.bundle();
    b.set("/linux/seccomp", notifying(names, agent));
    b
}

/// ENOMEDIUM is nobody else's answer.
fn no_medium(call: i64) -> Reply {
    if call == 83 { Reply::Errno(libc::ENOMEDIUM) } else { Reply::Continue }
}

fn at_once(t: &Case, policy: impl Fn(i64) -> Reply + Send + 'static) -> Agent {
    Agent::serve(&t.path("agent"), Duration::ZERO, policy)
}

fn exec(t: &Case, c: &Container, flags: &[&str], words: &[&str]) -> Output {
    t.call(["exec"]).args(flags).args([&c.id]).args(words).run()
}

#[track_caller]
fn in_time<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let start = Moment::now();
    let value = f();
    // What an agent may take at most to make a command fail is three seconds; those who cannot go on wait for two minutes.
    assert!(start.elapsed() < patience(BOUND), "{what} took {:?}", start.elapsed());
    value
}

/// The agent's word is what the program sees, with and without no_new_privs.
#[test]
fn an_agent_answers() {
    check(|t| {
        for nnp in [true, false] {
            let agent = at_once(t, |_| Reply::Errno(libc::ENOMEDIUM));
            let mut b = bundle(t, &["mkdir"], &agent.path);
            b.set("/process/noNewPrivileges", nnp);
            assert_eq!(b.act(&["syscalls", MKDIR]), json!({"83": {"errno": "errno 123"}}));
            let agent = at_once(t, |_| Reply::Value(7));
            let mut b = bundle(t, &["mkdir"], &agent.path);
            b.set("/process/noNewPrivileges", nnp);
            assert_eq!(b.act(&["syscalls", MKDIR]), json!({"83": 7}));
            assert_eq!(agent.calls(), [83]);
        }
    });
}

/// Spec: runtime-linux, "The Container Process State".
#[test]
fn what_it_is_told() {
    check(|t| {
        let agent = at_once(t, no_medium);
        let mut b = bundle(t, &["mkdir"], &agent.path);
        b.set("/annotations", json!({"org.example.key": "value"}));
        b.probe(&["wait"]);
        let c = b.create();
        // While it is created.
        let told = &agent.told(1)[0];
        assert_eq!(told["ociVersion"], "1.3.0");
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!(told["metadata"], "bar");
        assert_eq!(told["pid"], c.pid());
        let state = &told["state"];
        assert_eq!(state["id"], c.id.as_str());
        assert_eq!(state["status"], "creating");
        assert_eq!(state["pid"], c.pid());
        assert_eq!(state["bundle"], json!(b.dir));
        assert_eq!(state["annotations"]["org.example.key"], "value");
        c.start();
        c.wait_for("ready");

        let pid_file = t.path("pid");
        let out =
            exec(t, &c, &["--detach", "--pid-file", pid_file.to_str().unwrap()], &["/bin/sleep", "1000"]);
        out.ok();
        let told = &agent.told(2)[1];
        assert_eq!(told["pid"].to_string(), fs::read_to_string(&pid_file).unwrap());
        assert_eq!((&told["state"]["status"], &told["state"]["pid"]), (&json!("running"), &json!(c.pid())));
        assert_eq!((&told["metadata"], &told["fds"]), (&json!("bar"), &json!(["seccompFd"])));
        c.delete_force();
    });
}

#[test]
fn for_exec_too() {
    check(|t| {
        for nnp in [true, false] {
            let agent = at_once(t, no_medium);
            let mut b = bundle(t, &["mkdir"], &agent.path);
            b.set("/process/noNewPrivileges", nnp);
            let c = b.up(&["wait"]);
            for user in ["0", "1000"] {
                let told = exec(t, &c, &["--user", user], &["/probe", "syscalls", MKDIR]).ok().facts();
                assert_eq!(told, json!({"83": {"errno": "errno 123"}}));
            }
            c.delete_force();
        }
    });
}

/// Calls that the runtime makes itself after the filter is loaded.
#[test]
fn the_runtimes_own_calls() {
    check(|t| {
        for names in [
            &["mkdir", "sendmsg", "recvmsg"][..],
            &["mkdir", "close"],
            &["mkdir", "read"],
            &["mkdir", "execve"],
            &["mkdir", "prctl", "setsid", "clone", "clone3", "poll", "ppoll", "accept4"],
        ] {
            let agent = at_once(t, no_medium);
            let mut b = bundle(t, names, &agent.path);
            let c = in_time("create and start", || b.up(&["wait"]));
            let told = in_time("exec", || exec(t, &c, &[], &["/probe", "syscalls", MKDIR])).ok().facts();
            assert_eq!(told, json!({"83": {"errno": "errno 123"}}), "{names:?}");
            c.delete_force();
        }
    });
}

#[test]
fn an_agent_that_is_slow() {
    check(|t| {
        let agent = Agent::serve(&t.path("agent"), Duration::from_secs(1), no_medium);
        let mut b = bundle(t, &["mkdir"], &agent.path);
        let told = in_time("run", || b.act(&["syscalls", MKDIR]));
        assert_eq!(told, json!({"83": {"errno": "errno 123"}}));
    });
}

/// It may listen and never come for what it is sent: that is for the container to wait for, not for us.
#[test]
fn an_agent_that_never_comes() {
    check(|t| {
        let path = t.path("agent");
        let socket = UnixListener::bind(&path).unwrap();
        let mut b = bundle(t, &["mkdir"], &path);
        b.probe(&["syscalls", MKDIR]);
        let c = in_time("create", || b.create());
        in_time("start", || c.start());
        // The kernel's answer when nobody can answer any more.
        drop(socket);
        c.wait_for("ENOSYS");
        c.delete_force();
    });
}

#[test]
fn an_agent_that_ends() {
    check(|t| {
        let agent = at_once(t, no_medium);
        let mut b = bundle(t, &["mkdir"], &agent.path);
        b.probe(&["syscalls", MKDIR]);
        let c = b.create();
        drop(agent);
        in_time("start", || c.start());
        c.wait_for("ENOSYS");
        c.delete_force();
    });
}

#[test]
fn no_agent() {
    check(|t| {
        let absent = t.path("absent");
        let deaf = t.path("deaf");
        drop(UnixListener::bind(&deaf).unwrap());
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        for path in [&absent, &deaf, &file] {
            let b = bundle(t, &["mkdir"], path);
            let parts = ["seccomp agent specified in the seccomp profile", path.to_str().unwrap()];
            in_time("run", || b.refused(&parts));
            in_time("create", || b.call(&["create"], &t.id()).run().fails(&parts));
            t.nothing_left();
        }
    });
}

/// One that has a full queue of those it does not listen to.
#[test]
fn an_agent_that_does_not_listen() {
    check(|t| {
        let path = t.path("agent");
        let socket = UnixListener::bind(&path).unwrap();
        // As few as the kernel lets: somaxconn may be more than we may have descriptors.
        // SAFETY: two integers; listening already, the socket's queue becomes shorter.
        assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 1) }, 0);
        let mut waiting = Vec::new();
        while let Some(stream) = knock(&path) {
            waiting.push(stream);
            assert!(waiting.len() < 100);
        }
        let b = bundle(t, &["mkdir"], &path);
        in_time("run", || {
            b.refused(&["seccomp agent specified in the seccomp profile", path.to_str().unwrap()])
        });
    });
}

/// A connection, unless the queue is full.
fn knock(path: &Path) -> Option<UnixStream> {
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: three integers; a fresh descriptor comes back.
    let fd = unsafe {
        OwnedFd::from_raw_fd(libc::socket(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        ))
    };
    // SAFETY: all zeroes is a valid address to fill in.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = *from as _;
    }
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: an address and its size.
    let r = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), size) };
    (r == 0).then(|| fd.into())
}

/// exec fails by itself; the container lives on.
#[test]
fn exec_without_its_agent() {
    check(|t| {
        let agent = at_once(t, no_medium);
        let mut b = bundle(t, &["mkdir"], &agent.path);
        let c = b.up(&["wait"]);
        let path = agent.path.clone();
        drop(agent);
        let out = in_time("exec", || exec(t, &c, &[], &["/bin/true"]));
        assert_eq!(out.status, 255, "{out}");
        out.complains(&["seccomp agent specified in the seccomp profile", path.to_str().unwrap()]);
        assert_eq!(c.status(), "running");
        c.delete_force();
    });
}

#[test]
fn refused_as_runc_refuses() {
    check(|t| {
        let agent = t.path("agent");
        let _socket = UnixListener::bind(&agent).unwrap();
        bundle(t, &["write"], &agent).refused(&["SCMP_ACT_NOTIFY cannot be used for the write syscall"]);
        let mut b = bundle(t, &["mkdir"], &agent);
        b.set("/linux/seccomp/defaultAction", "SCMP_ACT_NOTIFY");
        b.refused(&["SCMP_ACT_NOTIFY cannot be used as default action"]);
        let mut b = bundle(t, &["mkdir"], &agent);
        b.remove("/linux/seccomp/listenerPath").remove("/linux/seccomp/listenerMetadata");
        b.refused(&["seccomp listenerPath is not set"]);
    });
}

#[test]
fn with_flags() {
    check(|t| {
        for flags in [
            json!([]),
            json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
            // The kernel refuses this one beside a listener; there is one thread only.
            json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]),
        ] {
            let agent = at_once(t, no_medium);
            let mut b = bundle(t, &["mkdir"], &agent.path);
            b.set("/linux/seccomp/flags", flags);
            assert_eq!(b.act(&["syscalls", MKDIR]), json!({"83": {"errno": "errno 123"}}));
        }
    });
}
