//! The child side: a straight list of steps that ends in execve(2).
//!
//! Init knows its envelope of the plan and nothing else: no configuration, no host. Every step works on descriptors
//! that it was given or on the container's root; the order is what makes them safe, so each says why it stands where
//! it stands.

// Numbers and texts here are others': no index that may not be there, no sum that wraps, no id that a cast makes another's
// (CVE-2026-30892).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
    )
)]

mod beside;
mod console;
mod copyup;
mod devices;
mod exec;
mod fds;
pub mod gate;
mod identity;
pub mod intermediate;
pub mod join;
mod kernel;
mod lsm;
mod mounts;
mod paths;
mod root;
pub mod rootfs;
mod schedule;
mod seccomp;
mod session;

use std::ffi::CString;
use std::os::fd::{AsRawFd, RawFd};

use crate::error::{Context, Error, Result, Stage};
use crate::handshake::{Line, Program};
use crate::hooks;
use crate::plan::ForInit;
use crate::plan::identity::Identity;
use crate::sys::{self, process};
use crate::trace::{self, Role, span};
use gate::Starter;

pub use fds::preserved;

/// Becomes the container, or says why not. The value is the exit status of a failure.
pub fn run(plan: ForInit, line: Line) -> i32 {
    trace::role(Role::Init);
    let mut starter = Starter::Main;
    let e = match become_container(plan, &line, &mut starter) {
        Err(e) => e.at_stage(Stage::Init),
        Ok(never) => match never {},
    };
    match starter {
        Starter::Main => line.failed(&e),
        Starter::Connection(c) => c.failed(&e),
    }
    1
}

/// As [`run`], after letting itself into its cgroup.
pub fn run_inside(doors: &[crate::plan::join::Door], plan: ForInit, line: Line) -> i32 {
    trace::role(Role::Init);
    let entered = {
        let _t = span("enter cgroups");
        join::pass(doors)
    };
    match entered.within("unable to apply cgroup configuration") {
        Ok(()) => run(plan, line),
        Err(e) => {
            line.failed(&e.at_stage(Stage::Init));
            1
        }
    }
}

/// Names the step in what goes wrong in it. Only steps whose errors do not speak for themselves need it.
fn step<T>(name: &'static str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let _t = trace::span(name);
    f().map_err(|e| e.within(name))
}

