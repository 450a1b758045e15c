use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use super::{Global, print, to_json};
use crate::container::ps;
use crate::error::{Error, Kind, OnSys, Result};
use crate::sys::{Errno, cred};

#[derive(Debug, Args)]
pub struct Ps {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Options for ps(1) [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<String>,
}

impl Ps {
    pub fn run(&self, global: &Global) -> Result<i32> {
        let pids = ps::pids(&global.find(&self.id)?)?;
        match self.format.as_str() {
            "json" => {
                // Go has no list without entries.
                let mut text = if pids.is_empty() { b"null".to_vec() } else { to_json(&pids, false)? };
                text.push(b'\n');
                print(&text)
            }
            "table" => {
                let default = ["-ef".to_owned()];
                let options = if self.options.is_empty() { &default[..] } else { &self.options };
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the caller's own ps, on the host, as with runc"
                )]
                let mut command = Command::new("ps");
                let output = match command.args(options).output() {
                    // The C library's spawn has no other way where a filter forbids clone3(2) instead of not knowing it;
                    // with ids to set it is fork(2).
                    Err(e) if e.raw_os_error() == Some(Errno::EPERM as i32) => {
                        command.uid(cred::geteuid()).output()
                    }
                    r => r,
                };
                let output = output.on("execute", "ps")?;
                if !output.status.success() {
                    // The first line says what is wrong, the others how it should have been called.
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let first = said.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
                    return Err(Error::new(Kind::Failed, format!("ps: {}: {first}", output.status)));
                }
                print(ps::filter(&String::from_utf8_lossy(&output.stdout), &pids)?.as_bytes())
            }
            _ => Err(Error::new(Kind::Usage, "invalid format option")),
        }
    }
}
