use clap::Args;

use super::Global;
use super::plain::{Plain, Slot};
use crate::container::start;
use crate::error::Result;
use crate::log::Log;

#[derive(Debug, Default, Args)]
pub struct Start {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Plain for Start {
    fn silent() -> Self {
        Self::default()
    }

    fn flag(&mut self, _: &str) -> Option<Slot<'_>> {
        None
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        (n == 0).then_some(Slot::Text(&mut self.id))
    }
}

impl Start {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        start::start(&global.find(&self.id)?, log).map(|()| 0)
    }
}
