//! Labels of security modules, which a process writes for itself and for what it executes next.
//!
//! The files are opened before anything of the container is entered, in the /proc of the host, which is what it says
//! it is and has nothing mounted on the way: who shares the container's mounts can redirect nothing (CVE-2019-16884,
//! CVE-2025-52881), and neither masks nor a missing /proc matter. They are written when their turn comes. The kernel
//! keeps both labels across fork(2), so that the process that `exec` clones last has them, too.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, OnSys, Result};
use crate::plan::lsm::Lsm;
use crate::sys::fs::{self, OFlag, Resolve};
use crate::sys::{Errno, mount};

/// Labels that wait for their turn.
#[derive(Default)]
pub struct Labels {
    apparmor: Option<Attr>,
    selinux: Option<Attr>,
    keys: Option<Attr>,
}

/// An open file of /proc/thread-self/attr, and what will be written there.
struct Attr {
    file: OwnedFd,
    path: &'static str,
    label: String,
}

impl Attr {
    fn write(self) -> Result<()> {
        fs::write_once(&self.file, self.label.as_bytes()).on("write", format!("/proc/{}", self.path))
    }
}

/// `keyring`: a session keyring of its own will be made. Where nobody asks for labels nothing is done.
pub fn open(plan: &Lsm, keyring: bool) -> Result<Labels> {
    if plan.is_empty() {
        return Ok(Labels::default());
    }
    let proc = fs::open_dir("/proc").on("open", "/proc")?;
    mount::verify_fs(&proc, mount::PROC_MAGIC).on("use", "/proc, which is no procfs")?;
    let open = |path: &'static str, label: String| -> crate::sys::Result<Attr> {
        let file = fs::openat2(&proc, Path::new(path), OFlag::O_WRONLY, 0, Resolve::BENEATH_LINKS)?;
        Ok(Attr { file, path, label })
    };
    let apparmor = match &plan.apparmor {
        Some(profile) => {
            let word = || format!("exec {profile}");
            let attr = match open("thread-self/attr/apparmor/exec", word()) {
                // Before Linux 5.8 the modules shared one file, as they do where AppArmor is built to be alone.
                Err(Errno::ENOENT) => open("thread-self/attr/exec", word()),
                r => r,
            };
            Some(
                attr.on("open", "/proc/thread-self/attr/apparmor/exec")
                    .map_err(|e| of_profile(e, profile))?,
            )
        }
        None => None,
    };
    let shared = |path| match &plan.selinux {
        Some(label) => {
            open(path, label.clone()).on("open", format!("/proc/{path}")).map(Some).map_err(of_label)
        }
        None => Ok(None),
    };
    Ok(Labels {
        apparmor,
        selinux: shared("thread-self/attr/exec")?,
        keys: if keyring { shared("thread-self/attr/keycreate")? } else { None },
    })
}

impl Labels {
    /// Of the session keyring that is made next.
    pub fn of_keyring(&mut self) -> Result<()> {
        self.keys.take().map_or(Ok(()), Attr::write).map_err(of_label)
    }

    /// Of what is executed next. Before no_new_privs and the filter: both may be in the way of it.
    pub fn of_program(&mut self) -> Result<()> {
        if let Some(attr) = self.apparmor.take() {
            let profile = attr.label.strip_prefix("exec ").unwrap_or(&attr.label).to_owned();
            attr.write().map_err(|e| of_profile(e, &profile))?;
        }
        self.selinux.take().map_or(Ok(()), Attr::write).map_err(of_label)
    }
}

fn of_profile(e: Error, profile: &str) -> Error {
    let e = match e.errno() {
        Some(Errno::ENOENT) => {
            e.hint(format!("no profile {profile:?} is loaded: apparmor_parser(8); aa-status lists what is"))
        }
        _ => e,
    };
    e.within("unable to apply apparmor profile").pointer("/process/apparmorProfile")
}

fn of_label(e: Error) -> Error {
    let e = match e.errno() {
        Some(Errno::EINVAL) => e.hint("the loaded SELinux policy knows no such label"),
        _ => e,
    };
    e.within("can't set process label").pointer("/process/selinuxLabel")
}
