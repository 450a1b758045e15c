//! systemd's driver: the scope, its properties beside the kernel's files, what happens to both while systemd reloads or
//! executes itself anew, and what is said where it does not answer.

use crate::devices::{OPENS, goes_on, with_device_rules};
use integration_tests::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const TOP: &str = "/sys/fs/cgroup";

/// One test at a time asks systemd: while it reads its units again it answers nobody else, and that takes long under
/// emulation.
fn booted() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    if !Path::new("/run/systemd/system").exists() {
        skip!("no systemd");
    }
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For what is read back from version 2's files.
fn booted_on_two() -> MutexGuard<'static, ()> {
    let turn = booted();
    if !unified() {
        skip!("cgroup version 1");
    }
    turn
}

/// Puts the bundle's container into a scope below `slice`: the scope's name.
fn scope(b: &mut Bundle, slice: &str) -> String {
    let name = b.cgroups_path().trim_start_matches('/').to_string();
    b.set("/linux/cgroupsPath", format!("{slice}:it:{name}"));
    format!("it-{name}.scope")
}

fn create<'t>(t: &'t Case, b: &Bundle) -> Container<'t> {
    let (id, out) = (t.id(), t.path("out"));
    b.call(&["--systemd-cgroup", "create"], &id).stdout(fs::File::create(&out).unwrap()).run().ok();
    Container::new(t, id, out)
}

fn up<'t>(t: &'t Case, b: &mut Bundle, words: &[&str]) -> Container<'t> {
    b.probe(words);
    let c = create(t, b);
    c.start();
    c
}

fn systemctl(t: &Case, words: &[&str]) -> Output {
    t.program("systemctl", words)
}

/// Properties of a unit as systemctl shows them.
fn show(t: &Case, unit: &str, names: &[&str]) -> BTreeMap<String, String> {
    let list = names.join(",");
    let out = systemctl(t, &["show", "--property", &list, "--", unit]).ok();
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in out.stdout.lines().filter_map(|l| l.split_once('=')) {
        // DeviceAllow comes once for each entry.
        all.entry(name.into()).and_modify(|v| *v = format!("{v}; {value}")).or_insert(value.into());
    }
    all
}

fn loaded(t: &Case, unit: &str) -> bool {
    show(t, unit, &["LoadState"])["LoadState"] != "not-found"
}

/// systemd forgets a unit a moment after its end.
#[track_caller]
fn forgotten(t: &Case, unit: &str) {
    assert!(within(LONG, || !loaded(t, unit)), "{unit} is still there");
}

fn file(unit: &str, name: &str) -> String {
    let path = format!("{TOP}/system.slice/{unit}/{name}");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_string()
}

/// Each property and each file, as they should be now, and when systemd has applied what it knows once more.
#[track_caller]
fn agree(t: &Case, unit: &str, properties: &[(&str, &str)], files: &[(&str, &str)]) {
    let names: Vec<&str> = properties.iter().map(|(n, _)| *n).collect();
    for round in ["at first", "after a daemon-reload"] {
        let shown = show(t, unit, &names);
        for (name, want) in properties {
            assert_eq!(shown.get(*name).map(String::as_str), Some(*want), "{name} {round}");
        }
        for (name, want) in files {
            assert_eq!(file(unit, name), *want, "{name} {round}");
        }
        systemctl(t, &["daemon-reload"]).ok();
    }
}

