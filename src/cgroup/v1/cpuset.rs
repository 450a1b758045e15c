//! A v1 cpuset takes no process before it has CPUs and memory nodes, and a new one has none.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use crate::cgroup::dir::{self, Dir};
use crate::error::{Error, OnSys, Result};
use crate::sys::fs::{self, AT_FDCWD};
use crate::sys::{self, Errno};

/// Gives the cpuset what was asked for, or what its parent has; ancestors without are filled first.
pub fn fill(cpuset: &Dir, r: Option<&LinuxResources>, fresh: bool) -> Result<()> {
    let cpu = r.and_then(|r| r.cpu().as_ref());
    let cpus = cpu.and_then(|c| c.cpus().as_deref());
    let mems = cpu.and_then(|c| c.mems().as_deref());
    fill_one(cpuset, "cpuset.cpus", cpus, "/linux/resources/cpu/cpus", fresh)?;
    fill_one(cpuset, "cpuset.mems", mems, "/linux/resources/cpu/mems", fresh)
}

/// The names of a hierarchy that is mounted with `noprefix`, as Android does: cgroup_add_file() in kernel/cgroup.
pub fn unprefixed(file: &str) -> &str {
    file.strip_prefix("cpuset.").unwrap_or(file)
}

fn fill_one(
    cpuset: &Dir,
    file: &'static str,
    asked: Option<&str>,
    pointer: &'static str,
    fresh: bool,
) -> Result<()> {
    let short = unprefixed(file);
    match fill_file(cpuset, file, asked, pointer, fresh) {
        Err(e) if e.errno() == Some(Errno::ENOENT) && cpuset.read(short).is_ok() => {
            fill_file(cpuset, short, asked, pointer, fresh)
        }
        r => r,
    }
}

fn fill_file(
    cpuset: &Dir,
    file: &'static str,
    asked: Option<&str>,
    pointer: &'static str,
    fresh: bool,
) -> Result<()> {
    let at = || cpuset.path().join(file).display().to_string();
    if let Some(value) = asked.filter(|v| !v.is_empty()) {
        let mut done = cpuset.write(file, value);
        // A parent without any refuses, in one way or another.
        if done.is_err() && inherited(&cpuset.ancestors(), file).is_ok() {
            done = cpuset.write(file, value);
        }
        return done.map_err(|e| refused(cpuset, file, value, e).pointer(pointer));
    }
    if !fresh && !cpuset.read(file).on("read", at())?.is_empty() {
        return Ok(());
    }
    let value = inherited(&cpuset.ancestors(), file).on("inherit", at())?;
    cpuset.write(file, &value).on("write", format!("{} = {value:?}", at()))
}

fn refused(cpuset: &Dir, file: &str, value: &str, errno: Errno) -> Error {
    let on = format!("{} = {value:?}", cpuset.path().join(file).display());
    let e = Error::sys("set cgroup limit", on, errno);
    // EINVAL: no such list; EACCES, ERANGE: not a part of the parent's: validate_change() in kernel/cgroup.
    match cpuset.ancestors().last().and_then(|p| fs::read_value_at(AT_FDCWD, p.join(file)).ok()) {
        Some(all) => {
            e.hint(format!("it must be a list such as 0-2,7 and within the parent's, which is {all:?}"))
        }
        None => e,
    }
}

/// What the last of these directories, each the parent of the next, has in `file`; from above where it has nothing.
fn inherited(chain: &[impl AsRef<Path>], file: &str) -> sys::Result<String> {
    let (last, above) = chain.split_last().ok_or(Errno::ENODEV)?;
    let value = fs::read_value_at(AT_FDCWD, last.as_ref().join(file))?;
    if !value.is_empty() {
        return Ok(value);
    }
    let value = inherited(above, file)?;
    dir::write_at(AT_FDCWD, last.as_ref().join(file), &value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain files will do for the names.
    #[test]
    fn a_hierarchy_without_prefixes() {
        let top = std::env::temp_dir().join(format!("orlop-noprefix-{}", std::process::id()));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        let write = |file: &str, text: &str| std::fs::write(top.join(file), text).unwrap();
        for dir in ["a", "a/b"] {
            write(&format!("{dir}/cpus"), "");
            write(&format!("{dir}/mems"), "");
        }
        write("cpus", "0-3\n");
        write("mems", "0\n");
        let cpuset = Dir::new(top.clone(), "a/b".into());
        let r: LinuxResources = serde_json::from_str(r#"{"cpu":{"cpus":"1"}}"#).unwrap();
        let filled = fill(&cpuset, Some(&r), true);
        let read = |file: &str| std::fs::read_to_string(top.join(file)).unwrap();
        let values = (read("a/b/cpus"), read("a/b/mems"), read("a/mems"));
        std::fs::remove_dir_all(&top).unwrap();
        filled.unwrap();
        assert_eq!(values, ("1".into(), "0".into(), "0".into()));
    }
}
