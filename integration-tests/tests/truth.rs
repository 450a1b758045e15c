//! The truth table: each verb on each status. What is allowed, in which words the rest is refused, and what the
//! container is afterwards.

use integration_tests::*;
use std::fs;

const STATUSES: [&str; 6] = ["creating", "created", "running", "paused", "stopped", "absent"];

/// A container of each status, by its name. `creating` lasts as long as a createRuntime hook waits.
struct Zoo<'c> {
    t: &'c Case,
}

struct Beast<'c> {
    t: &'c Case,
    id: String,
    /// The `create` that has not ended, and what lets its hook go on.
    birth: Option<(Running, std::path::PathBuf)>,
}

impl<'c> Zoo<'c> {
    fn a(&self, status: &str) -> Beast<'c> {
        let t = self.t;
        let mut b = t.bundle();
        b.probe(&["wait"]);
        match status {
            "absent" => return Beast { t, id: t.id(), birth: None },
            "creating" => {
                let (here, go) = (t.path("here"), t.path("go"));
                let script = format!(
                    "echo > {}; i=0; while [ ! -e {} ] && [ $i -lt 100000 ]; do sleep 0.01; i=$((i+1)); done",
                    here.display(),
                    go.display()
                );
                b.set(
                    "/hooks",
                    json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}),
                );
                let id = t.id();
                let out = fs::File::create(t.path("out")).unwrap();
                let call = b.call(&["create"], &id).stdout(out).spawn();
                until("the hook", || here.exists());
                return Beast { t, id, birth: Some((call, go)) };
            }
            _ => {}
        }
        let c = b.create();
        let beast = Beast { t, id: c.id.clone(), birth: None };
        if status != "created" {
            c.start();
            c.wait_for("ready");
        }
        match status {
            "paused" => drop(c.verb(&["pause"]).ok()),
            "stopped" => {
                c.kill("KILL");
                c.becomes("stopped");
            }
            _ => {}
        }
        beast
    }
}

impl Beast<'_> {
    fn call(&self, words: &[&str]) -> Output {
        // `ID` stands where the id belongs.
        let words: Vec<&str> = words.iter().map(|w| if *w == "ID" { &self.id } else { *w }).collect();
        self.t.rt(&words)
    }

    /// `absent` when there is none.
    fn status(&self) -> String {
        let out = self.t.rt(&["state", &self.id]);
        if out.status != 0 {
            out.fails(&["container does not exist"]);
            return "absent".into();
        }
        out.json()["status"].as_str().unwrap().to_string()
    }

    fn away(mut self) {
        if let Some((call, go)) = self.birth.take() {
            fs::write(go, "").unwrap();
            call.wait();
        }
        self.t.rt(&["delete", "--force", &self.id]).ok();
    }
}

