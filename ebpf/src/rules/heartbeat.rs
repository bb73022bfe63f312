//! Heartbeat: conntrack, NetworkPolicy, a bandwidth limit and tcpdump see that a connection is in use.
//!
//! To them one on the short way is idle. So before it has been silent for long, a message goes by
//! TCP, at a moment when the peer has read all, so that it makes no seam. The short way opens again
//! when it was read: never, where the network does not let it pass. Its ACK is what the other
//! direction shows of itself, unless that sends too and has its own.

use shim::layout::Flow;

use super::{peek, verdict::Why};
use crate::kernel::{clock, psock};

/// Whether the network has seen enough of this direction.
#[inline(always)]
pub fn check(flow: &mut Flow) -> Result<(), Why> {
    if flow.due == 0 {
        begin(flow, flow.heartbeat);
    }
    let now = clock::jiffies();
    if now < flow.due {
        return Ok(());
    }
    let is_late = now - flow.due >= clock::in_jiffies(flow.heartbeat) / 2;
    let is_due = is_late && !peek::is_waited_for(flow) || psock::is_empty(flow.peer.sock);
    if is_due { Err(Why::Heartbeat) } else { Ok(()) }
}

/// A message goes by TCP. The next is due after half of the time, and waits for a queue that is empty
/// for the other half at most.
#[inline(always)]
pub fn begin(flow: &mut Flow, heartbeat: u32) {
    let wait = clock::in_jiffies(heartbeat) / 2;
    flow.due = if wait == 0 { u64::MAX } else { clock::jiffies() + wait };
}
