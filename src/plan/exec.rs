//! The program: what is executed, where, with which environment.

use std::ffi::CString;

use oci_spec::runtime::Process;

use crate::error::{Error, OnSys, Result};
use crate::sys::fs;

pub struct Program {
    pub argv: Vec<CString>,
    /// Without doubles: the last of a name wins, at the place of the first, as in runc.
    pub env: Vec<CString>,
    /// Absolute.
    pub cwd: CString,
    /// HOME is missing: init finds it in the container's passwd.
    pub wants_home: bool,
}

impl Program {
    /// For a container without a process: it ends as soon as it starts.
    pub fn none() -> Self {
        Self { argv: Vec::new(), env: Vec::new(), cwd: c"/".to_owned(), wants_home: false }
    }

    pub fn is_none(&self) -> bool {
        self.argv.is_empty()
    }
}

pub fn build(process: &Process) -> Result<Program> {
    let c = |s: &str, pointer: String| {
        CString::new(s).map_err(|_| Error::spec(pointer, format!("{s:?} holds a NUL byte")))
    };
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(Error::spec("/process/args", "args must not be empty"));
    }
    let argv =
        args.iter().enumerate().map(|(i, a)| c(a, format!("/process/args/{i}"))).collect::<Result<_>>()?;
    let mut env: Vec<(&str, &str, usize)> = Vec::new();
    for (i, e) in process.env().as_deref().unwrap_or_default().iter().enumerate() {
        let name = match e.split_once('=') {
            Some((name, _)) if !name.is_empty() => name,
            Some(_) => {
                return Err(Error::spec(
                    format!("/process/env/{i}"),
                    format!("environment variable {e:?} has no name"),
                ));
            }
            None => {
                return Err(Error::spec(
                    format!("/process/env/{i}"),
                    format!("environment variable {e:?} is not of the form NAME=value"),
                ));
            }
        };
        match env.iter_mut().find(|(n, ..)| *n == name) {
            Some(old) => *old = (name, e, i),
            None => env.push((name, e, i)),
        }
    }
    let wants_home = !env.iter().any(|(n, e, _)| *n == "HOME" && e.len() > "HOME=".len());
    if wants_home {
        env.retain(|(n, ..)| *n != "HOME");
    }
    let env = env.into_iter().map(|(_, e, i)| c(e, format!("/process/env/{i}"))).collect::<Result<_>>()?;
    let cwd = process.cwd().to_string_lossy().into_owned();
    Ok(Program { argv, env, cwd: c(&cwd, "/process/cwd".into())?, wants_home })
}

/// `pid`: a directory of /proc.
pub fn set_oom_score_adj(pid: impl std::fmt::Display, adj: i32) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    let write = || fs::write_once(fs::open(&path, fs::OFlag::O_WRONLY)?, adj.to_string().as_bytes());
    write().on("set oom_score_adj", adj).map_err(|e| e.pointer("/process/oomScoreAdj"))
}
