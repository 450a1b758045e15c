//! What a process can say about itself, as one JSON document on stdout.
//!
//! Requests add answers that depend on a path: `stat=`, `read=`, `list=`, `write=` (opens for writing, writes nothing),
//! `create=` (a new file), `open=` (for reading, reads nothing), `exec=` (access for execution). Each answer stands under
//! the request's own text, an errno's name on failure.

use crate::kernel::{self, errno_name, last_errno, name_of};
use libc::c_int;
use serde_json::{Map, Value, json};
use std::ffi::{CStr, CString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

/// Which descriptors are open and what they are, found without opening any.
pub fn open_descriptors() -> Value {
    let mut found = Map::new();
    for fd in 0..1024 {
        // SAFETY: asking for flags has no effect on any descriptor.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags < 0 {
            continue;
        }
        // SAFETY: all zeroes is a valid stat, and fstat writes only there.
        let mut st: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::fstat(fd, &raw mut st) };
        let target =
            fs::read_link(format!("/proc/self/fd/{fd}")).ok().map(|t| t.to_string_lossy().into_owned());
        found.insert(
            fd.to_string(),
            json!({
                "type": type_name(st.st_mode),
                "target": target,
                "device": [libc::major(st.st_rdev), libc::minor(st.st_rdev)],
                "inode": st.st_ino,
                "cloexec": flags & libc::FD_CLOEXEC != 0,
            }),
        );
    }
    Value::Object(found)
}

pub fn print(args: &[String], fds: Value, requests: &[&str]) -> i32 {
    let document = all(args, fds, requests);
    let line = format!("{document}\n");
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

pub fn all(args: &[String], fds: Value, requests: &[&str]) -> Value {
    let mut asked = Map::new();
    for request in requests {
        asked.insert((*request).to_string(), answer(request));
    }
    json!({
        "args": args,
        "env": std::env::vars_os().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect::<Vec<_>>(),
        "cwd": std::env::current_dir().map_or_else(|e| json!({"errno": name_of(&e)}), |p| json!(p)),
        "exe": link("/proc/self/exe"),
        "fds": fds,
        "user": user(),
        "capabilities": capabilities(),
        "noNewPrivileges": prctl(libc::PR_GET_NO_NEW_PRIVS) == 1,
        "seccomp": status_field("Seccomp"),
        "seccompFilters": status_field("Seccomp_filters"),
        "dumpable": prctl(libc::PR_GET_DUMPABLE),
        "securebits": prctl(libc::PR_GET_SECUREBITS),
        "parentDeathSignal": parent_death_signal(),
        "rlimits": rlimits(),
        "hostname": uts(|u| &u.nodename),
        "domainname": uts(|u| &u.domainname),
        "machine": uts(|u| &u.machine),
        "personality": personality(),
        "namespaces": namespaces(),
        "uidMap": text("/proc/self/uid_map"),
        "gidMap": text("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "timeOffsets": text("/proc/self/timens_offsets"),
        "clocks": {"monotonic": clock(libc::CLOCK_MONOTONIC), "boottime": clock(libc::CLOCK_BOOTTIME)},
        "mounts": mounts(),
        "scheduler": scheduler(),
        "ioPriority": io_priority(),
        "affinity": affinity(),
        "oomScoreAdj": number("/proc/self/oom_score_adj"),
        "session": session(),
        "terminal": terminal(),
        "signals": signals(),
        "cgroups": cgroups(),
        "keyring": keyring(),
        "network": network(),
        "dev": dev(),
        "processes": processes(),
        "asked": asked,
    })
}

fn answer(request: &str) -> Value {
    let Some((verb, path)) = request.split_once('=') else { return json!("not a request") };
    let result = match verb {
        "stat" => fs::symlink_metadata(path).map(|m| describe(&m)),
        "read" => fs::read(path).map(|b| json!(String::from_utf8_lossy(&b))),
        "list" => fs::read_dir(path).map(|entries| {
            let mut names: Vec<_> =
                entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            json!(names)
        }),
        "open" => {
            fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map(|_| json!("ok"))
        }
        "write" => {
            fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).map(|_| json!("ok"))
        }
        "create" => fs::OpenOptions::new().write(true).create_new(true).open(path).map(|_| json!("ok")),
        "link" => fs::read_link(path).map(|p| json!(p)),
        // Of the session keyring: `keep=NAME` puts a key into it, `find=NAME` reads one.
        "keep" => keep_key(path).map(|()| json!("ok")),
        "find" => find_key(path).map(|text| json!(text)),
        "exec" => {
            let path = CString::new(path).expect("no NUL in a path");
            // SAFETY: a NUL-terminated path.
            match unsafe { libc::access(path.as_ptr(), libc::X_OK) } {
                0 => Ok(json!("ok")),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
        _ => return json!("not a request"),
    };
    result.unwrap_or_else(|e| json!({"errno": name_of(&e)}))
}

fn describe(m: &fs::Metadata) -> Value {
    json!({
        "type": type_name(m.mode()),
        "mode": m.mode() & 0o7777,
        "uid": m.uid(),
        "gid": m.gid(),
        "size": m.size(),
        "inode": m.ino(),
        "device": [libc::major(m.rdev()), libc::minor(m.rdev())],
        "on": [libc::major(m.dev()), libc::minor(m.dev())],
    })
}

fn type_name(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "link",
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "other",
    }
}

fn link(path: &str) -> Value {
    fs::read_link(path).map_or_else(|e| json!({"errno": name_of(&e)}), |p| json!(p))
}

fn text(path: &str) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |s| json!(s.trim()))
}

