//! What is known of a listener; the sockets that it accepts inherit it.

use core::ptr;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::Listener;

use super::{
    flow::{CREATE, Context as _, address, storage},
    maps::LISTENERS,
};
use crate::kernel::{psock, sock, task};

/// Leaves word of what it is. Its task is the running one.
#[inline(always)]
pub fn mark(ctx: &SockOpsContext) {
    let Some(mark) = storage(ctx, &LISTENERS, ptr::null_mut(), CREATE) else { return };
    let at = address(ctx.sock() as u64, &mut mark.sock);
    mark.obscure = task::has_io_uring().into();
    mark.kind = if sock::is_mptcp(at) {
        Listener::MPTCP
    } else if psock::of(at).is_some() {
        // SMC has set its sk_user_data.
        Listener::FOREIGN
    } else {
        Listener::PLAIN
    };
}

/// What the listener of an accepted socket is, if it was seen to listen.
#[inline(always)]
pub fn of(ctx: &SockOpsContext) -> Option<Listener> {
    storage(ctx, &LISTENERS, ptr::null_mut(), 0).copied()
}

/// Whether what it accepts may be in blocking mode, or is read through io_uring: who listens without blocking
/// has the sockets without, too. Often it is put into that mode after listen(2).
#[inline(always)]
pub fn waits(listener: Listener) -> bool {
    let Listener { obscure, sock, .. } = listener;
    obscure != 0 || sock != 0 && !sock::is_nonblocking_listener(sock)
}
