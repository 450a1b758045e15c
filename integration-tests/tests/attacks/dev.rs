//! /dev of the image: links, files and other nodes where the container's devices and terminal go.

use super::races::{Swap, node, widened};
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
            b.mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666"]}));
            console_or_error(t, &mut b);
            victim.unharmed();
        }
    });
}

/// `create` with a terminal: an orderly refusal, or a terminal that is one, on a /dev/console that is none of the host's.
fn console_or_error(t: &Case, b: &mut Bundle) {
    b.set("/process/terminal", true).probe(&["facts"]);
    let socket = ConsoleSocket::bind(&t.path("console"));
    let id = t.id();
    let out = b.call(&["create", "--console-socket", text(&socket.path)], &id).run();
    if out.status != 0 {
        out.complains(&[]);
        return;
    }
    let (mut pty, _) = socket.receive();
    t.rt(&["start", &id]).ok();
    let facts = pty.rest();
    let facts: Value = serde_json_line(&facts);
    bites!(facts["terminal"]["0"].is_object() || facts["fds"]["0"]["type"] == "char", "{}", facts["fds"]);
    if let Some(console) = mount_at(&facts, "/dev/console") {
        bites!(console["type"] == "devpts", "/dev/console is {console}");
    }
    t.rt(&["delete", "--force", &id]).ok();
}

fn serde_json_line(text: &str) -> Value {
    text.lines().find_map(|l| l.trim().parse().ok()).unwrap_or_else(|| panic!("no facts: {text:?}"))
}

/// Case 7 (CVE-2025-52565): what stands where the terminal's multiplexer and console are looked for is a FIFO, another
/// device, a link to a file of the host. Nobody hangs, and nothing foreign is bound on /dev/console.
#[test]
fn cve_2025_52565_ptmx_of_the_image() {
    check(|t| {
        let victim = Victim::new(t);
        for kind in ["fifo", "zero", "link", "file", "none"] {
            let mut b = base(t);
            let pts = b.rootfs().join("dev/pts");
            fs::create_dir(&pts).unwrap();
            for name in ["ptmx", "0", "1"] {
                let at = pts.join(name);
                match kind {
                    "fifo" => node(&at, libc::S_IFIFO, 0, 0),
                    "zero" => node(&at, libc::S_IFCHR, 1, 5),
                    "link" => symlink(victim.dir.join("ptmx"), &at).unwrap(),
                    "file" => fs::write(&at, "").unwrap(),
                    _ => (),
                }
            }
            console_or_error(t, &mut b);
            victim.unharmed();
            // And for a process that joins a container which has made itself such a /dev.
            let c = b.set("/process/terminal", false).up(&["wait"]);
            let socket = ConsoleSocket::bind(&t.path("console"));
            let words =
                ["exec", "--tty", "--detach", "--console-socket", text(&socket.path), &c.id, "/bin/true"];
            let out = t.call(words).run();
            if out.status != 0 {
                out.complains(&[]);
            }
            victim.unharmed();
            c.delete_force();
        }
    });
}

/// Case 7, the race: another container has the same /dev/pts and puts links to the host's files in the place of what is
/// there, at any moment.
#[test]
fn cve_2025_52565_pts_swapped() {
    check(|t| {
        let victim = Victim::new(t);
        let volume = t.folder("pts");
        node(&volume.join("real"), libc::S_IFCHR, 5, 2);
        symlink(victim.dir.join("ptmx"), volume.join("decoy")).unwrap();
        fs::rename(volume.join("real"), volume.join("ptmx")).unwrap();
        let _swap = Swap::of(&volume.join("ptmx"), &volume.join("decoy"));
        for _ in rounds(8, 300) {
            let mut b = base(t);
            b.bind(&volume, "/dev/pts", &["dev"]);
            console_or_error(t, &mut b);
            victim.unharmed();
        }
        t.nothing_left();
    });
}

/// Case 6 (CVE-2025-31133, CVE-2025-62161): /dev is a volume in which the null device and a link to the secret change
/// places all the time. What is masked is hidden, each time that the container runs.
#[test]
fn cve_2025_31133_null_swapped() {
    check(|t| {
        let victim = Victim::new(t);
        let volume = t.folder("dev");
        for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
            node(&volume.join(name), libc::S_IFCHR, 1, minor);
        }
        symlink(victim.dir.join("passwd"), volume.join("decoy")).unwrap();
        let _swap = Swap::of(&volume.join("null"), &volume.join("decoy"));
        for round in rounds(12, 500) {
            let mut b = base(t);
            fs::write(b.rootfs().join("etc/secret"), "secret").unwrap();
            b.bind(&volume, "/dev", &["dev"]).set("/linux/maskedPaths", json!(["/etc/secret"]));
            b.probe(&["facts", "stat=/etc/secret"]);
            let mut call = b.call(&["run"], &t.id());
            if round % 3 == 2 {
                call = widened(call, "openat,openat2,mount,move_mount");
            }
            let out = call.run();
            victim.unharmed();
            if out.status == 0 {
                let seen = out.facts();
                let mask = &seen["asked"]["stat=/etc/secret"];
                bites!(mask["device"] == json!([1, 3]), "the mask is {mask}");
            }
        }
        t.nothing_left();
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
            bites!(["char", "fifo"].contains(&stdin["type"].as_str().unwrap()), "stdin is {stdin}");
        }
        let m = fs::symlink_metadata(&file).unwrap();
        if m.is_file() {
            bites!(fs::read_to_string(&file).unwrap() == "content", "the image's file was written");
            bites!(m.uid() == 0, "the image's file was given to {}", m.uid());
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
                bites!(facts["asked"]["stat=/etc/secret"]["device"] == json!([1, 3]), "{to}: no null device");
                bites!(facts["asked"]["read=/etc/secret"] == "", "{to}: the secret is read");
                let roots: Vec<_> = facts["mounts"].as_array().unwrap().iter().map(|m| &m["root"]).collect();
                bites!(!roots.iter().any(|r| *r == to), "{to}: {roots:?}");
            } else {
                out.complains(&[]);
            }
            victim.unharmed();
        }
    });
}
