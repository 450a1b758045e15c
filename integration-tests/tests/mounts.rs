//! mounts: every type, every option, every kind of destination.

use integration_tests::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn tmpfs(at: &str, options: &[&str]) -> Value {
    json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options})
}

/// The facts' entry for a target, which must be there.
#[track_caller]
fn at<'v>(facts: &'v Value, target: &str) -> &'v Value {
    mount_at(facts, target).unwrap_or_else(|| panic!("nothing is mounted at {target}"))
}

#[test]
fn the_default_mounts() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let expected = [
            ("/proc", "proc", "rw,relatime"),
            ("/dev", "tmpfs", "rw,nosuid"),
            ("/dev/pts", "devpts", "rw,nosuid,noexec,relatime"),
            ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec,relatime"),
            ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec,relatime"),
            ("/sys", "sysfs", "ro,nosuid,nodev,noexec,relatime"),
        ];
        for (target, kind, options) in expected {
            let m = at(&facts, target);
            assert_eq!(
                (m["type"].as_str(), words(&m["options"]).join(",")),
                (Some(kind), options.to_string())
            );
        }
        assert!(words(&at(&facts, "/dev/pts")["data"]).contains(&"ptmxmode=666"), "{facts}");
        assert!(words(&at(&facts, "/dev/pts")["data"]).contains(&"gid=5"));
        assert!(words(&at(&facts, "/dev")["data"]).contains(&"size=65536k"));
    });
}

#[test]
fn nothing_of_the_host_is_mounted() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        for m in facts["mounts"].as_array().unwrap() {
            let target = m["target"].as_str().unwrap();
            let ours = ["/", "/proc", "/dev", "/sys"]
                .iter()
                .any(|p| target == *p || target.starts_with(&format!("{p}/")));
            assert!(ours, "{m}");
        }
    });
}

/// Flags of a mount: what is asked for, and what the kernel shows. The base is a tmpfs without any.
#[test]
fn options_set_and_clear_flags() {
    check(|t| {
        let table: [(&[&str], &str); 25] = [
            (&[], "rw,relatime"),
            (&["ro"], "ro,relatime"),
            (&["ro", "rw"], "rw,relatime"),
            (&["nosuid"], "rw,nosuid,relatime"),
            (&["nosuid", "suid"], "rw,relatime"),
            (&["nodev"], "rw,nodev,relatime"),
            (&["nodev", "dev"], "rw,relatime"),
            (&["noexec"], "rw,noexec,relatime"),
            (&["noexec", "exec"], "rw,relatime"),
            (&["noatime"], "rw,noatime"),
            (&["noatime", "atime"], "rw,relatime"),
            (&["nodiratime"], "rw,nodiratime,relatime"),
            (&["nodiratime", "diratime"], "rw,relatime"),
            (&["relatime"], "rw,relatime"),
            (&["strictatime"], "rw"),
            (&["strictatime", "nostrictatime"], "rw,relatime"),
            (&["noatime", "norelatime"], "rw,noatime"),
            (&["nosymfollow"], "rw,relatime,nosymfollow"),
            (&["nosymfollow", "symfollow"], "rw,relatime"),
            (&["silent", "loud"], "rw,relatime"),
            (&["iversion", "noiversion"], "rw,relatime"),
            (&["lazytime", "nolazytime"], "rw,relatime"),
            (&["mand", "nomand"], "rw,relatime"),
            (&["sync", "async"], "rw,relatime"),
            (&["ro", "nosuid", "nodev", "noexec", "noatime"], "ro,nosuid,nodev,noexec,noatime"),
        ];
        let mut b = t.bundle();
        for (n, (options, _)) in table.iter().enumerate() {
            b.mount(tmpfs(&format!("/tmp/{n}"), options));
        }
        let facts = b.writable().facts(&[]);
        for (n, (options, shown)) in table.iter().enumerate() {
            let m = at(&facts, &format!("/tmp/{n}"));
            assert_eq!(words(&m["options"]).join(","), *shown, "{options:?}");
        }
    });
}

