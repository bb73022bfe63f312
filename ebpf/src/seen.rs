//! What a kernel or a node was seen to do: known from the first time on, in all programs.

use core::{cell::UnsafeCell, ptr};

/// One word that only ever turns from 0 to 1.
pub struct Seen(UnsafeCell<u32>);

// SAFETY: whoever reads it gets one of the two, and both are right while it turns.
unsafe impl Sync for Seen {}

impl Seen {
    pub const fn not_yet() -> Self {
        Self(UnsafeCell::new(0))
    }

    #[inline(always)]
    pub fn is_seen(&self) -> bool {
        // SAFETY: a word of a map, read as the verifier sees it.
        unsafe { ptr::read_volatile(self.0.get()) != 0 }
    }

    /// Reads first, as every CPU reads it all the time.
    #[inline(always)]
    pub fn see(&self) {
        if !self.is_seen() {
            // SAFETY: as above.
            unsafe { ptr::write_volatile(self.0.get(), 1) };
        }
    }
}
