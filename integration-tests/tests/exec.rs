//! `exec`: one more process in a living container, flag by flag, and what may happen to either meanwhile.

use integration_tests::*;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

fn call(t: &Case, c: &Container, flags: &[&str], words: &[&str]) -> Call {
    t.call(["exec"]).args(flags).args([&c.id]).args(words)
}

fn exec(t: &Case, c: &Container, flags: &[&str], words: &[&str]) -> Output {
    call(t, c, flags, words).run()
}

/// The facts of a probe in the container.
#[track_caller]
fn facts(t: &Case, c: &Container, flags: &[&str]) -> Value {
    exec(t, c, flags, &["/probe", "facts"]).ok().facts()
}

/// A failure of the runtime's own: 255, and one error.
#[track_caller]
fn refused(out: &Output, parts: &[&str]) -> String {
    assert_eq!(out.status, 255, "{out}");
    out.complains(parts)
}

/// `exec --process` with this document.
fn with_document(t: &Case, c: &Container, flags: &[&str], document: &Value) -> Output {
    let file = t.path("process");
    fs::write(&file, document.to_string()).unwrap();
    let mut all = vec!["--process", file.to_str().unwrap()];
    all.extend(flags);
    exec(t, c, &all, &[])
}

fn document(words: &[&str]) -> Value {
    json!({"args": words, "cwd": "/", "env": ["PATH=/bin"]})
}

fn same_namespaces(seen: &Value, c: &Container, kinds: &[&str]) {
    for kind in kinds {
        assert_eq!(seen["namespaces"][*kind], namespace_of(c.pid(), kind), "{kind}");
    }
}

#[test]
fn in_all_of_its_namespaces() {
    check(|t| {
        let all = ["pid", "net", "ipc", "uts", "mnt"];
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let seen = facts(t, &c, &[]);
        same_namespaces(&seen, &c, &all);
        assert_eq!(seen["hostname"], "runc");
        assert_eq!(seen["cwd"], "/");
        assert_eq!(seen["session"]["ppid"], 0, "its parent is outside");
        assert_eq!(seen["session"]["sid"], seen["session"]["pid"]);
        assert_eq!(seen["session"]["pgid"], seen["session"]["pid"]);
        assert_eq!(seen["session"]["controllingTerminal"]["errno"], "ENXIO");
        assert_eq!(seen["parentDeathSignal"], 0);
        assert_eq!(seen["signals"], json!({"ignored": [], "caught": [], "blocked": []}));
        assert_eq!(seen["fds"].as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "1", "2"]);
    });
}

#[test]
fn in_a_user_a_cgroup_and_a_time_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.user_namespace().namespace(json!({"type": "cgroup"})).namespace(json!({"type": "time"}));
        b.set("/linux/timeOffsets", json!({"monotonic": {"secs": 5000}}));
        let c = b.up(&["wait"]);
        let seen = facts(t, &c, &[]);
        same_namespaces(&seen, &c, &["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"]);
        assert_eq!(seen["user"]["uids"], json!([0, 0, 0]));
        assert_eq!(seen["timeOffsets"].as_str().map(|o| o.contains("5000")), Some(true));
        assert!(seen["cgroups"].as_object().unwrap().values().any(|p| p == "/"), "{}", seen["cgroups"]);
        let other = facts(t, &c, &["--user", "1000:1000"]);
        assert_eq!(other["user"]["uids"], json!([1000, 1000, 1000]));
    });
}

/// What the container shares with its creator it shares with exec, too.
#[test]
fn with_few_namespaces_of_its_own() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.namespaces(&["mount", "ipc"]).without_mount("/sys").up(&["wait"]);
        let seen = facts(t, &c, &[]);
        same_namespaces(&seen, &c, &["pid", "net", "ipc", "uts", "mnt"]);
        assert_eq!(seen["namespaces"]["pid"], host_namespace("pid"));
        assert!(seen["session"]["ppid"].as_i64().unwrap() > 0);
        assert_eq!(exec(t, &c, &[], &["/probe", "exit", "9"]).status, 9);
        c.delete_force();
    });
}

/// Without a mount namespace a container is in a chroot.
#[test]
fn without_a_mount_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/mounts", json!([])).remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        b.namespaces(&["pid", "ipc"]).writable();
        b.args(&["/bin/sh", "-c", "echo ready; while :; do sleep 1; done"]);
        let c = b.create();
        c.start();
        c.wait_for("ready");
        let out = exec(t, &c, &["--cwd", "/tmp"], &["/bin/sh", "-c", "ls -d /probe; pwd"]).ok();
        assert_eq!(out.stdout, "/probe\n/tmp\n");
        c.delete_force();
    });
}

#[test]
fn in_its_cgroup() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let seen = facts(t, &c, &[]);
        let of_init = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
        for line in of_init.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let name = parts.next().unwrap().trim_start_matches("name=");
            assert_eq!(seen["cgroups"][name], parts.next().unwrap(), "{name}");
        }
    });
}

