//! The option table of a mount: from the strings of `mounts[].options` to one decided value.
//!
//! The names are those of the runtime specification 1.3.0 (config.md, "Linux mount options"); their meaning is
//! mount(8)'s. A later option wins over an earlier one. A name that is not in the table belongs to the file system
//! and is kept, in order, in [`MountOptions::data`].
//!
//! The access time modes are one setting with three values (mount_setattr(2)), not three flags: the last one named
//! decides, and undoing a mode gives back the kernel's default, `relatime`.

use crate::error::{Error, Result};

/// `MOUNT_ATTR_*` of mount_setattr(2), from `linux/mount.h`.
pub mod attr {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// The mask of the three access time modes. It must be cleared whenever one of them is set.
    pub const ATIME: u64 = 0x70;
    pub const RELATIME: u64 = 0x00;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `MS_*` of mount(2), from `linux/mount.h`: propagation, and what belongs to the superblock.
pub mod ms {
    pub const RDONLY: u64 = 1;
    pub const SYNCHRONOUS: u64 = 1 << 4;
    pub const MANDLOCK: u64 = 1 << 6;
    pub const DIRSYNC: u64 = 1 << 7;
    pub const NOSYMFOLLOW: u64 = 1 << 8;
    pub const NOATIME: u64 = 1 << 10;
    pub const NODIRATIME: u64 = 1 << 11;
    pub const SILENT: u64 = 1 << 15;
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
    pub const RELATIME: u64 = 1 << 21;
    pub const I_VERSION: u64 = 1 << 23;
    pub const STRICTATIME: u64 = 1 << 24;
    pub const LAZYTIME: u64 = 1 << 25;
}

/// `bind` or `rbind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    pub recursive: bool,
}

/// `idmap` or `ridmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idmap {
    pub recursive: bool,
}

/// One change of propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`: see [`ms`].
    pub kind: u64,
    /// For all mounts below, too.
    pub recursive: bool,
}

/// What the options of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// [`attr`] bits to set on the mount itself.
    pub set: u64,
    /// [`attr`] bits to clear; holds [`attr::ATIME`] whenever an access time mode was named.
    pub clear: u64,
    /// The same for the mount and all below it (`rro`, `rnosuid`, …).
    pub rec_set: u64,
    pub rec_clear: u64,
    /// Superblock flags to set, by the names that fsconfig(2) knows: `ro sync dirsync mand lazytime`.
    pub superblock: Vec<&'static str>,
    /// Superblock flags to clear, by the names that fsconfig(2) knows: `rw async nomand nolazytime`. A new superblock
    /// has them cleared already.
    pub superblock_clear: Vec<&'static str>,
    pub bind: Option<Bind>,
    pub remount: bool,
    /// In the order given.
    pub propagation: Vec<Propagation>,
    /// A tmpfs that begins with a copy of what it covers.
    pub tmpcopyup: bool,
    pub idmap: Option<Idmap>,
    /// What belongs to the file system, in the order given.
    pub data: Vec<String>,
    /// [`ms`] bits of the superblock, set and cleared.
    sb_set: u64,
    sb_clear: u64,
}

impl MountOptions {
    /// The flags of mount(2) that make a new mount of this kind; `MS_BIND` and `MS_REMOUNT` are not among them.
    pub fn legacy_flags(&self) -> u64 {
        let same = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let moved = [
            (attr::NOATIME, ms::NOATIME),
            (attr::STRICTATIME, ms::STRICTATIME),
            (attr::NODIRATIME, ms::NODIRATIME),
            (attr::NOSYMFOLLOW, ms::NOSYMFOLLOW),
        ];
        let relatime = self.clear & attr::ATIME != 0 && self.set & attr::ATIME == attr::RELATIME;
        let mut flags = self.set & same | self.sb_set;
        if relatime {
            flags |= ms::RELATIME;
        }
        moved.iter().filter(|(a, _)| self.set & a != 0).fold(flags, |flags, (_, m)| flags | m)
    }

    /// `silent` and `iversion` have no name in fsconfig(2): only mount(2) can say them. `silent` may be dropped (it
    /// is about the kernel's log), `iversion` not.
    pub fn needs_legacy(&self) -> bool {
        self.sb_set & ms::I_VERSION != 0
    }
}

