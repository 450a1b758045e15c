//! From here to the program: its directory, its file, its environment.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::root::Root;
use crate::error::{Error, Kind, OnSys, Result};
use crate::plan::exec::Program;
use crate::sys::{Errno, fs, mount, process};

/// Makes the working directory if it is missing, as runc does.
pub fn make_cwd(root: &Root, program: &Program) -> Result<()> {
    let path = Path::new(OsStr::from_bytes(program.cwd.as_bytes()));
    match root.make_dir(path) {
        Ok(_) => Ok(()),
        // What matters is whether it can be entered; a read-only mount or a file in the way shows then.
        Err(Errno::EROFS | Errno::EEXIST | Errno::ENOTDIR | Errno::EACCES | Errno::EPERM) => Ok(()),
        Err(e) => {
            Err(e).on("create working directory", path.display()).map_err(|e| e.pointer("/process/cwd"))
        }
    }
}

/// Enters the working directory: as the runtime's user or, where only that one may, as the program's.
/// Afterwards it must lie inside the root: a descriptor of the host that had leaked could lead out (CVE-2024-21626).
pub fn enter_cwd(program: &Program, as_user: bool, done: &mut bool) -> Result<()> {
    if !*done {
        match mount::chdir(&program.cwd) {
            Ok(()) => *done = true,
            Err(Errno::EACCES | Errno::EPERM) if !as_user => return Ok(()),
            Err(e) => {
                return Err(e)
                    .on(
                        "chdir to cwd",
                        format!("({:?}) set in config.json failed", program.cwd.to_string_lossy()),
                    )
                    .map_err(|e| e.pointer("/process/cwd"));
            }
        }
    }
    match process::getcwd() {
        Ok(cwd) if cwd.starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::ENOENT) => Err(Error::new(
            Kind::Denied,
            "current working directory is outside of container mount namespace root -- possible container breakout detected",
        )
        .pointer("/process/cwd")),
        Err(e) => Err(e).on("get", "current working directory"),
    }
}

/// The file that execve(2) gets, found as the shell would, with runc's words where it is not: Docker and Podman read
/// exit status 126 and 127 out of them.
pub fn find(program: &Program) -> Result<CString> {
    let name = program.argv.first().ok_or_else(|| Error::bug("a program without a name"))?;
    let shown = name.to_string_lossy().into_owned();
    let fail = |why: String, kind: Kind| {
        Error::new(kind, format!("exec: {shown:?}: {why}")).pointer("/process/args/0")
    };
    let text = |e: Errno| crate::error::errno_text(e);
    let kind = |e: Errno| match e {
        Errno::ENOENT | Errno::ENOTDIR => Kind::NotFound,
        Errno::EACCES | Errno::EPERM => Kind::Denied,
        _ => Kind::Failed,
    };
    if name.as_bytes().contains(&b'/') {
        return match executable(OsStr::from_bytes(name.as_bytes())) {
            Ok(()) => Ok(name.clone()),
            Err((e, true)) => Err(fail(format!("stat {shown}: {}", text(e)), kind(e))),
            Err((e, false)) => Err(fail(text(e), kind(e))),
        };
    }
    let path = program.env.iter().find_map(|e| e.as_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
    for dir in path.split(|b| *b == b':') {
        let dir = if dir.is_empty() { b".".as_slice() } else { dir };
        let file = Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(name.as_bytes()));
        match executable(file.as_os_str()) {
            Ok(()) if file.is_absolute() => {
                return CString::new(file.into_os_string().as_bytes())
                    .map_err(|_| fail(text(Errno::EINVAL), Kind::Failed));
            }
            Ok(()) => {
                let why = "cannot run executable found relative to current directory".to_owned();
                return Err(fail(why, Kind::Denied));
            }
            // As runc: a name that is nowhere executable is not found, whatever the reason.
            Err(_) => {}
        }
    }
    Err(fail("executable file not found in $PATH".into(), Kind::NotFound))
}

/// Why not, and whether stat(2) said so.
fn executable(file: &OsStr) -> std::result::Result<(), (Errno, bool)> {
    let stat = fs::stat(file).map_err(|e| (e, true))?;
    if stat.is_dir() {
        return Err((Errno::EISDIR, false));
    }
    // With the effective ids, as execve(2) will.
    fs::may_execute(file).map_err(|e| (e, false))
}

/// The environment, with HOME from the container's passwd where nobody gave one.
pub fn environment(root: &Root, program: &Program, uid: u32) -> Vec<CString> {
    let mut env = program.env.clone();
    if program.wants_home {
        let home = home_of(root, uid).unwrap_or_else(|| b"/".to_vec());
        let mut line = b"HOME=".to_vec();
        line.extend_from_slice(&home);
        env.extend(CString::new(line));
    }
    env
}

/// passwd(5), which is the image's: bounded, and only if it is a regular file. Numbers are numbers (CVE-2016-3697).
fn home_of(root: &Root, uid: u32) -> Option<Vec<u8>> {
    const CAP: usize = 4 << 20;
    let passwd = root.open(Path::new("/etc/passwd")).ok()?;
    if !fs::fstat(&passwd).ok()?.is_file() {
        return None;
    }
    let text = fs::read_all(root.open_for_reading(Path::new("/etc/passwd")).ok()?, CAP).ok()?;
    let wanted = uid.to_string();
    text.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let is_wanted = fields.nth(2)? == wanted.as_bytes();
        let home = fields.nth(2)?;
        (is_wanted && !home.is_empty()).then(|| home.to_vec())
    })
}

/// Uses as much memory as the smallest program needs beside what we do, and gives it back. What we use is mostly charged to
/// who cloned us, so that a limit which admits us may not admit a program: then the kernel kills us here, where main hears
/// of it, and not a container that counts as started.
pub fn ask_for_room() {
    /// A static program runs in 160 KiB, of which an init that waits has 70 to 90.
    const ROOM: usize = 96 << 10;
    /// As large as what the C library maps alone and gives back at once: memory that was kept until execve(2) was still
    /// charged after it, where that was another processor's to do.
    const MAPPED: usize = 256 << 10;
    let mut room: Vec<u8> = Vec::new();
    // RLIMIT_AS is the program's to be refused by.
    if room.try_reserve_exact(MAPPED).is_ok() {
        room.resize(ROOM, 1);
        std::hint::black_box(&room);
    }
}

/// execve(2). Comes back only with the reason.
pub fn replace(file: &CString, program: &Program, env: &[CString]) -> Error {
    let e = process::exec(file, &program.argv, env);
    let error = Error::sys("exec", file.to_string_lossy(), e).pointer("/process/args/0");
    match e {
        Errno::ENOEXEC => error.hint("the file is no program for this machine, or a script without #! line"),
        Errno::ENOENT => error.hint(
            "the interpreter that the program names (#! line or dynamic loader) is missing in the container",
        ),
        _ => error,
    }
}