#[test]
fn in_a_cgroup_below() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let own = b.cgroups_path();
        let hierarchies: Vec<String> = if unified() {
            vec!["/sys/fs/cgroup".into()]
        } else {
            [
                "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd",
                "unified",
            ]
            .map(|h| format!("/sys/fs/cgroup/{h}"))
            .to_vec()
        };
        let known = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
        for h in &hierarchies {
            let name = h.rsplit('/').next().unwrap();
            // The place within the hierarchy differs where the tests themselves are below.
            let place = known
                .lines()
                .find(|l| {
                    l.contains(&format!(":{name}:"))
                        || l.contains(&format!("={name}:"))
                        || l.starts_with("0::") && (unified() || name == "unified")
                })
                .and_then(|l| l.splitn(3, ':').nth(2));
            let Some(place) = place else { continue };
            let dir = format!("{h}{place}/below");
            fs::create_dir(&dir).unwrap_or_else(|e| panic!("{dir}: {e}"));
            if name == "cpuset" {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(format!("{dir}/{file}"), fs::read(format!("{h}{place}/{file}")).unwrap())
                        .unwrap();
                }
            }
        }
        let seen = facts(t, &c, &["--cgroup", "below"])["cgroups"].clone();
        let controller = if unified() { "" } else { "pids" };
        assert_eq!(seen[controller], format!("{own}/below"));
        if !unified() {
            let seen =
                facts(t, &c, &["--cgroup", "pids,cpu:below", "--cgroup", "memory:/"])["cgroups"].clone();
            assert_eq!(seen["pids"], format!("{own}/below"));
            assert!(seen["cpu"].as_str().unwrap().ends_with("/below"));
            assert!(!seen["memory"].as_str().unwrap().ends_with("/below"));
            let out = exec(t, &c, &["--cgroup", "below", "--cgroup", "memory:x"], &["/bin/true"]);
            refused(&out, &["missing <controller>: prefix"]);
            let out = exec(t, &c, &["--cgroup", "nonsense:below"], &["/bin/true"]);
            refused(&out, &["unknown controller nonsense"]);
        }
        for bad in ["..", "../x", "below/../.."] {
            refused(&exec(t, &c, &["--cgroup", bad], &["/bin/true"]), &["bad sub cgroup path"]);
        }
        refused(&exec(t, &c, &["--cgroup", "missing"], &["/bin/true"]), &["no such file or directory"]);
        c.delete_force();
    });
}

#[test]
fn at_the_limit_of_processes() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/pids", json!({"limit": 1}));
        let c = b.up(&["wait"]);
        assert_eq!(exec(t, &c, &[], &["/probe", "exit", "4"]).status, 4);
        c.delete_force();
    });
}

#[test]
fn exit_statuses() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        for n in ["0", "1", "42", "125", "126", "127", "255"] {
            let out = exec(t, &c, &[], &["/probe", "exit", n]);
            assert_eq!(out.status.to_string(), n);
            assert_eq!((out.stdout, out.stderr, out.log), Default::default());
        }
        for (signal, status) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("HUP", 129)] {
            assert_eq!(exec(t, &c, &[], &["/probe", "signal", signal]).status, status);
        }
        assert_eq!(c.status(), "running");
    });
}

#[test]
fn a_program_that_cannot_be_executed() {
    check(|t| {
        let mut b = t.bundle();
        fs::write(b.rootfs().join("tmp/plain"), "text").unwrap();
        executable(&b.rootfs().join("tmp/odd"), "#!/no/such/interpreter\n");
        let c = b.up(&["wait"]);
        let prefix = "exec failed: unable to start container process: ";
        for (program, text) in [
            ("nope", "exec: \"nope\": executable file not found in $PATH"),
            ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
            ("/tmp/plain", "exec: \"/tmp/plain\": permission denied"),
            ("/tmp", "exec: \"/tmp\": is a directory"),
            ("/tmp/odd", "no such file or directory"),
        ] {
            let message = refused(&exec(t, &c, &[], &[program]), &[text]);
            assert!(message.starts_with(prefix), "{message}");
        }
        refused(&exec(t, &c, &[], &[]), &["exec args cannot be empty"]);
        assert_eq!(c.status(), "running");
    });
}

/// What cannot be understood is never an id (CVE-2026-30892).
#[test]
fn users() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/user", json!({"uid": 7, "gid": 8}));
        let c = b.up(&["wait"]);
        for (user, uid, gid) in [
            ("0", 0, 8),
            ("1", 1, 8),
            ("1:2", 1, 2),
            ("0:0", 0, 0),
            ("65534", 65534, 8),
            ("4294967294:4294967294", 4_294_967_294_u32, 4_294_967_294_u32),
        ] {
            let seen = facts(t, &c, &["--user", user])["user"].clone();
            assert_eq!(
                (&seen["uids"], &seen["gids"]),
                (&json!([uid, uid, uid]), &json!([gid, gid, gid])),
                "{user}"
            );
        }
        assert_eq!(facts(t, &c, &[])["user"]["uids"], json!([7, 7, 7]));
        for bad in [
            ":2",
            "1:",
            ":",
            "4294967295",
            "0:4294967295",
            "-1",
            "99999999999",
            "0x1",
            "1 ",
            " 1",
            "root",
            "1:2:3",
        ] {
            refused(&exec(t, &c, &["--user", bad], &["/bin/true"]), &["bad "]);
        }
        for (flag, bad) in [("-u", "1:x"), ("--user", "x:1")] {
            refused(&exec(t, &c, &[flag, bad], &["/bin/true"]), &["bad "]);
        }
    });
}