#[test]
fn defaults_is_an_option_and_no_filesystem_data() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(tmpfs("/mnt", &["defaults", "nosuid"]));
        assert_eq!(words(&at(&b.facts(&[]), "/mnt")["options"]).join(","), "rw,nosuid,relatime");
    });
}

/// Flags of the filesystem itself, which stand in another column.
#[test]
fn options_of_the_filesystem() {
    check(|t| {
        let table: [(&[&str], &str); 7] = [
            (&["sync"], "sync"),
            (&["dirsync"], "dirsync"),
            (&["lazytime"], "lazytime"),
            (&["size=64k"], "size=64k"),
            (&["mode=700"], "mode=700"),
            (&["nr_inodes=100"], "nr_inodes=100"),
            (&["uid=12", "gid=34"], "uid=12"),
        ];
        let mut b = t.bundle();
        for (n, (options, _)) in table.iter().enumerate() {
            b.mount(tmpfs(&format!("/tmp/{n}"), options));
        }
        let facts = b.writable().facts(&[]);
        for (n, (options, shown)) in table.iter().enumerate() {
            let m = at(&facts, &format!("/tmp/{n}"));
            assert!(words(&m["data"]).contains(shown), "{options:?}: {}", m["data"]);
        }
    });
}

#[test]
fn bind_shows_the_source_itself() {
    check(|t| {
        let source = t.folder("source");
        fs::write(source.join("letter"), "dear\n").unwrap();
        let mut b = t.bundle();
        b.bind(&source, "/mnt/volume", &["rw"]);
        let facts = b.facts(&["read=/mnt/volume/letter", "create=/mnt/volume/answer"]);
        assert_eq!(facts["asked"]["read=/mnt/volume/letter"], "dear\n");
        assert!(source.join("answer").exists());
    });
}

#[test]
fn bind_of_a_file_makes_a_file_as_its_target() {
    check(|t| {
        let source = t.path("source");
        fs::write(&source, "text").unwrap();
        let mut b = t.bundle();
        b.bind(&source, "/var/new/file", &[]).bind(&source, "/etc/passwd", &["ro"]);
        let facts = b.facts(&["read=/var/new/file", "read=/etc/passwd", "write=/etc/passwd"]);
        assert_eq!(facts["asked"]["read=/var/new/file"], "text");
        assert_eq!(facts["asked"]["read=/etc/passwd"], "text");
        assert_eq!(facts["asked"]["write=/etc/passwd"], json!({"errno": "EROFS"}));
        assert_eq!(
            fs::metadata(b.rootfs().join("var/new/file")).unwrap().len(),
            0,
            "the target on disk is empty"
        );
    });
}

/// Flags of a bind mount are its own; the source keeps those that nobody named.
#[test]
fn bind_options_are_applied_and_the_sources_kept() {
    check(|t| {
        let source = t.folder("source");
        let table: [(&[&str], &str); 7] = [
            (&[], ""),
            (&["ro"], "ro"),
            (&["ro", "nosuid", "nodev", "noexec"], "ro,nosuid,nodev,noexec"),
            (&["noatime"], "noatime"),
            (&["nodiratime"], "nodiratime"),
            (&["strictatime"], ""),
            (&["nosymfollow"], "nosymfollow"),
        ];
        let mut b = t.bundle();
        for (n, (options, _)) in table.iter().enumerate() {
            b.bind(&source, &format!("/tmp/{n}"), options);
        }
        let facts = b.writable().facts(&[]);
        for (n, (options, shown)) in table.iter().enumerate() {
            let m = at(&facts, &format!("/tmp/{n}"));
            let relevant: Vec<_> =
                words(&m["options"]).into_iter().filter(|o| !["rw", "relatime"].contains(o)).collect();
            assert_eq!(relevant.join(","), *shown, "{options:?}");
        }
    });
}

