//! eBPF programs on cgroups: bpf(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, cvt};

/// `struct bpf_insn`, packed: opcode, registers, offset, immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Insn(pub u64);

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

fn bpf<T>(cmd: u32, attr: &mut T) -> Result<libc::c_long> {
    // SAFETY: `attr` is the plain C struct of `cmd`, writable, with its own size; pointers in it are the callers' to
    // answer for, and live across the call.
    cvt(unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(attr), size_of::<T>()) })
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: every caller passes a fresh close-on-exec descriptor that bpf(2) has just returned.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE.
pub fn load_device_program(code: &[Insn]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
    }
    let mut attr = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(code.len()).map_err(|_| Errno::E2BIG)?,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    // A verifier that was interrupted by a signal asks to be called again.
    let mut tries = 0;
    loop {
        match bpf(PROG_LOAD, &mut attr) {
            Err(Errno::EAGAIN) if tries < 5 => tries += 1,
            r => return r.map(owned),
        }
    }
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// Attaches to a cgroup beside others, or in the place of one, without a moment in between.
pub fn attach_device_program(
    cgroup: impl AsFd,
    program: impl AsFd,
    instead: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_bpf_fd: program.as_fd().as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if instead.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: instead.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(PROG_ATTACH, &mut attr).map(|_| ())
}

pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_bpf_fd: program.as_fd().as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    bpf(PROG_DETACH, &mut attr).map(|_| ())
}

/// The device programs that are attached to a cgroup itself (not to those above it). One that is not ours to open is
/// left out: it was put there by somebody with more rights.
pub fn device_programs(cgroup: impl AsFd) -> Result<Vec<OwnedFd>> {
    #[repr(C)]
    struct Query {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
    }
    let mut ids = [0u32; 64];
    let mut attr = Query {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
    };
    bpf(PROG_QUERY, &mut attr)?;
    let mut programs = Vec::new();
    for id in &ids[..(attr.prog_cnt as usize).min(ids.len())] {
        #[repr(C)]
        struct ById {
            id: u32,
            next_id: u32,
            open_flags: u32,
        }
        match bpf(PROG_GET_FD_BY_ID, &mut ById { id: *id, next_id: 0, open_flags: 0 }) {
            Ok(fd) => programs.push(owned(fd)),
            Err(Errno::EACCES | Errno::EPERM | Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(programs)
}
