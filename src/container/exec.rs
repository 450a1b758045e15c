//! exec: one more process in a living container.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};

use super::create::{self, ListenFds};
use super::store::Entry;
use super::{Record, Status, start};
use crate::cgroup::{Cgroup, entrance};
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::handshake::Patience;
use crate::host;
use crate::launch::join::{self as launch, Joined, Target};
use crate::launch::relay::Relay;
use crate::launch::seccomp;
use crate::log::Log;
use crate::plan::join;
use crate::plan::seccomp::Notify;
use crate::seal;
use crate::spec::{self, rules};
use crate::sys::cred::{self, Caps};
use crate::sys::process::{self, Deadline};
use crate::sys::{Errno, fd, fs, ns, signal};
use crate::trace::span;

/// What was typed.
#[derive(Debug, Default)]
pub struct Request {
    /// The whole process; then nothing below says anything about it.
    pub process: Option<PathBuf>,
    pub args: Vec<String>,
    pub cwd: Option<PathBuf>,
    pub env: Vec<String>,
    pub tty: bool,
    pub user: Option<String>,
    pub additional_gids: Vec<i64>,
    pub caps: Vec<String>,
    pub no_new_privs: bool,
    pub process_label: Option<String>,
    pub apparmor: Option<String>,

    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub detach: bool,
    pub preserve_fds: u32,
    pub cgroup: Vec<String>,
    pub ignore_paused: bool,
}

/// The program's exit status, or 0 when detached. Takes no lock: many may run at once, and other verbs beside them.
pub fn exec(entry: &Entry, request: &Request, log: &Log) -> Result<i32> {
    let listen = create::listen_fds();
    let preserve = request.preserve_fds.saturating_add(listen.count);
    create::check_preserved(request.preserve_fds, listen.count)?;
    fd::cloexec_all_but(&crate::init::preserved(preserve)).on("close on exec", "inherited descriptors")?;

    let t = span("read the record");
    let record = entry.record()?;
    let (init, pid) = living_init(entry, &record, request.ignore_paused)?;
    drop(t);
    let t = span("plan");
    let container = spec::parse_config(entry.config()?)?.spec;
    let process = process(&container, request, log)?;
    let terminal = process.terminal().unwrap_or(false);
    create::check_terminal(terminal, !request.detach, request.console_socket.is_some())?;
    let subs = entrance::subs(&request.cgroup)?;
    let cgroup = Cgroup::from_record(&record.cgroup)?;
    let mut plan = plan(&container, &process, &record, init, pid, request, preserve, listen, log)?;
    plan.main.filters = entry.filters(&container)?;
    drop(t);
    // Before the process exists: its end may come at once.
    let relay = if request.detach { None } else { Some(Relay::new()?) };
    let target = Target {
        cgroup: &cgroup,
        subs: &subs,
        init: pid,
        may_be_frozen: request.ignore_paused,
        detached: request.detach,
        rdt: record.rdt.as_ref(),
    };
    let joined = launch::join(plan, &target, log).within("unable to start container process")?;
    begin(joined, &target, request, relay, &record)
}

/// A pidfd of init, taken before the look at who it is: pids come again.
fn living_init(entry: &Entry, record: &Record, ignore_paused: bool) -> Result<(OwnedFd, i32)> {
    let wrong = |text| Err(Error::new(Kind::WrongState, text));
    let stopped = "cannot exec in a stopped container";
    let Some(init) = record.init else {
        return wrong("cannot exec in a container that is being created");
    };
    let pidfd = match process::pidfd_open(init.pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return wrong(stopped),
        r => r.on("open", format!("process {}", init.pid))?,
    };
    match entry.status(record) {
        Status::Stopped => wrong(stopped),
        Status::Paused if !ignore_paused => {
            wrong("cannot exec in a paused container (use --ignore-paused to override)")
        }
        _ => Ok((pidfd, init.pid)),
    }
}

/// The process of `--process`, or the container's own with what the flags say.
fn process(container: &Spec, request: &Request, log: &Log) -> Result<Process> {
    let own = container.process().as_ref();
    let process = match &request.process {
        Some(path) => {
            let (mut process, warnings) = spec::load_process(path)?;
            warnings.iter().for_each(|w| log.warn(w));
            join::complete(&mut process, own);
            process
        }
        None => {
            let mut process = own.cloned().unwrap_or_default();
            apply_flags(&mut process, request)?;
            process
        }
    };
    rules::check_process(&process)?.iter().for_each(|w| log.warn(w));
    Ok(process)
}

fn apply_flags(process: &mut Process, request: &Request) -> Result<()> {
    if request.args.is_empty() {
        return Err(Error::new(Kind::Usage, "exec args cannot be empty"));
    }
    process.set_args(Some(request.args.clone()));
    if let Some(cwd) = request.cwd.as_ref().filter(|c| !c.as_os_str().is_empty()) {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(request.env.iter().cloned());
    process.set_env(Some(env));
    process.set_terminal(Some(request.tty));
    if request.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(user) = request.user.as_deref().filter(|u| !u.is_empty()) {
        let (uid, gid) = parse_user(user)?;
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !request.additional_gids.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        for gid in &request.additional_gids {
            let fits = u32::try_from(*gid).ok().filter(|g| *g != u32::MAX);
            gids.push(fits.ok_or_else(|| {
                Error::new(Kind::Usage, format!("additional-gids must be a positive number {gid}"))
            })?);
        }
        process.user_mut().set_additional_gids(Some(gids));
    }
    if let Some(label) = request.apparmor.as_ref().filter(|l| !l.is_empty()) {
        // Typed here and now: not to be ignored, as in a configuration.
        if !host::modules().apparmor {
            return Err(Error::unsupported("--apparmor: this kernel has no AppArmor"));
        }
        process.set_apparmor_profile(Some(label.clone()));
    }
    if let Some(label) = request.process_label.as_ref().filter(|l| !l.is_empty()) {
        process.set_selinux_label(Some(label.clone()));
    }
    Ok(())
}

/// `UID[:GID]`, decimal and nothing else: what cannot be understood must not become an id (CVE-2026-30892), and
/// (uid_t)-1 would leave root's (CVE-2016-3697 is why names are not looked up).
pub fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |what: &str, digits: &str| {
        let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let id = digits.parse().ok().filter(|id| decimal && *id != u32::MAX);
        id.ok_or_else(|| {
            Error::new(Kind::Usage, format!("bad {what}: {digits:?} is no number from 0 to 4294967294"))
        })
    };
    match text.split_once(':') {
        Some((uid, gid)) => {
            let gid = number("gid", gid)?;
            Ok((number("uid", uid)?, Some(gid)))
        }
        None => Ok((number("uid", text)?, None)),
    }
}

