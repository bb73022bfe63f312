//! How the two ends of a flow are used must be such that the reader sees what is handed to it.

use shim::layout::Flow;

use super::verdict::Why;
use crate::state::marks;

/// Whether the two ends of a flow are used in no way that needs TCP. To be asked after
/// [`super::order::check`].
#[inline(always)]
pub fn check(flow: &Flow) -> Result<(), Why> {
    if marks::of(flow.own.cookie).is_some_and(|own| own.oob != 0) {
        return Err(Why::UrgentData);
    }
    if marks::of(flow.peer.cookie).is_some_and(|peer| peer.splice | peer.waitall != 0) {
        return Err(Why::Turned);
    }
    let opens = flow.mode != Flow::SHUNT && marks::is_watched();
    if opens && !marks::was_seen_to_read(flow.peer.cookie) { Err(Why::Unread) } else { Ok(()) }
}
