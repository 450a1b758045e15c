use super::*;
use oci_spec::runtime::{LinuxSchedulerFlag, PosixRlimitType};
use serde_json::json;
use std::os::unix::net::UnixListener;

fn config(v: serde_json::Value) -> Result<Loaded> {
    parse_config(serde_json::to_vec_pretty(&v).unwrap())
}

/// A configuration with `v` at `pointer`, whose last component is new.
fn with(pointer: &str, v: serde_json::Value) -> serde_json::Value {
    let mut doc = json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
        "mounts": [{"destination": "/proc", "type": "proc"}],
        "hooks": {"prestart": [{"path": "/bin/true"}]},
        "linux": {"resources": {}, "namespaces": [{"type": "pid"}]}
    });
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    doc.pointer_mut(parent).unwrap()[last] = v;
    doc
}

fn complaint(r: Result<Loaded>) -> (String, String) {
    let e = r.unwrap_err();
    assert_eq!(e.kind(), Kind::Spec, "{e}");
    let pointer = e.facts().get("pointer").and_then(|p| p.as_str()).unwrap_or("none").to_owned();
    (e.to_string(), pointer)
}

#[test]
fn an_ordinary_one_has_no_warnings() {
    let l = config(with("/hostname", json!("h"))).unwrap();
    assert!(l.warnings.is_empty());
    assert_eq!(l.spec.hostname().as_deref(), Some("h"));
    assert!(l.raw.starts_with(b"{"));
}

#[test]
fn what_runc_reads_on_over() {
    type Seen = fn(&Loaded) -> bool;
    let rows: &[(&str, serde_json::Value, usize, Seen)] = &[
        ("/windows", json!({"layerFolders": 1}), 0, |l| l.spec.windows().is_none()),
        ("/solaris", json!([]), 0, |l| l.spec.solaris().is_none()),
        ("/vm", json!("x"), 0, |l| l.spec.vm().is_none()),
        ("/zos", json!(1), 0, |l| l.spec.zos().is_none()),
        ("/freebsd", json!(1), 0, |_| true),
        ("/unheardOf", json!([{"a": null}]), 0, |_| true),
        ("/mounts/1", json!({"destination": "x"}), 0, |_| true),
        ("/process/user", json!(null), 0, |l| l.spec.process().as_ref().unwrap().user().uid() == 0),
        ("/process/cwd", json!(null), 0, |l| l.spec.process().as_ref().unwrap().cwd().as_os_str().is_empty()),
        ("/root/path", json!(null), 0, |l| l.spec.root().as_ref().unwrap().path().as_os_str().is_empty()),
        ("/mounts/0/destination", json!(null), 0, |l| l.spec.mounts().as_ref().unwrap().len() == 1),
        ("/hooks/prestart/0/path", json!(null), 0, |_| true),
        ("/annotations", json!({"a": null}), 0, |l| l.spec.annotations().as_ref().unwrap()["a"].is_empty()),
        ("/linux/netDevices", json!({"eth0": null}), 0, |l| {
            l.spec.linux().as_ref().unwrap().net_devices().is_some()
        }),
        ("/linux/seccomp", json!({}), 0, |l| l.spec.linux().as_ref().unwrap().seccomp().is_none()),
        ("/linux/seccomp", json!({"defaultAction": ""}), 0, |l| {
            l.spec.linux().as_ref().unwrap().seccomp().is_none()
        }),
        (
            "/process/capabilities",
            json!({"bounding": ["CAP_KILL", "CAP_NEW_ONE"], "ambient": ["CAP_NEW_ONE", "X"], "permitted": null}),
            1,
            |l| {
                let c = l.spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
                c.bounding().as_ref().unwrap().len() == 1
                    && c.ambient().as_ref().unwrap().is_empty()
                    && c.permitted().is_none()
                    && l.warnings[0] == "ignoring unknown or unavailable capabilities: [CAP_NEW_ONE X]"
            },
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_FUTURE"],
                   "syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"op": "SCMP_CMP_EQ"}]}]}),
            1,
            |l| {
                let s = l.spec.linux().as_ref().unwrap().seccomp().as_ref().unwrap();
                s.architectures().as_ref().unwrap().len() == 1
                    && s.flags().is_none()
                    && s.syscalls().as_ref().unwrap()[0].args().as_ref().unwrap()[0].index() == 0
            },
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]}),
            0,
            |l| {
                let s = l.spec.process().as_ref().unwrap().scheduler().as_ref().unwrap();
                s.flags().as_ref().unwrap()
                    == &[
                        LinuxSchedulerFlag::SchedResetOnFork,
                        LinuxSchedulerFlag::SchedFlagDLOverrun,
                        LinuxSchedulerFlag::SchedFlagReclaim,
                    ]
            },
        ),
        ("/process/execCPUAffinity", json!({"initial": " 0 , 1-2,,", "final": ""}), 0, |l| {
            let a = l.spec.process().as_ref().unwrap().exec_cpu_affinity().as_ref().unwrap();
            a.initial().as_deref() == Some("0,1-2") && a.cpu_affinity_final().is_none()
        }),
        ("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": u64::MAX}]), 0, |l| {
            let r = l.spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
            r.hugepage_limits().as_ref().unwrap()[0].limit() == i64::MAX
        }),
        ("/linux/resources/devices", json!([{"allow": false, "type": "", "access": "rwm"}]), 0, |l| {
            let r = l.spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
            r.devices().as_ref().unwrap()[0].typ().is_none()
        }),
    ];
    for (pointer, v, warnings, seen) in rows {
        let mut doc = with("/x", json!(0));
        if *pointer == "/mounts/1" {
            doc["mounts"].as_array_mut().unwrap().push(v.clone());
        } else {
            doc = with(pointer, v.clone());
        }
        let l = config(doc).unwrap_or_else(|e| panic!("{pointer}: {e}"));
        assert_eq!(l.warnings.len(), *warnings, "{pointer}: {:?}", l.warnings);
        assert!(seen(&l), "{pointer}");
    }
}

