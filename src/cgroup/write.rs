//! Limits as data: what is to be written where, and the one loop that writes it.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::sys::{self, Errno};

use super::dir::Dir;
use super::undo;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    /// Lines of a value of several lines are written one by one.
    pub value: String,
    /// Into config.json.
    pub pointer: Cow<'static, str>,
    pub refused: Refused,
    pub missing: Missing,
}

/// What EINVAL means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Fail,
    /// The value may fit once the other one that the kernel compares it with is written: again after the
    /// controller's other writes.
    Later,
}

/// What a missing file means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Fail,
    /// An old kernel, or a feature that is off, and nothing is lost.
    Skip,
    /// The same limit under another name.
    Instead(Cow<'static, str>, String),
}

impl Write {
    pub fn new(
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        pointer: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            controller: controller.into(),
            file: file.into(),
            value: value.to_string(),
            pointer: pointer.into(),
            refused: Refused::Fail,
            missing: Missing::Fail,
        }
    }

    pub fn later_if(mut self, other_is_written: bool) -> Self {
        if other_is_written {
            self.refused = Refused::Later;
        }
        self
    }

    pub fn skip_if_missing(mut self) -> Self {
        self.missing = Missing::Skip;
        self
    }

    pub fn or(mut self, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.missing = Missing::Instead(file.into(), value.to_string());
        self
    }

    /// For the error: `memory.max = 4096`.
    pub fn shown(&self) -> String {
        format!("{} = {}", self.file, self.value)
    }
}

/// Writes all, in order; stops at the first failure. `dir_of`: the directory of a controller, or the error that says
/// why there is none.
pub fn apply<'d>(writes: &[Write], dir_of: impl Fn(&Write) -> Result<&'d Dir>) -> Result<()> {
    each(writes, dir_of, put)
}

/// As [`apply`], for a cgroup in use: all or nothing. When one is refused, those before it are taken back, the last
/// first, so that each state on the way back is one that the kernel has allowed before.
pub fn change<'d>(writes: &[Write], dir_of: impl Fn(&Write) -> Result<&'d Dir>) -> Result<()> {
    // What has no place at all is known before anything is written.
    writes.iter().try_for_each(|w| dir_of(w).map(drop))?;
    let mut done: Vec<(&'d Dir, Vec<undo::Before>)> = Vec::new();
    let put_and_remember = |dir: &'d Dir, w: &Write| {
        let before = undo::before(dir, w);
        let result = put(dir, w);
        // Of several lines the first may have been taken.
        if result.is_ok() || w.value.contains('\n') {
            done.push((dir, before));
        }
        result
    };
    each(writes, dir_of, put_and_remember).map_err(|e| undo::take_back(done, e))
}

fn each<'d>(
    writes: &[Write],
    dir_of: impl Fn(&Write) -> Result<&'d Dir>,
    mut put: impl FnMut(&'d Dir, &Write) -> Result<(), Errno>,
) -> Result<()> {
    let mut later: Vec<&Write> = Vec::new();
    for (i, w) in writes.iter().enumerate() {
        let dir = dir_of(w)?;
        match put(dir, w) {
            Err(Errno::EINVAL) if w.refused == Refused::Later => later.push(w),
            r => r.map_err(|e| explain(dir, w, e))?,
        }
        let last_of_controller = writes.get(i + 1).is_none_or(|next| next.controller != w.controller);
        if last_of_controller {
            for w in later.drain(..) {
                put(dir, w).map_err(|e| explain(dir, w, e))?;
            }
        }
    }
    Ok(())
}

fn put(dir: &Dir, w: &Write) -> Result<(), Errno> {
    let mut written = write_lines(dir, &w.file, &w.value);
    for _ in 0..HELD_MS {
        if written != Err(Errno::EBUSY) || !may_be_held(dir, w) {
            break;
        }
        sys::sched::pause(Duration::from_millis(1));
        written = write_lines(dir, &w.file, &w.value);
    }
    match (&w.missing, written) {
        (Missing::Skip, Err(Errno::ENOENT)) => Ok(()),
        (Missing::Instead(file, value), Err(Errno::ENOENT)) => write_lines(dir, file, value),
        (_, r) => r,
    }
}

/// How long processors may take to give back what they hold: mostly less than one.
const HELD_MS: usize = 50;

/// On v1 a limit is refused that is below what is used. But the kernel counts a cgroup's memory by the 64 pages, which a
/// processor holds until it has used them, and gives back a moment after it was asked to: that may be all there is too much.
fn may_be_held(dir: &Dir, w: &Write) -> bool {
    const BY_A_FEW: u64 = 1 << 20;
    let limit = w.value.parse::<u64>().ok().filter(|_| w.file == "memory.limit_in_bytes");
    let used = || dir.read_number("memory.usage_in_bytes").ok();
    limit.zip(limit.and_then(|_| used())).is_some_and(|(limit, used)| used.saturating_sub(limit) < BY_A_FEW)
}

fn write_lines(dir: &Dir, file: &str, value: &str) -> Result<(), Errno> {
    if value.contains('\n') {
        dir.write_each(file, value.split_inclusive('\n')).map_err(|(_, e)| e)
    } else {
        dir.write(file, value)
    }
}

fn explain(dir: &Dir, w: &Write, errno: Errno) -> Error {
    // The limit is below what is used already, and nothing could be reclaimed.
    if errno == Errno::EBUSY && w.file == "memory.limit_in_bytes" {
        let read = |file| dir.read_number(file).ok();
        if let (Some(usage), Some(peak)) = (read("memory.usage_in_bytes"), read("memory.max_usage_in_bytes"))
        {
            let text = format!(
                "unable to set memory limit to {} (current usage: {usage}, peak usage: {peak})",
                w.value
            );
            return Error::new(Kind::Host, text)
                .pointer(w.pointer.clone().into_owned())
                .hint("what is used already cannot be taken back: set a higher limit");
        }
    }
    let on = format!("{} = {:?}", dir.path().join(&*w.file).display(), w.value);
    let e = Error::sys("set cgroup limit", on, errno).pointer(w.pointer.clone().into_owned());
    match errno {
        Errno::ENOENT => e.hint(format!("this kernel's {} controller has no such file", w.controller)),
        Errno::EINVAL | Errno::ERANGE => {
            e.hint("the kernel takes no such value, or not with the parent cgroup's limits")
        }
        Errno::ENODEV => e.hint("there is no such device"),
        _ => e,
    }
}
