//! `update`: every flag, read back from the kernel's files; all or nothing.

use integration_tests::*;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A limit of the container's cgroup by its file of version 1, `controller/file`; version 2's told in the same terms.
fn limit(b: &Bundle, name: &str) -> String {
    let (controller, file) = name.split_once('/').unwrap();
    let read =
        |path: String| fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_string();
    if !unified() {
        return read(format!("/sys/fs/cgroup/{controller}{}/{file}", b.cgroups_path()));
    }
    let read = |file: &str| read(format!("/sys/fs/cgroup{}/{file}", b.cgroups_path()));
    let bytes = |file: &str| read(file).parse::<u64>().ok();
    let or_none = |bytes: Option<u64>| bytes.map_or(NO_LIMIT.to_string(), |n| n.to_string());
    let bandwidth = read("cpu.max");
    let (quota, period) = bandwidth.split_once(' ').unwrap();
    match file {
        "memory.limit_in_bytes" => or_none(bytes("memory.max")),
        "memory.soft_limit_in_bytes" => or_none(bytes("memory.low")),
        "memory.memsw.limit_in_bytes" => {
            or_none(bytes("memory.swap.max").map(|swap| swap + bytes("memory.max").unwrap_or(0)))
        }
        "cpu.shares" => {
            let weight: u32 = read("cpu.weight").parse().unwrap();
            let found = WEIGHTS.iter().find(|(_, w)| *w == weight);
            found.map_or(format!("of weight {weight}"), |(shares, _)| shares.to_string())
        }
        "cpu.cfs_quota_us" => quota.replace("max", "-1"),
        "cpu.cfs_period_us" => period.to_string(),
        "cpu.cfs_burst_us" => read("cpu.max.burst"),
        "devices.list" => String::new(),
        same => read(same),
    }
}

/// The shares that the tests below set, and the weights that runc 1.5 makes of them.
const WEIGHTS: [(u32, u32); 9] =
    [(100, 17), (200, 29), (300, 39), (400, 49), (500, 58), (512, 59), (555, 62), (600, 66), (1024, 100)];

fn stdin_of(t: &Case, text: &str) -> fs::File {
    let path = t.path("document");
    fs::write(&path, text).unwrap();
    fs::File::open(path).unwrap()
}

const NO_LIMIT: &str = "9223372036854771712";

