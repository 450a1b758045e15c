//! What CRI-O and its conmon ask for, and how they read the answers. Its calls have `--root` and nothing else before the
//! verb, and two environment variables.

use integration_tests::*;
use std::fs;

/// A call of CRI-O's own: `--root R VERB …`, its whole environment.
fn call(t: &Case, words: &[&str]) -> Call {
    let root = t.root.to_str().unwrap();
    let env = ["/usr/bin/env", "-i", "CRI_O_EXTERNAL=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
    t.bare(["--root", root]).args(words).under(env)
}

/// conmon's words around `create`: the bundle, the pid file in it, and then these.
fn create<'a>(b: &'a Bundle, pid_file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["create", "--bundle", b.dir.to_str().unwrap(), "--pid-file", pid_file];
    words.extend(more);
    words
}

/// stdout and stderr are one document there: a single warning would cost user namespaces and recursive read-only mounts.
#[test]
fn features_with_whatever_is_on_stderr() {
    check(|t| {
        let out = t.bare(["features"]).run().ok();
        let all = format!("{}{}", out.stdout, out.stderr);
        let features: Value = serde_json::from_str(&all).unwrap_or_else(|e| panic!("{e}: {out}"));
        for member in ["ociVersionMin", "ociVersionMax"] {
            assert!(features[member].as_str().is_some_and(|v| !v.is_empty()), "{member}: {out}");
        }
        assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert!(words(&features["mountOptions"]).contains(&"rro"));
    });
}

/// The answer is decoded over CRI-O's own record of the container, in which names are not case-sensitive: these members
/// would overwrite what it knows.
#[test]
fn state_has_no_members_that_crio_keeps_itself() {
    check(|t| {
        const KEPT: [&str; 8] = [
            "started",
            "finished",
            "exitcode",
            "oomkilled",
            "error",
            "initpid",
            "initstarttime",
            "checkpointedtime",
        ];
        let c = t.bundle().up(&["wait"]);
        let look = |status: &str| {
            let state = call(t, &["state", &c.id]).run().ok().json();
            assert_eq!(state["status"], status);
            assert!(is_rfc3339(state["created"].as_str().unwrap()), "{state}");
            for name in state.as_object().unwrap().keys() {
                assert!(!KEPT.contains(&name.to_lowercase().as_str()), "{name} in {state}");
            }
            state
        };
        assert_eq!(look("running")["pid"], c.pid());
        call(t, &["kill", &c.id, "9"]).run().ok();
        c.becomes("stopped");
        assert_eq!(look("stopped")["pid"], 0);
        call(t, &["delete", "--force", &c.id]).run().ok();
        call(t, &["delete", "--force", &c.id]).run().ok();
        t.nothing_left();
    });
}

/// A pod in the machine's pid namespace: what the first process leaves is CRI-O's to kill, after it has stopped.
#[test]
fn kill_a_takes_who_is_left() {
    check(|t| {
        let mut b = t.bundle();
        b.namespaces(&["mount", "ipc", "uts", "network"]);
        let c = b.up(&["family", "3"]);
        let listed = t.rt(&["ps", "--format", "json", &c.id]).ok().json();
        let pids: Vec<i64> = listed.as_array().unwrap().iter().map(|p| p.as_i64().unwrap()).collect();
        assert_eq!(pids.len(), 4);
        let init = c.pid();
        // SAFETY: a signal to the container's own first process, and to nobody else.
        assert_eq!(unsafe { libc::kill(init, libc::SIGKILL) }, 0);
        c.becomes("stopped");
        let lives =
            |pid: i64| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
        assert!(pids.iter().any(|p| lives(*p)), "its children outlive it");
        call(t, &["kill", "-a", &c.id, "9"]).run().ok();
        until("the end of all", || !pids.iter().any(|p| lives(*p)));
        call(t, &["kill", "-a", &c.id, "9"]).run().ok();
        call(t, &["delete", "--force", &c.id]).run().ok();
        t.nothing_left();
    });
}

/// "container not running" is how a signal that came too late is known; a `state` that fails means stopped.
#[test]
fn what_is_too_late_says_so_on_stderr() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        call(t, &["kill", &c.id, "KILL"]).run().ok();
        c.becomes("stopped");
        let late = call(t, &["kill", &c.id, "15"]).run().exits(1);
        assert!(late.stderr.contains("container not running"), "{late}");
        c.delete();
        let gone = call(t, &["state", &c.id]).run().exits(1);
        assert!(gone.stdout.is_empty() && gone.stderr.contains("does not exist"), "{gone}");
    });
}

/// A streaming exec: in the foreground, its stdio already a pseudoterminal of CRI-O's and no console socket.
#[test]
fn exec_on_a_terminal_that_is_there_already() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let file = t.path("process");
        let document = |words: &[&str]| json!({"args": words, "cwd": "/", "env": ["PATH=/bin", "TERM=xterm"], "terminal": true});
        let exec = ["exec", "--process", file.to_str().unwrap(), &c.id];

        let script = "tty; stty size; read line; echo got $line; exit 7";
        fs::write(&file, document(&["/bin/sh", "-c", script]).to_string()).unwrap();
        let (mut pty, slave) = Pty::pair();
        pty.resize(101, 31);
        let running = call(t, &exec).terminal(slave).spawn();
        // The container's own, not the one outside; with the size of that one.
        pty.expect("/dev/pts/0");
        pty.expect("31 101");
        pty.write("parrot\r");
        pty.expect("got parrot\r\n");
        running.wait().exits(7);

        fs::write(&file, document(&["/probe", "size"]).to_string()).unwrap();
        let (mut pty, slave) = Pty::pair();
        pty.resize(80, 24);
        let running = call(t, &exec).terminal(slave).spawn();
        pty.expect("size 80x24");
        // CRI-O resizes the outer one; the kernel tells the runtime by SIGWINCH.
        pty.resize(133, 41);
        pty.expect("size 133x41");
        running.signal(libc::SIGTERM);
        running.wait();
        c.delete_force();
        t.nothing_left();
    });
}