fn number(path: &str) -> Value {
    fs::read_to_string(path).ok().and_then(|s| s.trim().parse::<i64>().ok()).map_or(Value::Null, |n| json!(n))
}

fn status_field(name: &str) -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    found.and_then(|v| v.trim().parse::<i64>().ok()).map_or(Value::Null, |n| json!(n))
}

fn prctl(what: c_int) -> c_int {
    // SAFETY: only used with questions that take no further argument.
    unsafe { libc::prctl(what, 0, 0, 0, 0) }
}

fn parent_death_signal() -> c_int {
    let mut signal: c_int = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    signal
}

fn user() -> Value {
    let (mut r, mut e, mut s) = (0, 0, 0);
    let (mut rg, mut eg, mut sg) = (0, 0, 0);
    let mut groups = vec![0; 65536];
    // SAFETY: every pointer is to as many elements as the call may write.
    let (count, mask) = unsafe {
        libc::getresuid(&raw mut r, &raw mut e, &raw mut s);
        libc::getresgid(&raw mut rg, &raw mut eg, &raw mut sg);
        let count = libc::getgroups(groups.len() as c_int, groups.as_mut_ptr());
        let mask = libc::umask(0o77);
        libc::umask(mask);
        (count, mask)
    };
    groups.truncate(count.max(0) as usize);
    groups.sort_unstable();
    json!({"uids": [r, e, s], "gids": [rg, eg, sg], "groups": groups, "umask": mask})
}

fn capabilities() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = |name: &str| -> Value {
        let Some(mask) = status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .and_then(|v| u64::from_str_radix(v.trim_start_matches(':').trim(), 16).ok())
        else {
            return Value::Null;
        };
        let names: Vec<String> = (0..64)
            .filter(|bit| mask >> bit & 1 == 1)
            .map(|bit| kernel::CAPABILITIES.get(bit).map_or(format!("{bit}"), |n| format!("CAP_{n}")))
            .collect();
        json!(names)
    };
    json!({
        "bounding": set("CapBnd"),
        "effective": set("CapEff"),
        "permitted": set("CapPrm"),
        "inheritable": set("CapInh"),
        "ambient": set("CapAmb"),
    })
}

fn rlimits() -> Value {
    let show = |n: libc::rlim_t| if n == libc::RLIM_INFINITY { json!("unlimited") } else { json!(n) };
    let mut all = Map::new();
    for (number, name) in kernel::RLIMITS.iter().enumerate() {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel writes one rlimit.
        unsafe { libc::getrlimit(number as _, &raw mut limit) };
        all.insert(format!("RLIMIT_{name}"), json!([show(limit.rlim_cur), show(limit.rlim_max)]));
    }
    Value::Object(all)
}

fn uts(field: fn(&libc::utsname) -> &[libc::c_char; 65]) -> String {
    // SAFETY: all zeroes is a valid utsname; uname fills it with NUL-terminated strings.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::uname(&raw mut names) };
    // SAFETY: as above.
    unsafe { CStr::from_ptr(field(&names).as_ptr()) }.to_string_lossy().into_owned()
}

fn personality() -> c_int {
    // SAFETY: this value asks and changes nothing.
    unsafe { libc::personality(0xffff_ffff) }
}

