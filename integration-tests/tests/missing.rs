//! Kernels, and filters around the runtime, that do not know a system call: what missing.toml says of each comes true in
//! a short life of a container. `make missing` runs all other rooms so, where it says "works".

use integration_tests::*;

/// A life with a bit of all: descriptors to keep, a bind mount, a link in a destination, a time namespace, limits, exec.
fn life(t: &Case, calls: &str, errno: &str) -> Result<(), (&'static str, String)> {
    let mut b = t.bundle();
    b.bind(&t.folder("source"), "/link/../mnt", &["ro"]).writable();
    std::os::unix::fs::symlink("/tmp", b.rootfs().join("link")).unwrap();
    b.set("/linux/resources/pids", json!({"limit": 100})).probe(&["wait"]);
    let id = t.id();
    let out = t.path("out");
    let failed = |verb, out: Output| {
        if out.status == 0 { Ok(out) } else { Err((verb, out.complains(&[]))) }
    };
    let file = std::fs::File::create(&out).unwrap();
    failed("create", b.call(&["create"], &id).without(calls, errno).stdout(file).run())?;
    let c = Container::new(t, id.clone(), out);
    let verb = |words: &[&str]| t.call(words).without(calls, errno).run();
    failed("start", verb(&["start", &id]))?;
    c.wait_for("ready");
    assert_eq!(failed("state", verb(&["state", &id]))?.json()["status"], "running");
    let facts = failed("exec", verb(&["exec", &id, "/probe", "facts", "list=/proc/self/fd"]))?.facts();
    assert_eq!(facts["fds"].as_object().unwrap().len(), 3, "{}", facts["fds"]);
    failed("pause", verb(&["pause", &id]))?;
    failed("resume", verb(&["resume", &id]))?;
    failed("kill", verb(&["kill", &id, "TERM"]))?;
    c.becomes("stopped");
    failed("delete", verb(&["delete", &id]))?;
    // What needs a process between us and init, and what main must enter for the clone.
    let other = t.bundle().up(&["wait"]);
    let mut joined = t.bundle();
    joined.namespace(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", other.pid())}));
    joined.namespace(json!({"type": "time"})).set("/linux/timeOffsets", json!({"boottime": {"secs": 100}}));
    let mut user = t.bundle();
    user.user_namespace();
    for b in [&mut joined, &mut user] {
        b.probe(&["facts"]);
        failed("run", b.call(&["run"], &t.id()).without(calls, errno).run())?;
    }
    other.delete_force();
    Ok(())
}

fn each(errno: &str) {
    check_each(errno, |t, calls, wanted| match (life(t, calls, errno), wanted.strip_prefix("refuses ")) {
        (Ok(()), None) => assert_eq!(wanted, "works"),
        (Ok(()), Some(_)) => panic!("{calls}: works, although missing.toml says {wanted}"),
        (Err((verb, text)), Some(told)) => {
            let (which, part) = told.split_once(": ").expect("VERB: TEXT");
            assert!(verb == which && text.contains(part), "{calls}: {verb}: {text}");
        }
        (Err((verb, text)), None) => panic!("{calls}: {verb}: {text}"),
    });
}

fn check_each(errno: &str, body: impl Fn(&Case, &str, &str)) {
    for (what, wanted) in MISSING.iter().filter(|(what, _)| !what.contains(' ')) {
        if let Some((calls, e)) = what.split_once(':')
            && e == errno
        {
            check(|t| {
                body(t, calls, wanted);
                for id in std::fs::read_dir(&t.root).into_iter().flatten().flatten() {
                    t.rt(&["delete", "--force", id.file_name().to_str().unwrap()]).ok();
                }
                t.nothing_left();
            });
        }
    }
}

#[test]
fn unknown_to_the_kernel() {
    each("ENOSYS");
}

#[test]
fn forbidden_by_a_filter() {
    each("EPERM");
}

/// Whoever must hold a process before it may be signalled or entered says so, and does nothing by number instead; what needs
/// no such hold works: a container can always be deleted.
#[test]
fn without_hold_of_processes() {
    check(|t| {
        for (errno, why) in
            [("ENOSYS", "kernel too old"), ("EPERM", "a seccomp filter around the runtime forbids")]
        {
            let mut b = t.bundle();
            let c = b.up(&["wait"]);
            let verb = |words: &[&str]| t.call(words).without("pidfd_open", errno).run();
            for words in [
                &["exec", &c.id, "/bin/true"][..],
                &["kill", &c.id, "KILL"],
                &["kill", "--all", &c.id, "TERM"],
            ] {
                let out = verb(words);
                assert_ne!(out.status, 0, "{words:?}");
                let told = out.complains(&[why, "needs", "pidfd_open (Linux 5.3)"]);
                assert_eq!(c.status(), "running", "{words:?}: {told}");
            }
            verb(&["delete", &c.id]).fails(&["not stopped"]);
            verb(&["delete", "--force", &c.id]).ok();
            t.nothing_left();
            let c = b.up(&["wait"]);
            c.kill("KILL");
            c.becomes("stopped");
            verb(&["delete", &c.id]).ok();
            t.nothing_left();
        }
    });
}
