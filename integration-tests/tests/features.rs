//! `features` and `--version`: what clients learn about us.

use integration_tests::*;

fn features(t: &Case) -> Value {
    t.rt(&["features"]).ok().json()
}

#[test]
fn what_crio_and_containerd_look_for() {
    check(|t| {
        let f = features(t);
        assert_eq!(f["ociVersionMin"], "1.0.0");
        assert_eq!(f["ociVersionMax"], "1.3.0");
        assert_eq!(f["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert!(words(&f["mountOptions"]).contains(&"rro"));
        for version in ["v1", "v2"] {
            assert_eq!(f["linux"]["cgroup"][version], true);
        }
    });
}

#[test]
fn hooks_and_namespaces() {
    check(|t| {
        let f = features(t);
        let sorted = |v: &Value| {
            let mut all = words(v).iter().map(|s| s.to_string()).collect::<Vec<_>>();
            all.sort();
            all
        };
        assert_eq!(
            sorted(&f["hooks"]),
            ["createContainer", "createRuntime", "poststart", "poststop", "prestart", "startContainer"]
        );
        assert_eq!(
            sorted(&f["linux"]["namespaces"]),
            ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
        );
    });
}

/// All of the specification's options, the words of runc's own list (which leaves idmap and ridmap out).
#[test]
fn mount_options() {
    check(|t| {
        let f = features(t);
        let known = words(&f["mountOptions"]);
        let expected = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
            nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind \
            rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime \
            rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw \
            shared silent slave strictatime suid symfollow sync tmpcopyup unbindable";
        for option in expected.split_whitespace() {
            assert!(known.contains(&option), "{option} is missing in {known:?}");
        }
    });
}

#[test]
fn capabilities() {
    check(|t| {
        let f = features(t);
        let known = words(&f["linux"]["capabilities"]);
        assert!(
            known.len() >= 41 && known.contains(&"CAP_CHOWN") && known.contains(&"CAP_CHECKPOINT_RESTORE"),
            "{known:?}"
        );
    });
}

#[test]
fn seccomp() {
    check(|t| {
        let f = features(t);
        let s = &f["linux"]["seccomp"];
        assert_eq!(s["enabled"], true);
        for action in [
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_KILL_THREAD",
            "SCMP_ACT_LOG",
            "SCMP_ACT_NOTIFY",
            "SCMP_ACT_TRACE",
            "SCMP_ACT_TRAP",
        ] {
            assert!(words(&s["actions"]).contains(&action), "{action}");
        }
        // The development machine's kernel, and the second machine's, know them all.
        for flag in words(&s["knownFlags"]) {
            assert!(is_reference() || words(&s["supportedFlags"]).contains(&flag), "{flag}");
        }
        assert_eq!(words(&s["knownFlags"]).len(), 4);
        for operator in [
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_LE",
            "SCMP_CMP_LT",
            "SCMP_CMP_MASKED_EQ",
            "SCMP_CMP_NE",
        ] {
            assert!(words(&s["operators"]).contains(&operator), "{operator}");
        }
        for arch in
            ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
        {
            assert!(words(&s["archs"]).contains(&arch), "{arch}");
        }
        assert!(words(&s["knownFlags"]).contains(&"SECCOMP_FILTER_FLAG_LOG"));
        assert!(words(&s["supportedFlags"]).contains(&"SECCOMP_FILTER_FLAG_SPEC_ALLOW"));
    });
}

/// Docker parses `NAME version X`, `commit: C`, `spec: S`; podman shows the whole.
#[test]
fn version() {
    check(|t| {
        for flag in ["--version", "-v", "-version"] {
            let out = t.bare([flag]).run().ok();
            let lines: Vec<&str> = out.stdout.lines().collect();
            let first: Vec<&str> = lines[0].split(' ').collect();
            assert_eq!((first[0], first[1]), (name().as_str(), "version"), "{out}");
            assert!(first[2].chars().next().unwrap().is_ascii_digit(), "{out}");
            assert!(lines.contains(&"spec: 1.3.0"), "{out}");
            assert!(lines.iter().any(|l| l.starts_with("libseccomp: 2.")), "{out}");
            assert_eq!(out.stderr, "");
        }
    });
}

#[test]
fn version_has_a_commit_as_its_second_line() {
    check(|t| {
        let out = t.bare(["--version"]).run().ok();
        assert!(out.stdout.lines().nth(1).unwrap().starts_with("commit: "), "{out}");
        assert!(out.stdout.lines().nth(2).unwrap().starts_with("spec: "), "{out}");
    });
}
