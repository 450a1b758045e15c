use std::path::PathBuf;

use clap::Args;

use super::plain::{Plain, Slot};
use super::{Global, leniency};
use crate::container::Id;
use crate::container::create::{self, Request};
use crate::error::{Error, Kind, OnSys, Result};
use crate::log::Log;

/// Flags that `create` and `run` share.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Directory that holds config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Unix socket that receives the pty's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of init
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// File to write init's pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Do not pivot_root: for a root file system on the initial ramfs
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass on this many descriptors from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
}

impl Plain for Common {
    fn silent() -> Self {
        Self { bundle: ".".into(), ..Self::default() }
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "bundle" | "b" => Slot::Path(&mut self.bundle),
            "console-socket" => Slot::File(&mut self.console_socket),
            "pidfd-socket" => Slot::File(&mut self.pidfd_socket),
            "pid-file" => Slot::File(&mut self.pid_file),
            "no-pivot" => Slot::Set(&mut self.no_pivot),
            "no-new-keyring" => Slot::Set(&mut self.no_new_keyring),
            "preserve-fds" => Slot::Number(&mut self.preserve_fds),
            _ => return None,
        })
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        (n == 0).then_some(Slot::Text(&mut self.id))
    }
}

impl Common {
    pub fn request(&self, global: &Global, gate: bool, foreground: bool) -> Result<(Id, Request)> {
        if self.preserve_fds > 1024 {
            return Err(Error::new(
                Kind::Usage,
                format!("--preserve-fds {} is more than 1024", self.preserve_fds),
            ));
        }
        let absolute = |path: &Option<PathBuf>| {
            // The working directory is about to become the bundle.
            let some = path.as_ref().filter(|p| !p.as_os_str().is_empty());
            some.map(|p| std::path::absolute(p).on("resolve", p.display())).transpose()
        };
        let request = Request {
            bundle: self.bundle.clone(),
            console_socket: absolute(&self.console_socket)?,
            pidfd_socket: absolute(&self.pidfd_socket)?,
            pid_file: absolute(&self.pid_file)?,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            foreground,
            gate,
            manager: global.manager()?,
            rootless: global.rootless()?,
        };
        Ok((Id::parse(&self.id)?, request))
    }
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    common: Common,
    /// Accepted for go-runc's sake
    #[arg(long, hide = true, action = leniency::IGNORED)]
    no_subreaper: bool,
    /// Accepted for go-runc's sake: create always detaches
    #[arg(long, short, hide = true, action = leniency::IGNORED)]
    detach: bool,
}

impl Plain for Create {
    fn silent() -> Self {
        Self { common: Common::silent(), no_subreaper: false, detach: false }
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        self.common.flag(name)
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        self.common.word(n)
    }
}

impl Create {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let (id, request) = self.common.request(global, true, false)?;
        let created = create::create(&global.store_to_make()?, &id, request, log)?;
        created.child.let_go();
        Ok(0)
    }
}
