//! Names, paths and records: the state root and the cgroups of others.

use super::*;

/// Case 44: names that lead out of the state root, or are none, for every verb.
#[test]
fn ids_that_climb() {
    check(|t| {
        fs::create_dir_all(t.root.join("inside")).unwrap();
        let sentinel = t.dir.join("sentinel");
        fs::create_dir(&sentinel).unwrap();
        fs::write(sentinel.join("state.json"), "{}").unwrap();
        let before = snapshot(&t.dir);
        let long = "n".repeat(256);
        let mut b = t.bundle();
        b.probe(&["facts"]).write();
        let bundle = ["--bundle", text(&b.dir)];
        let ids = [
            ".",
            "..",
            "../sentinel",
            "inside/..",
            "./../sentinel",
            "",
            "/",
            "inside/../../sentinel",
            "a\nb",
            "\u{fc}",
            &long,
        ];
        for id in ids {
            let verbs: [&[&str]; 14] = [
                &["create", bundle[0], bundle[1]],
                &["run", bundle[0], bundle[1]],
                &["start"],
                &["state"],
                &["kill"],
                &["kill", "--all"],
                &["delete"],
                &["delete", "--force"],
                &["ps"],
                &["pause"],
                &["resume"],
                &["update", "--pids-limit", "5"],
                &["events", "--stats"],
                &["exec"],
            ];
            for verb in verbs {
                let rest = if verb == ["exec"] { &["/bin/true"][..] } else { &[] };
                let out = t.call(verb).args([id]).args(rest).run();
                // What is not there need not be an error to delete by force.
                let gone = verb == ["delete", "--force"] && ["inside", &long, "a\nb", "\u{fc}"].contains(&id);
                assert!(!out.killed && (out.status != 0 || gone), "{out}");
            }
        }
        let after = snapshot(&t.dir);
        for (path, told) in before {
            bites!(after.get(&path) == Some(&told), "{path:?} was {told} and is {:?}", after.get(&path));
        }
        fs::remove_dir(t.root.join("inside")).unwrap();
    });
}

/// CVE-2021-41103, CVE-2024-25621: the state root is for root alone, and what is in a container's directory is for no one
/// else to change.
#[test]
fn cve_2021_41103_modes_of_the_state() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let id = t.id();
        b.call(&["create"], &id).under(["sh", "-c", "umask 0; exec \"$@\"", "sh"]).run().ok();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        bites!(mode(&t.root) == 0o700, "the state root has mode {:o}", mode(&t.root));
        let own = t.root.join(&id);
        bites!(mode(&own) & 0o066 == 0, "the container's directory has mode {:o}", mode(&own));
        for entry in fs::read_dir(&own).unwrap().flatten() {
            let gate = name().starts_with("runc") && entry.file_name() == "exec.fifo";
            bites!(
                gate || mode(&entry.path()) & 0o022 == 0,
                "{:?} has mode {:o}",
                entry.path(),
                mode(&entry.path())
            );
        }
        t.rt(&["delete", "--force", &id]).ok();
    });
}

/// Case 61: a record names a pid that is somebody else's by now. Nobody is killed for it.
#[test]
fn a_pid_that_comes_again() {
    check(|t| {
        let c = t.bundle().probe(&["exit", "0"]).create();
        let adopted = c.adopt();
        c.start();
        c.reap(adopted);
        c.becomes("stopped");
        let record = t.root.join(&c.id).join("state.json");
        let old = fs::read_to_string(&record).unwrap();
        let mut bystander = Call::new("sleep".into(), &t.path("bystander")).args(["1000"]).spawn();
        for pid in [bystander.pid() as u32, 1, std::process::id()] {
            let mut state: Value = old.parse().unwrap();
            let said = state.pointer("/init/pid").is_some();
            if said {
                state["init"]["pid"] = pid.into();
            } else {
                state["init_process_pid"] = pid.into();
            }
            fs::write(&record, state.to_string()).unwrap();
            assert_eq!(c.status(), "stopped", "{pid} is somebody else");
            for words in [&["kill", &c.id, "KILL"][..], &["kill", "--all", &c.id, "KILL"]] {
                let out = t.rt(words);
                assert!(!out.killed, "{out}");
            }
            bites!(!bystander.is_over(), "{pid}: the bystander was killed");
        }
        c.delete_force();
        bites!(!bystander.is_over(), "the bystander was killed");
    });
}

/// Case 46, static: a cgroup path that climbs leaves the host's own cgroups alone.
#[test]
fn cgroup_paths_that_climb() {
    check(|t| {
        for path in ["/../../../..", "..", "/", ""] {
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", path).probe(&["facts"]);
            let mut bystander = Call::new("sleep".into(), &t.path("bystander")).args(["1000"]).spawn();
            let id = t.id();
            let out = b.call(&["run"], &id).run();
            assert!(!out.killed, "{out}");
            assert!(!bystander.is_over(), "nobody of the host was killed");
        }
    });
}

