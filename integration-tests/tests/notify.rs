//! NOTIFY_SOCKET: what the container says of itself reaches the service manager.

use integration_tests::*;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A service manager, as far as it listens.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(t: &Case) -> Self {
        let path = t.path("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(patience(LONG))).unwrap();
        Manager { socket, path }
    }

    fn address(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The next message. A descriptor that came along is closed: that is the answer to a barrier.
    fn hears(&self) -> String {
        let mut buf = [0; 4096];
        let n = self.socket.recv(&mut buf).unwrap_or_else(|e| panic!("nothing heard: {e}"));
        String::from_utf8_lossy(&buf[..n]).trim_end().to_string()
    }

    fn hears_nothing_more(&self) {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut buf = [0; 4096];
        if let Ok(n) = self.socket.recv(&mut buf) {
            panic!("heard {:?}", String::from_utf8_lossy(&buf[..n]));
        }
    }
}

#[test]
fn run_detached_ends_when_it_is_ready() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["notify", "sleep", "READY=1"]);
        let (id, out) = (t.id(), t.path("out"));
        let begin = Instant::now();
        let call = b.call(&["run", "--detach"], &id).env("NOTIFY_SOCKET", manager.address());
        let call = call.stdout(std::fs::File::create(&out).unwrap()).spawn();
        assert_eq!(manager.hears(), "READY=1");
        assert!(begin.elapsed() >= Duration::from_millis(300));
        let main = manager.hears();
        assert_eq!(manager.hears(), "BARRIER=1");
        call.wait().ok();
        let pid = &t.rt(&["state", &id]).ok().json()["pid"];
        assert_eq!(main, format!("MAINPID={pid}"));
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
    });
}

#[test]
fn start_ends_when_it_is_ready() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["notify", "sleep", "READY=1"]);
        let id = t.id();
        let out = std::fs::File::create(t.path("out")).unwrap();
        b.call(&["create"], &id).env("NOTIFY_SOCKET", manager.address()).stdout(out).run().ok();
        let begin = Instant::now();
        let call = t.call(["start", &id]).env("NOTIFY_SOCKET", manager.address()).spawn();
        let heard = [manager.hears(), manager.hears(), manager.hears()];
        call.wait().ok();
        assert!(begin.elapsed() >= Duration::from_millis(300));
        let pid = &t.rt(&["state", &id]).ok().json()["pid"];
        assert_eq!(heard, ["READY=1".to_string(), format!("MAINPID={pid}"), "BARRIER=1".to_string()]);
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
    });
}

/// We are the main process then, and go on until the end.
#[test]
fn run_in_the_foreground() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["notify", "READY=1"]);
        let call = b.call(&["run"], &t.id()).env("NOTIFY_SOCKET", manager.address()).spawn();
        assert_eq!(manager.hears(), "READY=1");
        assert_eq!(manager.hears(), format!("MAINPID={}", call.pid()));
        call.wait_for("ready");
        call.signal(libc::SIGTERM);
        call.wait().ok();
        t.nothing_left();
    });
}

/// A container that is never ready does not hold start up for longer than it lives.
#[test]
fn it_ends_before_it_is_ready() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["exit", "3"]);
        let call = b.call(&["run", "-d"], &t.id()).env("NOTIFY_SOCKET", manager.address());
        call.run().ok();
        let id = t.id();
        let out = std::fs::File::create(t.path("out")).unwrap();
        b.call(&["create"], &id).env("NOTIFY_SOCKET", manager.address()).stdout(out).run().ok();
        t.call(["start", &id]).env("NOTIFY_SOCKET", manager.address()).run().ok();
        manager.hears_nothing_more();
    });
}

