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
fn cve_2019_5736_the_runtimes_own_program() {
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