#[test]
fn groups() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/user/additionalGids", json!([5]));
        let c = b.up(&["wait"]);
        assert_eq!(facts(t, &c, &[])["user"]["groups"], json!([5]));
        let seen = facts(t, &c, &["-g", "100", "-g", "65534"]);
        assert_eq!(seen["user"]["groups"], json!([5, 100, 65534]));
        let out = exec(t, &c, &["--additional-gids", "-1"], &["/bin/true"]);
        refused(&out, &["additional-gids must be a positive number"]);
        assert_eq!(facts(t, &c, &["--additional-gids", "3"])["user"]["groups"], json!([3, 5]));
        let out = exec(t, &c, &["-g", "4294967295"], &["/bin/true"]);
        refused(&out, &["additional-gids"]);
    });
}

#[test]
fn environment() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let seen = call(t, &c, &[], &["/probe", "facts"]).env("SECRET", "of the caller").run().ok().facts();
        let env = words(&seen["env"]);
        assert!(env.contains(&"TERM=xterm") && env.contains(&"HOME=/root"), "{env:?}");
        assert!(!env.iter().any(|e| e.starts_with("SECRET")));
        let seen = facts(t, &c, &["-e", "A=1", "-e", "B=x=y z", "-e", "TERM=dumb", "-e", "EMPTY="]);
        let env = words(&seen["env"]);
        for want in ["A=1", "B=x=y z", "TERM=dumb", "EMPTY="] {
            assert!(env.contains(&want), "{want}: {env:?}");
        }
        assert_eq!(env.iter().filter(|e| e.starts_with("TERM=")).count(), 1);
        let seen = facts(t, &c, &["--user", "1000"]);
        assert!(words(&seen["env"]).contains(&"HOME=/home/sailor"));
        let seen = facts(t, &c, &["-e", "HOME=/elsewhere"]);
        assert!(words(&seen["env"]).contains(&"HOME=/elsewhere"));
        // Also where to look for the program.
        let out = exec(t, &c, &["-e", "PATH=/"], &["probe", "exit", "6"]);
        assert_eq!(out.status, 6, "{out}");
    });
}

#[test]
fn working_directory() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/cwd", "/etc");
        let private = b.rootfs().join("var/private");
        fs::create_dir(&private).unwrap();
        std::os::unix::fs::chown(&private, Some(1000), Some(1000)).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let c = b.up(&["wait"]);
        assert_eq!(facts(t, &c, &[])["cwd"], "/etc");
        assert_eq!(facts(t, &c, &["--cwd", "/tmp"])["cwd"], "/tmp");
        let seen = facts(t, &c, &["--cwd", "/var/private", "--user", "1000:1000"]);
        assert_eq!(seen["cwd"], "/var/private", "only its user may enter it");
        let out = exec(t, &c, &["--cwd", "/missing"], &["/bin/true"]);
        refused(&out, &["chdir to cwd (\"/missing\")", "no such file or directory"]);
        let out = exec(t, &c, &["--cwd", "tmp"], &["/bin/true"]);
        refused(&out, &["absolute path"]);
        assert_eq!(exec(t, &c, &["--cwd", "/tmp"], &["../probe", "exit", "3"]).status, 3);
    });
}

fn sets(facts: &Value) -> [Vec<String>; 5] {
    ["bounding", "effective", "permitted", "inheritable", "ambient"]
        .map(|set| words(&facts["capabilities"][set]).iter().map(|n| n.replace("CAP_", "")).collect())
}

/// Case 28: never in the inheritable set what the configuration has not there (CVE-2022-29162).
#[test]
fn capabilities() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/noNewPrivileges", false);
        b.capabilities(&["CAP_KILL", "CAP_CHOWN"]);
        let c = b.up(&["wait"]);
        let none: [&str; 0] = [];
        let own = ["CHOWN", "KILL"];
        assert_eq!(sets(&facts(t, &c, &[])), [&own[..], &own, &own, &none, &none]);
        assert_eq!(sets(&facts(t, &c, &["--user", "1000"])), [&own[..], &none, &none, &none, &none]);
        let more = ["CHOWN", "KILL", "NET_ADMIN", "SYS_CHROOT"];
        let flags = ["-c", "CAP_NET_ADMIN", "-c", "CAP_SYS_CHROOT"];
        assert_eq!(sets(&facts(t, &c, &flags)), [&more[..], &more, &more, &none, &none]);
        let mut flags = flags.to_vec();
        flags.extend(["--user", "1000"]);
        assert_eq!(sets(&facts(t, &c, &flags)), [&more[..], &none, &none, &none, &none]);
        let out = exec(t, &c, &["--cap", "CAP_NO_SUCH_THING"], &["/probe", "facts"]).ok();
        assert_eq!(sets(&out.facts()), [&own[..], &own, &own, &none, &none]);
        c.delete_force();
    });
}

