//! A bundle: a rootfs with the probe and busybox, and a config.json that starts as `runc spec` writes it.

use crate::call::{Call, Output};
use crate::case::Case;
use crate::container::Container;
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Applets that tests call by name.
const APPLETS: [&str; 16] = [
    "sh", "cat", "true", "false", "ls", "id", "sleep", "echo", "stty", "mount", "umount", "env", "ps", "tty",
    "touch", "kill",
];

pub struct Bundle<'c> {
    pub dir: PathBuf,
    pub config: Value,
    case: &'c Case,
}

impl<'c> Bundle<'c> {
    pub(crate) fn new(case: &'c Case, dir: PathBuf) -> Self {
        let rootfs = dir.join("rootfs");
        for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"] {
            fs::create_dir_all(rootfs.join(folder)).expect("a directory of the rootfs");
        }
        place(&crate::built().join("probe"), &rootfs.join("probe"));
        place(Path::new("/bin/busybox"), &rootfs.join("bin/busybox"));
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("a link to busybox");
        }
        fs::write(
            rootfs.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nsailor:x:1000:1000::/home/sailor:/bin/sh\n",
        )
        .expect("passwd");
        fs::write(rootfs.join("etc/group"), "root:x:0:\nsailor:x:1000:\ntty:x:5:\n").expect("group");
        let mut config = default_config();
        config["linux"]["cgroupsPath"] = json!(format!("/{}", dir_token(case, &dir)));
        Bundle { dir, config, case }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Puts a value at a JSON pointer, making the objects on the way; a last part `-` appends to a list.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> &mut Self {
        let mut at = &mut self.config;
        for part in pointer.split('/').skip(1).map(|p| p.replace("~1", "/").replace("~0", "~")) {
            if at.is_null() {
                *at = if part == "-" { json!([]) } else { Value::Object(Map::new()) };
            }
            at = match at {
                Value::Array(list) => {
                    if part == "-" {
                        list.push(Value::Null);
                    }
                    let index = part.parse().unwrap_or(list.len() - 1);
                    &mut list[index]
                }
                Value::Object(map) => map.entry(part).or_insert(Value::Null),
                _ => panic!("{pointer}: no members at {part}"),
            };
        }
        *at = value.into();
        self
    }

    /// Takes a member of an object away.
    pub fn remove(&mut self, pointer: &str) -> &mut Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer with a parent");
        if let Some(Value::Object(map)) = self.config.pointer_mut(parent) {
            map.remove(name);
        }
        self
    }

    /// The payload's words.
    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.set("/process/args", json!(args))
    }

    /// The payload is the probe with these words.
    pub fn probe(&mut self, words: &[&str]) -> &mut Self {
        let mut args = vec!["/probe"];
        args.extend(words);
        self.args(&args)
    }

    pub fn writable(&mut self) -> &mut Self {
        self.set("/root/readonly", false)
    }

    /// All five capability sets that matter to a payload.
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        self.set("/process/capabilities", json!({"bounding": names, "effective": names, "permitted": names}))
    }

    pub fn mount(&mut self, entry: Value) -> &mut Self {
        self.set("/mounts/-", entry)
    }

    /// A bind mount with further options.
    pub fn bind(&mut self, from: &Path, to: &str, options: &[&str]) -> &mut Self {
        let mut all = vec!["bind"];
        all.extend(options);
        self.mount(json!({"destination": to, "source": from, "type": "none", "options": all}))
    }

    /// Leaves a default mount out.
    pub fn without_mount(&mut self, destination: &str) -> &mut Self {
        self.config["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] != destination);
        self
    }

    /// Exactly these namespaces, all new; without one for it there is no hostname to set.
    pub fn namespaces(&mut self, kinds: &[&str]) -> &mut Self {
        if !kinds.contains(&"uts") {
            self.remove("/hostname");
        }
        let all: Vec<Value> = kinds.iter().map(|k| json!({"type": k})).collect();
        self.set("/linux/namespaces", all)
    }

    /// One more namespace.
    pub fn namespace(&mut self, entry: Value) -> &mut Self {
        let kind = entry["type"].clone();
        self.config["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|n| n["type"] != kind);
        self.set("/linux/namespaces/-", entry)
    }

    /// A user namespace in which the container's root is an ordinary user outside.
    pub fn user_namespace(&mut self) -> &mut Self {
        self.namespace(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    pub fn cgroups_path(&self) -> String {
        self.config["linux"]["cgroupsPath"].as_str().expect("cgroupsPath").to_string()
    }

    /// Writes config.json where it has changed; every call of the runtime below does. An earlier call may still read.
    pub fn write(&self) -> &Self {
        let text = serde_json::to_string_pretty(&self.config).expect("JSON");
        let (file, aside) = (self.dir.join("config.json"), self.dir.join(".config.json"));
        if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            fs::write(&aside, text).expect("config.json");
            fs::rename(&aside, &file).expect("config.json in its place");
        }
        self
    }

    /// A call of `run` or `create` on this bundle.
    pub fn call(&self, verb: &[&str], id: &str) -> Call {
        self.write();
        self.case.call(verb).args(["--bundle"]).args([&self.dir]).args([id])
    }

    /// `run` in the foreground, with a fresh id.
    pub fn run(&self) -> Output {
        self.call(&["run"], &self.case.id()).run()
    }

    /// The facts that the payload prints, asked for further ones.
    #[track_caller]
    pub fn facts(&mut self, requests: &[&str]) -> Value {
        let mut words = vec!["facts"];
        words.extend(requests);
        self.probe(&words);
        self.run().ok().facts()
    }

    /// The one line of JSON that an act of the probe prints.
    #[track_caller]
    pub fn act(&mut self, words: &[&str]) -> Value {
        self.probe(words);
        self.run().ok().facts()
    }

    /// `run` must fail with one clear error that has all these parts, and leave nothing behind.
    #[track_caller]
    pub fn refused(&self, parts: &[&str]) -> String {
        let output = self.run();
        let message = output.fails(parts);
        self.case.nothing_left();
        message
    }

    /// `create` with a fresh id.
    #[track_caller]
    pub fn create(&self) -> Container<'c> {
        self.create_with(&[])
    }

    /// `create` with further flags.
    #[track_caller]
    pub fn create_with(&self, flags: &[&str]) -> Container<'c> {
        let id = self.case.id();
        let out = self.case.path("out");
        let file = fs::File::create(&out).expect("a file for the payload's output");
        let mut verb = vec!["create"];
        verb.extend(flags);
        self.call(&verb, &id).stdout(file).run().ok();
        Container::new(self.case, id, out)
    }

    /// `create` and `start`; a payload such as `wait` must say that it is ready.
    #[track_caller]
    pub fn up(&mut self, words: &[&str]) -> Container<'c> {
        self.probe(words);
        let container = self.create();
        container.start();
        container.wait_for("ready");
        container
    }
}

fn dir_token(case: &Case, dir: &Path) -> String {
    format!("{}-{}", case.token, dir.file_name().expect("a name").to_string_lossy())
}

/// A hard link where possible: it costs nothing, and no writer can be in its way.
fn place(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        crate::copy_executable(from, to);
    }
}

/// What `runc spec` writes, without the terminal.
pub fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe", "facts"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
