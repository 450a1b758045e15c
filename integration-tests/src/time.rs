//! Time limits that a slow, busy or stalled machine does not turn into failures.
//!
//! What is waited for with a limit must come, so that limits are long and cost nothing. And they count [`Moment`]s: what
//! the machine has taken from all of us at once, the runtime has not had either.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What must come some time: a state, a line of output, a file.
pub const LONG: Duration = Duration::from_secs(60);

/// A bound for what must not have waited for a deadline of the runtime's own: the shortest of those is ten seconds.
pub const PROMPT: Duration = Duration::from_secs(8);

/// How long the reference is waited for in a test that it is known to fail.
const IN_VAIN: Duration = Duration::from_secs(10);

thread_local! {
    /// Set for such tests: mostly it waits for ever in them, or lets wait.
    pub(crate) static FORESEEN: Cell<bool> = const { Cell::new(false) };
}

const TICK: Duration = Duration::from_millis(5);

/// Microseconds, counted by a thread that sleeps all the time: where it sleeps longer than it asked for, for want of a
/// processor or of the whole machine, so have all others.
static CLOCK: LazyLock<&AtomicU64> = LazyLock::new(|| {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(TICK);
            COUNT.fetch_add(TICK.as_micros() as u64, Ordering::Relaxed);
        }
    });
    &COUNT
});

/// As [`std::time::Instant`], by the clock that stands still when this process does: for upper bounds.
#[derive(Clone, Copy)]
pub struct Moment(Duration);

impl Moment {
    pub fn now() -> Self {
        Moment(Duration::from_micros(CLOCK.load(Ordering::Relaxed)))
    }

    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Fails the test where that was longer ago.
    #[track_caller]
    pub fn within(self, limit: Duration) {
        let took = self.elapsed();
        assert!(took < patience(limit), "took {took:?}, which should be less than {limit:?}");
    }
}

/// A time limit on this machine: `ITEST_SLOW` tells how many times slower it is than an ordinary one. What the reference is
/// known to fail is not waited for that long.
pub fn patience(limit: Duration) -> Duration {
    static FACTOR: LazyLock<u32> =
        LazyLock::new(|| std::env::var("ITEST_SLOW").ok().and_then(|f| f.parse().ok()).unwrap_or(1));
    if FORESEEN.get() { limit.min(IN_VAIN) * *FACTOR } else { limit * *FACTOR }
}

/// Waits until `condition` holds; a test that waits in vain fails.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    assert!(within(LONG, &mut condition), "waited in vain: {what}");
}

/// Whether `condition` comes true before `limit` is over.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = Moment::now();
    loop {
        if condition() {
            return true;
        }
        if begin.elapsed() > patience(limit) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
