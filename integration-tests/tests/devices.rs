//! /dev: the default nodes and links, linux.devices, and what the device cgroup lets through.

use integration_tests::*;
use std::fs;

#[test]
fn default_nodes() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let nodes = [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        ];
        for (name, major, minor) in nodes {
            let node = &facts["dev"][name];
            assert_eq!((&node["type"], &node["device"]), (&json!("char"), &json!([major, minor])), "{name}");
            assert_eq!(
                (&node["mode"], &node["uid"], &node["gid"]),
                (&json!(0o666), &json!(0), &json!(0)),
                "{name}"
            );
            assert_eq!(
                node["open"],
                if name == "tty" { json!({"errno": "ENXIO"}) } else { json!("ok") },
                "{name}"
            );
        }
    });
}

#[test]
fn links() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let links = [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ];
        for (name, target) in links {
            assert_eq!(facts["dev"][name]["target"], target, "{name}");
        }
    });
}

#[test]
fn there_is_nothing_else() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let mut names: Vec<_> = facts["dev"].as_object().unwrap().keys().map(String::as_str).collect();
        // /proc/kcore is there to link to, and `core` may lead there.
        names.retain(|n| *n != "core");
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
                "tty", "urandom", "zero"
            ]
        );
    });
}

#[test]
fn listed_devices() {
    check(|t| {
        let mut b = t.bundle();
        b.set(
            "/linux/devices",
            json!([
                {"path": "/dev/zwei", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 12, "gid": 34},
                {"path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 250, "fileMode": 0o600, "uid": 0, "gid": 0},
                {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
                {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3},
                {"path": "/var/odd", "type": "c", "major": 1, "minor": 7},
            ]),
        );
        let facts = b.facts(&["stat=/dev/deep/er/block", "stat=/var/odd"]);
        let zwei = &facts["dev"]["zwei"];
        assert_eq!(
            (&zwei["device"], &zwei["mode"], &zwei["uid"], &zwei["gid"]),
            (&json!([1, 5]), &json!(0o640), &json!(12), &json!(34))
        );
        let block = &facts["asked"]["stat=/dev/deep/er/block"];
        assert_eq!(
            (&block["type"], &block["device"], &block["mode"]),
            (&json!("block"), &json!([7, 250]), &json!(0o600))
        );
        assert_eq!(
            (&facts["dev"]["pipe"]["type"], &facts["dev"]["pipe"]["mode"]),
            (&json!("fifo"), &json!(0o622))
        );
        assert_eq!(facts["dev"]["unbuffered"]["type"], "char");
        assert_eq!(facts["asked"]["stat=/var/odd"]["type"], "char");
    });
}

#[test]
fn a_listed_device_takes_the_place_of_a_default_one() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/devices", json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6}]));
        // Who replaces a default device must allow it too.
        b.set(
            "/linux/resources/devices/-",
            json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}),
        );
        let null = b.facts(&[])["dev"]["null"].clone();
        assert_eq!((&null["mode"], &null["uid"], &null["gid"]), (&json!(0o600), &json!(5), &json!(6)));
    });
}

#[test]
fn nonsense_is_refused() {
    check(|t| {
        for (device, part) in [
            (json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 3}), "device"),
            (json!({"path": "/dev/zero/below", "type": "c", "major": 1, "minor": 3}), "not a directory"),
        ] {
            t.bundle().set("/linux/devices", json!([device])).refused(&[part]);
        }
    });
}

/// With a bind mount of the host's /dev nothing is made there.
#[test]
fn a_bound_dev_is_left_as_it_is() {
    check(|t| {
        let source = t.folder("dev");
        let mut b = t.bundle();
        for mount in ["/dev/mqueue", "/dev/shm", "/dev/pts"] {
            b.without_mount(mount);
        }
        b.without_mount("/dev").bind(&source, "/dev", &[]).set("/linux/maskedPaths", json!([]));
        assert_eq!(b.facts(&[])["dev"], json!({}));
        assert_eq!(fs::read_dir(source).unwrap().count(), 0);
    });
}

