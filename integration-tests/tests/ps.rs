//! `ps`: the container's processes, as pids or as ps(1) shows them.

use integration_tests::*;

#[test]
fn json() {
    check(|t| {
        let c = t.bundle().up(&["family", "3"]);
        for flags in [&["ps", "--format", "json"][..], &["ps", "-f", "json"], &["ps", "--format=json"]] {
            let pids = c.verb(flags).ok().json();
            let pids = pids.as_array().unwrap();
            assert_eq!(pids.len(), 4, "{pids:?}");
            assert!(pids.contains(&json!(c.pid())), "pids are the host's");
        }
        c.delete_force();
    });
}

#[test]
fn table() {
    check(|t| {
        let c = t.bundle().up(&["family", "2"]);
        let out = c.verb(&["ps"]).ok();
        let lines: Vec<&str> = out.stdout.lines().collect();
        assert!(lines[0].starts_with("UID") && lines[0].contains("PID") && lines[0].contains("CMD"), "{out}");
        assert_eq!(lines.len(), 4, "{out}");
        assert!(lines[1..].iter().all(|l| l.contains("/probe family")), "{out}");
        c.delete_force();
    });
}

/// What follows the id is ps's own.
#[test]
fn further_words_are_for_ps() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let out = t.rt(&["ps", &c.id, "-e", "-o", "pid,comm"]).ok();
        let rows: Vec<Vec<&str>> = out.stdout.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows, [vec!["PID", "COMMAND"], vec![&c.pid().to_string(), "probe"]]);
        t.rt(&["ps", &c.id, "-e", "-o", "comm"]).fails(&["PID"]);
        c.delete_force();
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["ps", &t.id()]).fails(&["container does not exist"]);
    });
}

#[test]
fn a_stopped_container_has_none() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.kill("KILL");
        c.becomes("stopped");
        let pids = c.verb(&["ps", "-f", "json"]).ok().json();
        assert!(pids.is_null() || pids == json!([]), "{pids}");
    });
}
