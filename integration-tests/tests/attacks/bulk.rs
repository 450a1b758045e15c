//! Too much, too long, too deep, never ending: all of it is taken exactly, or refused in a second and one line.

use super::*;
use std::io::Write;
use std::time::Duration;

/// As [`Output::complains`], or success; at little cost of processor time either way, whoever else is at work. What waits
/// instead of working is ended by the call's deadline.
#[track_caller]
fn ok_or_error(out: &Output, limit: Duration) -> Option<String> {
    assert!(out.worked < patience(limit), "worked for {:?}: {out}", out.worked);
    bites!(!out.killed && !out.stderr.contains("panic"), "{out}");
    if out.status == 0 { None } else { Some(out.complains(&[])) }
}

/// Under a limit of memory: what would take more is killed, or says so.
fn with_memory(call: Call, bytes: u64) -> Call {
    // Go reserves far more than it uses.
    if name() != "orlop" {
        return call;
    }
    call.under(["sh", "-c", &format!("ulimit -v {}; exec \"$@\"", bytes / 1024), "sh"])
}

/// Writes config.json as it is given and runs it, apart from the host's mounts and names: who knows what it asks for.
#[track_caller]
fn try_config(t: &Case, b: &Bundle, text: &[u8]) -> Option<String> {
    fs::write(b.dir.join("config.json"), text).unwrap();
    let id = t.id();
    let words = ["run", "--bundle", b.dir.to_str().unwrap(), &id];
    // Four times the file, and what a program that is not optimised needs by itself.
    let room = 4 * text.len() as u64 + (96 << 20);
    let limit = if name() == "orlop" { format!("ulimit -v {};", room / 1024) } else { String::new() };
    let script = format!("{limit} exec \"$@\"");
    // A second, as long as the document is honest in size.
    let limit = Duration::from_millis(1500 + text.len() as u64 / 1024);
    ok_or_error(&t.call(words).under(["unshare", "-mun", "sh", "-c", &script, "sh"]).run(), limit)
}

/// Case 45: every string with a NUL, every number beyond its range, every member twice.
#[test]
fn a_hostile_configuration_by_rule() {
    check(|t| {
        let mut b = t.bundle();
        b.bind(&t.folder("source"), "/mnt", &["ro"]).args(&["/bin/true", "x"]);
        b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "0"}));
        b.set("/hooks/createRuntime", json!([{"path": "/bin/true", "timeout": 5}]));
        b.write();
        let whole = fs::read_to_string(b.dir.join("config.json")).unwrap();
        let config: Value = whole.parse().unwrap();
        let mut pointers = Vec::new();
        leaves(&config, String::new(), &mut pointers);
        let mut tried = 0;
        for pointer in &pointers {
            let leaf = config.pointer(pointer).unwrap();
            let instead: Vec<Value> = match leaf {
                Value::String(s) => vec![json!(format!("{s}\u{0}x")), json!(7), json!({}), json!("")],
                Value::Number(_) => vec![json!(-1), json!(u64::MAX), json!(1e300), json!(0.5), json!("1")],
                Value::Bool(_) => vec![json!("true"), json!(null), json!([])],
                _ => vec![],
            };
            for value in instead {
                // All of them are thousands: each rule meets each kind of leaf in the short form.
                tried += 1;
                if !long() && tried % 7 != 0 {
                    continue;
                }
                let nul = value.as_str().is_some_and(|s| s.contains('\u{0}'));
                let mut hostile = config.clone();
                *hostile.pointer_mut(pointer).unwrap() = value;
                let told = try_config(t, &b, hostile.to_string().as_bytes());
                // A name for nobody but clients may be what it likes; an unknown capability is none, with a warning.
                let is_free =
                    ["/annotations", "/process/capabilities/"].iter().any(|p| pointer.starts_with(p));
                assert!(!nul || told.is_some() || is_free, "{pointer} with a NUL is taken");
            }
        }
        t.nothing_left();
    });
}

