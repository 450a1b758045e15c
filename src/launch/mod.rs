//! The host side of the handshake: from a plan to an init that is ready.

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

pub mod beside;
pub mod filters;
pub mod idmap;
pub mod join;
pub mod netdev;
pub mod notify;
pub mod rdt;
pub mod relay;
pub mod seccomp;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, OnSys, Result, Stage};
use crate::handshake::{self, Answer, Main, Patience};
use crate::hooks;
use crate::log::Log;
use crate::plan::{self, ForInit, ForMain, Plan};
use crate::sys::process::{self, Birth, Child, Deadline, Exit};
use crate::sys::{Errno, ns, socket};

/// An init that waits for its start.
pub struct Launched {
    pub child: Child,
    pub link: Main,
    /// The pty's master, with a terminal.
    pub console: Option<OwnedFd>,
    pub poststart: Vec<hooks::Hook>,
    /// They go back, unless a container comes of all this.
    pub devices: netdev::Moved,
}

/// How long init may take to assemble the root file system, and from there to readiness: far more than it needs, and
/// less than a client's patience. Hooks have their own timeouts, or none.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the creator of a container does while the kernel and init are at work.
pub trait Meanwhile {
    /// Makes the cgroups that init was promised.
    fn make_cgroup(&mut self) -> Result<()>;
    /// Init is there, and for a while nothing waits for main.
    fn prepare(&mut self, pid: i32) -> Result<()>;
    /// The same, once more: init enters its root.
    fn idle(&mut self);
}

pub fn launch(
    plan: Plan,
    cgroup: &Cgroup,
    resources: Option<&LinuxResources>,
    log: &Log,
    meanwhile: &mut impl Meanwhile,
) -> Result<Launched> {
    let Plan { mut main, init } = plan;
    let patience = hooks::patience(init.hooks.create_container.iter().map(|h| h.timeout), PATIENCE);
    let (mut link, child) = give_birth(&mut main, init, cgroup)?;
    let look = || cgroup.check_not_frozen_above();
    let done = converse(&main, &mut link, &child, cgroup, resources, log, meanwhile, |link, console| {
        let deadline = patience.map_or(Deadline::never(), Deadline::after);
        expect(link, Phase::Ready, "preparing the program", Patience { deadline, look: &look }, console)
    });
    match done {
        Ok((console, devices)) => {
            Ok(Launched { child, link, console, poststart: main.hooks.poststart, devices })
        }
        Err(e) => Err(explain(e, child, cgroup, resources)),
    }
}

#[expect(clippy::too_many_arguments, reason = "one straight line, told in one place")]
fn converse(
    main: &ForMain,
    link: &mut Main,
    child: &Child,
    cgroup: &Cgroup,
    resources: Option<&LinuxResources>,
    log: &Log,
    meanwhile: &mut impl Meanwhile,
    ready: impl FnOnce(&mut Main, &mut Option<OwnedFd>) -> Result<Option<i32>>,
) -> Result<(Option<OwnedFd>, netdev::Moved)> {
    let pid = child.pid();
    let mut sent = handshake::Sent::default();
    if let Some(promise) = &main.promise {
        meanwhile.make_cgroup()?;
        sent = beside::keep(promise, cgroup)?;
    }
    if main.staged || cgroup.is_made_around_a_process() {
        cgroup.settle(pid, resources).within("unable to apply cgroup configuration")?;
    }
    idmap::write(&main.maps, pid)?;
    if let Some(uid) = main.cgroup_owner {
        cgroup.delegate(uid).within("unable to apply cgroup configuration")?;
    }
    main.rlimits.iter().try_for_each(|l| l.apply(pid))?;
    if let Some(adj) = main.oom_score_adj {
        plan::exec::set_oom_score_adj(pid, adj)?;
    }
    if let Some(plan) = &main.rdt {
        rdt::apply(plan, pid).within("unable to apply Intel RDT configuration")?;
    }
    let limits =
        || resources.map_or(Ok(()), |r| cgroup.apply(r).within("unable to apply cgroup configuration"));
    if main.copies {
        limits()?;
    }
    sent.tight = cgroup.is_tight_above();
    link.go(pid, &sent)?;
    drop(sent);
    let restrict = || {
        // Mounting takes memory that small limits do not have, and gives it back.
        if !main.copies {
            limits()?;
        }
        // After init has made its nodes, which it may not open itself any more then.
        cgroup.apply_devices(&main.devices).within("unable to apply cgroup configuration")
    };
    if main.ahead {
        restrict()?;
    }
    // Slow and pure: beside the child, while it mounts.
    let filter = seccomp::prepare(main.seccomp.as_ref(), main.filters.as_ref(), log)?;
    if main.ahead {
        link.proceed(&filter.program)?;
    }
    meanwhile.prepare(pid)?;
    let mut console = None;
    expect(
        link,
        Phase::Mounted,
        "assembling the root file system",
        Patience { deadline: Deadline::after(PATIENCE), look: &|| cgroup.check_not_frozen_above() },
        &mut console,
    )?;
    if !main.ahead {
        restrict()?;
    }
    // Hooks may configure them.
    let devices =
        netdev::move_all(&main.net_devices, child.pidfd()).within("error creating network interfaces")?;
    let state = &main.hooks.state;
    if !main.hooks.prestart.is_empty() || !main.hooks.create_runtime.is_empty() {
        // prestart hooks are older than the status "creating", and were promised a container that is created.
        hooks::run_all("prestart", &main.hooks.prestart, &state.json("created", pid))?;
        hooks::run_all("createRuntime", &main.hooks.create_runtime, &state.json("creating", pid))?;
    }
    if !main.ahead {
        link.proceed(&filter.program)?;
    }
    meanwhile.idle();
    let listener = ready(link, &mut console)?;
    if let Some(agent) = &filter.agent {
        let number =
            listener.ok_or_else(|| Error::bug("init is ready without the listener of its filter"))?;
        let listener = seccomp::take_listener(child.pidfd(), number)?;
        seccomp::hand_over(agent, &listener, pid, state.at("creating", pid))?;
    }
    filter.keep(main.filters.as_ref(), log);
    if main.terminal && console.is_none() {
        return Err(Error::bug("init is ready without its terminal"));
    }
    Ok((console, devices))
}

