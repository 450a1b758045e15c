//! /dev: the default nodes, the listed ones, and the links.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceType, Spec};

use crate::error::{Error, Result};

/// What init makes in the container's /dev.
pub struct Dev {
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Absolute, inside the container.
    pub path: PathBuf,
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Where in config.json, for errors; the defaults have none.
    pub pointer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Char { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// Spec: config-linux, "Default Devices"; all of major number 1 but tty. ptmx is a link, console a bind mount.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every /dev has. Spec: runtime-linux, "Dev symbolic links". `core` only where the kernel has kcore.
pub const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// `None`: /dev is a bind mount, and what is in it is the caller's affair.
pub fn build(spec: &Spec) -> Result<Option<Dev>> {
    let bound = |m: &oci_spec::runtime::Mount| {
        super::mounts::clean(m.destination()) == Path::new("/dev") && super::mounts::is_bind(m)
    };
    if spec.mounts().iter().flatten().any(bound) {
        return Ok(None);
    }
    let default = |(path, major, minor): (&str, u32, u32)| Node {
        path: path.into(),
        kind: Kind::Char { major, minor },
        mode: 0o666,
        uid: 0,
        gid: 0,
        pointer: None,
    };
    let mut nodes: Vec<Node> = DEFAULTS.into_iter().map(default).collect();
    let listed = spec.linux().as_ref().and_then(|l| l.devices().as_deref()).unwrap_or_default();
    for (i, d) in listed.iter().enumerate() {
        let pointer = format!("/linux/devices/{i}");
        let number = |n: i64, what: &str| {
            u32::try_from(n).map_err(|_| {
                Error::spec(format!("{pointer}/{what}"), format!("device number {n} is out of range"))
            })
        };
        let (major, minor) = (d.major(), d.minor());
        let kind = match d.typ() {
            LinuxDeviceType::B => {
                Kind::Block { major: number(major, "major")?, minor: number(minor, "minor")? }
            }
            LinuxDeviceType::C | LinuxDeviceType::U => {
                Kind::Char { major: number(major, "major")?, minor: number(minor, "minor")? }
            }
            LinuxDeviceType::P => Kind::Fifo,
            LinuxDeviceType::A => {
                return Err(Error::spec(
                    format!("{pointer}/type"),
                    "device type 'a' is for cgroup rules only",
                ));
            }
        };
        let path = super::mounts::clean(d.path());
        // A link to pts/ptmx takes this place, so that each container has its own terminals.
        if path == Path::new("/dev/ptmx") {
            continue;
        }
        let node = Node {
            path,
            kind,
            mode: d.file_mode().unwrap_or(0o666) & 0o7777,
            uid: d.uid().unwrap_or(0),
            gid: d.gid().unwrap_or(0),
            pointer: Some(pointer),
        };
        nodes.retain(|n| n.path != node.path);
        nodes.push(node);
    }
    Ok(Some(Dev { nodes }))
}