fn leaves(at: &Value, pointer: String, all: &mut Vec<String>) {
    match at {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| leaves(v, format!("{pointer}/{i}"), all));
        }
        Value::Object(map) => map.iter().for_each(|(k, v)| leaves(v, format!("{pointer}/{k}"), all)),
        _ => all.push(pointer),
    }
}

/// Case 45: what is hardly a document at all: too large, too deep, cut off, with bits flipped.
#[test]
fn a_hostile_configuration_by_chance() {
    check(|t| {
        let mut b = t.bundle();
        b.args(&["/bin/true"]).write();
        let whole = fs::read(b.dir.join("config.json")).unwrap();
        let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
        let head = "{\"ociVersion\":\"1.0.0\",\"annotations\":";
        let hostile: Vec<Vec<u8>> = vec![
            vec![],
            b"null".to_vec(),
            b"[]".to_vec(),
            b"\xef\xbb\xbf{}".to_vec(),
            b"{\"ociVersion\":\"\xff\xfe\"}".to_vec(),
            deep("[", "]").into_bytes(),
            deep("{\"a\":", "}").into_bytes(),
            format!("{head}{}}}", deep("[", "]")).into_bytes(),
            format!("{head}{{\"a\":\"{}\"}}}}", "x".repeat(12 << 20)).into_bytes(),
            format!("{head}[{}1]}}", "1,".repeat(4 << 20)).into_bytes(),
            format!("{head}\"{}\"}}", "\\u0000".repeat(1 << 20)).into_bytes(),
            [b" ".repeat(100 << 20), whole.clone()].concat(),
            [
                &whole[..whole.len() - 2],
                &b",\"process\":{\"cwd\":\"/\",\"args\":[\"/nope\"],\"user\":{\"uid\":0,\"gid\":0}}}"[..],
            ]
            .concat(),
            [whole.clone(), whole.clone()].concat(),
            whole.iter().flat_map(|b| [*b, 0]).collect(),
        ];
        for text in hostile {
            try_config(t, &b, &text);
        }
        let mut random = chance();
        for round in rounds(60, 5000) {
            let mut text = whole.clone();
            if round % 3 == 0 {
                text.truncate(random(whole.len()));
            }
            for _ in 0..1 + random(4) {
                let at = random(text.len().max(1));
                if let Some(byte) = text.get_mut(at) {
                    *byte = match random(3) {
                        0 => *byte ^ 1 << random(8),
                        1 => b"{}[],:\"\\0-9.e"[random(12)],
                        _ => random(256) as u8,
                    };
                }
            }
            try_config(t, &b, &text);
        }
        t.nothing_left();
    });
}

