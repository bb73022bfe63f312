//! The pod that a program runs for.

use aya_ebpf::{
    EbpfContext as _,
    programs::{SockContext, SockOpsContext},
};
use shim::layout::{BY_NAMESPACE, Flow, Pod, PodId, is_namespace};

use super::{flow, maps};
use crate::kernel::{fields, sock};

/// None: it is no pod's socket, or a program that runs for its cgroup has seen to it.
#[inline(always)]
pub fn pod<'a>(ctx: &SockOpsContext) -> Option<(PodId, &'a mut Pod)> {
    let id = match maps::attached_to() {
        BY_NAMESPACE => {
            if flow::flow(ctx).is_some_and(|flow| !is_for(flow)) {
                return None;
            }
            sock::namespace(socket(ctx)?)?
        }
        id => id,
    };
    Some((id, maps::pod(id)?))
}

/// Address of the `struct sock` of the callback.
#[inline(always)]
pub fn socket(ctx: &SockOpsContext) -> Option<u64> {
    fields::read(ctx.as_ptr() as u64, fields::offsets().sock_ops_sk)
}

/// For a socket that is being made: not where the program is attached to a pod's cgroup.
#[inline(always)]
pub fn may_have_mptcp(ctx: &SockContext) -> bool {
    maps::attached_to() == BY_NAMESPACE
        && sock::namespace(ctx.as_ptr() as u64)
            .and_then(maps::pod)
            .is_none_or(|pod| pod.policy.no_mptcp == 0)
}

/// Whether it is this program that runs for the socket's pod, where one runs for its cgroup and one for all.
#[inline(always)]
pub fn is_for(flow: &Flow) -> bool {
    (maps::attached_to() == BY_NAMESPACE) == is_namespace(flow.own.pod)
}
