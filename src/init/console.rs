//! The program's terminal: a pty of the container's own devpts, checked before it is trusted (CVE-2025-52565).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::root::{Make, Root};
use crate::error::{Error, OnSys, Result};
use crate::plan::console::Console;
use crate::sys::fs::{self, OFlag, Resolve};
use crate::sys::mount::{self, Attr};
use crate::sys::{Errno, fd, tty};

const PTMX: &str = "dev/pts/ptmx";

/// Opens a pty, makes it the session's terminal and the standard streams, and gives its master away.
pub fn open(root: &Root, plan: &Console, uid: u32) -> Result<OwnedFd> {
    let master = allocate(root, plan, uid)?;
    take()?;
    Ok(master)
}

/// Makes standard input the session's terminal.
pub fn take() -> Result<()> {
    fd::borrow_standard(0).and_then(tty::make_controlling).on("set", "the controlling terminal")
}

/// Opens a pty and makes it the standard streams.
pub fn allocate(root: &Root, plan: &Console, uid: u32) -> Result<OwnedFd> {
    let master = open_master(root)?;
    if let Some(size) = plan.size {
        tty::set_size(&master, size).on("set size of", "the terminal")?;
    }
    let slave = tty::open_peer(&master).on("open", "the terminal's slave side")?;
    match fs::chown_fd(&slave, Some(uid), None) {
        Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
        Err(e) => return Err(e).on("change owner of", "the terminal"),
    }
    if plan.bind {
        bind(root, &slave)?;
    }
    for stream in 0..3 {
        fd::dup_onto(&slave, stream).on("set", "the standard streams")?;
    }
    Ok(master)
}

fn open_master(root: &Root) -> Result<OwnedFd> {
    let no_devpts = |e: Error| e.hint("a terminal needs a devpts mounted at /dev/pts (option newinstance)");
    let look = |flags: OFlag| -> crate::sys::Result<OwnedFd> {
        let fd = fs::openat2(root.fd(), PTMX, flags, 0, Resolve::NO_LINKS)?;
        mount::verify_fs(&fd, mount::DEVPTS_MAGIC)?;
        if fs::fstat(&fd)?.is_char(5, 2) { Ok(fd) } else { Err(Errno::ENOTTY) }
    };
    // First a look that opens nothing: a device or FIFO of the image's choice must not be opened for real.
    look(OFlag::O_PATH)
        .and_then(|_| look(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK))
        .and_then(|fd| crate::sys::fd::set_blocking(&fd).map(|()| fd))
        .on("open", "/dev/pts/ptmx")
        .map_err(no_devpts)
}

/// /dev/console, made without following anything (CVE-2026-88264).
fn bind(root: &Root, slave: &OwnedFd) -> Result<()> {
    let (target, _) =
        root.open_or_make(Path::new("/dev/console"), Make::File, true).on("create", "/dev/console")?;
    if fs::fstat(&target).on("stat", "/dev/console")?.is_link() {
        return Err(Error::sys("use", "/dev/console, a symbolic link", Errno::ELOOP));
    }
    let tree = mount::clone_tree(slave.as_fd(), false).on("clone", "the terminal")?;
    mount::set_attr(
        &tree,
        Attr { propagation: crate::plan::rootfs::libc_free::MS_PRIVATE, ..Attr::default() },
        false,
    )
    .on("make private", "the terminal")?;
    mount::attach(&tree, &target).on("bind", "/dev/console")
}