/// Those that systemd knows are told to it, the others are written beside it.
#[test]
fn every_resource() {
    check(|t| {
        let _turn = booted_on_two();
        let disk = fs::read_to_string("/sys/block/vda/dev").map_or("254:0".into(), |d| d.trim().to_string());
        let (major, minor) = disk.split_once(':').map(|(a, b)| (a.parse::<u32>(), b.parse::<u32>())).unwrap();
        let (major, minor) = (major.unwrap(), minor.unwrap());
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        b.set(
            "/linux/resources",
            json!({
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728},
                "cpu": {"shares": 200, "quota": 50_500, "period": 100_000, "burst": 20_000, "cpus": "0-1", "mems": "0"},
                "pids": {"limit": 17},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}],
                "blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1_048_576}]},
                "unified": {"memory.high": "59998208", "memory.min": "1048576", "memory.oom.group": "1"},
            }),
        );
        let c = up(t, &mut b, &["wait"]);
        c.wait_for("ready");
        agree(
            t,
            &unit,
            &[
                ("Slice", "system.slice"),
                ("Delegate", "yes"),
                ("DefaultDependencies", "no"),
                ("MemoryAccounting", "yes"),
                ("IOAccounting", "yes"),
                ("TasksAccounting", "yes"),
                ("MemoryMax", "67108864"),
                ("MemoryLow", "33554432"),
                ("MemorySwapMax", "67108864"),
                ("MemoryHigh", "59998208"),
                ("MemoryMin", "1048576"),
                ("OOMPolicy", "kill"),
                ("CPUWeight", "29"),
                // A percent is the least that systemd counts.
                ("CPUQuotaPerSecUSec", "510ms"),
                ("CPUQuotaPeriodUSec", "100ms"),
                ("AllowedCPUs", "0-1"),
                ("AllowedMemoryNodes", "0"),
                ("TasksMax", "17"),
                ("DevicePolicy", "strict"),
            ],
            &[
                ("memory.max", "67108864"),
                ("memory.low", "33554432"),
                ("memory.swap.max", "67108864"),
                ("memory.high", "59998208"),
                ("memory.min", "1048576"),
                ("memory.oom.group", "1"),
                ("cpu.weight", "29"),
                ("cpu.max", "51000 100000"),
                ("cpu.max.burst", "20000"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
                ("pids.max", "17"),
                ("hugetlb.2MB.max", "4194304"),
                ("io.max", &format!("{disk} rbps=1048576 wbps=max riops=max wiops=max")),
            ],
        );
        c.delete_force();
        forgotten(t, &unit);
    });
}

#[test]
fn idle() {
    check(|t| {
        let _turn = booted_on_two();
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        b.set("/linux/resources/cpu", json!({"idle": 1, "shares": 300}));
        let c = up(t, &mut b, &["wait"]);
        c.wait_for("ready");
        agree(t, &unit, &[("CPUWeight", "idle")], &[("cpu.idle", "1")]);
        c.delete_force();
    });
}

/// What is changed later is told to both as well, and what is refused to none.
#[test]
fn update() {
    check(|t| {
        let _turn = booted_on_two();
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        b.set("/linux/resources/memory", json!({"limit": 67_108_864, "swap": 67_108_864}));
        let c = up(t, &mut b, &["wait"]);
        c.wait_for("ready");
        agree(t, &unit, &[("MemorySwapMax", "0")], &[("memory.swap.max", "0")]);
        let words = "update --memory 128m --memory-swap 256m --cpu-share 512 --cpu-quota 20000 --pids-limit 30 --cpuset-cpus 0";
        c.verb(&words.split(' ').collect::<Vec<_>>()).ok();
        let properties = [
            ("MemoryMax", "134217728"),
            ("MemorySwapMax", "134217728"),
            ("CPUWeight", "59"),
            ("CPUQuotaPerSecUSec", "200ms"),
            ("TasksMax", "30"),
            ("AllowedCPUs", "0"),
        ];
        let files = [
            ("memory.max", "134217728"),
            ("memory.swap.max", "134217728"),
            ("cpu.weight", "59"),
            ("cpu.max", "20000 100000"),
            ("pids.max", "30"),
            ("cpuset.cpus", "0"),
        ];
        agree(t, &unit, &properties, &files);
        c.verb(&["update", "--pids-limit", "40", "--cpuset-cpus", "4711"]).fails(&["4711"]);
        agree(t, &unit, &properties, &files);
        c.verb(&["update", "--memory", "-1", "--cpu-quota", "-1", "--pids-limit", "-1"]).ok();
        agree(
            t,
            &unit,
            &[("MemoryMax", "infinity"), ("CPUQuotaPerSecUSec", "infinity"), ("TasksMax", "infinity")],
            &[("memory.max", "max"), ("cpu.max", "max 100000"), ("pids.max", "max")],
        );
        c.delete_force();
        forgotten(t, &unit);
    });
}

