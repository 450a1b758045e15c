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

/// In whatever way the namespace came about.
#[test]
fn a_session_keyring() {
    check(|t| {
        let mut lender = t.bundle();
        lender.user_namespace();
        let lender = lender.up(&["wait"]);
        for joined in [false, true] {
            let mut b = t.bundle();
            b.user_namespace();
            if joined {
                b.remove("/linux/uidMappings").remove("/linux/gidMappings");
                b.namespace(json!({"type": "user", "path": format!("/proc/{}/ns/user", lender.pid())}));
            }
            keyring_of_its_own(t, &mut b);
        }
        lender.delete_force();
    });
}

/// The container's root owns its session keyring, and whoever is in there puts keys into it and finds them, after exec as
/// before; nobody finds a key of who called the runtime, unless the caller wants it so.
#[track_caller]
pub fn keyring_of_its_own(t: &Case, b: &mut Bundle) {
    t.call_under_too(&[built().join("probe").to_str().unwrap(), "keyed", "callers"]);
    b.args(&["/bin/sh", "-c", "/probe facts keep=inits find=inits find=callers; exec /probe wait"]);
    let up = |flags: &[&str]| {
        let c = b.create_with(flags);
        c.start();
        c.wait_for("ready");
        c
    };
    let exec = |c: &Container, flags: &[&str], requests: &[&str]| {
        let words = [&["exec"], flags, &[&c.id, "/probe", "facts"], requests].concat();
        t.rt(&words).ok().facts()
    };
    let c = up(&[]);
    let seen = c.facts();
    let keyring = seen["keyring"]["description"].as_str().unwrap_or_default().to_string();
    if seen["keyring"]["errno"] == "ENOSYS" {
        skip!("no keyrings here");
    }
    let parts: Vec<&str> = keyring.split(';').collect();
    assert_eq!(parts[..3], ["keyring", "0", "0"], "{keyring}");
    assert_eq!(parts[4], format!("_ses.{}", c.id), "{keyring}");
    // Whoever has it may do anything with it; without having it, root may search in it or (runc) somebody else.
    let permissions = u32::from_str_radix(parts[3], 16).unwrap();
    assert_eq!(permissions & 0x3f00_0000, 0x3f00_0000, "{keyring}");
    assert_ne!(permissions & 0x0008_0008, 0, "{keyring}");
    assert_eq!(permissions & if is_reference() { 0x3737 } else { 0x3f3f }, 0, "{keyring}");
    assert_eq!(seen["asked"]["keep=inits"], "ok");
    assert_eq!(seen["asked"]["find=inits"], "inits");
    assert_eq!(seen["asked"]["find=callers"], json!({"errno": "ENOKEY"}));
    let inside = exec(&c, &[], &["find=inits", "keep=execs", "find=execs", "find=callers"]);
    // By its name, which runc's permissions keep from its owner: each exec makes another one of that name.
    if !is_reference() {
        assert_eq!(inside["keyring"]["serial"], seen["keyring"]["serial"], "{}", inside["keyring"]);
        assert_eq!(inside["asked"]["find=inits"], "inits");
    }
    assert_eq!(inside["asked"]["keep=execs"], "ok");
    assert_eq!(inside["asked"]["find=execs"], "execs");
    assert_eq!(inside["asked"]["find=callers"], json!({"errno": "ENOKEY"}));
    c.delete_force();
    // That an attack would be seen: the caller's keyring has the key, and who keeps it finds it.
    let c = up(&["--no-new-keyring"]);
    assert_eq!(c.facts()["asked"]["find=callers"], "callers");
    assert_eq!(exec(&c, &[], &["find=callers"])["asked"]["find=callers"], "callers");
    c.delete_force();
}

/// Version 2: who has a cgroup namespace of his own and may write what is mounted there manages his cgroup. What the kernel
/// lists as a manager's is his, whether he is the container's root or not, and nothing else is.
#[track_caller]
pub fn cgroup_of_its_own(t: &Case, verb: &[&str], place: impl Fn(&mut Bundle)) {
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    let owners = |c: &Container| -> Vec<(String, u32)> {
        let at = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
        let dir = format!("/sys/fs/cgroup{}", at.lines().find_map(|l| l.strip_prefix("0::")).unwrap());
        assert!(dir.contains(&t.token), "{dir}");
        let files = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.path());
        let all = files.chain([dir.as_str().into()]).map(|f| {
            let name = if f == Path::new(&dir) { "." } else { f.file_name().unwrap().to_str().unwrap() };
            let m = f.metadata().unwrap();
            assert_eq!(m.gid(), 0, "{f:?}");
            (name.to_string(), m.uid())
        });
        all.collect()
    };
    let up = |b: &mut Bundle| {
        place(b.probe(&["wait"]));
        let (id, out) = (t.id(), t.path("out"));
        b.call(verb, &id).stdout(std::fs::File::create(&out).unwrap()).run().ok();
        let c = Container::new(t, id, out);
        c.start();
        c.wait_for("ready");
        c
    };
    let managed = |user: u32, options: Value, namespace: bool| {
        let mut b = t.bundle();
        b.user_namespace().set("/process/user", json!({"uid": user, "gid": user}));
        if unified_has("pids") {
            b.set("/linux/resources/pids", json!({"limit": 99}));
        }
        if namespace {
            b.namespace(json!({"type": "cgroup"}));
        }
        let last = b.config["mounts"].as_array().unwrap().len() - 1;
        assert_eq!(b.config["mounts"][last]["destination"], "/sys/fs/cgroup");
        b.set(&format!("/mounts/{last}/options"), options);
        b
    };
    let writable = json!(["nosuid", "noexec", "nodev", "rw"]);
    for user in [0, 1000] {
        let c = up(&mut managed(user, writable.clone(), true));
        let all = owners(&c);
        assert!(all.iter().any(|(name, _)| name == "pids.max") || !unified_has("pids"), "{all:?}");
        for (name, owner) in &all {
            let his = name == "." || list.lines().any(|l| l == name);
            assert_eq!(*owner, if his { 100_000 + user } else { 0 }, "{name}: {all:?}");
        }
        // So he divides it, and does not raise his own limits.
        let script = "cd /sys/fs/cgroup && busybox mkdir leaf && echo $$ >leaf/cgroup.procs && echo 1 >leaf/cgroup.procs \
            && cat leaf/cgroup.procs && ! (echo 1000 >cgroup.max.descendants) 2>/dev/null";
        let inside = t.rt(&["exec", &c.id, "/bin/sh", "-c", script]).ok();
        assert!(inside.stdout.lines().any(|l| l == "1"), "{inside}");
        c.delete_force();
    }
    // Nothing where he may not write it, or would see the host's.
    for mut b in
        [managed(0, json!(["nosuid", "noexec", "nodev", "ro"]), true), managed(0, writable.clone(), false)]
    {
        let c = up(&mut b);
        let all = owners(&c);
        assert!(all.iter().all(|(_, owner)| *owner == 0), "{all:?}");
        c.delete_force();
    }
}

pub fn unified_has(controller: &str) -> bool {
    let all = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    all.split_whitespace().any(|c| c == controller)
}

#[test]
fn a_cgroup_of_its_own() {
    check(|t| {
        if !unified() {
            skip!("cgroup version 1");
        }
        cgroup_of_its_own(t, &["create"], |_| ());
    });
}
