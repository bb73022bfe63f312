//! Callbacks that shunt asks the kernel for, for one socket. Other programs' flags stay: the helper
//! replaces the whole set.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_RTT_CB_FLAG,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
    },
    programs::SockOpsContext,
};
use shim::layout::Flow;

use super::sockhash;
use crate::kernel::fields;

/// At the end of the connection, and when a retransmission timer fires.
const FOR_LIFE: u32 = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG;
/// An ACK of data, and all that the socket sends itself (ACKs of what comes by TCP, probes).
pub const WHILE_IN: u32 = BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
/// A packet that takes the receive path's long branch.
pub const ON_TRIAL: u32 = BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG;

/// One field of the context. Volatile, as the verifier refuses loads that the compiler has merged.
macro_rules! field {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: the context is valid while the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx.ops).$($field)+) }
    };
}

pub(crate) use field;

/// Asks for the callbacks of a socket that has entered.
#[inline(always)]
pub fn begin(ctx: &SockOpsContext, flow: &mut Flow) {
    ask(ctx, flow, FOR_LIFE | WHILE_IN | ON_TRIAL);
}

/// Asks for those of a socket that is plain TCP: at its end, and while its program is to be known better
/// also what comes and what it sends.
#[inline(always)]
pub fn begin_plain(ctx: &SockOpsContext, flow: &mut Flow, learns: bool) {
    let more = if learns { WHILE_IN | ON_TRIAL } else { 0 };
    ask(ctx, flow, BPF_SOCK_OPS_STATE_CB_FLAG | more);
}

#[inline(always)]
fn ask(ctx: &SockOpsContext, flow: &mut Flow, wanted: u32) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    flow.callbacks = (wanted & !flags) as u16;
    let _ = ctx.set_cb_flags((flags | wanted) as i32);
}

/// Asks for a callback with what the socket sends, of one that is left alone.
#[inline(always)]
pub fn look(ctx: &SockOpsContext) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    let _ = ctx.set_cb_flags((flags | BPF_SOCK_OPS_RTT_CB_FLAG) as i32);
}

#[inline(always)]
pub fn look_no_more(ctx: &SockOpsContext) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    let _ = ctx.set_cb_flags((flags & !BPF_SOCK_OPS_RTT_CB_FLAG) as i32);
}

/// Another program may have replaced the flags since: asks for the callbacks again.
#[inline(always)]
pub fn ask_again(ctx: &SockOpsContext, flow: &Flow) {
    let wanted = match flow.stage {
        Flow::ENTERED => FOR_LIFE | WHILE_IN | ON_TRIAL,
        Flow::SETTLED => FOR_LIFE | WHILE_IN,
        _ => return,
    };
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    if flags & wanted != wanted {
        let _ = ctx.set_cb_flags((flags | wanted) as i32);
    }
}

/// Whether a socket that entered and did not leave still has those callbacks that it needs as long.
#[inline(always)]
pub fn are_held(sock: u64) -> bool {
    let wanted = FOR_LIFE | WHILE_IN;
    fields::read::<u8>(sock, fields::offsets().tcp_callback_flags)
        .is_some_and(|flags| u32::from(flags) & wanted == wanted)
}

/// Gives back those of them that shunt itself has set.
#[inline(always)]
pub fn end(ctx: &SockOpsContext, flow: &Flow, which: u32) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags) & !(u32::from(flow.callbacks) & which);
    let _ = ctx.set_cb_flags(flags as i32);
}

/// Takes a socket out of the sockhash to which nothing was handed that is unread.
#[inline(always)]
pub fn leave(ctx: &SockOpsContext, flow: &Flow) {
    sockhash::leave(flow.own.cookie);
    end(ctx, flow, ON_TRIAL | WHILE_IN);
}
