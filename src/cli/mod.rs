//! What was typed: the flags of runc, its leniencies, and one file a verb.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod leniency;
mod list;
mod pause;
mod plain;
mod ps;
pub mod quantity;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod version;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cgroup::Rootless;
use crate::container::create::Manager;
use crate::container::store::default_root;
use crate::container::{Entry, Id, Store};
use crate::error::{Error, Kind, Result};
use crate::log::{Format, Level, Log};
use crate::trace::{self, Trace};
use plain::{Plain, Slot};

/// A low-level OCI container runtime.
#[derive(Debug, Parser)]
#[command(name = "orlop", disable_version_flag = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Default, clap::Args)]
pub struct Global {
    /// Directory for the state of containers [default: /run/orlop, or $XDG_RUNTIME_DIR/orlop]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Append events to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Form of the log's lines: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: String,
    /// The same as --log-level debug
    #[arg(long)]
    debug: bool,
    /// What to log: error, warning, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    log_level: String,
    /// Append the times of all steps to this file, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Have systemd manage the cgroup
    #[arg(long)]
    systemd_cgroup: bool,
    /// cgroupfs, systemd or disabled
    #[arg(long, value_name = "MANAGER")]
    cgroup_manager: Option<String>,
    /// Ignore cgroup permission errors: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    rootless: String,
    /// Accepted for runc's sake: criu is found in PATH
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
    /// Print the version
    #[arg(long, short = 'v', exclusive = true)]
    version: bool,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a container
    Create(create::Create),
    /// Delete what a container holds
    Delete(delete::Delete),
    /// Run one more process in a container
    Exec(exec::Exec),
    /// Show what a container uses, now and then, and when it runs out of memory
    Events(events::Events),
    /// Show what this runtime can do
    Features(features::Features),
    /// Send a signal to a container's init (default: TERM)
    Kill(kill::Kill),
    /// List containers
    List(list::List),
    /// Hold all processes of a container still
    Pause(pause::Pause),
    /// Show a container's processes
    Ps(ps::Ps),
    /// Let a paused container go on
    Resume(resume::Resume),
    /// Create and start a container
    Run(run::Run),
    /// Write an example configuration
    Spec(spec::Spec),
    /// Start the program of a created container
    Start(start::Start),
    /// Show the state of a container
    State(state::State),
    /// Change the limits of a container
    Update(update::Update),
}

type Flags = fn(Command) -> Command;

/// How the flags of each verb are told to clap.
const FLAGS: [(&str, Flags); 15] = [
    ("create", create::Create::augment_args),
    ("delete", delete::Delete::augment_args),
    ("exec", exec::Exec::augment_args),
    ("events", events::Events::augment_args),
    ("features", features::Features::augment_args),
    ("kill", kill::Kill::augment_args),
    ("list", list::List::augment_args),
    ("pause", pause::Pause::augment_args),
    ("ps", ps::Ps::augment_args),
    ("resume", resume::Resume::augment_args),
    ("run", run::Run::augment_args),
    ("spec", spec::Spec::augment_args),
    ("start", start::Start::augment_args),
    ("state", state::State::augment_args),
    ("update", update::Update::augment_args),
];

/// As much of [`Cli::command`] as this command line can be about: telling clap the flags of every verb takes longer than
/// parsing. Good for what is right; what goes wrong, and help, is the whole one's to explain.
fn lean_command(args: &[OsString]) -> Command {
    let root =
        Global::augment_args(Command::new("orlop").disable_version_flag(true).subcommand_required(true));
    FLAGS
        .iter()
        .filter(|(name, _)| args.iter().any(|a| a == name))
        .fold(root, |root, (name, flags)| root.subcommand(flags(Command::new(*name))))
}

impl Plain for Global {
    fn silent() -> Self {
        Self {
            log_format: "text".into(),
            log_level: "warning".into(),
            rootless: "auto".into(),
            ..Self::default()
        }
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "root" => Slot::File(&mut self.root),
            "log" => Slot::File(&mut self.log),
            "log-format" => Slot::Text(&mut self.log_format),
            "debug" => Slot::Set(&mut self.debug),
            "log-level" => Slot::Text(&mut self.log_level),
            "trace" => Slot::File(&mut self.trace),
            "systemd-cgroup" => Slot::Set(&mut self.systemd_cgroup),
            "cgroup-manager" => Slot::Given(&mut self.cgroup_manager),
            "rootless" => Slot::Text(&mut self.rootless),
            _ => return None,
        })
    }

    /// The first is the verb.
    fn word(&mut self, _: usize) -> Option<Slot<'_>> {
        None
    }
}