/// The bits of `--cap`; what has no name here is left out with a warning, as in a configuration.
fn cap_bits(names: &[String], log: &Log) -> Caps {
    let mut bits = Caps::default();
    for name in names {
        match Caps::number(name) {
            Some(nr) => bits = bits.union(Caps(1 << nr)),
            None => log.warn(&format!("ignoring unknown or unavailable capabilities: {name}")),
        }
    }
    bits
}

#[allow(clippy::too_many_arguments, reason = "each is needed once")]
fn plan(
    container: &Spec,
    process: &Process,
    record: &Record,
    init: OwnedFd,
    pid: i32,
    request: &Request,
    preserve: u32,
    listen: ListenFds,
    log: &Log,
) -> Result<join::Plan> {
    let shares_mounts = join::joined(container) & ns::NEWNS == 0;
    let path = format!("/proc/{pid}/root");
    // Init's own, whatever stands where its path was; its pidfd was opened before, and it lives.
    let root = shares_mounts.then(|| fs::open_path(&path).on("open", &path)).transpose()?;
    // Asked after the open: if it lives now, it was its root.
    if !record.init.is_some_and(|i| process::lives(i.pid, i.start_time)) {
        return Err(Error::new(Kind::WrongState, "cannot exec in a stopped container"));
    }
    let (_, grantable, _) = cred::get_caps().on("read", "own capabilities")?;
    let options = join::Options {
        id: &record.id,
        init,
        root,
        ignored_signals: signal::ignored().on("read", "own signal dispositions")?,
        new_keyring: !record.no_new_keyring,
        preserve,
        // Its own pid, which it is told, is not 1 here.
        listen_env: listen.env.into_iter().filter(|e| !e.starts_with("LISTEN_PID=")).collect(),
        add_caps: if request.process.is_none() { cap_bits(&request.caps, log) } else { Caps::default() },
        grantable,
        modules: host::modules(),
    };
    let mut warnings = Vec::new();
    let plan = join::build(container, process, options, &mut warnings)?;
    warnings.iter().for_each(|w| log.warn(w));
    Ok(plan)
}

/// Hands out what was asked for, starts the program, and stays with it unless detached.
fn begin(
    joined: Joined,
    target: &Target<'_>,
    request: &Request,
    mut relay: Option<Relay>,
    record: &Record,
) -> Result<i32> {
    let Joined { child, mut link, mut console, agent, listener } = joined;
    if let Some(master) = console.take() {
        match (&request.console_socket, &mut relay) {
            (Some(path), _) => create::send_console(path, master)?,
            (None, Some(relay)) => relay.attach(master)?,
            (None, None) => return Err(Error::bug("a terminal for nobody")),
        }
    }
    if let Some(path) = &request.pidfd_socket {
        create::send_pidfd(path, &child)?;
    }
    let patience = Patience { deadline: Deadline::never(), look: &|| target.look() };
    let late = agent.is_some() && listener.is_none();
    if let (Some(agent), Some(listener)) = (&agent, listener) {
        hand_over(agent, listener, child.pid(), record)?;
    }
    link.start()?;
    if let (Some(agent), true) = (&agent, late) {
        let listener = start::wait_for_listener(&mut link, &child, patience)?;
        hand_over(agent, listener, child.pid(), record)?;
        link.start()?;
    }
    start::wait_for_exec(&mut link, patience).within("unable to start container process")?;
    // Last: a client that finds it goes on.
    if let Some(path) = &request.pid_file {
        create::write_pid_file(path, child.pid())?;
    }
    match relay {
        Some(relay) => {
            seal::settle();
            Ok(relay.wait(child)?.status())
        }
        None => {
            child.let_go();
            Ok(0)
        }
    }
}

/// runc tells agents so: the process's pid beside the running container's state.
fn hand_over(agent: &Notify, listener: OwnedFd, pid: i32, record: &Record) -> Result<()> {
    let state = record.hook_state().at("running", record.init.map_or(0, |i| i.pid));
    seccomp::hand_over(agent, &listener, pid, state).within("unable to start container process")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_exact_or_an_error() {
        for (text, want) in [
            ("0", Some((0, None))),
            ("1", Some((1, None))),
            ("1:2", Some((1, Some(2)))),
            ("4294967294:4294967294", Some((4294967294, Some(4294967294)))),
            (":2", None),
            ("1:", None),
            (":", None),
            ("4294967295", None),
            ("1:4294967295", None),
            ("-1", None),
            ("+1", None),
            ("99999999999", None),
            ("0x1", None),
            ("1 ", None),
            (" 1", None),
            ("", None),
            ("1:2:3", None),
            ("root", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_user(text).ok(), want, "{text:?}");
        }
    }
}
