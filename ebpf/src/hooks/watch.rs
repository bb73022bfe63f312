//! fentry: watches, where the kernel has trampolines, how sockets are used.

use aya_ebpf::programs::FEntryContext;

use crate::{
    kernel::{fields, psock},
    state::marks,
};

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;

/// Every TCP socket of the node comes by here.
#[inline(always)]
pub fn on_splice(ctx: &FEntryContext) {
    let Some(sock) = fields::read::<u64>(ctx.arg(0), fields::offsets().socket_sk) else { return };
    if psock::of(sock).is_some() {
        marks::mark(sock, |odd| odd.splice = 1);
    }
}

/// Without waiting, MSG_WAITALL means nothing.
#[inline(always)]
pub fn on_recvmsg(ctx: &FEntryContext) {
    let fourth = ctx.arg::<u64>(3) as u32;
    let (flags, waits) = if fields::offsets().recvmsg_parameters == 6 {
        (ctx.arg::<u64>(4) as u32, fourth == 0)
    } else {
        (fourth, fourth & MSG_DONTWAIT == 0)
    };
    if flags & MSG_WAITALL != 0 && waits {
        marks::mark(ctx.arg(0), |odd| odd.waitall = 1);
    } else if flags & MSG_PEEK == 0 {
        marks::see_reader(ctx.arg(0));
    }
}

#[inline(always)]
pub fn on_sendmsg(ctx: &FEntryContext) {
    marks::WATCHES.see();
    let flags = fields::read::<u32>(ctx.arg(1), fields::offsets().msghdr_flags).unwrap_or(0);
    if flags & MSG_OOB != 0 {
        marks::mark(ctx.arg(0), |odd| odd.oob = 1);
    }
}