#[test]
fn every_flag() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let table: [(&[&str], &[(&str, &str)]); 20] = [
            (&["--memory", "64m"], &[("memory/memory.limit_in_bytes", "67108864")]),
            (&["--memory=67108864"], &[("memory/memory.limit_in_bytes", "67108864")]),
            (&["--memory-reservation", "32MiB"], &[("memory/memory.soft_limit_in_bytes", "33554432")]),
            (
                &["--memory", "64M", "--memory-swap", "96M"],
                &[
                    ("memory/memory.limit_in_bytes", "67108864"),
                    ("memory/memory.memsw.limit_in_bytes", "100663296"),
                ],
            ),
            // Both up, past the old total; and both down.
            (
                &["--memory", "1g", "--memory-swap", "2g"],
                &[
                    ("memory/memory.limit_in_bytes", "1073741824"),
                    ("memory/memory.memsw.limit_in_bytes", "2147483648"),
                ],
            ),
            (
                &["--memory", "32m", "--memory-swap", "64m"],
                &[
                    ("memory/memory.limit_in_bytes", "33554432"),
                    ("memory/memory.memsw.limit_in_bytes", "67108864"),
                ],
            ),
            (&["--memory-swap", "-1"], &[("memory/memory.memsw.limit_in_bytes", NO_LIMIT)]),
            (
                &["--memory", "-1"],
                &[
                    ("memory/memory.limit_in_bytes", NO_LIMIT),
                    ("memory/memory.memsw.limit_in_bytes", NO_LIMIT),
                ],
            ),
            (&["--cpu-share", "512"], &[("cpu/cpu.shares", "512")]),
            (
                &["--cpu-quota", "50000", "--cpu-period", "200000"],
                &[("cpu/cpu.cfs_quota_us", "50000"), ("cpu/cpu.cfs_period_us", "200000")],
            ),
            (
                &["--cpu-quota", "40000"],
                &[("cpu/cpu.cfs_quota_us", "40000"), ("cpu/cpu.cfs_period_us", "200000")],
            ),
            (
                &["--cpu-period", "100000"],
                &[("cpu/cpu.cfs_quota_us", "40000"), ("cpu/cpu.cfs_period_us", "100000")],
            ),
            (&["--cpu-burst", "10000"], &[("cpu/cpu.cfs_burst_us", "10000")]),
            (&["--cpu-burst", "0", "--cpu-quota", "-1"], &[("cpu/cpu.cfs_quota_us", "-1")]),
            (&["--cpu-idle", "1"], &[("cpu/cpu.idle", "1")]),
            (&["--cpu-idle", "0"], &[("cpu/cpu.idle", "0")]),
            (&["--cpuset-cpus", "0"], &[("cpuset/cpuset.cpus", "0")]),
            (&["--cpuset-mems", "0"], &[("cpuset/cpuset.mems", "0")]),
            (&["--pids-limit", "33"], &[("pids/pids.max", "33")]),
            (&["--pids-limit", "-1"], &[("pids/pids.max", "max")]),
        ];
        for (flags, wanted) in table {
            let mut words = vec!["update"];
            words.extend(flags);
            let out = c.verb(&words).ok();
            assert_eq!((out.stdout, out.stderr, out.log), Default::default(), "{flags:?}");
            for (file, want) in wanted {
                assert_eq!(limit(&b, file), *want, "{flags:?} {file}");
            }
        }
        c.delete_force();
    });
}

#[test]
fn weight_for_block_devices() {
    check(|t| {
        version_one();
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let file = ["blkio.weight", "blkio.bfq.weight"].map(|f| format!("blkio/{f}"));
        let there = |f: &&String| {
            Path::new(&format!("/sys/fs/cgroup/blkio{}/{}", b.cgroups_path(), &f[6..])).exists()
        };
        let Some(file) = file.iter().find(there) else { skip!("no weight for block devices") };
        c.verb(&["update", "--blkio-weight", "300"]).ok();
        assert_eq!(limit(&b, file), "300");
        c.delete_force();
    });
}

#[test]
fn real_time() {
    check(|t| {
        version_one();
        if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
            skip!("no real-time bandwidth");
        }
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&["update", "--cpu-rt-period", "900000", "--cpu-rt-runtime", "5000"]).ok();
        assert_eq!(limit(&b, "cpu/cpu.rt_period_us"), "900000");
        assert_eq!(limit(&b, "cpu/cpu.rt_runtime_us"), "5000");
        c.verb(&["update", "--cpu-rt-runtime", "6000"]).ok();
        assert_eq!(limit(&b, "cpu/cpu.rt_runtime_us"), "6000");
        c.delete_force();
    });
}

const DOCUMENT: &str = r#"{
  "memory": {"limit": 50331648, "reservation": 33554432, "swap": 100663296, "checkBeforeUpdate": true},
  "cpu": {"shares": 300, "quota": 70000, "burst": 0, "period": 90000, "cpus": "0", "mems": "0", "idle": 0},
  "blockIO": {}, "pids": {"limit": 77}, "unknown": {"to": "us"}
}"#;

fn document_is_set(b: &Bundle) {
    for (file, want) in [
        ("memory/memory.limit_in_bytes", "50331648"),
        ("memory/memory.soft_limit_in_bytes", "33554432"),
        ("memory/memory.memsw.limit_in_bytes", "100663296"),
        ("cpu/cpu.shares", "300"),
        ("cpu/cpu.cfs_quota_us", "70000"),
        ("cpu/cpu.cfs_period_us", "90000"),
        ("cpuset/cpuset.cpus", "0"),
        ("pids/pids.max", "77"),
    ] {
        assert_eq!(limit(b, file), want, "{file}");
    }
}

