//! Makes `/proc/self/exe` of everything that enters a container unwritable (CVE-2019-5736).
//!
//! A program in the container can be made to be `/proc/self/exe`, so the file behind it must not be the runtime's
//! own. The process moves onto a read-only clone of the mount that its file is on, which exists nowhere else and costs
//! no copy. It moves as it is where it may, which takes a tenth of the time; else by executing itself again from there,
//! or, where nothing may be cloned, from a sealed copy in memory.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Mutex;

use crate::error::{Error, OnSys, Result};
use crate::sys::fs::{self, OFlag};
use crate::sys::mount::{self, ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, Attr};
use crate::sys::{Result as SysResult, exe as own, fd, process};

const SELF: &str = "/proc/self/exe";

/// The clone that we have moved onto. Whoever closes it last takes a mount tree apart, and waits until every processor
/// has seen that: an RCU grace period, fifty microseconds on an idle machine, milliseconds on a busy one.
static CLONE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Closes what [`ensure`] has kept open: for a moment at which only others are at work. A child must have closed its
/// copy by then, or the wait is the child's.
pub fn settle() {
    if let Ok(mut clone) = CLONE.lock() {
        drop(clone.take());
    }
}

/// Returns in a process whose own file cannot be written. It may execute itself again for that.
pub fn ensure() -> Result<()> {
    let exe = fs::open(SELF, OFlag::O_RDONLY).on("open", SELF)?;
    if is_sealed(&exe) {
        return Ok(());
    }
    let sealed = match read_only_clone(&exe) {
        Ok(clone) if move_onto(&clone).is_ok_and(|moved| moved) => {
            if let Ok(mut kept) = CLONE.lock() {
                *kept = Some(clone);
            }
            return Ok(());
        }
        r => r.or_else(|_| copy(&exe)).on("seal", SELF)?,
    };
    let argv: Vec<CString> = std::env::args_os().filter_map(|a| CString::new(a.into_vec()).ok()).collect();
    let env: Vec<CString> = std::env::vars_os()
        .filter_map(|(k, v)| {
            let mut line = k.into_vec();
            line.push(b'=');
            line.extend(v.into_vec());
            CString::new(line).ok()
        })
        .collect();
    Err(Error::sys("execute", "the sealed runtime", process::exec_fd(sealed, &argv, &env)))
}

/// In a sealed memfd, or on our own read-only clone, which is a mount by itself: there the file's name is `/`. A mount
/// of the host's that happens to be read-only may be made writable for an update, and does not count.
fn is_sealed(exe: &OwnedFd) -> bool {
    const ST_RDONLY: u64 = 1;
    let read_only = || fs::fstatfs(exe).is_ok_and(|(_, flags)| flags & ST_RDONLY != 0);
    fd::is_sealed(exe) || (read_only() && fs::readlinkat(fs::AT_FDCWD, SELF).is_ok_and(|name| name == "/"))
}

fn read_only_clone(exe: &OwnedFd) -> SysResult<OwnedFd> {
    let tree = mount::clone_tree(exe, false)?;
    mount::set_attr(&tree, Attr { set: ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV, ..Attr::default() }, false)?;
    Ok(tree)
}

/// Believed only when seen.
fn move_onto(clone: &OwnedFd) -> SysResult<bool> {
    use std::os::fd::AsRawFd;
    let file = fs::open(format!("/proc/self/fd/{}", clone.as_raw_fd()), OFlag::O_RDONLY)?;
    own::replace(&file)?;
    Ok(is_sealed(&fs::open(SELF, OFlag::O_RDONLY)?))
}

fn copy(exe: &OwnedFd) -> SysResult<OwnedFd> {
    let size = usize::try_from(fs::fstat(exe)?.size).unwrap_or(0);
    let memfd = fd::memfd(c"orlop")?;
    fd::copy(exe, &memfd, size)?;
    fd::seal(&memfd)?;
    Ok(memfd)
}
