//! A socket that has entered the sockhash may turn out to block, or to be alone.

use core::mem::offset_of;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::Flow;

use super::reader;
use crate::{
    kernel::{fields, psock, sock},
    state::{callbacks, flow, maps},
};

/// Something has come for a socket on trial. Once it was accepted, it is in for good or out.
#[inline(always)]
pub fn judge(ctx: &SockOpsContext) {
    let Some(flow) = flow::flow(ctx) else { return };
    if flow.stage != Flow::ON_TRIAL {
        return;
    }
    let Some(file) = sock::file(flow.own.sock) else { return };
    let blocks = !sock::is_nonblocking(file) && !was_fed(flow);
    if !blocks && flow::has_met(flow) {
        flow.stage = Flow::FIT;
        return callbacks::end(ctx, flow, callbacks::ON_TRIAL);
    }
    if blocks {
        reader::count_blocking(flow.own.pod);
        let _ = maps::take_ends(flow);
    } else {
        flow::give_up(flow);
    }
    callbacks::leave(ctx, flow);
    flow::forget_flow(ctx);
}

/// Whether bytes may have been handed to this socket, which taking it out would lose. Read after
/// its mode, as [`reader::check`] writes before it reads the mode: one of the two sees the other.
#[inline(always)]
fn was_fed(flow: &Flow) -> bool {
    let fed = offset_of!(Flow, fed) as u32;
    flow::peer(flow).is_some_and(|peer| fields::read::<u64>(peer.flow, fed) != Some(0))
        || !psock::is_empty(flow.own.sock)
}
