//! The exact command lines of those who will call us, and what they rely on.

use integration_tests::*;
use std::fs;
use std::path::Path;

/// Words with ID and BUNDLE filled in.
fn fill(words: &[&str], id: &str, bundle: &Path) -> Vec<String> {
    words.iter().map(|w| w.replace("BUNDLE", bundle.to_str().unwrap()).replace("ID", id)).collect()
}

#[test]
fn containerd() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]).write();
        let id = t.id();
        let log = b.dir.join("log.json");
        let root = t.root.to_str().unwrap();
        let call = |words: &[&str]| {
            let globals =
                ["--root", root, "--log", log.to_str().unwrap(), "--log-format", "json", "--rootless=false"];
            t.bare(globals).args(fill(words, &id, &b.dir))
        };
        let out = t.path("out");
        let create = call(&["create", "--bundle", "BUNDLE", "--pid-file", "BUNDLE/init.pid", "ID"]);
        create.stdout(fs::File::create(&out).unwrap()).run().ok();
        let call = |words: &[&str]| call(words).run();
        let pid: i32 = fs::read_to_string(b.dir.join("init.pid")).unwrap().parse().unwrap();
        call(&["start", "ID"]).ok();
        let state = call(&["state", "ID"]).ok().json();
        assert_eq!((&state["pid"], &state["status"]), (&json!(pid), &json!("running")));
        assert_eq!(call(&["ps", "--format", "json", "ID"]).ok().json(), json!([pid]));
        assert_eq!(call(&["list", "--format=json"]).ok().json()[0]["id"], id.as_str());
        assert!(
            call(&["ps", "--format", "table", "ID", "-o", "pid,cmd"])
                .ok()
                .stdout
                .lines()
                .next()
                .unwrap()
                .contains("PID")
        );
        let c = Container::new(t, id.clone(), out);
        // Before that the kernel would let the signal pass: it is the first process of its pid namespace.
        c.wait_for("ready");
        call(&["kill", "ID", "15"]).ok();
        until("the end", || call(&["state", "ID"]).ok().json()["status"] == "stopped");
        call(&["kill", "--all", "ID", "9"]).ok();
        let late = call(&["kill", "ID", "9"]).exits(1);
        assert!(late.stderr.contains("container not running"), "{late}");
        call(&["delete", "ID"]).ok();
        call(&["delete", "--force", "ID"]).ok();
        let gone = call(&["delete", "ID"]).exits(1);
        assert!(gone.stderr.contains("does not exist"), "{gone}");
        let last = fs::read_to_string(&log).unwrap();
        let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
        assert_eq!((&last["level"], &last["msg"]), (&json!("error"), &json!("container does not exist")));
        t.nothing_left();
    });
}

#[test]
fn containerd_features() {
    check(|t| {
        let f = t.rt(&["features"]).ok().json();
        assert_eq!(f["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert!(f["annotations"].is_object());
    });
}

/// conmon: descriptors of its own that must not go on, death signal, console or pipes, `create` only.
#[test]
fn conmon() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]).write();
        let id = t.id();
        let (root, log) =
            (format!("--root={}", t.root.display()), format!("--log={}", t.path("log").display()));
        let pipe = fs::File::open("/dev/null").unwrap();
        let words = fill(
            &["create", "--bundle", "BUNDLE", "--pid-file", "BUNDLE/pidfile", "--no-new-keyring", "ID"],
            &id,
            &b.dir,
        );
        let call = t
            .bare(["--log-format=json", &log, &root])
            .args(words)
            .env("_OCI_SYNCPIPE", "3")
            .env("_OCI_STARTPIPE", "4");
        call.pass(3, pipe.try_clone().unwrap()).pass(4, pipe).run().ok();
        let pid: i32 = fs::read_to_string(b.dir.join("pidfile")).unwrap().parse().unwrap();
        let fds = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        t.rt(&["start", &id]).ok();
        until("the payload", || {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|e| e.ends_with("probe"))
        });
        assert_eq!(fds(), 3);
        t.rt(&["kill", &id, "TERM"]).ok();
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
    });
}

/// podman reads the whole log as one object.
#[test]
fn podmans_log_is_one_object() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/no/such/program"]).write();
        let out = b.call(&["create"], &t.id()).run().exits(1);
        let one: Value = serde_json::from_str(out.log.trim()).unwrap_or_else(|e| panic!("{e}: {out}"));
        assert!(one["msg"].as_str().unwrap().contains("no such file or directory"));
    });
}