/// A source that is mounted inside the source: `bind` leaves it out, `rbind` takes it along.
#[test]
fn rbind_takes_submounts_along() {
    check(|t| {
        let source = nested(t);
        let mut b = t.bundle();
        b.bind(&source, "/mnt/flat", &[]);
        b.mount(json!({"destination": "/mnt/deep", "source": source, "options": ["rbind"]}));
        let facts = b.facts(&["list=/mnt/flat/inner", "list=/mnt/deep/inner"]);
        assert_eq!(facts["asked"]["list=/mnt/flat/inner"], json!([]));
        assert_eq!(facts["asked"]["list=/mnt/deep/inner"], json!(["shell"]));
        assert!(mount_at(&facts, "/mnt/flat/inner").is_none());
    });
}

/// A directory with a tmpfs mounted in it; `umount` is for the case's end.
fn nested(t: &Case) -> std::path::PathBuf {
    let source = t.folder("source");
    let inner = source.join("inner");
    fs::create_dir(&inner).unwrap();
    t.program("mount", &["-t", "tmpfs", "tmpfs", inner.to_str().unwrap()]).ok();
    fs::write(inner.join("shell"), "").unwrap();
    // The leak check would find it; the mount table of the test keeps it alive until then.
    t.at_end(&["umount", inner.to_str().unwrap()]);
    source
}

/// Recursive attributes reach the mounts below, plain ones do not.
#[test]
fn recursive_options_reach_submounts() {
    check(|t| {
        let source = nested(t);
        let table: [(&[&str], &str, &str); 12] = [
            (&["ro"], "ro,relatime", "rw,relatime"),
            (&["rro"], "ro,relatime", "ro,relatime"),
            (&["rro", "rw"], "ro,relatime", "ro,relatime"),
            (&["rnosuid"], "rw,nosuid,relatime", "rw,nosuid,relatime"),
            (&["rnodev"], "rw,nodev,relatime", "rw,nodev,relatime"),
            (&["rnoexec"], "rw,noexec,relatime", "rw,noexec,relatime"),
            (&["rnoatime"], "rw,noatime", "rw,noatime"),
            (&["rstrictatime"], "rw", "rw"),
            (&["rnodiratime"], "rw,nodiratime,relatime", "rw,nodiratime,relatime"),
            (&["rnosymfollow"], "rw,relatime,nosymfollow", "rw,relatime,nosymfollow"),
            (&["rrelatime"], "rw,relatime", "rw,relatime"),
            (&["rrw", "rsuid", "rdev", "rexec", "rdiratime", "rsymfollow"], "rw,relatime", "rw,relatime"),
        ];
        let mut b = t.bundle();
        for (n, (options, ..)) in table.iter().enumerate() {
            let mut all = vec!["rbind"];
            all.extend(*options);
            b.mount(json!({"destination": format!("/tmp/{n}"), "source": source, "options": all}));
        }
        let facts = b.writable().facts(&[]);
        for (n, (options, above, below)) in table.iter().enumerate() {
            let shown = |at_: &str| words(&at(&facts, at_)["options"]).join(",");
            let both = (shown(&format!("/tmp/{n}")), shown(&format!("/tmp/{n}/inner")));
            assert_eq!(both, (above.to_string(), below.to_string()), "{options:?}");
        }
    });
}

#[test]
fn propagation() {
    check(|t| {
        let source = t.folder("source");
        // A slave needs a master: systemd shares all mounts, a bare machine none.
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let fields = table.lines().map(|l| l.split(' ').collect::<Vec<_>>());
        let around = fields.filter(|f| source.starts_with(f[4])).max_by_key(|f| f[4].len()).unwrap();
        let is_shared = around.iter().any(|f| f.starts_with("shared:"));
        let table = [
            ("private", ""),
            ("rprivate", ""),
            ("slave", if is_shared { "master:" } else { "" }),
            ("shared", "shared:"),
            ("rshared", "shared:"),
            ("unbindable", "unbindable"),
            ("runbindable", "unbindable"),
        ];
        let mut b = t.bundle();
        for (kind, _) in table {
            b.bind(&source, &format!("/tmp/{kind}"), &[kind]);
        }
        let facts = b.writable().facts(&[]);
        for (kind, shown) in table {
            let m = at(&facts, &format!("/tmp/{kind}"));
            let told = words(&m["propagation"]).join(" ");
            assert!(
                if shown.is_empty() { told.is_empty() } else { told.starts_with(shown) },
                "{kind}: {told}"
            );
        }
    });
}

