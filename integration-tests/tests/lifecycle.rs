//! From nothing to nothing: the states that a container passes, and who may do what in which.

use integration_tests::*;
use std::fs;

#[test]
fn create_start_kill_delete() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        assert_eq!(c.status(), "created");
        assert_eq!(c.output(), "", "nothing runs before start");
        c.start();
        c.wait_for("ready");
        assert_eq!(c.status(), "running");
        c.kill("TERM");
        c.wait_for("signal TERM");
        c.becomes("stopped");
        assert_eq!(c.pid(), 0);
        c.delete();
        c.verb(&["state"]).fails(&["container does not exist"]);
        t.nothing_left();
    });
}

#[test]
fn an_id_may_be_used_again_after_delete() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "4"]);
        let id = t.id();
        for _ in 0..3 {
            b.call(&["run"], &id).run().exits(4);
        }
        t.nothing_left();
    });
}

#[test]
fn the_pid_stays_the_same_from_create_to_stop() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        let created = c.pid();
        c.start();
        c.wait_for("ready");
        assert_eq!(c.pid(), created);
        let exe = fs::read_link(format!("/proc/{created}/exe")).unwrap();
        assert!(exe.ends_with("probe"), "pid is the payload's: {exe:?}");
    });
}

/// Like conmon and the shim, we are the nearest subreaper, and get the payload's status ourselves.
#[test]
fn the_payload_becomes_the_subreapers_child() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "42"]);
        let c = b.create();
        let pid = c.adopt();
        c.start();
        assert_eq!(c.reap(pid), 42);
        assert_eq!(c.status(), "stopped");
        c.delete();
        t.nothing_left();
    });
}

/// A zombie that nobody reaped is a stopped container, and can be deleted.
#[test]
fn a_zombie_is_stopped() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "0"]);
        let c = b.create();
        let pid = c.adopt();
        c.start();
        let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        until("a zombie", || stat().contains(") Z "));
        assert_eq!((c.status().as_str(), c.pid()), ("stopped", 0));
        c.delete();
        assert_eq!(c.reap(pid), 0);
        t.nothing_left();
    });
}

#[test]
fn a_killed_payload_is_stopped_whoever_killed_it() {
    check(|t| {
        let c = t.bundle().up(&["deaf"]);
        // SAFETY: the payload of our own container.
        unsafe { libc::kill(c.pid(), libc::SIGKILL) };
        c.becomes("stopped");
        c.delete();
        t.nothing_left();
    });
}

/// A created container whose init was killed is stopped, not created.
#[test]
fn a_killed_init_is_stopped_before_start() {
    check(|t| {
        let b = t.bundle();
        let c = b.create();
        // SAFETY: the init of our own container.
        unsafe { libc::kill(c.pid(), libc::SIGKILL) };
        c.becomes("stopped");
        c.verb(&["start"]).fails(&["stopped"]);
        c.delete();
        t.nothing_left();
    });
}

#[test]
fn two_containers_of_one_bundle_live_side_by_side() {
    check(|t| {
        let mut b = t.bundle();
        b.remove("/linux/cgroupsPath").probe(&["wait"]);
        let (one, two) = (b.create(), b.create());
        one.start();
        assert_eq!((one.status(), two.status()), ("running".into(), "created".into()));
        one.delete_force();
        assert_eq!(two.status(), "created");
        two.delete_force();
        t.nothing_left();
    });
}

/// Eight at once, each with its own name: no lock or file is shared.
#[test]
fn many_at_once_do_not_disturb_each_other() {
    check(|t| {
        let bundles: Vec<_> = (0..8)
            .map(|n: i32| {
                let mut b = t.bundle();
                b.probe(&["exit", &n.to_string()]);
                b
            })
            .collect();
        let calls: Vec<_> = bundles.iter().map(|b| b.call(&["run"], &t.id()).spawn()).collect();
        for (n, call) in calls.into_iter().enumerate() {
            call.wait().exits(n as i32);
        }
        t.nothing_left();
    });
}

/// Specification: `process` is required when the container is started; what has none ends as it starts.
#[test]
fn without_a_process() {
    check(|t| {
        let mut b = t.bundle();
        b.remove("/process");
        let c = b.create();
        assert_eq!(c.status(), "created");
        c.verb(&["start"]).ok();
        c.becomes("stopped");
        c.delete();
    });
}

#[test]
fn only_one_of_many_gets_the_id() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let id = t.id();
        let calls: Vec<_> = (0..6).map(|_| b.call(&["create"], &id).spawn()).collect();
        let outputs: Vec<_> = calls.into_iter().map(Running::wait).collect();
        assert_eq!(outputs.iter().filter(|o| o.status == 0).count(), 1);
        for loser in outputs.iter().filter(|o| o.status != 0) {
            loser.fails(&["already exists"]);
        }
        let c = Container::new(t, id, t.path("none"));
        assert_eq!(c.status(), "created", "the losers did not harm the winner");
        c.delete_force();
        t.nothing_left();
    });
}
