//! What a socket that connects leaves word of, as only then its task is the running one.
//!
//! Its place is another's too. Whose word was overwritten has left none; what two write at the same moment may be of
//! both, and wrong, as a value of a hash that forgets is when it goes to another.

use core::ptr;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::{Connecting, Cookie, MAX_CONNECTING};

use super::{flow, maps::CONNECTING};

#[inline(always)]
pub fn of<'a>(ctx: &SockOpsContext) -> Option<&'a mut Connecting> {
    let cookie = flow::cookie(ctx);
    place(cookie).filter(|word| word.cookie == cookie)
}

#[inline(always)]
pub fn leave_word(ctx: &SockOpsContext, word: &Connecting) {
    let cookie = flow::cookie(ctx);
    let Some(place) = place(cookie) else { return };
    // SAFETY: volatile, so that it is nobody's while it is written.
    unsafe { ptr::write_volatile(&raw mut place.cookie, 0) };
    *place = Connecting { cookie: 0, ..*word };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(&raw mut place.cookie, cookie) };
}

/// Sockets that are made one after another have different ones.
#[inline(always)]
fn place<'a>(cookie: Cookie) -> Option<&'a mut Connecting> {
    // SAFETY: the words of an array's value are whole at any time.
    CONNECTING
        .get_ptr_mut((cookie % MAX_CONNECTING as u64) as u32)
        .map(|word| unsafe { &mut *word })
}