impl Global {
    fn log(&self) -> Result<Log> {
        let format = match self.log_format.as_str() {
            "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(Error::new(Kind::Usage, format!("invalid log-format {other:?}"))),
        };
        let level = match self.log_level.as_str() {
            _ if self.debug => Level::Debug,
            "error" => Level::Error,
            "warning" | "warn" => Level::Warning,
            "info" => Level::Info,
            "debug" => Level::Debug,
            other => return Err(Error::new(Kind::Usage, format!("invalid log-level {other:?}"))),
        };
        Log::open(self.log.as_deref(), format, level)
    }

    fn root(&self) -> PathBuf {
        self.root.clone().filter(|r| !r.as_os_str().is_empty()).unwrap_or_else(default_root)
    }

    fn has_default_root(&self) -> bool {
        self.root.is_none()
    }

    fn no_root(&self) -> Error {
        Error::sys("open", self.root().display().to_string(), crate::sys::Errno::ENOENT)
    }

    /// For verbs that make a container.
    fn store_to_make(&self) -> Result<Store> {
        if let Some(dir) = self.root.as_ref().filter(|r| !r.as_os_str().is_empty()) {
            return Store::open(dir, true);
        }
        let root = default_root();
        let users = !root.starts_with("/run/orlop");
        let store = Store::open(&root, true).map_err(|e| match e.kind() {
            Kind::Denied if users => e.hint("$XDG_RUNTIME_DIR must be the user's own"),
            Kind::Denied => e.hint("set XDG_RUNTIME_DIR, or name another directory with --root"),
            _ => e,
        })?;
        if users {
            store.keep()?;
        }
        Ok(store)
    }

    /// For verbs about a container that is there.
    fn find(&self, id: &str) -> Result<Entry> {
        let id = Id::parse(id)?;
        match Store::open_existing(&self.root())? {
            Some(store) => store.find(&id),
            None => Err(Error::new(Kind::NotFound, crate::error::compat::DOES_NOT_EXIST)),
        }
    }

    /// In Go's words for true and false, and `auto` or nothing.
    fn rootless(&self) -> Result<Rootless> {
        match self.rootless.as_str() {
            "auto" | "" => Ok(Rootless::Auto),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Rootless::Yes),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Rootless::No),
            other => {
                Err(Error::new(Kind::Usage, format!("invalid --rootless {other:?}: true, false or auto")))
            }
        }
    }

    fn manager(&self) -> Result<Manager> {
        match self.cgroup_manager.as_deref() {
            None | Some("systemd") if self.systemd_cgroup => Ok(Manager::Systemd),
            Some(other) if self.systemd_cgroup => {
                let text = format!("--systemd-cgroup and --cgroup-manager {other} contradict each other");
                Err(Error::new(Kind::Usage, text))
            }
            None | Some("cgroupfs") => Ok(Manager::Cgroupfs),
            Some("disabled") => Ok(Manager::Disabled),
            Some("systemd") => Ok(Manager::Systemd),
            Some(other) => Err(Error::new(Kind::Usage, format!("unknown cgroup manager {other:?}"))),
        }
    }
}

/// Does a process with this command line enter a container? Such a one is sealed first; told without parsing, so
/// that no work is done twice.
pub fn enters_container(args: &[OsString]) -> bool {
    args.iter().skip(1).any(|a| a == "run" || a == "create" || a == "exec")
}

/// The description of the command line: man pages and completions are made of it.
pub fn command() -> Command {
    Cli::command()
}

/// What a command line says, runc's leniencies included; `lean` as [`main`] reads it, which must come to the same.
pub fn parse(args: Vec<OsString>, lean: bool) -> Result<Cli, clap::Error> {
    if lean && let Some(cli) = plain::read(&args) {
        return Ok(cli);
    }
    let command = if lean { lean_command(&args) } else { Cli::command() };
    let args = leniency::normalise(args, &command);
    understand(command, &args)
}

fn understand(command: Command, args: &[OsString]) -> Result<Cli, clap::Error> {
    let parsed = command.try_get_matches_from(args).or_else(|_| Cli::command().try_get_matches_from(args));
    parsed.and_then(|m| Cli::from_arg_matches(&m))
}

/// Runs the verb. The value is the exit status.
pub fn main(args: Vec<OsString>) -> i32 {
    let begun = trace::now();
    if let Some(cli) = plain::read(&args) {
        return run(&cli, &args, begun);
    }
    let command = lean_command(&args);
    let args = leniency::normalise(args, &command);
    if version::asked_for(&args) {
        return finish(version::print(), &Log::none(), 1);
    }
    match understand(command, &args) {
        Ok(cli) => run(&cli, &args, begun),
        Err(e) => usage(&e, &args),
    }
}

