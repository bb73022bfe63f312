//! cgroup/sock_create: MPTCP is off in a pod, where this kernel cannot bear what an MPTCP listener accepts in a sockhash.
//! Go's runtime and others then listen on plain TCP, as on a node with `net.mptcp.enabled=0`.

use aya_ebpf::programs::SockContext;

use crate::state::current;

const IPPROTO_MPTCP: u32 = 262;

/// False: socket(2) fails with EPERM.
#[inline(always)]
pub fn allows(ctx: &SockContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    let is_mptcp = unsafe { (*ctx.sock).protocol == IPPROTO_MPTCP };
    !is_mptcp || current::may_have_mptcp(ctx)
}
