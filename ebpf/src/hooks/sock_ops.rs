//! sock_ops: what happens to a socket of an attached pod, by the kernel's callback.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTO_CB,
        BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_TCP_CLOSE, BPF_TCP_ESTABLISHED,
    },
    programs::SockOpsContext,
};

use super::handshake;
use crate::{
    kernel::{fields, sock},
    rules::{budget, bulk, reader, trial, wakeup},
    state::{
        callbacks::{self, field},
        flow, listener, marks, sockhash,
    },
};

#[inline(always)]
pub fn run(ctx: &SockOpsContext) {
    match field!(ctx, op) {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => handshake::active(ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => handshake::passive(ctx),
        BPF_SOCK_OPS_TCP_LISTEN_CB => listens(ctx),
        BPF_SOCK_OPS_TCP_CONNECT_CB if reader::counts_unread() => listener::mark_unfit(ctx),
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB => {
            callbacks::ask_again(ctx);
            trial::judge(ctx);
        }
        BPF_SOCK_OPS_RTT_CB => {
            callbacks::ask_again(ctx);
            trial::judge(ctx);
            bulk::on_ack(ctx);
        }
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => {
            wakeup::on_packet(ctx);
            bulk::on_packet(ctx);
        }
        BPF_SOCK_OPS_RTO_CB => timed_out(ctx),
        // After PASSIVE_ESTABLISHED, where a program that takes callbacks away wants this one.
        BPF_SOCK_OPS_STATE_CB if state_after(ctx) == BPF_TCP_ESTABLISHED => {
            callbacks::ask_again(ctx);
        }
        BPF_SOCK_OPS_STATE_CB if state_after(ctx) == BPF_TCP_CLOSE => closed(ctx),
        _ => (),
    }
}

#[inline(always)]
fn listens(ctx: &SockOpsContext) {
    if reader::counts_unread() { listener::mark_unfit(ctx) } else { listener::mark(ctx) }
}

/// The last of a connection. A socket that was never accepted goes too, as kernels from 5.10.80 to
/// 5.10.221 forget it in the sockhash.
#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    let Some(flow) = flow::flow(ctx) else { return };
    if flow::was_surely_fed(flow) {
        marks::count_turned(&flow.own);
    }
    if sock::has_no_owner(flow.own.sock) || was_disconnected(ctx, flow.own.sock) {
        sockhash::leave(flow.own.cookie);
    }
    if flow.peer.cookie == 0 {
        flow::give_up(flow);
    }
    // The socket may connect again.
    flow::forget_flow(ctx);
}

/// By connect(2) to no address, after which nothing unread may be left. All else that ends an
/// established connection at once leaves an error first.
#[inline(always)]
fn was_disconnected(ctx: &SockOpsContext, sock: u64) -> bool {
    field!(ctx, __bindgen_anon_1.args[0]) == BPF_TCP_ESTABLISHED
        && fields::read::<u32>(sock, fields::offsets().sock_err) == Some(0)
}

#[inline(always)]
fn timed_out(ctx: &SockOpsContext) {
    if let Some(flow) = flow::flow(ctx) {
        budget::notice_timeout(flow);
    }
}

#[inline(always)]
fn state_after(ctx: &SockOpsContext) -> u32 {
    field!(ctx, __bindgen_anon_1.args[1])
}