#[test]
fn what_is_refused_is_named_with_its_place() {
    let u32_max = 1u64 << 32;
    let rows = [
        ("/process/user", json!({"uid": -1}), "/process/user/uid", "integer `-1`, expected u32"),
        ("/process/user", json!({"uid": u32_max}), "/process/user/uid", "expected u32"),
        ("/process/user", json!({"gid": 1.5}), "/process/user/gid", "floating point `1.5`, expected u32"),
        ("/process/user", json!({"uid": "0"}), "/process/user/uid", "expected u32"),
        (
            "/process/user",
            json!({"additionalGids": [1, -7]}),
            "/process/user/additionalGids/1",
            "expected u32",
        ),
        ("/process/args", json!("sh"), "/process/args", "expected a sequence"),
        ("/process/args", json!(["sh", 1]), "/process/args/1", "expected a string"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_X"}]),
            "/process/rlimits/0/type",
            "wrong rlimit value: RLIMIT_X",
        ),
        ("/process/rlimits", json!([{}]), "/process/rlimits/0", "wrong rlimit value: "),
        (
            "/process/ioPriority",
            json!({"class": "X"}),
            "/process/ioPriority/class",
            "invalid ioPriority.Class: \"X\"",
        ),
        (
            "/process/ioPriority",
            json!({"priority": 1}),
            "/process/ioPriority",
            "invalid ioPriority.Class: \"\"",
        ),
        ("/process/scheduler", json!({}), "/process/scheduler", "scheduler policy is required"),
        (
            "/process/scheduler",
            json!({"policy": "X"}),
            "/process/scheduler/policy",
            "invalid scheduler policy: X",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_RR", "flags": ["X"]}),
            "/process/scheduler/flags/0",
            "invalid scheduler flag: X",
        ),
        (
            "/process/execCPUAffinity",
            json!({"initial": "a"}),
            "/process/execCPUAffinity/initial",
            "bad CPUAffinity.Initial: \"a\"",
        ),
        (
            "/process/execCPUAffinity",
            json!({"final": ","}),
            "/process/execCPUAffinity/final",
            "no members found in set \",\"",
        ),
        ("/root", json!(7), "/root", "expected struct Root"),
        ("/mounts", json!({}), "/mounts", "expected a sequence"),
        (
            "/linux/namespaces",
            json!([{"type": "x"}]),
            "/linux/namespaces/0/type",
            "namespace \"x\" does not exist",
        ),
        ("/linux/devices", json!([{"type": "x"}]), "/linux/devices/0/type", "invalid device type \"x\""),
        ("/linux/devices", json!([{}]), "/linux/devices/0", "invalid device type \"\""),
        (
            "/linux/resources/devices",
            json!([{"type": "x"}]),
            "/linux/resources/devices/0/type",
            "invalid cgroup device type \"x\"",
        ),
        ("/linux/resources/memory", json!({"limit": "1G"}), "/linux/resources/memory/limit", "expected i64"),
        (
            "/linux/personality",
            json!({"domain": "X"}),
            "/linux/personality/domain",
            "invalid personality domain X",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "X"}),
            "/linux/memoryPolicy/mode",
            "invalid memory policy mode \"X\"",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "flags": ["X"]}),
            "/linux/memoryPolicy/flags/0",
            "invalid memory policy flag \"X\"",
        ),
        (
            "/linux/seccomp",
            json!({"syscalls": [{"names": ["x"]}]}),
            "/linux/seccomp",
            "string  is not a valid action for seccomp",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "X"}),
            "/linux/seccomp/defaultAction",
            "string X is not a valid action",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_LOG", "flags": ["X"]}),
            "/linux/seccomp/flags/0",
            "seccomp flag \"X\" is not known",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"op": "X"}]}]}),
            "/linux/seccomp/syscalls/0/args/0/op",
            "string X is not a valid operator for seccomp",
        ),
    ];
    for (pointer, v, place, words) in rows {
        let (text, at) = complaint(config(with(pointer, v.clone())));
        assert_eq!(at, place, "{v}: {text}");
        assert!(text.starts_with("unable to load config.json: ") && text.contains(words), "{v}: {text}");
        assert!(text.contains(" at line ") || place.ends_with("ioPriority"), "{text}");
        assert!(!text.contains('\n'));
    }
}