/// `slice:prefix:name`, with each part left out, and a slice below others.
#[test]
fn slices_and_names() {
    check(|t| {
        let _turn = booted();
        let nested = format!("{}-a-b.slice", t.token);
        let deep = format!("/{0}.slice/{0}-a.slice/{0}-a-b.slice", t.token);
        t.at_end(&["systemctl", "stop", &format!("{}.slice", t.token)]);
        let name = |n: &str| format!("{}{n}", t.token);
        let table = [
            (format!(":it:{}", name("w")), "/system.slice".into(), format!("it-{}.scope", name("w"))),
            (format!("system.slice::{}", name("x")), "/system.slice".into(), format!("-{}.scope", name("x"))),
            (format!("-.slice:it:{}", name("y")), String::new(), format!("it-{}.scope", name("y"))),
            (format!("{nested}:it:{}", name("z")), deep, format!("it-{}.scope", name("z"))),
        ];
        let mut b = t.bundle();
        b.probe(&["facts"]);
        let mut run = |path: Option<&str>, id: &str| {
            match path {
                Some(path) => b.set("/linux/cgroupsPath", path),
                None => b.remove("/linux/cgroupsPath"),
            };
            let facts = b.call(&["--systemd-cgroup", "run"], id).run().ok().facts();
            facts["cgroups"][if unified() { "" } else { "systemd" }].as_str().unwrap().to_string()
        };
        for (path, parent, unit) in table {
            assert_eq!(run(Some(&path), &t.id()), format!("{parent}/{unit}"), "{path}");
            forgotten(t, &unit);
        }
        let id = t.id();
        assert_eq!(run(None, &id), format!("/system.slice/runc-{id}.scope"));
        for bad in ["/a/b", "system.slice:it", "system.slice:it:a/b", "system:it:x", "a--b.slice:it:x", "::"]
        {
            b.set("/linux/cgroupsPath", bad);
            b.call(&["--systemd-cgroup", "run"], &t.id()).run().fails(&[]);
        }
    });
}

/// `org.systemd.property.*`: typed, by a list; whatever else would give the caller root's systemd.
#[test]
fn annotations() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        b.set(
            "/annotations",
            json!({
                "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
                "org.systemd.property.CollectMode": "'inactive-or-failed'",
                "org.systemd.property.Description": "\"it's ours\"",
                "org.systemd.property.After": "['dbus.service', 'dbus.socket']",
                "org.systemd.property.SendSIGHUP": "true",
            }),
        );
        let c = up(t, &mut b, &["wait"]);
        c.wait_for("ready");
        let shown = show(t, &unit, &["TimeoutStopUSec", "CollectMode", "Description", "After", "SendSIGHUP"]);
        assert_eq!(shown["TimeoutStopUSec"], "2min 3.456789s");
        assert_eq!(shown["CollectMode"], "inactive-or-failed");
        assert_eq!(shown["Description"], "it's ours");
        assert!(shown["After"].contains("dbus.service"), "{shown:?}");
        assert_eq!(shown["SendSIGHUP"], "yes");
        c.delete_force();
        for (name, value) in [
            ("SuccessAction", "'reboot-force'"),
            ("FailureAction", "'poweroff'"),
            ("OnFailure", "['evil.service']"),
            ("Conflicts", "['sshd.service']"),
            ("ExecStop", "'/bin/true'"),
            ("PIDs", "[uint32 1]"),
            ("Slice", "'x.slice'"),
            ("TimeoutStopUSec", "'soon'"),
            ("TimeoutStopUSec", "uint64"),
            ("lower", "true"),
        ] {
            let mut b = t.bundle();
            let unit = scope(&mut b, "");
            let key = format!("org.systemd.property.{name}");
            b.set("/annotations", json!({ key: value }));
            b.call(&["--systemd-cgroup", "run"], &t.id()).run().fails(&[name]);
            assert!(!loaded(t, &unit), "{name}");
        }
        t.nothing_left();
    });
}

