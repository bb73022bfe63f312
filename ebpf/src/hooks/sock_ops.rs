//! sock_ops: what happens to a socket of an attached pod, by the kernel's callback.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB as ACTIVE_ESTABLISHED, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB as PASSIVE_ESTABLISHED,
        BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_TCP_CONNECT_CB as TCP_CONNECT, BPF_SOCK_OPS_TCP_LISTEN_CB as TCP_LISTEN,
        BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED,
    },
    programs::SockOpsContext,
};
use shim::layout::{Counters, Flow, Habit, Pod, PodId, Program, Reasons};

use super::{connect, handshake};
use crate::{
    kernel::{psock, sock, task},
    rules::{budget, bulk, stay, trust, wakeup},
    state::{
        callbacks::{self, field},
        current, flow, habits, listener,
        maps::{self, add, add_reason},
        pending, sockhash,
    },
};

#[inline(always)]
pub fn run(ctx: &SockOpsContext) {
    let op = field!(ctx, op);
    if !matches!(op, TCP_CONNECT | TCP_LISTEN | ACTIVE_ESTABLISHED | PASSIVE_ESTABLISHED) {
        return lives(ctx, op);
    }
    let Some((id, pod)) = current::pod(ctx) else { return };
    match op {
        TCP_CONNECT => {
            begins_anew(ctx);
            connect::begins(ctx, id, &pod.policy);
        }
        TCP_LISTEN => {
            begins_anew(ctx);
            listens(ctx, id, pod);
        }
        ACTIVE_ESTABLISHED => handshake::active(ctx, id, pod),
        _ => handshake::passive(ctx, id, pod),
    }
}

#[inline(always)]
fn lives(ctx: &SockOpsContext, op: u32) {
    // Those that were asked for.
    let is_asked_for = matches!(
        op,
        BPF_SOCK_OPS_RTO_CB
            | BPF_SOCK_OPS_STATE_CB
            | BPF_SOCK_OPS_RTT_CB
            | BPF_SOCK_OPS_PARSE_HDR_OPT_CB
            | BPF_SOCK_OPS_HDR_OPT_LEN_CB
    );
    if !is_asked_for {
        return;
    }
    match flow::flow(ctx) {
        Some(flow) if current::is_for(flow) => goes_on(ctx, flow, op),
        None if op == BPF_SOCK_OPS_RTT_CB => connect::lasts(ctx),
        _ => (),
    }
}

#[inline(always)]
fn goes_on(ctx: &SockOpsContext, flow: &mut Flow, op: u32) {
    if op == BPF_SOCK_OPS_STATE_CB && state_before(ctx) == BPF_TCP_ESTABLISHED {
        connect::ends(ctx, flow);
    }
    match op {
        BPF_SOCK_OPS_RTO_CB => budget::notice_timeout(flow),
        // After PASSIVE_ESTABLISHED, where a program that takes callbacks away wants this one.
        BPF_SOCK_OPS_STATE_CB if state_after(ctx) == BPF_TCP_ESTABLISHED => {
            callbacks::ask_again(ctx, flow);
        }
        BPF_SOCK_OPS_STATE_CB if state_after(ctx) == BPF_TCP_CLOSE => closed(ctx, flow),
        // One of the two ends the connection.
        BPF_SOCK_OPS_STATE_CB => {
            flow.exceptional = 1;
            stay::look_at_peer(flow);
        }
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB | BPF_SOCK_OPS_RTT_CB | BPF_SOCK_OPS_HDR_OPT_LEN_CB => {
            callbacks::ask_again(ctx, flow);
            let sends = op == BPF_SOCK_OPS_HDR_OPT_LEN_CB;
            if sends {
                wakeup::on_packet(ctx, flow);
            }
            bulk::go_if_idle(ctx, flow);
            stay::review(ctx, flow, sends);
        }
        _ => (),
    }
}

/// A socket that was connected before and is used again: what it has left unread is not the next
/// connection's. No callback tells of a disconnect after the connection's end.
#[inline(always)]
fn begins_anew(ctx: &SockOpsContext) {
    if current::socket(ctx).is_none_or(|socket| psock::of(socket).is_some()) {
        sockhash::leave(flow::cookie(ctx));
    }
}

