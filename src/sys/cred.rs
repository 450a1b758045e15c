//! Ids and capabilities.

use super::{Errno, Result, cvt};

pub fn geteuid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

pub fn getuid() -> u32 {
    nix::unistd::getuid().as_raw()
}

pub fn getgid() -> u32 {
    nix::unistd::getgid().as_raw()
}

pub fn getegid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// setgroups(2) of this thread.
pub fn set_groups(gids: &[u32]) -> Result<()> {
    // SAFETY: a pointer to `len` ids; the raw call acts on this thread alone, which is the only one.
    cvt(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }).map(|_| ())
}

pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: three integers; the raw call acts on this thread alone, which is the only one.
    cvt(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(|_| ())
}

pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: as above.
    cvt(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(|_| ())
}

pub fn keep_caps(keep: bool) -> Result<()> {
    ::prctl::set_keep_capabilities(keep).map_err(Errno::from_raw)
}

/// A set of capabilities, one bit each, as the kernel numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps(pub u64);

impl Caps {
    pub const SETGID: Self = Self(1 << 6);
    pub const SETUID: Self = Self(1 << 7);
    pub const SYS_ADMIN: Self = Self(1 << 21);

    pub fn has(self, nr: u32) -> bool {
        self.0 & (1 << nr) != 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The number of `CAP_NAME`.
    pub fn number(name: &str) -> Option<u32> {
        name.parse::<caps::Capability>().ok().map(|c| u32::from(c.index()))
    }

    pub fn name(nr: u32) -> Option<String> {
        caps::all().into_iter().find(|c| u32::from(c.index()) == nr).map(|c| c.to_string())
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPS_V3: u32 = 0x2008_0522;

/// capset(2): effective, permitted and inheritable at once.
pub fn set_caps(effective: Caps, permitted: Caps, inheritable: Caps) -> Result<()> {
    let header = Header { version: CAPS_V3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective.0 >> shift) as u32,
        permitted: (permitted.0 >> shift) as u32,
        inheritable: (inheritable.0 >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: a header and two data words in the layout of version 3 that live across the call.
    cvt(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(|_| ())
}

/// capget(2): (effective, permitted, inheritable).
pub fn get_caps() -> Result<(Caps, Caps, Caps)> {
    let mut header = Header { version: CAPS_V3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: writable header and two data words in the layout of version 3.
    cvt(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |f: fn(&Data) -> u32| Caps(u64::from(f(&data[0])) | u64::from(f(&data[1])) << 32);
    Ok((join(|d| d.effective), join(|d| d.permitted), join(|d| d.inheritable)))
}

/// Takes every capability that is not in `keep` out of the bounding set, as far as the kernel knows any.
pub fn limit_bounding(keep: Caps) -> Result<()> {
    for nr in 0..64 {
        if keep.has(nr) {
            continue;
        }
        // SAFETY: integers.
        match cvt(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, nr as libc::c_ulong, 0, 0, 0) }.into()) {
            Ok(_) => {}
            // The first number that this kernel has not.
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP: fine where it is gone already.
            Err(e) => {
                // SAFETY: integers.
                let there =
                    cvt(unsafe { libc::prctl(libc::PR_CAPBSET_READ, nr as libc::c_ulong, 0, 0, 0) }.into())?;
                if there == 1 {
                    return Err(e);
                }
            }
        }
    }
    Ok(())
}

/// The highest capability that this kernel has.
pub fn last_cap() -> u32 {
    // SAFETY: integers; fails with EINVAL beyond the last one.
    (0..64)
        .take_while(|nr| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *nr as libc::c_ulong, 0, 0, 0) } >= 0)
        .count() as u32
        - 1
}

pub fn clear_ambient() -> Result<()> {
    // SAFETY: integers.
    cvt(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())
        .map(|_| ())
}

pub fn raise_ambient(nr: u32) -> Result<()> {
    let nr = nr as libc::c_ulong;
    // SAFETY: integers.
    cvt(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, nr, 0, 0) }.into()).map(|_| ())
}

/// prlimit(2) of a process (0: this one) by the kernel's number of the resource.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: a struct rlimit64 that lives across the call and a null pointer for the old value.
    cvt(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, none) }).map(|_| ())
}

/// Makes room for a limit that this process will set when it has no right to raise one any more: the hard limit is
/// raised to `hard` if it is lower, the soft one stays.
pub fn allow_rlimit(resource: u32, hard: u64) -> Result<()> {
    let none: *const libc::rlimit64 = std::ptr::null();
    let mut now = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a null pointer for the new value and a writable struct rlimit64.
    cvt(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, none, &raw mut now) })?;
    if now.rlim_max < hard { set_rlimit(0, resource, now.rlim_cur, hard) } else { Ok(()) }
}
