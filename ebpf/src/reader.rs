//! What the reading end must be like to be handed bytes.
//!
//! The kernel's sockmap read path cannot sleep as TCP's does: whatever wakes a blocked recv
//! without data (a signal, the ACK of a half-close, a reset, free send space) makes it fail with
//! EAGAIN (`tcp_bpf_recvmsg` waits once, where `tcp_recvmsg` loops). So only sockets in
//! non-blocking mode take part. An accepted socket shows its mode only after accept(2), when it
//! can no longer enter. So its listener's mode is taken for its own: where that is non-blocking it
//! enters on trial, and is taken out again if it turns out to block.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_RTT_CB_FLAG,
        BPF_SOCK_OPS_STATE_CB_FLAG,
    },
    helpers::generated::bpf_get_current_task,
    programs::SockOpsContext,
};
use shim::layout::{End, FIT_LISTENER, Flow, PodId, UNFIT_PROGRAMS};

use crate::{
    establish::{field, give_up, has_met},
    kernel,
    maps::{self, add},
    message::ByTcp,
    nudge, queue, socket,
};

const O_NONBLOCK: u32 = 0o4000;
/// Callbacks at the end of the connection, and when a retransmission timer fires.
const FOR_LIFE: u32 = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG;
/// A packet that takes the receive path's long branch. It and an ACK of data call [`judge`].
const ON_TRIAL: u32 = BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG;

/// Address of the socket's `struct file`; `None` before it was accepted, and for a subflow of
/// MPTCP, which borrows the `struct socket` of the connection it belongs to.
#[inline(always)]
pub fn file(sock: u64) -> Option<u64> {
    let at = kernel::offsets();
    let socket = kernel::read::<u64>(sock, at.sock_socket).filter(|at| *at != 0)?;
    kernel::read::<u64>(socket, at.socket_sk).filter(|owner| *owner == sock)?;
    kernel::read::<u64>(socket, at.socket_file).filter(|at| *at != 0)
}

/// Not accepted yet, or closed: nobody can read from it.
#[inline(always)]
pub fn has_no_owner(sock: u64) -> bool {
    kernel::read::<u64>(sock, kernel::offsets().sock_socket) == Some(0)
}

#[inline(always)]
pub fn is_nonblocking(file: u64) -> bool {
    kernel::read::<u32>(file, kernel::offsets().file_flags)
        .is_some_and(|flags| flags & O_NONBLOCK != 0)
}

#[inline(always)]
pub fn is_nonblocking_socket(sock: u64) -> bool {
    file(sock).is_some_and(is_nonblocking)
}

/// Whether the running program is nginx. Where a read has filled its buffer, it asks FIONREAD for what
/// is left, and at 0 it waits for the next event of its edge-triggered epoll (`ngx_unix_recv`). But
/// of a socket in the sockhash FIONREAD counts either what TCP has brought or what was handed over
/// (`tcp_ioctl`, `tcp_bpf_ioctl`), and no event comes for the other. Known by its name, before it can
/// have asked.
#[inline(always)]
pub fn counts_unread() -> bool {
    // SAFETY: an address as a number.
    let task = unsafe { bpf_get_current_task() };
    let comm = kernel::read::<[u8; 8]>(task, kernel::offsets().task_comm).map(u64::from_ne_bytes);
    comm.is_some_and(|comm| UNFIT_PROGRAMS.map(u64::from_ne_bytes).contains(&comm))
}

/// Whether what a listener accepts may enter. Not through an MPTCP listener, which is an oops in
/// kernels before the end of 2025; one that listened before its pod was attached, and was not
/// found to be fit since, could be such a one.
#[inline(always)]
pub fn comes_from_a_fit_listener(ctx: &SockOpsContext) -> bool {
    socket::listener(ctx)
        .is_some_and(|listener| listener == FIT_LISTENER || is_nonblocking_socket(listener))
}

/// Asks for the callbacks of a socket that has entered. Other programs' flags stay, now and after
/// the trial: the helper replaces the whole set.
#[inline(always)]
pub fn put_on_trial(ctx: &SockOpsContext) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    let wanted = FOR_LIFE | while_in() | ON_TRIAL;
    if let Some(flow) = socket::flow(ctx) {
        flow.callbacks = wanted & !flags;
    }
    let _ = ctx.set_cb_flags((flags | wanted) as i32);
}

#[inline(always)]
fn end_callbacks(ctx: &SockOpsContext, flow: &Flow, which: u32) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags) & !(flow.callbacks & which);
    let _ = ctx.set_cb_flags(flags as i32);
}

/// The callbacks of a socket in the sockhash: an ACK of data, and what it sends itself.
#[inline(always)]
fn while_in() -> u32 {
    BPF_SOCK_OPS_RTT_CB_FLAG | nudge::flag()
}

