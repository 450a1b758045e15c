use std::process::Command;

use clap::Args;

use super::{Global, print, to_json};
use crate::container::ps;
use crate::error::{Error, Kind, OnSys, Result};

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
                let output = Command::new("ps").args(options).output().on("execute", "ps")?;
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
