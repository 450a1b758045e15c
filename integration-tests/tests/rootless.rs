//! Containers of an ordinary user, of root of a user namespace, and of root without rights.

use integration_tests::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// What is in nobody's PATH.
const NO_HELPERS: &str = "/usr/local/bin:/no/such/directory";

fn lines(map: &Value) -> Vec<Vec<&str>> {
    map.as_str().expect("a map").lines().map(|l| l.split_whitespace().collect()).collect()
}

#[test]
fn one_id_without_helpers() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false).probe(&["facts", "stat=/", "write=/sys/fs/cgroup/x"]);
        let out = b.call(&["run"], &t.id()).env("PATH", &format!("{NO_HELPERS}:/usr/bin:/bin")).run().ok();
        let facts = out.facts();
        assert_eq!(lines(&facts["uidMap"]), [["0", "4711", "1"]]);
        assert_eq!(lines(&facts["gidMap"]), [["0", "4711", "1"]]);
        assert_eq!(facts["setgroups"].as_str().unwrap().trim(), "deny");
        assert_eq!(facts["user"]["uids"], json!([0, 0, 0]));
        assert_eq!(facts["asked"]["stat=/"]["uid"], 0);
        // Devices cannot be made: the host's are bound.
        for (name, device) in [("null", [1, 3]), ("zero", [1, 5]), ("urandom", [1, 9])] {
            assert_eq!(facts["dev"][name]["device"], json!(device), "{name}");
            assert_eq!(facts["dev"][name]["open"], "ok", "{name}");
        }
        assert_ne!(facts["asked"]["write=/sys/fs/cgroup/x"], "ok");
    });
}

#[test]
fn many_ids_by_helpers() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true);
        let facts = b.facts(&[]);
        assert_eq!(lines(&facts["uidMap"]), [["0", "4711", "1"], ["1", "300000", "65536"]]);
        assert_eq!(lines(&facts["gidMap"]), [["0", "4711", "1"], ["1", "300000", "65536"]]);
        assert_eq!(facts["setgroups"].as_str().unwrap().trim(), "allow");
        b.set("/process/user", json!({"uid": 1000, "gid": 7}));
        let facts = b.facts(&[]);
        assert_eq!(facts["user"]["uids"], json!([1000, 1000, 1000]));
        assert_eq!(facts["user"]["gids"], json!([7, 7, 7]));
    });
}

/// The ids in any order and at any place, one map by a helper and the other without.
#[test]
fn other_maps() {
    check(|t| {
        t.sailor();
        let own = json!([{"containerID": 0, "hostID": SAILOR, "size": 1}]);
        let foreign = json!([{"containerID": 0, "hostID": SUBORDINATE, "size": 1000}]);
        let keep_id = json!([
            {"containerID": 0, "hostID": SUBORDINATE, "size": 4711},
            {"containerID": 4711, "hostID": SAILOR, "size": 1},
            {"containerID": 4712, "hostID": SUBORDINATE + 4711, "size": 1000},
        ]);
        for (uids, gids) in [(&keep_id, &keep_id), (&own, &keep_id), (&keep_id, &own)] {
            let mut b = t.bundle();
            b.rootless(false).drop_option("/dev/pts", "gid=5");
            b.set("/linux/uidMappings", uids.clone()).set("/linux/gidMappings", gids.clone());
            let facts = b.facts(&[]);
            assert_eq!(lines(&facts["uidMap"]).len(), uids.as_array().unwrap().len());
            assert_eq!(lines(&facts["gidMap"]).len(), gids.as_array().unwrap().len());
        }
        // Not himself at all: then the root file system is somebody else's.
        let mut b = t.bundle();
        b.rootless(false).set("/linux/uidMappings", foreign.clone()).set("/linux/gidMappings", foreign);
        assert_eq!(b.facts(&["stat=/probe"])["asked"]["stat=/probe"]["uid"], 65534);
    });
}

#[test]
fn helpers_that_are_missing() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true).probe(&["facts"]);
        let folder = t.folder("bin");
        for program in ["unshare", "sh", "setpriv", "mount"] {
            std::os::unix::fs::symlink(format!("/usr/bin/{program}"), folder.join(program)).unwrap();
        }
        let out = b.call(&["run"], &t.id()).env("PATH", folder.to_str().unwrap()).run();
        let message = out.fails(&["map"]);
        if !is_reference() {
            for part in ["newuidmap", "/linux/uidMappings", "uidmap", "hostID 4711"] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
        t.nothing_left();
    });
}

