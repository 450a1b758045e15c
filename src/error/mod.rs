//! The one error shape of the crate.
//!
//! An error says which operation failed on which object and why (errno), inside what (`within`, outermost
//! last), where in `config.json` the cause stands (`pointer`), and what to do about it (`hint`). It crosses the
//! process border without loss (serde), is rendered in one way for standard error and for the `msg` member of the
//! JSON log, and is logged once, by `main`.

pub mod compat;
pub mod remedy;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::Errno;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the few classes that a caller may want to tell apart (`code` in the JSON log).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command line makes no sense.
    Usage,
    /// `config.json` (or a process or resources document) is wrong.
    Spec,
    /// The host lacks something, or refuses it.
    Host,
    NotFound,
    Exists,
    /// The verb does not fit the container's status.
    WrongState,
    Denied,
    Timeout,
    /// A child died without a word.
    Died,
    /// A hook or the program failed.
    Failed,
    Unsupported,
    Bug,
}

/// Which process saw the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Main,
    Intermediate,
    Init,
    Hook,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Inner {
    kind: Kind,
    stage: Stage,
    op: Cow<'static, str>,
    on: Option<String>,
    errno: Option<i32>,
    within: Vec<Cow<'static, str>>,
    pointer: Option<String>,
    hint: Option<String>,
}

/// See the module's documentation. Boxed, so that `Result<(), Error>` is one word.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Inner>);

impl Error {
    /// An error that is a plain statement: `op` is the whole sentence, in lower case, without a full stop.
    pub fn new(kind: Kind, op: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            stage: Stage::Main,
            op: op.into(),
            on: None,
            errno: None,
            within: Vec::new(),
            pointer: None,
            hint: None,
        }))
    }

    /// A system call failed: `op` is a verb phrase ("mount", "write"), `on` the object as the user knows it.
    pub fn sys(op: impl Into<Cow<'static, str>>, on: impl Into<String>, errno: Errno) -> Self {
        let kind = match errno {
            Errno::EACCES | Errno::EPERM => Kind::Denied,
            Errno::ENOENT => Kind::NotFound,
            Errno::ENOSYS | Errno::EOPNOTSUPP => Kind::Unsupported,
            Errno::ETIMEDOUT => Kind::Timeout,
            _ => Kind::Host,
        };
        let mut e = Self::new(kind, op);
        e.0.on = Some(on.into());
        e.0.errno = Some(errno as i32);
        e
    }

    /// `config.json` is wrong at `pointer` (RFC 6901).
    pub fn spec(pointer: impl Into<String>, op: impl Into<Cow<'static, str>>) -> Self {
        let mut e = Self::new(Kind::Spec, op);
        e.0.pointer = Some(pointer.into());
        e
    }

    pub fn unsupported(op: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unsupported, op)
    }

    /// A broken promise of our own code: never the user's fault.
    pub fn bug(op: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Bug, op)
    }

    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    pub fn at_stage(mut self, stage: Stage) -> Self {
        self.0.stage = stage;
        self
    }

    /// What this happened in the course of; called on the way up, innermost first.
    pub fn within(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.within.push(what.into());
        self
    }

    /// Where in `config.json` the cause stands; the innermost answer is kept.
    pub fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer.get_or_insert_with(|| pointer.into());
        self
    }

    /// For documents that are not `config.json`.
    pub fn without_pointer(mut self) -> Self {
        self.0.pointer = None;
        self
    }

    /// One sentence of advice; the innermost is kept.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Another failure of the same undertaking, which must be told too.
    pub fn and(mut self, other: &Self) -> Self {
        let before = self.0.hint.take().map(|h| h + "; ").unwrap_or_default();
        self.0.hint = Some(format!("{before}also: {other}"));
        self
    }

    /// The reason behind it all, in the place of any advice.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.hint = Some(reason.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    pub fn errno(&self) -> Option<Errno> {
        self.0.errno.map(Errno::from_raw)
    }

    /// The object of the failed operation, as the user knows it.
    pub fn object(&self) -> Option<&str> {
        self.0.on.as_deref()
    }

    /// The members that the JSON log line carries beside `level`, `msg` and `time`.
    pub fn facts(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut m = serde_json::Map::new();
        let mut put = |k: &str, v: Option<String>| {
            if let Some(v) = v {
                m.insert(k.to_owned(), Cut(&v).to_string().into());
            }
        };
        let name = |v: serde_json::Result<String>| v.ok().map(|v| v.trim_matches('"').to_owned());
        put("code", name(serde_json::to_string(&self.0.kind)));
        put("phase", name(serde_json::to_string(&self.0.stage)));
        put("pointer", self.0.pointer.clone());
        put("path", self.0.on.clone());
        put("errno", self.errno().map(|e| format!("{e:?}")));
        put("hint", self.advice());
        m
    }

    fn advice(&self) -> Option<String> {
        self.0.hint.clone().or_else(|| remedy::for_failure(&self.0.op, self.errno()).map(str::to_owned))
    }
}