#[test]
fn ambient_capabilities() {
    check(|t| {
        let mut b = t.bundle();
        let all = json!(["CAP_KILL", "CAP_CHOWN"]);
        b.set(
            "/process/capabilities",
            json!({"bounding": all, "effective": all, "permitted": all, "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}),
        );
        let c = b.up(&["wait"]);
        let (own, kill) = (["CHOWN", "KILL"], ["KILL"]);
        assert_eq!(
            sets(&facts(t, &c, &["--user", "1000"])),
            [&own[..], &kill, &kill, &kill, &kill],
            "what is ambient is kept by a user"
        );
        let more = ["CHOWN", "KILL", "NET_RAW"];
        assert_eq!(sets(&facts(t, &c, &["--cap", "CAP_NET_RAW"]))[..4], [&more[..], &more, &more, &kill]);
    });
}

#[test]
fn no_new_privileges() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/noNewPrivileges", false);
        let c = b.up(&["wait"]);
        assert_eq!(facts(t, &c, &[])["noNewPrivileges"], false);
        assert_eq!(facts(t, &c, &["--no-new-privs"])["noNewPrivileges"], true);
        c.delete_force();
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        assert_eq!(facts(t, &c, &[])["noNewPrivileges"], true);
        let out = with_document(t, &c, &[], &document(&["/probe", "facts"])).ok();
        assert_eq!(out.facts()["noNewPrivileges"], false, "the document says no");
    });
}

#[test]
fn limits() {
    check(|t| {
        let mut b = t.bundle();
        b.set(
            "/process/rlimits",
            json!([
                {"type": "RLIMIT_NOFILE", "soft": 40, "hard": 77},
                {"type": "RLIMIT_NPROC", "soft": 1, "hard": 2},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ]),
        );
        let c = b.up(&["wait"]);
        for flags in [&[][..], &["--user", "12345"]] {
            let seen = facts(t, &c, flags)["rlimits"].clone();
            assert_eq!(seen["RLIMIT_NOFILE"], json!([40, 77]));
            assert_eq!(seen["RLIMIT_NPROC"], json!([1, 2]));
            assert_eq!(seen["RLIMIT_CORE"], json!([0, 0]));
        }
        let mut d = document(&["/probe", "facts"]);
        let seen = with_document(t, &c, &[], &d).ok().facts()["rlimits"].clone();
        assert_eq!(seen["RLIMIT_NOFILE"], json!([40, 77]), "the container's where the document has none");
        d["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}]);
        let seen = with_document(t, &c, &[], &d).ok().facts()["rlimits"].clone();
        assert_eq!(seen["RLIMIT_NOFILE"], json!([10, 20]));
        c.delete_force();
    });
}

#[test]
fn a_process_document() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let own = json!(["CAP_CHOWN"]);
        let d = json!({
            "args": ["/probe", "facts"], "cwd": "/tmp", "env": ["A=1"], "terminal": false,
            "user": {"uid": 3, "gid": 4, "additionalGids": [9], "umask": 63},
            "capabilities": {"bounding": own, "permitted": [], "effective": []},
            "noNewPrivileges": true, "oomScoreAdj": 300,
        });
        let seen = with_document(t, &c, &["--cwd", "/nowhere", "--env", "B=2"], &d).ok().facts();
        assert_eq!(seen["cwd"], "/tmp", "the document is all");
        assert_eq!(words(&seen["env"]), ["A=1", "HOME=/"]);
        assert_eq!(seen["user"]["uids"], json!([3, 3, 3]));
        assert_eq!(seen["user"]["groups"], json!([9]));
        assert_eq!(seen["user"]["umask"], 63);
        assert_eq!(seen["capabilities"]["bounding"], own);
        assert_eq!(seen["noNewPrivileges"], true);
        assert_eq!(seen["oomScoreAdj"], 300);
    });
}

#[test]
fn a_process_document_that_is_wrong() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        for (change, part) in [
            (json!({"args": []}), "args must not be empty"),
            (json!({"cwd": ""}), "Cwd property must not be empty"),
            (json!({"cwd": "tmp"}), "Cwd must be an absolute path"),
        ] {
            let mut d = document(&["/bin/true"]);
            d.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            refused(&with_document(t, &c, &[], &d), &[part]);
        }
        refused(&with_document(t, &c, &[], &json!("text")), &[]);
        let file = t.path("torn");
        fs::write(&file, "{\"args\": [").unwrap();
        refused(&exec(t, &c, &["-p", file.to_str().unwrap()], &[]), &[]);
        refused(&exec(t, &c, &["-p", "/no/such/file"], &[]), &["/no/such/file", "no such file or directory"]);
    });
}

#[test]
fn scheduling() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 4}));
        b.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
        b.set("/process/oomScoreAdj", 200);
        let c = b.up(&["wait"]);
        let seen = facts(t, &c, &["--user", "1000"]);
        assert_eq!(
            (&seen["scheduler"]["policy"], &seen["scheduler"]["nice"]),
            (&json!("SCHED_BATCH"), &json!(4))
        );
        assert_eq!(seen["ioPriority"], json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
        assert_eq!(seen["oomScoreAdj"], 200);
        let mut d = document(&["/probe", "facts"]);
        let seen = with_document(t, &c, &[], &d).ok().facts();
        assert_eq!(seen["scheduler"]["policy"], "SCHED_BATCH", "the container's where the document has none");
        d["scheduler"] = json!({"policy": "SCHED_IDLE"});
        d["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
        let seen = with_document(t, &c, &[], &d).ok().facts();
        assert_eq!(seen["scheduler"]["policy"], "SCHED_IDLE");
        assert_eq!(seen["ioPriority"]["class"], "IOPRIO_CLASS_IDLE");
    });
}

