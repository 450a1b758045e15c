//! What a hostile image or config could try: the static cases of the security bar. In each of them the victim, a directory
//! of the host outside the rootfs, must be the same afterwards; whether the container then runs or is refused is second.

use integration_tests::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A directory of the host with a decoy for each thing that might be touched.
struct Victim {
    dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Victim {
    fn new(t: &Case) -> Self {
        let dir = t.folder("victim");
        for name in ["ptmx", "null", "console", "passwd"] {
            fs::write(dir.join(name), "decoy").unwrap();
        }
        for name in ["pts", "shm", "mqueue", "proc", "sys"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let before = snapshot(&dir);
        Victim { dir, before }
    }

    #[track_caller]
    fn unharmed(&self) {
        assert_eq!(snapshot(&self.dir), self.before);
    }
}

/// Every entry with its kind, owner, mode and content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let m = entry.metadata().unwrap();
        let content = if m.is_file() { fs::read_to_string(entry.path()).unwrap() } else { String::new() };
        all.insert(entry.path(), format!("{:o} {}:{} {} {content}", m.mode(), m.uid(), m.gid(), m.dev()));
        if m.is_dir() {
            all.extend(snapshot(&entry.path()));
        }
    }
    all
}

/// The bar's base bundle: proc and sysfs only, so that nothing covers /dev, and capabilities that help an attacker.
fn base<'c>(t: &'c Case) -> Bundle<'c> {
    let mut b = t.bundle();
    let mounts: Vec<Value> = b.config["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["destination"] == "/proc" || m["destination"] == "/sys")
        .cloned()
        .collect();
    b.set("/mounts", mounts).writable();
    b.capabilities(&["CAP_KILL", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_CHOWN"]);
    b
}

/// Runs it; a refusal must be an orderly one. Returns the payload's facts where it ran.
#[track_caller]
fn ran_or_refused(t: &Case, b: &mut Bundle) -> Option<Value> {
    b.probe(&["facts"]);
    let out = b.run();
    t.nothing_left();
    if out.status == 0 {
        return Some(out.facts());
    }
    out.complains(&[]);
    None
}

/// Case 1 and 2: /dev is a link, absolute or relative, or a file; or its entries are.
#[test]
fn a_dev_that_leads_outside() {
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
fn a_dev_that_leads_outside_under_mounts() {
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
fn a_console_that_leads_outside() {
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
fn a_null_that_is_a_file() {
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
fn a_mask_made_of_the_images_null() {
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

/// Case 8 (CVE-2019-19921 and later): /proc and /sys as links, as files, or below one.
#[test]
fn a_proc_that_leads_elsewhere() {
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
fn mounts_over_proc() {
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

/// Case 15 (CVE-2024-21626): the working directory is a descriptor of the runtime, or one that the caller has leaked.
#[test]
fn a_cwd_through_a_descriptor() {
    check(|t| {
        let mut b = t.bundle();
        b.writable();
        let open = || fs::File::open("/").unwrap();
        for n in 3..24 {
            for tail in ["", "/", "/../.."] {
                b.set("/process/cwd", format!("/proc/self/fd/{n}{tail}")).probe(&["facts"]);
                let call = b.call(&["run"], &t.id()).pass(20, open()).pass(21, open()).pass(22, open());
                let out = call.run();
                assert_ne!(out.status, 0, "{n}: {out}");
            }
        }
        t.nothing_left();
    });
}

/// Case 16: the program through a descriptor, as itself, as interpreter.
#[test]
fn a_program_through_a_descriptor() {
    check(|t| {
        let mut b = t.bundle();
        b.writable();
        let script = b.rootfs().join("tmp/script");
        for n in 3..16 {
            let path = format!("/proc/self/fd/{n}");
            let inside = format!("{path}/bin/true");
            fs::write(&script, format!("#!{path}\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            for program in [path.as_str(), &inside, "/tmp/script"] {
                b.args(&[program]);
                let call = b
                    .call(&["run"], &t.id())
                    .pass(12, fs::File::open("/").unwrap())
                    .pass(13, fs::File::open("/bin/true").unwrap());
                let out = call.run();
                assert!(!out.killed && out.status != 0, "{program}: {out}");
            }
        }
        t.nothing_left();
    });
}

/// Case 18 (CVE-2019-5736): the payload is the runtime's own program, and whoever finds it open for writing wins.
#[test]
fn the_runtimes_own_program() {
    check(|t| {
        let sum = |out: Output| out.stdout.split(' ').next().unwrap().to_string();
        let binary = binary();
        let before = sum(t.program("sha256sum", &[binary.to_str().unwrap()]).ok());
        let mut b = t.bundle();
        let script = b.rootfs().join("tmp/evil");
        fs::write(&script, "#!/proc/self/exe\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        b.writable().capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
        for program in ["/proc/self/exe", "/tmp/evil"] {
            b.args(&[program]);
            let out = b.run();
            assert!(!out.killed, "{out}");
        }
        // Another container shares the pid namespace and looks at the runtime's processes while they set up.
        let spy = b.probe(&["overwrite-exe"]).create();
        spy.start();
        let mut prey = t.bundle();
        prey.namespace(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", spy.pid())}))
            .probe(&["exit", "0"]);
        for _ in 0..10 {
            if prey.run().status != 0 {
                break;
            }
        }
        spy.wait_for("\n");
        assert!(
            !spy.output().contains("opened")
                || before == sum(t.program("sha256sum", &[binary.to_str().unwrap()]).ok())
        );
        spy.delete_force();
        assert_eq!(before, sum(t.program("sha256sum", &[binary.to_str().unwrap()]).ok()));
    });
}

/// Case 20: two hundred descriptors of the caller, and the program sees three.
#[test]
fn descriptors_of_the_caller() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["descriptors"]);
        let mut call = b.call(&["run"], &t.id());
        for n in 3..203 {
            call = call.pass(n, fs::File::open("/").unwrap());
        }
        let fds = call.run().ok().facts();
        assert_eq!(fds.as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "1", "2"]);
    });
}

/// Case 20 again: while a container waits for its start, nothing leads outside.
#[test]
fn descriptors_of_a_waiting_init() {
    check(|t| {
        let b = t.bundle();
        let id = t.id();
        let call = b.call(&["create"], &id).pass(9, fs::File::open("/").unwrap());
        call.run().ok();
        let pid = t.rt(&["state", &id]).ok().json()["pid"].to_string();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let Ok(m) = fs::metadata(entry.path()) else { continue };
            let outside = m.is_dir() && m.dev() == fs::metadata("/").unwrap().dev();
            assert!(!outside, "{:?} is open", fs::read_link(entry.path()));
        }
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"), "the container's");
    });
}

/// Case 27: what the runtime makes in the rootfs, below parents that lead outside.
#[test]
fn nothing_is_made_outside() {
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

/// Case 29: numbers that are no ids are refused; none becomes 0 by accident.
#[test]
fn ids_that_are_none() {
    check(|t| {
        for id in ["-1", "4294967296", "1.5", "\"0\"", "18446744073709551616"] {
            for kind in ["uid", "gid"] {
                let mut b = t.bundle();
                b.probe(&["facts"]).write();
                let text = fs::read_to_string(b.dir.join("config.json")).unwrap();
                let text = text.replace(&format!("\"{kind}\": 0"), &format!("\"{kind}\": {id}"));
                fs::write(b.dir.join("config.json"), text).unwrap();
                t.rt(&["run", "-b", b.dir.to_str().unwrap(), &t.id()]).fails(&[]);
            }
        }
        t.nothing_left();
    });
}

/// (uid_t)-1 means "leave it as it is" to the kernel: the one number that must never be passed on.
#[test]
fn the_id_that_means_no_change() {
    check(|t| {
        for kind in ["uid", "gid"] {
            let mut b = t.bundle();
            b.set(&format!("/process/user/{kind}"), u32::MAX).probe(&["facts"]);
            b.run().complains(&[]);
        }
        t.nothing_left();
    });
}

/// Case 30: sixty-four groups of the caller, and the container has its own.
#[test]
fn groups_of_the_caller() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/user/additionalGids", json!([10, 20])).write();
        let groups: Vec<String> = (7000..7064).map(|g: i32| g.to_string()).collect();
        let words = ["setpriv".to_string(), "--groups".to_string(), groups.join(",")];
        let out = b.call(&["run"], &t.id()).under(words).run().ok();
        assert_eq!(out.facts()["user"]["groups"], json!([10, 20]));
    });
}

/// Case 31: no_new_privs that cannot be set is an error.
#[test]
fn no_new_privileges_that_fails() {
    check(|t| {
        let b = t.bundle();
        let out = t.path("strace");
        let words = [
            "strace",
            "-f",
            "-o",
            out.to_str().unwrap(),
            "-e",
            "trace=prctl",
            "-e",
            "inject=prctl:error=EINVAL:when=1+",
            "--",
        ];
        let ended = b.call(&["run"], &t.id()).under(words).run();
        assert_ne!(ended.status, 0);
        assert!(!ended.stdout.contains("noNewPrivileges"), "{ended}");
        t.nothing_left();
    });
}

/// Case 43: the payload's environment is not the hooks': no LD_PRELOAD for programs of the host.
#[test]
fn hooks_do_not_see_the_payloads_environment() {
    check(|t| {
        let mut b = t.bundle();
        let file = t.path("env");
        b.set("/process/env", json!(["LD_PRELOAD=/evil.so", "PATH=/evil"]));
        let script = format!("env >> {}", file.display());
        for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            let entry = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin", "GOOD=1"]});
            b.set(&format!("/hooks/{kind}/-"), entry);
        }
        b.run().ok();
        let told = fs::read_to_string(file).unwrap();
        assert_eq!(told.matches("GOOD=1").count(), 5, "{told}");
        assert!(!told.contains("evil"), "{told}");
    });
}

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

/// Case 26: without pivot_root the host's /proc would stay below the root, and with it the kernel's leave to mount
/// another one, without masks, in a user namespace of the container's own making.
#[test]
fn without_a_pivot_no_new_proc_can_be_mounted() {
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

/// A target that leads to the root by a link would put a volume in the place of the root of every later `exec`.
#[test]
fn a_target_that_is_a_link_to_the_root() {
    check(|t| {
        let mut b = t.bundle();
        symlink("/", b.rootfs().join("top")).unwrap();
        b.bind(&t.folder("volume"), "/top", &[]).refused(&["on the top of rootfs"]);
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
