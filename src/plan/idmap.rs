//! Id maps: the container's user namespace, and mounts that are seen through another.

use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxIdMapping;

use crate::error::{Error, OnSys, Result};
use crate::sys::process::{self, Birth};
use crate::sys::{fs, ns};

/// Lines of uid_map and gid_map: inside, outside, how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: String,
    pub gids: String,
}

/// The kernel's limit: user_namespaces(7).
const MAX_LINES: usize = 340;

impl IdMaps {
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Who that is outside; without maps the same.
    pub fn outside(&self, uid: u32) -> Option<u32> {
        if self.is_empty() {
            return Some(uid);
        }
        self.uids.lines().find_map(|l| {
            let mut n = l.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
            let (inside, outside, count) = (n.next()?, n.next()?, n.next()?);
            let below = uid.checked_sub(inside).filter(|b| *b < count)?;
            outside.checked_add(below)
        })
    }

    /// Of a process in a new user namespace, before it needs its ids.
    pub fn write(&self, pid: i32) -> Result<()> {
        for (file, lines) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = format!("/proc/{pid}/{file}");
            let write = || fs::write_once(fs::open(&path, fs::OFlag::O_WRONLY)?, lines.as_bytes());
            write().on("write", format!("{file} ({})", lines.trim_end().replace('\n', ", ")))?;
        }
        Ok(())
    }
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
            let fits = |first: u32| u64::from(first) + u64::from(m.size()) <= u64::from(u32::MAX);
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
    Ok(IdMaps { uids: lines(uids, "uid")?, gids: lines(gids, "gid")? })
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
    maps.write(holder.pid())?;
    let path = format!("/proc/{}/ns/user", holder.pid());
    fs::open(&path, fs::OFlag::O_RDONLY).on("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside() {
        let maps = IdMaps { uids: "0 1000 1\n1 100000 65536\n".into(), gids: "0 0 1\n".into() };
        for (inside, want) in [(0, Some(1000)), (1, Some(100_000)), (65536, Some(165_535)), (65537, None)] {
            assert_eq!(maps.outside(inside), want, "{inside}");
        }
        assert_eq!(IdMaps::default().outside(7), Some(7));
    }
}
