use clap::Args;

use super::Global;
use crate::container::{Id, Store, delete};
use crate::error::{Error, Kind, Result, compat};
use crate::log::Log;

#[derive(Debug, Args)]
pub struct Delete {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Kill the container first if it is alive; no error if there is none
    #[arg(long, short)]
    force: bool,
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
