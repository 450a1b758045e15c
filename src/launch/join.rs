//! The host side of `exec`: from a plan to a process that waits in the container for its start.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::seccomp;
use super::{Phase, expect, fenced};
use crate::cgroup::entrance::{Entrance, Sub, Way};
use crate::cgroup::{Cgroup, MemoryFacts};
use crate::error::{Error, Kind, OnSys, Result, Stage};
use crate::handshake::{self, Main, Patience};
use crate::init;
use crate::log::Log;
use crate::plan::join::{ForJoiner, ForMain, Plan};
use crate::plan::rdt;
use crate::plan::seccomp::{Call, Notify, permits};
use crate::sys::process::{self, Birth, Child, Deadline};
use crate::sys::{Errno, ns, sched, socket};

/// Where the process goes, and how long that may take.
pub struct Target<'a> {
    pub cgroup: &'a Cgroup,
    pub subs: &'a [Sub],
    /// The container's init.
    pub init: i32,
    /// A frozen cgroup holds the process until it is thawed.
    pub may_be_frozen: bool,
    /// Nobody stays with the process.
    pub detached: bool,
    pub rdt: Option<&'a rdt::Record>,
}

impl Target<'_> {
    /// Why a process that comes may never say a word.
    pub fn look(&self) -> Result<()> {
        if self.may_be_frozen { Ok(()) } else { self.cgroup.check_not_frozen_above() }
    }
}

/// A process in the container, all but its start.
pub struct Joined {
    pub child: Child,
    pub link: Main,
    /// The pty's master, with a terminal.
    pub console: Option<OwnedFd>,
    /// Who is given the listener of its filter.
    pub agent: Option<Notify>,
    /// `None` with an agent: the process loads its filter after its start, and tells of it then.
    pub listener: Option<OwnedFd>,
}

pub fn join(plan: Plan, target: &Target<'_>, log: &Log) -> Result<Joined> {
    // The child is born so, and never is anything else before execve(2): what it was has CVE-2016-9962. If it must not
    // be, it hides before it joins anything.
    if !plan.joiner.is_shown_at_first() {
        process::set_not_dumpable().on("clear", "dumpable")?;
    }
    if process::thread_count_is_wrong() {
        return Err(Error::bug("more than one thread before a fork"));
    }
    // A CPU mask that the cgroup's cpuset replaces must be there before the process is.
    let ways = [Way::Birth, Way::Move, Way::BesideInit(target.init), Way::Brought, Way::Stay];
    let skip = usize::from(plan.joiner.affinity.0.is_some() && target.cgroup.is_v2());
    let mut failed = None;
    for way in ways.into_iter().skip(skip) {
        let entered = match target.cgroup.entrance(target.subs, way) {
            Ok(Some(entrance)) => enter(&plan, &entrance, target, log).and_then(|joined| {
                if way == Way::Brought {
                    target.cgroup.bring(target.subs, joined.child.pid())?;
                }
                Ok(joined)
            }),
            Ok(None) => continue,
            Err(e) => Err(e.within("unable to apply cgroup configuration")),
        };
        match entered {
            // Without clone3(2) nobody is born in a cgroup: then the other way leads into the v2 tree of a hybrid machine.
            Err(e)
                if is_refusal(&e, target.cgroup)
                    && (target.cgroup.is_v2() || e.errno() == Some(Errno::EOPNOTSUPP)) =>
            {
                log.debug(&format!("{way:?} into the container's cgroup failed: {e}"));
                failed.get_or_insert(e);
            }
            r => return r,
        }
    }
    Err(failed.unwrap_or_else(|| Error::bug("no way into the container's cgroup")))
}

