//! What the reading end must be like to be handed bytes.
//!
//! The kernel's sockmap read path cannot sleep as TCP's does: whatever wakes a blocked recv
//! without data (a signal, the ACK of a half-close, a reset, free send space) makes it fail with
//! EAGAIN (`tcp_bpf_recvmsg` waits once, where `tcp_recvmsg` loops). So only sockets in
//! non-blocking mode take part. An accepted socket shows its mode only after accept(2), when it
//! can no longer enter. So its listener's mode is taken for its own: where that is non-blocking it
//! enters on trial, and is taken out again if it turns out to block.

use aya_ebpf::programs::SockOpsContext;
use shim::layout::{FIT_LISTENER, Flow, PodId, UNFIT_PROGRAMS};

use super::verdict::Why;
use crate::{
    kernel::{fields, sock, task},
    state::{
        listener,
        maps::{self, add},
    },
};

/// Whether the running program is nginx. Where a read has filled its buffer, it asks FIONREAD for what
/// is left, and at 0 it waits for the next event of its edge-triggered epoll (`ngx_unix_recv`). But
/// of a socket in the sockhash FIONREAD counts either what TCP has brought or what was handed over
/// (`tcp_ioctl`, `tcp_bpf_ioctl`), and no event comes for the other. Known by its name, before it can
/// have asked.
#[inline(always)]
pub fn counts_unread() -> bool {
    let comm = task::comm().map(u64::from_ne_bytes);
    comm.is_some_and(|comm| UNFIT_PROGRAMS.map(u64::from_ne_bytes).contains(&comm))
}

/// Whether what a listener accepts may enter. Not through an MPTCP listener, which is an oops in
/// kernels before the end of 2025; one that listened before its pod was attached, and was not
/// found to be fit since, could be such a one.
#[inline(always)]
pub fn comes_from_a_fit_listener(ctx: &SockOpsContext) -> bool {
    listener::of(ctx)
        .is_some_and(|listener| listener == FIT_LISTENER || sock::is_nonblocking_socket(listener))
}

#[inline(always)]
pub fn count_blocking(pod: PodId) {
    if let Some(pod) = maps::pod(pod) {
        add(&mut pod.counters.not_paired.blocking, 1);
    }
}

/// Whether the peer may be handed bytes now. Its mode is looked at for every message, as an
/// application can change it at any time.
#[inline(always)]
pub fn check(flow: &mut Flow) -> Result<(), Why> {
    let peer = flow.peer.sock;
    // A sender that blocks is taken out by the ACK of what it sends, so that must go by TCP.
    if flow.mode != Flow::SHUNT && !sock::is_nonblocking_socket(flow.own.sock) {
        return Err(Why::Blocking);
    }
    if flow.peer_file == 0 {
        flow.peer_file = sock::file(peer).ok_or(Why::NotAccepted)?;
    }
    let first = flow.fed == 0;
    if first {
        // Atomic for its barrier.
        add(&mut flow.fed, 1);
    }
    if !sock::is_nonblocking(flow.peer_file) {
        if first {
            flow.fed = 0;
        }
        return Err(Why::Blocking);
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