/// What is expected of one verb on one status.
enum Fate {
    /// It succeeds, and this is the status then.
    Then(&'static str),
    /// It is refused in these words, and nothing has changed.
    No(&'static str),
}
use Fate::{No, Then};

#[track_caller]
fn row(t: &Case, words: &[&str], fates: [(&str, Fate); 5]) {
    let absent = ("absent", No("container does not exist"));
    let given: Vec<&str> = fates.iter().map(|(s, _)| *s).collect();
    assert_eq!(given, ["created", "running", "paused", "stopped", "absent"].map(|s| s), "{words:?}");
    for (status, fate) in fates.into_iter().filter(|(s, _)| *s != "absent").chain([absent]) {
        judge(&Zoo { t }, words, status, fate);
    }
}

#[track_caller]
fn judge(zoo: &Zoo, words: &[&str], status: &str, fate: Fate) {
    assert!(STATUSES.contains(&status));
    let beast = zoo.a(status);
    let out = beast.call(words);
    let wanted = match fate {
        Then(then) => {
            assert_eq!(out.status, 0, "{words:?} on {status}:\n{out}");
            then
        }
        No(text) => {
            assert_ne!(out.status, 0, "{words:?} on {status}:\n{out}");
            out.complains(&[text]);
            status
        }
    };
    let mut now = String::new();
    within(LONG, || {
        now = beast.status();
        now == wanted
    });
    assert_eq!(now, wanted, "after {words:?} on {status}:\n{out}");
    beast.away();
}

const ABSENT: (&str, Fate) = ("absent", No("container does not exist"));

#[test]
fn start() {
    check(|t| {
        row(
            t,
            &["start", "ID"],
            [
                ("created", Then("running")),
                ("running", No("cannot start an already running container")),
                ("paused", No("cannot start a container in the paused state")),
                ("stopped", No("cannot start a container that has stopped")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn state() {
    check(|t| {
        row(
            t,
            &["state", "ID"],
            [
                ("created", Then("created")),
                ("running", Then("running")),
                ("paused", Then("paused")),
                ("stopped", Then("stopped")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn kill() {
    check(|t| {
        row(
            t,
            &["kill", "ID", "KILL"],
            [
                ("created", Then("stopped")),
                ("running", Then("stopped")),
                ("paused", Then("stopped")),
                ("stopped", No("container not running")),
                ABSENT,
            ],
        );
        row(
            t,
            &["kill", "ID", "USR1"],
            [
                // Meant for the program, which is not there yet.
                ("created", Then("created")),
                ("running", Then("running")),
                ("paused", Then("paused")),
                ("stopped", No("container not running")),
                ABSENT,
            ],
        );
        row(
            t,
            &["kill", "ID", "TERM"],
            [
                ("created", Then("stopped")),
                ("running", Then("stopped")),
                ("paused", Then("paused")),
                ("stopped", No("container not running")),
                ABSENT,
            ],
        );
        row(
            t,
            &["kill", "--all", "ID", "KILL"],
            [
                ("created", Then("stopped")),
                ("running", Then("stopped")),
                ("paused", Then("stopped")),
                ("stopped", Then("stopped")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn delete() {
    check(|t| {
        row(
            t,
            &["delete", "ID"],
            [
                ("created", Then("absent")),
                ("running", No("that is not stopped: running")),
                ("paused", No("that is not stopped: paused")),
                ("stopped", Then("absent")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn delete_force() {
    check(|t| {
        for status in ["created", "running", "paused", "stopped", "absent"] {
            judge(&Zoo { t }, &["delete", "--force", "ID"], status, Then("absent"));
        }
    });
}

#[test]
fn pause() {
    check(|t| {
        row(
            t,
            &["pause", "ID"],
            [
                ("created", Then("paused")),
                ("running", Then("paused")),
                ("paused", No("container not running")),
                ("stopped", No("container not running")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn resume() {
    check(|t| {
        row(
            t,
            &["resume", "ID"],
            [
                ("created", No("container not paused")),
                ("running", No("container not paused")),
                ("paused", Then("running")),
                ("stopped", No("container not paused")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn exec() {
    check(|t| {
        row(
            t,
            &["exec", "ID", "/bin/true"],
            [
                ("created", Then("created")),
                ("running", Then("running")),
                ("paused", No("cannot exec in a paused container (use --ignore-paused to override)")),
                ("stopped", No("cannot exec in a stopped container")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn update() {
    check(|t| {
        row(
            t,
            &["update", "--pids-limit", "50", "ID"],
            [
                ("created", Then("created")),
                ("running", Then("running")),
                ("paused", Then("paused")),
                ("stopped", No("container not running")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn events() {
    check(|t| {
        row(
            t,
            &["events", "--stats", "ID"],
            [
                ("created", Then("created")),
                ("running", Then("running")),
                ("paused", Then("paused")),
                ("stopped", No("is not running")),
                ABSENT,
            ],
        );
    });
}

#[test]
fn ps() {
    check(|t| {
        row(
            t,
            &["ps", "-f", "json", "ID"],
            [
                ("created", Then("created")),
                ("running", Then("running")),
                ("paused", Then("paused")),
                ("stopped", Then("stopped")),
                ABSENT,
            ],
        );
    });
}

/// The id is taken, whatever its container does.
#[test]
fn create_and_run() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "0"]);
        b.write();
        let dir = b.dir.to_str().unwrap();
        for status in ["created", "running", "paused", "stopped"] {
            for verb in ["create", "run"] {
                let taken = No("container with given ID already exists");
                judge(&Zoo { t }, &[verb, "--bundle", dir, "ID"], status, taken);
            }
        }
    });
}

/// While `create` is at work: who looks sees it, who would change it is refused.
#[test]
fn while_it_is_created() {
    check(|t| {
        let zoo = Zoo { t };
        let b = t.bundle();
        b.write();
        let dir = b.dir.to_str().unwrap();
        for (words, part) in [
            (&["pause", "ID"][..], "container not running"),
            (&["resume", "ID"], "container not paused"),
            (&["update", "--pids-limit", "50", "ID"], "container not running"),
            (&["events", "--stats", "ID"], "is not running"),
            (&["exec", "ID", "/bin/true"], ""),
            (&["create", "--bundle", dir, "ID"], "container with given ID already exists"),
        ] {
            judge(&zoo, words, "creating", No(part));
        }
        judge(&zoo, &["state", "ID"], "creating", Then("creating"));
        let beast = zoo.a("creating");
        let list = t.rt(&["list", "-f", "json"]).ok().json();
        assert_eq!(list[0]["status"], "creating", "{list}");
        beast.away();
    });
}
