//! What is done with the socket of a callback or of a message: its storage, its place in the
//! sockhash.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_F_INGRESS, BPF_SK_STORAGE_GET_F_CREATE, BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED,
        bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock, sk_action::SK_PASS,
    },
    helpers::generated::{
        bpf_get_socket_cookie, bpf_map_delete_elem, bpf_msg_redirect_hash, bpf_sk_storage_delete,
        bpf_sk_storage_get, bpf_sock_hash_update,
    },
    programs::{SkMsgContext, SockOpsContext, SockoptContext},
};
use shim::layout::*;

use crate::{
    kernel,
    maps::{FLOWS, LISTENERS, Map, SOCKETS},
    reader,
};

const SK_STORAGE: usize = BPF_MAP_TYPE_SK_STORAGE as usize;
const CREATE: u64 = BPF_SK_STORAGE_GET_F_CREATE as u64;

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
fn storage<'a, V, const FLAGS: usize>(
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

/// Leaves a listener's address where the sockets it accepts will find it.
#[inline(always)]
pub fn mark_listener(ctx: &SockOpsContext) {
    if reader::counts_unread() {
        return mark_unfit(ctx);
    }
    if let Some(listener) = storage(ctx, &LISTENERS, ptr::null_mut(), CREATE) {
        // SAFETY: an address as a number; volatile, so that it is a store of the pointer itself.
        unsafe { ptr::write_volatile(listener, ctx.sock() as u64) };
    }
}

#[inline(always)]
pub fn mark_unfit(ctx: &SockOpsContext) {
    if let Some(mark) = storage(ctx, &LISTENERS, ptr::null_mut(), CREATE) {
        *mark = UNFIT_SOCKET;
    }
}

#[inline(always)]
pub fn is_unfit(ctx: &SockOpsContext) -> bool {
    listener(ctx) == Some(UNFIT_SOCKET)
}

/// The address of the listener that an accepted socket comes from, if it was seen to listen.
#[inline(always)]
pub fn listener(ctx: &SockOpsContext) -> Option<u64> {
    storage(ctx, &LISTENERS, ptr::null_mut(), 0).copied()
}

#[inline(always)]
pub fn cookie(ctx: &SockOpsContext) -> Cookie {
    // SAFETY: the helper only reads the context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// Enters the callback's socket into the sockhash. `Err`: the kernel's errno.
#[inline(always)]
pub fn enter(ctx: &SockOpsContext, mut cookie: Cookie) -> Result<(), i64> {
    // SAFETY: the key outlives the call.
    let ret =
        unsafe { bpf_sock_hash_update(ctx.ops, SOCKETS.as_ptr(), (&raw mut cookie).cast(), 0) };
    if ret == 0 { Ok(()) } else { Err(ret) }
}

/// Takes a socket out of the sockhash. Only for one that was never handed bytes: they would be
/// lost.
#[inline(always)]
pub fn leave(mut cookie: Cookie) {
    // SAFETY: the key outlives the call.
    unsafe { bpf_map_delete_elem(SOCKETS.as_ptr(), (&raw mut cookie).cast()) };
}

/// What a socket in the sockhash has, and nothing else gives a TCP socket of a pod.
#[inline(always)]
pub fn psock(sock: u64) -> Option<u64> {
    let user_data = kernel::read::<u64>(sock, kernel::offsets().sock_user_data)?;
    // The low bits are flags, see SK_USER_DATA_PTRMASK in include/net/sock.h.
    Some(user_data & !7).filter(|psock| *psock != 0)
}

/// Whether SO_ZEROCOPY is set.
#[inline(always)]
pub fn wants_zerocopy(sock: u64) -> bool {
    let at = kernel::offsets();
    kernel::read::<u64>(sock, at.sock_flags)
        .is_none_or(|flags| flags >> (at.sock_zerocopy & 63) & 1 == 1)
}

/// Whether TCP would take a message: after shutdown(2) only TCP gives the right error.
#[inline(always)]
pub fn may_send(ctx: &SkMsgContext) -> bool {
    let sock = ctx.sock();
    // SAFETY: the kernel's socket, checked.
    !sock.is_null() && matches!(unsafe { (*sock).state }, BPF_TCP_ESTABLISHED | BPF_TCP_CLOSE_WAIT)
}

/// Hands the message to the peer's receive side. False: the peer is not in the sockhash any more.
#[inline(always)]
pub fn redirect(ctx: &SkMsgContext, mut peer: Cookie) -> bool {
    let (map, key) = (SOCKETS.as_ptr(), (&raw mut peer).cast());
    // SAFETY: the key outlives the call.
    let verdict = unsafe { bpf_msg_redirect_hash(ctx.msg, map, key, BPF_F_INGRESS.into()) };
    verdict as u32 == SK_PASS
}
