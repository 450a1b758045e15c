//! `delete`: who may be deleted, and that nothing is left.

use integration_tests::*;
use std::fs;

#[test]
fn a_stopped_container() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("TERM");
        c.becomes("stopped");
        let out = c.verb(&["delete"]).ok();
        assert_eq!((out.stdout, out.stderr, out.log), Default::default());
        t.nothing_left();
    });
}

#[test]
fn a_created_container() {
    check(|t| {
        t.bundle().create().delete();
        t.nothing_left();
    });
}

#[test]
fn a_running_container_only_by_force() {
    check(|t| {
        let c = t.bundle().up(&["deaf"]);
        c.verb(&["delete"]).fails(&["cannot delete container", &c.id, "running"]);
        assert_eq!(c.status(), "running");
        c.delete_force();
        t.nothing_left();
    });
}

#[test]
fn force_in_both_forms_and_before_or_after_the_id() {
    check(|t| {
        for words in [
            ["delete", "-f", "ID"],
            ["delete", "--force", "ID"],
            ["delete", "-force", "ID"],
            ["delete", "ID", "--force"],
        ] {
            let c = t.bundle().up(&["deaf"]);
            t.rt(&words.map(|w| if w == "ID" { &c.id } else { w })).ok();
        }
        t.nothing_left();
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["delete", &t.id()]).fails(&["container does not exist"]);
        t.rt(&["delete", "--force", &t.id()]).ok();
    });
}

#[test]
fn twice() {
    check(|t| {
        let c = t.bundle().create();
        c.delete();
        c.verb(&["delete"]).fails(&["container does not exist"]);
    });
}

/// Each way of dying, each kind of survivor.
#[test]
fn reaches_every_process_of_a_shared_pid_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.namespaces(&["mount", "ipc", "uts", "network"]);
        b.up(&["family", "5"]).delete_force();
        t.nothing_left();
        b.probe(&["orphan"]);
        let c = b.create();
        c.start();
        c.becomes("stopped");
        c.delete();
        t.nothing_left();
    });
}

/// A directory that `create` left without a record.
#[test]
fn force_removes_a_stale_directory() {
    check(|t| {
        let id = t.id();
        fs::create_dir_all(t.root.join(&id)).unwrap();
        t.rt(&["delete", "--force", &id]).ok();
        assert!(!t.root.join(&id).exists());
    });
}

#[test]
fn force_overcomes_a_broken_record() {
    check(|t| {
        let c = t.bundle().up(&["deaf"]);
        let folder = t.root.join(&c.id);
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_name() == "state.json" {
                fs::write(entry.path(), "{\"torn").unwrap();
            }
        }
        c.delete_force();
        t.nothing_left();
    });
}

#[test]
fn a_frozen_container() {
    check(|t| {
        let c = t.bundle().up(&["deaf"]);
        let Some(freezer) = t.cgroups().into_iter().find(|d| d.starts_with("/sys/fs/cgroup/freezer")) else {
            skip!("no version 1 freezer");
        };
        fs::write(freezer.join("freezer.state"), "FROZEN").unwrap();
        c.delete_force();
        t.nothing_left();
    });
}

/// Cgroups that the payload, or a systemd inside, has made below its own.
#[test]
fn nested_cgroups() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for dir in t.cgroups() {
            fs::create_dir_all(dir.join("inner/most")).unwrap();
        }
        let pid = c.pid().to_string();
        for dir in t.cgroups() {
            if dir.starts_with("/sys/fs/cgroup/memory") && dir.ends_with("inner/most") {
                fs::write(dir.join("cgroup.procs"), &pid).unwrap();
            }
        }
        c.delete_force();
        t.nothing_left();
    });
}
