//! create: from a bundle to an init that waits at its gate.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxResources, Spec};

use super::id::Id;
use super::record::{Init, Record};
use super::status::boot_id;
use super::store::{Aside, Entry, GATE, Store};
use crate::cgroup::{Cgroup, Rootless};
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::handshake::Main;
use crate::hooks;
use crate::host::{self, Host};
use crate::init::gate::Gate;
use crate::launch::notify::{self, Proxy};
use crate::launch::{self, Launched};
use crate::log::Log;
use crate::plan::{self, Options};
use crate::seal;
use crate::spec::{self, rules};
use crate::sys::process::{self, Child};
use crate::sys::{fd, fs, ns, socket};

/// What was typed for `create` and `run`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
    /// `run` without --detach: the runtime stays.
    pub foreground: bool,
    /// `create`: a gate in the state directory; `run`: our own word.
    pub gate: bool,
    pub manager: Manager,
    pub rootless: Rootless,
}

/// Who manages cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    #[default]
    Cgroupfs,
    Systemd,
    Disabled,
}

/// A container whose init waits.
pub struct Created {
    pub entry: Entry,
    pub record: Record,
    pub child: Child,
    pub link: Main,
    pub console: Option<OwnedFd>,
    pub poststart: Vec<hooks::Hook>,
    /// `run`: what the container says to our service manager comes by here.
    pub notify: Option<Proxy>,
}

pub fn create(store: &Store, id: &Id, mut request: Request, log: &Log) -> Result<Created> {
    // Before the first open of ours could take one of the numbers.
    let listen = listen_fds();
    let preserve = request.preserve_fds.saturating_add(listen.count);
    check_preserved(request.preserve_fds, listen.count)?;
    fd::cloexec_all_but(&crate::init::preserved(preserve)).on("close on exec", "inherited descriptors")?;

    #[expect(
        clippy::disallowed_methods,
        reason = "the bundle is the host's, and `state` shows its resolved path"
    )]
    let bundle = std::fs::canonicalize(&request.bundle).on("chdir", request.bundle.display())?;
    request.bundle = bundle;
    // Hooks run in the bundle, as with runc.
    #[expect(clippy::disallowed_methods, reason = "the bundle is the host's")]
    std::env::set_current_dir(&request.bundle).on("chdir", request.bundle.display())?;
    let mut loaded = spec::load(&fs::open_dir(".").on("open", request.bundle.display())?)?;
    for w in loaded.warnings.iter().chain(&rules::check(&loaded.spec)?) {
        log.warn(w);
    }
    let terminal = loaded.spec.process().as_ref().is_some_and(|p| p.terminal().unwrap_or(false));
    check_terminal(terminal, request.foreground, request.console_socket.is_some())?;
    let host = host::probe()?;
    let entry = store.reserve(id)?;
    let mut undo = Undo { entry: &entry, cgroup: None, rdt: None, poststop: None };
    let made = notifications(&entry, &mut loaded.spec, &request).and_then(|notify| {
        let creation = Creation { entry: &entry, spec: &loaded.spec, host: &host, request: &request, log };
        Ok((creation.make(&loaded.raw, preserve, listen.env, &mut undo)?, notify))
    });
    match made {
        Ok(((record, launched), notify)) => {
            let Launched { child, link, console, poststart, .. } = launched;
            Ok(Created { entry, record, child, link, console, poststart, notify })
        }
        Err(e) => Err(undo.undo(e)),
    }
}

/// A place for the container's notifications, where our caller wants them. `start` listens there, or `run` at once.
fn notifications(entry: &Entry, spec: &mut Spec, request: &Request) -> Result<Option<Proxy>> {
    let Some(host) = notify::asked_for() else { return Ok(None) };
    notify::prepare(entry.dir(), entry.path(), spec)?;
    if request.gate { Ok(None) } else { Proxy::listen(entry.dir(), host) }
}

/// Undoes what a failed create has made, in the reverse order; the processes are gone when it runs.
struct Undo<'a> {
    entry: &'a Entry,
    cgroup: Option<Cgroup>,
    rdt: Option<plan::rdt::Record>,
    /// Hooks that must see the end of a container whose creation had begun.
    poststop: Option<(Vec<hooks::Hook>, Vec<u8>)>,
}