fn namespaces() -> Value {
    let mut all = Map::new();
    for kind in kernel::NAMESPACES {
        let inode = fs::metadata(format!("/proc/self/ns/{kind}")).map(|m| m.ino());
        all.insert(kind.to_string(), inode.map_or(Value::Null, |i| json!(i)));
    }
    Value::Object(all)
}

fn clock(which: libc::clockid_t) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(which, &raw mut now) };
    now.tv_sec
}

/// `/proc/self/mountinfo`, see proc(5).
fn mounts() -> Value {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let plain = |s: &str| {
        s.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
    };
    let list = |s: &str| s.split(',').map(str::to_string).collect::<Vec<_>>();
    let mut all = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let l: Vec<&str> = left.split(' ').collect();
        let r: Vec<&str> = right.split(' ').collect();
        all.push(json!({
            "id": l[0], "parent": l[1], "device": l[2],
            "root": plain(l[3]),
            "target": plain(l[4]),
            "options": list(l[5]),
            "propagation": l[6..].iter().filter(|s| !s.is_empty()).collect::<Vec<_>>(),
            "type": r[0],
            "source": plain(r[1]),
            "data": list(r.get(2).copied().unwrap_or_default()),
        }));
    }
    Value::Array(all)
}

fn scheduler() -> Value {
    let a = kernel::sched_attr();
    let policy = match a.policy {
        0 => "SCHED_OTHER",
        1 => "SCHED_FIFO",
        2 => "SCHED_RR",
        3 => "SCHED_BATCH",
        5 => "SCHED_IDLE",
        6 => "SCHED_DEADLINE",
        _ => "unknown",
    };
    json!({
        "policy": policy, "nice": a.nice, "priority": a.priority, "flags": a.flags,
        "runtime": a.runtime, "deadline": a.deadline, "period": a.period,
    })
}

fn io_priority() -> Value {
    // SAFETY: asks for the calling process; changes nothing.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
    let class = ["IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
    json!({"class": class.get((value >> 13) as usize), "priority": value & 0x1fff})
}

fn affinity() -> Vec<usize> {
    // SAFETY: all zeroes is an empty set; the kernel writes at most its size.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    // SAFETY: the index is within the set.
    (0..1024).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

fn session() -> Value {
    // SAFETY: these only ask; the path is NUL-terminated.
    let (pid, ppid, pgid, sid, tty) = unsafe {
        let tty = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOCTTY);
        (libc::getpid(), libc::getppid(), libc::getpgrp(), libc::getsid(0), tty)
    };
    let controlling = if tty >= 0 { json!(true) } else { json!({"errno": last_errno()}) };
    // SAFETY: asks only, and closes what was opened above.
    let foreground = unsafe {
        let group = libc::tcgetpgrp(tty);
        libc::close(tty);
        group
    };
    json!({"pid": pid, "ppid": ppid, "pgid": pgid, "sid": sid, "controllingTerminal": controlling, "foreground": foreground})
}

fn terminal() -> Value {
    let mut all = Map::new();
    for fd in 0..3 {
        // SAFETY: asks only.
        let is = unsafe { libc::isatty(fd) } == 1;
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel writes one winsize.
        unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
        all.insert(
            fd.to_string(),
            if is { json!({"height": size.ws_row, "width": size.ws_col}) } else { json!(false) },
        );
    }
    Value::Object(all)
}

fn signals() -> Value {
    let (mut ignored, mut caught, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
    // SAFETY: all zeroes is a valid set and a valid action; the calls only ask.
    let (mut mask, mut action): (libc::sigset_t, libc::sigaction) = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
    for signal in (1..=64).filter(|s| !(32..34).contains(s)) {
        // SAFETY: as above.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
        match action.sa_sigaction {
            libc::SIG_IGN if known => ignored.push(kernel::signal_name(signal)),
            libc::SIG_DFL => (),
            _ if known => caught.push(kernel::signal_name(signal)),
            _ => (),
        }
        // SAFETY: as above.
        if unsafe { libc::sigismember(&raw const mask, signal) } == 1 {
            blocked.push(kernel::signal_name(signal));
        }
    }
    json!({"ignored": ignored, "caught": caught, "blocked": blocked})
}

/// Controllers (as the kernel joins them) to path; the unified hierarchy's key is empty.
fn cgroups() -> Value {
    let mut all = Map::new();
    for line in fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            all.insert(controllers.trim_start_matches("name=").to_string(), json!(path));
        }
    }
    Value::Object(all)
}

