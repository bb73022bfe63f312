//! What is known of a connection: each of its sockets has a [`Flow`] in its socket storage.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SK_STORAGE_GET_F_CREATE, BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED,
        bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock,
    },
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get, bpf_skc_to_tcp_sock},
    programs::{SkMsgContext, SockOpsContext, SockoptContext},
};
use shim::layout::*;

use super::maps::{self, FLOWS, Map, PAIRS, add};
use crate::kernel::{fields, sock};

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
    storage(ctx, &FLOWS, ptr::null_mut(), 0).filter(|flow| flow.own.cookie != 0)
}

/// Creates the socket's flow, with where it and its `struct sock` are. `None`: no memory.
#[inline(always)]
pub fn new_flow<'a>(ctx: &SockOpsContext, pod: PodId, pair: Pair) -> Option<&'a mut Flow> {
    let flow = storage(ctx, &FLOWS, ptr::null_mut(), CREATE)?;
    let at = ptr::from_mut(flow) as u64;
    address(ctx.sock() as u64, &mut flow.own.sock);
    address(at, &mut flow.own.flow);
    flow.own.cookie = cookie(ctx);
    flow.own.pod = pod;
    flow.pair = pair;
    flow.counted = sock::write_seq(flow.own.sock).unwrap_or(0);
    Some(flow)
}

/// An address as a number. It goes through a map, as the verifier lets nobody calculate with pointers,
/// and 5.10 lets none be on the stack when a helper reads it.
#[inline(always)]
pub fn address(pointer: u64, through: &mut u64) -> u64 {
    // SAFETY: volatile, so that it is a store of the pointer itself and a load of a number.
    unsafe {
        ptr::write_volatile(through, pointer);
        ptr::read_volatile(through)
    }
}

/// The socket may connect again.
#[inline(always)]
pub fn forget(flow: &mut Flow) {
    let was_in = flow.was_in;
    *flow = Flow { was_in, ..Flow::default() };
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

/// The own `write_seq`, by a load: a `struct tcp_sock` of the kernel's needs no helper to be read.
#[inline(always)]
pub fn write_seq(ctx: &SkMsgContext) -> Option<u32> {
    let sock = ctx.sock();
    if sock.is_null() {
        return None;
    }
    // SAFETY: the kernel's socket, checked; the verifier knows the field by its offset.
    unsafe {
        let tcp_sock = bpf_skc_to_tcp_sock(sock.cast()).cast::<u8>();
        if tcp_sock.is_null() {
            return None;
        }
        let at = tcp_sock.add(fields::offsets().tcp_write_seq as usize).cast::<u32>();
        Some(ptr::read_volatile(at))
    }
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

/// What a flow's peer shows of itself now.
pub struct Shown {
    pub stage: u32,
    pub is_exceptional: bool,
}

/// By one read. `None`: its socket has another connection since, which connect(2) to no address allows, or it
/// is gone.
#[inline(always)]
pub fn peer_shows(flow: &Flow) -> Option<Shown> {
    // `pair`, `stage` and `exceptional`
    let peer = fields::read::<[u32; 4]>(flow.peer.flow, offset_of!(Flow, pair) as u32)?;
    let [active, passive, stage, exceptional] = peer;
    let is_same = active == flow.pair.active && passive == flow.pair.passive;
    is_same.then_some(Shown { stage, is_exceptional: exceptional != 0 })
}

/// Where TCP went on after what was handed to this socket, as a sequence number of its peer's.
#[inline(always)]
pub fn seam(flow: &Flow) -> Option<u32> {
    fields::read(peer(flow)?.flow, offset_of!(Flow, seam) as u32)
}

/// Whether the peer is in the sockhash: it has been here at the latest when it acknowledges data. The active end
/// learns it from what the passive end left, which goes: others need the room.
#[inline(always)]
pub fn meet(flow: &mut Flow) -> bool {
    if flow.peer.cookie == 0
        && let Some(Ends { passive, .. }) = maps::ends(flow)
        && passive.entered != 0
    {
        flow.peer = passive;
        let _ = PAIRS.remove(flow.pair);
    }
    flow.peer.entered != 0
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
