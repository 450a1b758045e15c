//! A machine that has nothing left, and system calls that fail: an error that says so, and nothing that stays.

use super::*;

/// Success, or an error that is told; never a panic, a signal, silence.
#[track_caller]
fn ok_or_told(out: &Output) {
    assert!(!out.killed && !out.stderr.contains("panic") && out.status != 134, "{out}");
    assert!(
        out.status == 0 || !out.stderr.trim().is_empty() || !out.log.is_empty(),
        "failed in silence: {out}"
    );
}

/// Case 53: the state root is full, has no inodes, is read-only. Who was there before can still be deleted.
#[test]
fn a_state_root_without_room() {
    check(|t| {
        fs::create_dir(&t.root).unwrap();
        let root = text(&t.root).to_string();
        let empty = || fs::read_dir(&t.root).unwrap().count() == 0;
        for options in ["size=4k,nr_inodes=100", "size=1m,nr_inodes=2", "size=1m,nr_inodes=4", "size=1m,ro"] {
            t.program("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &root]).ok();
            let mut b = t.bundle();
            b.set("/annotations", json!({"long": "n".repeat(16 << 10)})).probe(&["exit", "0"]);
            let out = b.run();
            ok_or_told(&out);
            if out.status != 0 && !is_reference() {
                out.complains(&[&root]);
            }
            assert!(empty() && t.cgroups().is_empty(), "{options}: {:?}", t.cgroups());
            t.program("umount", &[&root]).ok();
        }
        t.program("mount", &["-t", "tmpfs", "-o", "size=256k", "tmpfs", &root]).ok();
        let c = t.bundle().up(&["wait"]);
        let mut n = 0;
        while fs::write(t.root.join(format!("fill-{n}")), vec![1; 8192]).is_ok() {
            n += 1;
        }
        c.delete_force();
        for k in 0..=n {
            let _ = fs::remove_file(t.root.join(format!("fill-{k}")));
        }
        assert!(empty() && t.cgroups().is_empty());
        t.program("umount", &[&root]).ok();
    });
}

/// Case 54: few descriptors.
#[test]
fn few_descriptors() {
    check(|t| {
        let limits: Vec<u32> =
            if long() { (3..64).collect() } else { vec![3, 4, 6, 8, 10, 12, 16, 24, 40, 64] };
        for limit in limits {
            let mut b = t.bundle();
            b.remove("/process/rlimits").args(&["/bin/true"]);
            let id = t.id();
            let script = format!("ulimit -n {limit}; exec \"$@\"");
            let out = b.call(&["run"], &id).under(["sh", "-c", &script, "sh"]).run();
            ok_or_told(&out);
            t.rt(&["delete", "--force", &id]).ok();
            t.nothing_left();
            assert!(limit < 64 || out.status == 0, "64 are enough: {out}");
        }
    });
}

/// Case 62: records that are torn, empty, of another kind or version, or gone. The others are still listed; this one can
/// still be deleted, and its processes with it.
#[test]
fn a_record_of_whatever_kind() {
    check(|t| {
        let other = t.bundle().up(&["wait"]);
        for kind in ["empty", "torn", "garbage", "list", "newer", "missing", "directory", "fifo", "huge"] {
            let c = t.bundle().up(&["deaf"]);
            let record = t.root.join(&c.id).join("state.json");
            let whole = fs::read_to_string(&record).unwrap();
            fs::remove_file(&record).unwrap();
            match kind {
                "empty" => fs::write(&record, "").unwrap(),
                "torn" => fs::write(&record, &whole[..whole.len() / 2]).unwrap(),
                "garbage" => fs::write(&record, b"\xff\x00{{{{").unwrap(),
                "list" => fs::write(&record, "[1,2,3]").unwrap(),
                "newer" => {
                    let mut v: Value = whole.parse().unwrap();
                    v["version"] = 999.into();
                    fs::write(&record, v.to_string()).unwrap();
                }
                "directory" => fs::create_dir(&record).unwrap(),
                "fifo" => races::node(&record, libc::S_IFIFO, 0, 0),
                "huge" => fs::File::create(&record).unwrap().set_len(1 << 40).unwrap(),
                _ => (),
            }
            let list = t.rt(&["list", "--quiet"]);
            assert!(list.stdout.contains(&other.id), "{kind}: {list}");
            let state = t.call(["state", &c.id]).run();
            assert!(!state.killed && state.status != 0, "{kind}: {state}");
            c.delete_force();
            assert!(!t.root.join(&c.id).exists(), "{kind}");
            let left: Vec<_> =
                t.cgroups().into_iter().filter(|c| !c.ends_with(other_path(&other, t))).collect();
            assert!(left.is_empty(), "{kind}: {left:?}");
        }
        other.delete_force();
    });
}

/// The name that all cgroups of this container end in.
fn other_path(c: &Container, t: &Case) -> String {
    let bundle = t.rt(&["state", &c.id]).ok().json()["bundle"].as_str().unwrap().to_string();
    format!("{}-{}", t.token, bundle.rsplit('/').next().unwrap())
}

/// Case 52: system calls fail, one at a time, in main and in init.
#[test]
fn each_system_call_fails() {
    check(|t| {
        let calls = [
            "openat",
            "openat2",
            "mkdirat",
            "write",
            "read",
            "clone3",
            "move_mount",
            "mount_setattr",
            "open_tree",
            "fsopen",
            "fsconfig",
            "fsmount",
            "socketpair",
            "renameat,renameat2",
            "fstat,newfstatat",
            "getdents64",
            "sendto,sendmsg",
            "recvfrom,recvmsg",
            "capset",
            "prctl",
            "setsid",
            "pivot_root",
            "umount2",
            "poll,ppoll",
            "fchownat",
            "mknodat",
            "symlinkat",
            "unlinkat",
            "bpf",
            "close_range",
            "waitid",
            "setresuid",
            "setgroups",
        ];
        let errors = ["EIO", "ENOMEM", "ENOSPC", "EMFILE", "EAGAIN", "EINTR", "EPERM"];
        let mut seed = if long() { std::process::id() } else { 0x0123_4567 };
        let mut b = t.bundle();
        b.writable().bind(&t.folder("source"), "/made/here", &["ro"]).args(&["/bin/true"]);
        b.set("/linux/resources/pids", json!({"limit": 100}));
        let count = if long() { calls.len() * errors.len() * 12 } else { 60 };
        for round in 0..count {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (call, error, when) = if long() {
                (calls[round % calls.len()], errors[round / calls.len() % 7], 1 + round / calls.len() / 7)
            } else {
                (calls[round % calls.len()], errors[(seed >> 8) as usize % 7], 1 + (seed >> 16) as usize % 6)
            };
            let (trace, inject) =
                (format!("trace={call}"), format!("inject={call}:error={error}:when={when}"));
            let id = t.id();
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "--"];
            let out = b.call(&["run"], &id).under(strace).run();
            assert!(!out.stderr.contains("panicked"), "{call} {error} {when}: {out}");
            // Where nobody is told, it did not matter; or it was the payload's.
            assert!(!out.killed, "{call} {error} {when}: {out}");
            t.rt(&["delete", "--force", &id]).ok();
            t.nothing_left();
        }
    });
}
