//! User namespaces as root has them: what is in reach, whose namespaces are whose, what stays locked, which ids there are.

use integration_tests::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// As podman and Docker have volumes and images: in places that root alone may enter.
#[test]
fn what_the_mapped_user_cannot_reach() {
    check(|t| {
        let secret = t.folder("secret");
        let (volume, file) = (secret.join("volume"), secret.join("file"));
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(&file, "text").unwrap();
        for own in [&volume, &file] {
            chown(own, Some(100_000), Some(100_000)).unwrap();
        }
        mode(&secret, 0o700);
        let mut b = t.bundle();
        b.user_namespace().bind(&volume, "/tmp", &["rw"]).bind(&file, "/etc/passwd", &["ro"]);
        let facts = b.facts(&["create=/tmp/x", "read=/etc/passwd", "write=/etc/passwd"]);
        assert_eq!(facts["asked"]["create=/tmp/x"], "ok");
        assert_eq!(facts["asked"]["read=/etc/passwd"], "text");
        assert_eq!(facts["asked"]["write=/etc/passwd"], json!({"errno": "EROFS"}));
        assert_eq!(volume.join("x").metadata().unwrap().uid(), 100_000);
        // The bundle itself.
        mode(&b.dir, 0o700);
        b.facts(&[]);
    });
}

/// The kernel locks what the host has set; no option takes it away by the way, and the container cannot.
#[test]
fn flags_that_are_locked() {
    check(|t| {
        let volume = t.folder("volume");
        let at = volume.to_str().unwrap().to_string();
        t.program("mount", &["-t", "tmpfs", "-o", "nosuid,nodev,mode=755", "none", &at]).ok();
        t.at_end(&["umount", "-l", &at]);
        let mut b = t.bundle();
        b.user_namespace().bind(&volume, "/tmp", &["noexec"]).bind(&volume, "/var", &["rbind"]);
        b.capabilities(&["CAP_SYS_ADMIN"]);
        let facts = b.facts(&[]);
        let options = |at: &str| words(&mount_at(&facts, at).unwrap()["options"]).join(",");
        for (at, wanted) in [("/tmp", vec!["nosuid", "nodev", "noexec"]), ("/var", vec!["nosuid", "nodev"])] {
            for flag in wanted {
                assert!(options(at).split(',').any(|o| o == flag), "{at}: {}", options(at));
            }
        }
        b.args(&["/bin/sh", "-c", "mount -o remount,bind,suid,dev /tmp; echo $?"]);
        assert_ne!(b.run().ok().stdout.trim(), "0");
    });
}

