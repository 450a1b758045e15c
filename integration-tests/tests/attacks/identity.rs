//! Who the program is, what it may, and what hooks are told.

use super::*;

/// Case 29: numbers that are no ids are refused; none becomes 0 by accident.
#[test]
fn cve_2016_3697_ids_that_are_none() {
    check(|t| {
        for id in ["-1", "4294967296", "1.5", "\"0\"", "18446744073709551616"] {
            for kind in ["uid", "gid"] {
                let mut b = t.bundle();
                b.probe(&["facts"]).write();
                let text = fs::read_to_string(b.dir.join("config.json")).unwrap();
                let text = text.replace(&format!("\"{kind}\": 0"), &format!("\"{kind}\": {id}"));
                fs::write(b.dir.join("config.json"), text).unwrap();
                t.rt(&["run", "-b", b.dir.to_str().unwrap(), &t.id()]).fails(&[]);
            }
        }
        t.nothing_left();
    });
}

/// (uid_t)-1 means "leave it as it is" to the kernel: the one number that must never be passed on.
#[test]
fn the_id_that_means_no_change() {
    check(|t| {
        for kind in ["uid", "gid"] {
            let mut b = t.bundle();
            b.set(&format!("/process/user/{kind}"), u32::MAX).probe(&["facts"]);
            b.run().complains(&[]);
        }
        t.nothing_left();
    });
}

/// Case 30: sixty-four groups of the caller, and the container has its own.
#[test]
fn cve_2022_36109_groups_of_the_caller() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/user/additionalGids", json!([10, 20])).write();
        let groups: Vec<String> = (7000..7064).map(|g: i32| g.to_string()).collect();
        let words = ["setpriv".to_string(), "--groups".to_string(), groups.join(",")];
        let out = b.call(&["run"], &t.id()).under(words).run().ok();
        assert_eq!(out.facts()["user"]["groups"], json!([10, 20]));
    });
}

/// Case 31: no_new_privs that cannot be set is an error.
#[test]
fn no_new_privileges_that_fails() {
    check(|t| {
        let b = t.bundle();
        let out = t.path("strace");
        let words = [
            "strace",
            "-f",
            "-o",
            out.to_str().unwrap(),
            "-e",
            "trace=prctl",
            "-e",
            "inject=prctl:error=EINVAL:when=1+",
            "--",
        ];
        let ended = b.call(&["run"], &t.id()).under(words).run();
        assert_ne!(ended.status, 0);
        assert!(!ended.stdout.contains("noNewPrivileges"), "{ended}");
        t.nothing_left();
    });
}

/// Case 43: the payload's environment is not the hooks': no LD_PRELOAD for programs of the host.
#[test]
fn cve_2025_23266_hooks_and_the_payloads_environment() {
    check(|t| {
        let mut b = t.bundle();
        let file = t.path("env");
        b.set("/process/env", json!(["LD_PRELOAD=/evil.so", "PATH=/evil"]));
        let script = format!("env >> {}", file.display());
        for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            let entry = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin", "GOOD=1"]});
            b.set(&format!("/hooks/{kind}/-"), entry);
        }
        b.run().ok();
        let told = fs::read_to_string(file).unwrap();
        assert_eq!(told.matches("GOOD=1").count(), 5, "{told}");
        assert!(!told.contains("evil"), "{told}");
    });
}
