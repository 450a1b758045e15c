//! `exec`: from a process of the host to one of a container that is there.
//!
//! The container must not see it before it has nothing left that is not the container's (CVE-2016-9962): whoever has
//! CAP_SYS_PTRACE there may trace it from then on, dumpable or not. So the joiner stays outside the container's pid
//! namespace while it enters the others, becomes the user and loads the filter. The last thing it does is to clone, as
//! main's own child, the process that executes the program: born in the pid namespace, with the program's ids,
//! capabilities and filter. Only a filter that refuses what that process has to do still is loaded by itself, late.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::root::Root;
use super::{console, exec, fds, identity, kernel, lsm, schedule, seccomp, session};
use crate::error::{Error, Kind, OnSys, Result, Stage};
use crate::handshake::{Child, Joining, Line, Program};
use crate::plan::exec::set_oom_score_adj;
use crate::plan::identity::Rlimit;
use crate::plan::join::{Door, Entrance, ForJoiner};
use crate::plan::namespaces::name;
use crate::sys::fs::{self, OFlag};
use crate::sys::process;
use crate::sys::{Errno, fd, mount, ns, sched, signal};

/// Becomes the program, or says why not. A joiner that has cloned the process tells `report` that one's pid.
///
/// Never comes back: to whom descriptors belong that are closed by now must not be asked.
pub fn run(plan: &ForJoiner, doors: &Entrance, report: &OwnedFd, line: &Line) -> ! {
    let status = match become_process(plan, doors, report, line) {
        Ok(Side::Joiner) => 0,
        Err(e) => {
            line.failed(&e.at_stage(Stage::Init));
            1
        }
    };
    process::exit_now(status)
}

/// Who has come back.
enum Side {
    Joiner,
}

/// What the program is executed with.
struct Ready {
    file: CString,
    env: Vec<CString>,
}

fn become_process(plan: &ForJoiner, doors: &Entrance, report: &OwnedFd, line: &Line) -> Result<Side> {
    // Without main nobody would know of us. Main is not dumpable, and so we were born; or become it now.
    process::die_with_parent(signal::SIGKILL).on("set", "parent-death signal")?;
    if let Some(adj) = plan.oom_score_adj {
        // With the rights that we have here.
        set_oom_score_adj("self", adj)?;
    }
    if plan.is_shown_at_first() {
        hide()?;
    }
    if let Some(cpus) = &plan.affinity.0 {
        sched::set_affinity(0, cpus).on("set", "initial CPU affinity")?;
    }
    pass(&doors.first)?;
    // With the rights that we have here.
    schedule::set_policy(plan.scheduler.as_ref(), plan.ioprio)?;
    plan.identity.rlimits.iter().try_for_each(Rlimit::allow)?;
    let link = line.joining();
    // As long as /proc is the host's.
    let labels = lsm::open(&plan.lsm, plan.keyring.is_some())?;
    let mut ready = enter(plan, labels, &link)?;
    let filter = if plan.filtered { link.filter()? } else { Program::default() };

    let mut keep: Vec<RawFd> = fds::preserved(plan.preserve);
    keep.push(line.as_raw_fd());
    let doors_and_report = doors.last.iter().map(|d| d.fd.as_raw_fd()).chain([report.as_raw_fd()]);
    let for_now: Vec<RawFd> = doors_and_report.collect();
    fds::fence(&keep.iter().chain(&for_now).copied().collect::<Vec<_>>())?;
    signal::reset_ignored(plan.ignored_signals).on("reset", "signals")?;
    // Of all that follows nothing is new to it: see `launch::join`, which knows what that is.
    let mut listener = None;
    if filter.early {
        listener = seccomp::load(&filter)?;
        seccomp::relinquish(&plan.identity)?;
    }
    if plan.namespaces & ns::NEWPID != 0
        && let Some(pid) = clone_inside()?
    {
        fs::write_once(report, &pid.to_ne_bytes()).on("report", "the process's pid")?;
        return Ok(Side::Joiner);
    }
    pass(&doors.last)?;
    for_now.iter().try_for_each(|n| fd::close_number(*n)).on("close", "descriptors")?;
    if let Some(cpus) = &plan.affinity.1 {
        // A cpuset gives all its CPUs to who joins it, but not every container has one.
        sched::set_affinity(0, cpus).on("set", "final CPU affinity")?;
    }
    // Not before, for they may leave no room for one more descriptor or process.
    identity::limits(&plan.identity).map_err(|e| e.within("error setting rlimits for ready process"))?;
    process::setsid().on("create", "a session")?;
    if plan.console.is_some() {
        console::take()?;
    }
    if plan.listens {
        ready.env.push(CString::new(format!("LISTEN_PID={}", process::getpid())).unwrap_or_default());
    }
    // Main sets limits now, and tells whoever waits for us.
    link.ready(listener.as_ref())?;
    // While a copy is open, calls wait for an agent that may be gone.
    drop(listener);
    process::die_with_parent(0).on("clear", "parent-death signal")?;
    // Nothing but execve(2) and, if that fails, write(2) and exit_group(2) after this, unless it notifies.
    if !filter.early
        && let Some(listener) = seccomp::load(&filter)?
    {
        link.listening(&listener)?;
    }
    Err(exec::replace(&ready.file, &plan.program, &ready.env))
}