#[test]
fn other_namespaces_with_a_joined_user_namespace() {
    check(|t| {
        let mut lender = t.bundle();
        lender.user_namespace();
        let c = lender.up(&["wait"]);
        let pid = c.pid();
        let kinds = [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net")];
        // Each of the others is either the lender's, new, or the host's.
        for (lent, hosts) in [
            (vec![], vec![]),
            (vec!["network", "ipc"], vec![]),
            (vec!["pid"], vec!["network"]),
            (vec!["uts"], vec!["ipc"]),
        ] {
            let mut b = t.bundle();
            b.user_namespace().remove("/linux/uidMappings").remove("/linux/gidMappings").remove("/hostname");
            b.namespace(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
            for (kind, file) in kinds {
                if lent.contains(&kind) {
                    b.namespace(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
                } else if hosts.contains(&kind) {
                    b.namespace(
                        json!({"type": kind, "path": format!("/proc/{}/ns/{file}", std::process::id())}),
                    );
                }
            }
            if hosts.contains(&"network") {
                b.without_mount("/sys").without_mount("/sys/fs/cgroup");
            }
            if hosts.contains(&"ipc") {
                b.without_mount("/dev/mqueue");
            }
            let facts = b.facts(&[]);
            assert_eq!(facts["namespaces"]["user"], namespace_of(pid, "user"));
            assert_eq!(facts["user"]["uids"], json!([0, 0, 0]));
            for (kind, file) in kinds {
                let now = &facts["namespaces"][file];
                assert_eq!(*now == namespace_of(pid, file), lent.contains(&kind), "{kind} of {lent:?}");
                assert_eq!(*now == host_namespace(file), hosts.contains(&kind), "{kind} of {hosts:?}");
            }
        }
        c.delete_force();
    });
}

#[test]
fn a_new_user_namespace_and_the_hosts_network() {
    check(|t| {
        let mut b = t.bundle();
        b.user_namespace().without_mount("/sys").without_mount("/sys/fs/cgroup");
        let path = format!("/proc/{}/ns/net", std::process::id());
        b.namespace(json!({"type": "network", "path": path}));
        assert_eq!(b.facts(&[])["namespaces"]["net"], host_namespace("net"));
        // sysfs shows the network namespace, which is not the container's: the host's is bound.
        b.mount(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}));
        let facts = b.facts(&["create=/sys/kernel/x", "write=/sys/kernel/uevent_seqnum"]);
        let sys = mount_at(&facts, "/sys").unwrap();
        assert_eq!(sys["type"], "sysfs");
        assert!(words(&sys["options"]).contains(&"ro"));
    });
}

#[test]
fn devices_are_bound() {
    check(|t| {
        let mut b = t.bundle();
        b.user_namespace();
        b.set("/linux/devices", json!([{"path": "/dev/null2", "type": "c", "major": 1, "minor": 3}]));
        let message = b.refused(&["/dev/null2"]);
        assert!(is_reference() || message.contains("/linux/devices/0"), "{message}");
        b.set(
            "/linux/devices",
            json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "uid": 5}]),
        );
        let facts = b.facts(&[]);
        assert_eq!(facts["dev"]["zero"]["device"], json!([1, 5]));
        assert!(mount_at(&facts, "/dev/zero").is_some());
    });
}

/// systemd 260 runs its services so.
#[test]
fn every_id_for_itself() {
    check(|t| {
        let mut b = t.bundle();
        b.user_namespace();
        let map = json!([{"containerID": 0, "hostID": 0, "size": u32::MAX}]);
        b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        b.set(
            "/process/user",
            json!({"uid": 4_294_967_294_u32, "gid": 4_294_967_294_u32, "additionalGids": [7]}),
        );
        let facts = b.facts(&["stat=/probe"]);
        assert_eq!(facts["user"]["uids"], json!([4_294_967_294_u32, 4_294_967_294_u32, 4_294_967_294_u32]));
        assert_eq!(facts["asked"]["stat=/probe"]["uid"], 0);
        assert_ne!(facts["namespaces"]["user"], host_namespace("user"));
    });
}

/// The caller's groups are nobody's in there.
#[test]
fn groups() {
    check(|t| {
        let many: Vec<String> = (20_000..20_064).map(|g| g.to_string()).collect();
        t.call_under(&["setpriv", "--groups", &many.join(","), "--"]);
        for own in [false, true] {
            let mut b = t.bundle();
            if own {
                b.user_namespace();
            }
            assert_eq!(b.facts(&[])["user"]["groups"], json!([]), "{own}");
            b.set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [5, 6]}));
            assert_eq!(b.facts(&[])["user"]["groups"], json!([5, 6]), "{own}");
            let c = b.up(&["wait"]);
            let facts = t.rt(&["exec", "--additional-gids", "9", &c.id, "/probe", "facts"]).ok().facts();
            assert_eq!(facts["user"]["groups"], json!([5, 6, 9]), "{own}");
            c.delete_force();
        }
    });
}

#[test]
fn what_is_not_mapped() {
    check(|t| {
        for (pointer, value, place) in [
            ("/process/user/uid", json!(65536), "/process/user/uid"),
            ("/process/user/gid", json!(70000), "/process/user/gid"),
            ("/process/user/additionalGids", json!([5, 65536]), "/process/user/additionalGids/1"),
        ] {
            let mut b = t.bundle();
            let message = b.user_namespace().set(pointer, value).refused(&[]);
            assert!(is_reference() || message.contains(&format!("config.json: {place})")), "{message}");
        }
        let mut b = t.bundle();
        b.user_namespace()
            .mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["uid=65536"]}));
        b.refused(&["uid"]);
    });
}