/// What a fork would not keep.
#[test]
fn scheduling_that_no_child_inherits() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let mut d = document(&["/probe", "facts"]);
        d["scheduler"] = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 9_000_000, "period": 10_000_000});
        let seen = with_document(t, &c, &[], &d).ok().facts();
        assert_eq!(seen["scheduler"]["policy"], "SCHED_DEADLINE");
        d["scheduler"] = json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
        let seen = with_document(t, &c, &[], &d).ok().facts();
        assert_eq!(seen["scheduler"]["policy"], "SCHED_BATCH");
        assert_eq!(seen["scheduler"]["flags"].as_u64().unwrap() & 1, 1);
    });
}

#[test]
fn cpu_affinity() {
    check(|t| {
        let mut b = t.bundle();
        let all = cpus();
        let (first, last) = (all[0], all[all.len() - 1]);
        let [one, other, both] = [first.to_string(), last.to_string(), format!("{first},{last}")];
        let mut two = vec![first, last];
        two.dedup();
        b.set("/process/execCPUAffinity", json!({"initial": one, "final": other}));
        let c = b.up(&["wait"]);
        assert_eq!(facts(t, &c, &[])["affinity"], json!([last]));
        let mut d = document(&["/probe", "facts"]);
        for (affinity, want) in
            [(json!({"initial": other, "final": both}), json!(two)), (json!({"final": one}), json!([first]))]
        {
            d["execCPUAffinity"] = affinity;
            assert_eq!(with_document(t, &c, &[], &d).ok().facts()["affinity"], want);
        }
        d["execCPUAffinity"] = json!({"final": "x"});
        refused(&with_document(t, &c, &[], &d), &["affinity"]);
        c.delete_force();
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let own = call(t, &c, &[], &["/probe", "facts"]).under(["taskset", "-c", &one]).run().ok().facts();
        assert_eq!(own["affinity"], json!(all), "the caller's is not the container's");
    });
}

#[test]
fn personality_and_umask() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/personality", json!({"domain": "LINUX32"})).set("/process/user/umask", 0o27);
        let c = b.up(&["wait"]);
        let seen = facts(t, &c, &[]);
        assert_eq!(seen["personality"], 8);
        assert_eq!(seen["user"]["umask"], 0o27);
    });
}

#[test]
fn a_keyring_of_the_containers() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let seen = facts(t, &c, &[])["keyring"].clone();
        if seen["errno"] == "ENOSYS" {
            skip!("no keyrings here");
        }
        let name = format!(";_ses.{}", c.id);
        assert!(seen["description"].as_str().unwrap_or_default().ends_with(&name), "{seen}");
    });
}

#[test]
fn seccomp() {
    check(|t| {
        for nnp in [true, false] {
            let mut b = t.bundle();
            b.set("/process/noNewPrivileges", nnp);
            b.set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                    {"names": ["sendmsg", "clone3", "setsid"], "action": "SCMP_ACT_KILL_PROCESS"},
                ]}),
            );
            let c = b.up(&["wait"]);
            for user in ["0", "1000"] {
                let seen = facts(t, &c, &["--user", user]);
                assert_eq!((&seen["seccomp"], &seen["seccompFilters"]), (&json!(2), &json!(1)));
                assert_eq!(seen["noNewPrivileges"], nnp);
                assert!(!words(&seen["capabilities"]["permitted"]).contains(&"CAP_SYS_ADMIN"));
            }
            assert_eq!(
                exec(t, &c, &[], &["/probe", "syscalls", "83"]).ok().facts(),
                json!({"83": {"errno": "ENOSPC"}})
            );
            c.delete_force();
        }
    });
}

#[test]
fn detached() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let (file, out) = (t.path("pid"), t.path("out"));
        let flags = ["--detach", "--pid-file", file.to_str().unwrap()];
        let run = call(t, &c, &flags, &["/probe", "wait"]).stdout(File::create(&out).unwrap()).run().ok();
        assert_eq!((run.stderr, run.log), Default::default());
        let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
        adopt(pid);
        until("the process is ready", || fs::read_to_string(&out).unwrap().contains("ready"));
        assert_eq!(namespace_of(pid, "pid"), namespace_of(c.pid(), "pid"));
        // SAFETY: a process of the test's own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        assert_eq!(wait_for_adopted(pid), 0, "it is its caller's child");
        // A failure is told, and leaves no pid behind.
        let file = t.path("pid");
        let flags = ["-d", "--pid-file", file.to_str().unwrap()];
        refused(&exec(t, &c, &flags, &["/nope"]), &["no such file or directory"]);
        assert!(!file.exists());
    });
}

#[test]
fn pidfd_socket() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let (socket, file) = (ConsoleSocket::bind(&t.path("pidfd")), t.path("pid"));
        let flags =
            ["-d", "--pidfd-socket", socket.path.to_str().unwrap(), "--pid-file", file.to_str().unwrap()];
        exec(t, &c, &flags, &["/probe", "wait"]).ok();
        let (fd, _) = socket.receive_descriptor();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let pid = info.lines().find_map(|l| l.strip_prefix("Pid:")).map(str::trim);
        assert_eq!(pid, Some(fs::read_to_string(&file).unwrap().as_str()), "{info}");
        refused(
            &exec(t, &c, &["--pidfd-socket", "/no/such"], &["/bin/true"]),
            &["no such file or directory"],
        );
        let pid = fs::read_to_string(&file).unwrap().parse().unwrap();
        adopt(pid);
        // SAFETY: a process of the test's own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        assert_eq!(wait_for_adopted(pid), 137);
        c.delete_force();
    });
}

