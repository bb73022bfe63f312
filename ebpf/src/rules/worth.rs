//! To let a connection in and out of the sockhash takes as long as the short way saves on some messages: one
//! that ends after its first answer is better left alone. Those before it tell, of the same program to
//! the same port.

use core::mem::offset_of;

use shim::layout::{Flow, Habit, Program};

use crate::{
    kernel::fields,
    state::{flow, habits},
};

/// What it takes, in messages.
const ENTRY: i32 = 20;
/// After sixteen connections that were worth nothing, the next are left alone.
const LEAST: i32 = -16 * ENTRY;
/// But one of so many, so that it becomes known when they change.
const TRIED: u32 = 64;
/// One of so many that were left alone is looked at, and is not brief if it sends more packets than that: others
/// may come like it.
const LOOKED_AT: u32 = 4;
const BRIEF: u32 = 16;

#[derive(PartialEq, Eq)]
pub enum Place {
    Worth,
    Nothing,
    /// Nothing, but it is to be looked at.
    Unsure,
}

/// Whether a connection of that program to that port is to be let in.
#[inline(always)]
pub fn judge(habit: &mut Habit, port: u16) -> Place {
    if i32::from(*of(habit, port)) > LEAST {
        return Place::Worth;
    }
    habit.left_alone = habit.left_alone.wrapping_add(1);
    match habit.left_alone {
        count if count.is_multiple_of(TRIED) => Place::Worth,
        count if count.is_multiple_of(LOOKED_AT) => Place::Unsure,
        _ => Place::Nothing,
    }
}

/// A connection that was left alone has sent so many packets. Whether it need not be looked at any more.
#[inline(always)]
pub fn lasts(habit: &mut Habit, port: u16, packets: u32) -> bool {
    if packets > BRIEF {
        *of(habit, port) = 0;
    }
    packets > BRIEF
}

/// A connection begins to end; both ends know still what they have sent. `packets`: of its data, both ways.
#[inline(always)]
pub fn ends(flow: &Flow, program: &Program, port: u16, packets: u32) {
    // One that has no peer on this node says nothing of others.
    if flow::peer(flow).is_none() {
        return;
    }
    let Some(habit) = habits::of(program) else { return };
    let messages = match flow.own.entered {
        // It cost less, but all of that for nothing if it ends early.
        0 => packets,
        _ if flow.fed != 0 => flow.messages.saturating_add(peers_messages(flow)),
        _ => peers_messages(flow),
    };
    let gained = messages.min(i16::MAX as u32) as i32;
    let worth = of(habit, port);
    *worth = (i32::from(*worth) + gained - ENTRY).clamp(LEAST, i16::MAX.into()) as i16;
}

/// Those that its peer has sent, if any were handed over.
#[inline(always)]
fn peers_messages(flow: &Flow) -> u32 {
    if flow::peer_shows(flow).is_none() {
        return 0;
    }
    let read = |at| fields::read::<u32>(flow.peer.flow, at as u32).unwrap_or(0);
    if read(offset_of!(Flow, fed)) != 0 { read(offset_of!(Flow, messages)) } else { 0 }
}

#[inline(always)]
fn of(habit: &mut Habit, port: u16) -> &mut i16 {
    &mut habit.worth[usize::from(port) % 16]
}