/// A file, standard input, a pipe; the flags say nothing then.
#[test]
fn resources_as_a_document() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let file = t.path("resources");
        fs::write(&file, DOCUMENT).unwrap();
        let file = file.to_str().unwrap();
        for flags in [&["--resources", file][..], &["-r", file], &["-r", file, "--pids-limit", "5"]] {
            c.verb(&["update", "--pids-limit", "9", "--cpu-share", "1024"]).ok();
            let mut words = vec!["update"];
            words.extend(flags);
            c.verb(&words).ok();
            document_is_set(&b);
        }
        for flag in ["-r", "--resources"] {
            c.verb(&["update", "--pids-limit", "9", "--cpu-share", "1024"]).ok();
            t.call(["update", flag, "-", &c.id]).stdin(stdin_of(t, DOCUMENT)).run().ok();
            document_is_set(&b);
        }
        c.verb(&["update", "--pids-limit", "9"]).ok();
        let (from, to) = std::io::pipe().unwrap();
        use std::io::Write;
        { to }.write_all(DOCUMENT.as_bytes()).unwrap();
        t.call(["update", "-r", "-", &c.id]).stdin(OwnedFd::from(from)).run().ok();
        document_is_set(&b);
        c.delete_force();
    });
}

/// What is not named stays; what is named with nothing stays too.
#[test]
fn the_rest_is_left_as_it_is() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/memory", json!({"limit": 67108864, "swap": 134217728}));
        b.set("/linux/resources/pids", json!({"limit": 20}));
        b.set("/linux/resources/cpu", json!({"shares": 100, "quota": 50000, "period": 100000}));
        let c = b.up(&["wait"]);
        let all = || {
            [
                "memory/memory.limit_in_bytes",
                "memory/memory.memsw.limit_in_bytes",
                "pids/pids.max",
                "cpu/cpu.shares",
                "cpu/cpu.cfs_quota_us",
                "cpu/cpu.cfs_period_us",
                "devices/devices.list",
            ]
            .map(|f| limit(&b, f))
        };
        let before = all();
        c.verb(&["update"]).ok();
        assert_eq!(all(), before);
        t.call(["update", "-r", "-", &c.id]).stdin(stdin_of(t, "{}")).run().ok();
        assert_eq!(all(), before);
        c.verb(&["update", "--memory", "", "--cpu-share", "", "--cpuset-cpus="]).ok();
        assert_eq!(all(), before);
        // Names of devices in a document are no news for the device rules.
        let devices = r#"{"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 21}}"#;
        t.call(["update", "-r", "-", &c.id]).stdin(stdin_of(t, devices)).run().ok();
        assert_eq!(limit(&b, "devices/devices.list"), before[6]);
        assert_eq!(limit(&b, "pids/pids.max"), "21");
        c.delete_force();
    });
}

/// Nothing of it is written, whatever else the call asks for.
#[test]
fn what_is_no_value_is_refused_before_anything_is_written() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&["update", "--cpu-share", "555"]).ok();
        for (flags, parts) in [
            (&["--memory", "lots"][..], &["memory", "invalid"][..]),
            (&["--memory-swap", "-2"], &["memory-swap", "invalid"]),
            (&["--memory-reservation", "1x"], &["memory-reservation", "invalid"]),
            (&["--cpu-period", "abc"], &["cpu-period"]),
            (&["--cpu-period", "-5"], &["cpu-period"]),
            (&["--cpu-quota", "1.5"], &["cpu-quota"]),
            (&["--cpu-burst", "-1"], &["cpu-burst"]),
            (&["--cpu-idle", "yes"], &["cpu-idle"]),
            (&["--cpu-rt-period", "x"], &["cpu-rt-period"]),
            (&["--cpu-rt-runtime", "x"], &["cpu-rt-runtime"]),
        ] {
            let mut words = vec!["update", "--cpu-share", "300"];
            words.extend(flags);
            c.verb(&words).fails(parts);
            assert_eq!(limit(&b, "cpu/cpu.shares"), "555", "{flags:?}");
        }
        for (flag, value) in [("--pids-limit", "many"), ("--blkio-weight", "heavy")] {
            let out = c.verb(&["update", "--cpu-share", "300", flag, value]);
            assert_eq!(out.status, 1, "{out}");
            assert!(out.stderr.contains(&flag[2..]), "{out}");
            assert_eq!(limit(&b, "cpu/cpu.shares"), "555");
        }
        c.delete_force();
    });
}