fn become_container(plan: ForInit, line: &Line, starter: &mut Starter) -> Result<std::convert::Infallible> {
    let ForInit {
        promise,
        namespaces,
        mut rootfs,
        kernel,
        schedule,
        lsm,
        identity,
        console,
        program,
        hooks,
        gate,
        preserve,
    } = plan;

    if namespaces.shown_until_mapped {
        process::die_with_parent(sys::signal::SIGKILL)
            .map_err(|e| Error::sys("set", "parent-death signal", e))?;
    } else {
        hide()?;
    }
    session::lead()?;
    // As long as /proc is the host's.
    let mut labels = lsm::open(&lsm, kernel.keyring.is_some())?;
    if let Some(promise) = &promise {
        let _t = span("make namespaces");
        beside::make_namespaces(promise)?;
    }
    // The cgroup and the id maps come first: mounts, and what other namespaces there are, belong to them.
    let (link, pid, sent) = {
        let _t = span("wait for go");
        line.born().wait_for_go()?
    };
    let tight = sent.tight;
    if let Some(promise) = promise {
        let _t = span("enter cgroups");
        beside::take(promise, sent, &mut rootfs.mounts)?;
    }
    let t = span("enter namespaces");
    if namespaces.own_user {
        identity::become_root()?;
        hide()?;
    }
    if let Some(offsets) = &namespaces.time {
        session::new_time(offsets)?;
        hide()?;
    }
    let own_user = namespaces.own_user;
    session::enter_namespaces(namespaces)?;
    labels.of_keyring()?;
    session::join_keyring(kernel.keyring.as_deref())?;
    kernel::names(&kernel)?;

    drop(t);
    let (root, rest) = {
        let _t = span("assemble the root file system");
        rootfs::assemble(rootfs)?
    };
    // Limits, the host's hooks and the filter are main's to make meanwhile.
    let (link, filter) = {
        let _t = span("wait for main");
        link.mounted()?
    };
    // While we still have the capabilities for it; after the cgroup has its real-time budget and its CPUs.
    schedule::apply(&schedule)?;
    // Spec: after the namespaces exist and the mounts are made, before pivot_root.
    run_hooks("createContainer", &hooks.create_container, Some(&root), || hooks.state.json("creating", pid))?;
    step("error entering the root file system", || rootfs::enter(&root, rest.enter))?;
    if let Some(console) = &console {
        // After /dev is final.
        let master = step("error setting up the terminal", || console::open(&root, console, identity.uid))?;
        link.console(std::os::fd::AsFd::as_fd(&master))?;
    }
    exec::make_cwd(&root, &program)?;
    // Before /proc/sys may become read-only.
    kernel::sysctls(&kernel)?;
    {
        let _t = span("mask and freeze paths");
        rootfs::seal(&root, rest)?;
    }
    let t = span("become the user");
    let (file, env) = become_user(&root, &identity, &mut labels, &program, own_user, &filter)?;
    kernel::personality(&kernel)?;
    kernel::memory_policy(kernel.memory_policy.as_ref())?;

    drop(t);
    let t = span("fence descriptors");
    // Nothing that owns a descriptor outlives this: if execve(2) fails, it would close a number that is another's by then,
    // perhaps the connection of `start`.
    drop(root);
    let mut keep: Vec<RawFd> = fds::preserved(preserve);
    keep.push(line.as_raw_fd());
    if let gate::Gate::Listen(fd) = &gate {
        keep.push(fd.as_raw_fd());
    }
    fds::fence(&keep)?;
    process::die_with_parent(0).map_err(|e| Error::sys("clear", "parent-death signal", e))?;
    drop(t);
    if tight {
        exec::ask_for_room();
    }
    // Its agent is told of it before the container is created.
    let listener = if filter.listens() { seccomp::load(&filter)? } else { None };
    {
        let _t = span("wait for start");
        let link = link.ready(listener.as_ref())?;
        *starter = gate::wait(gate, &link, listener)?;
    }
    run_hooks("startContainer", &hooks.start_container, None, || hooks.state.json("created", pid))?;
    if program.is_none() {
        process::exit_now(0);
    }
    // Has no end: this process's view of the trace does not survive it.
    let _t = span("execve");
    // Nothing but execve(2) and, if that fails, write(2) and exit_group(2) after this.
    if !filter.listens() {
        seccomp::load(&filter)?;
    }
    Err(exec::replace(&file, &program, &env))
}

/// Nobody in a container that we enter may look at us; and until we are ready nobody but main knows of us. Changing
/// ids undoes both.
fn hide() -> Result<()> {
    process::set_not_dumpable().map_err(|e| Error::sys("clear", "dumpable", e))?;
    process::die_with_parent(sys::signal::SIGKILL).map_err(|e| Error::sys("set", "parent-death signal", e))
}

/// Before the root is entered hooks find themselves in it, as with runc.
fn run_hooks(
    kind: &str,
    list: &[hooks::Hook],
    root: Option<&root::Root>,
    state: impl FnOnce() -> Vec<u8>,
) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    if let Some(root) = root {
        sys::mount::fchdir(root.fd()).map_err(|e| Error::sys("chdir to", "the root file system", e))?;
    }
    hooks::run_all(kind, list, &state())
}

/// The last that needs privileges, and the first that must do without: what is executed, and its environment.
fn become_user(
    root: &root::Root,
    identity: &Identity,
    labels: &mut lsm::Labels,
    program: &crate::plan::exec::Program,
    own_user: bool,
    filter: &Program,
) -> Result<(CString, Vec<CString>)> {
    let mut entered = false;
    exec::enter_cwd(program, false, &mut entered)?;
    let env = exec::environment(root, program, identity.uid);
    fds::own_streams(identity.uid)?;
    // Raising limits needs capabilities; after the last descriptor was opened, for the limit may be on those.
    if !own_user {
        identity::limits(identity)?;
    }
    labels.of_program()?;
    identity::no_new_privs(identity)?;
    identity::assume(identity, seccomp::needs_until_exec(!filter.code.is_empty(), identity.no_new_privs))?;
    // fs.suid_dumpable may have made us dumpable again.
    process::set_not_dumpable().map_err(|e| Error::sys("clear", "dumpable", e))?;
    exec::enter_cwd(program, true, &mut entered)?;
    // As the user who will execute it; a missing program is an error of `create`.
    let file = if program.is_none() { CString::default() } else { exec::find(program)? };
    Ok((file, env))
}

impl AsRawFd for Line {
    fn as_raw_fd(&self) -> RawFd {
        std::os::fd::AsFd::as_fd(self).as_raw_fd()
    }
}
