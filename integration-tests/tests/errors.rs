//! Every way in which a container can fail to come about: one clear error, status 1, and nothing left behind.

use integration_tests::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// `create` and `run` must both refuse.
#[track_caller]
fn both(t: &Case, b: &Bundle, parts: &[&str]) {
    for verb in ["create", "run"] {
        b.call(&[verb], &t.id()).run().fails(parts);
        t.nothing_left();
    }
}

#[test]
fn no_bundle() {
    check(|t| {
        t.rt(&["create", "--bundle", "/no/such/bundle", &t.id()])
            .fails(&["/no/such/bundle", "no such file or directory"]);
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        t.rt(&["create", "--bundle", file.to_str().unwrap(), &t.id()]).fails(&["not a directory"]);
        t.nothing_left();
    });
}

#[test]
fn no_config() {
    check(|t| {
        let dir = t.folder("empty");
        t.rt(&["run", "-b", dir.to_str().unwrap(), &t.id()]).fails(&["config.json", "not found"]);
        t.nothing_left();
    });
}

/// Calls `run` on a bundle whose config.json is this text.
#[track_caller]
fn with_text(t: &Case, text: &[u8], parts: &[&str]) {
    let b = t.bundle();
    b.write();
    fs::write(b.dir.join("config.json"), text).unwrap();
    t.rt(&["run", "-b", b.dir.to_str().unwrap(), &t.id()]).fails(parts);
    t.nothing_left();
}

#[test]
fn broken_json() {
    check(|t| {
        for text in [
            "",
            "{",
            "{\"ociVersion\": \"1.0.0\",}",
            "[]",
            "\"text\"",
            "null",
            "{\"process\": {\"args\": [1]}}",
        ] {
            with_text(t, text.as_bytes(), &[]);
        }
    });
}

#[test]
fn broken_json_names_the_position() {
    check(|t| {
        with_text(
            t,
            b"{\n \"ociVersion\": \"1.0.0\",\n \"process\": nonsense\n}",
            &["config.json", "line 3", "column"],
        );
        with_text(
            t,
            b"{\n \"ociVersion\": \"1.0.0\",\n \"process\": {\"cwd\": 7}\n}",
            &["config.json", "cwd", "line 3"],
        );
    });
}

#[test]
fn config_is_no_file() {
    check(|t| {
        let b = t.bundle();
        fs::create_dir(b.dir.join("config.json")).unwrap();
        t.rt(&["run", "-b", b.dir.to_str().unwrap(), &t.id()]).fails(&["is a directory"]);
        t.nothing_left();
    });
}

/// runc opens it and waits; we look at what it is first.
#[test]
fn config_is_a_fifo() {
    check(|t| {
        let b = t.bundle();
        t.program("mkfifo", &[b.dir.join("config.json").to_str().unwrap()]).ok();
        let call = t.call(["run", "-b", b.dir.to_str().unwrap(), &t.id()]);
        call.run().fails(&["config.json"]);
    });
}

#[test]
fn unknown_members_are_ignored() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/future", json!({"x": 1}))
            .set("/linux/future", json!([]))
            .set("/process/future", 1)
            .probe(&["exit", "0"]);
        b.set("/windows", json!({"layerFolders": []})).set("/vm", json!({})).run().ok();
    });
}

#[test]
fn a_version_that_is_none_is_refused() {
    check(|t| {
        for version in ["a.b", "", "1"] {
            t.bundle().set("/ociVersion", version).refused(&["version"]);
        }
    });
}

#[test]
fn versions_before_and_after_ours() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["exit", "0"]);
        for version in ["1.0.0", "1.0.2-dev", "1.2.0", "1.3.0", "1.4.0+dev"] {
            b.set("/ociVersion", version).run().ok();
        }
    });
}

#[test]
fn no_rootfs() {
    check(|t| {
        t.bundle().set("/root/path", "missing").refused(&["rootfs", "no such file or directory"]);
        let mut b = t.bundle();
        fs::write(b.dir.join("file"), "").unwrap();
        b.set("/root/path", "file");
        b.refused(&["not a directory"]);
        t.bundle().set("/root/path", "").refused(&[]);
    });
}

#[test]
fn a_rootfs_that_is_a_link_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        symlink("rootfs", b.dir.join("link")).unwrap();
        b.set("/root/path", "link");
        b.refused(&["rootfs", "symlink"]);
    });
}

// Which program could not be run; Docker and podman read the status 127 or 126 out of these words.

#[test]
fn an_unknown_program() {
    check(|t| {
        let mut b = t.bundle();
        both(
            t,
            b.args(&["no-such-program"]),
            &["exec: \"no-such-program\": executable file not found in $PATH"],
        );
        both(
            t,
            b.args(&["/no/such/program"]),
            &["exec: \"/no/such/program\": stat /no/such/program: no such file or directory"],
        );
    });
}

