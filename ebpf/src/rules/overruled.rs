//! `bpf_sock_ops_cb_flags_set`: another sock_ops program can take shunt's callbacks away.
//!
//! The helper replaces all flags of a socket, and programs of outer cgroups run after a pod's. Without
//! its callbacks a socket that turns out to block cannot leave, and no edge-triggered reader is told
//! of what came at a seam. They are asked for again where one is left; a connection that has lost them
//! goes by TCP, and so do its pod's later ones.

use shim::layout::{End, Flow, Pod};

use super::verdict::Why;
use crate::state::{
    callbacks,
    maps::{self, add},
};

/// Whether both ends have what they need. If not, for good.
#[inline(always)]
pub fn check(flow: &mut Flow) -> Result<(), Why> {
    if holds(&flow.own) && holds(&flow.peer) {
        return Ok(());
    }
    flow.stage = Flow::LEAVING;
    Err(Why::Overruled)
}

/// Whether an end's callbacks are there. If not, its pod is known by that.
#[inline(always)]
pub fn holds(end: &End) -> bool {
    let is_held = callbacks::are_held(end.sock);
    if !is_held && let Some(pod) = maps::pod(end.pod) {
        add(&mut pod.counters.to_tcp.overruled, 1);
    }
    is_held
}

#[inline(always)]
pub fn is_known(pod: &Pod) -> bool {
    pod.counters.to_tcp.overruled != 0
}