impl Undo<'_> {
    /// What cannot be removed now stays on record, and is told beside the error.
    fn undo(self, mut e: Error) -> Error {
        let removed = self.cgroup.map_or(Ok(()), |c| {
            let _ = c.kill_all(crate::sys::signal::SIGKILL);
            c.remove()
        });
        match removed.and(launch::rdt::remove(self.rdt.as_ref())) {
            Ok(()) => drop(self.entry.remove()),
            Err(left) => {
                let id = &self.entry.id;
                e = e.and(&left.within(format!("`delete --force {id}` removes the rest later")));
            }
        }
        let (list, state) = self.poststop.unwrap_or_default();
        for (i, h) in list.iter().enumerate() {
            let _ = hooks::run(h, &state, &format!("poststop hook #{i}"));
        }
        e
    }
}

/// What is known before anything is made.
struct Creation<'a> {
    entry: &'a Entry,
    spec: &'a Spec,
    host: &'a Host,
    request: &'a Request,
    log: &'a Log,
}

impl Creation<'_> {
    /// `preserve`: how many descriptors the program inherits; `extra_env`: what tells it so.
    fn make(
        &self,
        raw: &[u8],
        preserve: u32,
        extra_env: Vec<String>,
        undo: &mut Undo<'_>,
    ) -> Result<(Record, Launched)> {
        let cgroup = self.plan_cgroup()?;
        let rdt = self.linux().map(|l| plan::rdt::build(l, self.entry.id.as_str())).transpose()?.flatten();
        let mut record = self.intent(&cgroup)?;
        record.rdt = rdt.as_ref().map(|r| r.record.clone());
        // Somebody else's cgroup must not come into the record: a delete would kill all in it.
        cgroup.check_free().within("unable to apply cgroup configuration")?;
        let beside = self.may_come_beside(&cgroup);
        // The intent is on disk before anything is in the kernel that outlives us: what a killed create leaves behind can be
        // found. An init alone does not, and makes its namespaces while we write.
        let mut intent = Some(raw);
        if !beside || cgroup.has_beginning() {
            self.write_intent(&record, &mut intent)?;
        }
        if beside {
            cgroup.begin().within("unable to apply cgroup configuration")?;
        } else {
            self.make_cgroup(&cgroup, &record, undo)?;
        }
        undo.rdt.clone_from(&record.rdt);

        let gate = self.gate()?;
        let state = record.hook_state();
        let mut poststop = None;
        if let Some(h) = self.spec.hooks().as_ref().and_then(|h| h.poststop().as_ref()) {
            let list = h.iter().map(hooks::Hook::new).collect::<Result<Vec<_>>>()?;
            poststop = Some((list, state.json("stopped", 0)));
        }
        if !beside {
            undo.poststop = poststop.take();
        }
        let options = Options {
            id: self.entry.id.as_str(),
            bundle: &self.request.bundle,
            no_pivot: self.request.no_pivot,
            new_keyring: !self.request.no_new_keyring,
            preserve,
            gate,
            cgroup: &cgroup,
            beside,
            rdt,
            state,
            extra_env,
            filters: self.entry.filters(self.spec)?,
        };
        let mut warnings = Vec::new();
        let plan = plan::build(self.spec, self.host, options, &mut warnings)?;
        warnings.iter().for_each(|w| self.log.warn(w));
        let mut meanwhile = Meanwhile {
            creation: self,
            cgroup: &cgroup,
            record: &mut record,
            intent,
            undo,
            poststop,
            aside: None,
        };
        let launched = launch::launch(plan, &cgroup, self.resources(), self.log, &mut meanwhile);
        let aside = meanwhile.aside;
        if cgroup.is_taken() {
            undo.cgroup = None;
            cgroup.leave();
        }
        let mut launched = launched.within("unable to start container process")?;
        self.hand_over(&mut launched, aside)?;
        Ok((record, launched))
    }

    /// May the cgroup be made when init is there already? Where init makes all namespaces itself, but the pid namespace.
    fn may_come_beside(&self, cgroup: &Cgroup) -> bool {
        let listed = self.linux().and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
        let simple = |n: &LinuxNamespace| match plan::namespaces::flag(n.typ()) {
            ns::NEWUSER => false,
            ns::NEWPID | ns::NEWNS => n.path().is_none(),
            _ => true,
        };
        let is_cgroup = |m: &&oci_spec::runtime::Mount| m.typ().as_deref() == Some("cgroup");
        let mounts = self.spec.mounts().iter().flatten().filter(is_cgroup).count();
        let own = |n: &LinuxNamespace| plan::namespaces::flag(n.typ()) == ns::NEWNS;
        listed.iter().any(own) && listed.iter().all(simple) && plan::beside::serves(cgroup, mounts)
    }

    fn linux(&self) -> Option<&Linux> {
        self.spec.linux().as_ref()
    }

    fn resources(&self) -> Option<&LinuxResources> {
        self.linux().and_then(|l| l.resources().as_ref())
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        self.spec.annotations().clone().unwrap_or_default().into_iter().collect()
    }

    fn plan_cgroup(&self) -> Result<Cgroup> {
        let path = self.linux().and_then(|l| l.cgroups_path().as_deref());
        let path = path.map(|p| p.to_string_lossy().into_owned());
        let (layout, path, id) = (&self.host.layout, path.as_deref(), self.entry.id.as_str());
        match self.request.manager {
            Manager::Disabled => Ok(Cgroup::none()),
            Manager::Cgroupfs => Cgroup::plan_with(layout, path, id, self.request.rootless),
            Manager::Systemd => Cgroup::plan_systemd(layout, path, id, &self.annotations()),
        }
    }

    /// The record of a container that is being created.
    fn intent(&self, cgroup: &Cgroup) -> Result<Record> {
        let new_pid = |l: &Linux| {
            let is_new =
                |n: &LinuxNamespace| plan::namespaces::flag(n.typ()) == ns::NEWPID && n.path().is_none();
            l.namespaces().iter().flatten().any(is_new)
        };
        Ok(Record {
            version: Record::VERSION,
            id: self.entry.id.to_string(),
            oci_version: self.spec.version().clone(),
            rootfs: plan::rootfs::locate(self.spec, &self.request.bundle)?,
            bundle: self.request.bundle.clone(),
            created: crate::log::now_nanos(),
            annotations: self.annotations(),
            boot: boot_id(),
            init: None,
            creator: Some(Init::of(process::getpid())?),
            cgroup: cgroup.record(),
            rdt: None,
            no_new_keyring: self.request.no_new_keyring,
            own_pid_namespace: self.linux().is_some_and(new_pid),
        })
    }

    /// The record first: where only that is, nothing is lost.
    fn write_intent(&self, record: &Record, config: &mut Option<&[u8]>) -> Result<()> {
        let Some(config) = config.take() else { return Ok(()) };
        self.entry.save(record)?;
        self.entry.save_config(config)
    }

    fn make_cgroup(&self, cgroup: &Cgroup, record: &Record, undo: &mut Undo<'_>) -> Result<()> {
        let _t = crate::trace::span("make cgroups");
        let resources = self.resources();
        cgroup.create_for(resources).within("unable to apply cgroup configuration")?;
        undo.cgroup = Some(Cgroup::from_record(&record.cgroup)?);
        for name in resources.map(|r| cgroup.without_meaning(r)).unwrap_or_default() {
            let text = format!("linux.resources.{name} has no meaning on this cgroup layout and is ignored");
            self.log.warn(&text);
        }
        self.log
            .debug(&format!("created cgroup {:?}", cgroup.paths().into_values().next().unwrap_or_default()));
        Ok(())
    }

    fn gate(&self) -> Result<Gate> {
        if !self.request.gate {
            return Ok(Gate::Word);
        }
        let path = self.entry.path().join(GATE);
        Ok(Gate::Listen(socket::listen_at(self.entry.dir(), GATE).on("create", path.display())?))
    }

    /// Init is ready: written down, and told to whom it was promised.
    fn hand_over(&self, launched: &mut Launched, aside: Option<Aside>) -> Result<()> {
        let _t = crate::trace::span("hand over");
        if let Some(path) = &self.request.console_socket
            && let Some(master) = launched.console.take()
        {
            send_console(path, master)?;
        }
        let pid = launched.child.pid();
        self.log.debug(&format!("container {} is ready, its init is process {pid}", self.entry.id));
        let aside = aside.ok_or_else(|| Error::bug("init is ready, and nothing written of it"))?;
        self.entry.publish(&aside)?;
        if let Some(path) = &self.request.pidfd_socket {
            send_pidfd(path, &launched.child)?;
        }
        // Last: a client that finds it goes on.
        if let Some(path) = &self.request.pid_file {
            write_pid_file(path, pid)?;
        }
        launched.link.start()?;
        launched.devices.stay();
        Ok(())
    }
}

