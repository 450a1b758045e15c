//! process: args, env, cwd, user, groups, umask, signals, descriptors.

use integration_tests::*;

#[test]
fn args_arrive_as_they_are() {
    check(|t| {
        let facts = t
            .bundle()
            .args(&["/probe", "facts", "two words", "", "ünïcode", "$HOME", "a=b"])
            .run()
            .ok()
            .facts();
        assert_eq!(facts["args"], json!(["/probe", "facts", "two words", "", "ünïcode", "$HOME", "a=b"]));
        assert_eq!(facts["exe"], "/probe");
    });
}

#[test]
fn a_bare_name_is_searched_in_the_containers_path() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/env", json!(["PATH=/nowhere:/bin"])).args(&["echo", "found"]);
        assert_eq!(b.run().ok().stdout, "found\n");
    });
}

#[test]
fn a_name_with_a_slash_is_taken_from_cwd() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/cwd", "/bin").args(&["./echo", "here"]);
        assert_eq!(b.run().ok().stdout, "here\n");
    });
}

#[test]
fn a_script_runs_through_its_interpreter() {
    check(|t| {
        let mut b = t.bundle();
        b.writable().args(&[
            "/bin/sh",
            "-c",
            "printf '#!/bin/sh\\necho script $1\\n' > /tmp/s; chmod 755 /tmp/s; exec /tmp/s x",
        ]);
        assert_eq!(b.run().ok().stdout, "script x\n");
    });
}

#[test]
fn env_is_the_documents_and_nothing_else() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/env", json!(["PATH=/bin", "A=1", "B=with = sign", "HOME=/mine", "EMPTY="]));
        let facts = b.facts(&[]);
        assert_eq!(facts["env"], json!(["PATH=/bin", "A=1", "B=with = sign", "HOME=/mine", "EMPTY="]));
    });
}

#[test]
fn the_last_of_equal_env_names_wins() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/env", json!(["PATH=/bin", "A=1", "A=2", "B=x", "A=3"]));
        let facts = b.facts(&[]);
        let a: Vec<_> = words(&facts["env"]).into_iter().filter(|e| e.starts_with("A=")).collect();
        assert_eq!(a, ["A=3"]);
    });
}

#[test]
fn home_comes_from_passwd_when_unset() {
    check(|t| {
        for (uid, home) in [(0, "HOME=/root"), (1000, "HOME=/home/sailor"), (4711, "HOME=/")] {
            let mut b = t.bundle();
            b.set("/process/user", json!({"uid": uid, "gid": 0}));
            let facts = b.facts(&[]);
            assert!(words(&facts["env"]).contains(&home), "{home} for {uid}: {}", facts["env"]);
        }
    });
}

#[test]
fn an_empty_home_is_filled_in() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/env", json!(["PATH=/bin", "HOME="]));
        let facts = b.facts(&[]);
        assert!(words(&facts["env"]).contains(&"HOME=/root"), "{}", facts["env"]);
    });
}

#[test]
fn cwd() {
    check(|t| {
        let mut b = t.bundle();
        for dir in ["/", "/bin", "/proc"] {
            assert_eq!(b.set("/process/cwd", dir).facts(&[])["cwd"], dir);
        }
    });
}

#[test]
fn a_missing_cwd_is_made() {
    check(|t| {
        let mut b = t.bundle();
        b.writable().set("/process/cwd", "/var/deep/er");
        let facts = b.facts(&["stat=/var/deep/er"]);
        assert_eq!(facts["cwd"], "/var/deep/er");
        assert_eq!(facts["asked"]["stat=/var/deep/er"]["mode"], 0o755);
    });
}

#[test]
fn a_cwd_that_only_its_user_may_enter() {
    check(|t| {
        use std::os::unix::fs::PermissionsExt;
        let mut b = t.bundle();
        let dir = b.rootfs().join("var/own");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&dir, Some(1000), Some(1000)).unwrap();
        b.set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set("/process/cwd", "/var/own")
            .capabilities(&[]);
        assert_eq!(b.facts(&[])["cwd"], "/var/own");
    });
}

/// The runtime enters it with its own privileges where the user could not.
#[test]
fn a_cwd_that_only_root_may_enter() {
    check(|t| {
        use std::os::unix::fs::PermissionsExt;
        let mut b = t.bundle();
        let dir = b.rootfs().join("var/closed");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        b.set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set("/process/cwd", "/var/closed")
            .capabilities(&[]);
        assert_eq!(b.facts(&[])["cwd"], "/var/closed");
    });
}