/// What a program that is known by name listens on is so from the first connection on.
#[inline(always)]
fn listens(ctx: &SockOpsContext, id: PodId, pod: &mut Pod) {
    listener::mark(ctx, id);
    let Some(name) = task::process_name() else { return };
    let port = field!(ctx, local_port) as u16;
    let accepts = Program { pod: id, port, ..Program::default() };
    let program = Program { pod: id, name, ..Program::default() };
    let known = habits::of(&program).map(|known| (known.named, known.polls, known.bad.fionread));
    let (named, polls, fionread) = known.unwrap_or_default();
    if named == 0 {
        habits::is_named_no_more(&accepts);
        if fionread == 0 {
            return;
        }
    }
    if let Some(habit) = habits::of_or_new(pod, &accepts) {
        if named != 0 {
            (habit.named, habit.polls) = (named, polls);
            habit.trusted = Habit::NAMED;
        }
        habit.bad.fionread |= fionread;
    }
}

/// The last of a connection. A socket that was never accepted goes too, as kernels from 5.10.80 to
/// 5.10.221 forget it in the sockhash.
#[inline(always)]
fn closed(ctx: &SockOpsContext, flow: &mut Flow) {
    if let Some(watched) = habits::watched(flow.own.cookie)
        && watched.reads != 0
    {
        habits::exchanged(flow.own.sock, watched);
    }
    let disconnected = was_disconnected(ctx, flow.own.sock);
    if disconnected || sock::has_no_owner(flow.own.sock) {
        sockhash::leave(flow.own.cookie);
    }
    if let Some(pod) = maps::pod(flow.own.pod) {
        pending::carry(flow, &mut pod.counters);
        if flow.stage >= Flow::LEAVING {
            count_plain_bytes(ctx, flow, &mut pod.counters);
        } else if let Some(written) = written(ctx, flow.own.sock) {
            pending::count_by_tcp(flow, written, &mut pod.counters);
        }
    }
    if flow.peer.cookie == 0 {
        flow::give_up(flow);
    }
    habits::forget(flow.own.cookie);
    flow::forget(flow);
}

/// What it sent while it was not in the sockhash, if its peer is on this node.
#[inline(always)]
fn count_plain_bytes(ctx: &SockOpsContext, flow: &mut Flow, counters: &mut Counters) {
    if flow::peer(flow).is_none() {
        return;
    }
    let sent = field!(ctx, bytes_acked).saturating_sub(flow.tcp_bytes);
    add_reason(&mut counters.plain_bytes, flow.why, sent);
    if flow.why != Reasons::OBSERVED || flow.trusted == 0 {
        return;
    }
    stay::look_at_peer(flow);
    if flow.peer_trust != 0 && trust::of(&flow.own) != 0 {
        add(&mut counters.foretold_bytes, sent);
    }
}

/// The own `write_seq` without a FIN, which counts as a byte.
#[inline(always)]
fn written(ctx: &SockOpsContext, sock: u64) -> Option<u32> {
    let is_open = matches!(state_before(ctx), BPF_TCP_ESTABLISHED | BPF_TCP_CLOSE_WAIT);
    Some(sock::write_seq(sock)?.wrapping_sub(u32::from(!is_open)))
}

/// By connect(2) to no address, after which nothing unread may be left. All else that ends at once a
/// connection which this end has not closed leaves an error first.
#[inline(always)]
fn was_disconnected(ctx: &SockOpsContext, sock: u64) -> bool {
    matches!(state_before(ctx), BPF_TCP_ESTABLISHED | BPF_TCP_CLOSE_WAIT) && !sock::has_error(sock)
}

#[inline(always)]
fn state_before(ctx: &SockOpsContext) -> u32 {
    field!(ctx, __bindgen_anon_1.args[0])
}

#[inline(always)]
fn state_after(ctx: &SockOpsContext) -> u32 {
    field!(ctx, __bindgen_anon_1.args[1])
}
