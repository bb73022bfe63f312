//! A program is handed no more at once than it was seen to read from plain TCP.
//!
//! Some read small answers by recv(2) and large bodies by splice(2) (haproxy), or ask FIONREAD only when
//! a buffer was filled. So trust grows with what was read between two things sent, and what is more
//! than that goes by TCP, where a bad sign does no harm.

use core::mem::offset_of;

use shim::layout::{Flow, Habit};

use super::{peek, verdict::Why};
use crate::{
    kernel::{fields, psock},
    state::habits,
};

/// Seen to read so much, a program is handed any amount: most of 64 KiB, as the last piece of an answer may
/// have taken the short way.
const ALL: u32 = 48 << 10;
/// Nobody reads such small messages in another way than the first one.
const LEAST: u32 = 1 << 10;
/// How much more may come while the last is unread, as TCP's would be told of late then.
const UNREAD: u32 = 4;

/// What a program may be handed at once, in bytes.
#[inline(always)]
pub fn allowed(habit: &Habit) -> u32 {
    let largest = habit.largest;
    if habit.named != 0 || largest >= ALL {
        return u32::MAX;
    }
    let mut allowed = LEAST;
    // A power of two, so that it seldom changes; by hand, as the target has no instruction for it.
    for _ in 0..6 {
        if allowed < largest {
            allowed *= 2;
        }
    }
    allowed
}

/// Whether this message may be handed over with what the peer has not answered yet.
#[inline(always)]
pub fn check(flow: &mut Flow, size: u32) -> Result<(), Why> {
    flow.run = flow.run.saturating_add(size);
    if flow.run <= flow.allowed {
        return Ok(());
    }
    let heard = fields::read::<u32>(flow.peer.flow, offset_of!(Flow, messages) as u32).unwrap_or(0);
    if heard != flow.run_after {
        flow.run_after = heard;
        flow.run = size;
        if flow.run <= flow.allowed {
            return Ok(());
        }
    }
    let goes_on = flow.mode == Flow::SHUNT && flow.run <= flow.allowed.saturating_mul(UNREAD);
    if goes_on && !psock::is_empty(flow.peer.sock) || peek::is_waited_for(flow) {
        return Ok(());
    }
    Err(Why::Untried)
}

/// The peer's program was looked up.
#[inline(always)]
pub fn look_up(flow: &mut Flow) {
    flow.allowed = habits::of_socket(flow.peer.cookie).map_or(0, |habit| allowed(habit));
}