#[test]
fn a_directory_as_program() {
    check(|t| {
        let mut b = t.bundle();
        both(t, b.args(&["/bin"]), &["exec: \"/bin\": is a directory"]);
    });
}

#[test]
fn a_file_that_is_not_executable() {
    check(|t| {
        let mut b = t.bundle();
        both(t, b.args(&["/etc/passwd"]), &["exec: \"/etc/passwd\": permission denied"]);
    });
}

#[test]
fn a_program_below_a_file() {
    check(|t| {
        let mut b = t.bundle();
        both(t, b.args(&["/etc/passwd/x"]), &["exec: \"/etc/passwd/x\"", "not a directory"]);
    });
}

/// Executable by its mode, but the kernel cannot run it: only execve knows, so it is start's error, or run's.
#[test]
fn a_program_that_is_none() {
    check(|t| {
        let mut b = t.bundle();
        let file = b.rootfs().join("tmp/garbage");
        executable(&file, "\0\0garbage");
        b.args(&["/tmp/garbage"]);
        let out = b.run();
        assert_ne!(out.status, 0);
        assert!(out.stderr.contains("exec format error"), "{out}");
        t.nothing_left();
    });
}

#[test]
fn a_script_without_its_interpreter() {
    check(|t| {
        let mut b = t.bundle();
        let file = b.rootfs().join("tmp/script");
        executable(&file, "#!/no/such/shell\n");
        b.args(&["/tmp/script"]);
        let out = b.run();
        assert_ne!(out.status, 0);
        assert!(out.stderr.contains("no such file or directory"), "{out}");
        t.nothing_left();
    });
}

/// Podman gives each container a network namespace by its path: init held on to its descriptor after all others had been
/// closed, and closed the number once more when the program could not be executed.
#[test]
fn start_reports_it_from_a_joined_namespace_too() {
    check(|t| {
        let mut b = t.bundle();
        let file = b.rootfs().join("tmp/script");
        executable(&file, "#!/no/such/shell\n");
        b.namespace(json!({"type": "network", "path": "/proc/self/ns/net"}));
        b.namespace(json!({"type": "ipc", "path": "/proc/self/ns/ipc"}));
        let c = b.args(&["/tmp/script"]).create();
        c.verb(&["start"]).fails(&["/tmp/script", "no such file or directory"]);
        c.becomes("stopped");
        c.delete();
    });
}

/// Start itself tells why the program could not be run: a client asks nobody else.
#[test]
fn start_reports_what_execve_said() {
    check(|t| {
        let mut b = t.bundle();
        let file = b.rootfs().join("tmp/garbage");
        executable(&file, "\0\0garbage");
        let c = b.args(&["/tmp/garbage"]).create();
        c.verb(&["start"]).fails(&["/tmp/garbage", "exec format error"]);
        c.becomes("stopped");
        c.delete();
    });
}

#[test]
fn a_program_in_a_directory_that_the_user_may_not_enter() {
    check(|t| {
        let mut b = t.bundle();
        let dir = b.rootfs().join("var/closed");
        fs::create_dir(&dir).unwrap();
        fs::hard_link(b.rootfs().join("probe"), dir.join("probe")).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        b.set("/process/user", json!({"uid": 1000, "gid": 1000})).capabilities(&[]);
        b.args(&["/var/closed/probe"]);
        b.refused(&["/var/closed/probe", "permission denied"]);
    });
}

#[test]
fn the_process_object() {
    check(|t| {
        let table: [(&str, Value, &str); 4] = [
            ("/process/args", json!([]), "args must not be empty"),
            ("/process/args", Value::Null, "args must not be empty"),
            ("/process/cwd", json!(""), "Cwd property must not be empty"),
            ("/process/cwd", json!("relative"), "Cwd must be an absolute path"),
        ];
        for (pointer, value, text) in table {
            t.bundle().set(pointer, value).refused(&[text]);
        }
    });
}

#[test]
fn a_missing_cwd_that_cannot_be_made() {
    check(|t| {
        let mut b = t.bundle();
        fs::write(b.rootfs().join("tmp/file"), "").unwrap();
        b.set("/process/cwd", "/tmp/file");
        b.refused(&["/tmp/file", "not a directory"]);
        let mut b = t.bundle();
        b.set("/process/cwd", "/proc/nothing/here");
        b.refused(&["/proc/nothing", "no such file or directory"]);
    });
}

#[test]
fn an_id_that_is_taken() {
    check(|t| {
        let mut b = t.bundle();
        let c = b.up(&["wait"]);
        for verb in ["create", "run"] {
            b.call(&[verb], &c.id).run().fails(&["container with given ID already exists"]);
        }
        assert_eq!(c.status(), "running", "the first one is not harmed");
        c.delete_force();
        t.nothing_left();
    });
}