/// The container hears of what is mounted outside later on, and only if it asked for that.
#[test]
fn a_slave_mount_follows_its_master() {
    check(|t| {
        let source = t.folder("source");
        let (path, inner) = (source.to_str().unwrap(), source.join("inner"));
        fs::create_dir(&inner).unwrap();
        t.program("mount", &["--bind", path, path]).ok();
        t.program("mount", &["--make-shared", path]).ok();
        t.at_end(&["umount", "-R", path]);
        let mut b = t.bundle();
        b.set("/linux/rootfsPropagation", "rslave");
        b.bind(&source, "/mnt/slave", &["rslave"]).bind(&source, "/mnt/private", &["rprivate"]);
        let c = b.up(&["wait"]);
        t.program("mount", &["-t", "tmpfs", "tmpfs", inner.to_str().unwrap()]).ok();
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
        assert!(table.contains(" /mnt/slave/inner "), "{table}");
        assert!(!table.contains(" /mnt/private/inner "), "{table}");
        c.delete_force();
    });
}

#[test]
fn tmpcopyup_takes_the_covered_files_along() {
    check(|t| {
        let mut b = t.bundle();
        let home = b.rootfs().join("var/home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("file"), "old").unwrap();
        fs::set_permissions(home.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(home.join("file"), Some(7), Some(8)).unwrap();
        symlink("file", home.join("link")).unwrap();
        fs::create_dir(home.join("sub")).unwrap();
        fs::write(home.join("sub/deep"), "deep").unwrap();
        b.mount(tmpfs("/var/home", &["tmpcopyup", "mode=755"]));
        let facts = b.facts(&[
            "read=/var/home/sub/deep",
            "stat=/var/home/file",
            "link=/var/home/link",
            "create=/var/home/new",
        ]);
        assert_eq!(at(&facts, "/var/home")["type"], "tmpfs");
        assert_eq!(facts["asked"]["read=/var/home/sub/deep"], "deep");
        let file = &facts["asked"]["stat=/var/home/file"];
        assert_eq!((&file["mode"], &file["uid"], &file["gid"]), (&json!(0o640), &json!(7), &json!(8)));
        assert_eq!(facts["asked"]["link=/var/home/link"], "file");
        assert!(!home.join("new").exists(), "written to the copy only");
    });
}

#[test]
fn tmpcopyup_read_only() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(tmpfs("/etc", &["tmpcopyup", "ro"]));
        let facts = b.facts(&["read=/etc/group", "write=/etc/group"]);
        assert!(facts["asked"]["read=/etc/group"].as_str().unwrap().starts_with("root:"));
        assert_eq!(facts["asked"]["write=/etc/group"], json!({"errno": "EROFS"}));
    });
}

#[test]
fn missing_targets_are_made_in_the_rootfs() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(tmpfs("/a/b/c", &[]));
        let facts = b.facts(&["stat=/a/b"]);
        assert_eq!(facts["asked"]["stat=/a/b"]["mode"], 0o755);
        assert!(b.rootfs().join("a/b/c").is_dir());
    });
}

#[test]
fn a_tmpfs_takes_its_mode_from_the_directory_it_covers() {
    check(|t| {
        let mut b = t.bundle();
        let dir = b.rootfs().join("var/sticky");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).unwrap();
        b.mount(tmpfs("/var/sticky", &[]))
            .mount(tmpfs("/var/new", &[]))
            .mount(tmpfs("/var/own", &["mode=711"]));
        let facts = b.facts(&["stat=/var/sticky", "stat=/var/new", "stat=/var/own"]);
        let mode = |p: &str| facts["asked"][format!("stat={p}")]["mode"].clone();
        assert_eq!(
            (mode("/var/sticky"), mode("/var/new"), mode("/var/own")),
            (json!(0o1777), json!(0o1777), json!(0o711))
        );
    });
}