#[test]
fn helpers_that_refuse() {
    check(|t| {
        t.ordinary_user("sailor:300000:1000\n");
        let mut b = t.bundle();
        b.rootless(true);
        let message = b.refused(&["map"]);
        if !is_reference() {
            for part in
                ["newuidmap", "/etc/subuid", "sailor:300000:65536", "/linux/uidMappings", "300000 to 300999"]
            {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    });
}

#[test]
fn helpers_that_have_no_rights() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true).probe(&["facts"]);
        let id = SAILOR.to_string();
        t.call_under(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs", "--"]);
        let message = b.run().fails(&["map"]);
        assert!(is_reference() || message.contains("/etc/subuid"), "{message}");
        t.nothing_left();
    });
}

#[test]
fn a_life() {
    check(|t| {
        t.sailor();
        for many in [false, true] {
            let mut b = t.bundle();
            b.rootless(many).probe(&["wait"]);
            let c = b.create();
            assert_eq!(c.status(), "created");
            c.start();
            c.wait_for("ready");
            assert_eq!(c.status(), "running");
            let pid = c.pid();
            let facts = t.rt(&["exec", &c.id, "/probe", "facts"]).ok().facts();
            assert_eq!(facts["namespaces"]["user"], namespace_of(pid, "user"));
            assert_eq!(facts["namespaces"]["mnt"], namespace_of(pid, "mnt"));
            assert_eq!(facts["user"]["uids"], json!([0, 0, 0]));
            assert_eq!(facts["uidMap"].as_str().unwrap().lines().count(), if many { 2 } else { 1 });
            let listed = t.rt(&["list", "--quiet"]).ok();
            assert!(listed.stdout.contains(&c.id), "{}", listed.stdout);
            c.kill("USR1");
            c.wait_for("signal USR1");
            c.kill("KILL");
            c.becomes("stopped");
            c.delete();
            t.nothing_left();
        }
    });
}

#[test]
fn exec_as_another_user() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true);
        let c = b.up(&["wait"]);
        let facts = t.rt(&["exec", "--user", "1000:7", &c.id, "/probe", "facts"]).ok().facts();
        assert_eq!(facts["user"]["uids"], json!([1000, 1000, 1000]));
        assert_eq!(facts["user"]["gids"], json!([7, 7, 7]));
        t.rt(&["exec", "--user", "70000", &c.id, "/probe", "facts"])
            .exits(255)
            .complains(if is_reference() { &[] } else { &["70000"] });
        c.delete_force();
    });
}

/// /proc shows files of who hides as root's: a user could not write what is his to write.
#[test]
fn oom_score_adj() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false).set("/process/oomScoreAdj", 500);
        let c = b.up(&["wait"]);
        let facts = t.rt(&["exec", &c.id, "/probe", "facts"]).ok().facts();
        assert_eq!(facts["oomScoreAdj"], 500);
        c.delete_force();
        assert_eq!(b.facts(&[])["oomScoreAdj"], 500);
    });
}

#[test]
fn delete_by_force() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true).probe(&["deaf"]);
        let c = b.create();
        c.start();
        c.wait_for("ready");
        c.delete_force();
        t.rt(&["delete", "--force", &t.id()]).ok();
        t.nothing_left();
    });
}

#[test]
fn a_shared_pid_namespace() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false).namespaces(&["mount", "user"]).probe(&["wait"]);
        b.without_mount("/dev/mqueue").without_mount("/proc");
        b.bind("/proc".as_ref(), "/proc", &["rbind"]);
        let c = b.create();
        c.start();
        c.wait_for("ready");
        c.kill("KILL");
        c.becomes("stopped");
        c.delete();
    });
}

#[test]
fn a_terminal() {
    check(|t| {
        t.sailor();
        for many in [false, true] {
            let mut b = t.bundle();
            b.rootless(many).set("/process/terminal", true).probe(&["facts"]);
            let (mut pty, slave) = Pty::pair();
            let mut running = b.call(&["run"], &t.id()).terminal(slave).spawn();
            pty.expect("\"terminal\":");
            until("the end", || running.is_over());
            running.wait().ok();
        }
    });
}

