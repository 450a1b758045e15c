use clap::Args;

use super::Global;
use crate::container::kill;
use crate::error::{Error, Kind, Result};
use crate::sys::signal;

#[derive(Debug, Args)]
pub struct Kill {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Signal by name or number
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    signal: String,
    /// Signal every process of the container
    #[arg(long, short)]
    all: bool,
}

impl Kill {
    pub fn run(&self, global: &Global) -> Result<i32> {
        let signal = signal::parse(&self.signal).ok_or_else(|| {
            Error::new(Kind::Usage, format!("unknown signal {:?}: invalid argument", self.signal))
        })?;
        kill::kill(&global.find(&self.id)?, signal, self.all).map(|()| 0)
    }
}
