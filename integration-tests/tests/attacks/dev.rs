//! /dev of the image: links, files and other nodes where the container's devices and terminal go.

use super::*;

/// Case 1 and 2: /dev is a link, absolute or relative, or a file; or its entries are.
#[test]
fn cve_2026_47766_dev_leads_outside() {
    check(|t| {
        let victim = Victim::new(t);
        let out = victim.dir.to_str().unwrap();
        let up = format!("../../../../../../../..{out}");
        let shapes: [(&str, &str); 9] = [
            ("dev", out),
            ("dev", &up),
            ("dev/pts", out),
            ("dev/shm", &up),
            ("dev/mqueue", out),
            ("dev/ptmx", "decoy"),
            ("dev/console", "decoy"),
            ("dev/fd", out),
            ("dev/null", "decoy"),
        ];
        for (name, to) in shapes {
            let mut b = base(t);
            let link = b.rootfs().join(name);
            let _ = fs::remove_dir(&link);
            let to = if to == "decoy" {
                format!("{out}/{}", link.file_name().unwrap().display())
            } else {
                to.to_string()
            };
            symlink(to, &link).unwrap();
            ran_or_refused(t, &mut b);
            victim.unharmed();
        }
        let mut b = base(t);
        fs::remove_dir(b.rootfs().join("dev")).unwrap();
        fs::write(b.rootfs().join("dev"), "").unwrap();
        ran_or_refused(t, &mut b);
    });
}

/// Case 1 with the default mounts, which then land where the link leads to.
#[test]
fn cve_2026_41579_dev_leads_outside_under_mounts() {
    check(|t| {
        let victim = Victim::new(t);
        for target in
            [victim.dir.display().to_string(), format!("../../../../../../..{}", victim.dir.display())]
        {
            let mut b = t.bundle();
            fs::remove_dir(b.rootfs().join("dev")).unwrap();
            symlink(target, b.rootfs().join("dev")).unwrap();
            b.writable();
            ran_or_refused(t, &mut b);
            victim.unharmed();
        }
    });
}

/// Case 3 (GHSA-cgrx-mc8f-2prm): /dev/console as a link, with a terminal.
#[test]
fn cve_2026_88264_console_leads_outside() {
    check(|t| {
        let victim = Victim::new(t);
        for name in ["console", "new"] {
            let mut b = base(t);
            symlink(victim.dir.join(name), b.rootfs().join("dev/console")).unwrap();
            b.set("/process/terminal", true).probe(&["facts"]);
            let socket = ConsoleSocket::bind(&t.path("console"));
            let out = b.call(&["create", "--console-socket", socket.path.to_str().unwrap()], &t.id()).run();
            if out.status != 0 {
                out.complains(&[]);
            }
            victim.unharmed();
        }
    });
}

/// Case 4: /dev/null is a file of the image; the payload's stdin is /dev/null and its user not root.
#[test]
fn cve_2026_88265_null_is_a_file() {
    check(|t| {
        let mut b = base(t);
        let file = b.rootfs().join("dev/null");
        fs::write(&file, "content").unwrap();
        b.set("/process/user", json!({"uid": 1234, "gid": 1234}));
        if let Some(facts) = ran_or_refused(t, &mut b) {
            let stdin = &facts["fds"]["0"];
            assert!(["char", "fifo"].contains(&stdin["type"].as_str().unwrap()), "{stdin}");
        }
        let m = fs::symlink_metadata(&file).unwrap();
        if m.is_file() {
            assert_eq!(fs::read_to_string(&file).unwrap(), "content");
            assert_eq!(m.uid(), 0);
        }
    });
}

/// Case 5 (CVE-2025-31133): a mask made of a /dev/null that the image has put there.
#[test]
fn cve_2025_31133_mask_of_the_images_null() {
    check(|t| {
        let victim = Victim::new(t);
        for to in ["/etc/passwd", victim.dir.join("passwd").to_str().unwrap(), "/proc/sysrq-trigger"] {
            let mut b = base(t);
            symlink(to, b.rootfs().join("dev/null")).unwrap();
            fs::write(b.rootfs().join("etc/secret"), "secret").unwrap();
            b.set("/linux/maskedPaths", json!(["/etc/secret", "/proc/timer_list"]));
            b.probe(&["facts", "stat=/etc/secret", "read=/etc/secret"]);
            let out = b.run();
            t.nothing_left();
            if out.status == 0 {
                let facts = out.facts();
                assert_eq!(facts["asked"]["stat=/etc/secret"]["device"], json!([1, 3]), "{to}: a real null");
                assert_eq!(facts["asked"]["read=/etc/secret"], "");
            } else {
                out.complains(&[]);
            }
            victim.unharmed();
        }
    });
}
