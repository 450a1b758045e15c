//! Rules of namespaces, and of what needs one of its own.

use super::*;

pub(super) fn names(f: &Facts<'_>, out: &mut Findings) {
    /// `__NEW_UTS_LEN` of `linux/utsname.h`.
    const MOST: usize = 64;
    let Some(spec) = f.spec else { return };
    for (member, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(name) = name.as_ref().filter(|n| !n.is_empty()) else { continue };
        let at = format!("/{member}");
        if !f.has(Ns::Uts) {
            out.wrong(&at, format!("unable to set {member} without a private UTS namespace"));
        }
        if name.len() > MOST {
            out.wrong(&at, format!("{member} is longer than {MOST} bytes: invalid argument"));
        }
        out.nul(at, member, name);
    }
}

pub(super) fn namespaces(f: &Facts<'_>, out: &mut Findings) {
    let mut seen = Vec::new();
    for (i, n) in f.namespaces().iter().enumerate() {
        let at = format!("/linux/namespaces/{i}");
        if seen.contains(&n.typ()) {
            out.wrong(&at, format!("malformed spec file: duplicated ns {:?}", namespace_name(n.typ())));
        }
        seen.push(n.typ());
        if let Some(path) = n.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
            if !path.is_absolute() {
                out.wrong(format!("{at}/path"), format!("namespace path {path:?} is not absolute"));
            }
            out.nul_path(format_args!("{at}/path"), "namespace path", path);
        }
    }
}

/// As the specification writes it; oci-spec's `Display` is the name in /proc/PID/ns.
fn namespace_name(typ: Ns) -> &'static str {
    match typ {
        Ns::Mount => "mount",
        Ns::Cgroup => "cgroup",
        Ns::Uts => "uts",
        Ns::Ipc => "ipc",
        Ns::User => "user",
        Ns::Pid => "pid",
        Ns::Network => "network",
        Ns::Time => "time",
    }
}

fn joins(n: Option<&LinuxNamespace>) -> bool {
    n.is_some_and(|n| n.path().as_ref().is_some_and(|p| !p.as_os_str().is_empty()))
}

pub(super) fn user_namespace(f: &Facts<'_>, out: &mut Findings) {
    let (uids, gids) = (list(f.linux.map(Linux::uid_mappings)), list(f.linux.map(Linux::gid_mappings)));
    let ns = f.namespace(Ns::User);
    let mapped = !uids.is_empty() || !gids.is_empty();
    if ns.is_none() {
        if mapped {
            let at = if uids.is_empty() { "/linux/gidMappings" } else { "/linux/uidMappings" };
            // As runc: podman writes them for containers that share the host's user namespace.
            out.warn(format!("{at}: ignoring mappings without a user namespace"));
        }
        return;
    }
    if joins(ns) {
        return; // whether the mappings are those of the namespace is a question for the host
    }
    if !mapped {
        let said = "user namespaces enabled, but no namespace path to join nor mappings to apply specified";
        out.wrong("/linux/namespaces", said);
        return;
    }
    for (at, kind, map) in [("/linux/uidMappings", "uid", uids), ("/linux/gidMappings", "gid", gids)] {
        if map.is_empty() {
            out.wrong(at, format!("user namespaces enabled, but no {kind} mappings found"));
        } else if !map.iter().any(|m| m.container_id() == 0 && m.size() > 0) {
            out.wrong(at, format!("user namespaces enabled, but no mapping found for {kind} 0"));
        }
    }
}

pub(super) fn id_mappings(f: &Facts<'_>, out: &mut Findings) {
    mappings("/linux/uidMappings", list(f.linux.map(Linux::uid_mappings)), out);
    mappings("/linux/gidMappings", list(f.linux.map(Linux::gid_mappings)), out);
}

/// What the kernel takes into a map; user_namespaces(7).
pub(super) fn mappings(at: &str, map: &[LinuxIdMapping], out: &mut Findings) {
    /// `UID_GID_MAP_MAX_EXTENTS` of `linux/user_namespace.h`.
    const MOST: usize = 340;
    if map.len() > MOST {
        out.wrong(at, format!("{} id mappings, the kernel takes {MOST}", map.len()));
        return;
    }
    for (i, m) in map.iter().enumerate() {
        if m.size() == 0 {
            out.wrong(format!("{at}/{i}/size"), "id mapping of size 0");
        }
        for (member, first) in [("containerID", m.container_id()), ("hostID", m.host_id())] {
            if u64::from(first) + u64::from(m.size()) > u64::from(u32::MAX) {
                let said = format!("id mapping goes beyond the last id, {}", u32::MAX - 1);
                out.wrong(format!("{at}/{i}/{member}"), said);
            }
        }
    }
    for (what, first) in [
        ("container", LinuxIdMapping::container_id as fn(&LinuxIdMapping) -> u32),
        ("host", LinuxIdMapping::host_id),
    ] {
        let mut order: Vec<_> = map.iter().enumerate().filter(|(_, m)| m.size() > 0).collect();
        order.sort_unstable_by_key(|(_, m)| first(m));
        for pair in order.windows(2) {
            if u64::from(first(pair[0].1)) + u64::from(pair[0].1.size()) > u64::from(first(pair[1].1)) {
                let (a, b) = (pair[0].0.min(pair[1].0), pair[0].0.max(pair[1].0));
                out.wrong(format!("{at}/{b}"), format!("id mappings {a} and {b} overlap in {what} ids"));
            }
        }
    }
}