/// The cgroup's and not the program's: worth another way in.
fn is_refusal(e: &Error, cgroup: &Cgroup) -> bool {
    let refused = match e.errno() {
        Some(Errno::EAGAIN | Errno::EBUSY | Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => true,
        // Of a cgroup that is not the user's, or is out of the part of the tree that is.
        Some(Errno::EACCES | Errno::EPERM) => cgroup.can_bring() || cgroup.forgives(),
        _ => false,
    };
    refused && e.kind() != Kind::Spec
}

fn enter(plan: &Plan, entrance: &Entrance, target: &Target<'_>, log: &Log) -> Result<Joined> {
    let (mut link, line) = handshake::line().on("create", "the handshake")?;
    let (report, theirs) = socket::pair().on("create", "the handshake")?;
    let stage = give_birth(&plan.joiner, entrance, line, theirs)?;
    // Slow and pure: beside the child.
    let filters = plan.main.filters.as_ref();
    let mut filter = seccomp::prepare(plan.main.seccomp.as_ref(), filters, log)?;
    if plan.joiner.filtered {
        let program = &mut filter.program;
        program.early = permits(&program.code, &still_to_come(&plan.joiner));
        log.debug(if program.early { "the filter is loaded first" } else { "the filter is loaded last" });
        link.proceed(program)?;
    }
    let deadline = if target.may_be_frozen { Deadline::never() } else { Deadline::after(super::PATIENCE) };
    let patience = Patience { deadline, look: &|| target.look() };
    let mut console = None;
    let child = if plan.joiner.namespaces & ns::NEWPID == 0 {
        drop(report);
        stage
    } else {
        adopt(stage, &report, &mut link, target, patience, &mut console)?
    };
    // The process enters the container meanwhile. Who stays with it has a better moment.
    if target.detached {
        crate::seal::settle();
    }
    let listener = match expect(&mut link, Phase::Ready, "preparing the program", patience, &mut console) {
        Err(e) if e.kind() == Kind::Died => return Err(died(e, target.cgroup)),
        r => r?,
    };
    let listener = listener.map(|n| seccomp::take_listener(child.pidfd(), n)).transpose()?;
    prepare(&plan.main, child.pid())?;
    super::rdt::join(target.rdt, child.pid())?;
    if plan.main.terminal && console.is_none() {
        return Err(Error::bug("the process is ready without its terminal"));
    }
    filter.keep(filters, log);
    Ok(Joined { child, link, console, agent: filter.agent, listener })
}

/// What `init::join` calls after a filter that is loaded first, in the joiner and in the process that it clones.
fn still_to_come(joiner: &ForJoiner) -> Vec<Call> {
    let mut names = vec!["prctl", "write", "read", "close", "setsid", "execve", "exit_group"];
    // The memory's manager.
    names.extend(["brk", "mmap", "munmap", "mremap"]);
    names.extend((!joiner.identity.no_new_privs).then_some("capset"));
    names.extend(joiner.affinity.1.is_some().then_some("sched_setaffinity"));
    names.extend((!joiner.identity.rlimits.is_empty()).then_some("prlimit64"));
    names.extend(joiner.console.is_some().then_some("ioctl"));
    names.extend(joiner.listens.then_some("getpid"));
    let mut calls: Vec<_> = names.into_iter().map(|name| Call { name, first: None }).collect();
    calls.push(Call { name: "clone", first: Some(process::CLONE_PARENT) });
    calls
}

fn give_birth(
    joiner: &ForJoiner,
    entrance: &Entrance,
    line: handshake::Line,
    report: OwnedFd,
) -> Result<Child> {
    let _t = crate::trace::span("clone");
    let mut keep: Vec<RawFd> = joiner.descriptors();
    keep.extend(init::preserved(joiner.preserve));
    keep.extend(entrance.first.iter().chain(&entrance.last).map(|d| d.fd.as_raw_fd()));
    keep.extend([line.as_raw_fd(), report.as_raw_fd()]);
    let child = move || fenced(&keep, line, |line| init::join::run(joiner, entrance, &report, &line));
    let place = entrance.birthplace.as_ref().map(AsFd::as_fd);
    process::spawn(&Birth { cgroup: place, ..Birth::default() }, child)
        .on("fork", "into the container's cgroup")
}

/// The process in the container's pid namespace is main's child, made by another one.
fn adopt(
    stage: Child,
    report: &OwnedFd,
    link: &mut Main,
    target: &Target<'_>,
    patience: Patience<'_>,
    console: &mut Option<OwnedFd>,
) -> Result<Child> {
    let mut word = [0; 4];
    if !patience.poll(report.as_fd())? {
        return Err(
            Error::new(Kind::Timeout, "timed out while joining the container").at_stage(Stage::Intermediate)
        );
    }
    match socket::receive(report, &mut word).on("wait for", "the process")? {
        (4, _) => {
            let child = Child::adopt(i32::from_ne_bytes(word)).on("open", "the process")?;
            stage.wait().on("wait for", "the joining process")?;
            Ok(child)
        }
        // It ended; its last word says why.
        _ => match expect(link, Phase::Ready, "joining the container", patience, console) {
            Err(e) if e.kind() == Kind::Died => Err(died(e, target.cgroup)),
            Err(e) => Err(e),
            Ok(_) => Err(Error::bug("the joining process reported no process")),
        },
    }
}

fn died(e: Error, cgroup: &Cgroup) -> Error {
    let e = Error::new(Kind::Died, "the process was killed before it could execute its program")
        .at_stage(e.stage());
    match cgroup.memory_facts() {
        MemoryFacts { limit: Some(limit), oom_kills: n @ 1.., .. } => e.hint(format!(
            "it was OOM-killed, most likely: the container's memory limit is {limit} bytes, and the kernel has killed \
             {n} process(es) for it so far"
        )),
        _ => e.hint("the container may have ended or been killed meanwhile"),
    }
}

/// With our rights: the process has those of the container's user alone.
fn prepare(main: &ForMain, pid: i32) -> Result<()> {
    if let Some(attr) = &main.scheduler {
        sched::set_attr_of(pid, attr).on("set", "scheduler").map_err(|e| e.pointer("/process/scheduler"))?;
    }
    Ok(())
}
