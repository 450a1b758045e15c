//! Security modules: process.apparmorProfile, process.selinuxLabel, linux.mountLabel, `exec --apparmor`,
//! `exec --process-label`.

use integration_tests::*;
use std::fs;
use std::path::Path;

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|s| s.starts_with('Y'))
}

/// With a policy: `SELINUX=1 hack/vm/itest lsm` loads one.
fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
        && fs::read_to_string("/proc/self/attr/current").is_ok_and(|l| !l.starts_with("kernel"))
}

/// Loads a profile with this suffix, which allows all but reading /etc/group; it goes with the test.
fn profile(t: &Case, suffix: &str) -> String {
    if !has_apparmor() {
        skip!("no AppArmor");
    }
    let name = format!("{}-{suffix}", t.token);
    let file = t.path(suffix);
    let rules = "file, capability, network, mount, umount, signal, ptrace, unix, dbus, pivot_root, userns,";
    let text = format!(
        "abi <abi/4.0>,\nprofile \"{name}\" flags=(attach_disconnected) {{ {rules} deny /etc/group r, }}\n"
    );
    fs::write(&file, text).unwrap();
    t.program("apparmor_parser", &["--replace", "--skip-cache", file.to_str().unwrap()]).ok();
    t.at_end(&["apparmor_parser", "--remove", file.to_str().unwrap()]);
    name
}

/// Another shape of the same bundle.
type Change = for<'a, 'c> fn(&'a mut Bundle<'c>) -> &'a mut Bundle<'c>;

const CURRENT: &str = "read=/proc/self/attr/apparmor/current";

#[track_caller]
fn confined(facts: &Value, name: &str) {
    assert_eq!(facts["asked"][CURRENT], format!("{name} (enforce)\n"));
    assert_eq!(facts["asked"]["read=/etc/group"]["errno"], "EACCES", "the profile's own rule");
    assert!(facts["asked"]["read=/etc/passwd"].as_str().unwrap().starts_with("root"), "what it allows");
}

const ASKED: [&str; 3] = [CURRENT, "read=/etc/group", "read=/etc/passwd"];

#[test]
fn a_profile_of_the_program() {
    check(|t| {
        let name = profile(t, "own");
        let variants: [Change; 6] = [
            |b| b,
            |b| b.set("/process/noNewPrivileges", false),
            |b| b.set("/process/user", json!({"uid": 1000, "gid": 1000})),
            |b| b.user_namespace(),
            |b| {
                let log = json!({"names": ["write"], "action": "SCMP_ACT_LOG"});
                b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [log]}))
            },
            // No /proc of its own to write to.
            |b| b.set("/linux/maskedPaths/-", "/proc/self/attr"),
        ];
        for (i, change) in variants.iter().enumerate() {
            let mut b = t.bundle();
            b.set("/process/apparmorProfile", name.as_str());
            change(&mut b);
            if i == 5 {
                let facts = b.facts(&["read=/etc/group"]);
                assert_eq!(facts["asked"]["read=/etc/group"]["errno"], "EACCES");
            } else {
                confined(&b.facts(&ASKED), &name);
            }
        }
    });
}

#[test]
fn unconfined_is_a_profile_too() {
    check(|t| {
        if !has_apparmor() {
            skip!("no AppArmor");
        }
        let mut b = t.bundle();
        for label in ["unconfined", ""] {
            let facts = b.set("/process/apparmorProfile", label).facts(&[CURRENT]);
            assert_eq!(facts["asked"][CURRENT], "unconfined\n");
        }
    });
}

#[test]
fn a_profile_that_is_not_loaded_is_refused() {
    check(|t| {
        if !has_apparmor() {
            skip!("no AppArmor");
        }
        for name in ["no-such-profile", "unconfined_x", "unconfined//x", "&unconfined_x"] {
            let mut b = t.bundle();
            b.set("/process/apparmorProfile", name).refused(&[
                "unable to apply apparmor profile",
                "/attr/apparmor/exec",
                "no such file or directory",
            ]);
        }
    });
}