#[test]
fn hooks_and_seccomp() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        let file = t.path("hook");
        b.rootless(true);
        let script = format!("id -u >>{}", file.display());
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
        b.set("/hooks/createRuntime", hook.clone()).set("/hooks/poststop", hook);
        b.set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}),
        );
        b.set("/process/noNewPrivileges", false);
        let facts = b.facts(&[]);
        assert_eq!(facts["seccomp"], 2);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "4711\n4711\n");
    });
}

#[test]
fn a_network_of_its_own() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false).namespace(json!({"type": "network"})).without_mount("/sys");
        b.mount(
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}),
        );
        let facts = b.facts(&["list=/sys/class/net"]);
        assert_eq!(facts["network"], json!({"lo": {"up": true, "loopback": true}}));
        assert_eq!(facts["asked"]["list=/sys/class/net"], json!(["lo"]));
    });
}

/// The kernel makes no sysfs, mqueue or proc for a user namespace that does not own what they would show.
#[test]
fn kernel_file_systems_of_shared_namespaces_are_bound() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false)
            .namespaces(&["mount", "user"])
            .without_mount("/sys")
            .without_mount("/sys/fs/cgroup");
        b.mount(
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}),
        );
        if !std::path::Path::new("/dev/mqueue").exists() {
            b.without_mount("/dev/mqueue");
        }
        let facts = b.facts(&["create=/sys/fs/cgroup/x"]);
        let mounted = |at: &str| mount_at(&facts, at).unwrap_or_else(|| panic!("nothing at {at}"));
        assert_eq!(mounted("/sys")["type"], "sysfs");
        assert!(words(&mounted("/sys")["options"]).contains(&"ro"));
        assert_eq!(mounted("/proc")["type"], "proc");
        assert_ne!(facts["asked"]["create=/sys/fs/cgroup/x"], "ok");
        assert!(facts["processes"].as_array().unwrap().len() > 1);
    });
}

#[test]
fn the_hosts_processes_are_not_shown_instead() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        // Part of the procfs outside is covered: none can be made inside.
        b.rootless(false);
        let mut words = vec!["unshare", "--mount", "--propagation", "private", "sh", "-c"];
        words.push("mount -t tmpfs none /proc/sys && exec \"$@\"");
        let id = SAILOR.to_string();
        words.extend(["sh", "setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        t.call_under(&words);
        let message = b.refused(&["proc", "operation not permitted"]);
        assert!(is_reference() || message.contains("masked or covered"), "{message}");
    });
}

/// CVE-2023-25809: the cgroups of the user's session must not be writable through what the container sees.
#[test]
fn cgroups_are_not_writable() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false);
        for own in [false, true] {
            if own {
                b.namespace(json!({"type": "cgroup"}));
            }
            let procs = "write=/sys/fs/cgroup/cgroup.procs";
            let facts = b.facts(&[procs, "list=/sys/fs/cgroup"]);
            assert_ne!(facts["asked"][procs], "ok");
            for inside in words(&facts["asked"]["list=/sys/fs/cgroup"]) {
                let file = format!("write=/sys/fs/cgroup/{inside}/cgroup.procs");
                assert_ne!(b.facts(&[&file])["asked"][&file], "ok", "{file}");
            }
        }
    });
}

#[test]
fn what_is_masked_and_read_only() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true);
        let facts = b.facts(&["read=/proc/keys", "list=/sys/firmware", "write=/proc/sys/kernel/domainname"]);
        assert_eq!(facts["asked"]["read=/proc/keys"], "");
        assert_eq!(facts["asked"]["list=/sys/firmware"], json!([]));
        assert_ne!(facts["asked"]["write=/proc/sys/kernel/domainname"], "ok");
    });
}

/// A file system that a user may use with restrictions stays so; whatever else is asked for is done.
#[test]
fn flags_that_are_locked() {
    check(|t| {
        let volume = t.folder("volume");
        let at = volume.to_str().unwrap().to_string();
        t.program("mount", &["-t", "tmpfs", "-o", "nosuid,nodev,noexec,mode=755", "none", &at]).ok();
        t.at_end(&["umount", "-l", &at]);
        t.sailor();
        // The user's mount namespace is a copy of ours, and his container's one of that: locked in the latter.
        let mut b = t.bundle();
        b.rootless(false).bind(&volume, "/volume", &["ro"]);
        std::fs::create_dir(b.rootfs().join("volume")).unwrap();
        let facts = b.facts(&["create=/volume/x"]);
        let options = words(&mount_at(&facts, "/volume").unwrap()["options"]);
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(&flag), "{flag}: {options:?}");
        }
        assert_eq!(facts["asked"]["create=/volume/x"], json!({"errno": "EROFS"}));
        let mut b = t.bundle();
        b.rootless(false).bind(&volume, "/volume", &["exec"]);
        std::fs::create_dir(b.rootfs().join("volume")).unwrap();
        let message = b.run().fails(&["/volume", "operation not permitted"]);
        assert!(is_reference() || message.contains("noexec"), "{message}");
    });
}

