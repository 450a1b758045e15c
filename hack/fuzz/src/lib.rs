//! What orlop reads of others' making, each kind of it as a target: a function that takes any bytes, must return, and
//! panics when an answer is not what was promised.
//!
//! `make fuzz` lets libFuzzer search for bytes that break one (`hack/fuzz/run --help`); what it found and was repaired is
//! kept in `seeds/TARGET`, with examples to start from. `cargo test` runs each of those files, and thousands of random
//! changes of them, without libFuzzer: seconds, for every change of orlop.
//!
//! | target | input | promises beyond not to panic, hang or swallow memory |
//! |---|---|---|
//! | `config` | config.json | one line of error, its pointer leads somewhere; what is accepted can be planned |
//! | `process`, `resources` | the documents of `exec` and `update` | the same |
//! | `record` | state.json | a cgroup only below its mount point |
//! | `mount_options` | options, a line each | none both set and cleared; propagation known |
//! | `cgroups_path` | cgroupsPath and an id | never outside: no `..`, no empty component, no line feed |
//! | `unified` | key and value of `unified` | a plain file of a controller |
//! | `annotations` | systemd properties | listed ones only |
//! | `seccomp` | a profile made of the bytes | orlop's program answers as libseccomp's, for the calls that the profile speaks of |
//! | `filter_file` | a compiled filter as it is kept in a file | what is taken from it is a program |
//! | `mountinfo` | mount table and /proc/self/cgroup | mount points absolute, own cgroups clean |
//! | `cgroup_files` | the files of statistics | |
//! | `devices` | device rules made of the bytes | the kernel's own algorithm comes to the same answers, by either version's program |
//! | `device_list` | a v1 `devices.list` | steps from it end in the wanted rules |
//! | `handshake` | frames from the other side | |
//! | `words` | `--user`, ids, lists, sizes, durations, sysctl names | exact numbers only |
//! | `command_line` | arguments, a line each | the parser that knows one verb understands what the whole one does |
//! | `notify` | what a container tells the service manager | nothing that it may not say |

pub mod bytes;
pub mod json;
mod targets;

pub use bytes::Bytes;

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Its input is one JSON document.
    pub is_json: bool,
}

const fn text(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, is_json: false }
}

const fn document(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, is_json: true }
}

pub const TARGETS: [Target; 18] = [
    document("config", targets::documents::config),
    document("process", targets::documents::process),
    document("resources", targets::documents::resources),
    document("record", targets::documents::record),
    text("mount_options", targets::words::mount_options),
    text("cgroups_path", targets::cgroups::path),
    text("unified", targets::cgroups::unified),
    text("annotations", targets::cgroups::annotations),
    text("seccomp", targets::seccomp::run),
    text("filter_file", targets::seccomp::file),
    text("mountinfo", targets::cgroups::mountinfo),
    text("cgroup_files", targets::cgroups::files),
    text("devices", targets::devices::rules),
    text("device_list", targets::devices::list),
    text("handshake", targets::handshake::run),
    text("words", targets::words::words),
    text("command_line", targets::words::command_line),
    text("notify", targets::words::notify),
];

pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