/// What is made while the kernel and init are at work.
struct Meanwhile<'a, 'u> {
    creation: &'a Creation<'a>,
    cgroup: &'a Cgroup,
    record: &'a mut Record,
    /// The configuration, as long as it is not written down.
    intent: Option<&'a [u8]>,
    undo: &'a mut Undo<'u>,
    poststop: Option<(Vec<hooks::Hook>, Vec<u8>)>,
    aside: Option<Aside>,
}

impl launch::Meanwhile for Meanwhile<'_, '_> {
    fn make_cgroup(&mut self) -> Result<()> {
        self.creation.write_intent(self.record, &mut self.intent)?;
        self.creation.make_cgroup(self.cgroup, self.record, self.undo)?;
        self.undo.poststop = self.poststop.take();
        Ok(())
    }

    /// The record of a container whose init is ready, which it is to become.
    fn prepare(&mut self, pid: i32) -> Result<()> {
        self.record.init = Some(Init::of(pid)?);
        self.record.creator = None;
        self.aside = Some(self.creation.entry.write_aside(self.record)?);
        Ok(())
    }

    /// Who stays with the container has a better moment.
    fn idle(&mut self) {
        if !self.creation.request.foreground {
            seal::settle();
        }
    }
}

/// Whole or not at all: written aside and renamed, as clients poll for it.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let (dir, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().and_then(|n| n.to_str()));
    let name =
        name.ok_or_else(|| Error::new(Kind::Usage, format!("--pid-file {} names no file", path.display())))?;
    let write = || fs::replace_file_at(fs::open_dir(dir)?, name, pid.to_string().as_bytes(), 0o644);
    write().on("write pid file", path.display())
}

