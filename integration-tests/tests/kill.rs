//! `kill`: signals by name and number, and all processes of a container.

use integration_tests::*;

#[test]
fn by_name_and_by_number() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let table = [
            ("USR1", "USR1"),
            ("SIGUSR2", "USR2"),
            ("usr1", "USR1"),
            ("sigHup", "HUP"),
            ("10", "USR1"),
            ("1", "HUP"),
            ("WINCH", "WINCH"),
            ("28", "WINCH"),
            ("CONT", "CONT"),
            ("40", "40"),
        ];
        let mut expected = String::from("ready\n");
        for (given, name) in table {
            c.kill(given);
            expected += &format!("signal {name}\n");
            c.wait_for(&expected);
        }
        c.delete_force();
    });
}

#[test]
fn term_is_the_default() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.verb(&["kill"]).ok();
        c.wait_for("signal TERM");
        c.becomes("stopped");
    });
}

#[test]
fn signal_zero_asks_only() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("0");
        assert_eq!(c.output(), "ready\n");
        c.delete_force();
    });
}

#[test]
fn an_unknown_signal() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for signal in ["NONSENSE", "SIG", "TERM9"] {
            t.rt(&["kill", &c.id, signal]).fails(&["unknown signal", signal]);
        }
        t.rt(&["kill", &c.id, "400"]).fails(&["invalid argument"]);
        assert_eq!(c.output(), "ready\n");
        c.delete_force();
    });
}

#[test]
fn a_stopped_container_is_not_running() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("KILL");
        c.becomes("stopped");
        t.rt(&["kill", &c.id, "TERM"]).fails(&["container not running"]);
        t.rt(&["kill", &c.id, "KILL"]).fails(&["container not running"]);
    });
}

/// `--all` is what CRI-O adds; for a dead container it is a success.
#[test]
fn all_of_a_stopped_container_is_a_success() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("KILL");
        c.becomes("stopped");
        t.rt(&["kill", "--all", &c.id, "KILL"]).ok();
        t.rt(&["kill", "-a", &c.id, "9"]).ok();
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["kill", &t.id(), "TERM"]).fails(&["container does not exist"]);
    });
}

#[test]
fn a_created_container_can_be_killed() {
    check(|t| {
        let c = t.bundle().create();
        c.kill("KILL");
        c.becomes("stopped");
        c.delete();
    });
}

/// With the host's pid namespace, init's death takes nobody along: the cgroup tells who else there is.
#[test]
fn kill_reaches_every_process_of_a_shared_pid_namespace() {
    check(|t| {
        for words in [&["kill", "--all"][..], &["kill", "-a"], &["kill"]] {
            let mut b = t.bundle();
            b.namespaces(&["mount", "ipc", "uts", "network"]);
            let c = b.up(&["family", "5"]);
            let pids = t.rt(&["ps", "--format", "json", &c.id]).ok().json();
            assert_eq!(pids.as_array().unwrap().len(), 6);
            let mut all = words.to_vec();
            all.extend([c.id.as_str(), "KILL"]);
            t.rt(&all).ok();
            until("the end of all six", || {
                let gone = |p: &Value| {
                    !std::fs::read_to_string(format!("/proc/{p}/stat")).is_ok_and(|s| !s.contains(") Z "))
                };
                pids.as_array().unwrap().iter().all(gone)
            });
            c.delete();
        }
        t.nothing_left();
    });
}

/// Another signal goes to init alone.
#[test]
fn other_signals_go_to_init_alone() {
    check(|t| {
        let mut b = t.bundle();
        b.namespaces(&["mount", "ipc", "uts", "network"]);
        let c = b.up(&["family", "2"]);
        c.kill("USR1");
        assert_eq!(t.rt(&["ps", "-f", "json", &c.id]).ok().json().as_array().unwrap().len(), 3);
        c.delete_force();
        t.nothing_left();
    });
}

/// Init is dead and others live on in the cgroup: KILL finds them.
#[test]
fn survivors_of_init_are_killed() {
    check(|t| {
        let mut b = t.bundle();
        b.namespaces(&["mount", "ipc", "uts", "network"]).probe(&["orphan"]);
        let c = b.create();
        c.start();
        c.becomes("stopped");
        let survivors = t.rt(&["ps", "-f", "json", &c.id]).ok().json();
        assert_eq!(survivors.as_array().unwrap().len(), 1);
        t.rt(&["kill", &c.id, "KILL"]).ok();
        c.delete();
        t.nothing_left();
    });
}