/// Who may not enter the state directory may not start a container either, whatever the caller's umask is.
#[test]
fn the_gate_is_roots_alone() {
    use std::os::unix::fs::FileTypeExt;
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["wait"]);
        let id = t.id();
        b.call(&["create"], &id).under(["sh", "-c", "umask 0; exec \"$@\"", "sh"]).run().ok();
        for entry in fs::read_dir(t.root.join(&id)).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            let kind = meta.file_type();
            if kind.is_socket() {
                assert_eq!(meta.permissions().mode() & 0o077, 0, "{:?}", entry.path());
            }
        }
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
    });
}

/// Case 69: the record is of an earlier boot, and somebody else lives in a cgroup of that name.
#[test]
fn a_record_of_another_boot_kills_nobody() {
    check(|t| {
        let mut b = t.bundle();
        let mut other = t.bundle();
        other.set("/linux/cgroupsPath", b.cgroups_path());
        let c = b.probe(&["exit", "0"]).create();
        c.verb(&["start"]).ok();
        c.becomes("stopped");
        let record = t.root.join(&c.id).join("state.json");
        let mut state: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
        assert!(state["boot"].is_string(), "the record tells of which boot it is");
        state["boot"] = "11111111-2222-3333-4444-555555555555".into();
        fs::write(&record, state.to_string()).unwrap();
        let stranger = other.up(&["wait"]);
        t.rt(&["kill", "--all", &c.id, "KILL"]);
        c.delete_force();
        assert_eq!(stranger.status(), "running");
        stranger.delete_force();
    });
}

/// Case 46 (GHSA-5g49-rx9x-qfc6): cgroup paths and keys that climb, inject or go on for ever write nothing but the
/// container's own cgroup.
#[test]
fn ghsa_5g49_keys_and_paths_of_cgroups() {
    check(|t| {
        let long = format!("/{}/{}", t.token, "c".repeat(300));
        let very_long = format!("/{}{}", t.token, "/cc".repeat(1400));
        for path in [&long, &very_long, &format!("/{}\n/x", t.token)] {
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", path.as_str()).probe(&["exit", "0"]);
            let out = b.run();
            if out.status != 0 {
                out.complains(&[]);
            }
            t.nothing_left();
        }
        for key in [
            "../x",
            "memory/../../x",
            "/memory.max",
            "memory.max/",
            "..",
            "",
            "a\nb",
            "cgroup.procs",
            "cgroup.kill",
            "cgroup.freeze",
        ] {
            let mut b = t.bundle();
            b.set("/linux/resources/unified", json!({key: "1"})).probe(&["exit", "0"]);
            b.refused(&[]);
        }
    });
}

/// Case 48 (CVE-2022-0811): a sysctl of the host by whatever spelling, or smuggled in a value.
#[test]
fn cve_2022_0811_sysctls_by_any_spelling() {
    check(|t| {
        let watched =
            ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/swappiness"];
        let before: Vec<_> = watched.iter().map(|f| fs::read_to_string(f).unwrap_or_default()).collect();
        let keys = [
            "kernel.core_pattern",
            "kernel/core_pattern",
            "net/../kernel/core_pattern",
            "net.ipv4/../../kernel/core_pattern",
            "net.ipv4.../.../kernel.core_pattern",
            "kernel.shm_rmid_forced/../core_pattern",
            "kernel.shm_rmid_forced.././core_pattern",
            "kernel.msg../core_pattern",
            "fs.mqueue/../../vm/swappiness",
            "./net/../vm/swappiness",
            "/proc/sys/vm/swappiness",
            "net//../vm/swappiness",
            "net",
            "",
            ".",
            "net.\n",
            "+net.ipv4.ip_forward",
        ];
        for key in keys {
            for value in ["0", "0\n|/evil", "0+net.ipv4.ip_forward=1"] {
                let mut b = t.bundle();
                b.set("/linux/sysctl", json!({key: value})).probe(&["exit", "0"]);
                let out = b.run();
                assert!(!out.killed && out.status != 0, "{key}={value:?}: {out}");
            }
        }
        let mut b = t.bundle();
        b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1\u{0}2"})).refused(&[]);
        t.nothing_left();
        let after: Vec<_> = watched.iter().map(|f| fs::read_to_string(f).unwrap_or_default()).collect();
        bites!(after == before, "{before:?} has become {after:?}");
    });
}

/// Case 49: numbers and names out of range, for what needs privileges on the host.
#[test]
fn schedulers_and_closids_out_of_range() {
    check(|t| {
        let table: [(&str, Value); 12] = [
            ("/linux/intelRdt", json!({"closID": ".."})),
            ("/linux/intelRdt", json!({"closID": "a/b"})),
            ("/linux/intelRdt", json!({"closID": "../../tmp"})),
            ("/linux/intelRdt", json!({"closID": ""})),
            ("/linux/memoryPolicy", json!({"mode": "MPOL_NOTHING", "nodes": "0"})),
            ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "99999999999"})),
            ("/process/execCPUAffinity", json!({"initial": "4294967296"})),
            ("/process/execCPUAffinity", json!({"initial": "0-"})),
            ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT", "priority": 99})),
            ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_NONE_OF_IT", "priority": 0})),
            ("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 1000})),
            ("/linux/personality", json!({"domain": "HPUX"})),
        ];
        for (pointer, value) in table {
            let mut b = t.bundle();
            b.set(pointer, value).probe(&["exit", "0"]);
            b.refused(&[]);
        }
    });
}
