//! hostname, domainname, sysctl, personality.

use integration_tests::*;
use std::fs;

#[test]
fn hostname() {
    check(|t| {
        let mut b = t.bundle();
        assert_eq!(b.set("/hostname", "crow-nest.example").facts(&[])["hostname"], "crow-nest.example");
    });
}

#[test]
fn domainname() {
    check(|t| {
        let mut b = t.bundle();
        assert_eq!(b.set("/domainname", "fleet.example").facts(&[])["domainname"], "fleet.example");
    });
}

#[test]
fn the_hosts_names_stay() {
    check(|t| {
        let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        t.bundle().set("/hostname", "other").set("/domainname", "other").run().ok();
        assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    });
}

#[test]
fn a_new_uts_namespace_without_names_keeps_the_hosts() {
    check(|t| {
        let mut b = t.bundle();
        let name = b.remove("/hostname").facts(&[])["hostname"].clone();
        assert_eq!(name, fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    });
}

#[test]
fn names_need_a_uts_namespace() {
    check(|t| {
        for name in ["hostname", "domainname"] {
            let mut b = t.bundle();
            b.namespaces(&["pid", "mount", "ipc", "network"]).set(&format!("/{name}"), "x");
            b.refused(&[name, "UTS"]);
        }
    });
}

#[test]
fn a_hostname_that_is_too_long_is_refused() {
    check(|t| {
        t.bundle().set("/hostname", "x".repeat(65)).refused(&["invalid argument"]);
    });
}

#[test]
fn sysctls_of_the_containers_namespaces() {
    check(|t| {
        let table = [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.lo.forwarding", "1"),
            ("net.ipv4.ping_group_range", "0 1000"),
            ("net/ipv4/conf/all/rp_filter", "2"),
            ("kernel.msgmax", "4242"),
            ("kernel.shm_rmid_forced", "1"),
            ("kernel.sem", "250 32000 100 128"),
            ("fs.mqueue.msg_max", "12"),
        ];
        let mut b = t.bundle();
        let mut requests = Vec::new();
        for (key, value) in table {
            b.set("/linux/sysctl", b.config["linux"]["sysctl"].clone());
            b.config["linux"]["sysctl"][key] = json!(value);
            requests.push(format!("read=/proc/sys/{}", key.replace('.', "/")));
        }
        let facts = b.facts(&requests.iter().map(String::as_str).collect::<Vec<_>>());
        for ((key, value), request) in table.iter().zip(&requests) {
            let read = facts["asked"][request].as_str().unwrap_or_default();
            assert_eq!(read.split_whitespace().collect::<Vec<_>>().join(" "), *value, "{key}");
        }
    });
}

#[test]
fn sysctls_of_the_host_are_refused() {
    check(|t| {
        let table =
            ["vm.swappiness", "kernel.core_pattern", "kernel.hostname", "fs.file-max", "nonsense.key", "net"];
        for key in table {
            let mut b = t.bundle();
            b.config["linux"]["sysctl"] = json!({key: "1"});
            b.refused(&["sysctl", key]);
        }
    });
}

#[test]
fn a_sysctl_that_climbs_is_refused() {
    check(|t| {
        for key in ["kernel/../vm/swappiness", "net/../vm/swappiness", "net.ipv4.../../vm.swappiness"] {
            let mut b = t.bundle();
            b.config["linux"]["sysctl"] = json!({key: "7"});
            b.refused(&["swappiness"]);
        }
        assert_ne!(fs::read_to_string("/proc/sys/vm/swappiness").unwrap().trim(), "7");
    });
}

#[test]
fn sysctls_need_the_namespace_they_belong_to() {
    check(|t| {
        let table = [
            ("net.ipv4.ip_forward", "network"),
            ("kernel.msgmax", "ipc"),
            ("fs.mqueue.msg_max", "ipc"),
            ("kernel.domainname", "uts"),
        ];
        for (key, without) in table {
            let mut b = t.bundle();
            let kinds: Vec<_> =
                ["pid", "mount", "ipc", "network", "uts"].into_iter().filter(|k| *k != without).collect();
            b.namespaces(&kinds).config["linux"]["sysctl"] = json!({key: "1"});
            b.refused(&["sysctl", key]);
        }
    });
}

#[test]
fn an_absent_sysctl_is_refused() {
    check(|t| {
        let mut b = t.bundle();
        b.config["linux"]["sysctl"] = json!({"net.ipv4.no_such_thing": "1"});
        b.refused(&["no_such_thing", "no such file or directory"]);
    });
}

#[test]
fn a_sysctl_value_that_the_kernel_refuses() {
    check(|t| {
        let mut b = t.bundle();
        b.config["linux"]["sysctl"] = json!({"kernel.msgmax": "many"});
        b.refused(&["msgmax", "invalid argument"]);
    });
}

#[test]
fn personality() {
    check(|t| {
        let mut b = t.bundle();
        let facts = b.set("/linux/personality", json!({"domain": "LINUX32"})).facts(&[]);
        assert_eq!((&facts["personality"], &facts["machine"]), (&json!(8), &json!("i686")));
        let facts = b.set("/linux/personality", json!({"domain": "LINUX"})).facts(&[]);
        assert_eq!((&facts["personality"], &facts["machine"]), (&json!(0), &json!("x86_64")));
    });
}

#[test]
fn a_foreign_personality_is_refused() {
    check(|t| {
        t.bundle().set("/linux/personality", json!({"domain": "SOLARIS"})).refused(&["SOLARIS"]);
    });
}

/// What the memory of the payload's stack comes from, in the words of numa_maps.
fn policy(facts: &Value) -> String {
    let maps = facts["asked"]["read=/proc/self/numa_maps"].as_str().expect("numa_maps");
    let line = maps.lines().find(|l| l.contains(" stack ")).expect("a stack");
    line.split(' ').nth(1).unwrap().to_owned()
}

/// Node 0 is there on every machine; the container's is that of `exec`, too.
#[test]
fn memory_policy() {
    check(|t| {
        if !std::path::Path::new("/proc/self/numa_maps").exists() {
            skip!("a kernel without NUMA");
        }
        let table = [
            (json!({"mode": "MPOL_DEFAULT"}), "default"),
            (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
                "interleave=static:0",
            ),
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
                "interleave=relative:0",
            ),
            (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
            (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0-0"}), "prefer (many):0"),
            (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0"),
            (json!({"mode": "MPOL_LOCAL"}), "local"),
        ];
        for (wanted, seen) in table {
            let facts =
                t.bundle().set("/linux/memoryPolicy", wanted.clone()).facts(&["read=/proc/self/numa_maps"]);
            // Of the modes of two words the first.
            assert_eq!(policy(&facts), seen.split(' ').next().unwrap(), "{wanted}");
        }
        let mut b = t.bundle();
        b.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}));
        let c = b.up(&["wait"]);
        let out = t.rt(&["exec", &c.id, "/probe", "facts", "read=/proc/self/numa_maps"]).ok();
        assert_eq!(policy(&out.facts()), "bind:0");
    });
}

#[test]
fn memory_policy_nonsense_is_refused() {
    check(|t| {
        let table = [
            (json!({"mode": "MPOL_SCATTER"}), "memory policy mode"),
            (json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "requires 0 nodes but got 1"),
            (json!({"mode": "MPOL_BIND"}), "at least one node"),
            (json!({"mode": "MPOL_BIND", "nodes": "0-"}), "memory policy nodes"),
            (json!({"mode": "MPOL_BIND", "nodes": "99999"}), "memory policy nodes"),
            (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_LOUD"]}), "memory policy flag"),
            // What only the kernel knows: nodes that are not there, flags that exclude each other.
            (json!({"mode": "MPOL_BIND", "nodes": "77"}), "invalid argument"),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                "invalid argument",
            ),
        ];
        for (policy, part) in table {
            t.bundle().set("/linux/memoryPolicy", policy).refused(&[part]);
        }
    });
}
