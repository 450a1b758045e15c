//! `start`: what it may be called on, and what it reports.

use integration_tests::*;

#[test]
fn prints_nothing() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let out = b.create().verb(&["start"]).ok();
        assert_eq!((out.stdout, out.stderr, out.log), Default::default());
    });
}

#[test]
fn only_a_created_container() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        c.verb(&["start"]).fails(&["cannot start an already running container"]);
        c.kill("TERM");
        c.becomes("stopped");
        c.verb(&["start"]).fails(&["cannot start a container that has stopped"]);
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["start", &t.id()]).fails(&["container does not exist"]);
    });
}

/// Twice at the same time: one wins, and the program runs once.
#[test]
fn twice_at_once() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        let calls: Vec<_> = (0..4).map(|_| t.call(["start", &c.id]).spawn()).collect();
        let statuses: Vec<i32> = calls.into_iter().map(|call| call.wait().status).collect();
        assert_eq!(statuses.iter().filter(|s| **s == 0).count(), 1, "{statuses:?}");
        c.wait_for("ready");
        assert_eq!(c.output(), "ready\n");
        c.delete_force();
    });
}

/// A payload that is gone at once is none of start's business.
#[test]
fn a_payload_that_fails_at_once() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "1"]);
        for _ in 0..5 {
            let c = b.create();
            c.start();
            c.becomes("stopped");
            c.delete();
        }
    });
}
