//! What main made while we made our namespaces.

use std::os::fd::OwnedFd;

use super::join;
use crate::error::{Context, Error, OnSys, Result};
use crate::handshake::Sent;
use crate::plan::beside::Promise;
use crate::plan::join::Door;
use crate::plan::mounts::{HierarchySource, MountStep, What};
use crate::sys::ns;

/// While main makes our cgroups.
pub fn make_namespaces(promise: &Promise) -> Result<()> {
    ns::unshare(promise.namespaces).on("create namespaces", "for the container's init")
}

/// Enters the cgroups, and puts the clones of them where they are mounted from.
pub fn take(promise: Promise, sent: Sent, mounts: &mut [MountStep]) -> Result<()> {
    let mut rest = Rest { there: sent.there.into_iter(), fds: sent.fds.into_iter() };
    for step in mounts {
        if let What::CgroupV1 { hierarchies, .. } = &mut step.what {
            for mut h in std::mem::take(hierarchies) {
                if matches!(h.source, HierarchySource::Promised(..)) {
                    let Some(tree) = rest.next()? else { continue };
                    h.source = HierarchySource::Dressed(tree);
                }
                hierarchies.push(h);
            }
        }
    }
    let mut doors = Vec::with_capacity(promise.doors.len());
    for (path, optional) in promise.doors {
        doors.extend(rest.next()?.map(|fd| Door { fd, path, optional }));
    }
    join::pass(&doors).within("unable to apply cgroup configuration")
}

struct Rest {
    there: std::vec::IntoIter<bool>,
    fds: std::vec::IntoIter<OwnedFd>,
}

impl Rest {
    fn next(&mut self) -> Result<Option<OwnedFd>> {
        match self.there.next() {
            None => Err(Error::bug("less was sent than was promised")),
            Some(false) => Ok(None),
            // The kernel leaves out for what there is no number.
            Some(true) => self.fds.next().map(Some).ok_or_else(|| {
                Error::sys("receive", "descriptors of the cgroups", crate::sys::Errno::EMFILE)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_from_what_did_not_arrive() {
        let (fd, _) = crate::sys::socket::pair().unwrap();
        let mut rest = Rest { there: vec![false, true, true].into_iter(), fds: vec![fd].into_iter() };
        assert!(rest.next().unwrap().is_none());
        assert!(rest.next().unwrap().is_some());
        assert_eq!(rest.next().unwrap_err().errno(), Some(crate::sys::Errno::EMFILE));
        assert!(rest.next().unwrap_err().to_string().contains("promised"));
    }
}