pub(super) fn time_offsets(f: &Facts<'_>, out: &mut Findings) {
    let offsets = sorted(f.linux.and_then(|l| l.time_offsets().as_ref()));
    if offsets.is_empty() {
        return;
    }
    let at = "/linux/timeOffsets";
    match f.namespace(Ns::Time) {
        None => {
            out.wrong(at, "time namespace offsets specified, but time namespace isn't enabled in the config");
        }
        ns if joins(ns) => {
            let said = "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one";
            out.wrong(at, said);
        }
        _ => {}
    }
    for (clock, offset) in offsets {
        if clock != "monotonic" && clock != "boottime" {
            out.wrong(
                format!("{at}/{}", escape(clock)),
                format!("unknown clock {clock:?}: monotonic and boottime have offsets"),
            );
        }
        if offset.nanosecs().unwrap_or(0) >= 1_000_000_000 {
            out.wrong(format!("{at}/{}/nanosecs", escape(clock)), "nanosecs is a second or more");
        }
    }
}

pub(super) fn sysctls(f: &Facts<'_>, out: &mut Findings) {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    for (key, value) in sorted(f.linux.and_then(|l| l.sysctl().as_ref())) {
        let at = format!("/linux/sysctl/{}", escape(key));
        if value.contains(['\0', '\n']) {
            out.wrong(
                &at,
                format!("the value of sysctl {key:?} is more than one line, or contains a NUL byte"),
            );
        }
        let Some(path) = sysctl_path(key) else {
            out.wrong(at, format!("sysctl {key:?} is no name of one"));
            continue;
        };
        // As sysctl(8) and runc show it.
        let shown: String = path.chars().map(swap).collect();
        let ipc =
            path.strip_prefix("kernel/").is_some_and(|k| IPC.contains(&k)) || path.starts_with("fs/mqueue/");
        if ipc {
            if !f.has(Ns::Ipc) {
                out.wrong(at, format!("sysctl {shown:?} is not allowed in the hosts ipc namespace"));
            }
        } else if path.starts_with("net/") {
            // A joined namespace may turn out to be the host's: `plan` looks.
            if !f.has(Ns::Network) {
                out.wrong(at, format!("sysctl {shown:?} not allowed in host network namespace"));
            }
        } else if path == "kernel/domainname" && f.has(Ns::Uts) {
        } else if path == "kernel/hostname" && f.has(Ns::Uts) {
            out.wrong(
                at,
                format!("sysctl {shown:?} is not allowed as it conflicts with the OCI \"hostname\" field"),
            );
        } else if path.starts_with("user/") {
            if !f.has(Ns::User) {
                out.wrong(at, format!("setting ucounts without a user namespace not allowed: {shown}"));
            }
        } else {
            out.wrong(at, format!("sysctl {shown:?} is not in a separate kernel namespace"));
        }
    }
}

/// `dev_valid_name` of the kernel's net/core/dev.c.
pub(super) fn is_interface_name(name: &str) -> bool {
    let bad = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace() || b == 0x0b;
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.bytes().any(bad)
}

pub(super) fn net_devices(f: &Facts<'_>, out: &mut Findings) {
    let devices = sorted(f.linux.and_then(|l| l.net_devices().as_ref()));
    if !devices.is_empty() && !f.has(Ns::Network) {
        out.wrong("/linux/netDevices", "unable to move network devices without a NET namespace");
    }
    for (name, device) in devices {
        let at = format!("/linux/netDevices/{}", escape(name));
        if !is_interface_name(name) {
            out.wrong(&at, format!("invalid network device name {name:?}"));
        }
        if let Some(new) = device.name().as_ref().filter(|n| !n.is_empty() && !is_interface_name(n)) {
            out.wrong(format!("{at}/name"), format!("invalid network device name {new:?}"));
        }
    }
}
