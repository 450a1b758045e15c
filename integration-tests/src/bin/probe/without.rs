//! `without openat2,clone3 ENOSYS|EPERM PROGRAM [ARG…]`: runs a program to which the kernel does not know those system
//! calls, as on an old one or below a filter that is older than they are.

use std::ffi::CString;

/// Architectures as filters see them: linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const CALLS: [(&str, i64); 15] = [
    ("openat2", libc::SYS_openat2),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("fsmount", libc::SYS_fsmount),
    ("fsconfig", libc::SYS_fsconfig),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("close_range", libc::SYS_close_range),
    ("clone3", libc::SYS_clone3),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("statx", libc::SYS_statx),
    ("faccessat2", libc::SYS_faccessat2),
    ("fchmodat2", 452),
];

pub fn run(words: &[&str]) -> i32 {
    let [calls, errno, program, ..] = words else {
        eprintln!("probe: without CALL[,CALL] ENOSYS|EPERM PROGRAM [ARG]");
        return 2;
    };
    let errno = match *errno {
        "ENOSYS" => libc::ENOSYS,
        "EPERM" => libc::EPERM,
        _ => return 2,
    };
    let number = |name: &str| CALLS.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}")).1;
    let mut code = vec![load(4), jump(libc::BPF_JEQ, ARCH, 1, 0), give(libc::SECCOMP_RET_ALLOW), load(0)];
    for name in calls.split(',') {
        code.push(jump(libc::BPF_JEQ, number(name) as u32, 0, 1));
        code.push(give(libc::SECCOMP_RET_ERRNO | errno as u32));
    }
    code.push(give(libc::SECCOMP_RET_ALLOW));
    let program_of_filter = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    let argv: Vec<CString> = words[2..].iter().map(|w| CString::new(*w).expect("no NUL")).collect();
    let mut pointers: Vec<_> = argv.iter().map(|w| w.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let path = CString::new(*program).expect("no NUL");
    const SET_MODE_FILTER: libc::c_int = 1;
    // SAFETY: a filter that lives across the calls; a NUL-terminated path and a null-terminated array of strings.
    unsafe {
        let load = || libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program_of_filter);
        if load() != 0 {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if load() != 0 {
                eprintln!("probe: no filter: {}", std::io::Error::last_os_error());
                return 2;
            }
        }
        libc::execvp(path.as_ptr(), pointers.as_ptr());
    }
    eprintln!("probe: {program}: {}", std::io::Error::last_os_error());
    127
}

/// A word of seccomp_data: 0 is the call's number, 4 the architecture.
fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(how: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | how | libc::BPF_K) as u16, jt, jf, k }
}

fn give(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}
