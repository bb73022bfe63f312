//! What a socket that connects leaves word of, as only then its task is the running one.
//!
//! Its place is another's too. Whose word was overwritten, or written by two at the same time, has left none.

use core::ptr;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::{Connecting, Cookie, MAX_CONNECTING, Word};

use super::{flow, maps::CONNECTING};

#[inline(always)]
pub fn of(ctx: &SockOpsContext) -> Option<Connecting> {
    let cookie = flow::cookie(ctx);
    let place = place(cookie)?;
    // SAFETY: volatile, so that each part is read whole.
    let word = core::array::from_fn(|part| unsafe { ptr::read_volatile(&raw const place[part]) });
    Connecting::of(word, cookie)
}

#[inline(always)]
pub fn leave_word(ctx: &SockOpsContext, connecting: &Connecting) {
    let cookie = flow::cookie(ctx);
    let Some(place) = place(cookie) else { return };
    for (own, part) in place.iter_mut().zip(connecting.word(cookie)) {
        // SAFETY: volatile, so that each part is written whole.
        unsafe { ptr::write_volatile(own, part) };
    }
}

/// Sockets that are made one after another have different ones.
#[inline(always)]
fn place<'a>(cookie: Cookie) -> Option<&'a mut Word> {
    // SAFETY: the parts of an array's value are whole at any time.
    CONNECTING
        .get_ptr_mut((cookie % MAX_CONNECTING as u64) as u32)
        .map(|word| unsafe { &mut *word })
}
