//! What a socket has sent, until its pod's counters have it.
//!
//! All processors write to those: a line of memory that goes to and fro between them would cost as much
//! as the rest of a message's way. So what is pending is brought there now and then, and at the latest
//! when the direction goes back to TCP, or the connection ends.

use shim::layout::{Counters, Flow};

use super::maps::{self, add};

/// No more messages than that are pending, and no more than one of so many that were sent: what an
/// operator reads is right to 3 %.
const MESSAGES: u32 = 64;
const SHARE: u32 = 32;
/// Likewise bytes.
const BYTES: u32 = 64 << 10;

/// Counts a message; `begins`: the one before it went by TCP.
#[inline(always)]
pub fn count(flow: &mut Flow, size: u32, begins: bool) {
    flow.pending.messages += 1;
    flow.pending.bytes = flow.pending.bytes.saturating_add(size);
    let few = flow.pending.messages < MESSAGES && flow.pending.bytes < BYTES;
    if few && !begins && flow.pending.messages * SHARE < flow.messages {
        return;
    }
    let Some(pod) = maps::pod(flow.own.pod) else { return };
    if begins {
        add(&mut pod.counters.to_shunt, 1);
        count_by_tcp(flow, flow.tcp_seq, &mut pod.counters);
    }
    carry(flow, &mut pod.counters);
}

/// Brings what is pending to the pod's counters.
#[inline(always)]
pub fn carry(flow: &mut Flow, counters: &mut Counters) {
    let pending = core::mem::take(&mut flow.pending);
    add(&mut counters.shunted.messages, pending.messages.into());
    add(&mut counters.shunted.bytes, pending.bytes.into());
}

/// Counts what TCP has been given, by the own `write_seq`: of a message that TCP takes in part, the rest passes the
/// program again, or never.
#[inline(always)]
pub fn count_by_tcp(flow: &mut Flow, written: u32, counters: &mut Counters) {
    let bytes = written.wrapping_sub(flow.counted);
    // A FIN that is taken off and was not sent: a Fast Open connection that was never whole, or no memory for it.
    if (bytes as i32) < 0 {
        return;
    }
    let bytes = u64::from(bytes);
    flow.counted = written;
    flow.tcp_bytes += bytes;
    add(&mut counters.by_tcp.bytes, bytes);
}
