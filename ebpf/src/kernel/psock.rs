//! `struct sk_psock`: what a socket in the sockhash has, with the queue of what was redirected to it.

use super::fields;

/// Of nothing else that gives a TCP socket of a pod its `sk_user_data`.
#[inline(always)]
pub fn of(sock: u64) -> Option<u64> {
    let user_data = fields::read::<u64>(sock, fields::offsets().sock_user_data)?;
    // The low bits are flags, see SK_USER_DATA_PTRMASK in include/net/sock.h.
    Some(user_data & !7).filter(|psock| *psock != 0)
}

/// Nothing that was redirected to the socket is unread.
#[inline(always)]
pub fn is_empty(sock: u64) -> bool {
    let Some(psock) = of(sock) else { return false };
    let list = psock.wrapping_add(fields::offsets().psock_ingress_msg.into());
    fields::read::<u64>(list, 0) == Some(list)
}

/// It is in a sockhash, and something that was redirected to it is unread, or may be.
#[inline(always)]
pub fn has_unread(sock: u64) -> bool {
    of(sock).is_some() && !is_empty(sock)
}

/// Bytes of what was redirected to the socket that are unread; `None` on kernels that do not count
/// them (they do since early 2026, for FIONREAD).
#[inline(always)]
pub fn unread(sock: u64) -> Option<u32> {
    let at = fields::offsets().psock_msg_tot_len;
    if at == 0 {
        return None;
    }
    fields::read::<u32>(of(sock)?, at)
}

/// Somebody is inside send(2) or recv(2) of the socket: each holds a reference to its psock, which is
/// gone only with the last one.
#[inline(always)]
pub fn is_in_use(sock: u64) -> bool {
    of(sock).is_some_and(|psock| {
        let references = fields::read::<u32>(psock, fields::offsets().psock_refcnt);
        references.is_none_or(|references| references > 1)
    })
}
