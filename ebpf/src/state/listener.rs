//! What is known of a listener; the sockets that it accepts inherit it.

use core::ptr;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::UNFIT_SOCKET;

use super::{
    flow::{CREATE, Context as _, storage},
    maps::LISTENERS,
};

/// Leaves a listener's address where the sockets it accepts will find it.
#[inline(always)]
pub fn mark(ctx: &SockOpsContext) {
    if let Some(listener) = storage(ctx, &LISTENERS, ptr::null_mut(), CREATE) {
        // SAFETY: an address as a number; volatile, so that it is a store of the pointer itself.
        unsafe { ptr::write_volatile(listener, ctx.sock() as u64) };
    }
}

#[inline(always)]
pub fn mark_unfit(ctx: &SockOpsContext) {
    if let Some(mark) = storage(ctx, &LISTENERS, ptr::null_mut(), CREATE) {
        *mark = UNFIT_SOCKET;
    }
}

#[inline(always)]
pub fn is_unfit(ctx: &SockOpsContext) -> bool {
    of(ctx) == Some(UNFIT_SOCKET)
}

/// The address of the listener that an accepted socket comes from, if it was seen to listen.
#[inline(always)]
pub fn of(ctx: &SockOpsContext) -> Option<u64> {
    storage(ctx, &LISTENERS, ptr::null_mut(), 0).copied()
}
