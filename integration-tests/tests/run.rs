//! `run`: create, start, wait, delete; the payload's streams and status.

use integration_tests::*;
use std::fs::{self, File};

#[test]
fn joins_the_payloads_streams_to_its_own() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/bin/sh", "-c", "cat; echo captain >&2"]);
        let input = t.path("input");
        fs::write(&input, "aye\n").unwrap();
        let out = b.call(&["run"], &t.id()).stdin(File::open(&input).unwrap()).run().ok();
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("aye\n", "captain\n"));
        t.nothing_left();
    });
}

#[test]
fn returns_the_payloads_status() {
    check(|t| {
        let mut b = t.bundle();
        for status in [0, 1, 7, 126, 127, 137, 255] {
            b.probe(&["exit", &status.to_string()]).run().exits(status);
        }
        t.nothing_left();
    });
}

/// A shell's convention: 128 and the signal's number. Pid 1 is immune to its own signals, hence no pid namespace.
#[test]
fn returns_128_and_the_signal_that_killed_the_payload() {
    check(|t| {
        let mut b = t.bundle();
        b.namespaces(&["mount", "ipc", "uts", "network"]);
        for (signal, status) in [("TERM", 143), ("KILL", 137), ("ABRT", 134), ("SEGV", 139), ("HUP", 129)] {
            let out = b.probe(&["signal", signal]).run();
            assert!(!out.killed, "the runtime itself should exit, not die");
            out.exits(status);
        }
        t.nothing_left();
    });
}

#[test]
fn a_failing_payload_is_no_error_of_the_runtime() {
    check(|t| {
        let out = t.bundle().probe(&["exit", "3"]).run().exits(3);
        assert_eq!(out.stderr, "");
        assert_eq!(out.log, "");
    });
}

#[test]
fn takes_the_current_directory_as_bundle() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let out = t.call(["run"]).args([t.id()]).cwd(&b.dir).run().ok();
        assert_eq!(out.facts()["args"], json!(["/probe", "facts"]));
    });
}

#[test]
fn detached_returns_while_the_payload_runs() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let (id, pid_file) = (t.id(), t.path("pid"));
        let flags = ["run", "--detach", "--pid-file", pid_file.to_str().unwrap()];
        b.call(&flags, &id).run().ok();
        let c = Container::new(t, id, t.path("none"));
        assert_eq!(c.status(), "running");
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), c.pid().to_string());
        c.delete_force();
        t.nothing_left();
    });
}

#[test]
fn keep_leaves_the_stopped_container() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "5"]);
        let id = t.id();
        b.call(&["run", "--keep"], &id).run().exits(5);
        let c = Container::new(t, id, t.path("none"));
        assert_eq!((c.status().as_str(), c.pid()), ("stopped", 0));
        c.delete();
        t.nothing_left();
    });
}

#[test]
fn forwards_signals_to_the_payload() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let call = b.call(&["run"], &t.id()).spawn();
        call.wait_for("ready");
        for (signal, name) in [(libc::SIGUSR1, "USR1"), (libc::SIGHUP, "HUP"), (libc::SIGTERM, "TERM")] {
            call.signal(signal);
            call.wait_for(&format!("signal {name}\n"));
        }
        call.wait().ok();
        t.nothing_left();
    });
}

#[test]
fn returns_130_when_the_payload_obeys_an_interrupt() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let call = b.call(&["run"], &t.id()).spawn();
        call.wait_for("ready");
        call.signal(libc::SIGINT);
        call.wait().exits(130);
    });
}

/// The runtime waits for its own payload even if that has left children, and takes them down with the container.
#[test]
fn takes_orphans_down_with_the_payload() {
    check(|t| {
        for kinds in [&["pid", "mount"][..], &["mount"]] {
            let mut b = t.bundle();
            b.namespaces(kinds).probe(&["orphan"]);
            b.run().ok();
            t.nothing_left();
        }
    });
}

#[test]
fn megabytes_arrive_whole() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["bytes", "3000000"]);
        assert_eq!(b.run().ok().stdout.len(), 3_000_000);
    });
}

#[test]
fn works_with_closed_standard_descriptors() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let script = format!(
            "exec {} --root {} run -b {} {} <&- >&- 2>&-",
            binary().display(),
            t.root.display(),
            b.dir.display(),
            t.id()
        );
        t.program("/bin/sh", &["-c", &script]).ok();
        t.nothing_left();
    });
}

#[test]
fn the_payload_is_the_runtimes_child_and_its_leader() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let s = &facts["session"];
        assert_eq!((&s["pid"], &s["pgid"], &s["sid"]), (&json!(1), &json!(1), &json!(1)));
        assert_eq!(s["controllingTerminal"], json!({"errno": "ENXIO"}));
    });
}