/// The pty's master, in one message, with a name for it: what every console-socket client expects.
pub fn send_console(path: &Path, master: OwnedFd) -> Result<()> {
    use std::os::fd::AsFd;
    let sent =
        socket::connect_stream(path).and_then(|s| socket::send(s, b"/dev/pts/ptmx", Some(master.as_fd())));
    sent.on("send the terminal to console socket", path.display())
}

pub fn send_pidfd(path: &Path, child: &Child) -> Result<()> {
    let sent = socket::connect_stream(path).and_then(|s| socket::send(s, b"pidfd", Some(child.pidfd())));
    sent.on("send the pidfd to socket", path.display())
}

/// runc's rules and words, its name included: clients know them so.
pub fn check_terminal(terminal: bool, foreground: bool, socket: bool) -> Result<()> {
    match (terminal, !foreground, socket) {
        (true, true, false) => Err(Error::new(
            Kind::Usage,
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        (false, _, true) | (_, false, true) => {
            Err(Error::new(Kind::Usage, "cannot use console socket if runc will not detach or allocate tty"))
        }
        _ => Ok(()),
    }
}

/// Socket activation: sd_listen_fds(3).
#[derive(Default)]
pub struct ListenFds {
    pub count: u32,
    pub env: Vec<String>,
}

pub fn listen_fds() -> ListenFds {
    let text = |name: &str| std::env::var(name).ok();
    let pid = text("LISTEN_PID").and_then(|v| v.parse::<i32>().ok());
    let count = match (pid, text("LISTEN_FDS").and_then(|v| v.parse::<u32>().ok())) {
        (Some(pid), Some(count)) if pid == process::getpid() && count <= 1024 => count,
        _ => return ListenFds::default(),
    };
    if count == 0 {
        return ListenFds::default();
    }
    let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()];
    env.extend(std::env::var("LISTEN_FDNAMES").ok().map(|n| format!("LISTEN_FDNAMES={n}")));
    ListenFds { count, env }
}

/// Inherited, not just open: a number that the caller has not may be one of ours by now.
pub fn check_preserved(preserve: u32, listen: u32) -> Result<()> {
    for n in crate::init::preserved(listen.saturating_add(preserve)) {
        if !fd::is_inherited(n) {
            return Err(Error::new(
                Kind::Usage,
                format!("unable to stat preserved-fd {n} (of {preserve}): it is not open"),
            ));
        }
    }
    Ok(())
}
