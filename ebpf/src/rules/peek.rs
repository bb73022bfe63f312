//! MSG_PEEK of a socket in the sockhash shows what is in its queue, and nothing of what TCP has behind.
//!
//! Who waits until all of a header is there, before he reads it, would wait for ever. So while he only
//! looks, what follows comes the way that the first byte came.

use shim::layout::Flow;

use crate::{kernel::psock, state::habits};

/// Whether the peer may be looking at what is in its queue, or may begin to.
#[inline(always)]
pub fn is_waited_for(flow: &Flow) -> bool {
    flow.mode == Flow::SHUNT
        && habits::watched(flow.peer.cookie).is_some_and(|peer| peer.peeks != 0)
        && !psock::is_empty(flow.peer.sock)
}