#[test]
fn processes_of_exec() {
    check(|t| {
        let (own, other) = (profile(t, "own"), profile(t, "other"));
        let mut b = t.bundle();
        b.set("/process/apparmorProfile", own.as_str());
        let c = b.up(&["wait"]);
        let exec = |flags: &[&str], words: &[&str]| {
            let mut all = vec!["exec"];
            all.extend(flags);
            all.push(&c.id);
            all.extend(words);
            t.rt(&all)
        };
        let facts = ["/probe", "facts", ASKED[0], ASKED[1], ASKED[2]];
        confined(&exec(&[], &facts).ok().facts(), &own);
        confined(&exec(&["--apparmor", &other], &facts).ok().facts(), &other);
        confined(&exec(&["--apparmor", &other, "--user", "1000:1000"], &facts).ok().facts(), &other);
        let out = exec(&["--apparmor", "unconfined"], &["/probe", "facts", CURRENT]).ok();
        assert_eq!(out.facts()["asked"][CURRENT], "unconfined\n");
        let out = exec(&["--apparmor", "no-such-profile"], &["/bin/true"]);
        assert_eq!(out.status, 255);
        out.complains(&["apparmor", "/attr/apparmor/exec", "no such file or directory"]);
        let out = exec(&["--process", document(t, &facts, Some(&other)).to_str().unwrap()], &[]);
        confined(&out.ok().facts(), &other);
    });
}

fn document(t: &Case, args: &[&str], profile: Option<&str>) -> std::path::PathBuf {
    let mut process = json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    if let Some(name) = profile {
        process["apparmorProfile"] = json!(name);
    }
    let file = t.path("process.json");
    fs::write(&file, process.to_string()).unwrap();
    file
}

/// What it does not say is the container's: nobody gets out of a profile by saying nothing.
#[test]
fn a_process_document_without_a_profile() {
    check(|t| {
        let own = profile(t, "own");
        let mut b = t.bundle();
        b.set("/process/apparmorProfile", own.as_str());
        let c = b.up(&["wait"]);
        let file = document(t, &["/probe", "facts", ASKED[0], ASKED[1], ASKED[2]], None);
        confined(&t.rt(&["exec", "--process", file.to_str().unwrap(), &c.id]).ok().facts(), &own);
    });
}

/// Case 10 (CVE-2019-16884, CVE-2025-52881): while the container is made somebody covers the files that labels are
/// written to, on the host's procfs and on the container's. The label is there all the same, or nothing starts.
#[test]
fn files_that_are_covered_meanwhile() {
    check(|t| {
        let name = profile(t, "own");
        let (decoy, tale) = (t.path("decoy"), t.path("tale"));
        fs::write(&decoy, "").unwrap();
        let script = format!(
            r#"pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/')
            for proc in /proc proc; do
                for dir in $proc/1 $proc/$pid $proc/$pid/task/$pid; do
                    for file in attr/apparmor/exec attr/exec attr/apparmor/current; do
                        mount --bind {} $dir/$file && echo covered $dir/$file
                    done
                done
            done >{} 2>&1; true"#,
            decoy.display(),
            tale.display()
        );
        let mut b = t.bundle();
        b.set("/process/apparmorProfile", name.as_str());
        b.set(
            "/hooks/createContainer",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]),
        );
        b.probe(&["facts", "read=/etc/group"]);
        let out = b.run();
        let covered = fs::read_to_string(&tale).unwrap();
        assert!(covered.contains("covered /proc"), "the hook should cover something: {covered}");
        assert_eq!(fs::read_to_string(&decoy).unwrap(), "", "no label in the decoy");
        if out.status == 0 {
            assert_eq!(out.facts()["asked"]["read=/etc/group"]["errno"], "EACCES", "{out}");
        } else {
            out.complains(&["apparmor"]);
        }
    });
}

/// As crun does and the validation suite asks for; a process label would be refused.
#[test]
fn what_a_kernel_without_modules_makes_of_labels() {
    check(|t| {
        if has_apparmor() || has_selinux() {
            skip!("there is a security module");
        }
        let out = t.bundle().set("/process/apparmorProfile", "some").run().ok();
        assert!(out.log.contains("/process/apparmorProfile"), "a warning: {out}");
        let facts = t.bundle().set("/linux/mountLabel", "a:b:c").facts(&[]);
        assert!(!facts["mounts"].to_string().contains("context="), "{}", facts["mounts"]);
        t.bundle()
            .set("/process/selinuxLabel", "a:b:c")
            .refused(&["selinux label is specified in config, but selinux is disabled or not supported"]);
    });
}

// ── SELinux, with the policy of hack/vm/selinux.conf ──────────────────────────────────────────────────────