#[test]
fn podman_probes() {
    check(|t| {
        for words in [["checkpoint", "--help"], ["restore", "--help"]] {
            let out = t.bare(words).run();
            assert!(!out.killed, "{out}");
        }
    });
}

/// `--cgroup-manager disabled`, which podman asks of runtimes in `runtime_supports_nocgroups`.
#[test]
fn podman_without_cgroups() {
    check(|t| {
        let mut b = t.bundle();
        b.remove("/linux/cgroupsPath")
            .remove("/linux/resources")
            .without_mount("/sys/fs/cgroup")
            .probe(&["facts"])
            .write();
        let id = t.id();
        let words = fill(&["--cgroup-manager", "disabled", "run", "--bundle", "BUNDLE", "ID"], &id, &b.dir);
        let facts = t.call(words).run().ok().facts();
        assert!(!cgroup_in(&facts, "pids").as_str().unwrap().contains(&id));
        t.nothing_left();
    });
}

#[test]
fn crio() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]).write();
        let id = t.id();
        let root = t.root.to_str().unwrap();
        let glued = format!("--root={root}");
        // Its whole environment.
        let call = |words: &[&str]| {
            let words = fill(words, &id, &b.dir);
            let env = ["/usr/bin/env", "-i", "CRI_O_EXTERNAL=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
            t.bare(words).under(env)
        };
        let out = t.path("out");
        let create = call(&[&glued, "create", "--bundle", "BUNDLE", "--pid-file", "BUNDLE/pidfile", "ID"]);
        let call = |words: &[&str]| call(words).run();
        call(&["--version"]).ok();
        call(&["features"]).ok().json();
        create.stdout(fs::File::create(&out).unwrap()).run().ok();
        assert_eq!(call(&["--root", root, "state", "ID"]).ok().json()["status"], "created");
        call(&["--root", root, "start", "ID"]).ok();
        assert_eq!(call(&["--root", root, "state", "ID"]).ok().json()["status"], "running");
        let c = Container::new(t, id.clone(), out);
        c.wait_for("ready");
        call(&["--root", root, "kill", "ID", "TERM"]).ok();
        until("the end", || call(&["--root", root, "state", "ID"]).ok().json()["status"] == "stopped");
        call(&["--root", root, "kill", "-a", "ID", "9"]).ok();
        call(&["--root", root, "delete", "--force", "ID"]).ok();
        call(&["--root", root, "delete", "--force", "ID"]).ok();
        call(&["--root", root, "state", "ID"]).exits(1);
        t.nothing_left();
    });
}

#[test]
fn buildah() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let pid_file = b.dir.join("pid");
        let c = b.create_with(&["--pid-file", pid_file.to_str().unwrap(), "--no-new-keyring"]);
        let pid = c.adopt();
        assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), pid.to_string());
        c.start();
        assert!(["running", "stopped"].contains(&c.status().as_str()), "and nothing in between");
        // It may be that the payload has not set up its signals yet; buildah would not know either.
        c.wait_for("ready");
        c.verb(&["kill"]).ok();
        assert_eq!(c.reap(pid), 0, "wait4 works: the payload is our child");
        c.delete();
        t.nothing_left();
    });
}

#[test]
fn buildkit() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "9"]);
        let id = t.id();
        b.call(&["run", "--keep"], &id).run().exits(9);
        let state = t.rt(&["state", &id]).ok().json();
        assert_eq!((&state["bundle"], &state["rootfs"]), (&json!(b.dir), &json!(b.rootfs())));
        t.rt(&["delete", &id]).ok();
        t.nothing_left();
    });
}

#[test]
fn buildkit_kills_by_number_and_forwards_signals() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let id = t.id();
        let call = b.call(&["run", "--keep"], &id).spawn();
        call.wait_for("ready");
        assert_eq!(t.rt(&["state", &id]).ok().json()["status"], "running");
        call.signal(libc::SIGUSR1);
        call.wait_for("signal USR1");
        t.rt(&["kill", &id, "9"]).ok();
        call.wait().exits(137);
        t.rt(&["kill", &id, "9"]).fails(&["container not running"]);
        t.rt(&["delete", &id]).ok();
        t.nothing_left();
    });
}

/// `docker run` translates texts into the statuses 126 and 127.
#[test]
fn dockers_translation() {
    check(|t| {
        let table = [
            ("nothing", "executable file not found"),
            ("/nothing", "no such file or directory"),
            ("/etc/group", "permission denied"),
        ];
        for (program, text) in table {
            let mut b = t.bundle();
            b.args(&[program]).call(&["create"], &t.id()).run().fails(&[text]);
        }
    });
}
