//! Tells user space of a socket in the sockhash. Run by BPF_PROG_TEST_RUN, never by the kernel.

use aya_ebpf::{
    helpers::generated::{bpf_map_lookup_elem, bpf_sk_release, bpf_sk_storage_get},
    programs::TcContext,
};
use shim::layout::{Cookie, Flow, SocketState};

use crate::{
    kernel::psock,
    state::maps::{FLOWS, SOCKETS},
};

#[inline(always)]
pub fn run(ctx: &TcContext) -> Option<()> {
    let mut cookie: Cookie = ctx.load(0).ok()?;
    let state = state(&mut cookie)?;
    ctx.store(0, &state, 0).ok()
}

#[inline(always)]
fn state(cookie: &mut Cookie) -> Option<SocketState> {
    let (sockets, flows) = (SOCKETS.as_ptr(), FLOWS.as_ptr());
    // SAFETY: the key outlives the call. The kernel counts a reference to the socket until it is
    // released, and its flow lives as long.
    unsafe {
        let sock = bpf_map_lookup_elem(sockets, core::ptr::from_mut(cookie).cast());
        if sock.is_null() {
            return None;
        }
        let flow = bpf_sk_storage_get(flows, sock, core::ptr::null_mut(), 0).cast::<Flow>();
        let state = flow.as_ref().map(|flow| of_flow(*cookie, flow));
        bpf_sk_release(sock);
        state
    }
}

#[inline(always)]
fn of_flow(cookie: Cookie, flow: &Flow) -> SocketState {
    SocketState {
        cookie,
        pod: flow.own.pod,
        shunt: (flow.mode == Flow::SHUNT).into(),
        met: (flow.peer.cookie != 0).into(),
        unread: (!psock::is_empty(flow.own.sock) || flow.keepalive.interval != 0).into(),
        busy: psock::is_in_use(flow.own.sock).into(),
    }
}
