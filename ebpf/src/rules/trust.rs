//! Trust is earned: no socket is handed bytes before it is known how its program reads.
//!
//! It is known from some whole exchanges on plain TCP (something was read by recv(2), then something was
//! sent, or the connection ended) with good signs only, or from the program's name in the
//! configuration. One bad sign ends it, for all sockets of that program.

use shim::layout::{End, Flow, Watched};

use super::{size, verdict::Why};
use crate::{
    kernel::sock,
    state::{habits, maps},
};

/// Whether the peer is trusted, and this end sends nothing that needs TCP.
#[inline(always)]
pub fn check(flow: &mut Flow) -> Result<(), Why> {
    let now = habits::changes() + 1;
    if flow.peer_checked != now {
        flow.peer_checked = now;
        look_up(flow);
    }
    match flow.peer_trust {
        0 => Err(Why::NotTrusted),
        _ if flow.urgent != 0 => Err(Why::UrgentData),
        _ => Ok(()),
    }
}

#[inline(always)]
fn look_up(flow: &mut Flow) {
    flow.peer_trust = of(&flow.peer) as u16;
    size::look_up(flow);
    let own = habits::watched(flow.own.cookie);
    flow.urgent = own.is_some_and(|own| own.seen & Watched::URGENT != 0).into();
    match maps::pod(flow.own.pod) {
        Some(pod) => {
            (flow.heartbeat, flow.queue_limit) = (pod.policy.heartbeat, pod.policy.queue_limit);
        }
        // A pod that was forgotten is not accelerated any more.
        None => flow.peer_trust = 0,
    }
}

/// The [`Trust`] in the program that has a socket; 0: none.
#[inline(always)]
pub fn of(end: &End) -> u32 {
    let Some(habit) = habits::of_socket(end.cookie) else { return 0 };
    let Some(pod) = maps::pod(end.pod) else { return 0 };
    habit.judge(&pod.policy).map_or(0, |trust| trust as u32)
}

/// Looks whether an exchange has ended with what the socket has sent since.
#[inline(always)]
pub fn learn(flow: &mut Flow) {
    let Some(watched) = habits::watched(flow.own.cookie) else { return };
    let Some(written) = sock::write_seq(flow.own.sock) else { return };
    // TCP knows nothing of what takes the short way, as where the peer alone is trusted yet.
    let sent = written.wrapping_add(flow.messages);
    if watched.reads != 0 && flow.sent_seq != sent {
        habits::exchanged(flow.own.sock, watched);
    }
    flow.sent_seq = sent;
}
