//! What a socket that connects leaves word of, as only then its task is the running one.

use aya_ebpf::{bindings::BPF_ANY, programs::SockOpsContext};
use shim::layout::Connecting;

use super::{flow, maps::CONNECTING};

#[inline(always)]
pub fn of<'a>(ctx: &SockOpsContext) -> Option<&'a mut Connecting> {
    // SAFETY: the kernel keeps the value until the program ends, or gives it to another socket: then it is wrong.
    CONNECTING.get_ptr_mut(flow::cookie(ctx)).map(|word| unsafe { &mut *word })
}

#[inline(always)]
pub fn leave_word(ctx: &SockOpsContext, word: &Connecting) {
    let _ = CONNECTING.insert(flow::cookie(ctx), word, BPF_ANY.into());
}