/// And one without a terminal: three pipes, and the status.
#[test]
fn exec_in_the_foreground() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let file = t.path("process");
        let script = "cat; echo complaint >&2; exit 9";
        let document = json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]});
        fs::write(&file, document.to_string()).unwrap();
        let input = t.path("input");
        fs::write(&input, "typed\n").unwrap();
        let out = call(t, &["exec", "--process", file.to_str().unwrap(), &c.id])
            .stdin(fs::File::open(&input).unwrap())
            .run()
            .exits(9);
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("typed\n", "complaint\n"));
        c.delete_force();
    });
}

/// conmon names its pipes in the environment and closes them before: the numbers may be anything by then. Neither the
/// variables nor the descriptors are the container's.
#[test]
fn conmons_pipes_are_not_the_containers() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["facts"]).write();
        let (id, pid_file) = (t.id(), b.dir.join("pidfile"));
        let output = t.path("output");
        let env = [
            "/usr/bin/env",
            "-i",
            "CRI_O_EXTERNAL=1",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "_OCI_SYNCPIPE=3",
            "_OCI_STARTPIPE=4",
        ];
        let glued = format!("--root={}", t.root.display());
        t.bare([glued.as_str()])
            .args(create(&b, pid_file.to_str().unwrap(), &[&id]))
            .under(env)
            .cwd(&b.dir)
            .stdout(fs::File::create(&output).unwrap())
            .run()
            .ok();
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
        adopt(pid);
        call(t, &["start", &id]).run().ok();
        assert_eq!(wait_for_adopted(pid), 0);
        let facts: Value = serde_json::from_str(fs::read_to_string(&output).unwrap().trim()).unwrap();
        let fds: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2"]);
        let env = words(&facts["env"]);
        assert!(!env.iter().any(|v| v.starts_with("_OCI") || v.starts_with("CRI_O")), "{env:?}");
        assert_eq!(facts["parentDeathSignal"], 0);
        call(t, &["delete", "--force", &id]).run().ok();
        t.nothing_left();
    });
}

/// conmon gives `create` a parent-death signal. Once create is done, whose parent was who is nothing to the container.
#[test]
fn a_container_outlives_conmon() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]).write();
        let (id, pid_file) = (t.id(), b.dir.join("pidfile"));
        // The shell is conmon: it ends when create has.
        let conmon = ["/bin/sh", "-c", "setpriv --pdeathsig KILL -- \"$@\"; exit $?", "conmon"];
        t.bare(["--root", t.root.to_str().unwrap()])
            .args(create(&b, pid_file.to_str().unwrap(), &[&id]))
            .under(conmon)
            .run()
            .ok();
        assert_eq!(call(t, &["state", &id]).run().ok().json()["status"], "created");
        call(t, &["start", &id]).run().ok();
        assert_eq!(call(t, &["state", &id]).run().ok().json()["status"], "running");
        call(t, &["kill", &id, "9"]).run().ok();
        until("the end", || call(t, &["state", &id]).run().ok().json()["status"] == "stopped");
        call(t, &["delete", &id]).run().ok();
        t.nothing_left();
    });
}

/// A conmon that dies during create takes create with it, wherever that is. One `delete --force`, and nothing is left.
#[test]
fn a_conmon_that_dies_takes_create_with_it() {
    check(|t| {
        let mut b = t.bundle();
        let mark = t.path("mark");
        let hook = format!("echo $PPID >{0}.new; mv {0}.new {0}; exec sleep 1000", mark.display());
        b.set("/hooks/createRuntime/-", json!({"path": "/bin/sh", "args": ["sh", "-c", hook]})).write();
        let (id, pid_file) = (t.id(), b.dir.join("pidfile"));
        let conmon = ["/bin/sh", "-c", "setpriv --pdeathsig KILL -- \"$@\"; exit $?", "conmon"];
        let running = t
            .bare(["--root", t.root.to_str().unwrap()])
            .args(create(&b, pid_file.to_str().unwrap(), &[&id]))
            .under(conmon)
            .spawn();
        until("the hook", || mark.exists());
        let runtime: i32 = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        running.signal(libc::SIGKILL);
        assert!(running.wait().killed);
        let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat"));
        until("the end of create", || comm(runtime).map_or(true, |s| s.contains(") Z ")));
        call(t, &["delete", "--force", &id]).run().ok();
        t.nothing_left();
    });
}

/// What conmon passes on is the beginning of stderr: for a failed create, one line that names the cause.
#[test]
fn a_failed_create_is_one_line_on_stderr() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/no/such/program"]).write();
        let (id, pid_file) = (t.id(), b.dir.join("pidfile"));
        let out = call(t, &create(&b, pid_file.to_str().unwrap(), &[&id])).cwd(&b.dir).run().exits(1);
        assert!(out.stdout.is_empty(), "{out}");
        assert_eq!(out.stderr.trim_end().lines().count(), 1, "{out}");
        assert!(out.stderr.contains("/no/such/program") && out.stderr.contains("no such file"), "{out}");
        call(t, &["delete", "--force", &id]).run().ok();
        t.nothing_left();
    });
}
