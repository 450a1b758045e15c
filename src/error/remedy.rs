//! What to do about a failure: a table from operation and errno to one sentence of advice.

use crate::sys::Errno;

/// The advice for a failed `op`, where the table has any. The first row whose operation is a prefix of `op` wins.
pub fn for_failure(op: &str, errno: Option<Errno>) -> Option<&'static str> {
    let errno = errno?;
    TABLE.iter().find(|(o, e, _)| *e == errno && op.starts_with(o)).map(|(_, _, advice)| *advice)
}

const TABLE: &[(&str, Errno, &str)] = &[
    ("clone mount source", Errno::EPERM, "the runtime lacks CAP_SYS_ADMIN here"),
    ("create namespaces", Errno::ENOSPC, "raise the limit in /proc/sys/user/max_*_namespaces"),
    ("create namespaces", Errno::EPERM, "creating namespaces needs CAP_SYS_ADMIN, or a user namespace"),
    ("create namespaces", Errno::EAGAIN, "the pids limit or RLIMIT_NPROC of the caller is reached"),
    ("set rlimit", Errno::EPERM, "raising a hard limit needs CAP_SYS_RESOURCE"),
    ("set oom_score_adj", Errno::EACCES, "lowering it below the caller's own needs CAP_SYS_RESOURCE"),
];