#[test]
fn a_relative_destination_starts_at_the_root() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(tmpfs("var/relative", &[])).mount(tmpfs("./var/./dotted/", &[]));
        let facts = b.facts(&[]);
        at(&facts, "/var/relative");
        at(&facts, "/var/dotted");
    });
}

/// Links in the rootfs lead to places in the rootfs, absolute and relative, however many `..`.
#[test]
fn links_in_the_destination_stay_inside() {
    check(|t| {
        let table = [
            ("abs", "/var/one"),
            ("rel", "../../../../../var/two"),
            ("dots", "/../../var/three"),
            ("chain", "/abs/deeper"),
        ];
        let mut b = t.bundle();
        for (name, to) in table {
            symlink(to, b.rootfs().join(name)).unwrap();
        }
        b.mount(tmpfs("/abs", &[]))
            .mount(tmpfs("/rel", &[]))
            .mount(tmpfs("/dots", &[]))
            .mount(tmpfs("/chain/x", &[]));
        let facts = b.facts(&[]);
        for target in ["/var/one", "/var/two", "/var/three", "/var/one/deeper/x"] {
            at(&facts, target);
        }
    });
}

#[test]
fn a_later_mount_covers_an_earlier_one() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(tmpfs("/mnt", &["size=4k"])).mount(tmpfs("/mnt/sub", &[])).mount(tmpfs("/mnt", &["size=8k"]));
        let facts = b.facts(&["list=/mnt"]);
        assert!(words(&at(&facts, "/mnt")["data"]).contains(&"size=8k"));
        assert_eq!(facts["asked"]["list=/mnt"], json!([]));
    });
}

#[test]
fn overlay() {
    check(|t| {
        let dirs = ["lower", "upper", "work"].map(|n| t.folder(n));
        fs::write(dirs[0].join("below"), "below").unwrap();
        let [lower, upper, work] = dirs.each_ref().map(|d| d.to_str().unwrap());
        let mut b = t.bundle();
        let options = [format!("lowerdir={lower}"), format!("upperdir={upper}"), format!("workdir={work}")];
        b.mount(json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": options}));
        let facts = b.facts(&["read=/mnt/below", "create=/mnt/above"]);
        assert_eq!(facts["asked"]["read=/mnt/below"], "below");
        assert!(dirs[1].join("above").exists());
    });
}

#[test]
fn any_filesystem_of_the_kernel() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(json!({"destination": "/mnt/ram", "type": "ramfs", "source": "ramfs"}));
        b.mount(json!({"destination": "/mnt/debug", "type": "tracefs", "source": "none", "options": ["ro"]}));
        let facts = b.facts(&[]);
        assert_eq!(at(&facts, "/mnt/ram")["type"], "ramfs");
        assert_eq!(at(&facts, "/mnt/debug")["type"], "tracefs");
    });
}

/// proc, sysfs and mqueue are those of the container's own namespaces.
#[test]
fn kernel_filesystems_belong_to_the_containers_namespaces() {
    check(|t| {
        let facts = t.bundle().facts(&["list=/sys/class/net", "list=/dev/mqueue"]);
        assert_eq!(facts["processes"], json!([1]));
        assert_eq!(facts["asked"]["list=/sys/class/net"], json!(["lo"]));
        assert_eq!(facts["asked"]["list=/dev/mqueue"], json!([]));
    });
}

