//! What the reading end must be like at the moment to be handed bytes.
//!
//! The kernel's sockmap read path cannot sleep as TCP's does: whatever wakes a sleeping recv
//! without data (a signal, the ACK of a half-close, a reset, free send space) makes it fail with
//! EAGAIN (`tcp_bpf_recvmsg` waits once, where `tcp_recvmsg` loops). So a socket in blocking mode is
//! handed bytes only while nobody sleeps in its recv: its program waits in epoll, poll or select.

use shim::layout::{End, Flow, Trust, Watch, Watched};

use super::verdict::Why;
use crate::{
    kernel::{fields, sock, waitqueue},
    state::{flow::Shown, habits, maps::add},
};

/// Whether a socket is one that those who send have to look at: see [`check`].
#[inline(always)]
pub fn is_exceptional(sock: u64) -> bool {
    fields::read::<i32>(sock, fields::offsets().sock_rcvlowat) != Some(1)
}

/// Whether the peer may be handed bytes now. Its mode is looked at for every message, as an
/// application can change it at any time.
#[inline(always)]
pub fn check(flow: &mut Flow, shown: &Shown) -> Result<(), Why> {
    let peer = flow.peer.sock;
    // A sender that blocks and is not trusted in that mode is taken out by the ACK of what it sends,
    // so that must go by TCP.
    let may_leave = flow.trusted < Trust::Awake as u32 && flow.mode != Flow::SHUNT;
    if may_leave && !sock::is_nonblocking_socket(flow.own.sock) {
        return Err(Why::Blocking);
    }
    // A reset before it is accepted ends its place in the sockhash, and what it was handed would be lost.
    if flow.peer_file == 0 {
        flow.peer_file = sock::file(peer).ok_or(Why::NotAccepted)?;
    }
    let first = flow.mode != Flow::SHUNT && flow.fed == 0;
    if first {
        // Atomic for its barrier.
        add(&mut flow.fed, 1);
    }
    if sleeps(flow) {
        if first {
            flow.fed = 0;
        }
        return Err(Why::Blocking);
    }
    if !shown.is_exceptional {
        return Ok(());
    }
    // Only TCP resets a connection that nobody reads any more.
    if sock::is_shut(peer) {
        return Err(Why::Closing);
    }
    // A peer that waits for more than one byte would be woken too early.
    match fields::read::<i32>(peer, fields::offsets().sock_rcvlowat) {
        Some(lowat) if lowat <= 1 => Ok(()),
        Some(_) => Err(Why::RcvLowat),
        None => Err(Why::Closing),
    }
}

#[inline(always)]
fn sleeps(flow: &Flow) -> bool {
    flow.peer_trust != Trust::Always as u16
        && !sock::is_nonblocking(flow.peer_file)
        && (flow.peer_trust == Trust::NonBlocking as u16 || is_seen_asleep(flow.peer))
}

/// Whether a task sleeps in a socket's recv(2). Where nothing watches, this is how it becomes known of its
/// program; elsewhere that is known for certain, while this may be a send(2).
#[inline(always)]
pub fn is_seen_asleep(end: End) -> bool {
    let asleep = waitqueue::has_sleeper(end.sock);
    if asleep
        && fields::watch() == Watch::Names as u32
        && let Some(watched) = habits::watched(end.cookie)
    {
        habits::bad_sign(end.sock, watched, Watched::SLEEPS);
    }
    asleep
}