/// Case 20: what the caller leaks stays outside, what it hands on comes through, and nothing else.
#[test]
fn descriptors() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut leaky = call(t, &c, &["--preserve-fds", "2"], &["/probe", "descriptors"]);
        for n in 5..203 {
            leaky = leaky.pass(n, File::open("/").unwrap());
        }
        let seen =
            leaky.pass(3, File::open(&file).unwrap()).pass(4, File::open(&file).unwrap()).run().ok().facts();
        assert_eq!(keys(&seen), ["0", "1", "2", "3", "4"]);
        assert_eq!(seen["3"]["target"], file.to_str().unwrap());
        let out =
            call(t, &c, &["--preserve-fds", "3"], &["/bin/true"]).pass(3, File::open(&file).unwrap()).run();
        refused(&out, &["preserved-fd"]);
        let call = call(t, &c, &["--preserve-fds", "1"], &["/probe", "facts"])
            .env("LISTEN_FDS", "1")
            .under(["/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
        let open = || File::open(&file).unwrap();
        let seen = call.pass(3, open()).pass(4, open()).pass(5, open()).run().ok().facts();
        assert_eq!(keys(&seen["fds"]), ["0", "1", "2", "3", "4"]);
        let env = words(&seen["env"]);
        let pid = format!("LISTEN_PID={}", seen["session"]["pid"]);
        assert!(env.contains(&"LISTEN_FDS=1") && env.contains(&pid.as_str()), "{env:?}");
    });
}

#[test]
fn standard_streams() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let input = t.path("in");
        fs::write(&input, "ahoy\n").unwrap();
        let out = call(t, &c, &[], &["/probe", "echo"]).stdin(File::open(&input).unwrap()).run().ok();
        assert_eq!(out.stdout, "ahoy\n");
        let out = exec(t, &c, &[], &["/probe", "bytes", "307200"]).ok();
        assert_eq!(out.stdout.len(), 307_200);
        let out = exec(t, &c, &[], &["/bin/sh", "-c", "echo to stderr >&2; exit 3"]).exits(3);
        assert_eq!(out.stderr, "to stderr\n");
    });
}

#[test]
fn words_after_the_id_are_the_programs() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let out = exec(t, &c, &[], &["/bin/echo", "--env", "-t", "--detach", "-x=1", "--", "y"]).ok();
        assert_eq!(out.stdout, "--env -t --detach -x=1 -- y\n");
        assert_eq!(exec(t, &c, &["-cwd", "/tmp"], &["/bin/sh", "-c", "pwd"]).stdout, "/tmp\n");
    });
}

#[test]
fn a_terminal_over_the_socket() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let socket = ConsoleSocket::bind(&t.path("console"));
        let path = socket.path.to_str().unwrap();
        exec(t, &c, &["--tty", "--detach", "--console-socket", path, "--user", "1000"], &["/probe", "facts"])
            .ok();
        let (mut pty, name) = socket.receive();
        assert!(name.starts_with("/dev/p"), "{name}");
        let seen: Value = serde_json::from_str(pty.expect("\r\n").trim()).unwrap();
        for fd in ["0", "1", "2"] {
            assert_eq!(seen["fds"][fd]["target"], "/dev/pts/0");
        }
        assert_eq!(seen["fds"].as_object().unwrap().len(), 3);
        assert_eq!(seen["session"]["controllingTerminal"], true);
        assert_eq!(seen["session"]["foreground"], seen["session"]["pgid"]);
        assert!(seen["dev"].get("console").is_none(), "no /dev/console for exec");
        let mut d = document(&["/probe", "size"]);
        d["terminal"] = json!(true);
        d["consoleSize"] = json!({"height": 41, "width": 133});
        with_document(t, &c, &["-d", "--console-socket", path], &d).ok();
        let (mut pty, _) = socket.receive();
        pty.expect("size 133x41");
        c.delete_force();
    });
}

#[test]
fn a_terminal_in_the_foreground() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let (mut pty, slave) = Pty::pair();
        pty.resize(101, 31);
        let before = pty.settings();
        let script = "tty; stty size; read line; echo got $line; exit 7";
        let running =
            call(t, &c, &["-t"], &["/bin/sh", "-c", script]).terminal(slave.try_clone().unwrap()).spawn();
        pty.expect("/dev/pts/0");
        pty.expect("31 101");
        pty.write("parrot\r");
        pty.expect("got parrot\r\n");
        running.wait().exits(7);
        let after = pty.settings();
        assert_eq!(
            (after.c_lflag, after.c_iflag, after.c_oflag),
            (before.c_lflag, before.c_iflag, before.c_oflag)
        );
        let script = "trap 'echo interrupted; exit 9' INT; echo set up; while :; do sleep 1; done";
        let running = call(t, &c, &["-t"], &["/bin/sh", "-c", script]).terminal(slave).spawn();
        pty.expect("set up");
        pty.write("\x03");
        pty.expect("interrupted");
        running.wait().exits(9);
    });
}

