//! `events`: one JSON object a line, now and then and when memory runs out.

use integration_tests::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Until that call of `events` is on watch: it holds what wakes it, and each of its threads sleeps.
fn on_watch(call: &Running) {
    let proc = PathBuf::from(format!("/proc/{}", call.pid()));
    let each =
        |folder: &str| fs::read_dir(proc.join(folder)).into_iter().flatten().flatten().map(|e| e.path());
    until("events is on watch", || {
        let of_the_kernel = ["pidfd", "memory.oom_control", "inotify"];
        let mut held = each("fd").filter_map(|fd| fs::read_link(fd).ok());
        held.any(|to| of_the_kernel.iter().any(|k| to.to_string_lossy().contains(k)))
            && each("task").all(|t| fs::read_to_string(t.join("stat")).is_ok_and(|s| s.contains(") S ")))
    });
}

fn stats(c: &Container) -> Value {
    let out = c.verb(&["events", "--stats"]).ok();
    assert_eq!(out.stdout.matches('\n').count(), 1, "one line: {out}");
    out.json()
}

fn limit(b: &Bundle, name: &str) -> u64 {
    let (controller, file) = name.split_once('/').unwrap();
    let path = format!("/sys/fs/cgroup/{controller}{}/{file}", b.cgroups_path());
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().parse().unwrap()
}

/// Every member's path, list entries as `*`.
fn shape(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| shape(v, &format!("{at}/{k}"), out)),
        Value::Array(list) => list.iter().for_each(|v| shape(v, &format!("{at}/*"), out)),
        Value::Null => drop(out.insert(format!("{at}: null"))),
        Value::Number(n) if n.is_f64() => drop(out.insert(format!("{at}: fraction"))),
        Value::Number(_) => drop(out.insert(format!("{at}: number"))),
        _ => drop(out.insert(format!("{at}: text"))),
    }
}

#[test]
fn stats_are_what_the_kernel_says() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/memory", json!({"limit": 67108864}));
        b.set("/linux/resources/pids", json!({"limit": 42}));
        let c = b.up(&["family", "3"]);
        let event = stats(&c);
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
        let mut names: Vec<_> = event["data"].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let want = ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
        assert_eq!(names, want);
        let d = &event["data"];
        assert_eq!(d["pids"], json!({"current": 4, "limit": 42}));
        assert_eq!(d["memory"]["usage"]["limit"], 67108864);
        assert!(d["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
        assert_eq!(d["network_interfaces"], Value::Null);
        let raw = &d["memory"]["raw"];
        let total = d["cpu"]["usage"]["total"].as_u64().unwrap();
        assert!(total > 0);
        if unified() {
            assert_eq!(d["memory"]["cache"].as_u64().unwrap_or(0), raw["file"].as_u64().unwrap());
            assert!(raw["anon"].is_u64() && raw["kernel_stack"].is_u64(), "{raw}");
            let stat = fs::read_to_string(format!("/sys/fs/cgroup{}/cpu.stat", b.cgroups_path())).unwrap();
            let of = |name: &str| {
                let line =
                    stat.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("{stat}"));
                line.trim().parse::<u64>().unwrap() * 1000
            };
            let part = |name: &str| d["cpu"]["usage"][name].as_u64().unwrap_or(0);
            assert!(total <= of("usage_usec "), "{stat}");
            assert!(part("user") + part("kernel") <= total, "{}", d["cpu"]);
        } else {
            assert!(d["memory"]["usage"]["max"].as_u64() >= d["memory"]["usage"]["usage"].as_u64());
            assert_eq!(d["memory"]["cache"].as_u64().unwrap_or(0), raw["cache"].as_u64().unwrap());
            assert!(d["memory"]["swap"]["limit"].as_u64().unwrap() > 0);
            let percpu: u64 =
                d["cpu"]["usage"]["percpu"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
            assert!(percpu >= total, "{}", d["cpu"]);
            assert!(total <= limit(&b, "cpuacct/cpuacct.usage"));
            let all: Vec<u64> =
                d["cpuset"]["cpus"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
            assert_eq!(all, cpus().into_iter().map(u64::from).collect::<Vec<_>>());
            assert_eq!(d["cpuset"]["sched_relax_domain_level"], -1);
        }
        c.delete_force();
    });
}

