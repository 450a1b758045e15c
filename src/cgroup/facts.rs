//! What the kernel remembers of a memory limit. The other statistics are `stats`.

use std::path::{Path, PathBuf};

use super::dir::Dir;
use crate::sys::fs::{self, AT_FDCWD};

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

/// Below this, what it takes to execute a program is asked for before the container counts as created.
pub const TIGHT: u64 = 1 << 20;

/// The file of a memory limit.
pub const V1_LIMIT: &str = "memory.limit_in_bytes";
pub const V2_LIMIT: &str = "memory.max";

/// Of the cgroup just above, which is a pod's or a slice's; at the top there is none.
pub fn is_tight_above(dir: &Dir, file: &str) -> bool {
    let nested = dir.below_mountpoint().contains('/');
    nested && dir.ancestors().last().and_then(|above| limit(above, file)).is_some_and(|l| l < TIGHT)
}

/// The smallest limit on the way to here, the nearest of equals: by which file, and whether that is another cgroup's.
pub fn smallest_limit(dir: &Dir, file: &str) -> Option<(PathBuf, u64, bool)> {
    let above = dir.ancestors().into_iter().rev().map(|at| (at, true));
    let all = std::iter::once((dir.path(), false)).chain(above);
    let limits = all.filter_map(|(at, above)| Some((at.join(file), limit(&at, file)?, above)));
    limits.min_by_key(|(_, limit, _)| *limit)
}

fn limit(at: &Path, file: &str) -> Option<u64> {
    // v2's "max" is no number, v1's is a large one.
    fs::read_value_at(AT_FDCWD, at.join(file)).ok()?.parse().ok().filter(|l| *l < 1 << 62)
}

pub fn v1(dir: &Dir) -> MemoryFacts {
    let number = |file| dir.read_number(file).ok();
    MemoryFacts {
        // "No limit" is the largest page-aligned number.
        limit: number(V1_LIMIT).filter(|v| *v < 1 << 62),
        peak: number("memory.max_usage_in_bytes"),
        hits: number("memory.failcnt").unwrap_or(0),
        oom_kills: dir.read_key("memory.oom_control", "oom_kill").ok().flatten().unwrap_or(0),
    }
}

pub fn v2(dir: &Dir) -> MemoryFacts {
    let number = |file| dir.read_number(file).ok();
    let event = |key| dir.read_key("memory.events", key).ok().flatten().unwrap_or(0);
    MemoryFacts {
        limit: number(V2_LIMIT).filter(|v| *v != u64::MAX),
        peak: number("memory.peak"),
        hits: event("max"),
        oom_kills: event("oom_kill"),
    }
}
