use clap::Args;

use super::Global;
use crate::container::pause;
use crate::error::Result;

#[derive(Debug, Args)]
pub struct Pause {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Pause {
    pub fn run(&self, global: &Global) -> Result<i32> {
        pause::pause(&global.find(&self.id)?).map(|()| 0)
    }
}
