//! linux.namespaces, new and joined by path; uid and gid maps; time offsets.

use integration_tests::*;

/// The name in config.json, and the one under /proc/self/ns.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

#[test]
fn new_ones_are_not_the_hosts() {
    check(|t| {
        let mut b = t.bundle();
        let facts = b.namespaces(&KINDS.map(|(k, _)| k)).facts(&[]);
        for (kind, file) in KINDS {
            assert_ne!(facts["namespaces"][file], host_namespace(file), "{kind}");
        }
        assert_eq!(facts["namespaces"]["user"], host_namespace("user"));
    });
}

#[test]
fn what_is_not_named_is_shared_with_the_host() {
    check(|t| {
        let mut b = t.bundle();
        let facts = b.namespaces(&["mount"]).facts(&[]);
        for (kind, file) in KINDS {
            let same = facts["namespaces"][file] == host_namespace(file);
            assert_eq!(same, kind != "mount", "{kind}");
        }
    });
}

#[test]
fn each_alone() {
    check(|t| {
        for (kind, file) in KINDS.into_iter().filter(|(k, _)| *k != "mount") {
            let mut b = t.bundle();
            let facts = b.namespaces(&["mount", kind]).facts(&[]);
            for (_, other) in KINDS.into_iter().filter(|(k, _)| *k != "mount") {
                let same = facts["namespaces"][other] == host_namespace(other);
                assert_eq!(same, other != file, "with only {kind}, {other}");
            }
        }
    });
}

#[test]
fn pid() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        assert_eq!(facts["session"]["pid"], 1);
        assert_eq!(facts["session"]["ppid"], 0);
        assert_eq!(facts["processes"], json!([1]));
    });
}

#[test]
fn a_new_network_has_only_a_loopback_that_is_up() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        assert_eq!(facts["network"], json!({"lo": {"up": true, "loopback": true}}));
    });
}

#[test]
fn the_hosts_network_is_left_alone() {
    check(|t| {
        let mut b = t.bundle();
        let host = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
        b.namespaces(&["pid", "mount", "ipc", "uts"]).without_mount("/sys");
        b.without_mount("/sys/fs/cgroup");
        assert_eq!(b.facts(&[])["network"], host["network"]);
    });
}

/// Another container lends each of its namespaces.
#[test]
fn joined_by_path() {
    check(|t| {
        let mut lender = t.bundle();
        lender.namespaces(&["pid", "network", "mount", "ipc", "uts", "cgroup", "time"]);
        let c = lender.up(&["wait"]);
        let pid = c.pid();
        for (kind, file) in KINDS.into_iter().filter(|(k, _)| !["mount", "pid"].contains(k)) {
            let mut b = t.bundle();
            b.remove("/hostname").namespace(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
            assert_eq!(b.facts(&[])["namespaces"][file], namespace_of(pid, file), "{kind}");
        }
        assert_eq!(c.status(), "running");
        c.delete_force();
    });
}

/// As Kubernetes shares a pod's pid namespace: the payload is not pid 1, and sees the lender's.
#[test]
fn joined_pid() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let mut b = t.bundle();
        b.namespace(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", c.pid())}));
        let facts = b.facts(&["read=/proc/1/cmdline"]);
        assert_ne!(facts["session"]["pid"], 1);
        assert_eq!(facts["asked"]["read=/proc/1/cmdline"], "/probe\0wait\0");
        assert_eq!(c.status(), "running");
        c.delete_force();
    });
}

#[test]
fn joined_mount() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let lender = c.pid();
        let mut b = t.bundle();
        b.namespace(json!({"type": "mount", "path": format!("/proc/{lender}/ns/mnt")}));
        let out = b.probe(&["facts"]).run();
        // The rootfs of the host is not to be seen from in there, so it cannot go well; but it must say so.
        out.complains(&[]);
        c.delete_force();
        t.nothing_left();
    });
}

#[test]
fn joined_uts_takes_our_hostname() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        let mut b = t.bundle();
        b.set("/hostname", "guest")
            .namespace(json!({"type": "uts", "path": format!("/proc/{}/ns/uts", c.pid())}));
        assert_eq!(b.facts(&[])["hostname"], "guest");
        c.delete_force();
    });
}

#[test]
fn joined_network_keeps_what_is_there() {
    check(|t| {
        let name = t.token.clone();
        t.program("ip", &["netns", "add", &name]).ok();
        let path = format!("/run/netns/{name}");
        t.at_end(&["ip", "netns", "del", &name]);
        let mut b = t.bundle();
        b.namespace(json!({"type": "network", "path": path}));
        assert_eq!(b.facts(&[])["network"], json!({"lo": {"up": false, "loopback": true}}));
    });
}

