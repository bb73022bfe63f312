//! HTTP/1's CONNECT: who has answered requests by recv(2) may read what comes after it by splice(2), as Go's
//! `io.Copy` does with a hijacked connection. That would miss what is unread in the sockhash then, so a
//! connection leaves it with such a request.

use aya_ebpf::programs::SkMsgContext;
use shim::layout::{Flow, Reasons};

const CONNECT: [u8; 8] = *b"CONNECT ";

#[inline(always)]
pub fn look_for(ctx: &SkMsgContext, flow: &mut Flow) {
    if is_asked_for(ctx) && flow.stage < Flow::LEAVING {
        flow.why = Reasons::SPLICES;
        flow.stage = Flow::LEAVING;
    }
}

/// Whether a message asks for a tunnel. `CONNECT {` is NATS', and no request.
#[inline(always)]
fn is_asked_for(ctx: &SkMsgContext) -> bool {
    let start = ctx.data();
    if start + CONNECT.len() + 1 > ctx.data_end() {
        return false;
    }
    // SAFETY: so much is there, as the kernel has checked this program for.
    let begin = unsafe { &*(start as *const [u8; CONNECT.len() + 1]) };
    CONNECT.iter().zip(begin).all(|(wanted, is)| wanted == is) && begin[CONNECT.len()] != b'{'
}
