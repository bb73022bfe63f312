//! `bpf_sock_ops_cb_flags_set`: another sock_ops program can take shunt's callbacks away.
//!
//! The helper replaces all flags of a socket, and programs of outer cgroups run after a pod's. Without
//! its callbacks a socket that turns out to block cannot leave, and no edge-triggered reader is told
//! of what came at a seam. They are asked for again where one is left; a connection that has lost them
//! goes by TCP, and so do its pod's of the next seconds: the other program may go.

use core::mem::offset_of;

use shim::layout::{End, Flow, Pod};

use super::verdict::Why;
use crate::{
    kernel::{clock, fields},
    state::{
        callbacks,
        maps::{self, add},
    },
};

/// Seconds.
const AGAIN: u32 = 10;

/// Whether both ends have what they need. If not, for good.
#[inline(always)]
pub fn check(flow: &mut Flow) -> Result<(), Why> {
    if !has_lost(&flow.own) && !has_lost(&flow.peer) {
        return Ok(());
    }
    flow.stage = Flow::LEAVING;
    Err(Why::Overruled)
}

/// Whether an end's callbacks were taken away. Its pod is known by that then.
#[inline(always)]
pub fn has_lost(end: &End) -> bool {
    if callbacks::are_held(end.sock) {
        return false;
    }
    // One that leaves gives them back itself, after it has said so; one that is closed has none.
    let cookie = fields::read::<u64>(end.flow, offset_of!(Flow, own.cookie) as u32);
    let stage = fields::read::<u32>(end.flow, offset_of!(Flow, stage) as u32);
    let is_in = cookie == Some(end.cookie) && stage.is_some_and(|stage| stage < Flow::LEAVING);
    if is_in && let Some(pod) = maps::pod(end.pod) {
        add(&mut pod.counters.to_tcp.overruled, 1);
        pod.overruled = clock::jiffies() + clock::in_jiffies(AGAIN);
    }
    is_in
}

#[inline(always)]
pub fn is_known(pod: &Pod) -> bool {
    clock::jiffies() < pod.overruled
}
