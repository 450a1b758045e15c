use clap::Args;

use super::plain::{Plain, Slot};
use super::{Global, print, to_json};
use crate::container::state;
use crate::error::Result;

#[derive(Debug, Default, Args)]
pub struct State {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Plain for State {
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

impl State {
    pub fn run(&self, global: &Global) -> Result<i32> {
        let state = state::state(&global.find(&self.id)?)?;
        print(&to_json(&state, true)?)
    }
}