/// Something has come for a socket on trial. Once it was accepted, it is in for good or out.
#[inline(always)]
pub fn judge(ctx: &SockOpsContext) {
    let Some(flow) = socket::flow(ctx) else { return };
    if flow.stage != Flow::ON_TRIAL {
        return;
    }
    let Some(file) = file(flow.own.sock) else { return };
    let blocks = !is_nonblocking(file) && !was_fed(flow);
    if !blocks && has_met(flow) {
        flow.stage = Flow::FIT;
        return end_callbacks(ctx, flow, ON_TRIAL);
    }
    if blocks {
        count_blocking(flow.own.pod);
        let _ = maps::take_ends(flow);
    } else {
        give_up(flow);
    }
    leave(ctx, flow);
    socket::forget_flow(ctx);
}

/// Takes a socket out of the sockhash to which nothing was handed that is unread.
#[inline(always)]
pub fn leave(ctx: &SockOpsContext, flow: &Flow) {
    socket::leave(flow.own.cookie);
    end_callbacks(ctx, flow, ON_TRIAL | while_in());
}

/// Whether bytes may have been handed to this socket, which taking it out would lose. Read after
/// its mode, as [`is_ready`] writes before it reads the mode: one of the two sees the other.
#[inline(always)]
fn was_fed(flow: &Flow) -> bool {
    let fed = offset_of!(Flow, fed) as u32;
    peer(flow).is_some_and(|peer| kernel::read::<u64>(peer.flow, fed) != Some(0))
        || !queue::is_empty(flow.own.sock)
}

/// Whether bytes were handed to this socket, as far as can be told when it is closed: by then its
/// psock can be gone, and its peer's flow, whose memory can be another's.
#[inline(always)]
pub fn was_surely_fed(flow: &Flow) -> bool {
    let (cookie, fed) = (offset_of!(Flow, own.cookie) as u32, offset_of!(Flow, fed) as u32);
    peer(flow).is_some_and(|peer| {
        kernel::read::<u64>(peer.flow, cookie) == Some(peer.cookie)
            && kernel::read::<u64>(peer.flow, fed).is_some_and(|fed| fed != 0)
    })
}

/// Where TCP went on after what was handed to this socket, as a sequence number of its peer's.
#[inline(always)]
pub fn seam(flow: &Flow) -> Option<u32> {
    kernel::read(peer(flow)?.flow, offset_of!(Flow, seam) as u32)
}

/// Who feeds this socket. The active end may not have met its peer yet.
#[inline(always)]
pub fn peer(flow: &Flow) -> Option<End> {
    let mut peer = flow.peer;
    if peer.cookie == 0 {
        peer = maps::ends(flow)?.passive;
    }
    (peer.cookie != 0).then_some(peer)
}

#[inline(always)]
pub fn count_blocking(pod: PodId) {
    if let Some(pod) = maps::pod(pod) {
        add(&mut pod.counters.not_paired.blocking, 1);
    }
}

/// Whether no more is to come to the reader: one of the two has shut down. See RCV_SHUTDOWN in
/// include/net/sock.h.
#[inline(always)]
pub fn is_shut(sock: u64) -> bool {
    let bits = kernel::offsets().sock_shutdown_bits;
    kernel::read::<u8>(sock, bits / 8).is_none_or(|byte| byte >> (bits % 8) & 1 != 0)
}

/// Whether the peer may be handed bytes now. Its mode is looked at for every message, as an
/// application can change it at any time.
#[inline(always)]
pub fn is_ready(flow: &mut Flow) -> Result<(), ByTcp> {
    let peer = flow.peer.sock;
    // A sender that blocks is taken out by the ACK of what it sends, so that must go by TCP.
    if flow.mode != Flow::SHUNT && !is_nonblocking_socket(flow.own.sock) {
        return Err(ByTcp::Blocking);
    }
    if flow.peer_file == 0 {
        flow.peer_file = file(peer).ok_or(ByTcp::NotAccepted)?;
    }
    let first = flow.fed == 0;
    if first {
        // Atomic for its barrier.
        add(&mut flow.fed, 1);
    }
    if !is_nonblocking(flow.peer_file) {
        if first {
            flow.fed = 0;
        }
        return Err(ByTcp::Blocking);
    }
    // Only TCP resets a connection that nobody reads any more.
    if is_shut(peer) {
        return Err(ByTcp::Closing);
    }
    // A peer that waits for more than one byte would be woken too early.
    match kernel::read::<i32>(peer, kernel::offsets().sock_rcvlowat) {
        Some(lowat) if lowat <= 1 => Ok(()),
        Some(_) => Err(ByTcp::RcvLowat),
        None => Err(ByTcp::Closing),
    }
}
