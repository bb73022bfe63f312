//! For every message on a paired socket: the short way, or TCP.

use aya_ebpf::programs::SkMsgContext;
use shim::layout::*;

use crate::{
    bulk, maps,
    maps::{PAIRS, add},
    odd, order, queue, reader, socket,
};

/// Why a message goes by TCP.
pub enum ByTcp {
    /// The peer is not known yet.
    NotMet,
    /// The peer was not accepted yet.
    NotAccepted,
    /// The order rule does not allow the short way yet.
    Unread,
    Blocking,
    /// The peer does not read by recv(2) alone.
    Turned,
    UrgentData,
    Bypassed,
    RcvLowat,
    QueueFull,
    Closing,
    Draining,
    /// One end is leaving the sockhash.
    Bulk,
}

#[inline(always)]
pub fn run(ctx: &SkMsgContext) {
    let Some(flow) = socket::flow(ctx) else { return };
    let size = size(ctx);
    let Some(pod) = maps::pod(flow.own.pod) else {
        // A pod that was forgotten is not accelerated any more.
        flow.mode = Flow::TCP;
        return;
    };
    flow.messages += 1;
    let before = flow.mode;
    let verdict = decide(ctx, flow, size, pod.policy.queue_limit);
    bulk::notice(flow, size, &verdict);
    flow.mode = if verdict.is_ok() { Flow::SHUNT } else { Flow::TCP };
    let counters = &mut pod.counters;
    let Err(why) = verdict else {
        if before != Flow::SHUNT {
            add(&mut counters.to_shunt, 1);
        }
        add(&mut counters.shunted.messages, 1);
        return add(&mut counters.shunted.bytes, size.into());
    };
    if before == Flow::SHUNT {
        flow.seam = flow.tcp_seq;
        match why {
            ByTcp::QueueFull => add(&mut counters.to_tcp.queue_full, 1),
            ByTcp::RcvLowat => add(&mut counters.to_tcp.rcvlowat, 1),
            ByTcp::Closing => add(&mut counters.to_tcp.closing, 1),
            ByTcp::Draining => add(&mut counters.to_tcp.draining, 1),
            ByTcp::Blocking => add(&mut counters.to_tcp.blocking, 1),
            ByTcp::Turned => {
                odd::count_turned(&flow.peer);
                add(&mut counters.to_tcp.turned, 1);
            }
            ByTcp::UrgentData => add(&mut counters.to_tcp.oob, 1),
            ByTcp::Bypassed => add(&mut counters.to_tcp.bypassed, 1),
            // Counted when the socket has left.
            ByTcp::Bulk => (),
            // These keep a flow on TCP and cannot end its time on the short way.
            ByTcp::NotMet | ByTcp::NotAccepted | ByTcp::Unread => (),
        }
    }
    add(&mut counters.by_tcp.messages, 1);
    add(&mut counters.by_tcp.bytes, size.into());
}

#[inline(always)]
fn decide(ctx: &SkMsgContext, flow: &mut Flow, size: u32, queue_limit: u32) -> Result<(), ByTcp> {
    if maps::is_draining() {
        return Err(ByTcp::Draining);
    }
    if flow.peer.cookie == 0 {
        meet(flow)?;
    }
    if !socket::may_send(ctx) {
        return Err(ByTcp::Closing);
    }
    bulk::allows(flow)?;
    order::allows(flow)?;
    odd::allows(flow)?;
    reader::is_ready(flow)?;
    queue::has_room(flow, size, queue_limit)?;
    if socket::redirect(ctx, flow.peer.cookie) { Ok(()) } else { Err(ByTcp::Closing) }
}

/// The active end learns its peer from what the passive end left.
#[inline(always)]
fn meet(flow: &mut Flow) -> Result<(), ByTcp> {
    let peer = maps::ends(flow).ok_or(ByTcp::NotMet)?.passive;
    if peer.cookie == 0 {
        return Err(ByTcp::NotMet);
    }
    flow.peer = peer;
    let _ = PAIRS.remove(flow.pair);
    Ok(())
}

#[inline(always)]
fn size(ctx: &SkMsgContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { core::ptr::read_volatile(&raw const (*ctx.msg).size) }
}
