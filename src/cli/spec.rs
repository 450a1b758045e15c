use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Kind, OnSys, Result};
use crate::spec::template;
use crate::sys::{Errno, fs};

#[derive(Debug, Args)]
pub struct Spec {
    /// Directory to write config.json to
    #[arg(long, short, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// For a container of an ordinary user
    #[arg(long)]
    rootless: bool,
}

impl Spec {
    pub fn run(&self) -> Result<i32> {
        let text = template::document(self.rootless);
        let dir = self.bundle.clone().filter(|b| !b.as_os_str().is_empty()).unwrap_or_else(|| ".".into());
        let flags = fs::OFlag::O_WRONLY | fs::OFlag::O_CREAT | fs::OFlag::O_EXCL;
        let dir = fs::open_dir(&dir).on("chdir", dir.display())?;
        let file = match fs::openat(&dir, "config.json", flags, 0o666) {
            Err(Errno::EEXIST) => {
                return Err(Error::new(Kind::Exists, "file config.json exists. Remove it first"));
            }
            r => r.on("create", "config.json")?,
        };
        fs::write_all(file, text.as_bytes()).on("write", "config.json")?;
        Ok(0)
    }
}
