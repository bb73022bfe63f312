//! The sockhash: who is in it can be handed bytes.

use aya_ebpf::{
    bindings::{BPF_F_INGRESS, sk_action::SK_PASS},
    helpers::generated::{bpf_map_delete_elem, bpf_msg_redirect_hash, bpf_sock_hash_update},
    programs::{SkMsgContext, SockOpsContext},
};
use shim::layout::Cookie;

use super::maps::SOCKETS;

/// Enters the callback's socket into the sockhash. `Err`: the kernel's errno.
#[inline(always)]
pub fn enter(ctx: &SockOpsContext, mut cookie: Cookie) -> Result<(), i64> {
    // SAFETY: the key outlives the call.
    let ret =
        unsafe { bpf_sock_hash_update(ctx.ops, SOCKETS.as_ptr(), (&raw mut cookie).cast(), 0) };
    if ret == 0 { Ok(()) } else { Err(ret) }
}

/// Takes a socket out of the sockhash. Only for one that was never handed bytes: they would be
/// lost.
#[inline(always)]
pub fn leave(mut cookie: Cookie) {
    // SAFETY: the key outlives the call.
    unsafe { bpf_map_delete_elem(SOCKETS.as_ptr(), (&raw mut cookie).cast()) };
}

/// Hands the message to the peer's receive side. False: the peer is not in the sockhash any more.
#[inline(always)]
pub fn redirect(ctx: &SkMsgContext, mut peer: Cookie) -> bool {
    let (map, key) = (SOCKETS.as_ptr(), (&raw mut peer).cast());
    // SAFETY: the key outlives the call.
    let verdict = unsafe { bpf_msg_redirect_hash(ctx.msg, map, key, BPF_F_INGRESS.into()) };
    verdict as u32 == SK_PASS
}
