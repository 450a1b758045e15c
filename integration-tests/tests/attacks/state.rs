//! Names, paths and records: the state root and the cgroups of others.

use super::*;

/// Case 44: names that lead out of the state root, for every verb.
#[test]
fn ids_that_climb() {
    check(|t| {
        fs::create_dir_all(t.root.join("inside")).unwrap();
        let sentinel = t.dir.join("sentinel");
        fs::create_dir(&sentinel).unwrap();
        fs::write(sentinel.join("state.json"), "{}").unwrap();
        let before = snapshot(&t.dir);
        for id in [".", "..", "../sentinel", "inside/..", "./../sentinel", "", "/", "inside/../../sentinel"] {
            for verb in [&["start"][..], &["state"], &["kill"], &["delete"], &["delete", "--force"], &["ps"]]
            {
                let out = t.call(verb).args([id]).run();
                assert!(!out.killed && out.status != 0, "{out}");
            }
        }
        let after = snapshot(&t.dir);
        for (path, told) in before {
            assert_eq!(after.get(&path), Some(&told), "{path:?}");
        }
        fs::remove_dir(t.root.join("inside")).unwrap();
    });
}

/// Case 46, static: a cgroup path that climbs leaves the host's own cgroups alone.
#[test]
fn cgroup_paths_that_climb() {
    check(|t| {
        for path in ["/../../../..", "..", "/", ""] {
            let mut b = t.bundle();
            b.set("/linux/cgroupsPath", path).probe(&["facts"]);
            let before = fs::read_to_string("/sys/fs/cgroup/pids/cgroup.procs")
                .map(|s| s.lines().count())
                .unwrap_or(0);
            let id = t.id();
            let out = b.call(&["run"], &id).run();
            assert!(!out.killed, "{out}");
            let after = fs::read_to_string("/sys/fs/cgroup/pids/cgroup.procs")
                .map(|s| s.lines().count())
                .unwrap_or(0);
            assert!(after + 20 > before, "nobody of the host was killed");
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
