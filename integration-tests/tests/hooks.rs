//! The six kinds of hooks: when, where, with what, and what their failure means.

use integration_tests::*;
use std::fs;
use std::path::PathBuf;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle with the probe as a hook of each kind, all writing to one file that the container sees as /log/hooks.
struct Hooked<'c> {
    bundle: Bundle<'c>,
    file: PathBuf,
}

impl<'c> Hooked<'c> {
    fn new(t: &'c Case, kinds: &[&str]) -> Self {
        let mut bundle = t.bundle();
        let folder = t.folder("hooks");
        let file = folder.join("hooks");
        bundle.bind(&folder, "/log", &[]).set("/annotations", json!({"tide": "high"}));
        for kind in kinds {
            bundle.set(&format!("/hooks/{kind}/-"), hook(&bundle, kind, file.to_str().unwrap()));
        }
        Hooked { bundle, file }
    }

    /// What the hooks have told, in the order in which they ran.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).expect("a line of the probe")).collect()
    }

    fn order(&self) -> Vec<String> {
        self.told().iter().map(|h| h["hook"].as_str().unwrap().to_string()).collect()
    }
}

/// startContainer resolves its path in the container, all others outside.
fn hook(b: &Bundle, kind: &str, file: &str) -> Value {
    if kind == "startContainer" {
        json!({"path": "/probe", "args": ["probe", "hook", "/log/hooks", kind]})
    } else {
        json!({"path": b.rootfs().join("probe"), "args": ["probe", "hook", file, kind]})
    }
}

fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

#[test]
fn in_their_order_over_a_whole_life() {
    check(|t| {
        let h = Hooked::new(t, &KINDS);
        h.bundle.run().ok();
        assert_eq!(h.order(), KINDS);
        t.nothing_left();
    });
}

#[test]
fn each_verb_runs_its_own() {
    check(|t| {
        let mut h = Hooked::new(t, &KINDS);
        h.bundle.probe(&["wait"]);
        let c = h.bundle.create();
        assert_eq!(h.order(), KINDS[..3]);
        c.start();
        c.wait_for("ready");
        assert_eq!(h.order(), KINDS[..5]);
        c.kill("TERM");
        c.becomes("stopped");
        assert_eq!(h.order(), KINDS[..5]);
        c.delete();
        assert_eq!(h.order(), KINDS);
    });
}

#[test]
fn several_of_a_kind_run_one_after_the_other() {
    check(|t| {
        let mut h = Hooked::new(t, &[]);
        for n in 0..3 {
            let entry = hook(&h.bundle, &format!("prestart-{n}"), h.file.to_str().unwrap());
            h.bundle.set("/hooks/prestart/-", entry);
        }
        h.bundle.run().ok();
        assert_eq!(h.order(), ["prestart-0", "prestart-1", "prestart-2"]);
    });
}

#[test]
fn the_state_on_stdin() {
    check(|t| {
        let h = Hooked::new(t, &KINDS);
        let id = t.id();
        h.bundle.call(&["run"], &id).run().ok();
        for told in h.told() {
            let (kind, s) = (told["hook"].as_str().unwrap(), &told["state"]);
            assert_eq!((&s["id"], &s["ociVersion"]), (&json!(id), &json!("1.3.0")), "{kind}");
            assert_eq!(
                (&s["bundle"], &s["annotations"]),
                (&json!(h.bundle.dir), &json!({"tide": "high"})),
                "{kind}"
            );
            let status = match kind {
                "createRuntime" | "createContainer" => "creating",
                // Older than the status "creating": what these hooks see is a container that is created.
                "prestart" | "startContainer" => "created",
                _ => "stopped",
            };
            if kind != "poststart" {
                assert_eq!(s["status"], status, "{kind}");
            }
            match kind {
                "poststop" => assert!(s["pid"].is_null() || s["pid"] == 0, "{s}"),
                // From inside its own pid namespace init is 1, but the state tells the host's number.
                _ => assert!(s["pid"].as_i64().unwrap() > 0, "{kind}: {s}"),
            }
        }
    });
}

#[test]
fn the_state_that_poststart_sees_is_running() {
    check(|t| {
        let h = Hooked::new(t, &["poststart"]);
        h.bundle.run().ok();
        assert_eq!(h.told()[0]["state"]["status"], "running");
    });
}

