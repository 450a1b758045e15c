use clap::Args;

use super::Global;
use super::create::Common;
use super::plain::{Plain, Slot};
use crate::container::run::{self, Foreground};
use crate::error::Result;
use crate::log::Log;

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    common: Common,
    /// Leave the container to itself once it runs
    #[arg(long, short)]
    detach: bool,
    /// Do not delete the container when it ends
    #[arg(long)]
    keep: bool,
    /// Do not adopt processes that the container leaves behind
    #[arg(long)]
    no_subreaper: bool,
}

impl Plain for Run {
    fn silent() -> Self {
        Self { common: Common::silent(), detach: false, keep: false, no_subreaper: false }
    }

    fn flag(&mut self, name: &str) -> Option<Slot<'_>> {
        match name {
            "detach" | "d" => Some(Slot::Set(&mut self.detach)),
            "keep" => Some(Slot::Set(&mut self.keep)),
            "no-subreaper" => Some(Slot::Set(&mut self.no_subreaper)),
            _ => self.common.flag(name),
        }
    }

    fn word(&mut self, n: usize) -> Option<Slot<'_>> {
        self.common.word(n)
    }
}

impl Run {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let (id, request) = self.common.request(global, false, !self.detach)?;
        let foreground =
            (!self.detach).then_some(Foreground { keep: self.keep, subreaper: !self.no_subreaper });
        run::run(&global.store_to_make()?, &id, request, foreground, log)
    }
}
