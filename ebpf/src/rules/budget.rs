//! Back-pressure: the kernel's redirect knows no limit, so every direction has one, and the node.
//!
//! From 6.13 the kernel charges what it hands over to the reader's receive buffer
//! (`bpf_tcp_ingress`), but the window that TCP has advertised does not shrink with it. Some
//! kernels (6.17 to 6.18.15 at least) then drop what TCP sends into a full buffer, and it comes
//! again by a timer that backs off. Where that was seen, the queue may take only what the window
//! has not promised to TCP.

use shim::layout::Flow;

use super::verdict::Why;
use crate::{
    kernel::{fields, psock},
    state::shared::Seen,
};

const SOCK_SNDBUF_LOCK: u8 = 1;
const SOCK_RCVBUF_LOCK: u8 = 2;
/// Bytes that a flow queues between two looks at the memory of the node.
const PORTION: u64 = 64 << 10;

/// Takes the message's kernel memory from the flow's budget. The budget is renewed only when the
/// peer's queue is seen empty, so the queue never holds more than one budget.
#[inline(always)]
pub fn check(flow: &mut Flow, size: u32, queue_limit: u32) -> Result<(), Why> {
    let cost = u64::from(size) + u64::from(fields::offsets().sk_msg_size);
    if flow.budget < cost {
        if !psock::is_empty(flow.peer.sock) {
            return Err(Why::QueueFull);
        }
        flow.budget = limit(flow, queue_limit);
        if flow.budget < cost {
            return Err(Why::QueueFull);
        }
    }
    let left = flow.budget - cost;
    if left / PORTION != flow.budget / PORTION && is_memory_scarce(flow.own.sock) {
        flow.budget = 0;
        return Err(Why::QueueFull);
    }
    flow.budget = left;
    Ok(())
}

/// What TCP would have allowed: where the application has set the buffers, a share of those.
#[inline(always)]
fn limit(flow: &Flow, queue_limit: u32) -> u64 {
    let at = fields::offsets();
    let (own, peer) = (flow.own.sock, flow.peer.sock);
    let set = (userlocks(own) & SOCK_SNDBUF_LOCK) | (userlocks(peer) & SOCK_RCVBUF_LOCK);
    let mut limit = u64::from(queue_limit);
    let rcvbuf = u64::from(fields::read::<u32>(peer, at.sock_rcvbuf).unwrap_or(0));
    if set != 0 {
        let sndbuf = fields::read::<u32>(own, at.sock_sndbuf).unwrap_or(0);
        limit = (u64::from(sndbuf) + rcvbuf) / 16;
    }
    if DROPS.is_seen() {
        limit = limit.min(rcvbuf.saturating_sub(window(peer)));
    }
    limit
}

/// Bytes that TCP may still send to the socket.
#[inline(always)]
fn window(sock: u64) -> u64 {
    let at = fields::offsets();
    let [wnd, wup, nxt] = [at.tcp_rcv_wnd, at.tcp_rcv_wup, at.tcp_rcv_nxt]
        .map(|offset| fields::read::<u32>(sock, offset).unwrap_or(0));
    u64::from(wup.wrapping_add(wnd).wrapping_sub(nxt))
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

/// Whether TCP's memory is scarce on the node (`net.ipv4.tcp_mem`), which all queues count to.
#[inline(always)]
fn is_memory_scarce(sock: u64) -> bool {
    let at = fields::offsets();
    fields::read::<u64>(sock, at.sock_prot)
        .and_then(|prot| fields::read::<u64>(prot, at.proto_memory_pressure))
        .and_then(|pressure| fields::read::<u64>(pressure, 0))
        .is_none_or(|pressure| pressure != 0)
}

#[inline(always)]
fn userlocks(sock: u64) -> u8 {
    let bits = fields::offsets().sock_userlocks_bits;
    fields::read::<u8>(sock, bits / 8).map_or(0, |byte| byte >> (bits % 8))
}
