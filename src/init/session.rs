//! A session, namespaces and a keyring of its own.

use crate::error::{Error, OnSys, Result};
use crate::plan::namespaces::{self, ForInit};
use crate::sys::{self, Errno, fs, keyring, ns, process, signal};

/// Default signals and a new session, before anything else: the caller's tty must not reach the container.
pub fn lead() -> Result<()> {
    signal::reset().on("reset", "signals")?;
    // Modes are meant as they are written; the program's own mask comes later.
    process::umask(0);
    process::setsid().on("create", "a session")
}

/// After main has put us into our cgroup: a cgroup namespace shows the cgroup of its maker. What was entered is let go of.
pub fn enter_namespaces(plan: ForInit) -> Result<()> {
    for join in plan.join {
        let what = || format!("{} namespace {}", namespaces::name(join.kind), join.path.display());
        ns::join(&join.fd, join.kind).on("join", what())?;
    }
    if plan.new_cgroup {
        ns::unshare(ns::NEWCGROUP).on("create", "a cgroup namespace")?;
    }
    if plan.loopback {
        sys::net::loopback_up().on("bring up", "the loopback interface")?;
    }
    Ok(())
}

/// In a user namespace a time namespace is made by us, so that it belongs to it. If that is a new one nobody else is in
/// there, to whom we could be shown for the moment in which we must be able to open our own file; else it is main's own.
pub fn new_time(offsets: &str) -> Result<()> {
    ns::unshare(ns::NEWTIME).on("create", "a time namespace")?;
    process::set_dumpable().on("set", "dumpable")?;
    if !offsets.is_empty() {
        namespaces::set_time_offsets(offsets)?;
    }
    // It is for our children; execve(2) takes us there only since Linux 6.1.
    let path = "/proc/self/ns/time_for_children";
    let made = fs::open(path, fs::OFlag::O_RDONLY).on("open", path)?;
    ns::join(&made, ns::NEWTIME).on("enter", "the time namespace")
}

/// A kernel without keyrings has none to leak.
pub fn join_keyring(name: Option<&std::ffi::CStr>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    match keyring::join_session(name) {
        Ok(id) => match keyring::allow_uid_search(id) {
            // The keyring is ours anyway; what fails is a courtesy to a root that is mapped elsewhere.
            Ok(()) | Err(Errno::EACCES | Errno::EPERM | Errno::EINVAL | Errno::ENOSYS) => Ok(()),
            Err(e) => Err(Error::sys("set permissions of", "the session keyring", e)),
        },
        Err(Errno::ENOSYS) => Ok(()),
        Err(e) => Err(Error::sys("create", "a session keyring", e)
            .hint("the user's key quota may be used up (/proc/key-users); --no-new-keyring goes without")),
    }
}
