//! Against somebody who changes what a path means while the container is made: two names in a volume change places as fast
//! as a CPU can exchange them, and the windows between look and use are made wide with strace.

use super::*;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Exchanges two names until it is dropped: renameat2(2).
pub struct Swap {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Swap {
    pub fn of(a: &Path, b: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (a, b, over) = (c(a), c(b), stop.clone());
        let (begin, begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) {
                // SAFETY: two NUL-terminated paths.
                let r = unsafe {
                    libc::renameat2(
                        libc::AT_FDCWD,
                        a.as_ptr(),
                        libc::AT_FDCWD,
                        b.as_ptr(),
                        libc::RENAME_EXCHANGE,
                    )
                };
                assert_eq!(r, 0, "renameat2: {}", std::io::Error::last_os_error());
                times += 1;
                if times == 101 {
                    begin.send(()).expect("somebody waits");
                }
                // Long enough in one state to be taken for it, short enough for any window; an odd number, so that it is now
                // the one state and now the other.
                if times % 63 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            times
        });
        // It is at work before anybody tries what it disturbs.
        begun.recv().expect("names that can be swapped");
        Swap { stop, thread: Some(thread) }
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let times = thread.join();
            assert!(std::thread::panicking() || times.is_ok_and(|t| t > 100), "nothing was swapped");
        }
    }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// mknod(2), with a mode for everybody.
pub fn node(at: &Path, kind: libc::mode_t, major: u32, minor: u32) {
    // SAFETY: a NUL-terminated path.
    let r = unsafe { libc::mknod(c(at).as_ptr(), kind | 0o666, libc::makedev(major, minor)) };
    assert_eq!(r, 0, "mknod {at:?}: {}", std::io::Error::last_os_error());
    fs::set_permissions(at, fs::Permissions::from_mode(0o666)).unwrap();
}

/// Every such system call of the runtime begins a few milliseconds late.
pub fn widened(call: Call, calls: &str) -> Call {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:delay_enter=2000"));
    call.under(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "--"])
}

/// The targets of all mounts that the host has.
fn host_mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter_map(|l| l.split(' ').nth(4)).map(str::to_string).collect()
}

/// A volume in which `door` is now a directory, now a link to the victim; and mounts below it.
fn doors(t: &Case, below: &[(&str, bool)], calls: &str, rounds: std::ops::Range<u32>) {
    let victim = Victim::new(t);
    let volume = t.folder("volume");
    fs::create_dir(volume.join("door")).unwrap();
    symlink(&victim.dir, volume.join("link")).unwrap();
    let file = t.path("file");
    fs::write(&file, "").unwrap();
    let before = host_mounts().iter().filter(|m| m.contains(&t.token)).count();
    let _swap = Swap::of(&volume.join("door"), &volume.join("link"));
    for round in rounds {
        let mut b = t.bundle();
        b.bind(&volume, "/vol", &["rw"]);
        for (name, directory) in below {
            let to = format!("/vol/door/{}", name.replace('N', &round.to_string()));
            if *directory {
                b.mount(json!({"destination": to, "type": "tmpfs", "source": "tmpfs"}));
            } else {
                b.bind(&file, &to, &[]);
            }
        }
        b.probe(&["facts"]);
        let mut call = b.call(&["run"], &t.id());
        if round % 4 == 3 {
            call = widened(call, calls);
        }
        let out = call.run();
        if out.status != 0 && !is_reference() {
            out.complains(&[]);
        }
        victim.unharmed();
        let after = host_mounts().iter().filter(|m| m.contains(&t.token)).count();
        bites!(after == before, "the host has mounts: {:?}", host_mounts());
    }
    t.nothing_left();
}

/// Case 11 (CVE-2021-30465, CVE-2018-15664): the place of a mount is swapped between the look and the mount.
#[test]
fn cve_2021_30465_destination_swapped() {
    check(|t| {
        doors(t, &[("pts", true), ("passwd", false)], "mount,move_mount,openat,openat2", rounds(16, 500))
    });
}

/// Case 12 (CVE-2024-45310, CVE-2025-24965): what is missing on the way is made while the way is swapped.
#[test]
fn cve_2024_45310_made_while_swapped() {
    check(|t| {
        doors(
            t,
            &[("newN/deep/er", true), ("fileN/deep", false)],
            "mkdirat,mknodat,openat,openat2",
            rounds(16, 1000),
        )
    });
}

