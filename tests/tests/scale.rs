//! How much a test does. An emulated kernel is slow, and gets less of the same.

use std::time::Duration;

/// The count, or a part of it: one `SHUNT_TEST_SCALE`th, where that is set. 0.01 is a hundred times as much.
pub fn scaled(count: u64) -> u64 {
    (count as f64 / scale()) as u64
}

/// The pause, or a longer one: a load is to leave time for what is done under it.
pub fn stretched(pause: Duration) -> Duration {
    pause.mul_f64((scale() / 10.0).floor().max(1.0))
}

fn scale() -> f64 {
    let scale = std::env::var("SHUNT_TEST_SCALE").ok().and_then(|scale| scale.parse().ok());
    scale.filter(|scale| *scale > 0.0).unwrap_or(1.0)
}
