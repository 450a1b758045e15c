//! `create` killed at any moment: one `delete --force`, and nothing is left.

use crate::attacks::rounds;
use integration_tests::*;
use std::time::Duration;

/// A bundle with a bit of everything.
fn rich<'c>(t: &'c Case) -> Bundle<'c> {
    let mut b = t.bundle();
    b.bind(&t.folder("source"), "/mnt", &["ro"]);
    b.set("/hooks/createRuntime", json!([{"path": "/bin/true"}]));
    b.set("/hooks/createContainer", json!([{"path": "/bin/true"}]));
    b.set("/linux/resources/pids", json!({"limit": 100})).probe(&["deaf"]);
    b
}

#[test]
fn killed_at_random_moments() {
    check(|t| {
        let b = rich(t);
        // Steps of 1.5 ms over the whole of a creation, in an order that is not time's.
        for n in rounds(24, 1400).map(u64::from) {
            let id = t.id();
            let call = b.call(&["create"], &id).spawn();
            std::thread::sleep(Duration::from_micros((n * 7 % 24) * 1500 + n / 24 * 25));
            call.signal(libc::SIGKILL);
            call.wait();
            t.rt(&["delete", "--force", &id]).ok();
            t.nothing_left();
        }
    });
}

#[test]
fn killed_during_start() {
    check(|t| {
        let b = rich(t);
        for n in rounds(8, 200).map(u64::from) {
            let c = b.create();
            let call = t.call(["start", &c.id]).spawn();
            std::thread::sleep(Duration::from_micros(n % 8 * 800 + n / 8 * 30));
            call.signal(libc::SIGKILL);
            call.wait();
            c.delete_force();
            t.nothing_left();
        }
    });
}

#[test]
fn killed_during_delete() {
    check(|t| {
        let b = rich(t);
        for n in rounds(8, 200).map(u64::from) {
            let c = b.create();
            c.start();
            let call = t.call(["delete", "--force", &c.id]).spawn();
            std::thread::sleep(Duration::from_micros(n % 8 * 1500 + n / 8 * 60));
            call.signal(libc::SIGKILL);
            call.wait();
            c.delete_force();
            t.nothing_left();
        }
    });
}

/// `run` killed by a supervisor takes nobody along, and delete finds the orphan.
#[test]
fn killed_during_run() {
    check(|t| {
        let b = rich(t);
        let id = t.id();
        let call = b.call(&["run"], &id).spawn();
        call.wait_for("ready");
        call.signal(libc::SIGKILL);
        call.wait();
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
    });
}

/// After N system calls of one kind, by strace's fault injection: the moments that time would not hit.
#[track_caller]
fn killed_at_each(t: &Case, calls: &str, last: u32) {
    if !std::path::Path::new("/usr/bin/strace").exists() {
        skip!("no strace");
    }
    let b = rich(t);
    // The long form ends where no such call is left.
    let last = rounds(last, 10_000).end;
    for n in 1..=last {
        let id = t.id();
        let out = t.path("strace");
        let inject = format!("inject={calls}:signal=KILL:when={n}");
        let trace = format!("trace={calls}");
        let words = ["strace", "-o", out.to_str().unwrap(), "-e", &trace, "-e", &inject, "--"];
        let call = b.call(&["create"], &id).under(words);
        let ended = call.run();
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
        if ended.status == 0 {
            break;
        }
    }
}

#[test]
fn killed_at_each_mkdir() {
    check(|t| killed_at_each(t, "mkdir,mkdirat", 24));
}

#[test]
fn killed_at_each_rename_and_write_of_the_record() {
    check(|t| killed_at_each(t, "rename,renameat,renameat2,fsync,linkat", 8));
}

#[test]
fn killed_at_each_fork_and_wait() {
    check(|t| killed_at_each(t, "clone,clone3,fork,vfork,wait4,waitid", 16));
}

#[test]
fn killed_at_each_word_of_the_handshake() {
    check(|t| killed_at_each(t, "sendto,recvfrom,sendmsg,recvmsg", 16));
}
