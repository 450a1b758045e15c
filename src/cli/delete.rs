use clap::Args;

use super::Global;
use super::plain::{Plain, Slot};
use crate::container::{Id, Store, delete};
use crate::error::{Error, Kind, Result, compat};
use crate::log::Log;

#[derive(Debug, Default, Args)]
pub struct Delete {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Kill the container first if it is alive; no error if there is none
    #[arg(long, short)]
    force: bool,
}

impl Plain for Delete {
    fn silent() -> Self {
        Self::default()
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        matches!(name, "force" | "f").then_some(Slot::Set(&mut self.force))
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        (n == 0).then_some(Slot::Text(&mut self.id))
    }
}

impl Delete {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let id = Id::parse(&self.id)?;
        match Store::open_existing(&global.root())? {
            Some(store) => delete::delete(&store, &id, self.force, log).map(|()| 0),
            None if self.force => Ok(0),
            None => Err(Error::new(Kind::NotFound, compat::DOES_NOT_EXIST)),
        }
    }
}
