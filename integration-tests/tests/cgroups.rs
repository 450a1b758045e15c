//! cgroups: created, joined before the program runs, limited, removed.

use integration_tests::*;
use std::fs;
use std::path::{Path, PathBuf};

const TOP: &str = "/sys/fs/cgroup";

/// The version 1 hierarchies of this machine, by the names of their directories.
fn hierarchies() -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let names =
        own.lines().filter_map(|l| l.split(':').nth(1)).map(|n| n.trim_start_matches("name=").to_string());
    names.filter(|n| !n.is_empty()).collect()
}

/// A limit's file in the container's cgroup of a controller.
fn file(path: &str, controller: &str, name: &str) -> String {
    let dir = if unified() { PathBuf::from(TOP) } else { Path::new(TOP).join(controller) };
    let file = dir.join(path.trim_start_matches('/')).join(name);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_string()
}

#[test]
fn joined_in_every_hierarchy() {
    check(|t| {
        let mut b = t.bundle();
        let facts = b.facts(&[]);
        for name in hierarchies() {
            assert_eq!(facts["cgroups"][&name], b.cgroups_path(), "{name}");
        }
        t.nothing_left();
    });
}

/// The unified tree of a hybrid machine as well: it has cgroup.kill and cgroup.freeze.
#[test]
fn joined_in_the_unified_tree() {
    check(|t| {
        if !unified() && !Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
            skip!("no unified tree");
        }
        let mut b = t.bundle();
        assert_eq!(b.facts(&[])["cgroups"][""], b.cgroups_path());
    });
}

#[test]
fn an_absolute_path_may_have_several_parts() {
    check(|t| {
        let mut b = t.bundle();
        let path = format!("/{}/pod/box", t.token);
        b.set("/linux/cgroupsPath", path.as_str());
        assert_eq!(cgroup_in(&b.facts(&[]), "pids"), &path);
        // Parents are the caller's; runtimes leave them alone.
        for dir in t.cgroups().into_iter().rev() {
            assert!(!dir.ends_with("box"), "{dir:?}");
            fs::remove_dir(dir).unwrap();
        }
    });
}

/// Below the runtime's own cgroup in each hierarchy.
#[test]
fn a_relative_path() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("{}-relative", t.token));
        let facts = b.facts(&[]);
        for line in fs::read_to_string("/proc/self/cgroup").unwrap().lines() {
            let parts: Vec<&str> = line.splitn(3, ':').collect();
            let name = parts[1].trim_start_matches("name=");
            let told = facts["cgroups"][name].as_str().unwrap();
            assert!(told.ends_with(&format!("/{}-relative", t.token)), "{name}: {told}");
            if name == "pids" {
                assert_eq!(told, format!("{}/{}-relative", parts[2].trim_end_matches('/'), t.token));
            }
        }
        t.nothing_left();
    });
}

#[test]
fn without_a_path_it_is_named_after_the_container() {
    check(|t| {
        let mut b = t.bundle();
        b.remove("/linux/cgroupsPath").probe(&["facts"]);
        let id = t.id();
        let facts = b.call(&["run"], &id).run().ok().facts();
        assert!(
            cgroup_in(&facts, "pids").as_str().unwrap().ends_with(&format!("/{id}")),
            "{}",
            facts["cgroups"]
        );
        t.nothing_left();
    });
}

/// `..` does not lead out of the hierarchy.
#[test]
fn a_path_that_climbs_stays_inside() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("/../../../{}-up", t.token));
        assert_eq!(cgroup_in(&b.facts(&[]), "pids"), &format!("/{}-up", t.token));
        t.nothing_left();
    });
}

/// Someone made it before: it is used, if nobody is in it.
#[test]
fn an_existing_empty_cgroup_is_used() {
    check(|t| {
        let mut b = t.bundle();
        let path = b.cgroups_path();
        let top = Path::new(TOP).join(if unified() { "" } else { "pids" });
        let dir = top.join(path.trim_start_matches('/'));
        if dir.parent().is_some_and(Path::exists) {
            fs::create_dir(&dir).unwrap();
        }
        assert_eq!(cgroup_in(&b.facts(&[]), "pids"), &path);
    });
}

