//! When a socket connects: whose it is, and whether connections like it end too early.

use aya_ebpf::programs::SockOpsContext;
use shim::layout::{Connecting, Flow, PodId, Policy};

use super::handshake;
use crate::{
    kernel::{sock, task},
    rules::worth::{self, Place},
    state::{
        callbacks::{self, field},
        connecting, current, habits,
    },
};

/// connect(2): its task is the running one. Of what is left alone no word is left, unless it is to be looked at.
#[inline(always)]
pub fn begins(ctx: &SockOpsContext, id: PodId, policy: &Policy) {
    if handshake::excluded(ctx, policy) {
        return;
    }
    let (Some(name), Some(sock)) = (task::process_name(), current::socket(ctx)) else { return };
    let is_blocking = !sock::is_nonblocking_socket(sock);
    let mut own = Connecting { name, is_blocking, ..Connecting::default() };
    let place = match habits::of(&own.program(id)) {
        Some(habit) => worth::judge(habit, handshake::remote_port(ctx)),
        None => Place::Worth,
    };
    if place == Place::Nothing {
        // It has connected before, when that was not known.
        if connecting::of(ctx).is_some() {
            own.is_left_alone = true;
            connecting::leave_word(ctx, &own);
        }
        return;
    }
    if place == Place::Unsure {
        own.is_left_alone = true;
        callbacks::look(ctx);
    }
    own.has_io_uring = task::has_io_uring();
    connecting::leave_word(ctx, &own);
}

/// One that was left alone sends something, and is looked at.
#[inline(always)]
pub fn lasts(ctx: &SockOpsContext) {
    let Some(connecting) = connecting::of(ctx) else { return };
    let Some((id, _)) = current::pod(ctx) else { return };
    if let Some(habit) = habits::of(&connecting.program(id))
        && worth::lasts(habit, handshake::remote_port(ctx), field!(ctx, data_segs_out))
    {
        callbacks::look_no_more(ctx);
    }
}

/// One that was not left alone ends. Who accepted it has left no word.
#[inline(always)]
pub fn ends(ctx: &SockOpsContext, flow: &Flow) {
    if let Some(connecting) = connecting::of(ctx) {
        let packets = field!(ctx, data_segs_out).saturating_add(field!(ctx, data_segs_in));
        worth::ends(flow, &connecting.program(flow.own.pod), handshake::remote_port(ctx), packets);
    }
}
