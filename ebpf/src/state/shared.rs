//! Words that the programs share on all processors. Whoever uses one must be right with any value
//! that was ever put there.

use core::{cell::UnsafeCell, ptr};

pub struct Word(UnsafeCell<u64>);

// SAFETY: aligned, so what is read was written as a whole.
unsafe impl Sync for Word {}

impl Word {
    pub const fn zero() -> Self {
        Self(UnsafeCell::new(0))
    }

    #[inline(always)]
    pub fn get(&self) -> u64 {
        // SAFETY: a word of a map, read as the verifier sees it.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    /// Reads first, as other processors read it all the time.
    #[inline(always)]
    pub fn put(&self, value: u64) {
        if self.get() != value {
            // SAFETY: as above.
            unsafe { ptr::write_volatile(self.0.get(), value) };
        }
    }
}

/// What a kernel or a node was seen to do, known from the first time on: only ever turns from no to yes.
pub struct Seen(Word);

impl Seen {
    pub const fn not_yet() -> Self {
        Self(Word::zero())
    }

    #[inline(always)]
    pub fn is_seen(&self) -> bool {
        self.0.get() != 0
    }

    #[inline(always)]
    pub fn see(&self) {
        self.0.put(1);
    }
}