/// 2³² - 1 means "no change" to the kernel, and above it numbers wrap: nobody becomes root by mistake.
#[test]
fn ids_never_wrap() {
    check(|t| {
        let bad = [
            json!(u32::MAX),
            json!(1_u64 << 32),
            json!((1_u64 << 32) + 5),
            json!(u64::MAX),
            json!(-1),
            json!(1.5),
            json!("0"),
        ];
        let map = |first: u64, outside: u64, size: u64| json!([{"containerID": first, "hostID": outside, "size": size}]);
        let mut places: Vec<(&str, Value)> = Vec::new();
        for id in &bad {
            for pointer in ["/process/user/uid", "/process/user/gid"] {
                places.push((pointer, id.clone()));
            }
            places.push(("/process/user/additionalGids", json!([id])));
            for member in ["uid", "gid"] {
                places.push(("/linux/devices", json!([{"path": "/dev/x", "type": "p", member: id}])));
            }
            for member in ["containerID", "hostID", "size"] {
                let mut one = json!({"containerID": 0, "hostID": 100_000, "size": 65536});
                // As many ids as there are can be mapped, from 0 to 0; not from anywhere else.
                one[member] = id.clone();
                for which in ["/linux/uidMappings", "/linux/gidMappings"] {
                    places.push((which, json!([one])));
                }
            }
        }
        let most = u64::from(u32::MAX);
        for (first, outside, size) in
            [(1, 0, most), (0, 1, most), (most, 0, 1), (0, most, 1), (0, most - 1, 2), (0, 0, 0)]
        {
            places.push(("/linux/uidMappings", map(first, outside, size)));
        }
        for (pointer, value) in places {
            let mut b = t.bundle();
            b.user_namespace().set(pointer, value.clone());
            let out = b.run();
            assert_ne!(out.status, 0, "{pointer} = {value}: {}", out.stdout);
        }
        t.nothing_left();
        for option in ["uid", "gid"] {
            for id in ["4294967295", "4294967296", "4294967301", "-1", "1.5", "18446744073709551616"] {
                let mut b = t.bundle();
                b.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": [format!("{option}={id}")]}));
                let out = b.run();
                assert_ne!(out.status, 0, "{option}={id}");
            }
        }
        t.nothing_left();
        for id in [0_u32, 1, 1 << 31, u32::MAX - 1] {
            let mut b = t.bundle();
            b.set("/process/user", json!({"uid": id, "gid": id, "additionalGids": [id]}));
            let facts = b.facts(&[]);
            assert_eq!(facts["user"]["uids"], json!([id, id, id]));
            assert_eq!(facts["user"]["groups"], json!([id]));
        }
    });
}

#[test]
fn time_is_the_containers_own() {
    check(|t| {
        let mut b = t.bundle();
        b.user_namespace().namespace(json!({"type": "time"}));
        b.set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}}));
        let c = b.up(&["wait"]);
        let facts = t.rt(&["exec", &c.id, "/probe", "facts"]).ok().facts();
        assert!(facts["clocks"]["boottime"].as_i64().unwrap() > 1_000_000);
        assert_eq!(facts["namespaces"]["time"], namespace_of(c.pid(), "time"));
        c.delete_force();
        // What makes a clock negative, or too late, is refused.
        for secs in [-1_i64 << 40, i64::MAX] {
            b.set("/linux/timeOffsets", json!({"monotonic": {"secs": secs}}));
            b.refused(if is_reference() { &[] } else { &["monotonic"] });
        }
        b.set("/linux/timeOffsets", json!({"realtime": {"secs": 5}}));
        b.refused(if is_reference() { &[] } else { &["realtime"] });
    });
}
