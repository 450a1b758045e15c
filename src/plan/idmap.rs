//! Id maps: the container's user namespace, and mounts that are seen through another.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::LinuxIdMapping;

use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::host::Host;
use crate::sys::cred::Caps;
use crate::sys::process::{self, Birth};
use crate::sys::{fs, ns};

/// Lines of uid_map and gid_map: inside, outside, how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: String,
    pub gids: String,
    /// Who writes each; of use only for a new user namespace.
    pub uid_writer: Writer,
    pub gid_writer: Writer,
    /// The kernel lets an ordinary user map his own gid only where setgroups(2) is given up for good: a group can take
    /// rights away.
    pub deny_setgroups: bool,
}

/// Who may write a map: user_namespaces(7), "Defining user and group ID mappings".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// Main: it has the capability, or maps nothing but its own id.
    #[default]
    Main,
    /// newuidmap(1) or newgidmap(1), which have the capability, and know what ids were given to the user.
    Helper(CString),
}

/// One of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Uids,
    Gids,
}

impl Of {
    /// Below /proc/PID.
    pub fn file(self) -> &'static str {
        match self {
            Self::Uids => "uid_map",
            Self::Gids => "gid_map",
        }
    }

    pub fn helper(self) -> &'static str {
        match self {
            Self::Uids => "newuidmap",
            Self::Gids => "newgidmap",
        }
    }

    /// Which ids whom were given.
    pub fn grants(self) -> &'static str {
        match self {
            Self::Uids => "/etc/subuid",
            Self::Gids => "/etc/subgid",
        }
    }

    pub fn pointer(self) -> &'static str {
        match self {
            Self::Uids => "/linux/uidMappings",
            Self::Gids => "/linux/gidMappings",
        }
    }
}

/// The kernel's limit: user_namespaces(7).
const MAX_LINES: usize = 340;

impl IdMaps {
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    pub fn lines(&self, of: Of) -> &str {
        match of {
            Of::Uids => &self.uids,
            Of::Gids => &self.gids,
        }
    }

    /// Is one gid mapped, and no other?
    pub fn one_gid(&self) -> bool {
        let mut all = ranges(&self.gids);
        matches!((all.next(), all.next()), (Some((_, _, 1)), None))
    }

    /// Who that is outside; without maps the same.
    pub fn outside(&self, of: Of, id: u32) -> Option<u32> {
        if self.is_empty() {
            return Some(id);
        }
        ranges(self.lines(of)).find_map(|(inside, outside, count)| {
            let below = id.checked_sub(inside).filter(|b| *b < count)?;
            outside.checked_add(below)
        })
    }

    /// Decides who writes; `path` is where helpers are looked for.
    pub fn choose_writers(&mut self, host: &Host, path: &str) -> Result<()> {
        // Whether the ids are his to give is for the kernel to say.
        if host.caps.contains(Caps::SETUID.union(Caps::SETGID)) {
            return Ok(());
        }
        for (of, own) in [(Of::Uids, host.euid), (Of::Gids, host.egid)] {
            let all: Vec<_> = ranges(self.lines(of)).collect();
            let alone = matches!(all[..], [(_, outside, 1)] if outside == own);
            let writer = if alone { Writer::Main } else { Writer::Helper(find_helper(of, path, own)?) };
            match of {
                Of::Uids => self.uid_writer = writer,
                Of::Gids => {
                    self.deny_setgroups = alone;
                    self.gid_writer = writer;
                }
            }
        }
        Ok(())
    }

    /// By main itself, of a process in a new user namespace, before it needs its ids.
    pub fn write(&self, of: Of, pid: i32) -> Result<()> {
        let (path, lines) = (format!("/proc/{pid}/{}", of.file()), self.lines(of));
        let write = || fs::write_once(fs::open(&path, fs::OFlag::O_WRONLY)?, lines.as_bytes());
        write().on("write", format!("{} ({})", of.file(), lines.trim_end().replace('\n', ", ")))
    }
}

/// Inside, outside, how many.
pub fn ranges(lines: &str) -> impl Iterator<Item = (u32, u32, u32)> {
    lines.lines().filter_map(|l| {
        let mut n = l.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
        Some((n.next()?, n.next()?, n.next()?))
    })
}

fn find_helper(of: Of, path: &str, own: u32) -> Result<CString> {
    let name = of.helper();
    let here = |dir: &str| {
        let file = std::path::Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        fs::may_execute(&file).is_ok().then(|| CString::new(file.as_os_str().as_bytes()).ok()).flatten()
    };
    path.split(':').find_map(here).ok_or_else(|| {
        let text = format!("an ordinary user can map more than his own id only by {name}, which is not in PATH");
        let kind = if of == Of::Uids { "uid" } else { "gid" };
        Error::new(Kind::Host, text).pointer(of.pointer()).hint(format!(
            "install it (Debian: uidmap, Fedora: shadow-utils), or map one id: containerID 0, hostID {own} (your {kind}), size 1"
        ))
    })
}