/// What an option does.
#[derive(Clone, Copy)]
enum Does {
    Nothing,
    Set(u64),
    Clear(u64),
    /// Superblock and mount, as `ro` of a new mount is both.
    SetBoth(u64, u64),
    ClearBoth(u64, u64),
    Atime(u64),
    /// Undoes one access time mode.
    NoAtime(u64),
    RecSet(u64),
    RecClear(u64),
    RecAtime(u64),
    RecNoAtime(u64),
    Super(u64),
    SuperClear(u64),
    Propagate(u64, bool),
    Bind(bool),
    Remount,
    Idmap(bool),
    TmpCopyUp,
}

/// All names that are understood, sorted.
const TABLE: &[(&str, Does)] = &[
    ("async", Does::SuperClear(ms::SYNCHRONOUS)),
    ("atime", Does::NoAtime(attr::NOATIME)),
    ("bind", Does::Bind(false)),
    ("defaults", Does::Nothing),
    ("dev", Does::Clear(attr::NODEV)),
    ("diratime", Does::Clear(attr::NODIRATIME)),
    ("dirsync", Does::Super(ms::DIRSYNC)),
    ("exec", Does::Clear(attr::NOEXEC)),
    ("idmap", Does::Idmap(false)),
    ("iversion", Does::Super(ms::I_VERSION)),
    ("lazytime", Does::Super(ms::LAZYTIME)),
    ("loud", Does::SuperClear(ms::SILENT)),
    ("mand", Does::Super(ms::MANDLOCK)),
    ("noatime", Does::Atime(attr::NOATIME)),
    ("nodev", Does::Set(attr::NODEV)),
    ("nodiratime", Does::Set(attr::NODIRATIME)),
    ("noexec", Does::Set(attr::NOEXEC)),
    ("noiversion", Does::SuperClear(ms::I_VERSION)),
    ("nolazytime", Does::SuperClear(ms::LAZYTIME)),
    ("nomand", Does::SuperClear(ms::MANDLOCK)),
    ("norelatime", Does::NoAtime(attr::RELATIME)),
    ("nostrictatime", Does::NoAtime(attr::STRICTATIME)),
    ("nosuid", Does::Set(attr::NOSUID)),
    ("nosymfollow", Does::Set(attr::NOSYMFOLLOW)),
    ("private", Does::Propagate(ms::PRIVATE, false)),
    ("ratime", Does::RecNoAtime(attr::NOATIME)),
    ("rbind", Does::Bind(true)),
    ("rdev", Does::RecClear(attr::NODEV)),
    ("rdiratime", Does::RecClear(attr::NODIRATIME)),
    ("relatime", Does::Atime(attr::RELATIME)),
    ("remount", Does::Remount),
    ("rexec", Does::RecClear(attr::NOEXEC)),
    ("ridmap", Does::Idmap(true)),
    ("rnoatime", Does::RecAtime(attr::NOATIME)),
    ("rnodev", Does::RecSet(attr::NODEV)),
    ("rnodiratime", Does::RecSet(attr::NODIRATIME)),
    ("rnoexec", Does::RecSet(attr::NOEXEC)),
    ("rnorelatime", Does::RecNoAtime(attr::RELATIME)),
    ("rnostrictatime", Does::RecNoAtime(attr::STRICTATIME)),
    ("rnosuid", Does::RecSet(attr::NOSUID)),
    ("rnosymfollow", Does::RecSet(attr::NOSYMFOLLOW)),
    ("ro", Does::SetBoth(attr::RDONLY, ms::RDONLY)),
    ("rprivate", Does::Propagate(ms::PRIVATE, true)),
    ("rrelatime", Does::RecAtime(attr::RELATIME)),
    ("rro", Does::RecSet(attr::RDONLY)),
    ("rrw", Does::RecClear(attr::RDONLY)),
    ("rshared", Does::Propagate(ms::SHARED, true)),
    ("rslave", Does::Propagate(ms::SLAVE, true)),
    ("rstrictatime", Does::RecAtime(attr::STRICTATIME)),
    ("rsuid", Does::RecClear(attr::NOSUID)),
    ("rsymfollow", Does::RecClear(attr::NOSYMFOLLOW)),
    ("runbindable", Does::Propagate(ms::UNBINDABLE, true)),
    ("rw", Does::ClearBoth(attr::RDONLY, ms::RDONLY)),
    ("shared", Does::Propagate(ms::SHARED, false)),
    ("silent", Does::Super(ms::SILENT)),
    ("slave", Does::Propagate(ms::SLAVE, false)),
    ("strictatime", Does::Atime(attr::STRICTATIME)),
    ("suid", Does::Clear(attr::NOSUID)),
    ("symfollow", Does::Clear(attr::NOSYMFOLLOW)),
    ("sync", Does::Super(ms::SYNCHRONOUS)),
    ("tmpcopyup", Does::TmpCopyUp),
    ("unbindable", Does::Propagate(ms::UNBINDABLE, false)),
];