#[test]
fn bad_ids() {
    check(|t| {
        let b = t.bundle();
        fs::create_dir(&t.root).unwrap();
        fs::write(t.dir.join("sentinel"), "").unwrap();
        for id in [".", "..", "../x", "a/b", "/", "a b", "a\nb", "ä", "a*", "a:b", "a\\b", "~"] {
            b.call(&["create"], id).run().fails(&["invalid container ID format"]);
        }
        b.call(&["create"], "").run().fails(&["container id cannot be empty"]);
        assert_eq!(fs::read_dir(&t.root).unwrap().count(), 0);
        fs::remove_dir(&t.root).unwrap();
        t.nothing_left();
    });
}

#[test]
fn an_id_that_is_too_long_for_a_file() {
    check(|t| {
        let b = t.bundle();
        let id = format!("{}{}", t.token, "x".repeat(300));
        b.call(&["create"], &id).run().fails(&["file name too long"]);
        t.nothing_left();
    });
}

#[test]
fn an_absent_mount_source() {
    check(|t| {
        let mut b = t.bundle();
        b.bind(std::path::Path::new("/no/such/source"), "/mnt", &[]);
        both(t, &b, &["/no/such/source", "no such file or directory"]);
    });
}

/// Flags that nobody knows go to the filesystem, and that refuses; the message says to which mount they belong.
#[test]
fn an_unknown_mount_option() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "frobnicate"]}));
        both(t, &b, &["/mnt", "frobnicate", "invalid argument"]);
    });
}

#[test]
fn an_unknown_filesystem() {
    check(|t| {
        let mut b = t.bundle();
        b.mount(json!({"destination": "/mnt", "type": "frobfs", "source": "frob"}));
        b.refused(&["/mnt", "no such device"]);
    });
}

/// A bind mount has no file system of its own: data for one means nothing, and is said to.
#[test]
fn bind_mounts_ignore_filesystem_data() {
    check(|t| {
        let mut b = t.bundle();
        b.bind(&t.folder("source"), "/mnt", &["size=5"]);
        let out = b.run().ok();
        assert!(out.log.contains("size=5") && out.log.contains("warning"), "{out}");
    });
}

#[test]
fn a_mount_over_a_file_of_another_kind() {
    check(|t| {
        let mut b = t.bundle();
        b.bind(&t.folder("source"), "/etc/passwd", &[]);
        let message = b.refused(&["/etc/passwd", "not a directory"]);
        // Docker would take it for a program that is one, and say 126.
        assert!(!message.contains("is a directory"), "{message}");
        let mut b = t.bundle();
        b.mount(json!({"destination": "/etc/passwd/below", "type": "tmpfs", "source": "tmpfs"}));
        b.refused(&["/etc/passwd", "not a directory"]);
    });
}

/// A memory limit below what init itself needs: no hang, no riddle.
#[test]
fn a_memory_limit_far_too_low() {
    check(|t| {
        for limit in [4096, 65536] {
            let mut b = t.bundle();
            b.set("/linux/resources/memory", json!({"limit": limit}));
            let started = Moment::now();
            let message = b.refused(&[]).to_lowercase();
            started.within(LONG);
            assert!(message.contains("memory") || message.contains("oom"), "{message}");
            // Where the kernel refuses the limit, rather than kill who exceeds it.
            if message.contains("unable to set memory limit") && !is_reference() {
                assert!(message.contains("set a higher limit"), "{message}");
            }
        }
    });
}

#[test]
fn a_pids_limit_that_leaves_no_room() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/linux/resources/pids", json!({"limit": 1})).probe(&["exit", "0"]);
        let started = Moment::now();
        let out = b.run();
        started.within(LONG);
        // A runtime that needs no second thread or process may well succeed.
        if out.status != 0 {
            out.complains(&[]);
        }
        t.nothing_left();
    });
}

#[test]
fn a_state_root_that_cannot_be_written() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        let root = file.join("root");
        let log = t.path("log");
        let words =
            ["--root", root.to_str().unwrap(), "--log", log.to_str().unwrap(), "--log-format", "json"];
        let id = t.id();
        let run = ["run", "-b", b.dir.to_str().unwrap(), &id];
        t.bare(words).args(run).log(log.clone()).run().fails(&["not a directory"]);
        let words = ["--root", "/", "--log", log.to_str().unwrap(), "--log-format", "json"];
        let out = t.bare(words).args(["list"]).run();
        assert_ne!(out.status, 0, "/ is no place for state: {out}");
    });
}

/// SIGTERM stops a creation, which cleans up, or leaves what one delete removes.
#[test]
fn terminated_in_a_hook() {
    check(|t| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut b = t.bundle();
            let marker = t.path("marker");
            let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", marker.display());
            b.set(
                "/hooks/createRuntime",
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]),
            );
            let id = t.id();
            let call = b.call(&["create"], &id).spawn();
            until("the hook to run", || marker.exists());
            call.signal(signal);
            let out = call.wait();
            t.rt(&["delete", "--force", &id]).ok();
            assert_ne!(out.status, 0);
        }
    });
}
