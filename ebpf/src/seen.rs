//! What a kernel or a node was seen to do: known from the first time on, in all programs.

use crate::word::Word;

/// Only ever turns from no to yes.
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
