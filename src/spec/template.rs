//! What `orlop spec` writes: the starter configuration, byte for byte runc 1.5.2's, so that scripts which edit it go on
//! working.

use crate::sys::{cred, fs};

/// The document for this machine and this user.
pub fn document(rootless: bool) -> String {
    let unified =
        fs::open_path("/sys/fs/cgroup").and_then(fs::fstatfs).is_ok_and(|(magic, _)| magic == CGROUP2_MAGIC);
    render(rootless.then(|| (cred::geteuid(), cred::getgid())), unified)
}

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// `rootless`: the user and group to map to root; `unified`: the machine has cgroup v2 alone, which is when runc adds a
/// cgroup namespace.
fn render(rootless: Option<(u32, u32)>, unified: bool) -> String {
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if unified {
        namespaces.push("cgroup");
    }
    let (gid, sys, rbind, owner);
    match rootless {
        None => {
            gid = ",\n\t\t\t\t\"gid=5\"";
            sys = "\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\"";
            rbind = "";
            owner = NO_DEVICES.to_owned();
        }
        Some((uid, own_gid)) => {
            namespaces.retain(|n| *n != "network");
            namespaces.push("user");
            // The devpts of a user namespace with one group has no group 5; sysfs belongs to the network namespace.
            gid = "";
            sys = "\"type\": \"none\",\n\t\t\t\"source\": \"/sys\"";
            rbind = "\t\t\t\t\"rbind\",\n";
            owner = format!("{}{}", mapping("uidMappings", uid), mapping("gidMappings", own_gid));
        }
    }
    let namespaces: Vec<_> =
        namespaces.iter().map(|n| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{n}\"\n\t\t\t}}")).collect();
    TEXT.replace("@gid@", gid)
        .replace("@sys@", sys)
        .replace("@rbind@", rbind)
        .replace("@owner@", &owner)
        .replace("@namespaces@", &(namespaces.join(",\n") + "\n"))
}

fn mapping(member: &str, host: u32) -> String {
    format!(
        "\t\t\"{member}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {host},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
    )
}

const NO_DEVICES: &str = r#"		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},
"#;

const TEXT: &str = r#"{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": true,
		"user": {
			"uid": 0,
			"gid": 0
		},
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"effective": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"permitted": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			]
		},
		"rlimits": [
			{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "runc",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": [
				"nosuid",
				"strictatime",
				"mode=755",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": [
				"nosuid",
				"noexec",
				"newinstance",
				"ptmxmode=0666",
				"mode=0620"@gid@
			]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"mode=1777",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": [
				"nosuid",
				"noexec",
				"nodev"
			]
		},
		{
			"destination": "/sys",
			@sys@,
			"options": [
@rbind@				"nosuid",
				"noexec",
				"nodev",
				"ro"
			]
		},
		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"relatime",
				"ro"
			]
		}
	],
	"linux": {
@owner@		"namespaces": [
@namespaces@		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{parse_config, rules};
    use std::process::Command;

    #[test]
    fn both_are_good_configurations() {
        for (rootless, unified) in
            [(None, false), (None, true), (Some((1000, 100)), false), (Some((7, 7)), true)]
        {
            let text = render(rootless, unified);
            assert!(!text.contains('@'));
            let loaded = parse_config(text.into_bytes()).unwrap();
            assert_eq!(rules::check(&loaded.spec).unwrap(), loaded.warnings);
            let linux = loaded.spec.linux().clone().unwrap();
            assert_eq!(linux.uid_mappings().as_ref().map(|m| m[0].host_id()), rootless.map(|r| r.0));
            assert_eq!(linux.gid_mappings().as_ref().map(|m| m[0].host_id()), rootless.map(|r| r.1));
            assert_eq!(linux.namespaces().as_ref().unwrap().len(), 5 + usize::from(unified));
        }
    }

    /// Against the real one, where `hack/peers` has put it.
    #[test]
    fn the_same_as_runcs() {
        let runc = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/peers/bin/runc");
        if !std::path::Path::new(runc).exists() {
            eprintln!("SKIPPED: no {runc}; hack/peers gets it");
            return;
        }
        for rootless in [false, true] {
            let dir = std::env::temp_dir().join(format!("orlop-template-{}-{rootless}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let mut command = Command::new(runc);
            command.arg("spec").arg("-b").arg(&dir);
            if rootless {
                command.arg("--rootless");
            }
            assert!(command.status().unwrap().success());
            let theirs = std::fs::read_to_string(dir.join("config.json")).unwrap();
            std::fs::remove_dir_all(&dir).unwrap();
            assert_eq!(document(rootless), theirs);
        }
    }
}
