//! `delete`: who may be deleted, and that nothing is left.

use integration_tests::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most that a delete may take, whatever it finds: the ten seconds that it gives itself, and what it needs to say so.
const BOUND: Duration = Duration::from_secs(20);

/// Deletes by force. What is not done in its time, on a slow machine, another delete goes on with.
#[track_caller]
fn delete_by_and_by(c: &Container, delete: impl Fn() -> Output) {
    for _ in 0..30 {
        let begin = Moment::now();
        let out = delete();
        begin.within(BOUND);
        if out.status == 0 {
            return;
        }
        out.fails(&["cgroups below it are left"]);
    }
    panic!("{} is not deleted after thirty calls", c.id);
}

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

/// The container's directories in hierarchies where a new one costs little.
fn cheap(t: &Case) -> Vec<PathBuf> {
    let tops = ["pids", "freezer", "unified"].map(|h| Path::new("/sys/fs/cgroup").join(h));
    let is_cheap = |d: &PathBuf| unified() || tops.iter().any(|top| d.starts_with(top));
    t.cgroups().into_iter().filter(is_cheap).collect()
}

#[test]
fn cgroups_fifty_deep_and_a_thousand_wide() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for dir in t.cgroups() {
            fs::create_dir_all(dir.join("x/".repeat(50))).unwrap();
        }
        for dir in cheap(t) {
            if !dir.ends_with("x") {
                (0..1000).for_each(|n| fs::create_dir(dir.join(n.to_string())).unwrap());
            }
        }
        delete_by_and_by(&c, || c.verb(&["delete", "--force"]));
        t.nothing_left();
    });
}

/// As deep as a path can name; it must not cost a descriptor for each level.
#[test]
fn cgroups_deeper_than_there_are_descriptors() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for dir in cheap(t) {
            let mut at = dir;
            for _ in 0..if unified() { 300 } else { 1500 } {
                at.push("x");
                fs::create_dir(&at).unwrap();
            }
        }
        let few = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];
        delete_by_and_by(&c, || t.call(["delete", "--force", &c.id]).under(few).run());
        t.nothing_left();
    });
}

/// A container that may divide its cgroup can freeze a part of itself.
#[test]
fn a_part_that_is_frozen() {
    check(|t| {
        for namespaces in [&["pid", "mount", "ipc", "uts"][..], &["mount", "ipc", "uts"]] {
            let mut b = t.bundle();
            b.namespaces(namespaces);
            let c = b.up(&["family", "2"]);
            let dir = if unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" };
            let part = PathBuf::from(format!("{dir}{}/part", b.cgroups_path()));
            fs::create_dir(&part).unwrap();
            let init = c.pid();
            let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
            fs::write(part.join("cgroup.procs"), children.split(' ').next().unwrap()).unwrap();
            let (file, frozen) = if unified() { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
            fs::write(part.join(file), frozen).unwrap();
            let begin = Moment::now();
            c.delete_force();
            begin.within(PROMPT);
            t.nothing_left();
        }
    });
}

/// What the freezer of version 1 holds from above cannot die: that is said at once, and the record stays.
#[test]
fn below_a_frozen_parent() {
    check(|t| {
        version_one();
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("/{}/box", t.token));
        let parent = PathBuf::from(format!("/sys/fs/cgroup/freezer/{}", t.token));
        let c = b.up(&["wait"]);
        fs::write(parent.join("freezer.state"), "FROZEN").unwrap();
        for _ in 0..2 {
            let begin = Moment::now();
            c.verb(&["delete", "--force"]).fails(&["frozen", "by", parent.to_str().unwrap()]);
            begin.within(PROMPT);
        }
        assert_eq!(c.status(), "running", "the record is there still");
        fs::write(parent.join("freezer.state"), "THAWED").unwrap();
        c.delete_force();
        t.remove_cgroups();
        t.nothing_left();
    });
}

/// A hook without a timeout holds the creation, and that the container.
#[test]
fn a_creation_that_hangs_in_a_hook() {
    check(|t| {
        for kind in ["createRuntime", "createContainer"] {
            let mut b = t.bundle();
            let marker = t.path("marker");
            let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", marker.display());
            b.set(
                &format!("/hooks/{kind}"),
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]),
            );
            let id = t.id();
            let call = b.call(&["create"], &id).spawn();
            until("the hook to run", || marker.exists());
            let hook = fs::read_to_string(&marker).unwrap();
            let begin = Moment::now();
            t.rt(&["delete", "--force", &id]).ok();
            begin.within(PROMPT);
            assert_ne!(call.wait().status, 0);
            t.nothing_left();
            // By the number that it has inside, where it is in the container.
            if kind == "createRuntime" {
                let hook = PathBuf::from(format!("/proc/{}", hook.trim()));
                until("the hook ends, too", || {
                    t.nothing_left();
                    !hook.exists()
                });
            }
        }
    });
}