/// On version 1 a tmpfs that holds one read-only bind mount for each of the host's hierarchies, from our own cgroup on.
/// On version 2 the same without a cgroup namespace: our own cgroup, as runc binds it where it need not mount.
#[test]
fn cgroup_mount() {
    check(|t| {
        let facts = t.bundle().facts(&[
            "list=/sys/fs/cgroup",
            "read=/sys/fs/cgroup/memory/cgroup.procs",
            "write=/sys/fs/cgroup/pids/cgroup.procs",
            "write=/sys/fs/cgroup/cgroup.procs",
        ]);
        let top = at(&facts, "/sys/fs/cgroup");
        if unified() {
            assert_eq!(top["type"], "cgroup2");
            assert!(words(&top["options"]).contains(&"ro"), "{top}");
            assert_eq!(facts["asked"]["write=/sys/fs/cgroup/cgroup.procs"], json!({"errno": "EROFS"}));
            return;
        }
        assert_eq!(top["type"], "tmpfs");
        let memory = at(&facts, "/sys/fs/cgroup/memory");
        assert_eq!(memory["type"], "cgroup");
        assert!(words(&memory["options"]).contains(&"ro"), "{memory}");
        assert_eq!(facts["asked"]["write=/sys/fs/cgroup/pids/cgroup.procs"], json!({"errno": "EROFS"}));
        let procs = facts["asked"]["read=/sys/fs/cgroup/memory/cgroup.procs"].as_str().unwrap();
        assert!(procs.contains('1'), "our own cgroup is its root, and pid 1 is in it: {procs:?}");
    });
}

#[test]
fn a_read_only_cgroup_mount_is_so_at_its_top_too() {
    check(|t| {
        let facts = t.bundle().facts(&["create=/sys/fs/cgroup/x"]);
        assert_eq!(facts["asked"]["create=/sys/fs/cgroup/x"], json!({"errno": "EROFS"}));
    });
}

#[test]
fn cgroup_mount_with_a_cgroup_namespace() {
    check(|t| {
        let mut b = t.bundle();
        b.namespace(json!({"type": "cgroup"}));
        let procs =
            if unified() { "/sys/fs/cgroup/cgroup.procs" } else { "/sys/fs/cgroup/pids/cgroup.procs" };
        let read = format!("read={procs}");
        let facts = b.facts(&[&read, "list=/sys/fs/cgroup"]);
        assert_eq!(cgroup_in(&facts, "pids"), "/");
        assert!(facts["asked"][&read].as_str().unwrap().contains('1'));
    });
}

/// Every way to mount them: which part is seen, with which flags, and who may divide it.
#[test]
fn cgroup_mounts_in_every_way() {
    check(|t| {
        for (user, namespace, mode) in [
            (false, false, "ro"),
            (false, false, "rw"),
            (false, true, "ro"),
            (false, true, "rw"),
            (true, false, "ro"),
            (true, false, "rw"),
            (true, true, "ro"),
            (true, true, "rw"),
        ] {
            let shown = format!("user namespace {user}, cgroup namespace {namespace}, {mode}");
            let mut b = t.bundle();
            if namespace {
                b.namespace(json!({"type": "cgroup"}));
            }
            if user {
                b.user_namespace();
            }
            let n = b.config["mounts"].as_array().unwrap().len() - 1;
            b.set(&format!("/mounts/{n}/options"), json!(["nosuid", "noexec", "nodev", "relatime", mode]));
            let facts = b.facts(&["list=/sys/fs/cgroup"]);
            let own = if namespace { "/".to_string() } else { b.cgroups_path() };
            assert_eq!(cgroup_in(&facts, "pids"), own.as_str(), "{shown}");
            let names: Vec<String> = if unified() {
                vec![String::new()]
            } else {
                let all = fs::read_to_string("/proc/self/cgroup").unwrap();
                let names = all.lines().filter_map(|l| l.split(':').nth(1)).filter(|n| !n.is_empty());
                names.map(|n| format!("/{}", n.trim_start_matches("name="))).collect()
            };
            for name in &names {
                let mount = at(&facts, &format!("/sys/fs/cgroup{name}"));
                assert_eq!(mount["type"], if unified() { "cgroup2" } else { "cgroup" }, "{shown} {name}");
                // As seen from the container's own cgroup namespace, or from the host's.
                let root = if unified() { "/" } else { own.as_str() };
                assert_eq!(mount["root"], root, "{shown} {name}");
                for option in ["nosuid", "noexec", "nodev", mode] {
                    assert!(words(&mount["options"]).contains(&option), "{shown} {mount}");
                }
            }
            // Below our own cgroup, wherever that is seen: on version 2 without a namespace among the host's.
            let below = if unified() { own.as_str() } else { "/pids" };
            b.args(&["sh", "-c", &format!("busybox mkdir /sys/fs/cgroup{below}/leaf; echo $?")]);
            let said = b.run().ok();
            let may = mode == "rw" && (!user || (unified() && namespace));
            assert_eq!(said.stdout.trim() == "0", may, "{shown}\n{said}");
            t.nothing_left();
        }
    });
}

