//! A v1 cpuset takes no process before it has CPUs and memory nodes, and a new one has none.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use crate::cgroup::dir::{self, Dir};
use crate::error::{OnSys, Result};
use crate::sys::fs::{self, AT_FDCWD};
use crate::sys::{self, Errno};

/// Gives the cpuset what was asked for, or what its parent has; ancestors without are filled first.
pub fn fill(cpuset: &Dir, r: Option<&LinuxResources>, fresh: bool) -> Result<()> {
    let cpu = r.and_then(|r| r.cpu().as_ref());
    let cpus = cpu.and_then(|c| c.cpus().as_deref());
    let mems = cpu.and_then(|c| c.mems().as_deref());
    for (file, asked, pointer) in [
        ("cpuset.cpus", cpus, "/linux/resources/cpu/cpus"),
        ("cpuset.mems", mems, "/linux/resources/cpu/mems"),
    ] {
        let at = || cpuset.path().join(file).display().to_string();
        if let Some(value) = asked.filter(|v| !v.is_empty()) {
            let mut done = cpuset.write(file, value);
            // A parent without any refuses, in one way or another.
            if done.is_err() && inherited(&cpuset.ancestors(), file).is_ok() {
                done = cpuset.write(file, value);
            }
            done.map_err(|e| {
                crate::error::Error::sys("set cgroup limit", format!("{} = {value:?}", at()), e)
                    .pointer(pointer)
            })?;
            continue;
        }
        if !fresh && !cpuset.read(file).on("read", at())?.is_empty() {
            continue;
        }
        let value = inherited(&cpuset.ancestors(), file).on("inherit", at())?;
        cpuset.write(file, &value).on("write", format!("{} = {value:?}", at()))?;
    }
    Ok(())
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