#[test]
fn volumes() {
    check(|t| {
        t.sailor();
        let volume = t.folder("volume");
        std::os::unix::fs::chown(&volume, Some(SAILOR), Some(SAILOR)).unwrap();
        let mut b = t.bundle();
        b.rootless(true).bind(&volume, "/tmp", &["rbind", "rw"]);
        b.set("/process/umask", 0o77);
        assert_eq!(b.facts(&["create=/tmp/x"])["asked"]["create=/tmp/x"], "ok");
        assert_eq!(volume.join("x").metadata().unwrap().uid(), SAILOR);
        // What the user cannot reach his container cannot either.
        let secret = t.folder("secret");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::create_dir(secret.join("inner")).unwrap();
        let mut b = t.bundle();
        b.rootless(true).bind(&secret.join("inner"), "/tmp", &[]);
        b.refused(&["permission denied", "secret"]);
    });
}

#[test]
fn a_session_keyring() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true);
        crate::userns::keyring_of_its_own(t, &mut b);
    });
}

#[test]
fn time_offsets() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false).namespace(json!({"type": "time"}));
        b.set("/linux/timeOffsets", json!({"boottime": {"secs": 100_000}, "monotonic": {"secs": 7000}}));
        let facts = b.facts(&[]);
        let host = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
        let ahead =
            |clock: &str| facts["clocks"][clock].as_i64().unwrap() - host["clocks"][clock].as_i64().unwrap();
        assert!((99_900..=100_000).contains(&ahead("boottime")), "{}", ahead("boottime"));
        assert!((6900..=7000).contains(&ahead("monotonic")), "{}", ahead("monotonic"));
    });
}

#[test]
fn what_an_ordinary_user_cannot_have() {
    check(|t| {
        t.sailor();
        let refused = |change: &dyn Fn(&mut Bundle<'_>), parts: &[&str], pointer: &str| {
            let mut b = t.bundle();
            b.rootless(false);
            change(&mut b);
            let message = b.refused(parts);
            assert!(is_reference() || message.contains(&format!("config.json: {pointer})")), "{message}");
        };
        refused(
            &|b| {
                b.namespaces(&["pid", "ipc", "uts", "mount"]);
            },
            &["rootless container requires user namespaces"],
            "/linux/namespaces",
        );
        refused(
            &|b| {
                b.set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [0]}));
            },
            &["cannot set any additional groups in a rootless container"],
            "/process/user/additionalGids",
        );
        for (user, part, pointer) in [
            (json!({"uid": 1, "gid": 0}), "uid 1", "/process/user/uid"),
            (json!({"uid": 0, "gid": 1}), "gid 1", "/process/user/gid"),
        ] {
            let parts: &[&str] = if is_reference() { &[] } else { &[part] };
            refused(
                &|b| {
                    b.set("/process/user", user.clone());
                },
                parts,
                pointer,
            );
        }
        let map = json!([{"containerID": 0, "hostID": SAILOR, "size": 1}]);
        refused(
            &|b| {
                b.mount(json!({"destination": "/tmp", "source": "/tmp", "type": "none", "options": ["bind"],
                    "uidMappings": map, "gidMappings": map}));
            },
            &["id-mapped mounts are not supported for rootless containers"],
            "/mounts/7",
        );
        for (option, part) in [("uid=5", "uid"), ("gid=5", "gid")] {
            refused(
                &|b| {
                    b.mount(json!({"destination": "/tmp", "source": "tmpfs", "type": "tmpfs", "options": ["mode=755", option]}));
                },
                &[part],
                "/mounts/7/options/1",
            );
        }
    });
}

#[test]
fn more_groups_where_they_are_mapped() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(true).set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [5, 1001]}));
        assert_eq!(b.facts(&[])["user"]["groups"], json!([5, 1001]));
    });
}