/// Version 2: a container that is given its cgroup can divide it, its root in a user namespace too.
#[test]
fn a_writable_cgroup_mount() {
    check(|t| {
        if !unified() {
            skip!("cgroup version 1");
        }
        for user in [false, true] {
            let mut b = t.bundle();
            b.namespace(json!({"type": "cgroup"}));
            if user {
                b.user_namespace();
            }
            let n = b.config["mounts"].as_array().unwrap().len() - 1;
            b.set(&format!("/mounts/{n}/options"), json!(["nosuid", "noexec", "nodev", "relatime", "rw"]));
            let script = "cd /sys/fs/cgroup && busybox mkdir leaf && echo 1 >leaf/cgroup.procs && \
                          echo +pids >cgroup.subtree_control && ls leaf/pids.max";
            b.args(&["sh", "-c", script]);
            assert_eq!(b.run().ok().stdout, "leaf/pids.max\n", "user namespace: {user}");
            t.nothing_left();
        }
    });
}

#[test]
fn remount_of_an_earlier_mount() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(tmpfs("/mnt", &["size=64k"]));
        b.mount(tmpfs("/mnt", &["remount", "ro"]));
        let facts = b.facts(&["create=/mnt/x"]);
        assert_eq!(facts["asked"]["create=/mnt/x"], json!({"errno": "EROFS"}));
        assert_eq!(facts["mounts"].as_array().unwrap().iter().filter(|m| m["target"] == "/mnt").count(), 1);
    });
}

#[test]
fn a_source_that_is_a_link_is_followed() {
    check(|t| {
        let source = t.folder("source");
        fs::write(source.join("x"), "").unwrap();
        let link = t.path("link");
        symlink(&source, &link).unwrap();
        let mut b = t.bundle();
        b.bind(&link, "/mnt", &[]);
        assert_eq!(b.facts(&["list=/mnt"])["asked"]["list=/mnt"], json!(["x"]));
    });
}

#[test]
fn a_relative_bind_source_starts_at_the_bundle() {
    check(|t| {
        let mut b = t.bundle();
        fs::create_dir(b.dir.join("volume")).unwrap();
        fs::write(b.dir.join("volume/x"), "").unwrap();
        b.bind(std::path::Path::new("volume"), "/mnt", &[]);
        assert_eq!(b.facts(&["list=/mnt"])["asked"]["list=/mnt"], json!(["x"]));
    });
}

/// The mount table of the host is the same after as before: the container's are its own.
#[test]
fn the_host_sees_none_of_it() {
    check(|t| {
        let mut b = t.bundle();
        let source = t.folder("source");
        b.bind(&source, "/mnt", &["rshared"]).set("/linux/rootfsPropagation", "rprivate");
        let c = b.up(&["wait"]);
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(&t.token), "{table}");
        c.delete_force();
        t.nothing_left();
    });
}

/// `idmap`ped mounts: an owner outside maps to another one inside, without a user namespace of the container's.
#[test]
fn idmapped_bind() {
    check(|t| {
        let source = t.folder("source");
        fs::write(source.join("file"), "").unwrap();
        std::os::unix::fs::chown(source.join("file"), Some(0), Some(0)).unwrap();
        let mut b = t.bundle();
        let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
        b.mount(json!({"destination": "/mnt", "source": source, "options": ["bind"], "uidMappings": map, "gidMappings": map}));
        assert_eq!(b.facts(&["stat=/mnt/file"])["asked"]["stat=/mnt/file"]["uid"], 5000);
    });
}
