//! Scheduling: sched_setattr(2), ioprio_set(2), sched_setaffinity(2), set_mempolicy(2).

use super::{Errno, Result, cvt};

/// `struct sched_attr`, version 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

impl Attr {
    /// A process with a deadline cannot fork, and SCHED_FLAG_RESET_ON_FORK says what it says.
    pub fn survives_fork(&self) -> bool {
        const SCHED_DEADLINE: u32 = 6;
        const RESET_ON_FORK: u64 = 1;
        self.policy != SCHED_DEADLINE && self.flags & RESET_ON_FORK == 0
    }
}

/// sched_setattr(2) on this process.
pub fn set_attr(attr: &Attr) -> Result<()> {
    set_attr_of(0, attr)
}

/// sched_setattr(2) on a process (0: this one).
pub fn set_attr_of(pid: i32, attr: &Attr) -> Result<()> {
    let attr = Attr { size: size_of::<Attr>() as u32, ..*attr };
    // SAFETY: a struct sched_attr that carries its own size and lives across the call.
    cvt(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) }).map(|_| ())
}

/// ioprio_set(2) on this process: class 1..3, priority 0..7.
pub fn set_ioprio(class: u32, priority: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: integers.
    cvt(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, class << 13 | priority) })
        .map(|_| ())
}

/// A set of CPUs of any size: one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(Vec<u64>);

impl CpuSet {
    pub fn insert(&mut self, cpu: usize) {
        let word = cpu / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (cpu % 64);
    }

    /// All CPUs that a kernel can have; the kernel cuts the set to what there is.
    pub fn all() -> Self {
        Self(vec![u64::MAX; 8192 / 64])
    }
}

pub fn set_affinity(pid: i32, cpus: &CpuSet) -> Result<()> {
    let bytes = cpus.0.len() * 8;
    // SAFETY: a pointer to `bytes` bytes that live across the call.
    cvt(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, bytes, cpus.0.as_ptr()) }).map(|_| ())
}

/// set_mempolicy(2).
pub fn set_mempolicy(mode: u32, nodes: &CpuSet) -> Result<()> {
    let bits = nodes.0.len() * 64;
    // SAFETY: a pointer to `bits` bits that live across the call; the kernel reads maxnode - 1 of them.
    cvt(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.0.as_ptr(), bits + 1) }).map(|_| ())
}

/// A hint that another process may run: sched_yield(2).
pub fn pause(d: std::time::Duration) {
    std::thread::sleep(d);
}

/// ENOSYS as EOPNOTSUPP's cousin: what a kernel answers that was built without a feature.
pub fn is_missing(e: Errno) -> bool {
    matches!(e, Errno::ENOSYS | Errno::EOPNOTSUPP)
}
