//! Whether a socket stays in the sockhash: it may turn out to block, to be alone, or to be read in a way
//! that needs TCP.

use core::mem::offset_of;

use aya_ebpf::programs::SockOpsContext;
use shim::layout::{Distrust, Flow, Reasons, Trust};

use super::{reader, trust};
use crate::{
    kernel::{fields, psock, sock},
    state::{
        callbacks, flow, habits,
        maps::{self, add_reason},
    },
};

/// Something has come for the socket, or it sends something: the latter first by the ACK that makes the
/// connection, before the peer can have come. One that blocks is to be out before it sleeps for the answer.
#[inline(always)]
pub fn review(ctx: &SockOpsContext, flow: &mut Flow, sends: bool) {
    trust::learn(flow);
    match flow.stage {
        Flow::PLAIN => foretell(ctx, flow),
        Flow::ENTERED => {
            if !sends || flow::meet(flow) {
                settle(ctx, flow);
            }
        }
        Flow::SETTLED => look_at_own_program(flow),
        _ => (),
    }
}

/// Once the socket was accepted, or its program is known in any mode, it is in for good or out.
#[inline(always)]
fn settle(ctx: &SockOpsContext, flow: &mut Flow) {
    if sock::file(flow.own.sock).is_none() && flow.trusted < Trust::Awake as u32 {
        return;
    }
    // It may have been set while the connection was made.
    if reader::is_exceptional(flow.own.sock) {
        flow.exceptional = 1;
    }
    // From here on it is known without `pairs`, which may lose what is old.
    let met = flow::meet(flow);
    let sleeps = may_sleep(flow.own.sock)
        && (flow.trusted < Trust::Awake as u32
            || flow.trusted == Trust::Awake as u32 && reader::is_seen_asleep(flow.own));
    let fed = (sleeps || !met) && was_fed(flow);
    let blocks = sleeps && !fed;
    if (met || fed) && !blocks {
        flow.stage = Flow::SETTLED;
        return callbacks::end(ctx, flow, callbacks::ON_TRIAL);
    }
    flow.why = match blocks {
        true if flow.trusted == 0 => Reasons::LEARNING,
        true => Reasons::SLEEPS,
        false => Reasons::PEER,
    };
    // The passive end counts for one that it does not join.
    if blocks && let Some(pod) = maps::pod(flow.own.pod) {
        add_reason(&mut pod.counters.plain, flow.why, 1);
    }
    flow.stage = Flow::PLAIN;
    callbacks::leave(ctx, flow);
    // What it does is looked at all the same.
    callbacks::begin_plain(ctx, flow, flow.trusted == 0);
}

/// Says that the socket leaves, if its program is not trusted any more. It goes with a later callback:
/// see [`super::bulk`].
#[inline(always)]
fn look_at_own_program(flow: &mut Flow) {
    let now = habits::changes() + 1;
    if flow.own_checked == now {
        return;
    }
    flow.own_checked = now;
    let Some(pod) = maps::pod(flow.own.pod) else { return };
    let Some(habit) = habits::of_socket(flow.own.cookie) else { return };
    match habit.judge(&pod.policy) {
        // One that sleeps, of a program whose others never block.
        Ok(Trust::NonBlocking) if may_sleep(flow.own.sock) => leave(flow, Distrust::Sleeps),
        Ok(trust) => flow.trusted = trust as u32,
        Err(Distrust::NotKnownYet) => (),
        Err(why) => leave(flow, why),
    }
}

/// Accepted, and in blocking mode.
#[inline(always)]
fn may_sleep(sock: u64) -> bool {
    sock::file(sock).is_some_and(|file| !sock::is_nonblocking(file))
}

#[inline(always)]
fn leave(flow: &mut Flow, why: Distrust) {
    flow.why = why.into();
    flow.stage = Flow::LEAVING;
}

/// Of a socket that is plain TCP: whether its program is known. Once it was accepted, nothing more need be
/// looked at then.
#[inline(always)]
fn foretell(ctx: &SockOpsContext, flow: &mut Flow) {
    let now = habits::changes() + 1;
    if flow.own_checked != now {
        flow.own_checked = now;
        flow.trusted = trust::of(&flow.own);
    }
    if flow.trusted == Trust::NonBlocking as u32 && may_sleep(flow.own.sock) {
        flow.trusted = 0;
    }
    if flow.trusted != 0 && sock::file(flow.own.sock).is_some() {
        if flow.trusted == Trust::NonBlocking as u32 {
            habits::never_blocks(flow.own.cookie);
        }
        callbacks::end(ctx, flow, callbacks::ON_TRIAL | callbacks::WHILE_IN);
    }
}

/// What is known of the peer's program goes with its socket, which may end first.
#[inline(always)]
pub fn look_at_peer(flow: &mut Flow) {
    if flow.why == Reasons::OBSERVED
        && flow.peer_trust == 0
        && let Some(peer) = flow::peer(flow)
    {
        let trusted = offset_of!(Flow, trusted) as u32;
        let as_seen = fields::read::<u32>(peer.flow, trusted).unwrap_or(0);
        flow.peer_trust = if trust::of(&peer) != 0 { as_seen as u16 } else { 0 };
    }
}

/// Whether bytes may have been handed to this socket, which taking it out would lose. Read after
/// its mode, as [`super::reader::check`] writes before it reads the mode: one of the two sees the other.
#[inline(always)]
fn was_fed(flow: &Flow) -> bool {
    let fed = offset_of!(Flow, fed) as u32;
    flow::peer(flow).is_some_and(|peer| fields::read::<u64>(peer.flow, fed) != Some(0))
        || psock::has_unread(flow.own.sock)
}