/// A unit of the user's own manager, which gives it its cgroup: by both drivers.
#[test]
fn a_cgroup_of_his_own() {
    check(|t| {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let tester =
            passwd.lines().find_map(|l| l.strip_prefix("tester:x:")?.split(':').next()?.parse::<u32>().ok());
        let Some(tester) =
            tester.filter(|_| unified() && std::path::Path::new("/run/systemd/system").exists())
        else {
            skip!("no systemd with a user of the name tester");
        };
        std::os::unix::fs::chown(&t.dir, Some(tester), Some(tester)).unwrap();
        let unit = ["systemd-run", "--user", "-M", "tester@", "--quiet", "--wait", "--pipe", "--collect"];
        t.call_under(&[&unit[..], &["-p", "Delegate=yes", "-p", "KillMode=process", "--"]].concat());
        for systemd in [false, true] {
            let mut b = t.bundle();
            b.for_root_in(tester, None).probe(&["wait"]);
            b.set("/linux/resources", json!({"pids": {"limit": 77}, "memory": {"limit": 64_000_000}}));
            let dir = b.dir.display().to_string();
            let mut words = vec!["create", "--bundle", &dir];
            if systemd {
                b.set("/linux/cgroupsPath", format!("app.slice:orlop:{}", t.token));
                words.insert(0, "--systemd-cgroup");
            }
            b.write();
            let id = t.id();
            words.push(&id);
            t.rt(&words).ok();
            t.rt(&["start", &id]).ok();
            let limit = |file: &str| {
                let pid = t.rt(&["state", &id]).ok().json()["pid"].as_i64().unwrap();
                let at = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
                let at = at.trim().trim_start_matches("0::").to_string();
                (
                    std::fs::read_to_string(format!("/sys/fs/cgroup{at}/{file}")).unwrap().trim().to_string(),
                    at,
                )
            };
            let (pids, place) = limit("pids.max");
            assert_eq!(pids, "77", "{place}");
            assert!(place.contains("user@"), "{place}");
            t.rt(&["update", "--pids-limit", "55", &id]).ok();
            assert_eq!(limit("pids.max").0, "55");
            t.rt(&["pause", &id]).ok();
            assert_eq!(t.rt(&["state", &id]).ok().json()["status"], "paused");
            t.rt(&["resume", &id]).ok();
            t.rt(&["exec", &id, "/bin/true"]).ok();
            t.rt(&["delete", "--force", &id]).ok();
            t.nothing_left();
        }
    });
}

/// Of the user's own cgroups nothing is asked for: it is none of our business that there are none. A limit is.
#[test]
fn without_a_cgroup() {
    check(|t| {
        if unified() {
            skip!("cgroup version 2");
        }
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false);
        let c = b.up(&["wait"]);
        c.verb(&["pause"]).fails(&["freezer"]);
        c.verb(&["update", "--memory", "100000000"]).fails(&["memory"]);
        c.delete_force();
        b.set("/linux/resources", json!({"memory": {"limit": 100_000_000}}));
        b.refused(&["memory", "could not join or create cgroup"]);
        b.remove("/linux/resources");
        b.set("/linux/cgroupsPath", format!("/{}", t.token));
        b.refused(&["permission denied"]);
        // Device rules are beyond him; root of his namespace has no device to open that he has not.
        b.remove("/linux/cgroupsPath")
            .set("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
        b.facts(&[]);
    });
}

/// The same on version 2, where the caller's own cgroup is root's.
#[test]
fn without_a_cgroup_on_version_two() {
    check(|t| {
        if !unified() {
            skip!("cgroup version 1");
        }
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false);
        let c = b.up(&["wait"]);
        t.rt(&["exec", &c.id, "/bin/true"]).ok();
        c.verb(&["pause"]).fails(&["freez"]);
        c.verb(&["update", "--pids-limit", "50"]).fails(&["pids"]);
        c.delete_force();
        b.set("/linux/resources", json!({"pids": {"limit": 100}}));
        let message = b.refused(&["cgroup"]);
        assert!(is_reference() || message.contains("rootless needs no limits"), "{message}");
        b.remove("/linux/resources");
        b.set("/linux/cgroupsPath", format!("/{}", t.token));
        b.refused(&["permission denied"]);
        b.remove("/linux/cgroupsPath")
            .set("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
        b.facts(&[]);
    });
}

