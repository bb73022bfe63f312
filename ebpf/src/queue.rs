//! Back-pressure: the kernel's redirect knows no limit, so every direction has one.
//!
//! From 6.13 the kernel charges what it hands over to the reader's receive buffer
//! (`bpf_tcp_ingress`), but the window that TCP has advertised does not shrink with it: what TCP
//! then sends into a full buffer is dropped, and comes again by a timer that backs off. There,
//! the queue may take only what the window has not promised to TCP.

use shim::layout::Flow;

use crate::{kernel, message::ByTcp};

const SOCK_SNDBUF_LOCK: u8 = 1;
const SOCK_RCVBUF_LOCK: u8 = 2;

/// Takes the message's kernel memory from the flow's budget. The budget is renewed only when the
/// peer's queue is seen empty, so the queue never holds more than one budget.
#[inline(always)]
pub fn has_room(flow: &mut Flow, size: u32, queue_limit: u32) -> Result<(), ByTcp> {
    let cost = u64::from(size) + u64::from(kernel::offsets().sk_msg_size);
    notice_charging(flow, queue_limit);
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

/// Somebody is inside send(2) or recv(2) of the socket: each holds a reference to its psock.
#[inline(always)]
pub fn is_in_use(sock: u64) -> bool {
    let at = kernel::offsets();
    kernel::read::<u64>(sock, at.sock_user_data)
        .and_then(|user_data| kernel::read::<u32>(user_data & !7, at.psock_refcnt))
        .is_none_or(|references| references > 1)
}

/// What TCP would have allowed: where the application has set the buffers, a share of those.
#[inline(always)]
fn limit(flow: &Flow, queue_limit: u32) -> u64 {
    let at = kernel::offsets();
    let (own, peer) = (flow.own.sock, flow.peer.sock);
    let set = (userlocks(own) & SOCK_SNDBUF_LOCK) | (userlocks(peer) & SOCK_RCVBUF_LOCK);
    let mut limit = u64::from(queue_limit);
    let rcvbuf = u64::from(kernel::read::<u32>(peer, at.sock_rcvbuf).unwrap_or(0));
    if set != 0 {
        let sndbuf = kernel::read::<u32>(own, at.sock_sndbuf).unwrap_or(0);
        limit = (u64::from(sndbuf) + rcvbuf) / 16;
    }
    if kernel_charges() {
        limit = limit.min(rcvbuf.saturating_sub(window(peer)));
    }
    limit
}

/// Bytes that TCP may still send to the socket.
#[inline(always)]
fn window(sock: u64) -> u64 {
    let at = kernel::offsets();
    let [wnd, wup, nxt] = [at.tcp_rcv_wnd, at.tcp_rcv_wup, at.tcp_rcv_nxt]
        .map(|offset| kernel::read::<u32>(sock, offset).unwrap_or(0));
    u64::from(wup.wrapping_add(wnd).wrapping_sub(nxt))
}

/// Whether this kernel charges what it hands over, as far as was seen.
static mut CHARGES: u32 = 0;

#[inline(always)]
fn kernel_charges() -> bool {
    // SAFETY: one word, that only ever turns from 0 to 1.
    unsafe { core::ptr::read_volatile(&raw const CHARGES) != 0 }
}

/// While nothing goes by TCP, a receive buffer that holds something holds what was handed over.
#[inline(always)]
fn notice_charging(flow: &mut Flow, queue_limit: u32) {
    if flow.mode == Flow::SHUNT && !kernel_charges() {
        let at = kernel::offsets();
        let held = kernel::read::<u32>(flow.peer.sock, at.sock_rmem_alloc).unwrap_or(0);
        if held != 0 {
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut CHARGES, 1) };
            let left = limit(flow, queue_limit).saturating_sub(held.into());
            flow.budget = flow.budget.min(left);
        }
    }
}

#[inline(always)]
fn userlocks(sock: u64) -> u8 {
    let bits = kernel::offsets().sock_userlocks_bits;
    kernel::read::<u8>(sock, bits / 8).map_or(0, |byte| byte >> (bits % 8))
}
