use std::time::Duration;

use clap::Args;

use super::{Global, quantity, to_json};
use crate::container::events::{self, Event};
use crate::error::{Error, Kind, Result};
use crate::log::Log;

#[derive(Debug, Args)]
pub struct Events {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Time between two reports
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_hyphen_values = true)]
    interval: String,
    /// One report, at once
    #[arg(long)]
    stats: bool,
}

impl Events {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let entry = global.find(&self.id)?;
        let interval = self.interval()?;
        if self.stats {
            write(&events::stats(&entry)?)?;
        } else {
            events::follow(&entry, interval, log, write)?;
        }
        Ok(0)
    }

    fn interval(&self) -> Result<Duration> {
        let negative = self.interval.strip_prefix('-');
        let interval = quantity::duration(negative.unwrap_or(&self.interval))?;
        if negative.is_some() || interval.is_zero() {
            return Err(Error::new(Kind::Usage, "duration interval must be greater than 0"));
        }
        Ok(interval)
    }
}

/// A whole line at once. False when nobody reads any more, which is no error.
fn write(event: &Event<'_>) -> Result<bool> {
    use std::io::Write;
    let mut line = to_json(event, false)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    match out.write_all(&line).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::new(Kind::Host, format!("write standard output: {e}"))),
    }
}
