//! Options of a socket in the sockhash. Its peer is told of SO_RCVLOWAT. It cannot have kernel TLS,
//! whose records would be handed over at the wrong layer, and completions of MSG_ZEROCOPY, which would
//! never come. Callers fall back when they are refused, as on kernels without.

use aya_ebpf::programs::SockoptContext;
use shim::layout::Watched;

use crate::{
    kernel::{
        option::{SO_RCVLOWAT, SO_ZEROCOPY, SOL_SOCKET, SOL_TCP, TCP_ULP},
        psock,
    },
    rules::wakeup,
    state::{
        flow, habits,
        maps::{self, add},
    },
};

/// The kernel shows a program only so much of an option, and fails with EFAULT if it does not then
/// ask for the caller's own (Documentation/bpf/prog_cgroup_sockopt.rst).
const SHOWN: i32 = 4096;
const IPPROTO_TCP: u32 = 6;

#[inline(always)]
pub fn allows(ctx: &SockoptContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    let (level, name) = unsafe {
        let option = ctx.sockopt;
        // Handlers of other protocols are not all used to a copy that the kernel has made.
        let sock = (*option).__bindgen_anon_1.sk;
        if (*option).optlen > SHOWN || sock.is_null() || (*sock).protocol != IPPROTO_TCP {
            (*option).optlen = 0;
        }
        ((*option).level, (*option).optname)
    };
    wakeup::before_option(ctx, level, name);
    if !matches!((level, name), (SOL_TCP, TCP_ULP) | (SOL_SOCKET, SO_ZEROCOPY | SO_RCVLOWAT)) {
        return true;
    }
    let Some(flow) = flow::flow(ctx) else { return true };
    if name == SO_RCVLOWAT {
        flow.exceptional = 1;
        return true;
    }
    if psock::of(flow.own.sock).is_none() {
        return true;
    }
    if let Some(pod) = maps::pod(flow.own.pod) {
        add(&mut pod.counters.refused_options, 1);
    }
    if name == SO_ZEROCOPY
        && let Some(watched) = habits::watched(flow.own.cookie)
    {
        // Its next connections stay TCP, and have it.
        habits::bad_sign(flow.own.sock, watched, Watched::ZEROCOPY);
    }
    false
}