/// `pointer` names the place of both lists: `/linux`, `/mounts/3`.
pub fn build(
    uids: Option<&Vec<LinuxIdMapping>>,
    gids: Option<&Vec<LinuxIdMapping>>,
    pointer: &str,
) -> Result<IdMaps> {
    let lines = |list: Option<&Vec<LinuxIdMapping>>, kind: &str| -> Result<String> {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        let place = format!("{pointer}/{kind}Mappings");
        if list.len() > MAX_LINES {
            return Err(Error::spec(
                place,
                format!("{} ranges are more than the kernel's {MAX_LINES}", list.len()),
            ));
        }
        let mut text = String::new();
        for (i, m) in list.iter().enumerate() {
            // Ids end below 2^32 - 1, which means "no id".
            let fits = |first: u32| first.checked_add(m.size()).is_some();
            if m.size() == 0 || !fits(m.container_id()) || !fits(m.host_id()) {
                return Err(Error::spec(
                    format!("{place}/{i}"),
                    "the range of ids is empty or goes beyond 4294967294",
                ));
            }
            text.push_str(&format!("{} {} {}\n", m.container_id(), m.host_id(), m.size()));
        }
        Ok(text)
    };
    Ok(IdMaps { uids: lines(uids, "uid")?, gids: lines(gids, "gid")?, ..IdMaps::default() })
}

/// A user namespace with these maps and nobody in it: what mount_setattr(2) wants for an idmapped mount.
pub fn namespace(maps: &IdMaps) -> Result<OwnedFd> {
    let birth = Birth { namespaces: ns::NEWUSER, ..Birth::default() };
    // Killed when dropped; the descriptor keeps the namespace.
    let holder = process::spawn(&birth, || {
        process::wait_for_ever();
        0
    })
    .on("create", "a user namespace for an idmapped mount")?;
    [Of::Uids, Of::Gids]
        .into_iter()
        .try_for_each(|of| maps.write(of, holder.pid()))
        .within("idmapped mount")?;
    let path = format!("/proc/{}/ns/user", holder.pid());
    fs::open(&path, fs::OFlag::O_RDONLY).on("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside() {
        let maps =
            IdMaps { uids: "0 1000 1\n1 100000 65536\n".into(), gids: "0 0 1\n".into(), ..IdMaps::default() };
        for (inside, want) in [(0, Some(1000)), (1, Some(100_000)), (65536, Some(165_535)), (65537, None)] {
            assert_eq!(maps.outside(Of::Uids, inside), want, "{inside}");
        }
        assert_eq!(maps.outside(Of::Gids, 1), None);
        assert_eq!(IdMaps::default().outside(Of::Uids, 7), Some(7));
    }

    /// Euid, capabilities; both maps; who writes them (h: a helper), and whether setgroups(2) is given up.
    #[test]
    fn writers() {
        let all = Caps(u64::MAX);
        let (own, many) = ("0 1000 1\n", "0 1000 1\n1 100000 65536\n");
        for (euid, caps, uids, gids, want) in [
            (0, all, many, many, ("m", "m", false)),
            (0, all, "0 0 1\n", "0 0 1\n", ("m", "m", false)),
            (0, Caps(0), "0 0 1\n", "0 0 1\n", ("m", "m", true)),
            (1000, Caps(0), own, own, ("m", "m", true)),
            (1000, Caps(0), "5 1000 1\n", own, ("m", "m", true)),
            (1000, Caps(0), many, many, ("h", "h", false)),
            (1000, Caps(0), many, own, ("h", "m", true)),
            (1000, Caps(0), own, many, ("m", "h", false)),
            (1000, Caps(0), "0 1000 2\n", own, ("h", "m", true)),
            (1000, Caps(0), "0 1001 1\n", own, ("h", "m", true)),
            (1000, all, many, many, ("m", "m", false)),
        ] {
            let dir = std::env::temp_dir().join(format!("orlop-helpers-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            for name in ["newuidmap", "newgidmap"] {
                use std::os::unix::fs::OpenOptionsExt;
                let (file, options) = (dir.join(name), &mut std::fs::OpenOptions::new());
                options.create(true).write(true).truncate(false).mode(0o755).open(file).unwrap();
            }
            let host = Host { euid, egid: euid, caps, ..Host::default() };
            let mut maps = IdMaps { uids: uids.into(), gids: gids.into(), ..IdMaps::default() };
            maps.choose_writers(&host, &format!("/no/where:{}", dir.display())).unwrap();
            let letter = |w: &Writer| if *w == Writer::Main { "m" } else { "h" };
            let got = (letter(&maps.uid_writer), letter(&maps.gid_writer), maps.deny_setgroups);
            assert_eq!(got, want, "{euid} {caps:?} {uids:?} {gids:?}");
            std::fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn a_helper_that_is_missing_is_named() {
        let host = Host { euid: 1000, egid: 1000, ..Host::default() };
        let mut maps = IdMaps { uids: "0 1000 1\n".into(), gids: "0 1000 2\n".into(), ..IdMaps::default() };
        let e = maps.choose_writers(&host, "/no/where").unwrap_err().to_string();
        assert!(e.contains("newgidmap") && e.contains("/linux/gidMappings") && e.contains("uidmap"), "{e}");
    }
}