#[test]
fn a_cgroup_in_use_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        b.run().fails(&["cgroup", "not empty"]);
        assert_eq!(c.status(), "running");
        c.delete_force();
        t.nothing_left();
    });
}

/// Values as written in config.json, and as the kernel tells them on version 1 (`controller/file`) and on version 2.
#[track_caller]
fn limits(t: &Case, resources: Value, one: &[(&str, &str)], two: &[(&str, &str)]) {
    let mut b = t.bundle();
    for (kind, value) in resources.as_object().unwrap() {
        b.set(&format!("/linux/resources/{kind}"), value.clone());
    }
    let c = b.up(&["wait"]);
    for (name, value) in if unified() { two } else { one } {
        let (controller, name) = name.split_once('/').unwrap_or(("", name));
        assert_eq!(file(&b.cgroups_path(), controller, name), *value, "{name}");
    }
    c.delete_force();
    t.nothing_left();
}

#[test]
fn memory() {
    check(|t| {
        let mut memory = json!({"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728});
        let mut one = vec![
            ("memory/memory.limit_in_bytes", "67108864"),
            ("memory/memory.soft_limit_in_bytes", "33554432"),
            ("memory/memory.swappiness", "30"),
        ];
        if !unified() {
            memory["swappiness"] = json!(30);
            if Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() {
                one.push(("memory/memory.memsw.limit_in_bytes", "134217728"));
            }
        }
        let two = [("memory.max", "67108864"), ("memory.low", "33554432"), ("memory.swap.max", "67108864")];
        limits(t, json!({ "memory": memory }), &one, &two);
    });
}

#[test]
fn memory_without_limit() {
    check(|t| {
        limits(
            t,
            json!({"memory": {"limit": -1}}),
            &[("memory/memory.limit_in_bytes", "9223372036854771712")],
            &[("memory.max", "max"), ("memory.swap.max", "max")],
        );
    });
}

#[test]
fn memory_without_oom_killer() {
    check(|t| {
        version_one();
        let mut b = t.bundle();
        b.set("/linux/resources/memory", json!({"limit": 67_108_864, "disableOOMKiller": true}));
        let c = b.up(&["wait"]);
        assert!(file(&b.cgroups_path(), "memory", "memory.oom_control").starts_with("oom_kill_disable 1"));
        c.delete_force();
    });
}

#[test]
fn cpu() {
    check(|t| {
        limits(
            t,
            json!({"cpu": {"shares": 200, "quota": 50_000, "period": 100_000, "burst": 20_000}}),
            &[
                ("cpu/cpu.shares", "200"),
                ("cpu/cpu.cfs_quota_us", "50000"),
                ("cpu/cpu.cfs_period_us", "100000"),
                ("cpu/cpu.cfs_burst_us", "20000"),
            ],
            // The quadratic conversion of runc 1.3.2 and crun 1.23.
            &[("cpu.weight", "29"), ("cpu.max", "50000 100000"), ("cpu.max.burst", "20000")],
        );
        limits(t, json!({"cpu": {"idle": 1}}), &[("cpu/cpu.idle", "1")], &[("cpu.idle", "1")]);
        limits(
            t,
            json!({"cpu": {"quota": -1}}),
            &[("cpu/cpu.cfs_quota_us", "-1")],
            &[("cpu.max", "max 100000")],
        );
        limits(
            t,
            json!({"cpu": {"period": 50_000}}),
            &[("cpu/cpu.cfs_period_us", "50000")],
            &[("cpu.max", "max 50000")],
        );
    });
}

#[test]
fn cpu_real_time() {
    check(|t| {
        version_one();
        limits(
            t,
            json!({"cpu": {"realtimeRuntime": 2000, "realtimePeriod": 900_000}}),
            &[("cpu/cpu.rt_runtime_us", "2000"), ("cpu/cpu.rt_period_us", "900000")],
            &[],
        );
    });
}

#[test]
fn cpuset() {
    check(|t| {
        let number = *cpus().last().unwrap();
        let last = number.to_string();
        limits(
            t,
            json!({"cpu": {"cpus": last, "mems": "0"}}),
            &[("cpuset/cpuset.cpus", &last), ("cpuset/cpuset.mems", "0")],
            &[("cpuset.cpus", &last), ("cpuset.mems", "0"), ("cpuset.cpus.effective", &last)],
        );
        let mut b = t.bundle();
        b.set("/linux/resources/cpu", json!({"cpus": last}));
        assert_eq!(b.facts(&[])["affinity"], json!([number]));
    });
}

#[test]
fn cpuset_is_inherited_where_nothing_is_said() {
    check(|t| {
        version_one();
        let top = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap();
        limits(t, json!({}), &[("cpuset/cpuset.cpus", top.trim()), ("cpuset/cpuset.mems", "0")], &[]);
    });
}

#[test]
fn pids() {
    check(|t| {
        limits(t, json!({"pids": {"limit": 17}}), &[("pids/pids.max", "17")], &[("pids.max", "17")]);
        limits(t, json!({"pids": {"limit": -1}}), &[("pids/pids.max", "max")], &[("pids.max", "max")]);
        let mut b = t.bundle();
        b.set("/linux/resources/pids", json!({"limit": 5})).probe(&["forks", "20"]);
        assert_eq!(b.run().ok().stdout, "forks 4 EAGAIN\n");
        t.nothing_left();
    });
}

#[test]
fn blkio() {
    check(|t| {
        // Of the disk that is there.
        let mut disks: Vec<PathBuf> =
            fs::read_dir("/sys/block").unwrap().flatten().map(|e| e.path()).collect();
        disks.sort_by_key(|d| !d.ends_with("vda"));
        let Some(disk) = disks.first() else { skip!("no disk") };
        let disk = fs::read_to_string(disk.join("dev")).unwrap().trim().to_string();
        let (major, minor) = disk.split_once(':').unwrap();
        let number = |n: &str| n.parse::<u32>().unwrap();
        let rates = |rate: u32| json!([{"major": number(major), "minor": number(minor), "rate": rate}]);
        let bytes = rates(1_048_576);
        limits(
            t,
            json!({"blockIO": {"throttleReadBpsDevice": bytes, "throttleWriteIOPSDevice": rates(99)}}),
            &[
                ("blkio/blkio.throttle.read_bps_device", &format!("{disk} 1048576")),
                ("blkio/blkio.throttle.write_iops_device", &format!("{disk} 99")),
            ],
            &[("io.max", &format!("{disk} rbps=1048576 wbps=max riops=max wiops=99"))],
        );
    });
}

/// The device rules of version 1, read back: what is always allowed (a tun device among it), and what the document adds.
#[test]
fn devices() {
    check(|t| {
        version_one();
        let mut b = t.bundle();
        b.set(
            "/linux/resources/devices/-",
            json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
        );
        let c = b.up(&["wait"]);
        let list = file(&b.cgroups_path(), "devices", "devices.list");
        let mut rules: Vec<&str> = list.lines().collect();
        rules.sort_unstable();
        assert_eq!(
            rules,
            [
                "b *:* m",
                "c *:* m",
                "c 10:200 rwm",
                "c 10:229 rw",
                "c 136:* rwm",
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
                "c 5:0 rwm",
                "c 5:2 rwm",
            ]
        );
        c.delete_force();
    });
}

/// A process is limited from its first instruction on: nothing runs outside of its cgroup.
#[test]
fn the_payload_is_killed_at_its_limit() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/memory", json!({"limit": 32 << 20, "swap": 32 << 20}))
            .probe(&["allocate", "64"]);
        b.run().exits(137);
        b.probe(&["allocate", "8"]);
        assert_eq!(b.run().ok().stdout, "allocated 8\n");
        t.nothing_left();
    });
}

