//! `state`: one JSON document, and nothing else.

use integration_tests::*;

#[test]
fn every_member() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/annotations", json!({"org.example.one": "1", "two": "with \"quotes\""}));
        let c = b.create();
        let s = c.state();
        assert_eq!(s["ociVersion"], "1.3.0");
        assert_eq!(s["id"], c.id.as_str());
        assert_eq!(s["status"], "created");
        assert!(s["pid"].as_i64().unwrap() > 1);
        assert_eq!(s["bundle"], b.dir.to_str().unwrap());
        assert_eq!(s["rootfs"], b.rootfs().to_str().unwrap());
        assert!(s["created"].as_str().unwrap().ends_with('Z'), "UTC: {s}");
        assert_eq!(s["annotations"], json!({"org.example.one": "1", "two": "with \"quotes\""}));
        assert_eq!(s["owner"], "");
        let mut names: Vec<_> = s.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["annotations", "bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"]
        );
    });
}

/// CRI-O decodes it over its own record, so some names must never appear.
#[test]
fn no_foreign_member() {
    check(|t| {
        let s = t.bundle().create().state();
        let foreign = [
            "started",
            "finished",
            "exitcode",
            "oomkilled",
            "error",
            "initpid",
            "initstarttime",
            "checkpointedtime",
        ];
        for name in s.as_object().unwrap().keys() {
            assert!(!foreign.contains(&name.to_lowercase().as_str()), "{s}");
        }
    });
}

#[test]
fn without_annotations_there_is_no_such_member() {
    check(|t| {
        assert!(t.bundle().create().state().get("annotations").is_none());
    });
}

#[test]
fn the_time_of_creation_stays() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        let created = c.state()["created"].clone();
        c.start();
        c.wait_for("ready");
        assert_eq!(c.state()["created"], created);
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["state", &t.id()]).fails(&["container does not exist"]);
    });
}

/// A stranger's pid in the record is not our container: it counts as stopped, and is never signalled.
#[test]
fn a_dead_containers_pid_is_zero() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("KILL");
        c.becomes("stopped");
        assert_eq!(c.state()["pid"], 0);
    });
}

#[test]
fn it_needs_one_argument() {
    check(|t| {
        let out = t.rt(&["state"]);
        assert_ne!(out.status, 0);
        assert!(out.stderr.contains("argument") || out.stderr.contains("required"), "{out}");
    });
}
