//! `pause` and `resume`: the freezer, and what the other verbs do meanwhile.

use integration_tests::*;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Whether the kernel holds the container's cgroup still.
fn frozen(b: &Bundle) -> bool {
    let path = b.cgroups_path();
    let read = |dir: &str, file: &str| fs::read_to_string(format!("{dir}{path}/{file}")).unwrap_or_default();
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return read("/sys/fs/cgroup", "cgroup.events").contains("frozen 1");
    }
    read("/sys/fs/cgroup/freezer", "freezer.state").trim() == "FROZEN"
}

#[test]
fn holds_all_processes_still_until_resume() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let out = c.verb(&["pause"]).ok();
        assert_eq!((out.stdout, out.stderr, out.log), Default::default());
        assert_eq!(c.status(), "paused");
        assert!(frozen(&b));
        // A signal waits for the thaw.
        c.kill("USR1");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(c.output(), "ready\n");
        let out = c.verb(&["resume"]).ok();
        assert_eq!((out.stdout, out.stderr, out.log), Default::default());
        assert_eq!(c.status(), "running");
        c.wait_for("signal USR1");
        c.delete_force();
    });
}

#[test]
fn a_paused_container_is_not_running_and_a_running_one_not_paused() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&["resume"]).fails(&["container not paused"]);
        c.verb(&["pause"]).ok();
        c.verb(&["pause"]).fails(&["container not running"]);
        assert!(frozen(&b), "an error changes nothing");
        c.verb(&["resume"]).ok();
        c.kill("KILL");
        c.becomes("stopped");
        c.verb(&["pause"]).fails(&["container not running"]);
        c.verb(&["resume"]).fails(&["container not paused"]);
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["pause", &t.id()]).fails(&["container does not exist"]);
        t.rt(&["resume", &t.id()]).fails(&["container does not exist"]);
    });
}

/// It comes back to what it was.
#[test]
fn a_created_container_too() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        c.verb(&["pause"]).ok();
        assert_eq!(c.status(), "paused");
        c.verb(&["start"]).fails(&["cannot start a container in the paused state"]);
        c.verb(&["resume"]).ok();
        assert_eq!(c.status(), "created");
        c.start();
        c.wait_for("ready");
        c.delete_force();
    });
}

#[test]
fn ps_list_and_state_look_on() {
    check(|t| {
        let c = t.bundle().up(&["family", "2"]);
        c.verb(&["pause"]).ok();
        assert_eq!(c.verb(&["ps", "-f", "json"]).ok().json().as_array().unwrap().len(), 3);
        let list = t.rt(&["list", "-f", "json"]).ok().json();
        assert_eq!(list[0]["status"], "paused");
        assert!(c.pid() > 1, "its processes are still there");
        c.delete_force();
    });
}

/// A frozen process dies of no signal on version 1: KILL thaws it.
#[test]
fn kill_ends_a_paused_container() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.verb(&["pause"]).ok();
        c.kill("KILL");
        c.becomes("stopped");
        c.delete();
        t.nothing_left();
    });
}

#[test]
fn term_waits_for_the_thaw() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.verb(&["pause"]).ok();
        c.kill("TERM");
        assert_eq!(c.status(), "paused");
        c.verb(&["resume"]).ok();
        c.becomes("stopped");
    });
}

#[test]
fn delete_needs_force_and_is_prompt() {
    check(|t| deleted_by_force(t, &["pid", "mount", "ipc", "uts", "network"]));
}

/// Init takes nobody along, and all are frozen.
#[test]
fn delete_force_with_a_shared_pid_namespace() {
    check(|t| deleted_by_force(t, &["mount", "ipc", "uts", "network"]));
}

fn deleted_by_force(t: &Case, namespaces: &[&str]) {
    let mut b = t.bundle();
    b.namespaces(namespaces);
    let c = b.up(&["family", "3"]);
    c.verb(&["pause"]).ok();
    c.verb(&["delete"]).fails(&["cannot delete container", "that is not stopped: paused"]);
    assert!(frozen(&b));
    let begin = Moment::now();
    c.delete_force();
    begin.within(PROMPT);
    t.nothing_left();
}

/// A family that keeps forking must not outrun the freezer.
#[test]
fn while_processes_come_and_go() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["sh", "-c", "while :; do /bin/true; done"]);
        let c = b.create();
        c.start();
        for _ in 0..10 {
            c.verb(&["pause"]).ok();
            assert!(frozen(&b));
            c.verb(&["resume"]).ok();
            assert!(!frozen(&b));
        }
        c.delete_force();
        t.nothing_left();
    });
}

/// `kill` and `pause` at once: whoever wins, nobody stays half dead in the freezer.
#[test]
fn against_a_kill_at_the_same_time() {
    check(|t| {
        for _ in 0..5 {
            let c = t.bundle().up(&["wait"]);
            let pause = t.call(["pause", &c.id]).spawn();
            let kill = t.call(["kill", &c.id, "KILL"]).spawn();
            pause.wait();
            kill.wait().ok();
            c.becomes("stopped");
            c.delete();
        }
        t.nothing_left();
    });
}

/// The parent is somebody else's: what it freezes is not paused, and `pause` still works.
#[test]
fn below_a_frozen_parent() {
    check(|t| {
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            skip!("cgroup version 2");
        }
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("/{}/box", t.token));
        let parent = format!("/sys/fs/cgroup/freezer/{}/freezer.state", t.token);
        let c = b.up(&["wait"]);
        fs::write(&parent, "FROZEN").unwrap();
        until("the freeze", || frozen(&b));
        assert_eq!(c.status(), "running");
        c.verb(&["resume"]).fails(&["container not paused"]);
        c.verb(&["pause"]).ok();
        assert_eq!(c.status(), "paused");
        fs::write(&parent, "THAWED").unwrap();
        assert_eq!(c.status(), "paused");
        c.verb(&["resume"]).ok();
        c.delete_force();
        t.remove_cgroups();
    });
}

/// What can never run is not waited for: create, start and exec say who holds the container.
#[test]
fn what_is_frozen_from_above_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("/{}/box", t.token)).probe(&["wait"]);
        let kind = if unified() { "" } else { "freezer/" };
        let parent = format!("/sys/fs/cgroup/{kind}{}", t.token);
        let (file, on, off) =
            if unified() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
        let freeze = |on| fs::write(format!("{parent}/{file}"), on).unwrap();
        let refused = |out: Output, begin: Moment| {
            out.complains(&["frozen", &parent]);
            begin.within(PROMPT);
        };
        let c = b.create();
        freeze(on);
        let begin = Moment::now();
        refused(c.verb(&["start"]), begin);
        freeze(off);
        c.delete_force();

        freeze(on);
        let begin = Moment::now();
        refused(b.run(), begin);
        assert!(!Path::new(&format!("{parent}/box")).exists(), "nothing is left of it");
        freeze(off);

        let c = b.up(&["wait"]);
        freeze(on);
        let begin = Moment::now();
        refused(t.rt(&["exec", &c.id, "/bin/true"]), begin);
        freeze(off);
        c.delete_force();
        t.remove_cgroups();
        t.nothing_left();
    });
}
