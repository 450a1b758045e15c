//! `--trace FILE`: the times of every step.

use integration_tests::*;
use std::fs;

/// The events of a trace, whose list has no end.
fn events(text: &str) -> Vec<Value> {
    let list = format!("{}]", text.trim_end().trim_end_matches(','));
    serde_json::from_str(&list).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn steps(events: &[Value], role: u64) -> Vec<&str> {
    let of = |e: &&Value| e["tid"] == role && e["ph"] != "M";
    events.iter().filter(of).map(|e| e["name"].as_str().unwrap()).collect()
}

#[test]
fn a_run_from_its_begin_to_its_end() {
    check(|t| {
        let mut b = t.bundle();
        let file = t.path("trace");
        b.args(&["/probe", "exit", "3"]);
        b.call(&["--trace", file.to_str().unwrap(), "run"], &t.id()).run().exits(3);
        let events = events(&fs::read_to_string(&file).unwrap());
        let (main, init) = (steps(&events, 0), steps(&events, 2));
        for step in ["read the command line", "make cgroups", "clone", "the container runs", "remove cgroups"]
        {
            assert!(main.contains(&step), "{step}: {main:?}");
        }
        for step in ["assemble the root file system", "become the user", "wait for start", "execve"] {
            assert!(init.contains(&step), "{step}: {init:?}");
        }
        for e in events.iter().filter(|e| e["ph"] != "M") {
            let begins = e["ts"].as_f64().unwrap();
            assert!(begins > 0.0, "{e}");
            assert_eq!(e["ph"] == "B", e["name"] == "execve", "only execve has no end: {e}");
            assert!(e["ph"] == "B" || e["dur"].as_f64().unwrap() >= 0.0, "{e}");
        }
        let times: Vec<_> = events.iter().filter_map(|e| e["ts"].as_f64()).collect();
        assert!(times.is_sorted(), "{times:?}");
    });
}

#[test]
fn several_verbs_share_a_file() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/probe", "exit", "0"]);
        let (id, file) = (t.id(), t.path("trace"));
        let trace = ["--trace", file.to_str().unwrap()];
        b.call(&[trace[0], trace[1], "create"], &id).run().ok();
        for verb in ["start", "state", "delete"] {
            let mut args = vec![trace[0], trace[1], verb];
            args.extend((verb == "delete").then_some("--force"));
            args.push(&id);
            t.rt(&args).ok();
        }
        let events = events(&fs::read_to_string(&file).unwrap());
        let titles: Vec<_> = events.iter().filter(|e| e["name"] == "process_name").collect();
        assert_eq!(titles.len(), 4, "{titles:?}");
        assert!(steps(&events, 0).contains(&"wait for execve"));
    });
}

#[test]
fn nothing_of_it_is_in_the_container() {
    check(|t| {
        let mut b = t.bundle();
        let file = t.path("trace");
        b.probe(&["facts", "fds"]);
        let facts = b.call(&["--trace", file.to_str().unwrap(), "run"], &t.id()).run().ok().facts();
        assert_eq!(facts["fds"].as_object().map_or(0, |m| m.len()), 3, "{facts}");
    });
}

#[test]
fn a_file_that_cannot_be_opened() {
    check(|t| {
        let b = t.bundle();
        let out = b.call(&["--trace", "/no/such/place", "run"], &t.id()).run();
        out.fails(&["/no/such/place", "No such file"]);
        t.nothing_left();
    });
}