/// What a child has to come to.
#[derive(Clone, Copy)]
enum Phase {
    Mounted,
    /// It may tell the number of its filter's listener.
    Ready,
}

fn expect(
    link: &mut Main,
    wanted: Phase,
    doing: &'static str,
    patience: Patience<'_>,
    console: &mut Option<OwnedFd>,
) -> Result<Option<i32>> {
    let _t = crate::trace::span(doing);
    let answer = link.hear(doing, patience, |fd| {
        *console = Some(fd);
        Ok(())
    })?;
    match (answer, wanted) {
        (Answer::Mounted, Phase::Mounted) => Ok(None),
        (Answer::Ready(listener), Phase::Ready) => Ok(listener),
        (Answer::Gone, _) => {
            Err(Error::new(Kind::Died, format!("the container's init died while {doing}"))
                .at_stage(Stage::Init))
        }
        (a, _) => Err(Error::bug(format!("init said {a:?} while {doing}"))),
    }
}

/// Clones init into its namespaces. In the child nothing of this frame is ever dropped: it leaves by exec or _exit.
fn give_birth(main: &mut ForMain, init: ForInit, cgroup: &Cgroup) -> Result<(Main, Child)> {
    let _t = crate::trace::span("clone");
    let (mut link, line) = handshake::line().on("create", "the handshake")?;
    if process::thread_count_is_wrong() {
        return Err(Error::bug("more than one thread before a fork"));
    }
    let around = Around::enter(main)?;
    let mut keep = init.descriptors();
    keep.extend(crate::init::preserved(init.preserve));
    keep.push(line.as_raw_fd());
    let child = match main.intermediate.take() {
        None => born_in_cgroup(main.born, keep, line, init, cgroup),
        Some(plan) => through_intermediate(plan, main.born, keep, line, init, &mut link),
    };
    around.leave()?;
    Ok((link, child?))
}

/// In its cgroup before it does anything, and without the wait that moving a process from outside costs.
fn born_in_cgroup(
    born: u64,
    mut keep: Vec<RawFd>,
    line: handshake::Line,
    init: ForInit,
    cgroup: &Cgroup,
) -> Result<Child> {
    // None, where what they lead to is still to be made.
    let doors = match &init.promise {
        Some(_) => Vec::new(),
        None => cgroup.doors().within("unable to apply cgroup configuration")?,
    };
    keep.extend(doors.iter().map(|d| d.fd.as_raw_fd()));
    // Taken by the child; a parent whose first try failed still has it for the second.
    let mut envelope = Some((init, line));
    let mut spawn = |place| {
        let birth = Birth { namespaces: born, cgroup: place, sibling: false };
        process::spawn(&birth, || match envelope.take() {
            Some((init, line)) => fenced(&keep, line, |line| crate::init::run_inside(&doors, init, line)),
            None => 1,
        })
    };
    let place = cgroup.birthplace();
    let child = match spawn(place) {
        // A kernel before 5.7, or a place that takes nobody: then it is moved there.
        Err(Errno::EINVAL | Errno::EBUSY | Errno::EOPNOTSUPP | Errno::E2BIG) if place.is_some() => {
            let child = spawn(None).on("create namespaces", "for the container's init")?;
            if cgroup.is_v2() {
                cgroup.join(child.pid()).within("unable to apply cgroup configuration")?;
            } else {
                cgroup.join_unified(child.pid());
            }
            child
        }
        r => r.on("create namespaces", "for the container's init")?,
    };
    Ok(child)
}

/// Nothing of the host's but what the envelope holds, from the first moment on.
fn fenced(keep: &[RawFd], line: handshake::Line, then: impl FnOnce(handshake::Line) -> i32) -> i32 {
    match crate::sys::fd::close_all_but(keep).on("close", "descriptors") {
        Ok(()) => then(line),
        Err(e) => {
            line.failed(&e);
            1
        }
    }
}

