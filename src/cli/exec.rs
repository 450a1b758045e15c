use std::path::PathBuf;

use clap::Args;

use super::plain::{Plain, Slot};
use super::{Global, leniency};
use crate::container::exec::{self, Request};
use crate::error::{Context, Error, Kind, OnSys, Result};
use crate::log::Log;

#[derive(Debug, Default, Args)]
pub struct Exec {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    args: Vec<String>,
    /// Take the process from this JSON document
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Unix socket that receives the pty's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// NAME=VALUE for the program's environment
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// UID[:GID]
    #[arg(long, short, value_name = "USER", allow_hyphen_values = true)]
    user: Option<String>,
    /// One more group
    #[arg(long, short = 'g', value_name = "GID", allow_negative_numbers = true)]
    additional_gids: Vec<i64>,
    /// Leave the process to itself once it runs
    #[arg(long, short)]
    detach: bool,
    /// File to write the process's pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Forbid new privileges
    #[arg(long)]
    no_new_privs: bool,
    /// One more capability
    #[arg(long, short, value_name = "CAP")]
    cap: Vec<String>,
    /// Pass on this many descriptors from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// [CONTROLLER:]PATH of a cgroup below the container's
    #[arg(long, value_name = "CGROUP")]
    cgroup: Vec<String>,
    /// In a paused container, too: the process runs when it is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// Accepted for go-runc's sake
    #[arg(long, hide = true, action = leniency::IGNORED)]
    no_subreaper: bool,
}

impl Plain for Exec {
    const THEIRS: usize = 1;

    fn silent() -> Self {
        Self::default()
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "process" | "p" => Slot::File(&mut self.process),
            "console-socket" => Slot::File(&mut self.console_socket),
            "pidfd-socket" => Slot::File(&mut self.pidfd_socket),
            "cwd" => Slot::File(&mut self.cwd),
            "env" | "e" => Slot::Each(&mut self.env),
            "tty" | "t" => Slot::Set(&mut self.tty),
            "user" | "u" => Slot::Given(&mut self.user),
            "detach" | "d" => Slot::Set(&mut self.detach),
            "pid-file" => Slot::File(&mut self.pid_file),
            "no-new-privs" => Slot::Set(&mut self.no_new_privs),
            "cap" | "c" => Slot::Each(&mut self.cap),
            "preserve-fds" => Slot::Number(&mut self.preserve_fds),
            _ => return None,
        })
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        Some(if n == 0 { Slot::Text(&mut self.id) } else { Slot::Each(&mut self.args) })
    }
}

impl Exec {
    /// runc's exit status for its own errors, which clients tell from the program's.
    pub const FAILURE: i32 = 255;

    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        self.exec(global, log).within("exec failed")
    }

    fn exec(&self, global: &Global, log: &Log) -> Result<i32> {
        if self.preserve_fds > 1024 {
            return Err(Error::new(
                Kind::Usage,
                format!("--preserve-fds {} is more than 1024", self.preserve_fds),
            ));
        }
        let given = |path: &Option<PathBuf>| path.clone().filter(|p| !p.as_os_str().is_empty());
        let pid_file =
            given(&self.pid_file).map(|p| std::path::absolute(&p).on("resolve", p.display())).transpose()?;
        let request = Request {
            process: given(&self.process),
            args: self.args.clone(),
            cwd: self.cwd.clone(),
            env: self.env.clone(),
            tty: self.tty,
            user: self.user.clone(),
            additional_gids: self.additional_gids.clone(),
            caps: self.cap.clone(),
            no_new_privs: self.no_new_privs,
            process_label: self.process_label.clone(),
            apparmor: self.apparmor.clone(),
            console_socket: given(&self.console_socket),
            pidfd_socket: given(&self.pidfd_socket),
            pid_file,
            detach: self.detach,
            preserve_fds: self.preserve_fds,
            cgroup: self.cgroup.clone(),
            ignore_paused: self.ignore_paused,
        };
        exec::exec(&global.find(&self.id)?, &request, log)
    }
}