/// Lets this process into its cgroups: written by a single thread for itself, which costs no wait.
pub(super) fn pass(doors: &[Door]) -> Result<()> {
    for door in doors {
        match fs::write_once(&door.fd, b"0") {
            Err(e) if !door.optional => return Err(e).on("enter cgroup", door.path.display()),
            _ => {}
        }
    }
    Ok(())
}

/// Everything but the pid namespace: namespaces, root, terminal, user, working directory.
fn enter(plan: &ForJoiner, mut labels: lsm::Labels, link: &Child<'_, Joining>) -> Result<Ready> {
    enter_namespaces(plan)?;
    if plan.namespaces & ns::NEWUSER != 0 {
        identity::become_root()?;
        hide()?;
    }
    if let Some(root) = &plan.root {
        mount::fchdir(root).on("chdir to", "the container's root")?;
        mount::chroot_cwd().on("chroot into", "the container's root")?;
    }
    // Entering a mount namespace has made its root ours.
    let root =
        Root::new(fs::open("/", OFlag::O_PATH | OFlag::O_DIRECTORY).on("open", "the container's root")?);
    labels.of_keyring()?;
    session::join_keyring(plan.keyring.as_deref())?;
    if let Some(console) = &plan.console {
        let master = super::step("error setting up the terminal", || {
            console::allocate(&root, console, plan.identity.uid)
        })?;
        link.console(master.as_fd())?;
    }
    become_user(plan, labels, &root)
}

fn become_user(plan: &ForJoiner, mut labels: lsm::Labels, root: &Root) -> Result<Ready> {
    let mut entered = false;
    exec::enter_cwd(&plan.program, false, &mut entered)?;
    let env = exec::environment(root, &plan.program, plan.identity.uid);
    fds::own_streams(plan.identity.uid)?;
    labels.of_program()?;
    identity::no_new_privs(&plan.identity)?;
    let until_exec = seccomp::needs_until_exec(plan.filtered, plan.identity.no_new_privs);
    identity::assume(&plan.identity, until_exec)?;
    // Changing ids may have made us dumpable again: fs.suid_dumpable.
    hide()?;
    exec::enter_cwd(&plan.program, true, &mut entered)?;
    let file = exec::find(&plan.program)?;
    kernel::set_personality(plan.personality)?;
    kernel::memory_policy(plan.memory_policy.as_ref())?;
    Ok(Ready { file, env })
}

/// Neither changed ids nor a fork keep these.
fn hide() -> Result<()> {
    process::set_not_dumpable().on("clear", "dumpable")?;
    process::die_with_parent(signal::SIGKILL).on("set", "parent-death signal")
}

/// All at once where the kernel allows it. Where the container has joined namespaces that its user namespace does not
/// own, some need the rights of before we enter it, and others those of after.
fn enter_namespaces(plan: &ForJoiner) -> Result<()> {
    let all = plan.namespaces;
    if all == 0 {
        return Ok(());
    }
    match ns::join(&plan.init, all) {
        Ok(()) => return Ok(()),
        Err(e) if is_gone(e) => return Err(gone()),
        Err(_) => {}
    }
    let each = [ns::NEWIPC, ns::NEWUTS, ns::NEWNET, ns::NEWPID, ns::NEWCGROUP, ns::NEWTIME, ns::NEWNS];
    let mut left: Vec<u64> = each.into_iter().filter(|kind| all & kind != 0).collect();
    left.retain(|kind| ns::join(&plan.init, *kind).is_err());
    let join = |kind: u64| match ns::join(&plan.init, kind) {
        // Our own user namespace, which the container shares by path.
        Err(Errno::EINVAL) if kind == ns::NEWUSER => Ok(()),
        Err(e) if is_gone(e) => Err(gone()),
        r => r.on("join", format!("the container's {} namespace", name(kind))),
    };
    if all & ns::NEWUSER != 0 {
        join(ns::NEWUSER)?;
    }
    left.into_iter().try_for_each(join)
}

fn is_gone(e: Errno) -> bool {
    e == Errno::ESRCH
}

fn gone() -> Error {
    Error::new(Kind::WrongState, "cannot exec in a stopped container").hint("its init has ended meanwhile")
}

/// The pid is as main sees it; none in the new process.
fn clone_inside() -> Result<Option<i32>> {
    match process::fork_sibling() {
        // The pid namespace has lost its init.
        Err(Errno::ENOMEM) => Err(gone()),
        Ok(None) => {
            process::die_with_parent(signal::SIGKILL).on("set", "parent-death signal")?;
            Ok(None)
        }
        r => r.on("fork", "into the container's pid namespace"),
    }
}
