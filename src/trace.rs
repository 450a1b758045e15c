//! `--trace FILE`: when each step of main, the intermediate process and init began and how long it took.
//!
//! The file is a list of trace events as Perfetto and chrome://tracing open them, one a line, times in microseconds of
//! CLOCK_MONOTONIC. It is appended to, so that several verbs of one container can share it; such a list needs no end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::error::{OnSys, Result};
use crate::sys::{process, trace};

/// A line of the picture.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    Main,
    Intermediate,
    Init,
}

const ROLES: [&str; 3] = ["main", "intermediate", "init"];

/// Times what happens until it is dropped. Costs one load from memory when nobody asked.
#[must_use = "it times what happens until it is dropped"]
pub struct Span(Option<usize>);

pub fn span(name: &str) -> Span {
    if trace::is_on() { Span(trace::begin(name, trace::now())) } else { Span(None) }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            trace::end(slot);
        }
    }
}

/// As what a process that was just cloned is known from here on.
pub fn role(role: Role) {
    trace::set_role(role as u8);
}

/// A trace that is written when the verb is done.
pub struct Trace {
    file: std::fs::File,
    title: String,
}

impl Trace {
    /// `begun`: when the program started, by [`now`].
    pub fn start(path: &Path, title: String, begun: u64) -> Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a file of the host, named by the user, and only appended to"
        )]
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .on("open trace", path.display())?;
        trace::start().on("map memory for", "the trace")?;
        if let Some(slot) = trace::begin("read the command line", begun) {
            trace::end(slot);
        }
        Ok(Self { file, title })
    }

    /// What cannot be written is lost: a trace must not change how a verb ends.
    pub fn finish(mut self) {
        let is_new = self.file.metadata().is_ok_and(|m| m.len() == 0);
        let pid = process::getpid();
        let mut text = String::from(if is_new { "[\n" } else { "" });
        let mut line = |event: serde_json::Value| {
            let _ = writeln!(text, "{event},");
        };
        line(json!({ "ph": "M", "name": "process_name", "pid": pid, "args": { "name": self.title } }));
        for (tid, name) in ROLES.iter().enumerate() {
            line(
                json!({ "ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": { "name": name } }),
            );
        }
        for slot in trace::slots() {
            let begin = slot.begin as f64 / 1e3;
            let mut event =
                json!({ "ph": "B", "name": slot.name(), "pid": pid, "tid": slot.role, "ts": begin });
            // One that has no end is execve(2), or where a child died.
            if slot.end >= slot.begin {
                event["ph"] = "X".into();
                event["dur"] = (slot.end.saturating_sub(slot.begin) as f64 / 1e3).into();
            }
            line(event);
        }
        let _ = self.file.write_all(text.as_bytes());
    }
}

pub use trace::now;
