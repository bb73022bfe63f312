//! sk_msg: redirects every message to key 0. Only for the trial of FIONREAD at load, in a map of its own.

use aya_ebpf::{
    bindings::BPF_F_INGRESS, helpers::generated::bpf_msg_redirect_hash, programs::SkMsgContext,
};
use shim::layout::Cookie;

use crate::state::maps::SOCKETS;

#[inline(always)]
pub fn run(ctx: &SkMsgContext) {
    let mut key: Cookie = 0;
    // SAFETY: the key outlives the call.
    unsafe {
        bpf_msg_redirect_hash(
            ctx.msg,
            SOCKETS.as_ptr(),
            (&raw mut key).cast(),
            BPF_F_INGRESS.into(),
        );
    }
}
