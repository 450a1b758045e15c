use clap::Args;

use super::{Global, print, to_json};
use crate::container::state;
use crate::error::Result;

#[derive(Debug, Args)]
pub struct State {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl State {
    pub fn run(&self, global: &Global) -> Result<i32> {
        let state = state::state(&global.find(&self.id)?)?;
        print(&to_json(&state, true)?)
    }
}
