//! `--log FILE`: one line an event, text or JSON, appended. Errors go there once, from `main`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, OnSys, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Where events go. Without a file, warnings and debug lines go to standard error only when `debug` was asked for:
/// clients parse both streams of several verbs together.
pub struct Log {
    file: Option<std::fs::File>,
    format: Format,
    level: Level,
}

impl Log {
    /// Opens `file` for appending, so that several writers share it, and readers of a partly written line cannot be.
    pub fn open(file: Option<&Path>, format: Format, level: Level) -> Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a file of the host, named by the user, and only appended to"
        )]
        let open = |path: &Path| {
            // Not blocking: somebody else's FIFO must not hold us.
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .custom_flags(nix_free::NONBLOCK)
                .open(path)
                .on("open log", path.display())
        };
        let file = match file {
            Some(p) if !p.as_os_str().is_empty() => Some(open(p)?),
            _ => None,
        };
        Ok(Self { file, format, level })
    }

    /// A log that keeps nothing.
    pub fn none() -> Self {
        Self { file: None, format: Format::Text, level: Level::Error }
    }

    /// Errors go to standard error in the log's own form.
    pub fn is_stderr(&self) -> bool {
        self.file.is_none() && self.format == Format::Json
    }

    pub fn error(&self, e: &Error) {
        self.write(Level::Error, &e.to_string(), e.facts());
    }

    pub fn warn(&self, text: &str) {
        self.write(Level::Warning, text, Map::new());
    }

    pub fn debug(&self, text: &str) {
        self.write(Level::Debug, text, Map::new());
    }

    fn write(&self, level: Level, msg: &str, facts: Map<String, Value>) {
        if level > self.level {
            return;
        }
        let line = self.line(level, msg, facts);
        // A log that cannot be written must not stop a container.
        let _ = match &self.file {
            Some(f) => (&*f).write_all(line.as_bytes()),
            None if self.is_stderr() && level == Level::Error => std::io::stderr().write_all(line.as_bytes()),
            None if self.level >= Level::Debug && level != Level::Error => {
                std::io::stderr().write_all(line.as_bytes())
            }
            None => Ok(()),
        };
    }

    fn line(&self, level: Level, msg: &str, mut facts: Map<String, Value>) -> String {
        let time = now();
        match self.format {
            Format::Json => {
                facts.insert("level".into(), level.name().into());
                facts.insert("msg".into(), msg.into());
                facts.insert("time".into(), time.into());
                format!("{}\n", Value::Object(facts))
            }
            Format::Text => {
                format!("time=\"{time}\" level={} msg={}\n", level.name(), Value::from(msg))
            }
        }
    }
}

mod nix_free {
    /// O_NONBLOCK has one value on all architectures that we build for but MIPS, SPARC and Alpha.
    pub const NONBLOCK: i32 = 0o4000;
}

/// The time now, RFC 3339 with seconds, UTC.
pub fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (date, _) = civil(now.as_secs());
    format!("{date}Z")
}

/// The time now, RFC 3339 with nanoseconds as Go writes it (no zeroes at the end), UTC.
pub fn now_nanos() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (date, _) = civil(now.as_secs());
    let fraction = format!("{:09}", now.subsec_nanos());
    match fraction.trim_end_matches('0') {
        "" => format!("{date}Z"),
        f => format!("{date}.{f}Z"),
    }
}

/// Seconds since 1970 as `YYYY-MM-DDTHH:MM:SS`, and the year. Howard Hinnant's days-to-civil.
fn civil(secs: u64) -> (String, i64) {
    let (days, rest) = ((secs / 86_400) as i64, secs % 86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60), year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(civil(0).0, "1970-01-01T00:00:00");
        assert_eq!(civil(951_827_696).0, "2000-02-29T12:34:56");
        assert_eq!(civil(1_795_262_399).0, "2026-11-21T11:59:59");
    }
}