/// The session keyring as `keyctl(KEYCTL_DESCRIBE)` tells it: `type;uid;gid;perm;description`; and its
/// security module's label.
fn keyring() -> Value {
    const KEYCTL_GET_KEYRING_ID: c_int = 0;
    const KEYCTL_DESCRIBE: c_int = 6;
    let mut buffer = [0_u8; 256];
    // SAFETY: the kernel writes at most the length that is passed.
    let (serial, length) = unsafe {
        let serial = libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, SESSION, 0);
        let length =
            libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, SESSION, buffer.as_mut_ptr(), buffer.len());
        (serial, length)
    };
    if length <= 0 {
        return json!({"errno": last_errno()});
    }
    let described = String::from_utf8_lossy(&buffer[..(length as usize).min(buffer.len())]);
    const KEYCTL_GET_SECURITY: c_int = 17;
    let mut buffer = [0_u8; 256];
    // SAFETY: the kernel writes at most the length that is passed.
    let length = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_GET_SECURITY, SESSION, buffer.as_mut_ptr(), buffer.len())
    };
    let label = String::from_utf8_lossy(&buffer[..(length.max(0) as usize).min(buffer.len())]);
    json!({
        "serial": serial,
        "description": described.trim_end_matches('\0'),
        "label": label.trim_end_matches('\0'),
    })
}

const SESSION: c_int = -3;

/// Puts a key of that name into the session keyring; its text is the name.
pub fn keep_key(name: &str) -> std::io::Result<()> {
    let (kind, name) = (c"user", CString::new(name)?);
    // SAFETY: NUL-terminated strings, and a text with its length.
    let key = unsafe {
        let text = name.as_bytes();
        libc::syscall(libc::SYS_add_key, kind.as_ptr(), name.as_ptr(), text.as_ptr(), text.len(), SESSION)
    };
    if key < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// The text of the key of that name that the session keyring leads to.
fn find_key(name: &str) -> std::io::Result<String> {
    const KEYCTL_SEARCH: c_int = 10;
    const KEYCTL_READ: c_int = 11;
    let (kind, name) = (c"user", CString::new(name)?);
    let mut text = [0_u8; 256];
    // SAFETY: NUL-terminated strings; the kernel writes at most the length that is passed.
    let length = unsafe {
        let key = libc::syscall(libc::SYS_keyctl, KEYCTL_SEARCH, SESSION, kind.as_ptr(), name.as_ptr(), 0);
        if key < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_keyctl, KEYCTL_READ, key, text.as_mut_ptr(), text.len())
    };
    if length < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(String::from_utf8_lossy(&text[..(length as usize).min(text.len())]).into_owned())
}

fn network() -> Value {
    let mut all = Map::new();
    // SAFETY: a plain socket; closed below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: the kernel's list ends with index 0 and is freed below.
    let list = unsafe { libc::if_nameindex() };
    let mut at = list;
    // SAFETY: as above; `at` never passes the end.
    while !list.is_null() && unsafe { (*at).if_index } != 0 {
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr((*at).if_name) };
        // SAFETY: all zeroes is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
            *to = *from as libc::c_char;
        }
        // SAFETY: the request names an interface and receives its flags.
        let flags = unsafe {
            libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut request);
            i32::from(request.ifr_ifru.ifru_flags)
        };
        all.insert(
            name.to_string_lossy().into_owned(),
            json!({"up": flags & libc::IFF_UP != 0, "loopback": flags & libc::IFF_LOOPBACK != 0}),
        );
        // SAFETY: as above.
        at = unsafe { at.add(1) };
    }
    // SAFETY: both are ours.
    unsafe {
        if !list.is_null() {
            libc::if_freenameindex(list);
        }
        libc::close(socket);
    }
    Value::Object(all)
}

fn dev() -> Value {
    let mut all = Map::new();
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
        let Ok(m) = fs::symlink_metadata(entry.path()) else { continue };
        let mut told = describe(&m);
        if m.file_type().is_symlink() {
            told["target"] = link(&entry.path().to_string_lossy());
        } else if m.file_type().is_char_device() || m.file_type().is_block_device() {
            told["open"] = answer(&format!("open={}", entry.path().display()));
        }
        all.insert(entry.file_name().to_string_lossy().into_owned(), told);
    }
    Value::Object(all)
}

fn processes() -> Value {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    json!(pids)
}

pub fn errno_or(returned: i64) -> Value {
    if returned < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        json!({"errno": errno_name(errno)})
    } else {
        json!(returned)
    }
}