/// While start waits, the container is everybody's.
#[test]
fn start_holds_nobody_up() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let id = t.id();
        let out = std::fs::File::create(t.path("out")).unwrap();
        b.call(&["create"], &id).env("NOTIFY_SOCKET", manager.address()).stdout(out).run().ok();
        let call = t.call(["start", &id]).env("NOTIFY_SOCKET", manager.address()).spawn();
        until("running", || t.rt(&["state", &id]).json()["status"] == "running");
        for words in [&["pause", &id][..], &["update", "--pids-limit", "50", &id], &["resume", &id]] {
            t.rt(words).ok();
        }
        let begin = Moment::now();
        t.rt(&["delete", "--force", &id]).ok();
        begin.within(PROMPT);
        call.wait().ok();
        t.nothing_left();
    });
}

#[test]
fn what_the_container_sees() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.set("/process/env/-", "NOTIFY_SOCKET=/elsewhere");
        b.probe(&["facts", "create=/run/notify/mine", "list=/run/notify"]);
        let out = b.call(&["run"], &t.id()).env("NOTIFY_SOCKET", manager.address()).run();
        let facts = out.ok().facts();
        let mount = mount_at(&facts, "/run/notify").unwrap();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(words(&mount["options"]).contains(&option), "{mount}");
        }
        assert_eq!(
            facts["asked"]["create=/run/notify/mine"]["errno"].as_str(),
            Some("EROFS"),
            "{}",
            facts["asked"]
        );
        assert_eq!(facts["asked"]["list=/run/notify"], json!(["notify.sock"]));
        let named = |e: &&str| e.starts_with("NOTIFY_SOCKET=");
        let env: Vec<&str> = words(&facts["env"]).into_iter().filter(named).collect();
        assert_eq!(env, ["NOTIFY_SOCKET=/run/notify/notify.sock"]);
    });
}

#[test]
fn without_a_manager_there_is_nothing() {
    check(|t| {
        let mut b = t.bundle();
        let facts = b.facts(&[]);
        assert!(mount_at(&facts, "/run/notify").is_none());
        assert!(!words(&facts["env"]).iter().any(|e| e.starts_with("NOTIFY_SOCKET=")));
    });
}

/// Whatever the container says, it cannot make another process the service's, or leave descriptors with the manager.
#[test]
fn only_what_a_container_may_say() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["notify", "MAINPID=1", "FDSTORE=1", "NOTIFYACCESS=all", "READY=1\nMAINPID=1\nFDSTORE=1"]);
        let (id, out) = (t.id(), std::fs::File::create(t.path("out")).unwrap());
        let call =
            b.call(&["run", "--detach"], &id).env("NOTIFY_SOCKET", manager.address()).stdout(out).spawn();
        assert_eq!(manager.hears(), "READY=1");
        let main = manager.hears();
        assert_ne!(main, "MAINPID=1");
        assert_eq!(manager.hears(), "BARRIER=1");
        call.wait().ok();
        manager.hears_nothing_more();
        t.rt(&["delete", "--force", &id]).ok();
    });
}

/// In the foreground all of a service's life is passed on, and a barrier with its descriptor.
#[test]
fn reloading_and_a_barrier() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["notify", "READY=1\nSTATUS=up", "RELOADING=1\nMONOTONIC_USEC=5", "barrier", "STOPPING=1"]);
        let call = b.call(&["run"], &t.id()).env("NOTIFY_SOCKET", manager.address()).spawn();
        assert_eq!(manager.hears(), "READY=1\nSTATUS=up");
        assert_eq!(manager.hears(), format!("MAINPID={}", call.pid()));
        assert_eq!(manager.hears(), "RELOADING=1\nMONOTONIC_USEC=5");
        std::thread::sleep(Duration::from_millis(100));
        assert!(!call.stdout().contains("barrier passed"), "nobody has read it yet");
        assert_eq!(manager.hears(), "BARRIER=1");
        call.wait_for("barrier passed");
        assert_eq!(manager.hears(), "STOPPING=1");
        call.wait_for("ready");
        call.signal(libc::SIGTERM);
        call.wait().ok();
    });
}

