//! Back-pressure: the kernel's redirect knows no limit, so every direction has one, and the node.
//!
//! From 6.13 the kernel charges what it hands over to the reader's receive buffer
//! (`bpf_tcp_ingress`), but the window that TCP has advertised does not shrink with it. Some
//! kernels (6.17 to 6.18.15 at least) then drop what TCP sends into a full buffer, and it comes
//! again by a timer that backs off. Where that was seen, the queue may take only what the window
//! has not promised to TCP.

use shim::layout::Flow;

use super::{peek, verdict::Why};
use crate::{
    kernel::{fields, memory, psock},
    state::shared::Seen,
};

const SOCK_SNDBUF_LOCK: u8 = 1;
const SOCK_RCVBUF_LOCK: u8 = 2;
/// Bytes that a flow queues between two looks at the kernel's memory.
const PORTION: u32 = 64 << 10;
/// Likewise at the peer's queue, once half of the budget is used.
const STEP: u32 = 16 << 10;

/// What a reader that peeks may have in its queue: small messages cost far more than their bytes.
const PEEKED: u32 = 2 << 20;

/// Takes the message's kernel memory from the flow's budget.
#[inline(always)]
pub fn check(flow: &mut Flow, size: u32) -> Result<(), Why> {
    let cost = size.saturating_add(fields::offsets().sk_msg_size);
    let is_half_used = flow.budget <= flow.grant / 2;
    if flow.budget < cost || is_half_used && ends(STEP, flow.budget, cost) {
        let before = flow.grant;
        renew(flow, cost);
        if flow.budget < cost && peek::is_waited_for(flow) {
            let more = flow.queue_limit.min(PEEKED).saturating_sub(flow.grant);
            flow.grant += more;
            flow.budget += more;
        }
        // A message for which the budget had to grow goes by TCP: the next of its kind need not.
        if flow.budget < cost || before != 0 && before < cost {
            return Err(Why::QueueFull);
        }
    }
    if ends(PORTION, flow.budget, cost) && memory::is_scarce(flow.own.sock, flow.peer.sock) {
        // So that the next one asks too.
        flow.budget -= flow.budget % PORTION;
        return Err(Why::QueueFull);
    }
    flow.budget -= cost;
    flow.handed = flow.handed.wrapping_add(size);
    Ok(())
}

/// Whether a message of that cost ends a portion of the budget.
#[inline(always)]
fn ends(portion: u32, budget: u32, cost: u32) -> bool {
    budget / portion != (budget - cost) / portion
}

/// The budget is a new one, less what is still unread, if the reader has read everything from before
/// the last time, and something from after that. It starts small, as TCP's, and doubles each time that half
/// of it was used, or a message was larger.
#[inline(always)]
fn renew(flow: &mut Flow, cost: u32) {
    let peer = flow.peer.sock;
    let is_read = |unread: u32| {
        let read = flow.handed.wrapping_sub(unread);
        (read.wrapping_sub(flow.renewed_at) as i32) > 0
    };
    let spent = flow.grant.saturating_sub(flow.budget);
    flow.carried = if psock::is_empty(peer) {
        0
    } else if psock::unread(peer).is_some_and(is_read) {
        spent.saturating_sub(flow.carried)
    } else {
        return;
    };
    flow.renewed_at = flow.handed;
    let rcvbuf = fields::read::<u32>(peer, fields::offsets().sock_rcvbuf).unwrap_or(0);
    let most = limit(flow, rcvbuf);
    // What TCP's first window takes of it, and the structure of its message.
    let first = rcvbuf / 2 + rcvbuf / 8;
    let grows = spent >= flow.grant / 2 || flow.grant < cost;
    let is_scarce = memory::is_scarce(flow.own.sock, peer);
    let grown = if is_scarce { 0 } else { flow.grant.saturating_mul(1 + u32::from(grows)) };
    flow.grant = grown.max(first).min(most);
    flow.budget = flow.grant.saturating_sub(flow.carried);
    if is_scarce {
        // So that the next message asks too.
        flow.budget -= flow.budget % PORTION;
    }
}

/// What TCP would have allowed: where the application has set the buffers, a share of those.
#[inline(always)]
fn limit(flow: &Flow, rcvbuf: u32) -> u32 {
    let at = fields::offsets();
    let (own, peer) = (flow.own.sock, flow.peer.sock);
    let set = (userlocks(own) & SOCK_SNDBUF_LOCK) | (userlocks(peer) & SOCK_RCVBUF_LOCK);
    let mut limit = flow.queue_limit;
    if set != 0 {
        let sndbuf = fields::read::<u32>(own, at.sock_sndbuf).unwrap_or(0);
        limit = sndbuf / 16 + rcvbuf / 16;
    }
    if DROPS.is_seen() {
        limit = limit.min(rcvbuf.saturating_sub(window(peer)));
    }
    limit
}

/// Bytes that TCP may still send to the socket.
#[inline(always)]
fn window(sock: u64) -> u32 {
    let at = fields::offsets();
    let [wnd, wup, nxt] = [at.tcp_rcv_wnd, at.tcp_rcv_wup, at.tcp_rcv_nxt]
        .map(|offset| fields::read::<u32>(sock, offset).unwrap_or(0));
    wup.wrapping_add(wnd).wrapping_sub(nxt)
}

/// This kernel drops what TCP sends into a receive buffer that the queue fills.
static DROPS: Seen = Seen::not_yet();

/// A retransmission timer between two sockets of one node: nothing was lost on the way, so if the
/// peer has not read what was handed to it, that is what left no room.
#[inline(always)]
pub fn notice_timeout(flow: &Flow) {
    let charged = fields::read::<u32>(flow.peer.sock, fields::offsets().sock_rmem_alloc);
    if flow.peer.cookie != 0 && charged != Some(0) && !psock::is_empty(flow.peer.sock) {
        DROPS.see();
    }
}

#[inline(always)]
fn userlocks(sock: u64) -> u8 {
    let bits = fields::offsets().sock_userlocks_bits;
    fields::read::<u8>(sock, bits / 8).map_or(0, |byte| byte >> (bits % 8))
}