#[test]
fn user_and_groups() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/user", json!({"uid": 1000, "gid": 2000, "additionalGids": [5, 3000, 100_000]}));
        let user = &b.facts(&[])["user"];
        assert_eq!(user["uids"], json!([1000, 1000, 1000]));
        assert_eq!(user["gids"], json!([2000, 2000, 2000]));
        assert_eq!(user["groups"], json!([5, 3000, 100_000]));
    });
}

#[test]
fn no_groups_are_inherited_from_the_caller() {
    check(|t| {
        let b = t.bundle();
        b.write();
        let (root, bundle) = (t.root.to_str().unwrap(), b.dir.to_str().unwrap());
        let (binary, id) = (binary(), t.id());
        let words = ["--groups", "7,8,9", binary.to_str().unwrap(), "--root", root, "run", "-b", bundle, &id];
        let facts = t.program("setpriv", &words).ok().facts();
        assert_eq!(facts["user"]["groups"], json!([]));
    });
}

#[test]
fn umask() {
    check(|t| {
        let mut b = t.bundle();
        assert_eq!(b.facts(&[])["user"]["umask"], 0o22, "the default");
        b.set("/process/user/umask", 0o27);
        assert_eq!(b.facts(&[])["user"]["umask"], 0o27);
        b.set("/process/user/umask", 0);
        assert_eq!(b.facts(&[])["user"]["umask"], 0);
    });
}

/// The caller's umask is not the container's, and does not make its mount points inaccessible.
#[test]
fn the_callers_umask_does_not_matter() {
    check(|t| {
        let mut b = t.bundle();
        b.writable().set("/process/cwd", "/var/made").write();
        b.mount(json!({"destination": "/mnt/made", "type": "tmpfs", "source": "tmpfs"}));
        b.probe(&["facts", "stat=/var/made", "stat=/mnt", "stat=/dev/null", "stat=/dev/console"]).write();
        let script = format!(
            "umask 0777; exec {} --root {} run -b {} {}",
            binary().display(),
            t.root.display(),
            b.dir.display(),
            t.id()
        );
        let facts = t.program("/bin/sh", &["-c", &script]).ok().facts();
        assert_eq!(facts["user"]["umask"], 0o22);
        assert_eq!(facts["asked"]["stat=/var/made"]["mode"], 0o755);
        assert_eq!(facts["asked"]["stat=/mnt"]["mode"], 0o755);
        assert_eq!(facts["asked"]["stat=/dev/null"]["mode"], 0o666);
    });
}

#[test]
fn signals_are_as_a_program_expects_them() {
    check(|t| {
        let signals = &t.bundle().facts(&[])["signals"];
        assert_eq!(signals["ignored"], json!([]), "SIGPIPE above all");
        assert_eq!(signals["blocked"], json!([]));
        assert_eq!(signals["caught"], json!([]));
    });
}

/// A caller that ignores or blocks signals: neither is the container's.
fn signals_under(t: &Case, python: &str) -> Value {
    let b = t.bundle();
    b.write();
    let words = format!(
        "import os, signal\n{python}\nos.execv('{0}', ['{0}', '--root', '{1}', 'run', '-b', '{2}', '{3}'])",
        binary().display(),
        t.root.display(),
        b.dir.display(),
        t.id()
    );
    t.program("python3", &["-c", &words]).ok().facts()["signals"].clone()
}

#[test]
fn what_the_caller_ignores_is_not_ignored_inside() {
    check(|t| {
        let ignore =
            "for s in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1): signal.signal(s, signal.SIG_IGN)";
        assert_eq!(signals_under(t, ignore)["ignored"], json!([]));
    });
}

#[test]
fn what_the_caller_blocks_is_not_blocked_inside() {
    check(|t| {
        let block = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])";
        assert_eq!(signals_under(t, block)["blocked"], json!([]));
    });
}

#[test]
fn no_descriptor_of_the_runtime_is_open() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        let fds: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2"], "{}", facts["fds"]);
    });
}

#[test]
fn dies_with_nobody_but_itself() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        assert_eq!(facts["parentDeathSignal"], 0);
        assert_eq!(facts["dumpable"], 1);
        assert_eq!(facts["securebits"], 0);
    });
}

#[test]
fn the_session_keyring_is_new() {
    check(|t| {
        let mut b = t.bundle();
        let id = t.id();
        b.probe(&["facts"]);
        let keyring = b.call(&["run"], &id).run().ok().facts()["keyring"]["description"].to_string();
        assert!(
            keyring.contains(&format!("_ses.{id}")),
            "a session keyring named after the container: {keyring}"
        );
    });
}

#[test]
fn no_new_keyring_keeps_the_callers() {
    check(|t| {
        let id = t.id();
        let keyring =
            t.bundle().call(&["run", "--no-new-keyring"], &id).run().ok().facts()["keyring"].to_string();
        assert!(!keyring.contains(&id), "{keyring}");
    });
}
