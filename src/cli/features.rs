use clap::Args;

use super::{print, to_json};
use crate::error::Result;
use crate::features;

#[derive(Debug, Args)]
pub struct Features {}

impl Features {
    pub fn run(&self) -> Result<i32> {
        let mut text = to_json(&features::document(), true)?;
        text.push(b'\n');
        print(&text)
    }
}