#[test]
fn the_flag_of_that_name() {
    check(|t| {
        if unified() {
            skip!("cgroup version 2");
        }
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false).probe(&["facts"]);
        b.write();
        let run =
            |word: &str| t.call(["--rootless", word, "run", "--bundle"]).args([&b.dir]).args([t.id()]).run();
        run("auto").ok();
        run("true").ok();
        run("false").fails(&["permission denied"]);
        run("perhaps").fails(&["perhaps"]);
    });
}

/// As the XDG Base Directory Specification has it, so that nobody tidies it away.
#[test]
fn the_state_root() {
    check(|t| {
        t.sailor();
        let dir = t.runtime_dir();
        let mut b = t.bundle();
        b.rootless(false).probe(&["wait"]);
        b.write();
        let id = t.id();
        let call = |args: &[&str]| t.bare(args).env("XDG_RUNTIME_DIR", dir.to_str().unwrap());
        call(&["create", "--bundle", b.dir.to_str().unwrap(), &id]).run().ok();
        let name = if is_reference() { "runc" } else { "orlop" };
        let mode = dir.join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o1700, "{mode:o}");
        assert!(dir.join(name).join(&id).is_dir());
        call(&["state", &id]).run().ok();
        call(&["delete", "--force", &id]).run().ok();
    });
}

#[test]
fn what_spec_writes_runs() {
    check(|t| {
        t.sailor();
        let mut b = t.bundle();
        b.rootless(false);
        t.bare(["spec", "--rootless"]).cwd(&b.dir).run().ok();
        let text = std::fs::read_to_string(b.dir.join("config.json")).unwrap();
        b.config = serde_json::from_str(&text).unwrap();
        assert_eq!(
            b.config["linux"]["uidMappings"],
            json!([{"containerID": 0, "hostID": SAILOR, "size": 1}])
        );
        b.set("/process/terminal", false);
        assert_eq!(b.facts(&[])["hostname"], "runc");
    });
}

#[test]
fn two_share_their_namespaces() {
    check(|t| {
        t.sailor();
        for many in [false, true] {
            let mut lender = t.bundle();
            lender.rootless(many).namespace(json!({"type": "network"}));
            let c = lender.up(&["wait"]);
            let pid = c.pid();
            let mut b = t.bundle();
            b.rootless(many).remove("/linux/uidMappings").remove("/linux/gidMappings").remove("/hostname");
            for (kind, file) in
                [("user", "user"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("network", "net")]
            {
                b.namespace(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
            }
            let facts = b.facts(&[]);
            for file in ["user", "ipc", "uts", "pid", "net"] {
                assert_eq!(facts["namespaces"][file], namespace_of(pid, file), "{file}");
            }
            assert_ne!(facts["namespaces"]["mnt"], namespace_of(pid, "mnt"));
            c.delete_force();
        }
    });
}

/// As podman has it: root of a user namespace that a user made, with a mount namespace of its own or without.
#[test]
fn root_of_a_user_namespace() {
    check(|t| {
        t.sailor();
        for inner in [
            ["unshare", "--user", "--map-root-user", "--mount"],
            ["unshare", "--user", "--map-root-user", "--ipc"],
        ] {
            let id = SAILOR.to_string();
            let mut words = vec!["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"];
            words.extend(inner);
            t.call_under(&words);
            for own in [false, true] {
                let mut b = t.bundle();
                b.rootless(false);
                b.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]));
                b.set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]));
                if !own {
                    b.namespaces(&["pid", "ipc", "uts", "mount"]);
                    b.set("/hostname", "guest").remove("/linux/uidMappings").remove("/linux/gidMappings");
                }
                let facts = b.facts(&[]);
                assert_eq!(facts["user"]["uids"], json!([0, 0, 0]));
                let inside = if own { "0" } else { "4711" };
                assert_eq!(lines(&facts["uidMap"]), [["0", inside, "1"]]);
                assert_eq!(facts["dev"]["null"]["open"], "ok");
            }
        }
    });
}

