//! An ordinary user: known to newuidmap and newgidmap, without any right of root's.
//!
//! He exists for the length of a call, in a private mount namespace with other copies of passwd, group, subuid, subgid.

use crate::case::Case;
use crate::{Bundle, json};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// His uid and his only gid.
pub const SAILOR: u32 = 4711;
/// The first of the 65536 ids that are his besides, of both kinds.
pub const SUBORDINATE: u32 = 300_000;

const SCRIPT: &str = r#"
etc=$1; shift
for f in passwd group subuid subgid; do
	[ -e /etc/$f ] || : >/etc/$f
	mount --bind $etc/$f /etc/$f
done
exec "$@"
"#;

impl Case {
    /// From now on the runtime is called by an ordinary user, to whom `grants` (as in subuid(5)) gives more ids.
    pub fn ordinary_user(&self, grants: &str) {
        let etc = self.folder("etc");
        let more = |file: &str, line: &str| {
            let all = fs::read_to_string(format!("/etc/{file}")).unwrap_or_default();
            fs::write(etc.join(file), format!("{all}{line}")).expect("a copy");
        };
        more("passwd", &format!("sailor:x:{SAILOR}:{SAILOR}::/:/bin/sh\n"));
        more("group", &format!("sailor:x:{SAILOR}:\n"));
        for file in ["subuid", "subgid"] {
            fs::write(etc.join(file), grants).expect("a copy");
        }
        chown(&self.dir, Some(SAILOR), Some(SAILOR)).expect("the case's directory is the user's");
        let id = SAILOR.to_string();
        let mut words = vec!["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"];
        let etc = etc.to_str().expect("UTF-8");
        let keep = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"];
        words.push(etc);
        words.extend(keep);
        self.call_under(&words);
    }

    /// The user whom [`SUBORDINATE`] ids were given.
    pub fn sailor(&self) {
        self.ordinary_user(&format!("sailor:{SUBORDINATE}:65536\n"));
    }

    /// His runtime directory, for XDG_RUNTIME_DIR.
    pub fn runtime_dir(&self) -> PathBuf {
        let dir = self.folder("xdg");
        chown(&dir, Some(SAILOR), Some(SAILOR)).expect("his");
        dir
    }
}

impl Bundle<'_> {
    /// As `spec --rootless` writes it; with `many` ids instead of his own alone.
    pub fn rootless(&mut self, many: bool) -> &mut Self {
        self.for_root_in(SAILOR, many.then_some(SUBORDINATE))
    }

    /// The same for any user, who must be able to make mount points in the root file system.
    pub fn for_root_in(&mut self, user: u32, more: Option<u32>) -> &mut Self {
        own_directories(&self.dir, user);
        self.namespaces(&["pid", "ipc", "uts", "mount", "user"]);
        self.remove("/linux/cgroupsPath").remove("/linux/resources");
        self.without_mount("/sys");
        let mut map = vec![json!({"containerID": 0, "hostID": user, "size": 1})];
        match more {
            Some(first) => map.push(json!({"containerID": 1, "hostID": first, "size": 65536})),
            None => {
                self.drop_option("/dev/pts", "gid=5");
            }
        }
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        let options = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
        let sys = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        let cgroup = mounts.iter().position(|m| m["destination"] == "/sys/fs/cgroup").unwrap_or(mounts.len());
        mounts.insert(cgroup, sys);
        self
    }

    /// Takes an option from a mount.
    pub fn drop_option(&mut self, destination: &str, option: &str) -> &mut Self {
        for m in self.config["mounts"].as_array_mut().expect("mounts") {
            if m["destination"] == destination
                && let Some(Value::Array(all)) = m.get_mut("options")
            {
                all.retain(|o| o != option);
            }
        }
        self
    }
}

/// Directories alone: files are links to programs of the machine's.
fn own_directories(dir: &Path, user: u32) {
    chown(dir, Some(user), Some(user)).expect("chown");
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            own_directories(&entry.path(), user);
        }
    }
}