/// Three in the runtime's namespaces, two in the container's.
#[test]
fn namespaces() {
    check(|t| {
        let h = Hooked::new(t, &KINDS);
        h.bundle.run().ok();
        for told in h.told() {
            let kind = told["hook"].as_str().unwrap();
            let inside = ["createContainer", "startContainer"].contains(&kind);
            for ns in ["mnt", "uts", "ipc", "net", "pid"] {
                assert_eq!(told["namespaces"][ns] == host_namespace(ns), !inside, "{kind}: {ns}");
            }
            // createContainer runs before the root changes.
            assert_eq!(told["rootHasProbe"], kind == "startContainer", "{kind}");
        }
    });
}

#[test]
fn env_is_the_hooks_own() {
    check(|t| {
        let mut h = Hooked::new(t, &KINDS);
        h.bundle.set("/process/env", json!(["PATH=/bin", "PAYLOAD=1"]));
        for kind in KINDS {
            h.bundle.set(&format!("/hooks/{kind}/0/env"), json!([format!("KIND={kind}"), "A=b c"]));
        }
        h.bundle.run().ok();
        for told in h.told() {
            assert_eq!(told["env"], json!([format!("KIND={}", told["hook"].as_str().unwrap()), "A=b c"]));
        }
    });
}

#[test]
fn a_start_container_hook_without_env_has_the_payloads() {
    check(|t| {
        let mut h = Hooked::new(t, &["startContainer"]);
        h.bundle.set("/process/env", json!(["PATH=/bin", "PAYLOAD=1"])).run().ok();
        assert!(words(&h.told()[0]["env"]).contains(&"PAYLOAD=1"));
    });
}

/// Without any env a hook gets nothing of the caller's.
#[test]
fn without_env_it_is_empty() {
    check(|t| {
        let h = Hooked::new(t, &["prestart", "createRuntime", "createContainer", "poststart", "poststop"]);
        h.bundle.run().ok();
        for told in h.told() {
            assert_eq!(told["env"], json!([]), "{}", told["hook"]);
        }
    });
}

#[test]
fn args_are_passed_as_they_are() {
    check(|t| {
        let mut b = t.bundle();
        let file = t.path("args");
        b.set("/hooks/prestart/-", json!({"path": "/bin/sh", "args": ["zero", "-c", format!("echo \"$0|$1|$2\" > {}", file.display()), "name", "two words", ""]}));
        b.run().ok();
        assert_eq!(fs::read_to_string(file).unwrap(), "name|two words|\n");
    });
}

#[test]
fn it_starts_in_the_bundle() {
    check(|t| {
        let h = Hooked::new(t, &["prestart", "createRuntime", "poststart"]);
        h.bundle.run().ok();
        for told in h.told() {
            assert_eq!(told["cwd"], json!(h.bundle.dir), "{}", told["hook"]);
        }
    });
}

#[test]
fn a_failing_hook_stops_the_creation_and_undoes_it() {
    check(|t| {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let mut h = Hooked::new(t, &[]);
            h.bundle.set(
                &format!("/hooks/{kind}"),
                json!([shell("true"), shell("echo rocks ahead >&2; exit 3")]),
            );
            let message = h.bundle.refused(&[kind, "hook #1", "exit status 3", "rocks ahead"]);
            assert!(!message.contains('\n'), "{message}");
        }
    });
}

/// As the specification's life cycle says: whatever fails after the first steps, poststop hooks run.
#[test]
fn poststop_runs_after_a_failed_creation() {
    check(|t| {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let mut h = Hooked::new(t, &["poststop"]);
            h.bundle.set(&format!("/hooks/{kind}"), json!([{"path": "/usr/bin/false"}]));
            h.bundle.refused(&[kind]);
            assert_eq!(h.order(), ["poststop"], "after {kind}");
        }
    });
}

#[test]
fn a_failing_start_container_hook_stops_run() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["say", "on board"]);
        b.set("/hooks/startContainer", json!([{"path": "/bin/false"}]));
        let out = b.run();
        out.fails(&["startContainer", "hook #0"]);
        assert_eq!(out.stdout, "");
        t.nothing_left();
    });
}

#[test]
fn a_failing_start_container_hook_fails_start() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/hooks/startContainer", json!([{"path": "/bin/false"}]));
        let c = b.create();
        c.verb(&["start"]).fails(&["startContainer", "hook #0"]);
        c.becomes("stopped");
        assert_eq!(c.output(), "");
        c.delete();
        t.nothing_left();
    });
}

