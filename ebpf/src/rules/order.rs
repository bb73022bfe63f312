//! The one rule of order.
//!
//! recvmsg drains the psock queue before TCP's receive queue. So: TCP to shunt only when the peer
//! has read every byte that went by TCP; shunt to TCP at any time.

use aya_ebpf::programs::SkMsgContext;
use shim::layout::Flow;

use super::verdict::Why;
use crate::{kernel::fields, state::flow};

/// Whether this message may take the short way. Leaves in `flow.tcp_seq` how far TCP has come.
#[inline(always)]
pub fn check(ctx: &SkMsgContext, flow: &mut Flow) -> Result<(), Why> {
    let written = flow::write_seq(ctx).ok_or(Why::Closing)?;
    if flow.mode == Flow::SHUNT {
        // It moves only when bytes went by TCP without passing the program: a sender that was
        // asleep in tcp_sendmsg since before the socket was entered.
        return if written == flow.tcp_seq { Ok(()) } else { Err(Why::Bypassed) };
    }
    flow.tcp_seq = written;
    // NAT does not touch sequence numbers, so the two are comparable.
    match fields::read::<u32>(flow.peer.sock, fields::offsets().tcp_copied_seq) {
        Some(read) if read == written => Ok(()),
        _ => Err(Why::Unread),
    }
}