/// A file of the container's could hold the manager up when that closes it.
#[test]
fn a_barrier_that_is_no_pipe() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["notify", "READY=1", "barrier-file", "STOPPING=1"]);
        let call = b.call(&["run"], &t.id()).env("NOTIFY_SOCKET", manager.address()).spawn();
        assert_eq!(manager.hears(), "READY=1");
        assert_eq!(manager.hears(), format!("MAINPID={}", call.pid()));
        assert_eq!(manager.hears(), "STOPPING=1");
        // Before that, the init of a pid namespace would ignore the signal.
        call.wait_for("ready");
        call.signal(libc::SIGTERM);
        call.wait().ok();
    });
}

/// A manager that does not read, and a container that does not stop talking: the end comes all the same.
#[test]
fn a_manager_that_hangs() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        let talk = ["READY=1"; 24];
        b.probe(&[&["notify"], &talk[..]].concat());
        let call = b.call(&["run"], &t.id()).env("NOTIFY_SOCKET", manager.address()).spawn();
        call.wait_for("ready");
        let begin = Moment::now();
        call.signal(libc::SIGTERM);
        call.wait().ok();
        // It would wait for half a minute for an answer to a barrier.
        begin.within(Duration::from_secs(20));
        t.nothing_left();
    });
}

/// As systemd's user manager had it for long.
#[test]
fn an_abstract_socket() {
    check(|t| {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&t.token).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(patience(LONG))).unwrap();
        let manager = Manager { socket, path: PathBuf::from(format!("@{}", t.token)) };
        let mut b = t.bundle();
        b.probe(&["notify", "READY=1"]);
        let (id, out) = (t.id(), std::fs::File::create(t.path("out")).unwrap());
        let call =
            b.call(&["run", "--detach"], &id).env("NOTIFY_SOCKET", manager.address()).stdout(out).spawn();
        assert_eq!(manager.hears(), "READY=1");
        manager.hears();
        assert_eq!(manager.hears(), "BARRIER=1");
        call.wait().ok();
        t.rt(&["delete", "--force", &id]).ok();
    });
}

/// Its users may speak as well, whoever they are.
#[test]
fn from_a_user_namespace_and_an_ordinary_user() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        // The rootfs is the host's, where the container's root makes nothing.
        std::fs::create_dir_all(b.rootfs().join("run/notify")).unwrap();
        b.user_namespace().set("/process/user", json!({"uid": 1000, "gid": 1000}));
        b.probe(&["notify", "READY=1"]);
        let (id, out) = (t.id(), t.path("out"));
        let file = std::fs::File::create(&out).unwrap();
        let call =
            b.call(&["run", "--detach"], &id).env("NOTIFY_SOCKET", manager.address()).stdout(file).spawn();
        let said = || std::fs::read_to_string(&out).unwrap();
        until("a word", || !said().is_empty());
        assert_eq!(said(), "ready\n");
        assert_eq!(manager.hears(), "READY=1");
        manager.hears();
        assert_eq!(manager.hears(), "BARRIER=1");
        call.wait().ok();
        t.rt(&["delete", "--force", &id]).ok();
    });
}

/// Created by somebody who has no manager.
#[test]
fn start_where_create_prepared_nothing() {
    check(|t| {
        let manager = Manager::new(t);
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        t.call(["start", &c.id]).env("NOTIFY_SOCKET", manager.address()).run().ok();
        c.wait_for("ready");
        c.delete_force();
    });
}

/// The manager is gone: the container runs all the same.
#[test]
fn nobody_listens() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["notify", "READY=1"]);
        let (id, out) = (t.id(), std::fs::File::create(t.path("out")).unwrap());
        b.call(&["run", "--detach"], &id).env("NOTIFY_SOCKET", "/no/such/socket").stdout(out).run().ok();
        assert_eq!(t.rt(&["state", &id]).ok().json()["status"], "running");
        t.rt(&["delete", "--force", &id]).ok();
    });
}
