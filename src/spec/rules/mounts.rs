//! Rules of mounts and of the paths of the container.

use super::*;

pub(super) fn mount_destinations(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate() {
        let at = format!("/mounts/{i}/destination");
        let dest = m.destination();
        if dest.as_os_str().is_empty() {
            out.wrong(&at, "mount destination must not be empty");
        } else if lexically_root(dest) {
            out.wrong(&at, format!("mountpoint {dest:?} is on the top of rootfs"));
        } else if !dest.is_absolute() {
            out.warn(format!(
                "mount destination {} is not absolute; taking it as relative to /",
                dest.display()
            ));
        }
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let null = "mount field contains null byte:";
        out.nul_path(&at, null, dest);
        out.nul(format_args!("/mounts/{i}/type"), null, text(m.typ()));
        out.nul_path(
            format_args!("/mounts/{i}/source"),
            null,
            m.source().as_deref().unwrap_or(Path::new("")),
        );
        for (o, option) in m.options().iter().flatten().enumerate() {
            out.nul(format_args!("/mounts/{i}/options/{o}"), null, option);
        }
    }
}

/// `/`, `.`, `//`, `/a/..`: the root, before any link is looked at.
fn lexically_root(path: &Path) -> bool {
    use std::path::Component;
    let mut depth = 0usize;
    for c in path.components() {
        match c {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth == 0
}

/// As runc: a bind is what has the option, whatever its type says; the type alone means the same.
fn is_bind(m: &Mount) -> bool {
    m.typ().as_deref() == Some("bind") || m.options().iter().flatten().any(|o| o == "bind" || o == "rbind")
}

pub(super) fn mount_types(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate() {
        let remount = m.options().iter().flatten().any(|o| o == "remount");
        if m.typ().as_deref().unwrap_or_default().is_empty() && !is_bind(m) && !remount {
            out.wrong(format!("/mounts/{i}"), "a mount needs a type, or the option bind or rbind");
        }
    }
}

pub(super) fn bind_options(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate().filter(|(_, m)| is_bind(m)) {
        if m.source().is_none() {
            let to = m.destination().display();
            out.wrong(format!("/mounts/{i}"), format!("a bind mount needs a source (destination {to})"));
        }
        let known = |o: &str| o.is_empty() || mount_options::names().any(|n| n == o);
        let Some((o, option)) = m.options().iter().flatten().enumerate().find(|(_, o)| !known(o)) else {
            continue;
        };
        let to = m.destination().display();
        // Spec: mounts, "options": what the file system cannot mean is ignored (runc refuses it, crun does not).
        out.warn(format!("/mounts/{i}/options/{o}: ignoring {option:?}, a bind mount (to {to}) has no file system of its own"));
    }
}

pub(super) fn idmapped_mounts(f: &Facts<'_>, out: &mut Findings) {
    for (i, m) in f.mounts().iter().enumerate() {
        let (uids, gids) = (list(Some(m.uid_mappings())), list(Some(m.gid_mappings())));
        let asked = m.options().iter().flatten().any(|o| o == "idmap" || o == "ridmap");
        if !asked && uids.is_empty() && gids.is_empty() {
            continue;
        }
        let at = format!("/mounts/{i}");
        if !is_bind(m) {
            out.wrong(&at, "id-mapped mounts are only supported for bind-mounts");
            continue;
        }
        let from_container = uids.is_empty() && gids.is_empty() && f.has(Ns::User);
        if (uids.is_empty() || gids.is_empty()) && !from_container {
            out.wrong(&at, "id-mapped mounts must have both uid and gid mappings specified");
        }
        namespaces::mappings(&format!("{at}/uidMappings"), uids, out);
        namespaces::mappings(&format!("{at}/gidMappings"), gids, out);
    }
}

pub(super) fn restricted_paths(f: &Facts<'_>, out: &mut Findings) {
    for (member, paths) in [
        ("maskedPaths", list(f.linux.map(Linux::masked_paths))),
        ("readonlyPaths", list(f.linux.map(Linux::readonly_paths))),
    ] {
        if !paths.is_empty() && !f.has(Ns::Mount) {
            let said = "unable to restrict sys entries without a private MNT namespace";
            out.wrong(format!("/linux/{member}"), said);
        }
        for (i, p) in paths.iter().enumerate() {
            let at = format!("/linux/{member}/{i}");
            if !p.starts_with('/') {
                out.wrong(&at, format!("{p:?} is not an absolute path"));
            }
            out.nul(at, "path", p);
        }
    }
}

pub(super) fn rootfs_propagation(f: &Facts<'_>, out: &mut Findings) {
    let Some(p) = f.linux.and_then(|l| l.rootfs_propagation().as_ref()).filter(|p| !p.is_empty()) else {
        return;
    };
    if mount_options::propagation(p).is_none() {
        out.wrong("/linux/rootfsPropagation", format!("rootfsPropagation={p} is not supported"));
    }
}
