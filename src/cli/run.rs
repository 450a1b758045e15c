use clap::Args;

use super::Global;
use super::create::Common;
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

impl Run {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let (id, request) = self.common.request(global, false, !self.detach)?;
        let foreground =
            (!self.detach).then_some(Foreground { keep: self.keep, subreaper: !self.no_subreaper });
        run::run(&global.store_to_make()?, &id, request, foreground, log)
    }
}
