//! /proc and /sys of the image, and what is mounted over them.

use super::*;

/// Case 8 (CVE-2019-19921 and later): /proc and /sys as links, as files, or below one.
#[test]
fn cve_2019_19921_proc_leads_elsewhere() {
    check(|t| {
        let victim = Victim::new(t);
        for (name, to) in [
            ("proc", "/tmp"),
            ("proc", "tmp"),
            ("proc", victim.dir.to_str().unwrap()),
            ("sys", "/tmp"),
            ("sys", "../../.."),
            ("proc", ""),
        ] {
            let mut b = base(t);
            let at = b.rootfs().join(name);
            fs::remove_dir(&at).unwrap();
            if to.is_empty() {
                fs::write(&at, "").unwrap();
            } else {
                symlink(to, &at).unwrap();
            }
            let out = b.probe(&["facts"]).run();
            out.complains(&[name]);
            t.nothing_left();
            victim.unharmed();
            assert_eq!(fs::read_dir(b.rootfs().join("tmp")).unwrap().count(), 0);
        }
    });
}

/// Case 9: nothing may be mounted over /proc, but for the files that lxcfs provides.
#[test]
fn cve_2019_16884_mounts_over_proc() {
    check(|t| {
        let source = t.path("source");
        fs::write(&source, "mine").unwrap();
        let refused = [
            "/proc/self",
            "/proc/self/attr",
            "/proc/sys",
            "/proc/self/fd/0",
            "/proc/1",
            "/proc/mounts",
            "/proc/filesystems",
        ];
        for target in refused {
            let mut b = base(t);
            b.bind(&source, target, &[]);
            let message = b.run().complains(&[]);
            assert!(message.contains("proc"), "{message}");
            t.nothing_left();
        }
        let mut b = base(t);
        let allowed = [
            "cpuinfo",
            "diskstats",
            "meminfo",
            "stat",
            "swaps",
            "uptime",
            "loadavg",
            "slabinfo",
            "sys/kernel/ns_last_pid",
        ];
        for name in allowed {
            if Path::new("/proc").join(name).exists() {
                b.bind(&source, &format!("/proc/{name}"), &[]);
            }
        }
        assert_eq!(b.facts(&["read=/proc/meminfo"])["asked"]["read=/proc/meminfo"], "mine");
    });
}

/// Case 26: without pivot_root the host's /proc would stay below the root, and with it the kernel's leave to mount
/// another one, without masks, in a user namespace of the container's own making.
#[test]
fn no_pivot_and_a_new_proc() {
    check(|t| {
        for flags in [&["run"][..], &["run", "--no-pivot"]] {
            let mut b = t.bundle();
            // Not on procfs or sysfs, where one mount more makes no difference to what is seen.
            b.args(&["/bin/sh", "-c", "unshare -Ur -m -p -f mount -t proc proc /tmp && ls /tmp"]);
            let out = b.call(flags, &t.id()).run();
            assert_ne!(out.status, 0, "{flags:?}: {out}");
            assert!(!out.stdout.contains("sysrq-trigger"), "{flags:?}: {out}");
            t.nothing_left();
        }
    });
}