/// Superblock flags that fsconfig(2) knows by name: bit, name to set it, name to clear it (`dirsync` has none).
const SUPERBLOCK: &[(u64, &str, Option<&str>)] = &[
    (ms::RDONLY, "ro", Some("rw")),
    (ms::SYNCHRONOUS, "sync", Some("async")),
    (ms::DIRSYNC, "dirsync", None),
    (ms::MANDLOCK, "mand", Some("nomand")),
    (ms::LAZYTIME, "lazytime", Some("nolazytime")),
];

/// All names that are understood, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

fn lookup(name: &str) -> Option<Does> {
    TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|at| TABLE[at].1)
}

/// The values of `rootfsPropagation`: the propagation options of the table.
pub fn propagation(name: &str) -> Option<Propagation> {
    match lookup(name) {
        Some(Does::Propagate(kind, recursive)) => Some(Propagation { kind, recursive }),
        _ => None,
    }
}

/// The options of one mount. The one thing refused is a NUL byte, which no system call can carry.
pub fn parse(options: &[String]) -> Result<MountOptions> {
    let mut m = MountOptions::default();
    let (mut atime, mut rec_atime) = (None, None);
    for o in options {
        let Some(does) = lookup(o) else {
            if o.contains('\0') {
                return Err(Error::spec("", format!("mount option {o:?} contains a NUL byte")));
            }
            if !o.is_empty() {
                m.data.push(o.clone());
            }
            continue;
        };
        match does {
            Does::Nothing => {}
            Does::Set(bits) => raise(&mut m.set, &mut m.clear, bits),
            Does::Clear(bits) => raise(&mut m.clear, &mut m.set, bits),
            Does::SetBoth(bits, sb) => {
                raise(&mut m.set, &mut m.clear, bits);
                raise(&mut m.sb_set, &mut m.sb_clear, sb);
            }
            Does::ClearBoth(bits, sb) => {
                raise(&mut m.clear, &mut m.set, bits);
                raise(&mut m.sb_clear, &mut m.sb_set, sb);
            }
            Does::Atime(mode) => atime = Some(mode),
            Does::NoAtime(mode) => undo(&mut atime, mode),
            Does::RecSet(bits) => raise(&mut m.rec_set, &mut m.rec_clear, bits),
            Does::RecClear(bits) => raise(&mut m.rec_clear, &mut m.rec_set, bits),
            Does::RecAtime(mode) => rec_atime = Some(mode),
            Does::RecNoAtime(mode) => undo(&mut rec_atime, mode),
            Does::Super(bit) => raise(&mut m.sb_set, &mut m.sb_clear, bit),
            Does::SuperClear(bit) => raise(&mut m.sb_clear, &mut m.sb_set, bit),
            Does::Propagate(kind, recursive) => m.propagation.push(Propagation { kind, recursive }),
            // `bind` after `rbind` does not take the recursion back: as in mount(8) and runc.
            Does::Bind(recursive) => {
                m.bind = Some(Bind { recursive: recursive || m.bind.is_some_and(|b| b.recursive) });
            }
            Does::Remount => m.remount = true,
            Does::Idmap(recursive) => m.idmap = Some(Idmap { recursive }),
            Does::TmpCopyUp => m.tmpcopyup = true,
        }
    }
    if let Some(mode) = atime {
        m.set |= mode;
        m.clear |= attr::ATIME;
    }
    if let Some(mode) = rec_atime {
        m.rec_set |= mode;
        m.rec_clear |= attr::ATIME;
    }
    m.superblock =
        SUPERBLOCK.iter().filter(|(bit, ..)| m.sb_set & bit != 0).map(|(_, set, _)| *set).collect();
    m.superblock_clear = SUPERBLOCK
        .iter()
        .filter(|(bit, ..)| m.sb_clear & bit != 0)
        .filter_map(|(.., clear)| *clear)
        .collect();
    Ok(m)
}

fn raise(up: &mut u64, down: &mut u64, bits: u64) {
    *up |= bits;
    *down &= !bits;
}