#[test]
fn line_and_column_are_those_of_the_file() {
    let text = b"{\n \"windows\": 1, \"process\": {\"user\":\n  {\"uid\": -1}, \"cwd\": null}\n}";
    let (text, at) = complaint(parse_config(text.to_vec()));
    assert!(text.contains("at line 3 column 11"), "{text}");
    assert_eq!(at, "/process/user/uid");
}

#[test]
fn what_is_not_json_is_told_in_one_line_with_its_place() {
    let deep = [b"{\"a\":".repeat(100_000), b"1".to_vec()].concat();
    let rows: &[(&[u8], &str, &str)] = &[
        (b"", "none", "EOF"),
        (b"{", "none", "EOF"),
        (b"null", "none", "config cannot be null"),
        (b"[]", "none", "not an object"),
        (b"7", "none", "not an object"),
        (b"{\n  \"root\": {\n    \"path\": \"a\",\n  }\n}", "/root/path", "line 4 column"),
        (b"{\"process\": {\"args\": [\"a\" \"b\"]}}", "/process/args/0", "expected `,` or `]`"),
        (b"{\"hostname\": \"\xff\xfe\"}", "/hostname", "unicode"),
        (b"{\"hostname\": \"\\ud800\"}", "/hostname", "line 1"),
        (b"{\"process\": {\"user\": {\"uid\": 1e999999}}}", "/process/user/uid", "out of range"),
        (&deep, "any", "recursion limit"),
    ];
    for (raw, place, words) in rows {
        let e = parse_config(raw.to_vec()).unwrap_err();
        let text = e.to_string();
        assert!(text.starts_with("unable to load config.json: ") && text.contains(words), "{text}");
        assert!(!text.contains('\n'));
        let facts = e.facts();
        let at = facts.get("pointer").and_then(|p| p.as_str()).filter(|p| !p.is_empty()).unwrap_or("none");
        assert!(*place == "any" || at == *place, "{at} {text}");
    }
}

