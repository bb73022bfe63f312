//! How much a test does. An emulated kernel is slow, and gets less of the same.

use std::time::Duration;

/// The count, or a part of it: one `SHUNT_TEST_SCALE`th, where that is set.
pub fn scaled(count: u64) -> u64 {
    count / scale()
}

/// The pause, or a longer one: a load is to leave time for what is done under it.
pub fn stretched(pause: Duration) -> Duration {
    pause * (scale() / 10).max(1) as u32
}

fn scale() -> u64 {
    let scale = std::env::var("SHUNT_TEST_SCALE").ok().and_then(|scale| scale.parse().ok());
    scale.unwrap_or(1).max(1)
}