#[test]
fn nonsense_is_refused() {
    check(|t| {
        let cases: [(Value, &str); 5] = [
            (json!({"type": "galaxy"}), "galaxy"),
            (json!({"type": "network", "path": "/no/such/file"}), "/no/such/file"),
            (json!({"type": "network", "path": "/etc/passwd"}), "namespace"),
            (json!({"type": "network", "path": "/proc/self/ns/uts"}), "namespace"),
            (json!({"type": "network", "path": "relative"}), "relative"),
        ];
        for (entry, part) in cases {
            let mut b = t.bundle();
            b.namespace(entry);
            b.refused(&[part]);
        }
    });
}

#[test]
fn a_namespace_named_twice_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/namespaces/-", json!({"type": "ipc"}));
        b.refused(&["ipc"]);
    });
}

#[test]
fn user_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.user_namespace();
        // The rootfs is root's, and appears as nobody's; so the payload only needs to read it.
        let facts = b.facts(&["stat=/", "stat=/dev/null"]);
        assert_ne!(facts["namespaces"]["user"], host_namespace("user"));
        assert_eq!(facts["user"]["uids"], json!([0, 0, 0]));
        let map: Vec<_> = facts["uidMap"].as_str().unwrap().split_whitespace().collect();
        assert_eq!(map, ["0", "100000", "65536"]);
        assert_eq!(facts["asked"]["stat=/"]["uid"], 65534);
        assert_eq!(facts["dev"]["null"]["open"], "ok");
        assert_eq!(facts["dev"]["null"]["device"], json!([1, 3]));
    });
}

#[test]
fn user_namespace_with_several_ranges() {
    check(|t| {
        let mut b = t.bundle();
        let map = json!([
            {"containerID": 0, "hostID": 100_000, "size": 1000},
            {"containerID": 1000, "hostID": 0, "size": 1},
            {"containerID": 1001, "hostID": 101_001, "size": 1000},
        ]);
        b.user_namespace().set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        b.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 1001]}));
        let facts = b.facts(&["stat=/"]);
        assert_eq!(facts["uidMap"].as_str().unwrap().lines().count(), 3);
        assert_eq!(facts["user"]["uids"], json!([1000, 1000, 1000]));
        assert_eq!(facts["user"]["groups"], json!([5, 1001]));
        assert_eq!(facts["asked"]["stat=/"]["uid"], 1000);
    });
}

#[test]
fn user_namespace_without_maps_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        b.namespace(json!({"type": "user"}));
        b.refused(&["map"]);
    });
}

#[test]
fn maps_without_a_user_namespace_are_ignored() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
        assert_eq!(b.facts(&[])["namespaces"]["user"], host_namespace("user"));
    });
}

#[test]
fn joined_user() {
    check(|t| {
        let mut lender = t.bundle();
        lender.user_namespace();
        let c = lender.up(&["wait"]);
        let pid = c.pid();
        let mut b = t.bundle();
        b.user_namespace();
        b.namespace(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
        b.remove("/linux/uidMappings").remove("/linux/gidMappings");
        let facts = b.facts(&[]);
        assert_eq!(facts["namespaces"]["user"], namespace_of(pid, "user"));
        assert_eq!(facts["user"]["uids"], json!([0, 0, 0]));
        c.delete_force();
    });
}

#[test]
fn time_offsets() {
    check(|t| {
        let host = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
        let mut b = t.bundle();
        b.namespace(json!({"type": "time"}));
        b.set(
            "/linux/timeOffsets",
            json!({"monotonic": {"secs": 7881}, "boottime": {"secs": 100_000, "nanosecs": 5}}),
        );
        let facts = b.facts(&[]);
        let offsets: Vec<Vec<&str>> =
            facts["timeOffsets"].as_str().unwrap().lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(offsets, [["monotonic", "7881", "0"], ["boottime", "100000", "5"]]);
        let ahead =
            |clock: &str| facts["clocks"][clock].as_i64().unwrap() - host["clocks"][clock].as_i64().unwrap();
        assert!((7881..7941).contains(&ahead("monotonic")), "{}", ahead("monotonic"));
        assert!((100_000..100_060).contains(&ahead("boottime")));
    });
}

#[test]
fn time_offsets_need_a_new_time_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}));
        b.refused(&["time", "namespace"]);
    });
}
