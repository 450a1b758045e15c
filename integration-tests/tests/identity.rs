//! Capabilities in their five sets, and no_new_privs.

use integration_tests::*;

/// The facts' five sets, each a list of names without CAP_.
fn sets(facts: &Value) -> [Vec<String>; 5] {
    ["bounding", "effective", "permitted", "inheritable", "ambient"]
        .map(|set| words(&facts["capabilities"][set]).iter().map(|n| n.replace("CAP_", "")).collect())
}

const NONE: [&str; 0] = [];

#[test]
fn root_has_what_the_document_gives() {
    check(|t| {
        let [bounding, effective, permitted, inheritable, ambient] = sets(&t.bundle().facts(&[]));
        let given = ["KILL", "NET_BIND_SERVICE", "AUDIT_WRITE"];
        assert_eq!(
            (bounding, effective, permitted),
            (given.map(String::from).into(), given.map(String::from).into(), given.map(String::from).into())
        );
        assert_eq!(inheritable, NONE);
        assert_eq!(ambient, NONE);
    });
}

#[test]
fn each_set_on_its_own() {
    check(|t| {
        let mut b = t.bundle();
        b.set(
            "/process/capabilities",
            json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SYS_CHROOT"],
                "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
                "effective": ["CAP_CHOWN"],
                "inheritable": ["CAP_KILL", "CAP_SETUID"],
                "ambient": ["CAP_KILL"],
            }),
        );
        // A user without privilege keeps what is ambient through execve, and nothing else.
        b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let [bounding, effective, permitted, inheritable, ambient] = sets(&b.facts(&[]));
        assert_eq!(bounding, ["CHOWN", "KILL", "SETUID", "SYS_CHROOT"]);
        assert_eq!(inheritable, ["KILL", "SETUID"]);
        assert_eq!(ambient, ["KILL"]);
        assert_eq!(permitted, ["KILL"]);
        assert_eq!(effective, ["KILL"]);
    });
}

#[test]
fn an_ordinary_user_has_none_by_default() {
    check(|t| {
        let mut b = t.bundle();
        b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let [bounding, effective, permitted, inheritable, ambient] = sets(&b.facts(&[]));
        assert_eq!(bounding.len(), 3);
        assert_eq!([effective, permitted, inheritable, ambient].concat(), NONE);
    });
}

#[test]
fn without_the_object_nothing_is_taken_away() {
    check(|t| {
        let ours = callers(t);
        let mut b = t.bundle();
        b.remove("/process/capabilities");
        let [bounding, effective, permitted, ..] = sets(&b.facts(&[]));
        assert_eq!([bounding, effective, permitted], [ours.clone(), ours.clone(), ours]);
    });
}

#[test]
fn empty_sets_are_empty() {
    check(|t| {
        let mut b = t.bundle();
        b.capabilities(&[]);
        assert_eq!(sets(&b.facts(&[])).concat(), NONE);
    });
}

#[test]
fn every_capability_that_the_caller_has() {
    check(|t| {
        let ours: Vec<String> = callers(t).into_iter().map(|n| format!("CAP_{n}")).collect();
        let mut b = t.bundle();
        b.set("/process/capabilities", json!({"bounding": ours, "effective": ours, "permitted": ours}));
        let [bounding, effective, ..] = sets(&b.facts(&[]));
        assert_eq!(bounding.len(), ours.len());
        assert_eq!(effective.len(), ours.len());
    });
}

/// What the runtime itself may do, as a probe outside any container tells it.
fn callers(t: &Case) -> Vec<String> {
    let facts = t.program(built().join("probe").to_str().unwrap(), &["facts"]).ok().facts();
    let [.., permitted, _, _] = sets(&facts);
    permitted
}

/// Newer or misspelt names do not stop a container; a warning goes to the log.
#[test]
fn unknown_names_are_ignored_with_a_warning() {
    check(|t| {
        let mut b = t.bundle();
        b.capabilities(&["CAP_KILL", "CAP_FLY", "kill_me"]);
        let out = b.run().ok();
        let [bounding, ..] = sets(&out.facts());
        assert_eq!(bounding, ["KILL"]);
        let warnings: Vec<_> = out.log_entries().into_iter().filter(|e| e["level"] == "warning").collect();
        assert!(warnings.iter().any(|w| w["msg"].as_str().unwrap().contains("CAP_FLY")), "{out}");
        assert_eq!(out.stderr, "");
    });
}

#[test]
fn a_capability_works() {
    check(|t| {
        let mut b = t.bundle();
        b.writable().args(&["/bin/busybox", "chown", "5:5", "/tmp"]);
        b.capabilities(&["CAP_CHOWN"]).run().ok();
        b.capabilities(&[]).run().exits(1);
    });
}

#[test]
fn no_new_privileges() {
    check(|t| {
        let mut b = t.bundle();
        for wanted in [true, false] {
            assert_eq!(b.set("/process/noNewPrivileges", wanted).facts(&[])["noNewPrivileges"], wanted);
        }
        assert_eq!(b.remove("/process/noNewPrivileges").facts(&[])["noNewPrivileges"], false);
    });
}

/// A setuid program gives its owner's identity only without no_new_privs.
#[test]
fn a_setuid_program_gains_nothing_under_no_new_privileges() {
    check(|t| {
        use std::os::unix::fs::PermissionsExt;
        for (forbidden, uid) in [(true, 1000), (false, 0)] {
            let mut b = t.bundle();
            let program = b.rootfs().join("suid");
            std::fs::copy(built().join("probe"), &program).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
            b.set("/process/noNewPrivileges", forbidden)
                .set("/process/user", json!({"uid": 1000, "gid": 1000}));
            let facts = b.probe(&["execute", "/suid", "facts"]).run().ok().facts();
            assert_eq!(facts["user"]["uids"][1], uid);
        }
    });
}

#[test]
fn ids_at_the_edges() {
    check(|t| {
        for id in [0_u32, 1, 65534, 65535, 0x7fff_ffff, 0xffff_fffe] {
            let mut b = t.bundle();
            b.set("/process/user", json!({"uid": id, "gid": id}));
            let user = &b.facts(&[])["user"];
            assert_eq!((&user["uids"], &user["gids"]), (&json!([id, id, id]), &json!([id, id, id])));
        }
    });
}
