//! jiffies: the kernel's count of timer ticks.

use aya_ebpf::helpers::generated::bpf_jiffies64;

use super::fields;

/// A load, where reading the clock costs as much as a message's whole way.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: the helper cannot fail.
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
pub fn in_jiffies(seconds: u32) -> u64 {
    u64::from(seconds) * u64::from(fields::offsets().jiffies_per_second)
}