fn run(cli: &Cli, args: &[OsString], begun: u64) -> i32 {
    let log = match cli.global.log() {
        Ok(log) => log,
        Err(e) => return finish(Err(e), &Log::none(), 1),
    };
    let failure = if matches!(cli.verb, Verb::Exec(_)) { exec::Exec::FAILURE } else { 1 };
    let trace = match cli.global.trace.as_deref().map(|path| Trace::start(path, title(args), begun)) {
        None => None,
        Some(Ok(trace)) => Some(trace),
        Some(Err(e)) => return finish(Err(e), &log, failure),
    };
    let result = dispatch(cli, &log);
    if let Some(trace) = trace {
        trace.finish();
    }
    finish(result, &log, failure)
}

/// The command line, short enough for a label.
fn title(args: &[OsString]) -> String {
    let words: Vec<_> = args.iter().skip(1).map(|a| a.to_string_lossy()).collect();
    words.join(" ").chars().take(200).collect()
}

fn dispatch(cli: &Cli, log: &Log) -> Result<i32> {
    let g = &cli.global;
    match &cli.verb {
        Verb::Create(v) => v.run(g, log),
        Verb::Delete(v) => v.run(g, log),
        Verb::Exec(v) => v.run(g, log),
        Verb::Events(v) => v.run(g, log),
        Verb::Features(v) => v.run(),
        Verb::Kill(v) => v.run(g),
        Verb::List(v) => v.run(g, log),
        Verb::Pause(v) => v.run(g),
        Verb::Ps(v) => v.run(g),
        Verb::Resume(v) => v.run(g),
        Verb::Run(v) => v.run(g, log),
        Verb::Spec(v) => v.run(),
        Verb::Start(v) => v.run(g, log),
        Verb::State(v) => v.run(g),
        Verb::Update(v) => v.run(g, log),
    }
}

/// The only place where an error is told: on standard error and in the log, in the same words.
fn finish(result: Result<i32>, log: &Log, failure: i32) -> i32 {
    match result {
        Ok(status) => status,
        Err(e) => {
            let e = match e.errno().and_then(crate::host::lack) {
                Some(lack) => e.because(lack),
                None => e,
            };
            // JSON was asked for, but no file: then standard error is the log.
            if !log.is_stderr() {
                eprint_line(&e.to_string());
            }
            log.error(&e);
            failure
        }
    }
}

/// clap's own answers: help is no error; anything else is one like all others, in one line and in the log.
fn usage(e: &clap::Error, args: &[OsString]) -> i32 {
    use clap::error::ErrorKind;
    let text = e.render().to_string();
    if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return finish(print(text.as_bytes()), &Log::none(), 1);
    }
    if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint_line(text.trim_end());
        return 1;
    }
    let said: Vec<_> = text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:")).collect();
    let said = said.join(" ");
    let error = Error::new(Kind::Usage, said.trim().trim_start_matches("error: ").to_owned())
        .hint("--help tells what there is");
    finish(Err(error), &log_of(args), 1)
}

/// The log that a command line names which is otherwise not understood.
fn log_of(args: &[OsString]) -> Log {
    let value = |flag: &str| {
        let with = format!("{flag}=");
        args.iter().enumerate().find_map(|(i, a)| match a.to_str() {
            Some(a) if a == flag => args.get(i + 1).and_then(|v| v.to_str()).map(str::to_owned),
            Some(a) => a.strip_prefix(&with).map(str::to_owned),
            None => None,
        })
    };
    let format = if value("--log-format").as_deref() == Some("json") { Format::Json } else { Format::Text };
    let file = value("--log").map(PathBuf::from);
    Log::open(file.as_deref(), format, Level::Error).unwrap_or_else(|_| Log::none())
}

fn eprint_line(text: &str) {
    use std::io::Write;
    // Standard error may be closed; there is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A whole document to standard output, in one go: nothing of it if it cannot be made.
fn print(document: &[u8]) -> Result<i32> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(document).and_then(|()| out.flush()) {
        Ok(()) => Ok(0),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        Err(e) => Err(Error::new(Kind::Host, format!("write standard output: {e}"))),
    }
}

fn to_json<T: serde::Serialize>(value: &T, pretty: bool) -> Result<Vec<u8>> {
    let text = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    text.map_err(|e| Error::bug(format!("cannot write JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lean_command_knows_every_verb() {
        let whole = Cli::command();
        let names: Vec<_> = whole.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        let mut table: Vec<_> = FLAGS.iter().map(|(name, _)| (*name).to_owned()).collect();
        for name in &names {
            let lean = lean_command(&["orlop".into(), name.into()]);
            let flags = |c: &Command| {
                let verb = c.find_subcommand(name).unwrap();
                verb.get_arguments().map(|a| a.get_id().to_string()).collect::<Vec<_>>()
            };
            assert_eq!(flags(&lean), flags(&whole), "{name}");
        }
        table.sort();
        let mut names = names;
        names.sort();
        assert_eq!(names, table);
    }
}
