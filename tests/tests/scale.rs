//! How much a test does. An emulated kernel is slow, and gets less of the same.

/// The count, or a part of it: one `SHUNT_TEST_SCALE`th, where that is set.
pub fn scaled(count: u64) -> u64 {
    let scale = std::env::var("SHUNT_TEST_SCALE").ok().and_then(|scale| scale.parse().ok());
    count / scale.unwrap_or(1).max(1)
}
