//! Descriptors and programs of the host that a container could get hold of.

use super::*;

/// Case 15 (CVE-2024-21626): the working directory is a descriptor of the runtime, or one that the caller has leaked.
#[test]
fn cve_2024_21626_cwd_through_a_descriptor() {
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
fn cve_2024_21626_program_through_a_descriptor() {
    check(|t| {
        let mut b = t.bundle();
        b.writable();
        let script = b.rootfs().join("tmp/script");
        for n in 3..16 {
            let path = format!("/proc/self/fd/{n}");
            let inside = format!("{path}/bin/true");
            executable(&script, format!("#!{path}\n"));
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

/// An ELF program of one page that says `word` and ends; with an interpreter, which the kernel would start in its place.
#[cfg(target_arch = "x86_64")]
fn program_that_says(word: &str, interpreter: Option<&str>) -> Vec<u8> {
    const HEADERS: usize = 64 + 2 * 56;
    // An interpreter goes wherever there is room; who has one must not be in its way.
    let (kind, base) = if interpreter.is_some() { (2_u16, 0x1000_0000_u64) } else { (3, 0) };
    // write(1, word, length); exit(0)
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x48, 0x8d, 0x35, 16, 0, 0, 0, 0xba];
    code.extend((word.len() as u32).to_le_bytes());
    code.extend([0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    code.extend(word.as_bytes());
    let path: Vec<u8> = interpreter.map(|i| [i.as_bytes(), &[0]].concat()).unwrap_or_default();
    let size = (HEADERS + code.len() + path.len()) as u64;
    let mut all = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [kind, 62] {
        all.extend(half.to_le_bytes());
    }
    all.extend(1_u32.to_le_bytes());
    for word in [base + HEADERS as u64, 64, 0] {
        all.extend(word.to_le_bytes());
    }
    all.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, if interpreter.is_some() { 2 } else { 1 }, 64, 0, 0] {
        all.extend(half.to_le_bytes());
    }
    let mut segment = |kind: u32, at: u64, size: u64| {
        all.extend(kind.to_le_bytes());
        all.extend(5_u32.to_le_bytes());
        for word in [at, base + at, base + at, size, size, 0x1000] {
            all.extend(word.to_le_bytes());
        }
    };
    // PT_INTERP first, as the kernel wants it; PT_LOAD.
    if interpreter.is_some() {
        segment(3, (HEADERS + code.len()) as u64, path.len() as u64);
    }
    segment(1, 0, size);
    all.resize(HEADERS, 0);
    [all, code, path].concat()
}

/// Case 16: the program's loader (PT_INTERP) through a descriptor of the caller's or of the runtime's, or the runtime itself;
/// of run and of exec. The kernel opens it before it closes anything.
#[cfg(target_arch = "x86_64")]
#[test]
fn cve_2024_21626_loader_through_a_descriptor() {
    check(|t| {
        let outside = t.path("loader");
        executable(&outside, program_that_says("ESCAPED", None));
        let mut b = t.bundle();
        b.writable().capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
        b.args(&["/tmp/program"]);
        let (own, program) = (b.rootfs().join("tmp/loader"), b.rootfs().join("tmp/program"));
        executable(&own, program_that_says("LOADED", None));
        let mut container = t.bundle();
        container.writable();
        let c = container.up(&["wait"]);
        let inside = container.rootfs().join("tmp/program");
        let try_loader = |loader: &str| {
            let text = program_that_says("PROGRAM", Some(loader));
            executable(&program, &text);
            executable(&inside, &text);
            let run = b.call(&["run"], &t.id());
            let exec = t.call(["exec", &c.id, "/tmp/program"]);
            [run, exec].map(|call| {
                let call = call.pass(12, fs::File::open("/").unwrap());
                call.pass(13, fs::File::open(&outside).unwrap()).run()
            })
        };
        copy_executable(&own, &container.rootfs().join("tmp/loader"));
        // So that a loader that was reached would be seen.
        for out in try_loader("/tmp/loader") {
            assert_eq!(out.ok().stdout, "LOADED");
        }
        for n in 3..16 {
            let path = format!("/proc/self/fd/{n}");
            for loader in [path.clone(), format!("{path}{}", text(&outside))] {
                for out in try_loader(&loader) {
                    bites!(!out.stdout.contains("ESCAPED"), "{loader}: {out}");
                    assert!(!out.killed && out.status != 0, "{loader}: {out}");
                }
            }
        }
        // The runtime's own program, as what it is or as what a process of its own is: it may be loaded where it cannot be
        // written, and finds nothing to do there.
        let sum = || t.program("sha256sum", &[binary().to_str().unwrap()]).ok().stdout;
        let before = sum();
        for loader in ["/proc/self/exe", "/proc/1/exe", "/proc/self/task/1/exe"] {
            for out in try_loader(loader) {
                assert!(!out.killed, "{loader}: {out}");
            }
        }
        bites!(sum() == before, "the runtime's program was changed");
        c.delete_force();
        t.nothing_left();
    });
}

/// Case 18 (CVE-2019-5736): the payload is the runtime's own program, and whoever finds it open for writing wins.
#[test]
fn cve_2019_5736_the_runtimes_own_program() {
    check(|t| {
        let sum = |out: Output| out.stdout.split(' ').next().unwrap().to_string();
        let binary = binary();
        let before = sum(t.program("sha256sum", &[binary.to_str().unwrap()]).ok());
        let mut b = t.bundle();
        let script = b.rootfs().join("tmp/evil");
        executable(&script, "#!/proc/self/exe\n");
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
fn cve_2024_21626_descriptors_of_the_caller() {
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
fn cve_2016_9962_descriptors_of_a_waiting_init() {
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