/// Case 10 (CVE-2025-52881): a mount is led into /proc/sys by a swapped link, so that what is written there would go to a
/// decoy; or to another file, by a decoy that is a link.
#[test]
fn cve_2025_52881_sysctl_redirected() {
    check(|t| {
        let name = "ip_unprivileged_port_start";
        let at = format!("/proc/sys/net/ipv4/{name}");
        let decoys = t.folder("decoys");
        fs::write(decoys.join(name), "").unwrap();
        let volume = t.folder("volume");
        fs::create_dir(volume.join("door")).unwrap();
        symlink("/proc/sys/net/ipv4", volume.join("link")).unwrap();
        let _swap = Swap::of(&volume.join("door"), &volume.join("link"));
        for round in rounds(16, 500) {
            let mut b = t.bundle();
            b.set("/linux/sysctl", json!({"net.ipv4.ip_unprivileged_port_start": "77"}));
            b.bind(&volume, "/vol", &[]).bind(&decoys, "/vol/door", &["rbind"]);
            b.set("/linux/readonlyPaths", json!([]));
            b.probe(&["facts", &format!("read={at}")]);
            let mut call = b.call(&["run"], &t.id());
            if round % 4 == 3 {
                call = widened(call, "mount,move_mount,openat,openat2");
            }
            let out = call.run();
            let decoy = fs::read_to_string(decoys.join(name)).unwrap();
            bites!(decoy.is_empty(), "the decoy was written: {decoy:?}");
            if out.status == 0 {
                let seen = out.facts();
                bites!(seen["asked"][format!("read={at}")] == "77\n", "{}", seen["asked"]);
            }
        }
        t.nothing_left();
    });
}

/// Case 10 again: /proc itself is swapped, with procfs on it, for a link to a decoy, in which one sysctl is a plain file and
/// another a link to a third. Once when all is mounted and nothing written, which is found out in the end; then at any time.
#[test]
fn cve_2025_52881_proc_swapped() {
    check(|t| {
        let (plain, led, other) = ("ip_unprivileged_port_start", "tcp_fin_timeout", "ip_default_ttl");
        let mut b = t.bundle();
        let rootfs = b.rootfs();
        let decoys = rootfs.join("decoy/sys/net/ipv4");
        fs::create_dir_all(&decoys).unwrap();
        fs::create_dir(rootfs.join("fixed")).unwrap();
        fs::write(decoys.join(plain), "").unwrap();
        symlink(format!("/fixed/sys/net/ipv4/{other}"), decoys.join(led)).unwrap();
        symlink("decoy", rootfs.join("link")).unwrap();
        b.set("/linux/sysctl", json!({format!("net.ipv4.{plain}"): "77", format!("net.ipv4.{led}"): "33"}));
        b.mount(json!({"destination": "/fixed", "type": "proc", "source": "proc"}));
        // They would be looked for through the link.
        b.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
        b.args(&["/bin/sh", "-c", &format!("cd /fixed/sys/net/ipv4 && cat {plain} {led} {other}")]);
        let attempt = |b: &Bundle, wide: bool| {
            let mut call = b.call(&["run"], &t.id());
            if wide {
                call = widened(call, "mount,move_mount,openat,openat2");
            }
            let out = call.run();
            let decoy = fs::read_to_string(decoys.join(plain)).unwrap();
            bites!(decoy.is_empty(), "the decoy was written: {decoy:?}");
            if out.status == 0 {
                let values: Vec<&str> = out.stdout.lines().collect();
                bites!(values.len() == 3 && values[..2] == ["77", "33"], "{out}");
                bites!(values[2] != "33", "what the decoy leads to was written: {out}");
            } else if !is_reference() {
                out.complains(&[]);
            }
            out
        };
        let script = format!("cd {} && mv proc was && mv link proc && mv was link", rootfs.display());
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
        b.set("/hooks/createRuntime", hook);
        assert_ne!(attempt(&b, false).status, 0);
        assert_eq!(fs::read_link(rootfs.join("proc")).unwrap(), Path::new("decoy"));
        b.remove("/hooks");
        let _swap = Swap::of(&rootfs.join("proc"), &rootfs.join("link"));
        for round in rounds(16, 500) {
            attempt(&b, round % 4 == 3);
        }
        t.nothing_left();
    });
}

/// Case 21: renames anywhere make the kernel give up a look-up that has `..` in it. It is tried again, for a bounded time.
#[test]
fn a_storm_of_renames() {
    check(|t| {
        let volume = t.folder("volume");
        for name in ["a", "b", "storm-1", "storm-2", "there"] {
            fs::create_dir(volume.join(name)).unwrap();
        }
        symlink("a/../b/../there", volume.join("way")).unwrap();
        let _swap = Swap::of(&volume.join("storm-1"), &volume.join("storm-2"));
        let all = rounds(40, 1000);
        let (mut failed, count) = (0, all.end);
        for _ in all {
            let mut b = t.bundle();
            b.bind(&volume, "/vol", &[]).probe(&["exit", "0"]);
            for _ in 0..4 {
                b.mount(json!({"destination": "/vol/way", "type": "tmpfs", "source": "tmpfs"}));
            }
            let begun = Moment::now();
            let out = b.run();
            if out.status != 0 {
                assert!(
                    out.complains(&[]).contains("try again") || out.stderr.contains("temporarily"),
                    "{out}"
                );
                failed += 1;
            }
            begun.within(LONG);
        }
        assert!(failed * 500 <= count, "{failed} of {count} failed");
    });
}