/// The specification: log a warning, go on as if it had succeeded. runc 1.5 makes it an error of `run`.
#[test]
fn a_failing_poststart_hook_stops_run() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/hooks/poststart", json!([{"path": "/bin/false"}])).probe(&["deaf"]);
        b.run().fails(&["poststart", "hook #0"]);
        t.nothing_left();
    });
}

#[test]
fn a_failing_poststop_hook_is_a_warning() {
    check(|t| {
        let mut h = Hooked::new(t, &[]);
        let last = hook(&h.bundle, "poststop", h.file.to_str().unwrap());
        h.bundle.set("/hooks/poststop", json!([{"path": "/bin/false"}, last]));
        let c = h.bundle.create();
        let out = c.verb(&["delete"]).ok();
        assert!(out.log.contains("poststop"), "{out}");
        assert_eq!(h.order(), ["poststop"], "the others run nevertheless");
        t.nothing_left();
    });
}

#[test]
fn a_hook_that_hangs_is_ended_at_its_timeout() {
    check(|t| {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let mut b = t.bundle();
            b.set(
                &format!("/hooks/{kind}"),
                json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]),
            );
            let started = Moment::now();
            b.refused(&[kind, "hook #0", "timeout", "1"]);
            started.within(LONG);
        }
    });
}

#[test]
fn a_start_container_hook_that_hangs_is_ended_too() {
    check(|t| {
        let mut b = t.bundle();
        b.set(
            "/hooks/startContainer",
            json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]),
        );
        let started = Moment::now();
        b.refused(&["startContainer", "hook #0"]);
        started.within(LONG);
    });
}

/// A grandchild that holds the output open must not hold us.
#[test]
fn a_daemon_of_a_hook_does_not_hold_the_runtime() {
    check(|t| {
        let mut b = t.bundle();
        let pid = t.path("pid");
        b.set("/hooks/createRuntime", json!([shell(&format!("sleep 1000 & echo $! > {}", pid.display()))]));
        let out = b.call(&["run"], &t.id()).deadline(LONG).spawn().wait();
        let daemon: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        // SAFETY: the process that our own hook has left, which outlives the runtime.
        assert_eq!(unsafe { libc::kill(daemon, libc::SIGKILL) }, 0);
        out.ok();
    });
}

#[test]
fn a_hook_need_not_read_its_stdin() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/annotations", json!({"large": "x".repeat(500_000)}));
        b.set("/hooks/prestart", json!([{"path": "/bin/true"}]))
            .set("/hooks/poststop", json!([{"path": "/bin/true"}]));
        b.run().ok();
    });
}

#[test]
fn paths_that_cannot_be() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/hooks/prestart", json!([{"path": "/no/such/hook"}]));
        b.refused(&["prestart", "/no/such/hook", "no such file or directory"]);
        let mut b = t.bundle();
        b.set("/hooks/prestart", json!([{"path": "/etc/passwd"}]));
        b.refused(&["/etc/passwd", "permission denied"]);
    });
}

#[test]
fn a_relative_path_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/hooks/prestart", json!([{"path": "bin/true"}]));
        b.refused(&["prestart", "bin/true"]);
    });
}

/// The runtime's own pipes and files are none of a hook's business.
#[test]
fn a_hook_has_three_descriptors() {
    check(|t| {
        let mut b = t.bundle();
        let file = t.path("fds");
        let list = json!({"path": b.rootfs().join("probe"), "args": ["probe", "descriptors"]});
        // The probe prints; a shell around it catches.
        let script = format!("{} descriptors > {}", list["path"].as_str().unwrap(), file.display());
        b.set("/hooks/createRuntime", json!([shell(&script)]));
        b.run().ok();
        let fds: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(fds.as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "1", "2"], "{fds}");
    });
}

/// createRuntime hooks may set up the network: the namespace is there, and its pid is in the state.
#[test]
fn a_hook_may_change_the_containers_network() {
    check(|t| {
        let mut b = t.bundle();
        let script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip link add veth9 type veth peer name veth8";
        b.set("/hooks/createRuntime", json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]));
        let facts = b.facts(&[]);
        assert!(facts["network"].get("veth9").is_some(), "{}", facts["network"]);
    });
}
