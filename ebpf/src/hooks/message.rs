//! For every message on a paired socket: the short way, or TCP.

use aya_ebpf::programs::SkMsgContext;
use shim::layout::*;

use crate::{
    rules::{budget, bulk, heartbeat, order, overruled, reader, size, trust, tunnel, verdict::Why},
    state::{
        flow,
        maps::{self, add},
        pending, sockhash,
    },
};

#[inline(always)]
pub fn run(ctx: &SkMsgContext) {
    let Some(flow) = flow::flow(ctx) else { return };
    let size = size(ctx);
    flow.messages = flow.messages.wrapping_add(1);
    tunnel::look_for(ctx, flow);
    let before = flow.mode;
    let verdict = decide(ctx, flow, size);
    bulk::notice(flow, size, &verdict);
    flow.mode = if verdict.is_ok() { Flow::SHUNT } else { Flow::TCP };
    match verdict {
        Ok(()) => pending::count(flow, size, before != Flow::SHUNT),
        Err(why) => count_by_tcp(ctx, flow, before, why),
    }
}

#[inline(always)]
fn count_by_tcp(ctx: &SkMsgContext, flow: &mut Flow, before: u32, why: Why) {
    if before == Flow::SHUNT {
        flow.seam = flow.tcp_seq;
    }
    let Some(pod) = maps::pod(flow.own.pod) else { return };
    let counters = &mut pod.counters;
    heartbeat::begin(flow, pod.policy.heartbeat);
    if before == Flow::SHUNT {
        pending::carry(flow, counters);
        match why {
            Why::QueueFull => add(&mut counters.to_tcp.queue_full, 1),
            Why::Heartbeat => add(&mut counters.to_tcp.heartbeat, 1),
            Why::RcvLowat => add(&mut counters.to_tcp.rcvlowat, 1),
            Why::Closing => add(&mut counters.to_tcp.closing, 1),
            Why::Draining => add(&mut counters.to_tcp.draining, 1),
            Why::Blocking => add(&mut counters.to_tcp.blocking, 1),
            Why::NotTrusted => add(&mut counters.to_tcp.distrusted, 1),
            Why::Untried => add(&mut counters.to_tcp.untried, 1),
            Why::UrgentData => add(&mut counters.to_tcp.oob, 1),
            Why::Bypassed => add(&mut counters.to_tcp.bypassed, 1),
            // Counted when the socket has left.
            Why::Leaving => (),
            // These keep a flow on TCP and cannot end its time on the short way.
            Why::NotMet | Why::NotAccepted | Why::Unread | Why::Overruled => (),
        }
    }
    add(&mut counters.by_tcp.messages, 1);
    if let Some(written) = flow::write_seq(ctx) {
        pending::count_by_tcp(flow, written, counters);
    }
}

#[inline(always)]
fn decide(ctx: &SkMsgContext, flow: &mut Flow, size: u32) -> Result<(), Why> {
    if maps::is_draining() {
        return Err(Why::Draining);
    }
    if flow.peer.cookie == 0 && !flow::meet(flow) {
        return Err(Why::NotMet);
    }
    if !flow::may_send(ctx) {
        return Err(Why::Closing);
    }
    let peer = bulk::check(flow)?;
    if flow.mode != Flow::SHUNT {
        overruled::check(flow)?;
    }
    order::check(ctx, flow)?;
    trust::check(flow)?;
    size::check(flow, size)?;
    reader::check(flow, &peer)?;
    heartbeat::check(flow)?;
    budget::check(flow, size)?;
    if sockhash::redirect(ctx, flow.peer.cookie) { Ok(()) } else { Err(Why::Closing) }
}

#[inline(always)]
fn size(ctx: &SkMsgContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { core::ptr::read_volatile(&raw const (*ctx.msg).size) }
}