/// Case 13 (CVE-2019-18837, CVE-2026-87766): destinations through random trees of links land where a process of the
/// container would find them, or nowhere.
#[test]
fn cve_2019_18837_random_links() {
    check(|t| {
        let victim = Victim::new(t);
        let mut random = chance();
        let outside = [text(&victim.dir).to_string(), "../../../../../../..".into(), "/".into(), "..".into()];
        for _ in rounds(4, 100) {
            let mut b = t.bundle();
            b.writable();
            let tree = b.rootfs().join("t");
            let names = ["a", "b", "c", "d", "e"];
            let mut dirs = vec![tree.clone()];
            for depth in 0..3 {
                for dir in dirs.clone() {
                    for name in names {
                        let at = dir.join(name);
                        if at.symlink_metadata().is_ok() || !dir.is_dir() || dir.components().count() > 14 {
                            continue;
                        }
                        fs::create_dir_all(&dir).unwrap();
                        match random(5) {
                            0 | 1 if depth < 2 => {
                                fs::create_dir(&at).unwrap();
                                dirs.push(at);
                            }
                            2 => symlink(names[random(5)], &at).unwrap(),
                            3 => symlink(format!("/t/{}/../{}", names[random(5)], names[random(5)]), &at)
                                .unwrap(),
                            4 => symlink(&outside[random(4)], &at).unwrap(),
                            _ => (),
                        }
                    }
                }
                fs::create_dir_all(&tree).unwrap();
                dirs.sort();
                dirs.dedup();
            }
            let some = |random: &mut dyn FnMut(usize) -> usize| {
                let parts: Vec<_> = (0..1 + random(4)).map(|_| names[random(5)]).collect();
                format!("/t/{}", parts.join("/"))
            };
            let wanted: Vec<String> = (0..12).map(|_| some(&mut random)).collect();
            // The model: the kernel's own look-up, by a process whose root this is.
            let script =
                "for p; do if test -d \"$p\"; then echo \"$(cd \"$p\" && pwd -P)\"; else echo; fi; done";
            let mut words = vec![
                text(&b.rootfs()).to_string(),
                "/bin/sh".into(),
                "-c".into(),
                script.into(),
                "sh".into(),
            ];
            words.extend(wanted.clone());
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let model = t.program("chroot", &words).ok().stdout;
            for (path, real) in wanted.iter().zip(model.lines()) {
                let mut one = Vec::new();
                std::mem::swap(&mut one, b.config["mounts"].as_array_mut().unwrap());
                let mounts: Vec<Value> = one.into_iter().filter(|m| m["source"] != "here").collect();
                b.set("/mounts", mounts);
                b.mount(json!({"destination": path, "type": "tmpfs", "source": "here"}));
                b.probe(&["facts"]);
                let out = b.run();
                victim.unharmed();
                let kernels = ["/dev", "/proc", "/sys"].iter().any(|k| real.starts_with(k));
                if out.status != 0 {
                    let message = out.complains(&[]);
                    assert!(
                        real.is_empty() || real == "/" || kernels || message.contains("probe"),
                        "{path} is {real}: {message}"
                    );
                    continue;
                }
                let facts = out.facts();
                let all = facts["mounts"].as_array().unwrap();
                let landed: Vec<_> =
                    all.iter().filter(|m| m["source"] == "here").map(|m| &m["target"]).collect();
                if !real.is_empty() && !kernels {
                    bites!(landed == [real], "{path} is {real} to the kernel and {landed:?} to the runtime");
                }
            }
            t.nothing_left();
        }
    });
}

/// Case 25: nothing that a container mounts is seen by a host whose mounts are all shared, whatever propagation its root
/// was asked to have.
#[test]
fn nothing_spreads_to_the_host() {
    check(|t| {
        let volume = t.folder("volume");
        // A host of its own, to which nothing comes from ours: what is new there is the container's.
        let script = "mount --make-rshared /; table() { cut -d' ' -f 3-5 /proc/self/mountinfo | sort; }; table >$0.before; \"$@\"; status=$?; \
            table >$0.after; comm -13 $0.before $0.after | grep . && exit 77; exit $status";
        for propagation in
            ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"]
        {
            // runc cannot bind a root directory that it has made unbindable.
            if name().starts_with("runc") && propagation.contains("unbindable") {
                continue;
            }
            for _ in rounds(1, 25) {
                let mut b = t.bundle();
                b.writable().bind(&volume, "/vol", &["rbind", "rslave"]);
                if !propagation.is_empty() {
                    b.set("/linux/rootfsPropagation", propagation);
                }
                b.capabilities(&["CAP_SYS_ADMIN"]).args(&["/bin/mount", "-t", "tmpfs", "inside", "/var"]);
                let tables = t.path("tables");
                let call = b.call(&["run"], &t.id());
                let out = call
                    .under(["unshare", "-m", "--propagation", "private", "sh", "-c", script, text(&tables)])
                    .run();
                bites!(out.status != 77, "{propagation}: a mount has spread to the host: {out}");
                // A payload whose mounts are refused has not shown much.
                out.ok();
            }
        }
    });
}
