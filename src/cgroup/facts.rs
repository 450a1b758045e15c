//! What the kernel remembers of a memory limit. The other statistics are `stats`.

use super::dir::Dir;

/// Why a process may have died: bytes; `None` where there is no limit, or the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    pub limit: Option<u64>,
    /// The most that was ever used.
    pub peak: Option<u64>,
    /// How often the limit was hit.
    pub hits: u64,
    /// How many processes the kernel killed for it.
    pub oom_kills: u64,
}

impl MemoryFacts {
    pub fn oom_killed(&self) -> bool {
        self.oom_kills > 0
    }
}

pub fn v1(dir: &Dir) -> MemoryFacts {
    let number = |file| dir.read_number(file).ok();
    MemoryFacts {
        // "No limit" is the largest page-aligned number.
        limit: number("memory.limit_in_bytes").filter(|v| *v < 1 << 62),
        peak: number("memory.max_usage_in_bytes"),
        hits: number("memory.failcnt").unwrap_or(0),
        oom_kills: dir.read_key("memory.oom_control", "oom_kill").ok().flatten().unwrap_or(0),
    }
}

pub fn v2(dir: &Dir) -> MemoryFacts {
    let number = |file| dir.read_number(file).ok();
    let event = |key| dir.read_key("memory.events", key).ok().flatten().unwrap_or(0);
    MemoryFacts {
        limit: number("memory.max").filter(|v| *v != u64::MAX),
        peak: number("memory.peak"),
        hits: event("max"),
        oom_kills: event("oom_kill"),
    }
}
