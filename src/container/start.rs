//! start: opens the gate, and hears what became of the program.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::store::{Entry, GATE};
use super::{Record, Status};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::handshake::{Answer, Main, Patience};
use crate::hooks;
use crate::launch::{
    self,
    notify::{self, Proxy},
};
use crate::log::Log;
use crate::spec;
use crate::sys::process::Deadline;
use crate::sys::{Errno, fs, process, socket};

/// startContainer hooks run between our knock and the answer, and have timeouts of their own or none.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn start(entry: &Entry, log: &Log) -> Result<()> {
    entry.lock()?;
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Created => {}
        Status::Stopped => return stopped(&record),
        Status::Running => return wrong("cannot start an already running container"),
        s => return wrong(format!("cannot start a container in the {s} state")),
    }
    let config = entry.config()?;
    let has_hooks = hooks::may_be_in(&config, &["startContainer", "poststart"]);
    let config = has_hooks.then(|| spec::parse_config(config)).transpose()?;
    let hooks = config.as_ref().and_then(|c| c.spec.hooks().as_ref());
    let seconds = |t: i64| Duration::from_secs(t.unsigned_abs());
    let timeouts = hooks.and_then(|h| h.start_container().as_ref()).into_iter().flatten();
    let patience = hooks::patience(timeouts.map(|h| h.timeout().map(seconds)), PATIENCE);

    let notify = match notify::asked_for() {
        Some(host) => Proxy::listen(entry.dir(), host)?,
        None => None,
    };
    // The gate's name goes first: whoever is killed between the two leaves a container that waits and counts as
    // running, never one that runs and counts as created, which `delete` would remove without being forced.
    let gate = fs::openat(entry.dir(), GATE, fs::OFlag::O_PATH | fs::OFlag::O_NOFOLLOW, 0)
        .on("open", entry.path().join(GATE).display())?;
    fs::unlinkat(entry.dir(), GATE).on("remove", entry.path().join(GATE).display())?;
    let knock = match socket::connect_to(&gate) {
        Err(Errno::ECONNREFUSED) => return stopped(&record),
        r => r.on("connect to", "the container's init")?,
    };
    let deadline = patience.map_or(Deadline::never(), Deadline::after);
    let mut link = Main::over(knock);
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    let patience = Patience { deadline, look: &|| cgroup.check_not_frozen_above() };
    wait_for_exec(&mut link, patience)
        .and_then(|()| check_executed(&record, &cgroup))
        .within("unable to start container process")?;
    poststart(&record, hooks.and_then(|h| h.poststart().as_ref()), log)?;
    match notify {
        Some(proxy) => wait_until_ready(entry, &record, proxy, log),
        None => Ok(()),
    }
}

/// Our caller is told by us, so we stay as long as it takes. Others may act on the container meanwhile.
fn wait_until_ready(entry: &Entry, record: &Record, mut proxy: Proxy, log: &Log) -> Result<()> {
    entry.unlock()?;
    let Some(init) = record.init else { return Ok(()) };
    match process::pidfd_open(init.pid) {
        Ok(fd) if process::lives(init.pid, init.start_time) => {
            proxy.wait_until_ready(fd.as_fd(), init.pid, log)
        }
        // Over already; what it has said is in the socket.
        _ => proxy.pass_on(init.pid),
    }
}

/// Its init ended before its program did, or with it.
fn stopped(record: &Record) -> Result<()> {
    let e = Error::new(Kind::WrongState, "cannot start a container that has stopped");
    let killed = Cgroup::from_record(&record.cgroup)?.oom_killed()?;
    Err(if killed { e.hint("its init was OOM-killed (memory limit too low?)") } else { e })
}

/// [`launch::check_executed`], of the container's init.
pub fn check_executed(record: &Record, cgroup: &Cgroup) -> Result<()> {
    record.init.map_or(Ok(()), |init| launch::check_executed(init.pid, init.start_time, cgroup))
}

fn wrong<T>(text: impl Into<std::borrow::Cow<'static, str>>) -> Result<T> {
    Err(Error::new(Kind::WrongState, text))
}

/// End of file is success: the connection closed when the program was executed. So is init's death by a signal from
/// outside: the container ran into its end. Its death for want of memory is [`check_executed`]'s to tell.
pub fn wait_for_exec(link: &mut Main, patience: Patience<'_>) -> Result<()> {
    let _t = crate::trace::span("wait for execve");
    match link.hear("executing the program", patience, |_| Ok(()))? {
        Answer::Gone => Ok(()),
        a => Err(Error::bug(format!("init said {a:?} after its start"))),
    }
}

/// Of a filter that is loaded only now. The process waits for us to take it.
pub fn wait_for_listener(link: &mut Main, child: &process::Child, patience: Patience<'_>) -> Result<OwnedFd> {
    match link.hear("loading the filter", patience, |_| Ok(()))? {
        Answer::Listening(number) => launch::seccomp::take_listener(child.pidfd(), number),
        Answer::Gone => {
            Err(Error::new(Kind::Died, "the process ended before its seccomp listener was taken")
                .hint("the profile must let it call read(2) and write(2)"))
        }
        a => Err(Error::bug(format!("it said {a:?} while loading the filter"))),
    }
}

fn poststart(record: &Record, list: Option<&Vec<oci_spec::runtime::Hook>>, log: &Log) -> Result<()> {
    let Some(list) = list.filter(|l| !l.is_empty()) else { return Ok(()) };
    let list = list.iter().map(hooks::Hook::new).collect::<Result<Vec<_>>>()?;
    run_poststart(record, &list, log)
}

/// As runc: a failing poststart hook stops the container, for it may have been what makes it usable.
pub fn run_poststart(record: &Record, list: &[hooks::Hook], log: &Log) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let pid = record.init.map_or(0, |i| i.pid);
    let state = record.hook_state().json("running", pid);
    hooks::run_all("poststart", list, &state).inspect_err(|e| {
        log.debug(&format!("poststart failed, killing the container: {e}"));
        if let Some(init) = record.init {
            let _ = super::kill::signal_init(init.pid, init.start_time, crate::sys::signal::SIGKILL);
        }
    })
}