/// It may leave the namespaces that it was born in, and not enter them again.
#[test]
fn root_of_a_user_namespace_has_no_way_back() {
    check(|t| {
        t.sailor();
        let file = t.path("pid");
        let script = format!(
            "touch {0}; unshare --pid --fork --kill-child sleep 1000 & \
             until [ \"$(readlink /proc/$!/ns/pid_for_children)\" != \"$(readlink /proc/self/ns/pid)\" ] &&
             mount --bind /proc/$!/ns/pid_for_children {0}; do sleep 0.02; done; \"$@\"; s=$?; kill $!; exit $s",
            file.display()
        );
        let id = SAILOR.to_string();
        let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--", "unshare", "--user"];
        t.call_under(&[&words[..], &["--map-root-user", "--mount", "sh", "-c", &script, "sh"]].concat());
        for own in [false, true] {
            let mut b = t.bundle();
            b.rootless(false).namespaces(if own { &["mount", "user"] } else { &["mount"] });
            b.without_mount("/dev/mqueue").without_mount("/proc").without_mount("/sys/fs/cgroup");
            b.namespace(json!({"type": "pid", "path": file})).namespace(json!({"type": "time"}));
            b.set("/linux/timeOffsets", json!({"boottime": {"secs": 5_000_000}}));
            let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
            b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
            let facts = b.bind("/proc".as_ref(), "/proc", &["rbind"]).facts(&[]);
            assert!(facts["session"]["pid"].as_i64().unwrap() < 100, "{}", facts["session"]);
            assert!(facts["clocks"]["boottime"].as_i64().unwrap() > 5_000_000);
        }
    });
}

/// In a user namespace that denies setgroups(2) its root gets along without; as runc.
#[test]
fn groups_that_were_denied_before_us() {
    check(|t| {
        t.sailor();
        let id = SAILOR.to_string();
        let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--", "unshare", "--user"];
        t.call_under(&[&words[..], &["--map-root-user", "--mount"]].concat());
        let mut b = t.bundle();
        b.rootless(false).namespaces(&["pid", "ipc", "uts", "mount"]);
        b.remove("/linux/uidMappings").remove("/linux/gidMappings");
        b.set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [0]}));
        assert_eq!(b.facts(&[])["setgroups"].as_str().unwrap().trim(), "deny");
    });
}

#[test]
fn root_without_capabilities() {
    check(|t| {
        // The kernel lets nobody without this one map root.
        t.call_under(&["setpriv", "--bounding-set", "-all,+setfcap", "--inh-caps", "-all", "--"]);
        let mut b = t.bundle();
        b.for_root_in(0, None).write();
        let facts = t
            .call(["--rootless", "true", "run", "--bundle"])
            .args([&b.dir])
            .args([t.id()])
            .run()
            .ok()
            .facts();
        assert_eq!(lines(&facts["uidMap"]), [["0", "0", "1"]]);
        assert_eq!(facts["dev"]["null"]["open"], "ok");
        t.bundle().refused(&["permi"]);
    });
}

/// A container in a container of root's with a user namespace, by its root and by an ordinary user there.
#[test]
fn nested() {
    check(|t| {
        for uid in [0, 1000] {
            let mut b = t.bundle();
            b.user_namespace().namespace(json!({"type": "cgroup"}));
            nested_by(t, &mut b, uid, 100_000 + uid);
        }
    });
}

/// The same in a container of an ordinary user's.
#[test]
fn nested_in_a_users_container() {
    check(|t| {
        t.sailor();
        for (uid, outside) in [(0, SAILOR), (1000, SUBORDINATE + 999)] {
            let mut b = t.bundle();
            b.rootless(true).namespace(json!({"type": "cgroup"}));
            nested_by(t, &mut b, uid, outside);
        }
    });
}

/// Runs what `spec` writes in `b`, by `uid` there, who is `outside` here.
fn nested_by(t: &Case, b: &mut Bundle, uid: u32, outside: u32) {
    nest(t, b);
    b.set("/process/user", json!({"uid": uid, "gid": uid}));
    own(&b.rootfs().join("var"), outside);
    own(&b.rootfs().join("tmp"), outside);
    let spec = if uid == 0 { "spec" } else { "spec --rootless" };
    let script = format!(
        "cd /var/inner && runtime {spec} && sed -i -e 's/\"terminal\": true/\"terminal\": false/' \
         -e 's/\"sh\"$/\"\\/probe\", \"facts\"/' config.json && exec runtime --root /tmp/state run inner"
    );
    let facts = nested_facts(t, b, &script);
    assert_eq!(facts["user"]["uids"], json!([0, 0, 0]), "{uid}");
    assert_eq!(facts["uidMap"].as_str().unwrap().lines().count(), if uid == 0 { nested_lines(b) } else { 1 });
}

