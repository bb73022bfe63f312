//! Whether a socket enters the sockhash as its connection is made. Else it is plain TCP for life, and what
//! it does is looked at.

use shim::layout::{Distrust, Flow, Listener, Pod, Program, Reasons, Trust};

use crate::{
    kernel::{fields, sock},
    state::{habits, maps},
};

/// Of an accepted socket, what its listener was marked with. MPTCP's are an oops in kernels before
/// the end of 2025, and one that listened before its pod was attached, and was not found since,
/// could be such a one.
#[inline(always)]
pub fn listener(mark: Option<Listener>) -> Result<(), u32> {
    match mark.map(|mark| mark.kind) {
        Some(Listener::PLAIN) => Ok(()),
        Some(Listener::MPTCP) if fields::mptcp_is_safe() => Ok(()),
        _ => Err(Reasons::LISTENER),
    }
}

/// An end of that program. `waits`: it, or what has accepted it, is in blocking mode, or its task uses io_uring.
#[inline(always)]
pub fn end(flow: &mut Flow, pod: &mut Pod, program: &Program, waits: bool) -> Result<(), u32> {
    let sock = flow.own.sock;
    if sock::is_anothers(sock) {
        return Err(Reasons::LISTENER);
    }
    if sock::wants_zerocopy(sock) {
        return Err(Reasons::ZEROCOPY);
    }
    let Some(habit) = habits::of_or_new(pod, program) else { return Err(Reasons::LEARNING) };
    habit.connections = habit.connections.saturating_add(1);
    let known = habit.judge(&pod.policy);
    // There is nothing more to be learnt of who is known to need TCP. Of those that sleep others may never block.
    let may_learn =
        !known.is_err_and(|why| !matches!(why, Distrust::NotKnownYet | Distrust::Sleeps));
    if may_learn && !habits::watch(&flow.own, program) {
        return Err(Reasons::LEARNING);
    }
    if maps::is_observing(&pod.policy) {
        return Err(Reasons::OBSERVED);
    }
    let is_accepted = program.port != 0;
    match known {
        Ok(Trust::NonBlocking) if program.blocking != 0 => Err(Reasons::SLEEPS),
        // It may be in blocking mode, and asleep before that is seen: those before it tell.
        Ok(Trust::NonBlocking) if is_accepted && waits && habit.waits.sleeps != 0 => {
            Err(Reasons::SLEEPS)
        }
        Ok(Trust::NonBlocking) if is_accepted && waits && habit.waits.nonblocking == 0 => {
            Err(Reasons::LEARNING)
        }
        Ok(trust) => {
            flow.trusted = trust as u32;
            Ok(())
        }
        // Not who accepts: its sockets may come out in blocking mode.
        Err(Distrust::NotKnownYet) if !is_accepted && !waits && fields::tries_unknown() => Ok(()),
        Err(why) => Err(why.into()),
    }
}