/// The rules hold without a gap while systemd reads its units again, executes itself anew, and while limits change.
#[test]
fn device_rules_stay() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        with_device_rules(&mut b);
        let c = up(t, &mut b, &OPENS);
        goes_on(&c, "at first");
        for command in ["daemon-reload", "daemon-reload", "daemon-reexec", "daemon-reload"] {
            systemctl(t, &[command]).ok();
            goes_on(&c, command);
        }
        for n in 0..5 {
            c.verb(&["update", "--pids-limit", &format!("{}", 50 + n)]).ok();
        }
        goes_on(&c, "updates");
        // What is joined later, meanwhile too.
        let reload = Call::new("sh".into(), &t.path("call"))
            .args(["-c", "while :; do systemctl daemon-reload; sleep 1; done"])
            .spawn();
        for _ in 0..10 {
            let script = "true </dev/null && true >/dev/null && true </dev/fuse && ! true >/dev/fuse";
            t.call(["exec", &c.id, "sh", "-c", script]).run().ok();
        }
        drop(reload);
        goes_on(&c, "daemon-reload with exec");
        c.delete_force();
        forgotten(t, &unit);
    });
}

#[test]
fn a_hundred_at_once() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        b.probe(&["wait"]).remove("/linux/cgroupsPath");
        let ids: Vec<String> = (0..100).map(|_| t.id()).collect();
        let calls: Vec<Running> = ids
            .iter()
            .map(|id| {
                let out = fs::File::create(t.path("out")).unwrap();
                b.call(&["--systemd-cgroup", "create"], id).stdout(out).spawn()
            })
            .collect();
        calls.into_iter().for_each(|c| drop(c.wait().ok()));
        assert_eq!(t.cgroups().len(), ids.len());
        let calls: Vec<Running> = ids.iter().map(|id| t.call(["delete", "--force", id]).spawn()).collect();
        calls.into_iter().for_each(|c| drop(c.wait().ok()));
        until("systemd forgets the units", || {
            let units = systemctl(t, &["list-units", "--all", "--plain", "--no-legend", "runc-*.scope"]).ok();
            !units.stdout.contains(&t.token)
        });
    });
}

/// systemd leaves the bus for a moment, and may forget to tell how a job ended.
#[test]
fn while_systemd_executes_itself_anew() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        b.probe(&["wait"]).remove("/linux/cgroupsPath");
        let begin = Instant::now();
        systemctl(t, &["daemon-reexec"]).ok();
        // That long it is away, each time: seconds under emulation, on a busy machine more than it is waited for.
        let away = begin.elapsed();
        let script = format!("while :; do systemctl daemon-reexec; sleep {}; done", away.as_secs_f32() * 2.0);
        let again = Call::new("sh".into(), &t.path("call")).args(["-c", &script]).spawn();
        for _ in 0..if away < Duration::from_secs(1) { 20 } else { 5 } {
            let id = t.id();
            let out = fs::File::create(t.path("out")).unwrap();
            let created = b.call(&["--systemd-cgroup", "create"], &id).stdout(out).run();
            if away > Duration::from_secs(10) && created.status != 0 {
                created.fails(&["systemd"]);
                continue;
            }
            created.ok();
            t.rt(&["update", "--pids-limit", "20", &id]).ok();
            t.rt(&["delete", "--force", &id]).ok();
        }
        drop(again);
        t.nothing_left();
    });
}