/// Whoever has no user namespace of his own in there shares that around him.
fn nested_lines(b: &Bundle) -> usize {
    b.config["linux"]["uidMappings"].as_array().unwrap().len()
}

/// A container with limits in a container that may write its cgroup: root's, and (version 2 gives it away) that of a root
/// who is nobody outside.
#[test]
fn nested_with_cgroups() {
    check(|t| {
        for user in [false, true] {
            if user && !unified() {
                continue;
            }
            let mut b = t.bundle();
            b.namespace(json!({"type": "cgroup"}));
            if user {
                b.user_namespace();
            }
            let last = b.config["mounts"].as_array().unwrap().len() - 1;
            b.set(&format!("/mounts/{last}/options"), json!(["nosuid", "noexec", "nodev", "rw"]));
            nest(t, &mut b);
            if user {
                own(&b.rootfs().join("var"), 100_000);
                own(&b.rootfs().join("tmp"), 100_000);
            }
            let (file, value) = if !unified() {
                ("/sys/fs/cgroup/pids/pids.max", "55")
            } else if crate::userns::unified_has("pids") {
                ("/sys/fs/cgroup/pids.max", "55")
            } else {
                ("/sys/fs/cgroup/cgroup.max.depth", "5")
            };
            let mut inner = t.bundle();
            inner.probe(&["facts", &format!("read={file}")]);
            inner.namespace(json!({"type": "cgroup"})).set("/linux/cgroupsPath", "/within");
            if file.ends_with("depth") {
                inner.set("/linux/resources/unified", json!({"cgroup.max.depth": "5"}));
            } else {
                inner.set("/linux/resources/pids", json!({"limit": 55}));
            }
            inner.write();
            std::fs::copy(inner.dir.join("config.json"), b.rootfs().join("var/inner/config.json")).unwrap();
            // Version 2 has no processes beside cgroups that have controllers.
            let script = "cd /var/inner && { [ ! -e /sys/fs/cgroup/cgroup.procs ] || { busybox mkdir /sys/fs/cgroup/outer && \
                echo 1 >/sys/fs/cgroup/outer/cgroup.procs; }; } && runtime --root /tmp/state run inner && \
                busybox find /sys/fs/cgroup -name within";
            let facts = nested_facts(t, &mut b, script);
            assert_eq!(facts["asked"][format!("read={file}")].as_str().unwrap().trim(), value, "{user}");
        }
    });
}

/// Makes room in `b` for a runtime and for a bundle of its own, and lets it do all that root may.
fn nest(t: &Case, b: &mut Bundle) {
    let rootfs = b.rootfs();
    copy_executable(&binary(), &rootfs.join("bin/runtime"));
    let inner = t.bundle();
    std::fs::create_dir_all(rootfs.join("var/inner")).unwrap();
    std::fs::rename(inner.rootfs(), rootfs.join("var/inner/rootfs")).unwrap();
    let everything = json!([
        "CAP_SYS_ADMIN",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SYS_CHROOT",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_KILL",
        "CAP_SETPCAP",
        "CAP_NET_ADMIN",
        "CAP_FOWNER",
        "CAP_SETFCAP",
        "CAP_SYS_PTRACE",
        "CAP_SYS_RESOURCE",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_AUDIT_WRITE"
    ]);
    let sets = json!({"bounding": everything, "effective": everything, "permitted": everything});
    b.set("/process/capabilities", sets).writable();
    b.set("/process/noNewPrivileges", false);
    // What is masked here could not be seen anew in there, so nothing is.
    b.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
}

/// What the probe in the inner container says: the last line of what the outer one's shell says.
#[track_caller]
fn nested_facts(t: &Case, b: &mut Bundle, script: &str) -> Value {
    b.args(&["/bin/busybox", "sh", "-c", script]);
    let out = b.call(&["run"], &t.id()).run().ok();
    assert_eq!(out.stdout.trim().lines().count(), 1, "{out}");
    let facts = out.facts();
    assert_eq!(facts["session"]["pid"], 1);
    assert_eq!(facts["dev"]["null"]["open"], "ok");
    facts
}

fn own(dir: &std::path::Path, id: u32) {
    std::os::unix::fs::chown(dir, Some(id), Some(id)).unwrap();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            own(&entry.path(), id);
        }
    }
}
