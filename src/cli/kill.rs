use clap::Args;

use super::Global;
use super::plain::{Plain, Slot};
use crate::container::kill;
use crate::error::{Error, Kind, Result};
use crate::sys::signal;

#[derive(Debug, Default, Args)]
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

impl Plain for Kill {
    fn silent() -> Self {
        Self { signal: "TERM".into(), ..Self::default() }
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        matches!(name, "all" | "a").then_some(Slot::Set(&mut self.all))
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        match n {
            0 => Some(Slot::Text(&mut self.id)),
            1 => Some(Slot::Text(&mut self.signal)),
            _ => None,
        }
    }
}

impl Kill {
    pub fn run(&self, global: &Global) -> Result<i32> {
        let signal = signal::parse(&self.signal).ok_or_else(|| {
            Error::new(Kind::Usage, format!("unknown signal {:?}: invalid argument", self.signal))
        })?;
        kill::kill(&global.find(&self.id)?, signal, self.all).map(|()| 0)
    }
}
