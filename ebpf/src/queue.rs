//! Back-pressure: the kernel's redirect knows no limit, so every direction has one.

use shim::layout::Flow;

use crate::{kernel, message::ByTcp};

const SOCK_SNDBUF_LOCK: u8 = 1;
const SOCK_RCVBUF_LOCK: u8 = 2;

/// Takes the message's kernel memory from the flow's budget. The budget is renewed only when the
/// peer's queue is seen empty, so the queue never holds more than one budget.
#[inline(always)]
pub fn has_room(flow: &mut Flow, size: u32, queue_limit: u32) -> Result<(), ByTcp> {
    let cost = u64::from(size) + u64::from(kernel::offsets().sk_msg_size);
    if flow.budget < cost {
        if !is_empty(flow.peer.sock) {
            return Err(ByTcp::QueueFull);
        }
        flow.budget = limit(flow, queue_limit);
        if flow.budget < cost {
            return Err(ByTcp::QueueFull);
        }
    }
    flow.budget -= cost;
    Ok(())
}

/// Nothing that was handed to the socket is unread.
#[inline(always)]
pub fn is_empty(sock: u64) -> bool {
    let at = kernel::offsets();
    let Some(user_data) = kernel::read::<u64>(sock, at.sock_user_data) else { return false };
    // The low bits are flags, see SK_USER_DATA_PTRMASK in include/net/sock.h.
    let list = (user_data & !7).wrapping_add(at.psock_ingress_msg.into());
    kernel::read::<u64>(list, 0) == Some(list)
}

/// What TCP would have allowed: where the application has set the buffers, a share of those.
#[inline(always)]
fn limit(flow: &Flow, queue_limit: u32) -> u64 {
    let at = kernel::offsets();
    let (own, peer) = (flow.own.sock, flow.peer.sock);
    let set = (userlocks(own) & SOCK_SNDBUF_LOCK) | (userlocks(peer) & SOCK_RCVBUF_LOCK);
    if set == 0 {
        return queue_limit.into();
    }
    let sndbuf = kernel::read::<u32>(own, at.sock_sndbuf).unwrap_or(0);
    let rcvbuf = kernel::read::<u32>(peer, at.sock_rcvbuf).unwrap_or(0);
    (u64::from(sndbuf) + u64::from(rcvbuf)) / 16
}

#[inline(always)]
fn userlocks(sock: u64) -> u8 {
    let bits = kernel::offsets().sock_userlocks_bits;
    kernel::read::<u8>(sock, bits / 8).map_or(0, |byte| byte >> (bits % 8))
}