/// Limits hold already while the container is only created.
#[test]
fn limits_are_set_by_create() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/pids", json!({"limit": 12}));
        let _c = b.create();
        assert_eq!(file(&b.cgroups_path(), "pids", "pids.max"), "12");
    });
}

/// On a hybrid machine the hugetlb controller is mostly in the unified tree; it is limited there then.
#[test]
fn hugepages() {
    check(|t| {
        let kilobytes = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
        let names: Vec<String> = kilobytes.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        if !names.iter().any(|n| n == "hugepages-2048kB") {
            skip!("no huge pages of 2 MB");
        }
        let mut b = t.bundle();
        b.set("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}]));
        let c = b.up(&["wait"]);
        let of_two = ["", "unified"].map(|top| Path::new(TOP).join(top));
        let of_two = of_two.iter().find(|top| top.join("cgroup.controllers").exists());
        let (dir, files) = if Path::new(TOP).join("hugetlb").exists() {
            let files = ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"];
            (Path::new(TOP).join("hugetlb"), files)
        } else {
            (of_two.unwrap().clone(), ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"])
        };
        for file in files {
            let path = dir.join(b.cgroups_path().trim_start_matches('/')).join(file);
            assert_eq!(fs::read_to_string(&path).unwrap().trim(), "4194304", "{file}");
        }
        let stats = t.rt(&["events", "--stats", &c.id]).ok().json();
        assert!(stats["data"]["hugetlb"]["2MB"].is_object(), "{stats}");
        c.delete_force();
        t.nothing_left();
    });
}

/// An idle cgroup has no weight of its own, and takes one only before.
#[test]
fn idle_with_shares() {
    check(|t| {
        limits(t, json!({"cpu": {"shares": 200, "idle": 1}}), &[("cpu/cpu.idle", "1")], &[("cpu.idle", "1")]);
    });
}

/// Each wrong value: one error that names the file (or what is wrong) and the value, and nothing is left.
#[track_caller]
fn wrong(t: &Case, table: &[(Value, &[&str])]) {
    for (resources, parts) in table {
        let mut b = t.bundle();
        for (kind, value) in resources.as_object().unwrap() {
            b.set(&format!("/linux/resources/{kind}"), value.clone());
        }
        let begin = Moment::now();
        let out = b.run();
        begin.within(PROMPT);
        out.fails(parts);
        t.nothing_left();
    }
}

#[test]
fn a_value_that_the_kernel_refuses() {
    check(|t| {
        let version = |one: &'static str, two: &'static str| if unified() { two } else { one };
        let device = |rate: u32| json!([{"major": 999, "minor": 9, "rate": rate}]);
        wrong(
            t,
            &[
                (json!({"cpu": {"cpus": "999"}}), &["cpuset.cpus", "999"]),
                (json!({"cpu": {"cpus": "a-b"}}), &["cpuset.cpus", "a-b"]),
                (json!({"cpu": {"mems": "77"}}), &["cpuset.mems", "77"]),
                (json!({"cpu": {"quota": 5}}), &[version("cpu.cfs_quota_us", "cpu.max"), "invalid argument"]),
                (json!({"cpu": {"period": 1}}), &[version("cpu.cfs_period_us", "cpu.max"), "1"]),
                (json!({"cpu": {"idle": 2}}), &["cpu.idle", "2"]),
                (json!({"memory": {"limit": -5}}), &[version("memory.limit_in_bytes", "memory.max"), "-5"]),
                (
                    json!({"memory": {"limit": 67_108_864, "swap": 1_048_576}}),
                    &[version("memory.memsw.limit_in_bytes", "memory+swap limit should be >= memory limit")],
                ),
                (json!({"blockIO": {"throttleReadBpsDevice": device(7)}}), &["999:9", "no such device"]),
            ],
        );
    });
}

/// What can be known before the kernel is asked.
#[test]
fn a_value_that_is_none() {
    check(|t| {
        wrong(
            t,
            &[
                (json!({"blockIO": {"weight": 5}}), &["blkio weight 5", "/linux/resources/blockIO/weight"]),
                (
                    json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1001}]}}),
                    &["blkio weight 1001", "/linux/resources/blockIO/weightDevice/0/weight"],
                ),
                (
                    json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
                    &["../2MB", "/linux/resources/hugepageLimits/0/pageSize"],
                ),
                (json!({"unified": {"../memory.max": "1"}}), &["../memory.max", "file name"]),
                (json!({"unified": {"a/b.c": "1"}}), &["a/b.c", "file name"]),
                (json!({"rdma": {"a b": {"hcaHandles": 1}}}), &["a b", "/linux/resources/rdma"]),
                (
                    json!({"network": {"priorities": [{"name": "../x", "priority": 1}]}}),
                    &["../x", "/linux/resources/network/priorities/0/name"],
                ),
                (
                    json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "x"}]}),
                    &["device access", "/linux/resources/devices/0/access"],
                ),
                (
                    json!({"devices": [{"allow": true, "type": "c", "major": 9, "access": "rw"},
                        {"allow": false, "type": "c", "major": 9, "minor": 9, "access": "w"}]}),
                    &["c 9:9 w", "punch a hole", "/linux/resources/devices/1"],
                ),
            ],
        );
    });
}