#[test]
fn of_a_key_written_twice_the_last_counts_and_what_follows_is_ignored() {
    let l = parse_config(b"{\"hostname\": \"a\", \"hostname\": \"b\"}\n garbage".to_vec()).unwrap();
    assert_eq!(l.spec.hostname().as_deref(), Some("b"));
    assert_eq!(l.warnings, ["ignoring what follows the end of the document"]);
}

#[test]
fn empty_texts_are_as_good_as_absent() {
    let l = config(json!({
        "ociVersion": "1.0.0", "hostname": "", "domainname": "",
        "process": {"user": {}, "cwd": "/", "apparmorProfile": "", "selinuxLabel": ""},
        "mounts": [{"destination": "/a", "type": "", "source": ""}],
        "linux": {"cgroupsPath": "", "rootfsPropagation": "", "mountLabel": "", "namespaces": [{"type": "pid", "path": ""}],
            "intelRdt": {"closID": ""}, "netDevices": {"a": {"name": ""}},
            "resources": {"cpu": {"cpus": "", "mems": "0", "shares": 7}, "pids": {}},
            "seccomp": {"defaultAction": "SCMP_ACT_LOG", "listenerPath": "", "flags": []}}
    }))
    .unwrap();
    let (s, linux) = (&l.spec, l.spec.linux().as_ref().unwrap());
    let p = s.process().as_ref().unwrap();
    assert!(s.hostname().is_none() && s.domainname().is_none());
    assert!(p.apparmor_profile().is_none() && p.selinux_label().is_none());
    let m = &s.mounts().as_ref().unwrap()[0];
    assert!(m.typ().is_none() && m.source().is_none());
    assert!(
        linux.cgroups_path().is_none()
            && linux.rootfs_propagation().is_none()
            && linux.mount_label().is_none()
    );
    assert!(linux.namespaces().as_ref().unwrap()[0].path().is_none());
    assert!(linux.intel_rdt().as_ref().unwrap().clos_id().is_none());
    assert!(linux.net_devices().as_ref().unwrap()["a"].name().is_none());
    let r = linux.resources().as_ref().unwrap();
    let cpu = r.cpu().as_ref().unwrap();
    assert!(r.pids().is_none() && cpu.cpus().is_none());
    assert_eq!((cpu.mems().as_deref(), cpu.shares()), (Some("0"), Some(7)));
    let seccomp = linux.seccomp().as_ref().unwrap();
    assert!(seccomp.listener_path().is_none());
    assert_eq!(seccomp.flags().as_deref(), Some(&[][..]), "no flags is not the same as flags that are none");
}

#[test]
fn a_pids_limit_of_zero_is_told_from_none() {
    for (pids, limit) in [
        (json!({"limit": 0}), Some(0)),
        (json!({"limit": null}), None),
        (json!({}), None),
        (json!({"limit": -1}), Some(-1)),
        (json!({"limit": 7}), Some(7)),
    ] {
        let l = config(with("/linux/resources/pids", pids.clone())).unwrap();
        let r = l.spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert_eq!(r.pids().map(|p| p.limit()), limit, "{pids}");
        let (r, _) = parse_resources(json!({"pids": pids}).to_string().as_bytes()).unwrap();
        assert_eq!(r.pids().map(|p| p.limit()), limit, "{pids}");
    }
}

