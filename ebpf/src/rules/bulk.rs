//! Bulk, which TCP carries best: one way without an answer, or in large messages and nothing else.
//!
//! Small messages among the large, either way, are what the short way is for: then it is no bulk.
//!
//! A sender that is held up by a full queue pays for the sk_msg path, which copies a message whole
//! before it looks for room. One that sends on nothing else does itself what TCP leaves to the other
//! processors, and its reader waits for the end of a large message, of which TCP brings the begin. So
//! after enough of that it leaves the sockhash and has `tcp_sendmsg` again. For good: the kernel lets
//! a socket in only when its connection is made.
//!
//! Nothing may be handed to it then, as leaving drops that. It says that it leaves, and goes with a
//! later ACK, when its queue is empty and nobody is inside send(2) or recv(2) of its peer: a sender
//! that has not seen it would be (`tcp_bpf_sendmsg` holds a reference to the psock meanwhile). The
//! time from one ACK to another orders the two, also where processors reorder.

use core::mem::offset_of;

use aya_ebpf::{helpers::bpf_get_smp_processor_id, programs::SockOpsContext};
use shim::layout::{Flow, Reasons};

use super::verdict::Why;
use crate::{
    kernel::{fields, psock},
    state::{
        callbacks,
        flow::{self, Shown},
        maps::{self, add},
        shared::Word,
    },
};

/// How much is bulk; what a full queue holds up counts twice, each time it is tried.
const ENOUGH: u32 = 16 << 20;
/// Bytes of a message that counts also where others send, and alone also where it is answered.
const LARGE: u32 = 64 << 10;
/// What a message costs beside its bytes, in bytes.
const MESSAGE: u32 = 1 << 10;
/// After so much, the peer is looked at for an answer.
const PORTION: u32 = 1 << 20;

/// Neither end is leaving or has left. What the peer shows of itself.
#[inline(always)]
pub fn check(flow: &Flow) -> Result<Shown, Why> {
    match flow::peer_shows(flow) {
        Some(peer) if flow.stage != Flow::LEAVING && peer.stage < Flow::LEAVING => Ok(peer),
        _ => Err(Why::Leaving),
    }
}

#[inline(always)]
fn peer_leaves(flow: &Flow) -> bool {
    flow::peer_shows(flow).is_none_or(|peer| peer.stage >= Flow::LEAVING)
}

/// Looks at a message that went as `verdict` says.
#[inline(always)]
pub fn notice(flow: &mut Flow, size: u32, verdict: &Result<(), Why>) {
    let (is_alone, is_large) = (is_alone(flow), size >= LARGE);
    let weight = match verdict {
        Ok(()) if is_alone || is_large => 1,
        Err(Why::QueueFull | Why::Unread) => 2,
        _ => return,
    };
    if is_large {
        flow.large = flow.large.wrapping_add(1);
    }
    let before = flow.bulk;
    flow.bulk = flow.bulk.saturating_add(size.saturating_add(MESSAGE).saturating_mul(weight));
    if flow.bulk / PORTION == before / PORTION {
        return;
    }
    // `messages` and `large`
    let peer = fields::read::<[u32; 2]>(flow.peer.flow, offset_of!(Flow, messages) as u32);
    let [heard, peers_large] = peer.unwrap_or_default();
    // Twice, as the end of a large message can be a small one to this program.
    let own_excess = flow.messages.wrapping_sub(flow.large.wrapping_mul(2));
    let excess = [own_excess, heard.wrapping_sub(peers_large.wrapping_mul(2))];
    let is_mixed = (excess[0].wrapping_sub(flow.excess[0]) as i32) > 0
        || (excess[1].wrapping_sub(flow.excess[1]) as i32) > 0;
    flow.excess = excess;
    if heard != flow.heard && (is_mixed || !(is_alone && is_large)) {
        flow.heard = heard;
        flow.bulk = 0;
    } else if flow.bulk > ENOUGH {
        flow.why = Reasons::LEFT;
        flow.stage = Flow::LEAVING;
    }
}

/// Whose message a processor handled last. More processors than that share.
static LAST: [Last; 64] = [const { Last(Word::zero()) }; 64];

/// A cache line of its own.
#[repr(align(64))]
struct Last(Word);

/// Nobody else sent in between but the peer.
#[inline(always)]
fn is_alone(flow: &Flow) -> bool {
    // SAFETY: the helper cannot fail.
    let processor = unsafe { bpf_get_smp_processor_id() } as usize % LAST.len();
    let last = &LAST[processor].0;
    let before = last.get();
    last.put(flow.own.flow);
    before == flow.own.flow || before == flow.peer.flow
}

/// The socket that leaves goes when nobody is inside send(2) of its peer, or its peer has left; and with
/// it that peer. `flow.stage` was set in an earlier callback.
#[inline(always)]
pub fn go_if_idle(ctx: &SockOpsContext, flow: &mut Flow) {
    if flow.stage == Flow::LEAVING {
        if !psock::is_in_use(flow.peer.sock) && is_idle(flow) && psock::of(flow.own.sock).is_some()
        {
            callbacks::leave(ctx, flow);
            count(flow);
        }
    } else if flow.stage == Flow::SETTLED
        && flow.peer.cookie != 0
        && peer_leaves(flow)
        && psock::of(flow.peer.sock).is_none()
        && is_idle(flow)
    {
        flow.why = Reasons::LEFT;
        flow.stage = Flow::LEAVING;
        callbacks::leave(ctx, flow);
    }
}

#[inline(always)]
fn count(flow: &Flow) {
    let Some(pod) = maps::pod(flow.own.pod) else { return };
    let to_tcp = &mut pod.counters.to_tcp;
    let why = if flow.why == Reasons::LEFT { &mut to_tcp.bulk } else { &mut to_tcp.distrusted };
    add(why, 1);
}

/// Nothing of what was handed to the socket is left, nor of what that took.
#[inline(always)]
fn is_idle(flow: &Flow) -> bool {
    psock::is_empty(flow.own.sock) && flow.keepalive.interval == 0
}
