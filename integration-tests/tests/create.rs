//! `create`: its flags, the pid file, the descriptors it hands on.

use integration_tests::*;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

#[test]
fn everything_is_ready_but_the_program_does_not_run() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/hostname", "ready").bind(&t.folder("source"), "/mnt", &[]);
        let c = b.create();
        let pid = c.pid();
        assert_eq!(c.status(), "created");
        assert!(fs::metadata(format!("/proc/{pid}/root/probe")).is_ok(), "it is in its root");
        assert_ne!(namespace_of(pid, "mnt"), host_namespace("mnt"));
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        assert!(table.contains(" /mnt "), "{table}");
        assert!(fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().contains(&t.token));
        assert_eq!(c.output(), "");
    });
}

#[test]
fn the_pid_file_is_there_when_it_returns() {
    check(|t| {
        let file = t.path("pid");
        let c = t.bundle().create_with(&["--pid-file", file.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(&file).unwrap(), c.pid().to_string(), "the number, and no newline");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    });
}

#[test]
fn the_pid_file_replaces_an_old_one_at_once() {
    check(|t| {
        let folder = t.folder("pids");
        let file = folder.join("pid");
        fs::write(&file, "4294967295 and a long tail").unwrap();
        let old = File::open(&file).unwrap();
        let c = t.bundle().create_with(&["--pid-file", file.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(&file).unwrap(), c.pid().to_string());
        assert_ne!(
            old.metadata().unwrap().ino(),
            fs::metadata(&file).unwrap().ino(),
            "renamed into place, not rewritten"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
    });
}

#[test]
fn a_relative_pid_file_is_where_the_caller_stands() {
    check(|t| {
        let (b, folder) = (t.bundle(), t.folder("cwd"));
        b.call(&["create", "--pid-file", "pid"], &t.id()).cwd(&folder).run().ok();
        assert!(folder.join("pid").exists());
        assert!(!b.dir.join("pid").exists());
    });
}

#[test]
fn a_pid_file_that_cannot_be_written_undoes_everything() {
    check(|t| {
        let b = t.bundle();
        b.call(&["create", "--pid-file", "/no/such/folder/pid"], &t.id())
            .run()
            .fails(&["no such file or directory"]);
        t.nothing_left();
    });
}

#[test]
fn a_relative_bundle() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let id = t.id();
        let name = b.dir.file_name().unwrap().to_str().unwrap();
        t.call(["create", "--bundle", name, &id]).cwd(&t.dir).run().ok();
        let c = Container::new(t, id, t.path("none"));
        assert_eq!(c.state()["bundle"], b.dir.to_str().unwrap());
    });
}

#[test]
fn a_bundle_behind_a_link_keeps_its_name() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let (id, link) = (t.id(), t.path("link"));
        symlink(&b.dir, &link).unwrap();
        t.call(["create", "--bundle", link.to_str().unwrap(), &id]).run().ok();
        let state = Container::new(t, id, t.path("none")).state();
        assert!([link.to_str(), b.dir.to_str()].contains(&state["bundle"].as_str()), "{state}");
    });
}

/// `--preserve-fds N` hands on N descriptors after the standard ones, and none else.
#[test]
fn preserve_fds() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["descriptors"]);
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        let open = || File::open(&file).unwrap();
        let out = b
            .call(&["run", "--preserve-fds", "2"], &t.id())
            .pass(3, open())
            .pass(4, open())
            .pass(5, open())
            .run()
            .ok();
        let facts = out.facts();
        let fds: Vec<&String> = facts.as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2", "3", "4"], "{facts}");
        assert_eq!(facts["4"]["target"], file.to_str().unwrap());
    });
}

#[test]
fn preserving_a_descriptor_that_is_not_open_is_refused() {
    check(|t| {
        let b = t.bundle();
        b.call(&["run", "--preserve-fds", "50"], &t.id()).run().fails(&["preserve"]);
        t.nothing_left();
    });
}

/// A descriptor of init, for a caller who must not trust a number.
#[test]
fn pidfd_socket() {
    check(|t| {
        use std::os::fd::AsRawFd;
        let socket = ConsoleSocket::bind(&t.path("pidfd"));
        let c = t.bundle().create_with(&["--pidfd-socket", socket.path.to_str().unwrap()]);
        let (fd, _) = socket.receive_descriptor();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let pid = info.lines().find_map(|l| l.strip_prefix("Pid:")).map(str::trim);
        assert_eq!(pid, Some(c.pid().to_string().as_str()), "{info}");
    });
}

/// systemd's socket activation: as many more descriptors as LISTEN_FDS says, and the variable goes along.
#[test]
fn listen_fds() {
    check(|t| {
        let mut b = t.bundle();
        b.probe(&["facts"]);
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        let open = || File::open(&file).unwrap();
        let call = b
            .call(&["run", "--preserve-fds", "1"], &t.id())
            .env("LISTEN_FDS", "1")
            .pass(3, open())
            .pass(4, open());
        // The variables count only for the process that LISTEN_PID names.
        let call = call.under(["/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
        let facts = call.pass(5, open()).run().ok().facts();
        let fds: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2", "3", "4"]);
        let env = words(&facts["env"]);
        assert!(env.contains(&"LISTEN_FDS=1") && env.contains(&"LISTEN_PID=1"), "{env:?}");
    });
}

#[test]
fn the_state_root_is_made_if_missing() {
    check(|t| {
        let b = t.bundle();
        assert!(!t.root.exists());
        let c = b.create();
        assert_eq!(fs::metadata(&t.root).unwrap().permissions().mode() & 0o7777, 0o700);
        let entries: Vec<_> = fs::read_dir(&t.root).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(entries, [c.id.as_str()]);
    });
}

/// The payload's streams are the caller's own, at once and for as long as it runs.
#[test]
fn stdio_is_inherited() {
    check(|t| {
        let c = t.bundle().up(&["wait"]);
        for fd in [0, 1, 2] {
            let target = fs::read_link(format!("/proc/{}/fd/{fd}", c.pid())).unwrap();
            let ours = target.starts_with(&t.dir) || target.starts_with("/dev/null");
            assert!(ours, "{fd}: {target:?}");
        }
        c.delete_force();
    });
}
