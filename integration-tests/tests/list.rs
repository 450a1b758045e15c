//! `list`: table, JSON, and ids only.

use integration_tests::*;
use std::fs;

#[test]
fn an_empty_root() {
    check(|t| {
        fs::create_dir(&t.root).unwrap();
        assert_eq!(t.rt(&["list", "--quiet"]).ok().stdout, "");
        assert_eq!(
            t.rt(&["list"]).ok().stdout.split_whitespace().collect::<Vec<_>>(),
            ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        );
        let json = t.rt(&["list", "--format=json"]).ok().json();
        assert!(json.is_null() || json == json!([]), "{json}");
    });
}

#[test]
fn a_root_that_does_not_exist() {
    check(|t| {
        t.rt(&["list"]).fails(&["no such file or directory"]);
    });
}

#[test]
fn table() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let out = t.rt(&["list"]).ok();
        let rows: Vec<Vec<&str>> = out.stdout.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 2);
        let bundle = c.state()["bundle"].as_str().unwrap().to_string();
        assert_eq!(rows[1][..4], [c.id.as_str(), &c.pid().to_string(), "running", &bundle]);
        assert_eq!(rows[1][5], "root");
        // Columns stand below their headings.
        let lines: Vec<&str> = out.stdout.lines().collect();
        assert_eq!(lines[0].find("STATUS"), lines[1].find("running"));
        c.delete_force();
    });
}

#[test]
fn json_has_what_state_has() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/annotations", json!({"a": "b"}));
        let (one, two) = (b.create(), t.bundle().create());
        let list = t.rt(&["list", "-f", "json"]).ok().json();
        assert_eq!(list.as_array().unwrap().len(), 2);
        for c in [one, two] {
            let entry = list.as_array().unwrap().iter().find(|e| e["id"] == c.id.as_str()).unwrap().clone();
            let mut state = c.state();
            state["owner"] = json!("root");
            assert_eq!(entry, state);
        }
    });
}

#[test]
fn quiet_is_ids_only() {
    check(|t| {
        let ids = [t.bundle().create().id, t.bundle().create().id];
        for flag in ["-q", "--quiet"] {
            let out = t.rt(&["list", flag]).ok();
            let mut told: Vec<_> = out.stdout.lines().collect();
            told.sort_unstable();
            assert_eq!(told, ids);
        }
    });
}

#[test]
fn stopped_ones_are_listed_with_pid_zero() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("KILL");
        c.becomes("stopped");
        let list = t.rt(&["list", "--format", "json"]).ok().json();
        assert_eq!((&list[0]["status"], &list[0]["pid"]), (&json!("stopped"), &json!(0)));
    });
}

/// What does not look like a container spoils nothing.
#[test]
fn strange_entries_do_not_stop_it() {
    check(|t| {
        let c = t.bundle().create();
        fs::write(t.root.join("stray"), "").unwrap();
        fs::create_dir(t.root.join("empty")).unwrap();
        let out = t.rt(&["list", "-q"]).ok();
        assert_eq!(out.stdout, format!("{}\n", c.id));
        fs::remove_file(t.root.join("stray")).unwrap();
        fs::remove_dir(t.root.join("empty")).unwrap();
    });
}

#[test]
fn an_unknown_format() {
    check(|t| {
        fs::create_dir(&t.root).unwrap();
        let out = t.rt(&["list", "--format", "yaml"]);
        assert_ne!(out.status, 0);
        assert!(out.stderr.contains("format"), "{out}");
    });
}
