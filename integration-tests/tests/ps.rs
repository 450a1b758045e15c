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
        let out = c.verb(&["ps", "-f", "json"]).ok();
        assert_eq!(out.stdout, "null\n");
        assert_eq!(c.verb(&["ps"]).ok().stdout.lines().count(), 1, "the header alone");
        // Also when its cgroup has gone.
        t.remove_cgroups();
        assert_eq!(c.verb(&["ps", "-f", "json"]).ok().stdout, "null\n");
    });
}

#[test]
fn what_ps_and_we_do_not_understand() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.verb(&["ps", "--format", "yaml"]).fails(&["invalid format option"]);
        let out = t.rt(&["ps", &c.id, "--nonsense"]);
        assert_eq!(out.status, 1, "{out}");
        assert!(out.stderr.contains("exit status") && out.stdout.is_empty(), "{out}");
        let out = c.verb(&["ps", "-f", "json"]).ok();
        assert_eq!(out.stdout, format!("[{}]\n", c.pid()));
        c.delete_force();
    });
}