#[test]
fn a_value_that_this_version_cannot_take() {
    check(|t| {
        if unified() {
            wrong(
                t,
                &[
                    (json!({"memory": {"swap": 5}}), &["swap limit without memory limit"]),
                    (json!({"unified": {"memory.nosuch": "1"}}), &["memory.nosuch"]),
                    (json!({"unified": {"nosuch.max": "1"}}), &["nosuch.max", "controller", "not available"]),
                    (json!({"unified": {"memory.high": "much"}}), &["memory.high"]),
                    (json!({"rdma": {"nosuch": {"hcaHandles": 1}}}), &["rdma.max", "no such device"]),
                ],
            );
        } else {
            wrong(
                t,
                &[
                    (json!({"cpu": {"shares": 1}}), &["minimum allowed cpu-shares is 2"]),
                    (json!({"cpu": {"shares": 262_145}}), &["maximum allowed cpu-shares is 262144"]),
                    (json!({"memory": {"swappiness": 101}}), &["memory swappiness value: 101"]),
                    (json!({"unified": {"memory.max": "1"}}), &["cannot use unified on cgroup v1"]),
                ],
            );
            for (controller, resources) in [
                ("net_cls", json!({"network": {"classID": 1}})),
                ("net_prio", json!({"network": {"priorities": [{"name": "lo", "priority": 1}]}})),
            ] {
                if !Path::new(TOP).join(controller).exists() {
                    let text = format!("cannot set {controller} limit");
                    wrong(t, &[(resources, &[&text])]);
                }
            }
        }
    });
}

