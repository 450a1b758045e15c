//! A container that lives on after `create`.

use crate::call::{self, Output};
use crate::case::Case;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

pub struct Container<'c> {
    pub id: String,
    case: &'c Case,
    out: PathBuf,
}

impl<'c> Container<'c> {
    /// `out` is the file that the payload has as stdout.
    pub fn new(case: &'c Case, id: String, out: PathBuf) -> Self {
        Container { id, case, out }
    }

    /// A verb that takes just the id, after any flags.
    pub fn verb(&self, words: &[&str]) -> Output {
        self.case.call(words).args([&self.id]).run()
    }

    #[track_caller]
    pub fn start(&self) {
        self.verb(&["start"]).ok();
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        self.verb(&["state"]).ok().json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_string()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().expect("a pid") as i32
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.case.rt(&["kill", &self.id, signal]).ok();
    }

    #[track_caller]
    pub fn delete(&self) {
        self.verb(&["delete"]).ok();
    }

    #[track_caller]
    pub fn delete_force(&self) {
        self.verb(&["delete", "--force"]).ok();
    }

    /// Waits for a status.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        let mut last = String::new();
        let came = crate::within(crate::LONG, || {
            last = self.status();
            last == status
        });
        assert!(came, "still {last}, not {status}");
    }

    /// What the payload has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let came = crate::within(crate::LONG, || self.output().contains(text));
        assert!(came, "{text:?} did not appear in: {}", self.output());
    }

    /// The first line that the payload printed, as JSON.
    #[track_caller]
    pub fn facts(&self) -> Value {
        self.wait_for("\n");
        let output = self.output();
        serde_json::from_str(output.lines().next().unwrap_or_default())
            .unwrap_or_else(|e| panic!("{e}: {output}"))
    }

    /// Promises to wait for the payload; to be called before `start`.
    pub fn adopt(&self) -> i32 {
        let pid = self.pid();
        call::adopt(pid);
        pid
    }

    /// The exit status of an adopted payload, which must be a child of ours.
    pub fn reap(&self, pid: i32) -> i32 {
        call::wait_for_adopted(pid)
    }
}
