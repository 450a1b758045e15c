//! Does this kernel know the system calls that orlop cannot do without? Asked when something has failed, never before.

use super::{Errno, Result, cvt};

/// A call, and the kernel that brought it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub name: &'static str,
    pub since: &'static str,
    ask: fn() -> Result<libc::c_long>,
}

/// Each is called in a way that does nothing: with flags that there are not. An old kernel, or a filter around us, has
/// its answer before anybody looks at them.
const NEEDED: [Call; 8] = [
    Call { name: "open_tree", since: "5.2", ask: || raw(libc::SYS_open_tree, [-1, 0, !0, 0, 0]) },
    Call { name: "move_mount", since: "5.2", ask: || raw(libc::SYS_move_mount, [-1, 0, -1, 0, !0]) },
    Call { name: "fsopen", since: "5.2", ask: || raw(libc::SYS_fsopen, [0, !0, 0, 0, 0]) },
    Call { name: "fsconfig", since: "5.2", ask: || raw(libc::SYS_fsconfig, [-1, !0, 0, 0, 0]) },
    Call { name: "fsmount", since: "5.2", ask: || raw(libc::SYS_fsmount, [-1, !0, !0, 0, 0]) },
    Call { name: "mount_setattr", since: "5.12", ask: || raw(libc::SYS_mount_setattr, [-1, 0, !0, 0, 0]) },
    Call { name: "pidfd_open", since: "5.3", ask: || raw(libc::SYS_pidfd_open, [-1, !0, 0, 0, 0]) },
    Call {
        name: "pidfd_send_signal",
        since: "5.1",
        ask: || raw(libc::SYS_pidfd_send_signal, [-1, 0, 0, !0, 0]),
    },
];

fn raw(nr: libc::c_long, a: [libc::c_long; 5]) -> Result<libc::c_long> {
    // SAFETY: null pointers where there are any, no descriptor, and flags that no kernel takes: each call is refused.
    cvt(unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4]) })
}

/// These ask for the right to mount before they look at flags: EPERM from each of them is the kernel's own.
const OF_MOUNTERS: [&str; 3] = ["move_mount", "fsopen", "fsmount"];

/// The first that answers with `why`: ENOSYS, or EPERM from a filter.
pub fn first_refused(why: Errno) -> Option<Call> {
    let refused: Vec<Call> = NEEDED.into_iter().filter(|c| (c.ask)().err() == Some(why)).collect();
    let may_not_mount = why == Errno::EPERM
        && refused.iter().filter(|c| OF_MOUNTERS.contains(&c.name)).count() == OF_MOUNTERS.len();
    refused.into_iter().find(|c| !(may_not_mount && OF_MOUNTERS.contains(&c.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_knows_them_and_none_does_anything() {
        for call in NEEDED {
            let said = (call.ask)();
            assert!(matches!(said, Err(Errno::EINVAL | Errno::EBADF | Errno::EPERM)), "{call:?}: {said:?}");
        }
        assert!(first_refused(Errno::ENOSYS).is_none());
    }
}
