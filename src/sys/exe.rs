//! Another file behind `/proc/self/exe`, without executing anything: PR_SET_MM(2const).
//!
//! The kernel lets a process name another file as its executable once no mapping of the old one is left. So every
//! segment is mapped anew from the other file, which must be the same program under another mount. Writable segments
//! are copied to anonymous memory. Each step leaves memory as it was to whoever reads it, so a failure between two of
//! them is harmless: the process goes on with the file that it had.

use std::os::fd::{AsFd, AsRawFd};

use super::{Errno, Result, cvt};

const PR_SET_MM: i32 = 35;
const PR_SET_MM_EXE_FILE: i32 = 13;
const PR_SET_MM_MAP: i32 = 14;

const PT_LOAD: u32 = 1;
const PT_PHDR: u32 = 6;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// `Elf64_Phdr`: elf(5).
#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    _paddr: u64,
    filesz: u64,
    memsz: u64,
    _align: u64,
}

/// Whole pages of this process that come from its file.
struct Segment {
    start: usize,
    len: usize,
    offset: u64,
    flags: u32,
}

/// Pages that nobody writes once the program runs.
struct Range {
    start: usize,
    len: usize,
}

/// Makes `file`, the very program that runs, opened under another mount, the one behind `/proc/self/exe`. Only in a
/// process with one thread. EPERM without CAP_SYS_RESOURCE, CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
pub fn replace(file: impl AsFd) -> Result<()> {
    let file = file.as_fd().as_raw_fd();
    let headers = headers()?;
    let (segments, relro) = layout(&headers, page_size()?)?;
    for s in &segments {
        if s.flags & PF_W == 0 { map_again(s, file)? } else { copy_away(s)? }
    }
    if let Some(Range { start, len }) = relro {
        // SAFETY: memory of this program that is only read once it runs; it was so before.
        cvt(i64::from(unsafe { libc::mprotect(start as *mut _, len, libc::PROT_READ) }))?;
    }
    name(file)
}

fn page_size() -> Result<usize> {
    // SAFETY: reads the auxiliary vector.
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    if size.is_power_of_two() { Ok(size) } else { Err(Errno::EINVAL) }
}

/// The program headers, where the kernel says they are.
fn headers() -> Result<Vec<Header>> {
    // SAFETY: reads the auxiliary vector.
    let [at, count, size] =
        [libc::AT_PHDR, libc::AT_PHNUM, libc::AT_PHENT].map(|k| unsafe { libc::getauxval(k) });
    if at == 0 || at % 8 != 0 || size as usize != size_of::<Header>() || count > 64 {
        return Err(Errno::ENOEXEC);
    }
    let first = at as *const Header;
    // SAFETY: the kernel mapped `count` headers there, as the file has them, for as long as we run; nobody writes them.
    let headers = unsafe { std::slice::from_raw_parts(first, count as usize) };
    Ok(headers.to_vec())
}

/// Which pages come from the file, and which of them are read-only since the start (RELRO).
fn layout(headers: &[Header], page: usize) -> Result<(Vec<Segment>, Option<Range>)> {
    // SAFETY: reads the auxiliary vector.
    let at = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    // Where the program was put, if it may be anywhere.
    let bias = headers.iter().find(|h| h.kind == PT_PHDR).map_or(0, |h| at.wrapping_sub(h.vaddr as usize));
    let floor = |n: usize| n & !(page - 1);
    let ceil = |n: usize| floor(n + page - 1);
    let mut segments: Vec<Segment> = Vec::new();
    let mut end = 0;
    for h in headers.iter().filter(|h| h.kind == PT_LOAD && h.filesz > 0) {
        let from = bias.wrapping_add(h.vaddr as usize);
        let (start, stop) = (floor(from), ceil(from + h.filesz as usize));
        // Two in one page could not be told apart.
        if start < end {
            return Err(Errno::ENOEXEC);
        }
        end = stop;
        segments.push(Segment {
            start,
            len: stop - start,
            offset: floor(h.offset as usize) as u64,
            flags: h.flags,
        });
    }
    // As ld.so and the start-up code do it: whole pages inside, never the one it ends in.
    let relro = headers.iter().find(|h| h.kind == PT_GNU_RELRO).map(|h| {
        let from = bias.wrapping_add(h.vaddr as usize);
        Range { start: floor(from), len: floor(from + h.memsz as usize) - floor(from) }
    });
    Ok((segments, relro.filter(|r| r.len > 0)))
}

/// The same bytes from another file. The code that does it may be among them: it is there before and after.
fn map_again(s: &Segment, file: i32) -> Result<()> {
    let prot = [(PF_R, libc::PROT_READ), (PF_X, libc::PROT_EXEC)];
    let prot = prot.iter().filter(|(flag, _)| s.flags & flag != 0).fold(0, |all, (_, p)| all | p);
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    // SAFETY: replaces pages of this program that nobody writes by those of the same program; MAP_FIXED does so in one
    // step.
    let at = unsafe { libc::mmap(s.start as *mut _, s.len, prot, flags, file, s.offset as i64) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// What was written lives on in anonymous memory, at the same place.
fn copy_away(s: &Segment) -> Result<()> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // All of it is about to be written.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: new memory wherever there is room.
    let copy = unsafe { libc::mmap(std::ptr::null_mut(), s.len, prot, flags, -1, 0) };
    if copy == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: both are `len` bytes of mapped memory and do not overlap. There is no other thread, and nothing between
    // here and the move writes to a static.
    unsafe { std::ptr::copy_nonoverlapping(s.start as *const u8, copy.cast::<u8>(), s.len) };
    let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: puts the copy in the place of what it is a copy of.
    let moved = unsafe { libc::mremap(copy, s.len, s.len, fixed, s.start as *mut libc::c_void) };
    if moved == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// `struct prctl_mm_map`.
#[derive(Default)]
#[repr(C)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// The short form needs CAP_SYS_RESOURCE; the long one, which says all else again, is for everybody who may restore
/// checkpoints.
fn name(file: i32) -> Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: takes a descriptor, and touches no memory of ours.
    let short = unsafe {
        libc::prctl(PR_SET_MM, PR_SET_MM_EXE_FILE as libc::c_ulong, file as libc::c_ulong, zero, zero)
    };
    match cvt(i64::from(short)) {
        Err(Errno::EPERM) => {}
        r => return r.map(drop),
    }
    let mut map = current()?;
    map.exe_fd = file as u32;
    let size = size_of::<Map>() as libc::c_ulong;
    // SAFETY: `map` is what the kernel reads, of the size that is told, and names the addresses that are in force.
    let long = unsafe { libc::prctl(PR_SET_MM, PR_SET_MM_MAP as libc::c_ulong, &raw const map, size, zero) };
    cvt(i64::from(long)).map(drop)
}

/// What the kernel has on record of our memory: proc_pid_stat(5), fields 26 to 28 and 45 to 51.
fn current() -> Result<Map> {
    let text = super::fs::read_file("/proc/self/stat", 4096)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let rest = text.rsplit_once(") ").ok_or(Errno::EINVAL)?.1;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<u64>().ok()).ok_or(Errno::EINVAL);
    // SAFETY: asks for the present end of the heap.
    let brk = unsafe { libc::syscall(libc::SYS_brk, 0) } as u64;
    Ok(Map {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        ..Map::default()
    })
}