/// Case 47 (CVE-2021-43784): counts that overflow what is small: thousands of mounts, with no more descriptors than the
/// caller's soft limit; hundreds of ranges, megabytes of annotations and environment, a limit named a thousand times.
#[test]
fn cve_2021_43784_bulk() {
    check(|t| {
        let source = t.folder("source");
        let many = if long() { 5000 } else { 1500 };
        for user in [false, true] {
            let mut b = t.bundle();
            b.writable();
            let mounts: Vec<Value> = (0..many)
                .map(|n| json!({"destination": format!("/tmp/m{n}"), "source": source, "type": "none", "options": ["bind", "ro"]}))
                .collect();
            b.config["mounts"].as_array_mut().unwrap().extend(mounts);
            if user {
                b.user_namespace();
            }
            b.args(&["/bin/sh", "-c", "grep -c ' /tmp/m[0-9]* ' /proc/self/mountinfo"]);
            let few = ["sh", "-c", "ulimit -S -n 512; exec \"$@\"", "sh"];
            let out = b.call(&["run"], &t.id()).under(few).run();
            // Sources that only main may open are held open until init is born.
            if user && out.status != 0 {
                out.complains(if is_reference() { &[] } else { &["too many open files"] });
            } else {
                assert_eq!(out.ok().stdout.trim(), many.to_string());
            }
        }
        let mut b = t.bundle();
        let ranges: Vec<Value> =
            (0..340).map(|n| json!({"containerID": n, "hostID": 1000 + n * 2, "size": 1})).collect();
        b.user_namespace().set("/linux/uidMappings", ranges.clone()).set("/linux/gidMappings", ranges);
        b.probe(&["facts"]);
        let seen = b.run().ok().facts();
        assert_eq!(seen["uidMap"].as_str().unwrap().lines().count(), 340);
        let mut b = t.bundle();
        let notes: serde_json::Map<_, _> =
            (0..2048).map(|n| (format!("note-{n}"), json!("n".repeat(1024)))).collect();
        b.set("/annotations", Value::Object(notes));
        let env: Vec<String> = (0..1000).map(|n| format!("V{n}={}", "e".repeat(1024))).collect();
        b.set("/process/env", json!(env)).args(&["/bin/sh", "-c", "/bin/env | /bin/busybox grep -c '^V'"]);
        assert_eq!(b.run().ok().stdout.trim(), "1000");
        let limits: Vec<Value> =
            (0..1000).map(|_| json!({"type": "RLIMIT_CORE", "hard": 0, "soft": 0})).collect();
        b.set("/process/rlimits", limits);
        let out = b.run();
        if !is_reference() {
            out.complains(&["RLIMIT_CORE"]);
        }
        t.nothing_left();
    });
}

/// CVE-2026-47262: an /etc/passwd without an end, or that no one writes to, or that is a device.
#[test]
fn cve_2026_47262_endless_passwd() {
    check(|t| {
        for kind in ["sparse", "fifo", "zero", "link", "lines", "directory"] {
            let mut b = t.bundle();
            let file = b.rootfs().join("etc/passwd");
            fs::remove_file(&file).unwrap();
            match kind {
                "sparse" => fs::File::create(&file).unwrap().set_len(1 << 40).unwrap(),
                "fifo" => races::node(&file, libc::S_IFIFO, 0, 0),
                "zero" => races::node(&file, libc::S_IFCHR, 1, 5),
                "link" => symlink("/dev/zero", &file).unwrap(),
                "directory" => fs::create_dir(&file).unwrap(),
                _ => {
                    let mut out = fs::File::create(&file).unwrap();
                    for _ in 0..16 {
                        out.write_all("x:x:1:1::/:/bin/sh\n".repeat(1 << 16).as_bytes()).unwrap();
                    }
                }
            }
            b.set("/process/user", json!({"uid": 1234, "gid": 1234})).probe(&["facts"]);
            let out = with_memory(b.call(&["run"], &t.id()), 256 << 20).run();
            if ok_or_error(&out, Duration::from_secs(5)).is_none() {
                assert!(words(&out.facts()["env"]).contains(&"HOME=/"), "{kind}: {out}");
            }
            t.nothing_left();
        }
    });
}