const PROCESS: &str = "user_u:base_r:box_t:s0:c1,c2";
const OTHER: &str = "user_u:base_r:box_t:s0:c3";
const FILES: &str = "user_u:base_r:file_t:s0:c1,c2";

fn selinux() {
    if !has_selinux() {
        skip!("no SELinux");
    }
}

const LABEL: &str = "read=/proc/self/attr/current";

fn label(facts: &Value) -> String {
    facts["asked"][LABEL].as_str().unwrap().trim_end_matches(['\0', '\n']).to_owned()
}

#[test]
fn a_label_of_the_program() {
    check(|t| {
        selinux();
        let variants: [Change; 4] = [
            |b| b,
            |b| b.set("/process/noNewPrivileges", false),
            |b| b.set("/process/user", json!({"uid": 1000, "gid": 1000})),
            |b| b.user_namespace(),
        ];
        for change in variants {
            let mut b = t.bundle();
            b.set("/process/selinuxLabel", PROCESS);
            change(&mut b);
            let facts = b.facts(&[LABEL]);
            assert_eq!(label(&facts), PROCESS);
            assert_eq!(facts["keyring"]["label"], PROCESS, "{}", facts["keyring"]);
        }
    });
}

#[test]
fn labels_that_the_policy_does_not_know_are_refused() {
    check(|t| {
        selinux();
        for wrong in ["user_u:base_r:no_t:s0", "nonsense", "user_u:base_r:box_t:s0:c5000"] {
            t.bundle().set("/process/selinuxLabel", wrong).refused(&["/attr/", "invalid argument"]);
            t.bundle().set("/linux/mountLabel", wrong).refused(&["error mounting", "context"]);
        }
    });
}

#[test]
fn labels_of_exec() {
    check(|t| {
        selinux();
        let mut b = t.bundle();
        b.set("/process/selinuxLabel", PROCESS);
        let c = b.up(&["wait"]);
        let facts = |flags: &[&str]| {
            let mut all = vec!["exec"];
            all.extend(flags);
            all.extend([c.id.as_str(), "/probe", "facts", LABEL]);
            t.rt(&all).ok().facts()
        };
        assert_eq!(label(&facts(&[])), PROCESS);
        let other = facts(&["--process-label", OTHER]);
        assert_eq!(label(&other), OTHER);
        assert_eq!(label(&facts(&["--process-label", OTHER, "--user", "1000"])), OTHER);
        let out = t.rt(&["exec", "--process-label", "nonsense", &c.id, "/bin/true"]);
        assert_eq!(out.status, 255);
        out.complains(&["/attr/", "invalid argument"]);
    });
}

/// What a mount's line in mountinfo says of `context`: in quotes only where there is a comma in it.
fn context(table: &str, at: &str) -> Option<String> {
    let line = table.lines().rfind(|l| l.split(' ').nth(4) == Some(at)).unwrap_or_else(|| panic!("{at}"));
    let (_, rest) = line.split_once("context=")?;
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap().to_owned(),
        None => rest.split(',').next().unwrap().to_owned(),
    })
}

fn mountinfo(b: &mut Bundle) -> String {
    b.facts(&["read=/proc/self/mountinfo"])["asked"]["read=/proc/self/mountinfo"].as_str().unwrap().to_owned()
}

/// As runc: every file system that is made for the container, but what has labels of its own.
#[test]
fn labels_of_mounts() {
    check(|t| {
        selinux();
        let mut b = t.bundle();
        b.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}));
        let table = mountinfo(b.set("/linux/mountLabel", FILES));
        for at in ["/dev", "/dev/pts", "/dev/shm", "/tmp", "/proc/acpi"] {
            assert_eq!(context(&table, at).as_deref(), Some(FILES), "{at} in {table}");
        }
        for at in ["/proc", "/sys", "/dev/mqueue", "/sys/fs/cgroup", "/"] {
            assert_eq!(context(&table, at), None, "{at} in {table}");
        }
    });
}

#[test]
fn a_mounts_own_label_goes_first() {
    check(|t| {
        selinux();
        for label in [OTHER, PROCESS] {
            let mut b = t.bundle();
            let options = json!([format!("context=\"{label}\",mode=755"), "size=1m"]);
            b.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}));
            let table = mountinfo(b.set("/linux/mountLabel", FILES));
            assert_eq!(context(&table, "/tmp").as_deref(), Some(label), "{table}");
            assert_eq!(context(&table, "/dev").as_deref(), Some(FILES), "{table}");
        }
    });
}