/// Init is cloned by a process that has gone where main cannot go, and is main's child all the same.
fn through_intermediate(
    plan: plan::namespaces::ForIntermediate,
    born: u64,
    mut keep: Vec<RawFd>,
    line: handshake::Line,
    init: ForInit,
    link: &mut Main,
) -> Result<Child> {
    let (ours, theirs) = socket::pair().on("create", "the handshake")?;
    keep.push(theirs.as_raw_fd());
    keep.extend(plan.join.iter().map(|j| j.fd.as_raw_fd()));
    let stage = process::spawn(&Birth::default(), move || {
        fenced(&keep, line, |line| {
            crate::init::intermediate::run(plan, born, theirs, line, |line| crate::init::run(init, line))
        })
    })
    .on("fork", "the intermediate process")?;
    let mut word = [0; 4];
    match socket::receive(&ours, &mut word).on("wait for", "the intermediate process")? {
        (4, _) => {
            let child = Child::adopt(i32::from_ne_bytes(word)).on("open", "the container's init")?;
            stage.wait().on("wait for", "the intermediate process")?;
            Ok(child)
        }
        // It died; its last word says why.
        _ => {
            let patience = Patience { deadline: Deadline::after(PATIENCE), look: &|| Ok(()) };
            expect(link, Phase::Ready, "joining namespaces", patience, &mut None)?;
            Err(Error::bug("the intermediate process reported no init"))
        }
    }
}

/// Namespaces that a process can only be born in: main enters them for the moment of the clone.
struct Around {
    back: Vec<(u64, OwnedFd)>,
}

impl Around {
    fn enter(main: &ForMain) -> Result<Self> {
        let mut back = Vec::new();
        if let Some(pid) = &main.pid {
            back.push((ns::NEWPID, plan::own_namespace("pid")?));
            ns::join(&pid.fd, ns::NEWPID).on("join", format!("pid namespace {}", pid.path.display()))?;
        }
        if let Some(offsets) = &main.time {
            back.push((ns::NEWTIME, plan::own_namespace("time")?));
            ns::unshare(ns::NEWTIME).on("create", "a time namespace")?;
            if !offsets.is_empty() {
                plan::namespaces::set_time_offsets(offsets)?;
            }
        }
        Ok(Self { back })
    }

    fn leave(self) -> Result<()> {
        for (kind, fd) in self.back {
            ns::join(fd, kind).on("return to", "the runtime's own namespace")?;
        }
        Ok(())
    }
}

/// Makes an end without a word speak: how init died and, if memory was the reason, that it was.
fn explain(e: Error, mut child: Child, cgroup: &Cgroup, resources: Option<&LinuxResources>) -> Error {
    if e.kind() != Kind::Died {
        return e;
    }
    let exit = child.end();
    let limit = resources.and_then(|r| r.memory().as_ref()).and_then(|m| m.limit()).filter(|l| *l > 0);
    if cgroup.oom_killed().unwrap_or(false) && (limit.is_some() || matches!(exit, Ok(Exit::Signal(9)))) {
        return out_of_memory(cgroup, limit);
    }
    match exit {
        Ok(Exit::Signal(s)) => e.hint(format!("it was killed by signal {s}")),
        Ok(Exit::Code(n)) => e.hint(format!("it ended with status {n}")),
        Err(_) => e,
    }
}

/// Of an init that the kernel has killed before its program was there. `configured`: its own limit, as it was written.
fn out_of_memory(cgroup: &Cgroup, configured: Option<i64>) -> Error {
    const WHAT: &str = "container init was OOM-killed (memory limit too low?)";
    const NEED: &str = "the runtime itself needs less than 1 MiB to start a program";
    let own = match (cgroup.smallest_memory_limit(), configured) {
        (Some((file, limit, true)), _) => {
            let text = format!("{WHAT} by a limit above its own cgroup: {} is {limit}", file.display());
            return Error::new(Kind::Failed, text)
                .hint(format!("raise the memory limit of its pod or slice; {NEED}"));
        }
        (_, Some(limit)) => limit.to_string(),
        (Some((_, limit, false)), None) => limit.to_string(),
        (None, None) => {
            return Error::new(Kind::Failed, WHAT)
                .hint("no cgroup limits its memory: the machine has none left");
        }
    };
    Error::new(Kind::Failed, format!("{WHAT}: limit is {own} bytes"))
        .pointer("/linux/resources/memory/limit")
        .hint(format!("raise the memory limit; {NEED}"))
}

/// The connection has ended: because the program is executed, which closes it, or because the kernel has taken init's
/// memory for want of more. A death by anybody else's hand is no failure of the start: the container ran into its end.
pub fn check_executed(pid: i32, start_time: u64, cgroup: &Cgroup) -> Result<()> {
    if process::has_memory(pid) || process::has_executed(pid, start_time) {
        return Ok(());
    }
    if !cgroup.oom_killed()? {
        return Ok(());
    }
    // Whoever asks after us is to find it ended.
    if let Ok(init) = process::pidfd_open(pid) {
        process::poll_read(&[init.as_fd()], Deadline::after(Duration::from_secs(1)))
            .on("wait for", "the container's init")?;
    }
    Err(out_of_memory(cgroup, None))
}