/// tmpcopyup: a file of a terabyte that is all hole stays one; a tree may be as deep as it likes; what does not fit is an error; the
/// container's own limit of memory holds for the copy.
#[test]
fn copies_without_an_end() {
    check(|t| {
        let bundle = |data: &dyn Fn(&Path)| {
            let mut b = t.bundle();
            let dir = b.rootfs().join("data");
            fs::create_dir(&dir).unwrap();
            data(&dir);
            b.mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=64m"]}));
            b.probe(&["facts", "stat=/data/file"]);
            b
        };
        let limit = Duration::from_secs(20);
        let b = bundle(&|dir| {
            let mut file = fs::File::create(dir.join("file")).unwrap();
            file.write_all(b"begins").unwrap();
            file.set_len(1 << 40).unwrap();
        });
        let out = b.run();
        if ok_or_error(&out, limit).is_none() {
            assert_eq!(out.facts()["asked"]["stat=/data/file"]["size"], 1_u64 << 40);
        } else {
            assert!(is_reference(), "{out}");
        }
        let block = vec![1_u8; 1 << 20];
        let b = bundle(&|dir| {
            let mut file = fs::File::create(dir.join("file")).unwrap();
            (0..80).for_each(|_| file.write_all(&block).unwrap());
        });
        ok_or_error(&b.run(), limit).expect("80 MiB do not fit into 64");
        // Deeper than there are descriptors, with a mode that is in the way of who comes back.
        let deep: PathBuf = (0..300).map(|_| "d").collect();
        let mut b = bundle(&|dir| {
            fs::create_dir_all(dir.join(&deep)).unwrap();
            fs::write(dir.join(&deep).join("leaf"), "leaf").unwrap();
            fs::create_dir(dir.join("next")).unwrap();
            fs::set_permissions(dir.join("d/d"), fs::Permissions::from_mode(0o2501)).unwrap();
        });
        let asked = [
            format!("read=/data/{}/leaf", deep.display()),
            "stat=/data/d/d".into(),
            "stat=/data/next".into(),
        ];
        b.probe(&["facts", &asked[0], &asked[1], &asked[2]]).remove("/process/rlimits");
        let few = ["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"];
        let out = b.call(&["run"], &t.id()).under(few).run();
        if ok_or_error(&out, limit).is_none() {
            let seen = &out.facts()["asked"];
            assert_eq!(seen[&asked[0]], "leaf");
            assert_eq!(seen[&asked[1]]["mode"], 0o2501);
            assert_eq!(seen[&asked[2]]["type"], "directory");
        } else {
            assert!(is_reference(), "{out}");
        }
        let mut b = bundle(&|dir| {
            let mut file = fs::File::create(dir.join("file")).unwrap();
            (0..40).for_each(|_| file.write_all(&block).unwrap());
        });
        b.set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
        let out = b.run();
        bites!(out.status != 0 || is_reference(), "40 MiB are copied under a limit of 16: {out}");
        t.nothing_left();
    });
}

/// Case 23: a file server that never answers. Who finds the source waits ten seconds for it, whether the server has taken the
/// question (and the kernel lets nobody go) or not; nobody waits for what needs no answer; whoever waits can be ended; and
/// what is left can be removed.
#[test]
fn a_file_server_that_never_answers() {
    check(|t| {
        let servers: Vec<_> = [false, true].map(|takes| Silent::new(t, takes)).into();
        // What is below the root is looked up.
        let mut calls = Vec::new();
        for server in &servers {
            // runc waits for ever, and may not even be killed.
            if is_reference() && server.takes {
                continue;
            }
            for user in [false, true] {
                let mut b = t.bundle();
                if user {
                    b.user_namespace();
                }
                b.bind(&server.dir.join("below"), "/vol", &[]).probe(&["facts"]);
                calls.push((Moment::now(), b.call(&["create"], &t.id()).spawn()));
            }
        }
        // The root itself is there without being asked for.
        for server in &servers {
            if is_reference() {
                break;
            }
            let mut b = t.bundle();
            let c = b.bind(&server.dir, "/vol", &[]).up(&["wait"]);
            c.delete_force();
        }
        // Init waits for a destination below it, and main for init; until it is told to end.
        let above = t.folder("above");
        let inner = above.join("fuse");
        fs::create_dir_all(&inner).unwrap();
        t.program("mount", &["--no-canonicalize", "--bind", text(&servers[0].dir), text(&inner)]).ok();
        t.at_end(&["umount", "-l", text(&inner)]);
        let mut b = t.bundle();
        b.writable().bind(&above, "/vol", &["rbind"]);
        b.mount(json!({"destination": "/vol/fuse/inner", "type": "tmpfs", "source": "tmpfs"}));
        let id = t.id();
        let mut call = b.probe(&["facts"]).call(&["create"], &id).spawn();
        // Whether it waits by then or not: it can be ended.
        std::thread::sleep(Duration::from_millis(500));
        if !call.is_over() {
            call.signal(libc::SIGTERM);
        }
        let begun = Moment::now();
        let out = call.wait();
        begun.within(LONG);
        assert_ne!(out.status, 0, "{out}");
        // What was making it may still be dying.
        until("it is removed", || t.rt(&["delete", "--force", &id]).status == 0);
        until("nothing is left", || !t.root.join(&id).exists());
        for (begun, call) in calls {
            let out = call.wait();
            out.fails(&["has not answered for 10 s", "/mounts/7/source", "below"]);
            // All else of this test is in there, too; but not what waits for ever.
            begun.within(LONG * 2);
        }
    });
}

