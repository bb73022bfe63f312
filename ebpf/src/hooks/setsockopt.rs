//! What a socket in the sockhash cannot have: kernel TLS, whose records would be handed over at the
//! wrong layer, and completions of MSG_ZEROCOPY, which would never come. Callers fall back when
//! they are refused, as on kernels without.

use aya_ebpf::programs::SockoptContext;

use crate::{
    kernel::{
        option::{SO_ZEROCOPY, SOL_SOCKET, SOL_TCP, TCP_ULP},
        psock,
    },
    rules::wakeup,
    state::{
        flow,
        maps::{self, add},
    },
};

/// The kernel shows a program only so much of an option, and fails with EFAULT if it does not then
/// ask for the caller's own (Documentation/bpf/prog_cgroup_sockopt.rst).
const SHOWN: i32 = 4096;

#[inline(always)]
pub fn allows(ctx: &SockoptContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe {
        let option = ctx.sockopt;
        if (*option).optlen > SHOWN {
            (*option).optlen = 0;
        }
        let (level, name) = ((*option).level, (*option).optname);
        wakeup::before_option(ctx, level, name);
        match (level, name) {
            (SOL_TCP, TCP_ULP) | (SOL_SOCKET, SO_ZEROCOPY) => (),
            _ => return true,
        }
    }
    let Some(flow) = flow::flow(ctx) else { return true };
    if psock::of(flow.own.sock).is_none() {
        return true;
    }
    if let Some(pod) = maps::pod(flow.own.pod) {
        add(&mut pod.counters.refused_options, 1);
    }
    false
}
