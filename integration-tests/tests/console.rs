//! process.terminal: over the console socket, and in the foreground of `run` on a terminal of ours.

use integration_tests::*;
use std::fs;

fn with_terminal<'c>(t: &'c Case) -> Bundle<'c> {
    let mut b = t.bundle();
    b.set("/process/terminal", true);
    b
}

/// create with a console socket, start, and the terminal that came.
fn up<'c>(t: &'c Case, b: &Bundle<'c>) -> (Container<'c>, Pty, String) {
    let socket = ConsoleSocket::bind(&t.path("console"));
    let c = b.create_with(&["--console-socket", socket.path.to_str().unwrap()]);
    let (pty, name) = socket.receive();
    (c, pty, name)
}

/// The one line that the probe printed.
fn told(pty: &mut Pty) -> Value {
    serde_json::from_str(pty.expect("\r\n").trim()).unwrap()
}

#[test]
fn the_terminal_comes_over_the_socket() {
    check(|t| {
        let mut b = with_terminal(t);
        b.probe(&["facts"]);
        let (c, mut pty, name) = up(t, &b);
        assert!(name.starts_with("/dev/p"), "its name comes along: {name:?}");
        c.start();
        let facts = told(&mut pty);
        for fd in ["0", "1", "2"] {
            assert_eq!(facts["fds"][fd]["type"], "char");
            assert_eq!(facts["fds"][fd]["target"], "/dev/pts/0", "from the container's own devpts");
        }
        assert_eq!(facts["session"]["controllingTerminal"], true);
        assert_eq!(facts["session"]["foreground"], facts["session"]["pgid"]);
        assert_eq!(facts["fds"].as_object().unwrap().len(), 3);
    });
}

#[test]
fn dev_console_is_the_terminal() {
    check(|t| {
        let mut b = with_terminal(t);
        b.probe(&["facts", "stat=/dev/pts/0", "stat=/dev/console"]);
        let (c, mut pty, _) = up(t, &b);
        c.start();
        let facts = told(&mut pty);
        let (console, slave) = (&facts["asked"]["stat=/dev/console"], &facts["asked"]["stat=/dev/pts/0"]);
        assert_eq!(console["type"], "char");
        assert_eq!(console["device"], slave["device"]);
        assert_eq!(console["inode"], slave["inode"]);
        assert_eq!(mount_at(&facts, "/dev/console").unwrap()["type"], "devpts");
        assert_eq!(facts["dev"]["tty"]["open"], "ok");
    });
}

#[test]
fn the_size_is_the_documents() {
    check(|t| {
        let mut b = with_terminal(t);
        b.set("/process/consoleSize", json!({"height": 41, "width": 133})).probe(&["size"]);
        let (c, mut pty, _) = up(t, &b);
        c.start();
        pty.expect("size 133x41");
        pty.resize(99, 22);
        pty.expect("size 99x22");
        c.delete_force();
    });
}

#[test]
fn the_terminal_belongs_to_the_user() {
    check(|t| {
        let mut b = with_terminal(t);
        b.set("/process/user", json!({"uid": 1000, "gid": 1000})).probe(&[
            "facts",
            "stat=/dev/pts/0",
            "write=/dev/pts/0",
        ]);
        let (c, mut pty, _) = up(t, &b);
        c.start();
        let facts = told(&mut pty);
        assert_eq!(facts["asked"]["stat=/dev/pts/0"]["uid"], 1000);
        assert_eq!(facts["asked"]["write=/dev/pts/0"], "ok");
    });
}

#[test]
fn what_is_typed_is_read_and_echoed() {
    check(|t| {
        let mut b = with_terminal(t);
        b.args(&["/bin/sh", "-c", "read line; echo you said $line"]);
        let (c, mut pty, _) = up(t, &b);
        c.start();
        pty.write("ahoy\n");
        let shown = pty.expect("you said ahoy");
        assert!(shown.starts_with("ahoy"), "echoed: {shown:?}");
        c.becomes("stopped");
    });
}

#[test]
fn control_c_interrupts() {
    check(|t| {
        let mut b = with_terminal(t);
        b.args(&[
            "/bin/sh",
            "-c",
            "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 1; done",
        ]);
        let (c, mut pty, _) = up(t, &b);
        let pid = c.adopt();
        c.start();
        pty.expect("ready");
        pty.write("\x03");
        pty.expect("interrupted");
        assert_eq!(c.reap(pid), 5);
    });
}

#[test]
fn a_detached_run_wants_a_socket_too() {
    check(|t| {
        let b = with_terminal(t);
        b.call(&["run", "--detach"], &t.id())
            .run()
            .fails(&["cannot allocate tty if runc will detach without setting console socket"]);
        b.call(&["create"], &t.id())
            .run()
            .fails(&["cannot allocate tty if runc will detach without setting console socket"]);
        t.nothing_left();
    });
}

