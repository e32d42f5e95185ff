//! The clock for progress reports.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time since the first call of this function in this process.
pub(super) fn now() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}
