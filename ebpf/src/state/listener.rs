//! What is known of who listens on a port of a pod; several sockets can.

use aya_ebpf::{bindings::BPF_ANY, programs::SockOpsContext};
use shim::layout::{Listener, Listening, PodId};

use super::{callbacks::field, current, flow, maps::LISTENERS};
use crate::kernel::{psock, sock, task};

/// Leaves word of what it is. Its task is the running one.
#[inline(always)]
pub fn mark(ctx: &SockOpsContext, pod: PodId) {
    let Some(sock) = current::socket(ctx) else { return };
    let mut kind = if sock::is_mptcp(sock) {
        Listener::MPTCP
    } else if psock::of(sock).is_some() {
        // SMC has set its sk_user_data.
        Listener::FOREIGN
    } else {
        Listener::PLAIN
    };
    let mut obscure = u16::from(task::has_io_uring());
    if let Some(other) = of(ctx, pod).filter(|other| is_there(*other)) {
        // Which of them accepts a socket is not known.
        obscure |= u16::from(waits(other));
        if other.kind != Listener::PLAIN {
            kind = other.kind;
        }
    }
    let listener = Listener { kind, obscure, is_new: 1, sock, cookie: flow::cookie(ctx) };
    let _ = LISTENERS.insert(key(ctx, pod), listener, BPF_ANY.into());
}

/// What the listener of an accepted socket is, if it was seen to listen.
#[inline(always)]
pub fn of(ctx: &SockOpsContext, pod: PodId) -> Option<Listener> {
    // SAFETY: copied at once.
    unsafe { LISTENERS.get(key(ctx, pod)) }.copied()
}

/// Something is accepted there.
#[inline(always)]
pub fn accepts(ctx: &SockOpsContext, pod: PodId) {
    if let Some(listener) = LISTENERS.get_ptr_mut(key(ctx, pod)) {
        // SAFETY: the kernel keeps the value until the program ends; its words are whole at any time.
        unsafe { (*listener).is_new = 0 };
    }
}

#[inline(always)]
fn key(ctx: &SockOpsContext, pod: PodId) -> Listening {
    Listening { pod, port: field!(ctx, local_port).into() }
}

/// Nobody knows of those that user space has found. One that is closed may look as before for a while.
#[inline(always)]
fn is_there(Listener { sock, cookie, .. }: Listener) -> bool {
    sock == 0 || sock::cookie(sock) == Some(cookie) && !sock::has_no_owner(sock)
}

/// Whether what it accepts may be in blocking mode, or is read through io_uring: who listens without blocking
/// has the sockets without, too. Often it is put into that mode after listen(2).
#[inline(always)]
pub fn waits(listener: Listener) -> bool {
    let Listener { obscure, sock, .. } = listener;
    obscure != 0 || sock != 0 && !sock::is_nonblocking_listener(sock)
}
