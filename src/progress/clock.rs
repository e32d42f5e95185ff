//! The time by which work reports.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time since this process first asked for it.
pub(super) fn now() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}