/// A terminal of the caller's is no terminal of the container's.
#[test]
fn without_a_terminal_on_one() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/terminal", false);
        let c = b.up(&["wait"]);
        let (mut pty, slave) = Pty::pair();
        let running = call(t, &c, &[], &["/probe", "facts"]).terminal(slave).spawn();
        let seen: Value = serde_json::from_str(pty.expect("\n").trim()).unwrap();
        running.wait().ok();
        assert_eq!(seen["session"]["controllingTerminal"]["errno"], "ENXIO");
    });
}

#[test]
fn terminals_and_sockets_that_do_not_fit() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let without = "cannot allocate tty if runc will detach without setting console socket";
        refused(&exec(t, &c, &["-t", "-d"], &["/bin/true"]), &[without]);
        let with = "cannot use console socket if runc will not detach or allocate tty";
        for flags in [
            &["--console-socket", "/x"][..],
            &["-t", "--console-socket", "/x"],
            &["-d", "--console-socket", "/x"],
        ] {
            refused(&exec(t, &c, flags, &["/bin/true"]), &[with]);
        }
        let out = exec(t, &c, &["-t", "-d", "--console-socket", "/no/such/socket"], &["/bin/true"]);
        refused(&out, &["no such file or directory"]);
        assert_eq!(exec(t, &c, &["-t"], &["/bin/true"]).status, 255, "no terminal outside");
    });
}

#[test]
fn labels_without_a_module() {
    check(|t| {
        let has = |file: &str, yes: &str| fs::read_to_string(file).is_ok_and(|s| s.starts_with(yes));
        if has("/sys/module/apparmor/parameters/enabled", "Y")
            || Path::new("/sys/fs/selinux/enforce").exists()
        {
            skip!("there is a security module");
        }
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        exec(t, &c, &["--apparmor", "", "--process-label", ""], &["/bin/true"]).ok();
        refused(&exec(t, &c, &["--apparmor", "some"], &["/bin/true"]), &["apparmor"]);
        refused(&exec(t, &c, &["--process-label", "a:b:c"], &["/bin/true"]), &["selinux"]);
    });
}

#[test]
fn on_each_status() {
    check(|t| {
        refused(&t.rt(&["exec", &t.id(), "/bin/true"]), &["container does not exist"]);
        let mut b = t.bundle();
        let c = b.probe(&["wait"]).create();
        assert_eq!(exec(t, &c, &[], &["/probe", "exit", "5"]).status, 5, "a created container is one");
        assert_eq!(c.status(), "created");
        c.start();
        c.wait_for("ready");
        c.verb(&["pause"]).ok();
        let text = "cannot exec in a paused container (use --ignore-paused to override)";
        refused(&exec(t, &c, &[], &["/bin/true"]), &[text]);
        let running = call(t, &c, &["--ignore-paused"], &["/probe", "exit", "6"]).spawn();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(c.status(), "paused");
        c.verb(&["resume"]).ok();
        assert_eq!(running.wait().status, 6);
        c.kill("KILL");
        c.becomes("stopped");
        refused(&exec(t, &c, &[], &["/bin/true"]), &["cannot exec in a stopped container"]);
        refused(&exec(t, &c, &["--ignore-paused"], &["/bin/true"]), &["cannot exec in a stopped container"]);
    });
}

#[test]
fn signals_go_on_to_the_process() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let running = call(t, &c, &[], &["/probe", "wait"]).spawn();
        running.wait_for("ready");
        running.signal(libc::SIGUSR1);
        running.wait_for("signal USR1");
        running.signal(libc::SIGTERM);
        running.wait_for("signal TERM");
        running.wait().ok();
        assert_eq!(c.output(), "ready\n", "init has heard nothing");
    });
}

#[test]
fn the_end_of_the_container_ends_it() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let all: Vec<Running> = (0..5).map(|_| call(t, &c, &[], &["/probe", "deaf"]).spawn()).collect();
        all.iter().for_each(|r| r.wait_for("ready"));
        c.delete_force();
        all.into_iter().for_each(|r| assert_eq!(r.wait().status, 137));
        t.nothing_left();
    });
}

/// Init may end at any moment of it: either the process ran and was killed, or one clear error.
#[test]
fn init_ends_meanwhile() {
    check(|t| {
        for i in 0..30 {
            let mut b = t.bundle();
            let c = b.up(&["wait"]);
            let running = call(t, &c, &[], &["/probe", "deaf"]).spawn();
            std::thread::sleep(Duration::from_micros(i * 400));
            c.kill("KILL");
            let out = running.wait();
            match out.status {
                137 => assert_eq!(out.stderr, ""),
                255 => drop(out.complains(&[])),
                _ => panic!("{out}"),
            }
            c.delete_force();
        }
        t.nothing_left();
    });
}