#[test]
fn documents_for_exec_and_update() {
    let raw = br#"{"args": ["ls"], "cwd": "/", "capabilities": {"bounding": ["CAP_X"]}, "rlimits": [{"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 0}]}"#;
    let (p, warnings) = parse_process(raw).unwrap();
    assert_eq!((p.user().uid(), warnings.len()), (0, 1));
    let r = p.rlimits().as_ref().unwrap()[0];
    assert_eq!((r.typ(), r.hard()), (PosixRlimitType::RlimitCore, u64::MAX));
    let e = parse_process(br#"{"user": {"uid": -1}}"#).unwrap_err();
    assert!(
        e.to_string().contains("at line 1 column 18 (/user/uid)") && !e.facts().contains_key("pointer"),
        "{e}"
    );
    let e = parse_process(br#"{"cwd": "/", "user": {}, "ioPriority": {}}"#).unwrap_err();
    assert!(e.to_string().contains("invalid ioPriority.Class") && !e.facts().contains_key("pointer"), "{e}");
    let (r, _) = parse_resources(br#"{"memory": {"limit": -1}, "devices": null}"#).unwrap();
    assert_eq!(r.memory().unwrap().limit(), Some(-1));
}

#[test]
fn a_text_of_nothing_but_values_is_refused_before_it_fills_the_memory() {
    for unit in ["{},", "\"\",", "0,", "[],"] {
        let text = format!("{{\"linux\":{{\"uidMappings\":[{}{{}}]}}}}", unit.repeat(1 << 20));
        let (text, _) = complaint(parse_config(text.into_bytes()));
        assert!(text.contains("too many values for its size"), "{text}");
    }
    // Large and honest: many mounts, a long environment, long annotations.
    let mounts: Vec<_> = (0..5000)
        .map(|i| json!({"destination": format!("/m/{i}"), "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nosuid"]}))
        .collect();
    let env: Vec<_> = (0..1000).map(|i| format!("V{i}={}", "x".repeat(1000))).collect();
    let l = config(json!({
        "mounts": mounts,
        "process": {"user": {}, "cwd": "/", "env": env},
        "annotations": {"a": "y".repeat(2 << 20)}
    }))
    .unwrap();
    assert_eq!(l.spec.mounts().as_ref().unwrap().len(), 5000);
}

#[test]
fn files_that_are_none() {
    let dir = std::env::temp_dir().join(format!("orlop-spec-{}", std::process::id()));
    let at = dir.join("config.json");
    std::fs::create_dir_all(&dir).unwrap();
    let load = || load(fs::open_dir(&dir).unwrap());

    let e = load().unwrap_err();
    assert!(e.to_string().starts_with("JSON specification file config.json not found"), "{e}");
    assert_eq!(e.kind(), Kind::NotFound);

    std::fs::create_dir(&at).unwrap();
    assert!(load().unwrap_err().to_string().contains("it is a directory"));
    std::fs::remove_dir(&at).unwrap();

    let dirfd = fs::open_dir(&dir).unwrap();
    fs::mknodat(&dirfd, "config.json", 0o010000, 0o600, 0, 0).unwrap();
    assert!(load().unwrap_err().to_string().contains("not a regular file"));
    std::fs::remove_file(&at).unwrap();

    let socket = UnixListener::bind(&at).unwrap();
    assert!(load().unwrap_err().to_string().contains("not a regular file"));
    drop(socket);
    std::fs::remove_file(&at).unwrap();

    std::fs::File::create(&at).unwrap().set_len(100 << 20).unwrap();
    assert!(load().unwrap_err().to_string().contains("config.json is larger than 16 MiB"));

    std::fs::write(&at, "{}").unwrap();
    assert_eq!(load().unwrap().raw, b"{}");
    std::fs::rename(&at, dir.join("real.json")).unwrap();
    std::os::unix::fs::symlink("real.json", &at).unwrap();
    assert_eq!(load().unwrap().raw, b"{}", "a link to a file is followed, as by runc");
    std::fs::remove_dir_all(&dir).unwrap();
}