/// Member for member what the reference prints of a container like it: what is zero is left out by both. The two live at the same
/// time, and are looked at until they agree, for the kernel sums its counters up when it likes (cgroup rstat: every two seconds).
#[test]
fn the_same_members_as_the_reference() {
    check(|t| {
        let reference = workspace().join(".cache/peers/bin/runc");
        if !reference.exists() {
            skip!("no reference runtime");
        }
        let mut b = t.bundle();
        b.set("/linux/resources/memory", json!({"limit": 67108864}));
        b.set("/linux/resources/pids", json!({"limit": 42}));
        b.set("/linux/resources/cpu", json!({"quota": 2000, "period": 10000}));
        b.args(&["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 1000"]);
        // Each in the cgroup of its id's name.
        b.remove("/linux/cgroupsPath").write();
        let lives = [binary(), reference].map(|program| (program, t.path("root"), t.id(), t.path("out")));
        let call = |(program, root, ..): &(PathBuf, PathBuf, String, PathBuf), words: &[&str]| {
            Call::new(program.clone(), &t.path("call")).args([Path::new("--root"), root]).args(words)
        };
        for life in &lives {
            let out = fs::File::create(&life.3).unwrap();
            call(life, &["run", "-d", "-b", b.dir.to_str().unwrap(), &life.2]).stdout(out).run().ok();
        }
        for (.., out) in &lives {
            until("the payload", || fs::read_to_string(out).unwrap_or_default().contains("ready"));
        }
        // Whether block I/O has happened is a matter of luck, and so is what has been throttled since, and who was the first to
        // read a file that both have. What a hybrid machine has of hugetlb in its unified tree the reference does not see.
        let luck = |p: &&String| {
            ![
                "/data/cpu/throttling",
                "/data/blkio",
                "/data/cpu/usage",
                "/data/memory/cache",
                "/data/hugetlb/",
            ]
            .iter()
            .any(|l| p.starts_with(l))
        };
        let shapes = || {
            lives.each_ref().map(|life| {
                let event = call(life, &["events", "--stats", &life.2]).run().ok().json();
                let mut all = BTreeSet::new();
                shape(&event, "", &mut all);
                all
            })
        };
        let must = ["/data/cpu/usage/total: number", "/data/cpu/throttling/throttledPeriods: number"];
        let agreed = within(LONG, || {
            let shapes = shapes();
            let [ours, theirs] = shapes.each_ref().map(|s| s.iter().filter(luck).collect::<Vec<_>>());
            shapes.iter().all(|s| must.iter().all(|m| s.contains(*m))) && ours == theirs
        });
        if !agreed {
            let [ours, theirs] = shapes();
            panic!("{:#?} differ", ours.symmetric_difference(&theirs));
        }
        for life in &lives {
            call(life, &["delete", "--force", &life.2]).run().ok();
        }
    });
}

#[test]
fn one_line_each_interval() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for interval in ["100ms", "0.1s", "100000us", "0h0m0.1s"] {
            let begin = Instant::now();
            let call = t.call(["events", "--interval", interval, &c.id]).spawn();
            until("three reports", || call.stdout().matches('\n').count() >= 3);
            assert!(begin.elapsed() >= Duration::from_millis(290), "{:?}", begin.elapsed());
            for line in call.stdout().lines().take(3) {
                let event: Value = serde_json::from_str(line).unwrap();
                assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
            }
            call.signal(libc::SIGTERM);
            call.wait();
        }
        c.delete_force();
    });
}

#[test]
fn intervals_that_are_none() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for interval in ["0", "0s", "-1s"] {
            c.verb(&["events", "--interval", interval]).fails(&["duration interval must be greater than 0"]);
        }
        for interval in ["soon", "5", "1x", ""] {
            let out = c.verb(&["events", "--interval", interval]);
            assert_eq!(out.status, 1, "{out}");
        }
        c.delete_force();
    });
}

/// The last word is there when the container has ended.
#[test]
fn ends_with_the_container() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let call = t.call(["events", "--interval", "100ms", &c.id]).spawn();
        call.wait_for("stats");
        c.kill("KILL");
        c.becomes("stopped");
        c.delete();
        let out = call.wait().ok();
        assert_eq!(out.stderr, "");
        assert!(!out.stdout.contains(r#""oom""#), "{out}");
    });
}

/// While nothing is to be told.
#[test]
fn ends_with_the_container_between_two_reports() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let call = t.call(["events", "--interval", "1h", &c.id]).spawn();
        on_watch(&call);
        c.delete_force();
        let out = call.wait().ok();
        assert_eq!((out.stdout, out.stderr), Default::default());
    });
}

#[test]
fn tells_when_memory_runs_out() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/memory", json!({"limit": 33554432, "swap": 33554432}));
        b.set("/process/oomScoreAdj", 0);
        // Init survives, so that the container does.
        b.args(&[
            "sh",
            "-c",
            "echo ready; read x < /fifo; /probe allocate 100; echo survived; read x < /fifo",
        ]);
        let fifo = b.rootfs().join("fifo");
        let path = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
        // SAFETY: a NUL-terminated path.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
        let c = b.create();
        c.start();
        c.wait_for("ready");
        let call = t.call(["events", "--interval", "1h", &c.id]).spawn();
        on_watch(&call);
        fs::write(&fifo, "go\n").unwrap();
        c.wait_for("survived");
        call.wait_for("oom");
        let line = call.stdout().lines().next().unwrap().to_string();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json!({"type": "oom", "id": c.id}));
        c.delete_force();
        call.wait().ok();
    });
}

/// Nobody reads any more: it ends, without a word, and not only at the next report.
#[test]
fn a_reader_that_goes_away() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for interval in ["50ms", "1h"] {
            let (from, to) = std::io::pipe().unwrap();
            let call = t.call(["events", "--interval", interval, &c.id]).stdout(OwnedFd::from(to)).spawn();
            on_watch(&call);
            drop(from);
            let out = call.wait().ok();
            assert_eq!(out.stderr, "");
        }
        assert_eq!(c.status(), "running");
        c.delete_force();
    });
}

#[test]
fn created_and_paused_but_not_stopped() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        assert!(stats(&c)["data"]["pids"]["current"].as_u64().unwrap() > 0);
        c.start();
        c.wait_for("ready");
        c.verb(&["pause"]).ok();
        assert_eq!(stats(&c)["data"]["pids"]["current"], 1);
        c.verb(&["resume"]).ok();
        c.kill("KILL");
        c.becomes("stopped");
        for flags in [&["events", "--stats"][..], &["events"]] {
            c.verb(flags).fails(&[&format!("container with id {} is not running", c.id)]);
        }
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["events", "--stats", &t.id()]).fails(&["container does not exist"]);
    });
}