/// `atime` after `strictatime` changes nothing; after `noatime`, or alone, it asks for the default.
fn undo(now: &mut Option<u64>, mode: u64) {
    if now.is_none_or(|now| now == mode) {
        *now = Some(attr::RELATIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(options: &[&str]) -> MountOptions {
        parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_table_is_sorted_and_is_the_specifications() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        // config.md 1.3.0, first column, plus `rnodev`, which its table forgets and runc has.
        let spec = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
            nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime \
            rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime \
            rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow \
            runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap rnodev";
        let mut spec: Vec<_> = spec.split_whitespace().collect();
        spec.sort_unstable();
        assert_eq!(names().collect::<Vec<_>>(), spec);
    }

    #[test]
    fn every_option_alone() {
        use attr::*;
        // name, set, clear, rec_set, rec_clear, superblock
        let rows: &[(&str, u64, u64, u64, u64, &[&str])] = &[
            ("defaults", 0, 0, 0, 0, &[]),
            ("ro", RDONLY, 0, 0, 0, &["ro"]),
            ("rw", 0, RDONLY, 0, 0, &[]),
            ("nosuid", NOSUID, 0, 0, 0, &[]),
            ("suid", 0, NOSUID, 0, 0, &[]),
            ("nodev", NODEV, 0, 0, 0, &[]),
            ("dev", 0, NODEV, 0, 0, &[]),
            ("noexec", NOEXEC, 0, 0, 0, &[]),
            ("exec", 0, NOEXEC, 0, 0, &[]),
            ("nodiratime", NODIRATIME, 0, 0, 0, &[]),
            ("diratime", 0, NODIRATIME, 0, 0, &[]),
            ("nosymfollow", NOSYMFOLLOW, 0, 0, 0, &[]),
            ("symfollow", 0, NOSYMFOLLOW, 0, 0, &[]),
            ("noatime", NOATIME, ATIME, 0, 0, &[]),
            ("strictatime", STRICTATIME, ATIME, 0, 0, &[]),
            ("relatime", 0, ATIME, 0, 0, &[]),
            ("atime", 0, ATIME, 0, 0, &[]),
            ("norelatime", 0, ATIME, 0, 0, &[]),
            ("nostrictatime", 0, ATIME, 0, 0, &[]),
            ("rro", 0, 0, RDONLY, 0, &[]),
            ("rrw", 0, 0, 0, RDONLY, &[]),
            ("rnosuid", 0, 0, NOSUID, 0, &[]),
            ("rsuid", 0, 0, 0, NOSUID, &[]),
            ("rnodev", 0, 0, NODEV, 0, &[]),
            ("rdev", 0, 0, 0, NODEV, &[]),
            ("rnoexec", 0, 0, NOEXEC, 0, &[]),
            ("rexec", 0, 0, 0, NOEXEC, &[]),
            ("rnodiratime", 0, 0, NODIRATIME, 0, &[]),
            ("rdiratime", 0, 0, 0, NODIRATIME, &[]),
            ("rnosymfollow", 0, 0, NOSYMFOLLOW, 0, &[]),
            ("rsymfollow", 0, 0, 0, NOSYMFOLLOW, &[]),
            ("rnoatime", 0, 0, NOATIME, ATIME, &[]),
            ("rstrictatime", 0, 0, STRICTATIME, ATIME, &[]),
            ("rrelatime", 0, 0, 0, ATIME, &[]),
            ("ratime", 0, 0, 0, ATIME, &[]),
            ("rnorelatime", 0, 0, 0, ATIME, &[]),
            ("rnostrictatime", 0, 0, 0, ATIME, &[]),
            ("sync", 0, 0, 0, 0, &["sync"]),
            ("async", 0, 0, 0, 0, &[]),
            ("dirsync", 0, 0, 0, 0, &["dirsync"]),
            ("mand", 0, 0, 0, 0, &["mand"]),
            ("nomand", 0, 0, 0, 0, &[]),
            ("lazytime", 0, 0, 0, 0, &["lazytime"]),
            ("nolazytime", 0, 0, 0, 0, &[]),
            ("silent", 0, 0, 0, 0, &[]),
            ("loud", 0, 0, 0, 0, &[]),
            ("iversion", 0, 0, 0, 0, &[]),
            ("noiversion", 0, 0, 0, 0, &[]),
        ];
        for (name, set, clear, rec_set, rec_clear, superblock) in rows {
            let m = p(&[name]);
            assert_eq!(
                (m.set, m.clear, m.rec_set, m.rec_clear),
                (*set, *clear, *rec_set, *rec_clear),
                "{name}"
            );
            assert_eq!(m.superblock, *superblock, "{name}");
            assert!(m.data.is_empty(), "{name}");
        }
        // What the rows above leave out has tests of its own below.
        let rest = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"];
        let tested = |n: &str| rows.iter().any(|r| r.0 == n) || rest.contains(&n) || propagation(n).is_some();
        assert!(names().all(tested));
    }

    #[test]
    fn the_later_option_wins() {
        for (options, set, clear) in [
            (&["ro", "rw"][..], 0, attr::RDONLY),
            (&["rw", "ro"], attr::RDONLY, 0),
            (&["nosuid", "suid", "nosuid"], attr::NOSUID, 0),
            (&["noatime", "strictatime"], attr::STRICTATIME, attr::ATIME),
            (&["strictatime", "noatime"], attr::NOATIME, attr::ATIME),
            (&["noatime", "relatime"], 0, attr::ATIME),
            (&["noatime", "atime"], 0, attr::ATIME),
            (&["strictatime", "atime"], attr::STRICTATIME, attr::ATIME),
            (&["noatime", "nostrictatime"], attr::NOATIME, attr::ATIME),
            (&["noatime", "nodiratime"], attr::NOATIME | attr::NODIRATIME, attr::ATIME),
        ] {
            let m = p(options);
            assert_eq!((m.set, m.clear), (set, clear), "{options:?}");
        }
        assert!(p(&["sync", "async"]).superblock.is_empty());
        assert_eq!(p(&["sync", "async"]).superblock_clear, ["async"]);
        assert_eq!(p(&["rw"]).superblock_clear, ["rw"]);
        let m = p(&["rro", "rrw", "rnoatime", "rstrictatime"]);
        assert_eq!((m.rec_set, m.rec_clear), (attr::STRICTATIME, attr::RDONLY | attr::ATIME));
    }

    #[test]
    fn binds_propagation_and_extensions() {
        assert_eq!(p(&["bind"]).bind, Some(Bind { recursive: false }));
        assert_eq!(p(&["rbind", "bind"]).bind, Some(Bind { recursive: true }));
        assert_eq!(p(&[]).bind, None);
        assert!(p(&["remount"]).remount && p(&["tmpcopyup"]).tmpcopyup);
        assert_eq!(p(&["ridmap"]).idmap, Some(Idmap { recursive: true }));
        assert_eq!(p(&["idmap"]).idmap, Some(Idmap { recursive: false }));
        let m = p(&["rslave", "shared"]);
        let want = [(ms::SLAVE, true), (ms::SHARED, false)];
        assert_eq!(m.propagation.iter().map(|p| (p.kind, p.recursive)).collect::<Vec<_>>(), want);
        for (name, kind, recursive) in [
            ("private", ms::PRIVATE, false),
            ("rprivate", ms::PRIVATE, true),
            ("slave", ms::SLAVE, false),
            ("rslave", ms::SLAVE, true),
            ("shared", ms::SHARED, false),
            ("rshared", ms::SHARED, true),
            ("unbindable", ms::UNBINDABLE, false),
            ("runbindable", ms::UNBINDABLE, true),
        ] {
            assert_eq!(propagation(name), Some(Propagation { kind, recursive }), "{name}");
        }
        assert_eq!(propagation("bind"), None);
        assert_eq!(propagation(""), None);
    }

    #[test]
    fn what_is_not_known_is_the_file_systems() {
        assert_eq!(
            p(&["nosuid", "mode=755", "", "size=64k", "acl", "RO"]).data,
            ["mode=755", "size=64k", "acl", "RO"]
        );
        assert!(parse(&["a\0b".to_owned()]).is_err());
    }

    #[test]
    fn the_same_in_the_words_of_mount_2() {
        for (options, flags) in [
            (&["ro", "nosuid", "nodev", "noexec"][..], 0xf),
            (&["noatime"], 0x400),
            (&["nodiratime"], 0x800),
            (&["strictatime"], 1 << 24),
            (&["relatime"], 1 << 21),
            (&["nosymfollow"], 0x100),
            (&["sync", "dirsync", "mand"], 0x10 | 0x80 | 0x40),
            (&["lazytime", "iversion", "silent"], 1 << 25 | 1 << 23 | 1 << 15),
            (&["rro", "bind", "size=1"], 0),
        ] {
            assert_eq!(p(options).legacy_flags(), flags, "{options:?}");
        }
        assert!(p(&["iversion"]).needs_legacy() && !p(&["silent"]).needs_legacy());
    }
}