/// Case 66: two hundred at once, some killed. Each gets its own status, and nobody is left.
#[test]
fn a_storm() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let mut all = Vec::new();
        for i in 0..200 {
            let file = t.path("pid");
            let (flags, words): (Vec<String>, [String; 3]) = match i % 4 {
                3 => (
                    vec!["--pid-file".into(), file.to_str().unwrap().into()],
                    ["/probe".into(), "deaf".into(), String::new()],
                ),
                2 => (vec![], ["/probe".into(), "signal".into(), "TERM".into()]),
                _ => (vec![], ["/probe".into(), "exit".into(), (i % 250).to_string()]),
            };
            let call = t.call(["exec"]).args(&flags).args([&c.id]).args(&words).deadline(LONG * 5);
            all.push((i, file, call.spawn()));
        }
        for (i, file, running) in all {
            let want = match i % 4 {
                3 => {
                    let mut pid = 0;
                    let there = within(LONG * 4, || {
                        pid = fs::read_to_string(&file).ok().and_then(|p| p.parse().ok()).unwrap_or(0);
                        pid > 1
                    });
                    assert!(there, "no pid file");
                    // SAFETY: a process of the test's own.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                    137
                }
                2 => 143,
                _ => i % 250,
            };
            let out = running.wait();
            assert_eq!(out.status, want, "{i}: {out}");
        }
        assert_eq!(c.status(), "running");
        let left = c.verb(&["ps", "--format", "json"]).ok().json();
        assert_eq!(left, json!([c.pid()]), "init alone");
        c.delete_force();
        t.nothing_left();
    });
}

/// Nobody waits for another: neither for a process that stays, nor for its container's deletion.
#[test]
fn other_verbs_meanwhile() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let running = call(t, &c, &[], &["/probe", "deaf"]).spawn();
        running.wait_for("ready");
        for verb in [&["state"][..], &["ps"], &["pause"], &["resume"]] {
            c.verb(verb).ok();
        }
        assert_eq!(exec(t, &c, &[], &["/probe", "exit", "2"]).status, 2);
        c.delete_force();
        assert_eq!(running.wait().status, 137);
    });
}

/// Case 15 for exec (CVE-2024-21626).
#[test]
fn a_cwd_through_a_descriptor() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let open = || File::open("/").unwrap();
        for n in 3..24 {
            for tail in ["", "/", "/../.."] {
                let cwd = format!("/proc/self/fd/{n}{tail}");
                let call = call(t, &c, &["--cwd", &cwd], &["/probe", "facts"]);
                let out = call.pass(20, open()).pass(21, open()).pass(22, open()).run();
                refused(&out, &[]);
            }
        }
        let program = "/proc/self/fd/20/bin/true";
        refused(&call(t, &c, &[], &[program]).pass(20, open()).run(), &[]);
    });
}

/// Makes a file when it goes, also when a test fails.
struct Stop(std::path::PathBuf);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "");
    }
}

/// Case 17: the working directory is a link that the container swaps for one to a descriptor.
#[test]
fn a_cwd_that_is_swapped() {
    check(|t| {
        let mut b = t.bundle();
        b.writable();
        let (tmp, stop) = (b.rootfs().join("tmp"), t.path("stop"));
        fs::create_dir(tmp.join("real")).unwrap();
        let c = b.up(&["wait"]);
        std::thread::scope(|s| {
            let swapper = s.spawn(|| {
                let mut n = 3;
                while !stop.exists() {
                    for target in [format!("/proc/self/fd/{n}"), "/tmp/real".to_string()] {
                        symlink(target, tmp.join("aside")).unwrap();
                        fs::rename(tmp.join("aside"), tmp.join("cwd")).unwrap();
                    }
                    n = 3 + (n - 2) % 12;
                }
            });
            let stop = Stop(stop.clone());
            until("a link", || tmp.join("cwd").exists());
            for _ in 0..100 {
                let out = call(
                    t,
                    &c,
                    &["--cwd", "/tmp/cwd"],
                    &["/bin/sh", "-c", "/bin/busybox readlink /proc/self/cwd"],
                )
                .pass(7, File::open("/").unwrap())
                .run();
                match out.status {
                    0 => assert_eq!(out.stdout, "/tmp/real\n"),
                    _ => drop(refused(&out, &[])),
                }
            }
            drop(stop);
            swapper.join().unwrap();
        });
    });
}

/// Case 19 (CVE-2016-9962): a container that looks at each process that appears finds no way out through any.
#[test]
fn a_container_that_snoops() {
    check(|t| {
        for (own_user, nnp) in [(false, false), (false, true), (true, false)] {
            let mut b = t.bundle();
            b.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL"]);
            if own_user {
                b.user_namespace();
            }
            b.set("/process/noNewPrivileges", nnp).set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}),
            );
            let c = b.up(&["snoop"]);
            for _ in crate::attacks::rounds(25, 200) {
                exec(t, &c, &[], &["/bin/true"]).ok();
            }
            c.kill("TERM");
            c.becomes("stopped");
            let seen = c.output();
            let found: Value = serde_json::from_str(seen.lines().nth(1).unwrap_or_default())
                .unwrap_or_else(|e| panic!("{e}: {seen}"));
            assert!(found["looked"].as_u64().unwrap() > 0);
            assert_eq!(found["outside"], json!([]), "own user namespace: {own_user}");
            assert_eq!(found["weak"], json!([]), "own user namespace: {own_user}, no_new_privs: {nnp}");
            if own_user {
                assert_eq!(found["runtime"], json!([]), "not even the runtime's own program");
            }
            c.delete_force();
        }
    });
}
