//! News for a reader that has read all that was handed to it, while more had come by TCP.
//!
//! recv(2) gives of one or of the other, never of both, so where they meet a read is short. Who
//! takes that to mean that there is no more (epoll(7) allows it, tokio does it) waits for an event,
//! and the last one was long ago. So there is one more when the queue is empty. Nothing runs when a
//! queue becomes empty, but keepalive's timer comes by: it is borrowed for that while, set to a
//! second. The event is what setting SO_RCVLOWAT to what it is gives (`tcp_set_rcvlowat`), to
//! programs since Linux 6.1 (`sk_setsockopt`).

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
    helpers::generated::{bpf_getsockopt, bpf_setsockopt},
    programs::{SockOpsContext, SockoptContext},
};
use shim::layout::{Flow, Keepalive};

use crate::{
    kernel, queue, reader,
    socket::{self, Context as _},
};

// asm-generic/socket.h, linux/tcp.h
const SOL_SOCKET: i32 = 1;
const SO_KEEPALIVE: i32 = 9;
const SO_RCVLOWAT: i32 = 18;
const SOL_TCP: i32 = 6;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;

/// Asks for [`on_packet`] at all that a socket sends: ACKs of what comes by TCP, probes.
#[inline(always)]
pub fn flag() -> u32 {
    if kernel::has_sk_setsockopt() { BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG } else { 0 }
}

#[inline(always)]
pub fn on_packet(ctx: &SockOpsContext) {
    let Some(flow) = socket::flow(ctx) else { return };
    let (at, sock) = (kernel::offsets(), flow.own.sock);
    let Some(read) = kernel::read::<u32>(sock, at.tcp_copied_seq) else { return };
    let received = kernel::read::<u32>(sock, at.tcp_rcv_nxt);
    let borrowed = flow.keepalive.interval != 0;
    // What was borrowed is given back even if the sender is gone by then.
    let seam = if borrowed { Some(flow.keepalive.seam) } else { reader::seam(flow) };
    if seam != Some(read) || received == Some(read) {
        if borrowed {
            give_back(ctx.as_ptr(), flow);
        }
    } else if queue::is_empty(sock) {
        if borrowed {
            give_back(ctx.as_ptr(), flow);
        }
        let lowat = kernel::read::<i32>(sock, at.sock_rcvlowat).unwrap_or(1);
        set(ctx.as_ptr(), SOL_SOCKET, SO_RCVLOWAT, lowat);
    } else if !borrowed {
        borrow(ctx.as_ptr(), flow, read);
    }
}

/// The application sets an option: keepalive's are to be its own then.
#[inline(always)]
pub fn before_option(ctx: &SockoptContext, level: i32, option: i32) {
    let is_keepalives = matches!(
        (level, option),
        (SOL_SOCKET, SO_KEEPALIVE) | (SOL_TCP, TCP_KEEPIDLE | TCP_KEEPINTVL)
    );
    if kernel::has_sk_setsockopt()
        && is_keepalives
        && let Some(flow) = socket::flow(ctx)
        && flow.keepalive.interval != 0
    {
        give_back(ctx.sock().cast(), flow);
    }
}

#[inline(always)]
fn borrow(socket: *mut c_void, flow: &mut Flow, seam: u32) {
    let on = get(socket, SOL_SOCKET, SO_KEEPALIVE);
    let idle = get(socket, SOL_TCP, TCP_KEEPIDLE);
    let interval = get(socket, SOL_TCP, TCP_KEEPINTVL);
    if let (Some(on), Some(idle), Some(interval)) = (on, idle, interval) {
        flow.keepalive = Keepalive { seam, on, idle, interval };
        set_keepalive(socket, Keepalive { on: 1, idle: 1, interval: 1, seam });
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
