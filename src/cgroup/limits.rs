//! Limits of a cgroup, set and changed; what of them both versions write alike.

use oci_spec::runtime::LinuxResources;

use crate::error::{Error, Kind, Result};
use crate::sys::Errno;

use super::{Cgroup, DeviceRules, Dir, Tree, systemd, v1, v2, write};

impl Cgroup {
    /// Sets all that is asked for, but the devices; what is not is left as it is.
    pub fn apply(&self, r: &LinuxResources) -> Result<()> {
        if let Some(driver) = &self.driver {
            let r = &systemd::property::rounded(r);
            // What is wrong is told by what says it best.
            self.check(r)?;
            driver.set(r, self.is_v2())?;
            return self.write(r);
        }
        self.write(r)
    }

    fn write(&self, r: &LinuxResources) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.apply(r),
            Tree::V2(t) => t.apply(r),
            Tree::None => Ok(()),
        }
    }

    /// What no write could say: before systemd is told of it.
    fn check(&self, r: &LinuxResources) -> Result<()> {
        if self.is_v2() { v2::writes(r).map(drop) } else { v1::writes(r).map(drop) }
    }

    /// As [`Cgroup::apply`], on a cgroup in use: should one limit be refused, those set before it are taken back.
    pub fn update(&self, r: &LinuxResources) -> Result<()> {
        if let Some(driver) = &self.driver {
            let r = &systemd::property::rounded(r);
            // The files first: they refuse what the kernel refuses, and are taken back then. systemd writes the same.
            self.change(r)?;
            driver.set(r, self.is_v2())?;
            // It writes whole controllers, and for some values an approximation.
            return self.write(r);
        }
        self.change(r)
    }

    fn change(&self, r: &LinuxResources) -> Result<()> {
        match &self.tree {
            Tree::V1(h) => h.update(r),
            Tree::V2(t) => t.update(r),
            Tree::None => Err(Error::new(
                Kind::Host,
                "the container has no cgroup, so there is nothing to set limits on",
            )),
        }
    }

    pub fn apply_devices(&self, rules: &DeviceRules) -> Result<()> {
        if let Some(driver) = &self.driver {
            driver.set_devices(rules)?;
        }
        let done = match &self.tree {
            Tree::V1(h) => h.apply_devices(rules),
            Tree::V2(t) => t.apply_devices(rules),
            Tree::None => Ok(()),
        };
        match done {
            // As runc: without rights over them there are none over devices either, in a user namespace.
            Err(e) if matches!(e.errno(), Some(Errno::EPERM | Errno::EACCES)) && self.rootless.holds() => {
                Ok(())
            }
            done => done,
        }
    }

    /// What is asked for and has no meaning on this layout, or for this kernel: for a warning.
    pub fn without_meaning(&self, r: &LinuxResources) -> Vec<&'static str> {
        let has = |dir: Option<&Dir>, file: &str| dir.is_none_or(|d| d.read(file).is_ok());
        let (cpu, io) = (r.cpu().as_ref(), r.block_io().as_ref());
        match &self.tree {
            Tree::V1(h) => {
                let mut all = v1::without_meaning(r);
                if cpu.is_some_and(|c| c.burst().is_some()) && !has(h.dir("cpu"), "cpu.cfs_burst_us") {
                    all.push("cpu.burst");
                }
                all
            }
            Tree::V2(t) => {
                let mut all = v2::without_meaning(r);
                let weights = io.and_then(|io| io.weight_device().as_ref()).is_some_and(|w| !w.is_empty());
                if weights && !has(t.dir(), "io.bfq.weight") {
                    all.push("blockIO.weightDevice");
                }
                all
            }
            Tree::None => Vec::new(),
        }
    }
}

/// `pids.max`. 0 cannot be told from 1 with systemd (`TasksMax`), so it is 1 here too; below: no limit.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".into(),
        0 => "1".into(),
        n => n.to_string(),
    }
}

/// A page size becomes part of a file name.
pub(super) fn check_page_size(size: &str, pointer: &str) -> Result<()> {
    if !size.is_empty() && size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::spec(format!("{pointer}/pageSize"), format!("invalid huge page size {size:?}: want e.g. 2MB")))
}

pub(super) fn rdma(r: &LinuxResources) -> Vec<write::Write> {
    let mut devices: Vec<_> = r.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    let one = |(name, limit): (&String, &oci_spec::runtime::LinuxRdma)| {
        let part = |key: &str, v: Option<u32>| v.map_or_else(String::new, |v| format!(" {key}={v}"));
        let value = format!(
            "{name}{}{}",
            part("hca_handle", limit.hca_handles()),
            part("hca_object", limit.hca_objects())
        );
        write::Write::new("rdma", "rdma.max", value, format!("/linux/resources/rdma/{name}"))
    };
    devices.into_iter().map(one).collect()
}
