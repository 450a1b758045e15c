//! root: its path, its read-only state, its propagation, and the way in.

use integration_tests::*;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn read_only() {
    check(|t| {
        let mut b = t.bundle();
        let facts = b.facts(&["create=/tmp/x", "create=/dev/shm/x"]);
        assert_eq!(facts["asked"]["create=/tmp/x"], json!({"errno": "EROFS"}));
        assert_eq!(facts["asked"]["create=/dev/shm/x"], "ok", "other mounts are not concerned");
        let facts = b.writable().facts(&["create=/tmp/x"]);
        assert_eq!(facts["asked"]["create=/tmp/x"], "ok");
        assert!(b.rootfs().join("tmp/x").exists());
    });
}

#[test]
fn writable_by_default() {
    check(|t| {
        let mut b = t.bundle();
        assert_eq!(b.remove("/root/readonly").facts(&["create=/tmp/x"])["asked"]["create=/tmp/x"], "ok");
    });
}

#[test]
fn an_absolute_path() {
    check(|t| {
        let mut b = t.bundle();
        let rootfs = b.rootfs();
        b.set("/root/path", rootfs.to_str().unwrap()).run().ok();
    });
}

#[test]
fn a_path_relative_to_the_bundle() {
    check(|t| {
        let mut b = t.bundle();
        fs::create_dir(b.dir.join("deeper")).unwrap();
        fs::rename(b.rootfs(), b.dir.join("deeper/other")).unwrap();
        b.set("/root/path", "./deeper/../deeper/other/").run().ok();
    });
}

#[test]
fn a_path_outside_the_bundle() {
    check(|t| {
        let mut b = t.bundle();
        let elsewhere = t.path("elsewhere");
        fs::rename(b.rootfs(), &elsewhere).unwrap();
        b.set("/root/path", format!("../{}", elsewhere.file_name().unwrap().to_str().unwrap())).run().ok();
    });
}

#[test]
fn a_link_in_a_parent_directory_is_followed() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let link = t.path("link");
        symlink(&b.dir, &link).unwrap();
        t.call(["run", "-b"]).args([&link]).args([t.id()]).run().ok();
    });
}

#[test]
fn the_old_root_is_out_of_sight() {
    check(|t| {
        let facts = t.bundle().facts(&["list=/", "stat=/.."]);
        assert_eq!(
            facts["asked"]["list=/"],
            json!(["bin", "dev", "etc", "probe", "proc", "root", "sys", "tmp", "usr", "var"])
        );
        let root = facts["mounts"].as_array().unwrap().iter().filter(|m| m["target"] == "/").count();
        assert_eq!(root, 1);
        assert_eq!(
            mount_at(&facts, "/").unwrap()["root"].as_str().unwrap().rsplit('/').next(),
            Some("rootfs")
        );
    });
}

/// rootfsPropagation, as it shows on the root mount inside.
#[test]
fn propagation() {
    check(|t| {
        let table = [
            ("", ""),
            ("private", ""),
            ("rprivate", ""),
            ("slave", ""),
            ("rslave", ""),
            ("shared", "shared:"),
            ("rshared", "shared:"),
            ("unbindable", "unbindable"),
            ("runbindable", "unbindable"),
        ];
        for (kind, shown) in table {
            let mut b = t.bundle();
            // Cgroup version 1 mounts and read-only paths are bind mounts, which an unbindable source does not allow.
            b.without_mount("/sys/fs/cgroup")
                .set("/linux/readonlyPaths", json!([]))
                .set("/linux/maskedPaths", json!([]));
            b.set("/linux/rootfsPropagation", kind);
            let facts = b.facts(&[]);
            let told = words(&mount_at(&facts, "/").unwrap()["propagation"]).join(" ");
            assert!(
                if shown.is_empty() { !told.contains("shared:") } else { told.contains(shown) },
                "{kind}: {told}"
            );
        }
        t.nothing_left();
    });
}

#[test]
fn an_unknown_propagation_is_refused() {
    check(|t| {
        t.bundle().set("/linux/rootfsPropagation", "sideways").refused(&["rootfsPropagation", "sideways"]);
    });
}

#[test]
fn no_pivot() {
    check(|t| {
        let b = t.bundle();
        let facts = b.call(&["run", "--no-pivot"], &t.id()).run().ok().facts();
        assert_eq!(facts["cwd"], "/");
        assert_eq!(facts["processes"], json!([1]));
    });
}

/// A rootfs that is a mount point already, as an overlay of containerd's is.
#[test]
fn a_root_that_is_a_mount_point() {
    check(|t| {
        let b = t.bundle();
        let path = b.rootfs();
        let path = path.to_str().unwrap();
        t.program("mount", &["--bind", path, path]).ok();
        t.at_end(&["umount", path]);
        b.run().ok();
    });
}

#[test]
fn without_a_mount_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.namespaces(&["pid", "uts", "ipc", "network"]);
        b.refused(&["namespace"]);
    });
}

#[test]
fn without_a_root_object() {
    check(|t| {
        let mut b = t.bundle();
        b.remove("/root");
        b.refused(&["root"]);
    });
}
