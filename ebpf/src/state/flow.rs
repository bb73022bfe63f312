//! What is known of a connection: each of its sockets has a [`Flow`] in its socket storage.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SK_STORAGE_GET_F_CREATE, BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED,
        bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock,
    },
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_delete, bpf_sk_storage_get},
    programs::{SkMsgContext, SockOpsContext, SockoptContext},
};
use shim::layout::*;

use super::maps::{self, FLOWS, Map, add};
use crate::kernel::fields;

const SK_STORAGE: usize = BPF_MAP_TYPE_SK_STORAGE as usize;
pub const CREATE: u64 = BPF_SK_STORAGE_GET_F_CREATE as u64;

/// The socket that a program runs for. It has one in all places where shunt's do something; the
/// verifier wants it checked all the same.
pub trait Context {
    fn sock(&self) -> *mut bpf_sock;
}

impl Context for SockOpsContext {
    #[inline(always)]
    fn sock(&self) -> *mut bpf_sock {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.ops).__bindgen_anon_2.sk }
    }
}

impl Context for SockoptContext {
    #[inline(always)]
    fn sock(&self) -> *mut bpf_sock {
        // SAFETY: as above.
        unsafe { (*self.sockopt).__bindgen_anon_1.sk }
    }
}

impl Context for SkMsgContext {
    #[inline(always)]
    fn sock(&self) -> *mut bpf_sock {
        // SAFETY: as above.
        unsafe { (*self.msg).__bindgen_anon_3.sk }
    }
}

/// The socket's value in a storage map; with `CREATE` made from `initial` (null: zeroes).
#[inline(always)]
pub fn storage<'a, V, const FLAGS: usize>(
    ctx: &impl Context,
    map: &Map<SK_STORAGE, i32, V, 0, FLAGS>,
    initial: *mut V,
    flags: u64,
) -> Option<&'a mut V> {
    let sock = ctx.sock();
    if sock.is_null() {
        return None;
    }
    // SAFETY: the value lives as long as the socket, and is written under its lock only.
    unsafe {
        bpf_sk_storage_get(map.as_ptr(), sock.cast(), initial.cast(), flags).cast::<V>().as_mut()
    }
}

/// What is known of the socket's connection.
#[inline(always)]
pub fn flow<'a>(ctx: &impl Context) -> Option<&'a mut Flow> {
    storage(ctx, &FLOWS, ptr::null_mut(), 0)
}

/// Creates the socket's flow and fills in where it and its `struct sock` are. False: no memory.
#[inline(always)]
pub fn new_flow(ctx: &SockOpsContext, flow: &mut Flow) -> bool {
    let Some(value) = storage(ctx, &FLOWS, ptr::from_mut(flow), CREATE) else { return false };
    let at = ptr::from_mut(value);
    // SAFETY: addresses as numbers. They go through the map, as 5.10 lets no pointer be on the
    // stack when a helper reads it.
    unsafe {
        ptr::write_volatile(&raw mut (*at).own.sock, ctx.sock() as u64);
        ptr::write_volatile(&raw mut (*at).own.flow, at as u64);
        flow.own.sock = ptr::read_volatile(&raw const (*at).own.sock);
        flow.own.flow = ptr::read_volatile(&raw const (*at).own.flow);
    }
    true
}

#[inline(always)]
pub fn forget_flow(ctx: &SockOpsContext) {
    let sock = ctx.sock();
    if !sock.is_null() {
        // SAFETY: deleting what is not there is an error code that changes nothing.
        unsafe { bpf_sk_storage_delete(FLOWS.as_ptr(), sock.cast()) };
    }
}

#[inline(always)]
pub fn cookie(ctx: &SockOpsContext) -> Cookie {
    // SAFETY: the helper only reads the context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// Whether TCP would take a message: after shutdown(2) only TCP gives the right error.
#[inline(always)]
pub fn may_send(ctx: &SkMsgContext) -> bool {
    let sock = ctx.sock();
    // SAFETY: the kernel's socket, checked.
    !sock.is_null() && matches!(unsafe { (*sock).state }, BPF_TCP_ESTABLISHED | BPF_TCP_CLOSE_WAIT)
}

/// Who feeds this socket. The active end may not have met its peer yet.
#[inline(always)]
pub fn peer(flow: &Flow) -> Option<End> {
    let mut peer = flow.peer;
    if peer.cookie == 0 {
        peer = maps::ends(flow)?.passive;
    }
    (peer.cookie != 0).then_some(peer)
}

/// Where TCP went on after what was handed to this socket, as a sequence number of its peer's.
#[inline(always)]
pub fn seam(flow: &Flow) -> Option<u32> {
    fields::read(peer(flow)?.flow, offset_of!(Flow, seam) as u32)
}

/// Whether bytes were handed to this socket, as far as can be told when it is closed: by then its
/// psock can be gone, and its peer's flow, whose memory can be another's.
#[inline(always)]
pub fn was_surely_fed(flow: &Flow) -> bool {
    let (cookie, fed) = (offset_of!(Flow, own.cookie) as u32, offset_of!(Flow, fed) as u32);
    peer(flow).is_some_and(|peer| {
        fields::read::<u64>(peer.flow, cookie) == Some(peer.cookie)
            && fields::read::<u64>(peer.flow, fed).is_some_and(|fed| fed != 0)
    })
}

/// Whether the peer has been here: at the latest when it acknowledges data.
#[inline(always)]
pub fn has_met(flow: &Flow) -> bool {
    flow.peer.cookie != 0 || maps::ends(flow).is_some_and(|ends| ends.passive.cookie != 0)
}

/// Takes away what an active end left for a peer that never came.
#[inline(always)]
pub fn give_up(flow: &Flow) {
    if !maps::take_ends(flow).is_some_and(|ends| ends.passive.cookie != 0)
        && let Some(pod) = maps::pod(flow.own.pod)
    {
        add(&mut pod.counters.not_paired.unanswered, 1);
    }
}
