//! Where mounts land and what is made for them, whatever links the image or a neighbour puts in the way.

use super::*;

/// Case 14: strange destinations.
#[test]
fn strange_destinations() {
    check(|t| {
        for to in ["/mnt/", "//mnt//deep", "mnt/./x", "/mnt/../mnt2", "/../../mnt3"] {
            let mut b = t.bundle();
            b.mount(json!({"destination": to, "type": "tmpfs", "source": "tmpfs"}));
            b.run().ok();
        }
        for to in ["", &"/x".repeat(3000), &format!("/{}", "n".repeat(256))] {
            let mut b = t.bundle();
            b.mount(json!({"destination": to, "type": "tmpfs", "source": "tmpfs"}));
            let out = b.run();
            if out.status != 0 {
                out.complains(&[]);
            }
            t.nothing_left();
        }
    });
}

#[test]
fn a_mount_over_the_root_is_no_way_out() {
    check(|t| {
        for to in ["/", ".", "/.", "//"] {
            let mut b = t.bundle();
            b.mount(json!({"destination": to, "type": "tmpfs", "source": "tmpfs"}));
            let out = b.run();
            assert!(!out.killed && out.status != 0, "the program is covered, or the mount refused: {out}");
            t.nothing_left();
        }
    });
}

/// Case 27: what the runtime makes in the rootfs, below parents that lead outside.
#[test]
fn cve_2026_55686_nothing_is_made_outside() {
    check(|t| {
        let victim = Victim::new(t);
        let mut b = t.bundle();
        b.writable();
        symlink(&victim.dir, b.rootfs().join("away")).unwrap();
        symlink("../../../../../../..", b.rootfs().join("up")).unwrap();
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        let climb = format!("/up{}/made", victim.dir.display());
        b.mount(json!({"destination": "/away/mount", "type": "tmpfs", "source": "tmpfs"}));
        b.mount(json!({"destination": climb, "type": "tmpfs", "source": "tmpfs"}));
        b.bind(&file, "/away/bound", &[]);
        b.set("/process/cwd", "/away/cwd");
        b.set("/linux/devices", json!([{"path": "/away/device", "type": "c", "major": 1, "minor": 3}]));
        b.set("/linux/maskedPaths", json!(["/away/passwd"]))
            .set("/linux/readonlyPaths", json!(["/away/pts"]));
        b.probe(&["facts"]);
        let out = b.run();
        victim.unharmed();
        t.nothing_left();
        if out.status != 0 {
            out.complains(&[]);
        }
    });
}

/// A target that leads to the root by a link would put a volume in the place of the root of every later `exec`.
#[test]
fn a_target_that_is_a_link_to_the_root() {
    check(|t| {
        let mut b = t.bundle();
        symlink("/", b.rootfs().join("top")).unwrap();
        b.bind(&t.folder("volume"), "/top", &[]).refused(&["on the top of rootfs"]);
    });
}