/// As the kernel would refuse them anyway, but only after it has taken others.
#[test]
fn what_contradicts_itself_is_refused_before_anything_is_written() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&["update", "--cpu-share", "555", "--pids-limit", "50"]).ok();
        for (flags, part) in [
            (&["--memory", "64m", "--memory-swap", "32m"][..], "memory"),
            (&["--blkio-weight", "5"], "weight"),
            (&["--blkio-weight", "1001"], "weight"),
            (&["--cpu-idle", "7"], "idle"),
            (&["--cpu-rt-period", "1000", "--cpu-rt-runtime", "2000"], "realtime"),
        ] {
            if part == "realtime" && unified() {
                continue;
            }
            let mut words = vec!["update", "--cpu-share", "300", "--pids-limit", "60"];
            words.extend(flags);
            let message = c.verb(&words).fails(&[part]);
            assert!(is_reference() || !message.contains("config.json"), "{message}");
            assert_eq!([limit(&b, "cpu/cpu.shares"), limit(&b, "pids/pids.max")], ["555", "50"], "{flags:?}");
        }
        c.delete_force();
    });
}

/// The kernel refuses the last of several: the others are as before, also those that depend on each other.
#[test]
fn one_refusal_takes_all_back() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&[
            "update",
            "--memory",
            "64m",
            "--memory-swap",
            "96m",
            "--cpu-share",
            "555",
            "--pids-limit",
            "50",
        ])
        .ok();
        let all = || {
            [
                "memory/memory.limit_in_bytes",
                "memory/memory.memsw.limit_in_bytes",
                "cpu/cpu.shares",
                "pids/pids.max",
                "cpu/cpu.cfs_quota_us",
                "cpu/cpu.cfs_period_us",
                "cpu/cpu.idle",
                "cpuset/cpuset.cpus",
            ]
            .map(|f| limit(&b, f))
        };
        let before = all();
        let good = ["--memory", "1g", "--memory-swap", "2g", "--cpu-share", "300", "--pids-limit", "60"];
        for bad in [
            &["--cpuset-mems", "99"][..],
            &["--cpuset-cpus", "4711"],
            &["--cpu-period", "5", "--cpu-quota", "70000"],
        ] {
            let mut words = vec!["update"];
            words.extend(good);
            words.extend(bad);
            c.verb(&words).fails(&[]);
            assert_eq!(all(), before, "{bad:?}");
        }
        // Being idle took the weight away, which comes back too.
        let bad: &[&str] = if unified() {
            &["--cpuset-mems", "99"]
        } else {
            &["--cpu-rt-period", "1", "--cpu-rt-runtime", "1"]
        };
        c.verb(&[&["update", "--cpu-idle", "1"], bad].concat()).fails(&[]);
        assert_eq!(all(), before);
        // And the next update starts from there.
        c.verb(&["update", "--cpu-quota", "20000"]).ok();
        assert_eq!(limit(&b, "cpu/cpu.cfs_period_us"), "100000");
        c.delete_force();
    });
}