#[test]
fn without_a_mount_for_dev_they_are_made_in_the_rootfs() {
    check(|t| {
        let mut b = t.bundle();
        for mount in ["/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"] {
            b.without_mount(mount);
        }
        let facts = b.facts(&[]);
        assert_eq!(facts["dev"]["null"]["open"], "ok");
        assert_eq!(facts["dev"]["ptmx"]["target"], "pts/ptmx");
    });
}

#[test]
fn a_read_only_dev() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/mounts/1/options", json!(["nosuid", "strictatime", "mode=755", "size=65536k", "ro"]));
        let facts = b.facts(&["create=/dev/x"]);
        assert_eq!(facts["asked"]["create=/dev/x"], json!({"errno": "EROFS"}));
        assert_eq!(facts["dev"]["null"]["open"], "ok");
    });
}

/// Rules: everything is denied, the defaults are always allowed, and what the document allows.
#[test]
fn the_device_cgroup() {
    check(|t| {
        let mut b = t.bundle();
        b.capabilities(&["CAP_MKNOD"]).writable();
        let table = [
            (
                json!([{"allow": false, "access": "rwm"}]),
                json!({"made": 0, "read": {"errno": "EPERM"}, "write": {"errno": "EPERM"}}),
            ),
            (
                json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"}]),
                json!({"made": 0, "read": {"errno": "EPERM"}, "write": "ok"}),
            ),
            (json!([{"allow": true, "access": "rwm"}]), json!({"made": 0, "read": "ok", "write": "ok"})),
        ];
        for (n, (rules, expected)) in table.into_iter().enumerate() {
            b.set("/linux/resources/devices", rules.clone());
            assert_eq!(b.act(&["mknod", &format!("/tmp/fuse{n}"), "c", "10", "229"]), expected, "{rules}");
        }
    });
}

/// May read one device, not write it, and use the usual ones.
pub fn with_device_rules(b: &mut Bundle) {
    let device = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666});
    let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"});
    b.set("/linux/devices", json!([device])).set("/linux/resources/devices/-", rule);
}

pub const OPENS: [&str; 5] =
    ["opens", "/dev/null=r=ok", "/dev/null=w=ok", "/dev/fuse=r=ok", "/dev/fuse=w=EPERM"];

/// Further rounds, without a surprise.
#[track_caller]
pub fn goes_on(c: &Container, after: &str) {
    let (before, rounds) = (c.output().lines().count(), 3);
    until("further rounds", || c.output().lines().count() >= before + rounds);
    let surprises: Vec<_> =
        c.output().lines().filter(|l| l.starts_with("surprise")).map(String::from).collect();
    assert!(surprises.is_empty(), "{after}: {surprises:?}");
}

/// The device programs of the container's cgroup on version 2, the lists of rules on version 1.
fn in_force(t: &Case, b: &Bundle) -> String {
    if !unified() {
        return fs::read_to_string(format!("/sys/fs/cgroup/devices{}/devices.list", b.cgroups_path()))
            .unwrap();
    }
    let dir = format!("/sys/fs/cgroup{}", b.cgroups_path());
    let all = t.program("bpftool", &["--json", "cgroup", "list", &dir]).ok().json();
    let of_devices = |p: &&Value| p["attach_type"].as_str().is_some_and(|a| a.contains("device"));
    format!("{} programs", all.as_array().unwrap().iter().filter(of_devices).count())
}

/// Rules stay as they are, without a gap, whatever else changes.
#[test]
fn fifty_updates() {
    check(|t| {
        let mut b = t.bundle();
        with_device_rules(&mut b);
        b.probe(&OPENS);
        let c = b.create();
        c.start();
        goes_on(&c, "at first");
        let before = in_force(t, &b);
        assert!(!unified() || before == "1 programs", "{before}");
        for n in 0..50 {
            c.verb(&["update", "--pids-limit", &format!("{}", 50 + n)]).ok();
        }
        assert_eq!(in_force(t, &b), before);
        goes_on(&c, "updates");
        c.delete_force();
    });
}
