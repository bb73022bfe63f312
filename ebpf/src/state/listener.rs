//! What is known of a listener; the sockets that it accepts inherit it.

use core::ptr;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::listener::{FOREIGN, MPTCP, PLAIN, WAITS};

use super::{
    flow::{CREATE, Context as _, address, storage},
    maps::LISTENERS,
};
use crate::kernel::{psock, sock, task};

/// Leaves word of what it is. Its task is the running one.
#[inline(always)]
pub fn mark(ctx: &SockOpsContext) {
    let Some(mark) = storage(ctx, &LISTENERS, ptr::null_mut(), CREATE) else { return };
    let at = address(ctx.sock() as u64, mark);
    let waits = !sock::is_nonblocking_socket(at) || task::has_io_uring();
    let kind = if sock::is_mptcp(at) {
        MPTCP
    } else if psock::of(at).is_some() {
        // SMC has set its sk_user_data.
        FOREIGN
    } else {
        PLAIN
    };
    *mark = if waits { kind | WAITS } else { kind };
}

/// What the listener of an accepted socket was, if it was seen to listen.
#[inline(always)]
pub fn of(ctx: &SockOpsContext) -> Option<u64> {
    storage(ctx, &LISTENERS, ptr::null_mut(), 0).copied()
}
