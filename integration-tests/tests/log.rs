//! `--log`, `--log-format`, `--debug`: where messages go and what they look like.

use integration_tests::*;
use std::fs;

#[test]
fn json_errors_are_one_object_per_line() {
    check(|t| {
        let out = t.rt(&["state", &t.id()]);
        let entries = out.log_entries();
        assert_eq!(entries.len(), 1, "{out}");
        assert_eq!(
            (&entries[0]["level"], &entries[0]["msg"]),
            (&json!("error"), &json!("container does not exist"))
        );
        assert!(entries[0]["time"].is_string());
        assert_eq!(out.stderr, "container does not exist\n");
        assert_eq!(out.stdout, "");
    });
}

#[test]
fn the_log_is_appended_to() {
    check(|t| {
        let log = t.path("log");
        fs::write(&log, "{\"before\":1}\n").unwrap();
        for _ in 0..2 {
            let flags =
                ["--root", t.root.to_str().unwrap(), "--log", log.to_str().unwrap(), "--log-format", "json"];
            t.bare(flags).args(["state", "nobody"]).run().exits(1);
        }
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("{\"before\":1}\n"));
    });
}

#[test]
fn text_is_the_default_format() {
    check(|t| {
        let log = t.path("log");
        let out = t
            .bare(["--root", t.root.to_str().unwrap(), "--log", log.to_str().unwrap(), "state", "nobody"])
            .run()
            .exits(1);
        assert_eq!(out.stderr, "container does not exist\n");
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("level=error") && text.contains("msg=\"container does not exist\""), "{text}");
        assert!(text.starts_with("time=\""), "{text}");
    });
}

#[test]
fn without_a_log_file_stderr_has_it() {
    check(|t| {
        let root = t.root.to_str().unwrap();
        let out = t.bare(["--root", root, "state", "nobody"]).run().exits(1);
        assert!(out.stderr.contains("container does not exist"), "{out}");
        assert_eq!(out.stderr.lines().count(), 1, "once: {out}");
        let out = t.bare(["--root", root, "--log-format", "json", "state", "nobody"]).run().exits(1);
        let entry: Value = serde_json::from_str(out.stderr.lines().next().unwrap()).unwrap();
        assert_eq!(entry["msg"], "container does not exist");
        assert_eq!(out.stdout, "");
    });
}

#[test]
fn both_forms_of_a_flag() {
    check(|t| {
        let (root, log) = (t.root.to_str().unwrap(), t.path("log"));
        let flags =
            [format!("--root={root}"), format!("--log={}", log.display()), "--log-format=json".into()];
        t.bare(flags).args(["state", "nobody"]).run().exits(1);
        assert!(fs::read_to_string(&log).unwrap().starts_with('{'));
    });
}

#[test]
fn an_unknown_format() {
    check(|t| {
        let out = t.bare(["--log-format", "xml", "list"]).run();
        assert_ne!(out.status, 0);
        assert!(out.stderr.contains("log-format") && out.stderr.contains("xml"), "{out}");
    });
}

#[test]
fn debug_says_more() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let log = t.path("log");
        let flags = [
            "--debug",
            "--root",
            t.root.to_str().unwrap(),
            "--log",
            log.to_str().unwrap(),
            "--log-format",
            "json",
        ];
        let out = t.bare(flags).args(["run", "-b", b.dir.to_str().unwrap(), &t.id()]).log(log).run().ok();
        let debug = out.log_entries().into_iter().filter(|e| e["level"] == "debug").count();
        assert!(debug > 0, "{out}");
        assert_eq!(out.stderr, "");
    });
}

#[test]
fn a_log_that_cannot_be_opened() {
    check(|t| {
        let out = t.bare(["--log", "/no/such/folder/log", "list"]).run().exits(1);
        assert!(out.stderr.contains("/no/such/folder/log"), "{out}");
    });
}

/// A success writes nothing, nowhere.
#[test]
fn silence_on_success() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "0"]);
        let out = b.run().ok();
        assert_eq!((out.stdout, out.stderr, out.log), Default::default());
    });
}