/// A limit that cannot be had is the last write: a device that is not there.
#[test]
fn a_device_that_is_not_there() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let before = limit(&b, "pids/pids.max");
        let text = r#"{"pids": {"limit": 31}, "cpu": {"shares": 200},
            "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 9, "rate": 1000}]}}"#;
        t.call(["update", "-r", "-", &c.id]).stdin(stdin_of(t, text)).run().fails(&[if unified() {
            "io.max"
        } else {
            "blkio.throttle.read_bps_device"
        }]);
        assert_eq!([limit(&b, "pids/pids.max"), limit(&b, "cpu/cpu.shares")], [before.as_str(), "1024"]);
        c.delete_force();
    });
}

#[test]
fn created_running_paused_but_not_stopped() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let c = b.create();
        let set = |n: &str| {
            c.verb(&["update", "--pids-limit", n]).ok();
            assert_eq!(limit(&b, "pids/pids.max"), n);
        };
        set("21");
        c.start();
        c.wait_for("ready");
        assert_eq!(limit(&b, "pids/pids.max"), "21", "start changes nothing");
        set("22");
        c.verb(&["pause"]).ok();
        set("23");
        assert_eq!(c.status(), "paused");
        c.verb(&["resume"]).ok();
        c.kill("KILL");
        c.becomes("stopped");
        c.verb(&["update", "--pids-limit", "24"]).fails(&["container not running"]);
    });
}

#[test]
fn an_unknown_container() {
    check(|t| {
        t.rt(&["update", "--pids-limit", "9", &t.id()]).fails(&["container does not exist"]);
    });
}

#[test]
fn a_document_that_is_none() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for text in ["", "{", "[]", r#"{"memory": 5}"#, r#"{"pids": {"limit": "many"}}"#] {
            t.call(["update", "-r", "-", &c.id]).stdin(stdin_of(t, text)).run().fails(&[]);
        }
        c.verb(&["update", "-r", "/no/such/file"]).fails(&["/no/such/file", "no such file"]);
        c.delete_force();
    });
}

/// Go names flags with one dash as well, and takes a value that begins with one.
#[test]
fn as_go_writes_flags() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        c.verb(&["update", "-pids-limit", "15", "-cpu-quota=-1", "-memory-swap", "-1"]).ok();
        assert_eq!(limit(&b, "pids/pids.max"), "15");
        t.rt(&["update", &c.id, "--pids-limit=16"]).ok();
        assert_eq!(limit(&b, "pids/pids.max"), "16");
        c.delete_force();
    });
}

/// They mean nothing any more, but old clients send them.
#[test]
fn kernel_memory_is_ignored_with_a_warning() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let out = c.verb(&["update", "--kernel-memory", "50m", "--kernel-memory-tcp", "-1"]).ok();
        assert!(out.log.contains("Kernel memory settings are ignored and will be removed"), "{out}");
        c.delete_force();
    });
}

#[test]
fn intel_rdt_where_there_is_none() {
    check(|t| {
        if Path::new("/sys/fs/resctrl/schemata").exists() {
            skip!("this machine has Intel RDT");
        }
        let c = t.bundle().up(&["wait"]);
        c.verb(&["update", "--l3-cache-schema", "L3:0=7f"]).fails(&["l3 cache schema is not enabled"]);
        c.verb(&["update", "--mem-bw-schema", "MB:0=70"]).fails(&["memory bandwidth schema is not enabled"]);
        c.delete_force();
    });
}

/// Two at once: one after the other, neither lost.
#[test]
fn at_the_same_time() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        let calls: Vec<_> = (1..=6)
            .map(|n| {
                t.call(["update", "--pids-limit", &format!("{n}0"), "--cpu-share", &format!("{n}00"), &c.id])
                    .spawn()
            })
            .collect();
        for call in calls {
            call.wait().ok();
        }
        let (pids, shares) = (limit(&b, "pids/pids.max"), limit(&b, "cpu/cpu.shares"));
        assert_eq!(format!("{pids}0"), shares);
        c.delete_force();
    });
}