/// A FUSE file system whose server says nothing; or nothing but that it is there, and takes all questions.
struct Silent {
    dir: PathBuf,
    takes: bool,
    _connection: std::sync::Arc<fs::File>,
}

impl Silent {
    fn new(t: &Case, takes: bool) -> Self {
        use std::io::Read;
        use std::os::fd::AsRawFd;
        let dir = t.folder("fuse");
        let Ok(server) = fs::File::options().read(true).write(true).open("/dev/fuse") else {
            skip!("no /dev/fuse");
        };
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", server.as_raw_fd());
        let (name, data) =
            (std::ffi::CString::new(text(&dir)).unwrap(), std::ffi::CString::new(data).unwrap());
        // SAFETY: NUL-terminated strings.
        let r = unsafe {
            libc::mount(c"silent".as_ptr(), name.as_ptr(), c"fuse".as_ptr(), 0, data.as_ptr().cast())
        };
        assert_eq!(r, 0, "{}", std::io::Error::last_os_error());
        t.at_end(&["umount", "-l", text(&dir)]);
        let server = std::sync::Arc::new(server);
        if takes {
            let theirs = std::sync::Arc::downgrade(&server);
            let mut question = vec![0_u8; 1 << 20];
            let n = (&*server).read(&mut question).expect("FUSE_INIT");
            assert_eq!(question[4..8], 26_u32.to_ne_bytes(), "{n}");
            // fuse_out_header and fuse_init_out of version 7.31.
            let mut answer = vec![0_u8; 16 + 64];
            answer[..4].copy_from_slice(&80_u32.to_ne_bytes());
            answer[8..16].copy_from_slice(&question[8..16]);
            answer[16..20].copy_from_slice(&7_u32.to_ne_bytes());
            answer[20..24].copy_from_slice(&31_u32.to_ne_bytes());
            answer[36..40].copy_from_slice(&4096_u32.to_ne_bytes());
            (&*server).write_all(&answer).expect("an answer to FUSE_INIT");
            std::thread::spawn(move || {
                while let Some(server) = theirs.upgrade() {
                    let mut wait = libc::pollfd { fd: server.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: one entry, whose descriptor is open as long as `server` is here.
                    if unsafe { libc::poll(&raw mut wait, 1, 100) } > 0
                        && (&*server).read(&mut question).is_err()
                    {
                        return;
                    }
                }
            });
        }
        Silent { dir, takes, _connection: server }
    }
}

/// CVE-2017-5226, CVE-2016-10124: nothing is pushed into the terminal of the caller, which is not the container's.
#[test]
fn cve_2017_5226_the_callers_terminal() {
    check(|t| {
        let (mut pty, slave) = Pty::pair();
        let mut b = t.bundle();
        b.probe(&["push", "evil"]);
        let out = b.call(&["run"], &t.id()).terminal(slave).run();
        let shown = pty.rest();
        assert!(shown.contains("pushed"), "the payload has spoken: {shown:?} {out}");
        bites!(!shown.contains("pushed 0") && !shown.contains("tty \"ok\""), "{shown}");
        bites!(shown.contains("leader"), "the container is in its caller's session: {shown}");
    });
}
