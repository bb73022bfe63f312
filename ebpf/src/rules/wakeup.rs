//! News for a reader that has read all that was handed to it, while more had come by TCP.
//!
//! recv(2) gives of one or of the other, never of both, so where they meet a read is short. Who
//! takes that to mean that there is no more (epoll(7) allows it, tokio does it) waits for an event,
//! and the last one was long ago. So there is one more when the queue is empty. Nothing runs when a
//! queue becomes empty, but the reader answers what its peer still has to send, or probes for when
//! there is room; and where all has come, it probes itself: keepalive is borrowed for that while.
//! The event is what setting SO_RCVLOWAT to what it is gives (`tcp_set_rcvlowat`), to programs since
//! Linux 6.1 (`sk_setsockopt`).

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_getsockopt, bpf_setsockopt},
    programs::{SockOpsContext, SockoptContext},
};
use shim::layout::{Flow, Keepalive};

use crate::{
    kernel::{
        fields,
        option::{
            SO_KEEPALIVE, SO_RCVLOWAT, SOL_SOCKET, SOL_TCP, TCP_KEEPCNT, TCP_KEEPIDLE,
            TCP_KEEPINTVL,
        },
        psock, sock,
    },
    state::flow::{self, Context as _},
};

/// The socket sends something.
#[inline(always)]
pub fn on_packet(ctx: &SockOpsContext, flow: &mut Flow) {
    if !fields::has_sk_setsockopt() {
        return;
    }
    let (at, sock) = (fields::offsets(), flow.own.sock);
    let Some(read) = fields::read::<u32>(sock, at.tcp_copied_seq) else { return };
    let received = fields::read::<u32>(sock, at.tcp_rcv_nxt).unwrap_or(read);
    let is_in = psock::of(sock).is_some();
    let is_unread = is_in && received != read;
    // How far behind the seam the reader is.
    let behind = flow::seam(flow).map_or(-1, |seam| read.wrapping_sub(seam) as i32);
    let is_at_seam = is_unread && behind == 0;
    let is_empty = psock::is_empty(sock);
    // One that leaves is to have a callback once its queue is empty.
    let waits = is_at_seam || is_in && flow.stage == Flow::LEAVING;
    let may_borrow = waits && !is_empty && gets_only_answers(flow, received);
    let borrowed = flow.keepalive.interval != 0;
    if may_borrow && !borrowed {
        borrow(ctx.as_ptr(), flow);
    } else if !may_borrow && borrowed {
        give_back(ctx.as_ptr(), flow);
    }
    // One that has read on since is told once more: it may have taken the short read before for the last.
    let seam = read.wrapping_sub(behind as u32);
    let has_read_on = is_unread && behind > 0 && flow.told != seam;
    if is_empty && (is_at_seam || has_read_on) {
        if has_read_on {
            flow.told = seam;
        }
        let lowat = fields::read::<i32>(sock, at.sock_rcvlowat).unwrap_or(1);
        set(ctx.as_ptr(), SOL_SOCKET, SO_RCVLOWAT, lowat);
    }
}

/// Whether probes do no harm: the peer is there, and answers; and it has nothing to send, as it
/// would not learn from a probe that there is room again. Where it has, it comes by itself.
#[inline(always)]
fn gets_only_answers(flow: &Flow, received: u32) -> bool {
    let at = fields::offsets();
    let unanswered = fields::read::<u8>(flow.own.sock, at.icsk_probes_out);
    !sock::is_shut(flow.own.sock)
        && unanswered.is_some_and(|probes| probes < 2)
        && flow::peer(flow)
            .and_then(|peer| fields::read::<u32>(peer.sock, at.tcp_write_seq))
            .is_some_and(|written| written == received)
}

/// The application sets an option: keepalive's are to be its own then.
#[inline(always)]
pub fn before_option(ctx: &SockoptContext, level: i32, option: i32) {
    let is_keepalives = matches!(
        (level, option),
        (SOL_SOCKET, SO_KEEPALIVE) | (SOL_TCP, TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT)
    );
    if fields::has_sk_setsockopt()
        && is_keepalives
        && let Some(flow) = flow::flow(ctx)
        && flow.keepalive.interval != 0
    {
        give_back(ctx.sock().cast(), flow);
    }
}

#[inline(always)]
fn borrow(socket: *mut c_void, flow: &mut Flow) {
    let on = get(socket, SOL_SOCKET, SO_KEEPALIVE);
    let [idle, interval, probes] =
        [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map(|option| get(socket, SOL_TCP, option));
    if let (Some(on), Some(idle), Some(interval), Some(probes)) = (on, idle, interval, probes) {
        flow.keepalive = Keepalive { on, idle, interval, probes };
        set_keepalive(socket, Keepalive { on: 1, idle: 1, interval: 1, probes: 9 });
    }
}

#[inline(always)]
fn give_back(socket: *mut c_void, flow: &mut Flow) {
    let keepalive = core::mem::take(&mut flow.keepalive);
    set_keepalive(socket, keepalive);
}

#[inline(always)]
fn set_keepalive(socket: *mut c_void, to: Keepalive) {
    set(socket, SOL_TCP, TCP_KEEPIDLE, to.idle);
    set(socket, SOL_TCP, TCP_KEEPINTVL, to.interval);
    set(socket, SOL_TCP, TCP_KEEPCNT, to.probes);
    set(socket, SOL_SOCKET, SO_KEEPALIVE, to.on);
}

#[inline(always)]
fn get(socket: *mut c_void, level: i32, option: i32) -> Option<i32> {
    let mut value = 0_i32;
    // SAFETY: the value is as long as said, and outlives the call.
    let ret = unsafe { bpf_getsockopt(socket, level, option, (&raw mut value).cast(), 4) };
    (ret == 0).then_some(value)
}

/// Of what the kernel refuses nothing changes.
#[inline(always)]
fn set(socket: *mut c_void, level: i32, option: i32, mut value: i32) {
    // SAFETY: as above.
    unsafe { bpf_setsockopt(socket, level, option, (&raw mut value).cast(), 4) };
}