#[test]
fn a_socket_without_a_terminal_is_refused() {
    check(|t| {
        let socket = ConsoleSocket::bind(&t.path("console"));
        let path = socket.path.to_str().unwrap();
        let text = "cannot use console socket if runc will not detach or allocate tty";
        t.bundle().call(&["create", "--console-socket", path], &t.id()).run().fails(&[text]);
        with_terminal(t).call(&["run", "--console-socket", path], &t.id()).run().fails(&[text]);
        t.nothing_left();
    });
}

#[test]
fn a_socket_that_nobody_listens_on() {
    check(|t| {
        let b = with_terminal(t);
        b.call(&["create", "--console-socket", "/no/such/socket"], &t.id())
            .run()
            .fails(&["no such file or directory"]);
        let file = t.path("file");
        fs::write(&file, "").unwrap();
        b.call(&["create", "--console-socket", file.to_str().unwrap()], &t.id())
            .run()
            .fails(&["connection refused"]);
        t.nothing_left();
    });
}

#[test]
fn a_detached_run() {
    check(|t| {
        let mut b = with_terminal(t);
        b.probe(&["size"]);
        let socket = ConsoleSocket::bind(&t.path("console"));
        let id = t.id();
        b.call(&["run", "-d", "--console-socket", socket.path.to_str().unwrap()], &id).run().ok();
        let (mut pty, _) = socket.receive();
        pty.expect("size ");
        t.rt(&["delete", "--force", &id]).ok();
        t.nothing_left();
    });
}

/// `run` in the foreground, on a terminal: the outer one is raw, the inner one is the container's.
#[test]
fn in_the_foreground() {
    check(|t| {
        let mut b = with_terminal(t);
        b.args(&["/bin/sh", "-c", "tty; read line; echo got $line; exit 7"]);
        let (mut pty, slave) = Pty::pair();
        let before = pty.settings();
        assert_ne!(before.c_lflag & libc::ICANON, 0);
        let call = b.call(&["run"], &t.id()).terminal(slave.try_clone().unwrap()).spawn();
        pty.expect("/dev/pts/0");
        let raw = pty.settings();
        assert_eq!(raw.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG), 0, "the outer terminal is raw");
        assert_eq!(
            raw.c_oflag & libc::OPOST,
            before.c_oflag & libc::OPOST,
            "or its output is cooked as before"
        );
        pty.write("parrot\r");
        pty.expect("got parrot\r\n");
        call.wait().exits(7);
        let after = pty.settings();
        assert_eq!(
            (after.c_lflag, after.c_iflag, after.c_oflag),
            (before.c_lflag, before.c_iflag, before.c_oflag),
            "and is given back as it was"
        );
        drop(slave);
        t.nothing_left();
    });
}

#[test]
fn the_inner_terminal_follows_the_outer_ones_size() {
    check(|t| {
        let mut b = with_terminal(t);
        b.probe(&["size"]);
        let (mut pty, slave) = Pty::pair();
        pty.resize(101, 31);
        let call = b.call(&["run"], &t.id()).terminal(slave).spawn();
        pty.expect("size 101x31");
        pty.resize(72, 18);
        // The kernel tells the foreground group, which is the runtime's.
        pty.expect("size 72x18");
        call.signal(libc::SIGTERM);
        call.wait().ok();
    });
}

#[test]
fn control_c_goes_to_the_payload() {
    check(|t| {
        let mut b = with_terminal(t);
        b.args(&[
            "/bin/sh",
            "-c",
            "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 1; done",
        ]);
        let (mut pty, slave) = Pty::pair();
        let call = b.call(&["run"], &t.id()).terminal(slave).spawn();
        pty.expect("ready");
        pty.write("\x03");
        pty.expect("interrupted");
        call.wait().exits(9);
    });
}

#[test]
fn a_terminal_in_the_foreground_wants_one_outside() {
    check(|t| {
        let out = with_terminal(t).run();
        out.complains(&[]);
        t.nothing_left();
    });
}

/// All that was printed before the end arrives, also much of it.
#[test]
fn nothing_is_lost_at_the_end() {
    check(|t| {
        let mut b = with_terminal(t);
        b.args(&["/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"]);
        let (mut pty, slave) = Pty::pair();
        let call = b.call(&["run"], &t.id()).terminal(slave).spawn();
        let shown = pty.expect("line 2999");
        assert_eq!(shown.lines().filter(|l| l.starts_with("line ")).count(), 3000);
        call.wait().ok();
    });
}

#[test]
fn without_a_terminal_there_is_no_console() {
    check(|t| {
        let facts = t.bundle().facts(&[]);
        assert!(facts["dev"].get("console").is_none());
        assert_eq!(facts["terminal"], json!({"0": false, "1": false, "2": false}));
    });
}

#[test]
fn in_a_user_namespace() {
    check(|t| {
        let mut b = with_terminal(t);
        b.user_namespace().probe(&["facts", "stat=/dev/pts/0", "write=/dev/console"]);
        let (c, mut pty, _) = up(t, &b);
        c.start();
        let facts = told(&mut pty);
        assert_eq!(facts["asked"]["stat=/dev/pts/0"]["uid"], 0);
        assert_eq!(facts["asked"]["write=/dev/console"], "ok");
    });
}
