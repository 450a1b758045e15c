//! Memory for the times of steps, shared with the children that are cloned after it was made: a mapping needs no
//! descriptor, and execve(2) takes it away, so nothing of it can reach a container.

use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed};

use super::{Errno, Result};

/// The longest name that is kept whole.
const NAME: usize = 46;
const SLOTS: usize = 4096;

/// One step, of one process. Times are of CLOCK_MONOTONIC, in nanoseconds; an `end` of 0 has not come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Slot {
    pub begin: u64,
    pub end: u64,
    pub role: u8,
    len: u8,
    name: [u8; NAME],
}

impl Slot {
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.name[..usize::from(self.len).min(NAME)]).into_owned()
    }
}

#[repr(C)]
struct Page {
    next: AtomicUsize,
    slots: [Slot; SLOTS],
}

/// Null while nobody asked: the one load that every step costs then. The only state of this kind in orlop, since
/// steps are everywhere and must not be told where they are measured.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());
/// Which process this is; children have their own copy.
static ROLE: AtomicU8 = AtomicU8::new(0);

pub fn start() -> Result<()> {
    let len = std::num::NonZeroUsize::new(size_of::<Page>()).ok_or(Errno::EINVAL)?;
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
    // SAFETY: a new mapping that overlaps nothing; it is never unmapped.
    let page = unsafe { mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
    PAGE.store(page.as_ptr().cast(), Relaxed);
    Ok(())
}

pub fn is_on() -> bool {
    !PAGE.load(Relaxed).is_null()
}

pub fn set_role(role: u8) {
    ROLE.store(role, Relaxed);
}

pub fn now() -> u64 {
    let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    t.map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// Takes a slot; none when nobody asked, or all are taken.
pub fn begin(name: &str, begin: u64) -> Option<usize> {
    let page = PAGE.load(Relaxed);
    if page.is_null() {
        return None;
    }
    // SAFETY: not null, so the mapping of `start`, zeroed at first, which is valid for every process that has it.
    let next = unsafe { &(*page).next };
    let index = next.fetch_add(1, Relaxed);
    let mut slot = Slot { begin, end: 0, role: ROLE.load(Relaxed), len: 0, name: [0; NAME] };
    let len = name.len().min(NAME);
    slot.name[..len].copy_from_slice(&name.as_bytes()[..len]);
    slot.len = len as u8;
    write(page, index, slot).then_some(index)
}

fn write(page: *mut Page, index: usize, slot: Slot) -> bool {
    if index >= SLOTS {
        return false;
    }
    // SAFETY: in bounds, by the line above; `index` was given to nobody else.
    unsafe { place(page, index).write(slot) };
    true
}

/// Where a slot is; no reference to one is ever made, since several processes have them.
fn place(page: *mut Page, index: usize) -> *mut Slot {
    page.wrapping_byte_add(std::mem::offset_of!(Page, slots)).cast::<Slot>().wrapping_add(index)
}

pub fn end(index: usize) {
    let page = PAGE.load(Relaxed);
    if page.is_null() || index >= SLOTS {
        return;
    }
    let end = place(page, index).wrapping_byte_add(std::mem::offset_of!(Slot, end)).cast::<u64>();
    // SAFETY: in bounds and aligned; the slot is ours since `begin`.
    unsafe { end.write(now()) };
}

/// What was noted so far, in the order of beginning. For when the children are gone or have executed something else.
pub fn slots() -> Vec<Slot> {
    let page = PAGE.load(Relaxed);
    if page.is_null() {
        return Vec::new();
    }
    // SAFETY: the mapping of `start`.
    let taken = unsafe { &(*page).next }.load(Relaxed).min(SLOTS);
    let mut all: Vec<_> = (0..taken)
        .map(|i| {
            // SAFETY: in bounds; one that is just being written is read torn at worst, and any bytes are a slot.
            unsafe { place(page, i).read_volatile() }
        })
        // Taken, and its process killed before it was written.
        .filter(|slot| slot.begin != 0)
        .collect();
    // Of two processes the one that read the clock first need not be the first that took a slot.
    all.sort_by_key(|slot| slot.begin);
    all
}