/// Version 1 refuses what goes beyond the parent's; version 2 keeps to it silently.
#[test]
fn more_than_the_parent_allows() {
    check(|t| {
        version_one();
        let make = |controller: &str, values: &[(&str, &str)]| {
            let dir = Path::new(TOP).join(controller).join(&t.token);
            let _ = fs::create_dir(&dir);
            for (file, value) in values {
                fs::write(dir.join(file), value).unwrap();
            }
        };
        make("cpuset", &[("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
        make("cpu", &[("cpu.cfs_quota_us", "20000")]);
        for (resources, parts) in [
            (json!({"cpu": {"cpus": "0-1"}}), ["cpuset.cpus", "0-1"]),
            (json!({"cpu": {"quota": 50_000}}), ["cpu.cfs_quota_us", "50000"]),
            // A new cgroup has no real-time bandwidth that it could share.
            (json!({"cpu": {"realtimeRuntime": 2000}}), ["cpu.rt_runtime_us", "2000"]),
        ] {
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", format!("/{}/box", t.token))
                .set("/linux/resources/cpu", resources["cpu"].clone());
            b.run().fails(&parts);
            assert!(t.cgroups().iter().all(|d| !d.ends_with("box")), "{:?}", t.cgroups());
        }
        t.remove_cgroups();
    });
}

#[test]
fn a_path_that_names_nothing() {
    check(|t| {
        for path in ["/", ".", "..", "/..", "/a/..", "a\nb"] {
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", path);
            b.refused(&["cgroupsPath"]);
        }
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", "x".repeat(256));
        b.refused(&["cgroupsPath", "255"]);
    });
}

/// Case 55: whatever the limit, the program runs, or one error names memory and the limit; what a small program needs is
/// enough for us too.
#[test]
fn little_memory() {
    check(|t| {
        for kilobytes in [4, 64, 96, 128, 160, 192, 256, 384, 512, 1024, 4096] {
            let mut b = t.bundle();
            let limit = kilobytes << 10;
            b.set("/linux/resources/memory", json!({"limit": limit, "swap": limit})).args(&["/bin/true"]);
            let begin = Moment::now();
            let out = b.run();
            // The kernel may look long for something to free; main would wait for init for two minutes.
            begin.within(LONG);
            // Killed as it executes its program, it has no words left.
            if !matches!(out.status, 0 | 137) {
                out.fails(&["memory limit", &limit.to_string()]);
            }
            assert!(out.status == 0 || kilobytes < 512, "{kilobytes} KiB:\n{out}");
            t.nothing_left();
        }
    });
}

/// Of a pod, that is of the cgroup above, and of swap with it.
fn limit_pod(t: &Case, bytes: u64) -> bool {
    let (controller, limit, swap) = match unified() {
        true => ("", "memory.max", "memory.swap.max"),
        false => ("memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    };
    let pod = Path::new(TOP).join(controller).join(&t.token);
    let _ = fs::create_dir(&pod);
    let both = unified() || fs::read_to_string(pod.join(swap)).is_ok();
    let bytes = bytes.to_string();
    let write = |file: &str, value: &str| fs::write(pod.join(file), value).is_ok();
    // Version 1: swap's may not be the smaller of the two, at no time.
    let first = write(limit, &bytes);
    let second = both && write(swap, if unified() { "0" } else { &bytes });
    first || (second && write(limit, &bytes))
}

fn remove_pod(t: &Case) {
    assert!(t.cgroups().iter().all(|d| !d.ends_with("box")), "{:?}", t.cgroups());
    t.remove_cgroups();
    t.nothing_left();
}

/// The limit of a pod kills as well, and that is said too, before anybody takes the container for created: what does not
/// hold the smallest program (100 KiB) is no less an error than what does not hold us.
#[test]
fn little_memory_above() {
    check(|t| {
        // Said without a limit of its own in the configuration, and with one that is larger.
        for (kib, own, verb) in [(64, 0, "run"), (64, 64, "create"), (100, 64, "run"), (100, 0, "create")] {
            // Each time a new one: cgroups that are gone may be charged to it for a while.
            assert!(limit_pod(t, kib << 10));
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", format!("/{}/box", t.token)).args(&["/bin/true"]);
            b.remove("/linux/resources/memory");
            if own > 0 {
                b.set("/linux/resources/memory", json!({"limit": own << 20}));
            }
            let said = b.call(&[verb], &t.id()).run().fails(&["memory limit too low?"]);
            if !is_reference() {
                let file = if unified() { "memory.max" } else { "memory.limit_in_bytes" };
                let named = format!("{}/{file} is {}", t.token, kib << 10);
                assert!(said.contains(&named), "{named:?} should be in {said}");
            }
            remove_pod(t);
        }
    });
}

/// A pod's limit that is lowered to what a waiting container uses leaves nothing for a program: `start` says so, or the
/// program is there. On version 2 the kernel kills at once, and that is told of a container that cannot be started.
#[test]
fn memory_that_shrinks_before_the_start() {
    check(|t| {
        for _ in 0..2 {
            assert!(limit_pod(t, 64 << 20));
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", format!("/{}/box", t.token)).args(&["/bin/true"]);
            b.remove("/linux/resources/memory");
            let c = b.create();
            let pid = c.adopt();
            if unified() {
                assert!(limit_pod(t, 4096));
                c.becomes("stopped");
            } else {
                // As low as the kernel allows, which a try or two make take back what it can.
                assert!(!limit_pod(t, 4096) && !limit_pod(t, 4096), "it uses nothing");
                let pod = Path::new(TOP).join("memory").join(&t.token);
                let used: u64 =
                    fs::read_to_string(pod.join("memory.usage_in_bytes")).unwrap().trim().parse().unwrap();
                let pages = used / 4096..16384;
                assert!(pages.into_iter().any(|n| limit_pod(t, n * 4096)), "no limit is taken");
            }
            let out = c.verb(&["start"]);
            c.becomes("stopped");
            // PF_FORKNOEXEC of proc_pid_stat(5) is there until a program is executed.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let flags: u64 =
                stat.rsplit(')').next().unwrap().split_whitespace().nth(6).unwrap().parse().unwrap();
            c.delete();
            assert!(matches!(c.reap(pid), 0 | 137));
            remove_pod(t);
            if unified() {
                let said = out.fails(&["cannot start a container that has stopped"]);
                assert!(is_reference() || said.contains("OOM-killed"), "{said}");
            } else if out.status == 0 {
                assert!(flags & 0x40 == 0, "start was satisfied without a program:\n{stat}\n{out}");
            } else {
                out.fails(&["OOM-killed", "memory limit too low?", &t.token]);
            }
        }
    });
}

/// A container that has used up its memory can kill who comes; that is said where there is somebody to say it.
#[test]
fn exec_without_memory() {
    check(|t| {
        version_one();
        let mut b = t.bundle();
        let limit = 16 << 20;
        b.set("/linux/resources/memory", json!({"limit": limit, "swap": limit}));
        let c = b.up(&["wait"]);
        let fill = ["exec", &c.id, "sh", "-c", "busybox dd if=/dev/zero of=/dev/shm/x bs=64k count=200"];
        t.rt(&fill).ok();
        for _ in 0..10 {
            let used: u64 = file(&b.cgroups_path(), "memory", "memory.usage_in_bytes").parse().unwrap();
            let tight = (used + 40_960).to_string();
            let resized = t.rt(&["update", "--memory", &tight, "--memory-swap", &tight, &c.id]);
            if resized.status != 0 || c.status() != "running" {
                continue;
            }
            let begin = Moment::now();
            let out = t.rt(&["exec", &c.id, "/bin/true"]);
            begin.within(LONG);
            if out.status == 255 && out.stderr.contains("killed") {
                out.complains(&["OOM-killed", "memory limit is"]);
            }
        }
        c.delete_force();
        t.nothing_left();
    });
}

/// Case 56: no number of processes makes it hang or leave something.
#[test]
fn few_processes() {
    check(|t| {
        for limit in [-1, 0, 1, 2] {
            let mut b = t.bundle();
            b.set("/linux/resources/pids", json!({"limit": limit})).probe(&["exit", "3"]);
            let begin = Moment::now();
            b.run().exits(3);
            begin.within(PROMPT);
            t.nothing_left();
        }
    });
}

#[test]
fn a_limit_that_this_machine_has_no_controller_for() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/rdma", json!({"mlx5_1": {"hcaHandles": 3}}));
        let out = b.run();
        if out.status != 0 {
            out.fails(&["rdma"]);
        }
        t.nothing_left();
    });
}

/// Version 2: the files, and the conversions that the specification's formulas ask for.
#[test]
fn version_two() {
    check(|t| {
        if !unified() {
            skip!("cgroup version 1");
        }
        let mut b = t.bundle();
        b.set(
            "/linux/resources/memory",
            json!({"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728}),
        );
        b.set(
            "/linux/resources/cpu",
            json!({"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0", "burst": 20_000}),
        );
        b.set("/linux/resources/pids", json!({"limit": 17}))
            .set("/linux/resources/unified", json!({"memory.high": "60000000"}));
        let c = b.up(&["wait"]);
        let path = b.cgroups_path();
        let table = [
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.swap.max", "67108864"),
            ("memory.high", "59998208"),
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("cpu.max.burst", "20000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "17"),
        ];
        for (name, value) in table {
            assert_eq!(file(&path, "", name), value, "{name}");
        }
        c.delete_force();
    });
}

/// systemd's driver: a transient scope, with the properties that the limits become.
#[test]
fn systemd() {
    check(|t| {
        if !Path::new("/run/systemd/system").exists() {
            skip!("no systemd");
        }
        let mut b = t.bundle();
        b.set("/linux/cgroupsPath", format!("system.slice:it:{}", t.token)).probe(&["facts"]).write();
        let words = ["--systemd-cgroup", "run", "--bundle", b.dir.to_str().unwrap(), &t.id()];
        let facts = t.rt(&words).ok().facts();
        let scope = format!("/system.slice/it-{}.scope", t.token);
        assert!(
            facts["cgroups"].as_object().unwrap().values().any(|p| p == scope.as_str()),
            "{}",
            facts["cgroups"]
        );
        t.nothing_left();
    });
}