/// What is left of a scope that failed gives way; one that lives is left alone.
#[test]
fn a_unit_of_the_same_name() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        let unit = scope(&mut b, "system.slice");
        t.at_end(&["systemctl", "reset-failed", &unit]);
        t.at_end(&["systemctl", "stop", &unit]);
        let other = |limit: &str| {
            let words = ["--scope", "--quiet", "--unit", &unit, "--property", limit, "sleep", "1000"];
            Call::new("systemd-run".into(), &t.path("call")).args(words).spawn()
        };
        let failing = other("RuntimeMaxSec=1");
        let failed = || show(t, &unit, &["ActiveState"])["ActiveState"] == "failed";
        until("the other scope's failure", failed);
        failing.wait();
        let c = up(t, &mut b, &["wait"]);
        c.wait_for("ready");
        c.delete_force();
        forgotten(t, &unit);

        let mut living = other("RuntimeMaxSec=infinity");
        until("the other scope", || show(t, &unit, &["ActiveState"])["ActiveState"] == "active");
        b.call(&["--systemd-cgroup", "run"], &t.id()).run().fails(&[]);
        // In another slice it has another cgroup, and is still the same unit.
        let name = unit.trim_start_matches("it-").trim_end_matches(".scope").to_string();
        b.set("/linux/cgroupsPath", format!("user.slice:it:{name}"));
        b.call(&["--systemd-cgroup", "run"], &t.id()).run().fails(&[&unit]);
        assert!(!living.is_over(), "the other's process was killed");
        assert_eq!(show(t, &unit, &["ActiveState"])["ActiveState"], "active");
        systemctl(t, &["stop", &unit]).ok();
        living.wait();
        forgotten(t, &unit);
    });
}

/// Before the bus is up, after it has died, in a machine without one: systemd has a socket of its own.
#[test]
fn without_a_bus() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        b.probe(&["wait"]).set("/linux/resources/pids", json!({"limit": 17}));
        let hide = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run/dbus && exec \"$@\"", "sh"];
        let (id, out) = (t.id(), t.path("out"));
        let file = fs::File::create(&out).unwrap();
        b.call(&["--systemd-cgroup", "create"], &id).stdout(file).under(hide).run().ok();
        let c = Container::new(t, id.clone(), out);
        c.start();
        c.wait_for("ready");
        assert_eq!(show(t, &unit, &["TasksMax"])["TasksMax"], "17");
        t.call(["update", "--pids-limit", "18", &id]).under(hide).run().ok();
        assert_eq!(show(t, &unit, &["TasksMax"])["TasksMax"], "18");
        t.call(["delete", "--force", &id]).under(hide).run().ok();
        forgotten(t, &unit);
    });
}

/// Whatever fails after the scope was made, it goes.
#[test]
fn a_failed_create_leaves_no_unit() {
    check(|t| {
        let _turn = booted();
        for pointer in ["limit", "hook", "program"] {
            let mut b = t.bundle();
            let unit = scope(&mut b, "");
            match pointer {
                "limit" => b.set("/linux/resources/cpu", json!({"cpus": "4711"})),
                "hook" => b.set("/hooks/createRuntime", json!([{"path": "/bin/false"}])),
                _ => b.args(&["/not/there"]),
            };
            b.call(&["--systemd-cgroup", "run"], &t.id()).run().fails(&[]);
            forgotten(t, &unit);
        }
        t.nothing_left();
    });
}

/// All ways to end: by itself, by an OOM that systemd counts as a failure, paused, killed from outside, stopped by systemd.
#[test]
fn delete_leaves_no_unit() {
    check(|t| {
        let _turn = booted();
        for way in ["kill", "oom", "paused", "stop"] {
            let mut b = t.bundle();
            let unit = scope(&mut b, "");
            b.set("/linux/resources/memory", json!({"limit": 32 << 20, "swap": 32 << 20}));
            b.args(&["sh", "-c", "echo ready; sleep 1; exec /probe allocate 64"]);
            if way != "oom" {
                b.probe(&["wait"]);
            }
            let c = create(t, &b);
            c.start();
            c.wait_for("ready");
            match way {
                "kill" => c.kill("KILL"),
                "paused" => drop(c.verb(&["pause"]).ok()),
                "stop" => drop(systemctl(t, &["stop", &unit]).ok()),
                _ => (),
            }
            if way == "paused" {
                c.delete_force();
            } else {
                c.becomes("stopped");
                c.delete();
            }
            forgotten(t, &unit);
        }
        t.nothing_left();
    });
}

