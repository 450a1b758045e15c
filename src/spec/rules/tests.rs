use super::*;
use crate::spec::parse_config;
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/", "env": ["A=b"]},
        "hostname": "h",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "hooks": {"poststop": [{"path": "/bin/true", "timeout": 1}]},
        "annotations": {},
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "uts"}, {"type": "mount"}, {"type": "ipc"}, {"type": "network"}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore"]
        }
    })
}

/// `good` with these places changed; `null` takes away.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut doc = good();
    for (pointer, v) in changes {
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let parent = doc.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match parent {
            Value::Array(a) => a[last.parse::<usize>().unwrap()] = v.clone(),
            parent => parent[last] = v.clone(),
        }
    }
    doc
}

fn checked(doc: &Value) -> Result<Vec<String>> {
    check(&parse_config(doc.to_string().into_bytes()).unwrap_or_else(|e| panic!("{e}")).spec)
}

#[test]
fn a_good_one_passes_in_silence() {
    assert_eq!(checked(&good()).unwrap(), Vec::<String>::new());
}

#[test]
fn each_violation_has_its_words_and_its_place() {
    let user_ns = json!([{"type": "user"}]);
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    // What is changed; where the finding points; what it says.
    #[rustfmt::skip]
    let rows: Vec<(Vec<(&str, Value)>, &str, &str)> = vec![
        (vec![("/ociVersion", json!("1.x"))], "/ociVersion", "is no version of the form MAJOR.MINOR.PATCH"),
        (vec![("/ociVersion", json!(null))], "/ociVersion", "ociVersion \"\" is no version"),
        (vec![("/root", json!(null))], "/root", "root must be specified"),
        (vec![("/root/path", json!(""))], "/root/path", "root.path must not be empty"),
        (vec![("/root/path", json!("a\0"))], "/root/path", "root.path contains a NUL byte"),
        (vec![("/process/cwd", json!(""))], "/process/cwd", "Cwd property must not be empty"),
        (vec![("/process/cwd", json!("a"))], "/process/cwd", "Cwd must be an absolute path"),
        (vec![("/process/cwd", json!("/\0"))], "/process/cwd", "cwd contains a NUL byte"),
        (vec![("/process/args", json!([]))], "/process/args", "args must not be empty"),
        (vec![("/process/args", json!(null))], "/process/args", "args must not be empty"),
        (vec![("/process/args", json!(["a", "\0"]))], "/process/args/1", "argument contains a NUL byte"),
        (vec![("/process/env", json!(["A"]))], "/process/env/0", "missing '='"),
        (vec![("/process/env", json!(["=A"]))], "/process/env/0", "name cannot be empty"),
        (vec![("/process/env", json!(["A=\0"]))], "/process/env/0", "\"A\": contains nul byte"),
        (vec![("/process/user/uid", json!(u32::MAX))], "/process/user/uid", "4294967295 is not an id"),
        (vec![("/process/user/gid", json!(u32::MAX))], "/process/user/gid", "is not an id"),
        (vec![("/process/user/additionalGids", json!([1, u32::MAX]))], "/process/user/additionalGids/1", "is not an id"),
        (vec![("/process/user/umask", json!(512))], "/process/user/umask", "invalid umask 512 (octal 1000)"),
        (vec![("/process/rlimits", json!([{"type": "RLIMIT_CORE"}, {"type": "RLIMIT_CORE"}]))], "/process/rlimits/1", "RLIMIT_CORE is given more than once"),
        (vec![("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]))], "/process/rlimits/0", "soft limit 2 is above the hard limit 1"),
        (vec![("/process/capabilities", json!({"effective": ["CAP_KILL"]}))], "/process/capabilities/effective", "not permitted: CAP_KILL"),
        (vec![("/process/capabilities", json!({"inheritable": ["CAP_KILL"]}))], "/process/capabilities/inheritable", "not in the bounding set: CAP_KILL"),
        (vec![("/process/oomScoreAdj", json!(1001))], "/process/oomScoreAdj", "oomScoreAdj 1001"),
        (vec![("/process/oomScoreAdj", json!(-1001))], "/process/oomScoreAdj", "oomScoreAdj -1001"),
        (vec![("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT", "priority": 8}))], "/process/ioPriority/priority", "invalid ioPriority.Priority: 8"),
        (vec![("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": -1}))], "/process/ioPriority/priority", "invalid ioPriority.Priority: -1"),
        (vec![("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20}))], "/process/scheduler/nice", "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER"),
        (vec![("/process/scheduler", json!({"policy": "SCHED_OTHER", "priority": 1}))], "/process/scheduler/priority", "can only be specified for SchedFIFO or SchedRR"),
        (vec![("/process/scheduler", json!({"policy": "SCHED_RR"}))], "/process/scheduler/priority", "invalid scheduler.priority: 0"),
        (vec![("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 100}))], "/process/scheduler/priority", "invalid scheduler.priority: 100"),
        (vec![("/process/scheduler", json!({"policy": "SCHED_BATCH", "runtime": 1}))], "/process/scheduler", "only be specified for SchedDeadline"),
        (vec![("/process/execCPUAffinity", json!({"initial": "3-1"}))], "/process/execCPUAffinity/initial", "bad CPUAffinity.Initial: invalid range: 3-1"),
        (vec![("/process/execCPUAffinity", json!({"final": "9999"}))], "/process/execCPUAffinity/final", "values larger than 8191"),
        (vec![("/process/apparmorProfile", json!("\0"))], "/process/apparmorProfile", "NUL"),
        (vec![("/process/apparmorProfile", json!("\n"))], "/process/apparmorProfile", "one line"),
        (vec![("/process/selinuxLabel", json!("a:b:c\n"))], "/process/selinuxLabel", "one line"),
        (vec![("/process/selinuxLabel", json!("a".repeat(4001)))], "/process/selinuxLabel", "longer"),
        (vec![("/linux/mountLabel", json!("\n"))], "/linux/mountLabel", "one line"),
        (vec![("/process/selinuxLabel", json!("\0"))], "/process/selinuxLabel", "NUL"),
        (vec![("/linux/mountLabel", json!("\0"))], "/linux/mountLabel", "NUL"),
        (vec![("/linux/namespaces/1", json!({"type": "time"}))], "/hostname", "unable to set hostname without a private UTS namespace"),
        (vec![("/hostname", json!("h".repeat(65)))], "/hostname", "hostname is longer than 64 bytes"),
        (vec![("/hostname", json!("h\0"))], "/hostname", "NUL"),
        (vec![("/domainname", json!("h".repeat(65)))], "/domainname", "domainname is longer"),
        (vec![("/mounts/0/destination", json!(""))], "/mounts/0/destination", "must not be empty"),
        (vec![("/mounts/0/destination", json!("/"))], "/mounts/0/destination", "mountpoint \"/\" is on the top of rootfs"),
        (vec![("/mounts/0/destination", json!("a/../."))], "/mounts/0/destination", "on the top of rootfs"),
        (vec![("/mounts/0/destination", json!("/a\0"))], "/mounts/0/destination", "null byte"),
        (vec![("/mounts/0/source", json!("/a\0"))], "/mounts/0/source", "null byte"),
        (vec![("/mounts/0/type", json!("a\0"))], "/mounts/0/type", "null byte"),
        (vec![("/mounts/0/options", json!(["a", "b\0"]))], "/mounts/0/options/1", "null byte"),
        (vec![("/mounts/0", json!({"destination": "/a", "source": "/b"}))], "/mounts/0", "a mount needs a type"),
        (vec![("/mounts/0", json!({"destination": "/a", "options": ["bind"]}))], "/mounts/0", "a bind mount needs a source"),
        (vec![("/mounts/0/options", json!(["idmap"]))], "/mounts/0", "id-mapped mounts are only supported for bind-mounts"),
        (vec![("/mounts/0/options", json!(["bind", "idmap"]))], "/mounts/0", "id-mapped mounts must have both uid and gid mappings"),
        (vec![("/mounts/0/options", json!(["bind"])), ("/mounts/0/uidMappings", map.clone())], "/mounts/0", "must have both"),
        (vec![("/hooks/poststop/0/path", json!("true"))], "/hooks/poststop/0/path", "hook path \"true\" is not absolute"),
        (vec![("/hooks/poststop/0/timeout", json!(0))], "/hooks/poststop/0/timeout", "must be greater than zero"),
        (vec![("/hooks/poststop/0/args", json!(["\0"]))], "/hooks/poststop/0/args/0", "NUL"),
        (vec![("/hooks/poststop/0/env", json!(["\0"]))], "/hooks/poststop/0/env/0", "NUL"),
        (vec![("/annotations", json!({"": "x"}))], "/annotations/", "key must not be empty"),
        (vec![("/linux/namespaces/0", json!({"type": "uts"}))], "/linux/namespaces/1", "duplicated ns \"uts\""),
        (vec![("/linux/namespaces/0/path", json!("proc/1/ns/pid"))], "/linux/namespaces/0/path", "is not absolute"),
        (vec![("/linux/namespaces/0/path", json!("/p\0"))], "/linux/namespaces/0/path", "NUL"),
        (vec![("/linux/namespaces/0", json!({"type": "user"}))], "/linux/namespaces", "no namespace path to join nor mappings"),
        (vec![("/linux/namespaces/0", user_ns[0].clone()), ("/linux/uidMappings", map.clone())], "/linux/gidMappings", "no gid mappings found"),
        (vec![("/linux/namespaces/0", user_ns[0].clone()), ("/linux/gidMappings", map.clone()), ("/linux/uidMappings", json!([{"containerID": 1, "hostID": 1, "size": 1}]))], "/linux/uidMappings", "no mapping found for uid 0"),
        (vec![("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}))], "/linux/timeOffsets", "time namespace isn't enabled"),
        (vec![("/linux/namespaces/0", json!({"type": "time", "path": "/p"})), ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}))], "/linux/timeOffsets", "both namespace path and time offsets"),
        (vec![("/linux/namespaces/0", json!({"type": "time"})), ("/linux/timeOffsets", json!({"realtime": {"secs": 1}}))], "/linux/timeOffsets/realtime", "unknown clock"),
        (vec![("/linux/namespaces/0", json!({"type": "time"})), ("/linux/timeOffsets", json!({"boottime": {"nanosecs": 1_000_000_000}}))], "/linux/timeOffsets/boottime/nanosecs", "a second or more"),
        (vec![("/linux/namespaces/2", json!({"type": "time"}))], "/linux/maskedPaths", "without a private MNT namespace"),
        (vec![("/linux/maskedPaths", json!(["a"]))], "/linux/maskedPaths/0", "not an absolute path"),
        (vec![("/linux/readonlyPaths", json!(["/a\0"]))], "/linux/readonlyPaths/0", "NUL"),
        (vec![("/linux/devices", json!([{"type": "a", "path": "/dev/x"}]))], "/linux/devices/0/type", "invalid device type \"a\""),
        (vec![("/linux/devices", json!([{"type": "c", "path": "dev/x"}]))], "/linux/devices/0/path", "is not absolute"),
        (vec![("/linux/devices", json!([{"type": "c"}]))], "/linux/devices/0/path", "is not absolute"),
        (vec![("/linux/devices", json!([{"type": "b", "path": "/x", "major": -1}]))], "/linux/devices/0/major", "-1 is not a major device number"),
        (vec![("/linux/devices", json!([{"type": "b", "path": "/x", "minor": 1u64 << 20}]))], "/linux/devices/0/minor", "not a minor device number"),
        (vec![("/linux/devices", json!([{"type": "c", "path": "/x", "uid": u32::MAX}]))], "/linux/devices/0/uid", "is not an id"),
        (vec![("/linux/devices", json!([{"type": "c", "path": "/x"}, {"type": "c", "path": "/x", "minor": 1}]))], "/linux/devices/1", "listed twice"),
        (vec![("/linux/resources/devices/0/access", json!(""))], "/linux/resources/devices/0/access", "device access at 0 field cannot be empty"),
        (vec![("/linux/resources/devices/0/access", json!("rx"))], "/linux/resources/devices/0/access", "invalid device access \"rx\""),
        (vec![("/linux/resources/devices/0/major", json!(-2))], "/linux/resources/devices/0/major", "-2 is not a device number"),
        (vec![("/linux/resources/unified", json!({"../x": "1"}))], "/linux/resources/unified/..~1x", "must be a file name (no slashes)"),
        (vec![("/linux/resources/unified", json!({"..": "1"}))], "/linux/resources/unified/..", "must be a file name"),
        (vec![("/linux/resources/unified", json!({"a.b": "\0"}))], "/linux/resources/unified/a.b", "NUL"),
        (vec![("/linux/resources/rdma", json!({"a b": {}}))], "/linux/resources/rdma/a b", "no name of an RDMA device"),
        (vec![("/linux/resources/network", json!({"priorities": [{"name": "a\nb"}]}))], "/linux/resources/network/priorities/0/name", "invalid network device name"),
        (vec![("/linux/resources/hugepageLimits", json!([{"pageSize": "../x", "limit": 1}]))], "/linux/resources/hugepageLimits/0/pageSize", "invalid page size"),
        (vec![("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": -1}]))], "/linux/resources/hugepageLimits/0/limit", "is negative"),
        (vec![("/linux/cgroupsPath", json!("/a\0"))], "/linux/cgroupsPath", "NUL"),
        (vec![("/linux/cgroupsPath", json!("/a\nb"))], "/linux/cgroupsPath", "newline"),
        (vec![("/linux/rootfsPropagation", json!("sharde"))], "/linux/rootfsPropagation", "rootfsPropagation=sharde is not supported"),
        (vec![("/linux/memoryPolicy", json!({"mode": "MPOL_LOCAL", "nodes": "0-1"}))], "/linux/memoryPolicy/nodes", "requires 0 nodes but got 2"),
        (vec![("/linux/memoryPolicy", json!({"mode": "MPOL_BIND"}))], "/linux/memoryPolicy/nodes", "at least one node but got 0"),
        (vec![("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "x"}))], "/linux/memoryPolicy/nodes", "invalid memory policy nodes \"x\""),
        (vec![("/linux/intelRdt", json!({"closID": ".."}))], "/linux/intelRdt/closID", "invalid intelRdt.ClosID \"..\""),
        (vec![("/linux/intelRdt", json!({"closID": "a/b"}))], "/linux/intelRdt/closID", "invalid intelRdt.ClosID"),
        (vec![("/linux/intelRdt", json!({"memBwSchema": "L3:0=f"}))], "/linux/intelRdt/memBwSchema", "must start with MB:"),
        (vec![("/linux/intelRdt", json!({"schemata": ["a", "b\nc"]}))], "/linux/intelRdt/schemata/1", "one line"),
        (vec![("/linux/namespaces/4", json!({"type": "time"})), ("/linux/netDevices", json!({"eth0": {}}))], "/linux/netDevices", "without a NET namespace"),
        (vec![("/linux/netDevices", json!({"eth0": {"name": "0123456789abcdef"}}))], "/linux/netDevices/eth0/name", "invalid network device name"),
        (vec![("/linux/netDevices", json!({"a/b": {}}))], "/linux/netDevices/a~1b", "invalid network device name \"a/b\""),
        (vec![("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}))], "/linux/seccomp/listenerMetadata", "without listenerPath"),
    ];
    for (changes, place, words) in rows {
        let e = checked(&with(&changes)).err().unwrap_or_else(|| panic!("passed: {changes:?}"));
        let text = e.to_string();
        assert_eq!(e.facts().get("pointer").and_then(Value::as_str), Some(place), "{text}");
        assert!(text.contains(words) && !text.contains("also:"), "{text}");
        assert_eq!(e.kind(), Kind::Spec);
    }
}

#[test]
fn what_is_unusual_but_right_passes() {
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 0, "size": 1000}]);
    let user = ("/linux/namespaces/0", json!({"type": "user"}));
    let rows: Vec<Vec<(&str, Value)>> = vec![
        vec![("/hooks", json!(null)), ("/mounts", json!(null)), ("/annotations", json!(null))],
        vec![("/linux", json!(null)), ("/hostname", json!(null))],
        vec![("/linux/rootfsPropagation", json!("runbindable"))],
        vec![("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX}]))],
        vec![(
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}),
        )],
        vec![("/process/scheduler", json!({"policy": "SCHED_IDLE", "nice": 99}))],
        vec![("/process/user/umask", json!(0o777))],
        vec![("/linux/intelRdt", json!({"closID": "/"}))],
        vec![(
            "/linux/resources/devices/0",
            json!({"allow": true, "type": "c", "major": -1, "minor": -1, "access": "m"}),
        )],
        vec![(
            "/linux/devices",
            json!([{"type": "p", "path": "/f"}, {"type": "c", "path": "/x"}, {"type": "u", "path": "/x"}]),
        )],
        vec![user.clone(), ("/linux/uidMappings", map.clone()), ("/linux/gidMappings", map.clone())],
        vec![("/linux/namespaces/0", json!({"type": "user", "path": "/p"}))],
        vec![
            ("/linux/namespaces/0", json!({"type": "user", "path": "/p"})),
            ("/linux/uidMappings", map.clone()),
            ("/linux/gidMappings", map.clone()),
        ],
        vec![
            user,
            ("/linux/uidMappings", map.clone()),
            ("/linux/gidMappings", map.clone()),
            ("/mounts/0/options", json!(["bind", "ridmap"])),
        ],
        vec![("/mounts/0/options", json!(["rbind", "rro", "rslave", "defaults"]))],
        vec![("/mounts/0", json!({"destination": "/a", "options": ["remount", "ro"]}))],
        vec![
            ("/linux/namespaces/0", json!({"type": "time"})),
            ("/linux/timeOffsets", json!({"boottime": {"secs": -5, "nanosecs": 999_999_999}})),
        ],
    ];
    for changes in rows {
        let r = checked(&with(&changes));
        assert_eq!(r.as_ref().map(Vec::len).ok(), Some(0), "{changes:?}: {r:?}");
    }
}

#[test]
fn warnings() {
    for (changes, words) in [
        (("/ociVersion", json!("2.0.0")), "ociVersion \"2.0.0\" is not known here"),
        (("/ociVersion", json!("0.9.0-rc.1+dev")), "ociVersion \"0.9.0-rc.1+dev\" is not known here"),
        (("/linux/uidMappings", json!([{"size": 1}])), "ignoring mappings without a user namespace"),
        (("/linux/gidMappings", json!([{"size": 1}])), "ignoring mappings without a user namespace"),
        (("/mounts/0/destination", json!("proc")), "mount destination proc is not absolute"),
        (
            ("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]})),
            "ignoring unsupported personality flags",
        ),
        (("/linux/resources/memory", json!({"kernel": 1})), "Kernel memory settings are ignored"),
        (
            (
                "/process/capabilities",
                json!({"ambient": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "bounding": ["CAP_KILL"]}),
            ),
            "inheritable: CAP_CHOWN",
        ),
    ] {
        let w = checked(&with(&[changes])).unwrap();
        assert!(w.len() == 1 && w[0].contains(words), "{w:?}");
    }
}

#[test]
fn sysctls_of_namespaces() {
    let all = json!([{"type": "ipc"}, {"type": "network"}, {"type": "uts"}, {"type": "user", "path": "/p"}, {"type": "mount"}]);
    let rows: &[(&str, bool, &str)] = &[
        // key; allowed with all namespaces; what is said without any
        ("kernel.msgmax", true, "hosts ipc namespace"),
        ("kernel.sem", true, "hosts ipc namespace"),
        ("kernel.shm_rmid_forced", true, "hosts ipc namespace"),
        ("fs.mqueue.msg_max", true, "hosts ipc namespace"),
        ("fs/mqueue/msg_max", true, "hosts ipc namespace"),
        ("net.ipv4.ip_forward", true, "not allowed in host network namespace"),
        (
            "net/ipv4/conf/eno2.100/rp_filter",
            true,
            "\"net.ipv4.conf.eno2/100.rp_filter\" not allowed in host network",
        ),
        ("user.max_user_namespaces", true, "setting ucounts without a user namespace"),
        ("kernel.domainname", true, "not in a separate kernel namespace"),
        ("kernel.hostname", false, "not in a separate kernel namespace"),
        ("kernel.core_pattern", false, "not in a separate kernel namespace"),
        ("kernel.semx", false, "not in a separate kernel namespace"),
        ("fs.mqueue", false, "not in a separate kernel namespace"),
        ("net", false, "not in a separate kernel namespace"),
        ("vm.swappiness", false, "not in a separate kernel namespace"),
        ("net/../kernel/core_pattern", false, "no name"),
        ("net.//.kernel.core_pattern", false, "no name"),
        ("net./.kernel", false, "no name"),
        ("net..x", false, "no name"),
        ("net/./x", false, "no name"),
        (".net.x", false, "no name"),
        ("net.x.", false, "no name"),
        ("/net/x", false, "no name"),
        ("", false, "no name"),
        ("net.a\0", false, "no name"),
    ];
    for (key, allowed, words) in rows {
        let sysctl = ("/linux/sysctl", json!({*key: "1"}));
        let with_all = checked(&with(&[sysctl.clone(), ("/linux/namespaces", all.clone())]));
        assert_eq!(with_all.is_ok(), *allowed, "{key:?}: {with_all:?}");
        let none =
            with(&[sysctl, ("/linux/namespaces", json!([{"type": "mount"}])), ("/hostname", json!(null))]);
        let e = checked(&none).unwrap_err().to_string();
        assert!(e.contains(words), "{key:?}: {e}");
    }
    let e = checked(&with(&[
        ("/linux/namespaces", all.clone()),
        ("/linux/sysctl", json!({"kernel.hostname": "x"})),
    ]));
    assert!(e.unwrap_err().to_string().contains("conflicts with the OCI \"hostname\" field"));
    for value in ["1\n2", "1\n", "\0"] {
        let e = checked(&with(&[("/linux/sysctl", json!({"net.a": value}))])).unwrap_err();
        assert_eq!(e.facts()["pointer"], "/linux/sysctl/net.a");
    }
}

#[test]
fn id_maps() {
    let m = |c: u32, h: u32, s: u32| json!({"containerID": c, "hostID": h, "size": s});
    for (map, words) in [
        (json!([m(0, 0, 1), m(1, 1, 0)]), "size 0"),
        (json!([m(0, 0, 10), m(9, 100, 1)]), "mappings 0 and 1 overlap in container ids"),
        (json!([m(5, 100, 10), m(0, 105, 5)]), "overlap in host ids"),
        (json!([m(0, 0, u32::MAX), m(0, 0, 1)]), "overlap"),
        (json!([m(0, u32::MAX, 1)]), "goes beyond the last id, 4294967294"),
        (json!((0..341).map(|i| m(i, i, 1)).collect::<Vec<_>>()), "341 id mappings, the kernel takes 340"),
    ] {
        let ok = json!([m(0, 0, u32::MAX)]);
        let changes = [
            ("/linux/namespaces/0", json!({"type": "user"})),
            ("/linux/uidMappings", map),
            ("/linux/gidMappings", ok),
        ];
        let e = checked(&with(&changes)).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    }
}

#[test]
fn all_findings_are_told() {
    let doc = with(&[
        ("/process/cwd", json!("x")),
        ("/linux/rootfsPropagation", json!("x")),
        ("/linux/sysctl", json!({"a/b": "1"})),
    ]);
    let e = checked(&doc).unwrap_err();
    assert_eq!(
        e.to_string(),
        "Cwd must be an absolute path; \
         also: sysctl \"a.b\" is not in a separate kernel namespace (/linux/sysctl/a~1b); \
         also: rootfsPropagation=x is not supported (/linux/rootfsPropagation) (config.json: /process/cwd)"
    );
    let args: Vec<_> = (0..1000).map(|_| "\0").collect();
    let e = checked(&with(&[("/process/args", json!(args))])).unwrap_err().to_string();
    assert!(e.contains("and 987 more") && e.len() < 2000, "{e}");
}

#[test]
fn a_process_alone() {
    let p = |v: Value| crate::spec::parse_process(v.to_string().as_bytes()).unwrap().0;
    assert!(check_process(&p(json!({"args": ["a"], "cwd": "/"}))).is_ok());
    let e = check_process(&p(json!({"args": [], "cwd": "x"}))).unwrap_err();
    assert_eq!(e.to_string(), "Cwd must be an absolute path (/cwd); also: args must not be empty (/args)");
    assert!(!e.facts().contains_key("pointer"));
}

#[test]
fn lists_of_ids() {
    assert_eq!(id_list("0-3, 5,,7-7").unwrap(), [(0, 3), (5, 5), (7, 7)]);
    assert_eq!(id_list("").unwrap(), []);
    for bad in [",", "-", "1-", "-1", "a", "1-2-3", "8192", "4294967296", "3-1", "+1", "0x1"] {
        assert!(id_list(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_rule_of_a_process_is_a_rule() {
    for rule in PROCESS_RULES {
        assert!(RULES.iter().any(|(_, r)| std::ptr::fn_addr_eq(*r, *rule)));
    }
    let names: HashSet<_> = RULES.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), RULES.len());
}
