//! maskedPaths and readonlyPaths.

use integration_tests::*;
use std::fs;
use std::os::unix::fs::symlink;

fn bundle_with<'c>(t: &'c Case) -> Bundle<'c> {
    let mut b = t.bundle();
    let secret = b.rootfs().join("var/secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "treasure").unwrap();
    fs::write(b.rootfs().join("var/note"), "treasure").unwrap();
    b.writable();
    b
}

#[test]
fn a_masked_directory_is_empty_and_read_only() {
    check(|t| {
        let mut b = bundle_with(t);
        b.set("/linux/maskedPaths", json!(["/var/secret"]));
        let facts = b.facts(&["list=/var/secret", "create=/var/secret/x"]);
        assert_eq!(facts["asked"]["list=/var/secret"], json!([]));
        assert_eq!(facts["asked"]["create=/var/secret/x"], json!({"errno": "EROFS"}));
    });
}

#[test]
fn a_masked_file_reads_as_nothing() {
    check(|t| {
        let mut b = bundle_with(t);
        b.set("/linux/maskedPaths", json!(["/var/note"]));
        let facts = b.facts(&["read=/var/note", "stat=/var/note"]);
        assert_eq!(facts["asked"]["read=/var/note"], "");
        assert_eq!(facts["asked"]["stat=/var/note"]["device"], json!([1, 3]));
        assert_eq!(fs::read_to_string(b.rootfs().join("var/note")).unwrap(), "treasure");
    });
}

#[test]
fn the_default_masks() {
    check(|t| {
        let facts = t.bundle().facts(&["stat=/proc/timer_list", "stat=/proc/keys", "list=/sys/firmware"]);
        assert_eq!(facts["asked"]["stat=/proc/timer_list"]["device"], json!([1, 3]));
        assert_eq!(facts["asked"]["stat=/proc/keys"]["device"], json!([1, 3]));
        assert_eq!(facts["asked"]["list=/sys/firmware"], json!([]));
    });
}

#[test]
fn missing_ones_are_passed_over() {
    check(|t| {
        let mut b = bundle_with(t);
        b.set("/linux/maskedPaths", json!(["/no/such/path", "/var/nothing"]));
        b.set("/linux/readonlyPaths", json!(["/no/such/path", "/var/nothing"]));
        b.run().ok();
        assert!(!b.rootfs().join("no").exists());
    });
}

#[test]
fn many_masks_at_once() {
    check(|t| {
        let mut b = bundle_with(t);
        let paths: Vec<String> = (0..100).map(|n| format!("/var/many/{n}")).collect();
        for path in &paths {
            fs::create_dir_all(b.rootfs().join(&path[1..]).join("inside")).unwrap();
        }
        b.set("/linux/maskedPaths", json!(paths));
        let facts =
            b.facts(&["list=/var/many/0", "list=/var/many/50", "list=/var/many/99", "create=/var/many/99/x"]);
        for request in ["list=/var/many/0", "list=/var/many/50", "list=/var/many/99"] {
            assert_eq!(facts["asked"][request], json!([]));
        }
        assert_eq!(facts["asked"]["create=/var/many/99/x"], json!({"errno": "EROFS"}));
    });
}

#[test]
fn a_path_named_twice() {
    check(|t| {
        let mut b = bundle_with(t);
        b.set("/linux/maskedPaths", json!(["/var/secret", "/var/secret", "/var/note", "/var/note"]));
        b.set("/linux/readonlyPaths", json!(["/tmp", "/tmp"]));
        assert_eq!(b.facts(&["list=/var/secret"])["asked"]["list=/var/secret"], json!([]));
    });
}

#[test]
fn read_only_paths() {
    check(|t| {
        let mut b = bundle_with(t);
        b.set("/linux/readonlyPaths", json!(["/var/secret", "/var/note", "/proc/sys"]));
        let facts = b.facts(&[
            "read=/var/secret/file",
            "create=/var/secret/x",
            "write=/var/note",
            "create=/var/free",
            "write=/proc/sys/kernel/msgmax",
        ]);
        let errno = json!({"errno": "EROFS"});
        assert_eq!(facts["asked"]["read=/var/secret/file"], "treasure");
        assert_eq!(facts["asked"]["create=/var/secret/x"], errno);
        assert_eq!(facts["asked"]["write=/var/note"], errno);
        assert_eq!(facts["asked"]["write=/proc/sys/kernel/msgmax"], errno);
        assert_eq!(facts["asked"]["create=/var/free"], "ok");
    });
}

/// The read-only mount keeps the other flags of what it covers.
#[test]
fn read_only_paths_keep_other_flags() {
    check(|t| {
        let mut b = bundle_with(t);
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec", "noatime"]}));
        b.set("/linux/readonlyPaths", json!(["/mnt"]));
        let facts = b.facts(&[]);
        let options = words(&mount_at(&facts, "/mnt").unwrap()["options"]);
        assert_eq!(options, ["ro", "nosuid", "nodev", "noexec", "noatime"]);
    });
}

#[test]
fn the_defaults_are_read_only() {
    check(|t| {
        let facts = t.bundle().facts(&[
            "write=/proc/sysrq-trigger",
            "write=/proc/sys/kernel/hostname",
            "write=/proc/irq/default_smp_affinity",
        ]);
        for (request, answer) in facts["asked"].as_object().unwrap() {
            assert!(
                ["EROFS", "ENOENT"].contains(&answer["errno"].as_str().unwrap_or_default()),
                "{request}: {answer}"
            );
        }
    });
}

/// A link in the image leads only within the rootfs, for masks as well.
#[test]
fn links_are_resolved_inside() {
    check(|t| {
        let mut b = bundle_with(t);
        symlink("/var/secret", b.rootfs().join("way")).unwrap();
        b.set("/linux/maskedPaths", json!(["/way"])).set("/linux/readonlyPaths", json!([]));
        assert_eq!(b.facts(&["list=/var/secret"])["asked"]["list=/var/secret"], json!([]));
    });
}