#[test]
fn pause_and_stats() {
    check(|t| {
        let _turn = booted();
        let mut b = t.bundle();
        let unit = scope(&mut b, "");
        let c = up(t, &mut b, &["family", "2"]);
        c.wait_for("ready");
        c.verb(&["pause"]).ok();
        assert_eq!(c.status(), "paused");
        systemctl(t, &["daemon-reload"]).ok();
        assert_eq!(c.status(), "paused");
        c.verb(&["resume"]).ok();
        assert_eq!(c.verb(&["events", "--stats"]).ok().json()["data"]["pids"]["current"], 3);
        t.call(["exec", &c.id, "true"]).run().ok();
        assert_eq!(c.verb(&["ps", "-f", "json"]).ok().json().as_array().unwrap().len(), 3);
        c.delete_force();
        forgotten(t, &unit);
    });
}

/// A user's scope is below his own systemd, into which he cannot move a process from where this test runs: systemd does.
#[test]
fn of_a_user() {
    check(|t| {
        let _turn = booted_on_two();
        let user = 1000;
        let runtime_dir = format!("/run/user/{user}");
        if !Path::new(&runtime_dir).join("systemd/private").exists() {
            skip!("no session of a user");
        }
        let mut b = t.bundle();
        b.for_root_in(user, None);
        let name = format!("{}-user", t.token);
        let unit = format!("it-{name}.scope");
        b.set("/linux/cgroupsPath", format!(":it:{name}"));
        b.set("/linux/resources", json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 17}}));
        std::os::unix::fs::chown(&t.dir, Some(user), Some(user)).unwrap();
        let id = user.to_string();
        let variable = format!("XDG_RUNTIME_DIR={runtime_dir}");
        t.call_under(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "env", &variable]);
        let c = up(t, &mut b, &["wait"]);
        c.wait_for("ready");
        let own = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
        assert!(own.trim().ends_with(&format!("/user@{user}.service/user.slice/{unit}")), "{own}");
        let dir = format!("{TOP}{}", own.trim().trim_start_matches("0::"));
        let file = |name: &str| fs::read_to_string(format!("{dir}/{name}")).unwrap().trim().to_string();
        assert_eq!((file("memory.max"), file("pids.max")), ("67108864".into(), "17".into()));
        let exec = t.call(["exec", &c.id, "/probe", "wait"]).spawn();
        exec.wait_for("ready");
        assert_eq!(file("cgroup.procs").lines().count(), 2);
        c.verb(&["update", "--pids-limit", "18"]).ok();
        assert_eq!(file("pids.max"), "18");
        c.verb(&["pause"]).ok();
        c.verb(&["resume"]).ok();
        c.delete_force();
        exec.wait().exits(137);
        let gone = || {
            let words = ["--user", "--machine", &format!("{id}@"), "show", "--property", "LoadState", &unit];
            systemctl(t, &words).ok().stdout.trim() == "LoadState=not-found"
        };
        until("the end of the unit", gone);
    });
}

/// How far the other side of a bus comes before it says nothing more.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    Nothing,
    Authentication,
    Hello,
    /// systemd knows its version and takes the job, which never ends.
    Job,
    /// Hangs up at once, each time.
    HungUp,
    /// Speaks, but not D-Bus.
    Garbage,
}

/// A bus that stops answering, at a socket of its own: its address.
fn bus(t: &Case, until: Until) -> String {
    let path: PathBuf = t.path("bus");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, until));
        }
    });
    format!("unix:path={}", path.display())
}

