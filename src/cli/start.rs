use clap::Args;

use super::Global;
use crate::container::start;
use crate::error::Result;
use crate::log::Log;

#[derive(Debug, Args)]
pub struct Start {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Start {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        start::start(&global.find(&self.id)?, log).map(|()| 0)
    }
}