/// The errno's text as runc's clients know it: Go prints the C library's words in lower case. Not nix's words, which
/// are others here and there.
pub fn errno_text(errno: Errno) -> String {
    let s = std::io::Error::from_raw_os_error(errno as i32).to_string();
    // The standard library adds the number.
    let s = s.split(" (os error").next().unwrap_or_default();
    let mut c = s.chars();
    match c.next() {
        Some(first) if c.clone().next().is_some_and(|n| n.is_lowercase() || n == ' ') => {
            first.to_lowercase().chain(c).collect()
        }
        _ => s.to_owned(),
    }
}

/// Names of files and keys come from others: what they hold must not begin a line of its own in a log, or speak to a
/// terminal.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut rest = s;
        while let Some(at) = rest.find(char::is_control) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let (e, f) = (&self.0, &mut OneLine(f));
        for w in e.within.iter().rev() {
            write!(f, "{}: ", Cut(w))?;
        }
        write!(f, "{}", Cut(&e.op))?;
        if let Some(on) = &e.on {
            write!(f, " {}", Cut(on))?;
        }
        if let Some(errno) = self.errno() {
            write!(f, ": {}", errno_text(errno))?;
        }
        if let Some(p) = &e.pointer {
            write!(f, " (config.json: {})", Cut(if p.is_empty() { "/" } else { p }))?;
        }
        if let Some(h) = self.advice() {
            write!(f, " (hint: {h})")?;
        }
        Ok(())
    }
}

/// A line is to be read: megabytes of a configuration that is quoted in it are left out in the middle.
struct Cut<'a>(&'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: usize = 2048;
        const TAIL: usize = 512;
        let text = self.0;
        if text.len() <= HEAD + TAIL {
            return f.write_str(text);
        }
        let whole = |at: &usize| text.is_char_boundary(*at);
        let head = (0..=HEAD).rev().find(whole).unwrap_or(0);
        let tail = (text.len() - TAIL..text.len()).find(whole).unwrap_or(text.len());
        write!(f, "{}[...]{}", text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Adds context on the way up.
pub trait Context<T> {
    fn within(self, what: impl Into<Cow<'static, str>>) -> Result<T>;
    fn within_with<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T>;
    fn pointer(self, pointer: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn within(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| e.within(what))
    }

    fn within_with<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.within(what()))
    }

    fn pointer(self, pointer: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.pointer(pointer()))
    }
}

/// Gives a system call's errno its operation and object.
pub trait OnSys<T> {
    /// `op`: a verb phrase; `on`: the object as the user knows it.
    fn on(self, op: &'static str, on: impl fmt::Display) -> Result<T>;
}

impl<T> OnSys<T> for std::result::Result<T, Errno> {
    fn on(self, op: &'static str, on: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::sys(op, on.to_string(), e))
    }
}

impl<T> OnSys<T> for std::io::Result<T> {
    fn on(self, op: &'static str, on: impl fmt::Display) -> Result<T> {
        self.map_err(|e| match e.raw_os_error() {
            Some(n) => Error::sys(op, on.to_string(), Errno::from_raw(n)),
            None => Error::new(Kind::Host, format!("{op} {on}: {e}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_context_pointer_and_errno_in_gos_words() {
        let e = Error::sys("mount", "/proc", Errno::EPERM)
            .within("mounts[3]")
            .within("create web-1")
            .pointer("/mounts/3");
        assert!(e.to_string().starts_with("create web-1: mounts[3]: mount /proc: operation not permitted"));
        assert!(e.to_string().contains("(config.json: /mounts/3)"));
    }

    #[test]
    fn the_texts_of_errno_are_the_c_librarys() {
        for (errno, text) in [
            (Errno::E2BIG, "argument list too long"),
            (Errno::EAGAIN, "resource temporarily unavailable"),
            (Errno::EIO, "input/output error"),
            (Errno::ELOOP, "too many levels of symbolic links"),
            (Errno::ENOTTY, "inappropriate ioctl for device"),
            (Errno::ERANGE, "numerical result out of range"),
            (Errno::EREMOTEIO, "remote I/O error"),
            (Errno::EXDEV, "invalid cross-device link"),
        ] {
            assert_eq!(errno_text(errno), text);
        }
    }

    #[test]
    fn what_nobody_could_read_is_left_out() {
        let e = Error::new(Kind::Spec, "ü".repeat(1 << 20))
            .pointer("/x".repeat(1 << 20))
            .within("y".repeat(3000));
        let text = e.to_string();
        assert!(text.len() < 9000 && text.matches("[...]").count() == 3, "{}", text.len());
        assert!(text.starts_with('y') && text.ends_with("/x)"));
    }

    #[test]
    fn what_others_wrote_begins_no_line_and_speaks_to_no_terminal() {
        let e =
            Error::sys("open", "/a\nb\x1b[2Jü", Errno::ENOENT).pointer("/annotations/x\r").within("\u{9b}");
        let want = r"\u{9b}: open /a\nb\u{1b}[2Jü: no such file or directory (config.json: /annotations/x\r)";
        assert!(e.to_string().starts_with(want), "{e}");
    }

    #[test]
    fn crosses_the_process_border_without_loss() {
        let e = Error::sys("open", "/x", Errno::ENOENT).within("a").hint("make it").at_stage(Stage::Init);
        let wire = serde_json::to_string(&e).unwrap_or_default();
        let back: Result<Error, _> = serde_json::from_str(&wire);
        assert_eq!(back.map(|b| b.to_string()).unwrap_or_default(), e.to_string());
    }
}