/// Ends with the other side.
fn converse(mut s: UnixStream, until: Until) -> Option<()> {
    if until == Until::HungUp {
        return None;
    }
    let mut heard: Vec<u8> = Vec::new();
    let mut is_speaking = false;
    let mut buf = [0; 4096];
    loop {
        let n = s.read(&mut buf).ok().filter(|n| *n > 0)?;
        heard.extend(&buf[..n]);
        if until == Until::Nothing {
            continue;
        }
        while !is_speaking && let Some(end) = heard.windows(2).position(|w| w == b"\r\n") {
            let line: Vec<u8> = heard.drain(..end + 2).collect();
            match () {
                () if line.ends_with(b"AUTH EXTERNAL\r\n") => s.write_all(b"DATA\r\n").ok()?,
                () if line.starts_with(b"DATA") => {
                    s.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").ok()?;
                }
                () => is_speaking = true,
            }
        }
        while is_speaking && until != Until::Authentication && heard.len() >= 16 {
            let number = |at: usize| u32::from_le_bytes(heard[at..at + 4].try_into().unwrap());
            let length = 16 + (number(12) as usize).next_multiple_of(8) + number(4) as usize;
            if heard.len() < length {
                break;
            }
            let serial = number(8);
            let call: Vec<u8> = heard.drain(..length).collect();
            let says = |word: &str| call.windows(word.len()).any(|w| w == word.as_bytes());
            let of_bus = says("Hello") || says("AddMatch");
            let job = "/org/freedesktop/systemd1/job/7";
            match () {
                () if until == Until::Garbage => s.write_all(&[b'x'; 64]).ok()?,
                () if of_bus => s.write_all(&reply(serial, "", "")).ok()?,
                () if until != Until::Job => (),
                () if says("Version") => s.write_all(&reply(serial, "v", "257")).ok()?,
                () if says("StartTransientUnit") || says("GetJob") => {
                    s.write_all(&reply(serial, "o", job)).ok()?;
                }
                () => (),
            }
        }
    }
}

/// A method's return with one text, an object path or a text in a variant.
fn reply(serial: u32, signature: &str, text: &str) -> Vec<u8> {
    let mut body: Vec<u8> = if signature == "v" { b"\x01s\0\0".to_vec() } else { Vec::new() };
    if !signature.is_empty() {
        body.extend((text.len() as u32).to_le_bytes());
        body.extend(text.as_bytes());
        body.push(0);
    }
    // The serial answered to, and the body's signature.
    let mut fields: Vec<u8> = b"\x05\x01u\0".to_vec();
    fields.extend(serial.to_le_bytes());
    if !signature.is_empty() {
        fields.extend([8, 1, b'g', 0, signature.len() as u8]);
        fields.extend(signature.as_bytes());
        fields.push(0);
    }
    let mut message: Vec<u8> = b"l\x02\x01\x01".to_vec();
    for n in [body.len() as u32, 1, fields.len() as u32] {
        message.extend(n.to_le_bytes());
    }
    message.extend(&fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(&body);
    message
}

/// Nothing waits for ever, and nothing is left of the attempt.
#[test]
fn a_systemd_that_does_not_answer() {
    check(|t| {
        let cases = [
            (Until::Nothing, &["did not answer in time"][..]),
            (Until::Authentication, &["Hello", "did not answer in time"]),
            (Until::Hello, &["Get", "did not answer in time"]),
            (Until::Job, &["start systemd unit", "did not answer in time"]),
            (Until::HungUp, &["D-Bus"]),
            (Until::Garbage, &["Hello", "malformed"]),
        ];
        // Theirs is half a minute; the reference's, which has none, is not waited for.
        let most = if is_reference() { Duration::from_secs(1) } else { LONG * 2 };
        let begin = Moment::now();
        let calls: Vec<_> = cases
            .into_iter()
            .map(|(until, parts)| {
                let mut b = t.bundle();
                b.set("/linux/cgroupsPath", format!("system.slice:it:{}", t.id())).probe(&["wait"]);
                let call = b.call(&["--systemd-cgroup", "create"], &t.id());
                let call = call.env("DBUS_SYSTEM_BUS_ADDRESS", &bus(t, until)).deadline(most);
                // The real one's own socket would help.
                let hide = "[ ! -e /run/systemd/private ] || mount --bind /dev/null /run/systemd/private; exec \"$@\"";
                (call.under(["unshare", "--mount", "sh", "-c", hide, "sh"]).spawn(), parts)
            })
            .collect();
        for (call, parts) in calls {
            call.wait().fails(parts);
        }
        begin.within(most);
        t.nothing_left();
    });
}

/// As by the other driver: see there.
#[test]
fn a_cgroup_of_a_user_namespaces_own() {
    check(|t| {
        let _turn = booted_on_two();
        crate::userns::cgroup_of_its_own(t, &["--systemd-cgroup", "create"], |b| {
            scope(b, "system.slice");
        });
    });
}
