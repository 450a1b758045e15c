//! The `features` document (features.md and features-linux.md of the runtime specification): what this binary is built
//! to do, whatever the machine it runs on. CRI-O, containerd and Docker decide by it what they may ask for, so it must
//! not promise more than there is.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::seccomp;
use crate::spec::lenient::{
    ACTIONS, CAPABILITIES, HOOKS, MEMORY_FLAGS, MEMORY_MODES, NAMESPACES, OPERATORS, SECCOMP_FLAGS,
};
use crate::spec::{annotations, mount_options};

/// What is built. A room that is finished turns its line to true; nothing else is to be changed here then.
struct Built {
    cgroup_v1: bool,
    cgroup_v2: bool,
    /// The systemd cgroup driver, of the system and of a user.
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
    user_namespaces: bool,
    /// Id-mapped mounts, and with them the options `idmap` and `ridmap`.
    idmap: bool,
    apparmor: bool,
    selinux: bool,
    intel_rdt: bool,
    memory_policy: bool,
    net_devices: bool,
    checkpoint: bool,
}

const BUILT: Built = Built {
    cgroup_v1: true,
    cgroup_v2: true,
    systemd: true,
    systemd_user: true,
    rdma: true,
    user_namespaces: true,
    idmap: true,
    apparmor: true,
    selinux: true,
    intel_rdt: true,
    memory_policy: true,
    net_devices: true,
    checkpoint: false,
};

/// The oldest and the newest version of the specification that are understood.
pub const OCI_VERSION_MIN: &str = "1.0.0";
pub const OCI_VERSION_MAX: &str = "1.3.0";

/// runc's list: what libseccomp may know. The specification has a few more.
const ARCHS: [&str; 18] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

type Names = &'static [&'static str];

/// The document. No member is ever `null`: to a reader that means "unknown".
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Names,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: Names,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Names,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_policy: Option<MemoryPolicy>,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Names,
    operators: Names,
    archs: Names,
    known_flags: Names,
    supported_flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Serialize)]
struct MemoryPolicy {
    modes: Names,
    flags: Names,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// The document of this build.
pub fn document() -> Features {
    describe(&BUILT)
}

fn describe(built: &Built) -> Features {
    let enabled = |enabled| Enabled { enabled };
    Features {
        oci_version_min: OCI_VERSION_MIN,
        oci_version_max: OCI_VERSION_MAX,
        hooks: &HOOKS,
        mount_options: mount_options::names()
            .filter(|name| built.idmap || (*name != "idmap" && *name != "ridmap"))
            .collect(),
        linux: Linux {
            namespaces: NAMESPACES
                .iter()
                .copied()
                .filter(|n| built.user_namespaces || *n != "user")
                .collect(),
            capabilities: &CAPABILITIES,
            cgroup: Cgroup {
                v1: built.cgroup_v1,
                v2: built.cgroup_v2,
                systemd: built.systemd,
                systemd_user: built.systemd_user,
                rdma: built.rdma,
            },
            seccomp: Seccomp {
                enabled: true,
                actions: ACTIONS,
                operators: OPERATORS,
                archs: &ARCHS,
                known_flags: SECCOMP_FLAGS,
                supported_flags: SECCOMP_FLAGS.iter().copied().filter(|f| seccomp::is_supported(f)).collect(),
            },
            apparmor: enabled(built.apparmor),
            selinux: enabled(built.selinux),
            intel_rdt: IntelRdt {
                enabled: built.intel_rdt,
                schemata: built.intel_rdt,
                monitoring: built.intel_rdt,
            },
            memory_policy: built
                .memory_policy
                .then_some(MemoryPolicy { modes: MEMORY_MODES, flags: MEMORY_FLAGS }),
            mount_extensions: MountExtensions { idmap: enabled(built.idmap) },
            net_devices: enabled(built.net_devices),
        },
        annotations: BTreeMap::from([
            (annotations::LIBSECCOMP_VERSION, seccomp::version()),
            (annotations::CHECKPOINT_ENABLED, built.checkpoint.to_string()),
            (annotations::OWN_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        ]),
        potentially_unsafe_config_annotations: &annotations::POTENTIALLY_UNSAFE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const ALL: Built = Built {
        cgroup_v1: true,
        cgroup_v2: true,
        systemd: true,
        systemd_user: true,
        rdma: true,
        user_namespaces: true,
        idmap: true,
        apparmor: true,
        selinux: true,
        intel_rdt: true,
        memory_policy: true,
        net_devices: true,
        checkpoint: true,
    };

    fn no_nulls(v: &Value) -> bool {
        match v {
            Value::Null => false,
            Value::Array(a) => a.iter().all(no_nulls),
            Value::Object(o) => o.values().all(no_nulls),
            _ => true,
        }
    }

    #[test]
    fn what_clients_ask() {
        for built in [&BUILT, &ALL] {
            let doc = serde_json::to_value(describe(built)).unwrap();
            assert!(no_nulls(&doc), "{doc}");
            assert_eq!(doc["ociVersionMin"], "1.0.0");
            assert_eq!(doc["ociVersionMax"], "1.3.0");
            assert_eq!(doc["linux"]["mountExtensions"]["idmap"]["enabled"], built.idmap);
            assert!(doc["mountOptions"].as_array().unwrap().contains(&"rro".into()));
            assert_eq!(
                doc["annotations"]["org.opencontainers.runc.checkpoint.enabled"],
                built.checkpoint.to_string()
            );
            // Our own types and those of oci-spec tell the same story.
            let theirs: oci_spec::runtime::Features = serde_json::from_value(doc).unwrap();
            assert_eq!(theirs.hooks().as_ref().map(Vec::len), Some(6));
        }
    }

    /// With everything built it is the document of runc, where `hack/peers` has put one: but for who says it, what the
    /// kernel has, and the mount options that runc understands and does not list.
    #[test]
    fn the_same_as_runcs_when_all_is_built() {
        let runc = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/peers/bin/runc");
        if !std::path::Path::new(runc).exists() {
            eprintln!("SKIPPED: no {runc}; hack/peers gets it");
            return;
        }
        let out = std::process::Command::new(runc).arg("features").output().unwrap().stdout;
        let mut theirs: Value = serde_json::from_slice(&out).unwrap();
        let mut ours = serde_json::to_value(describe(&ALL)).unwrap();
        for doc in [&mut theirs, &mut ours] {
            doc["linux"]["seccomp"]["supportedFlags"].take();
            doc["annotations"].as_object_mut().unwrap().retain(|k, _| k == annotations::CHECKPOINT_ENABLED);
            doc["mountOptions"].as_array_mut().unwrap().retain(|o| o != "idmap" && o != "ridmap");
        }
        assert_eq!(ours, theirs);
    }
}
