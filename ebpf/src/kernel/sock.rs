//! `struct sock`, and the `struct socket` and `struct file` that an application has it by.

use super::fields::{offsets, read};

const O_NONBLOCK: u32 = 0o4000;

/// Address of the socket's `struct file`; `None` before it was accepted, and for a subflow of
/// MPTCP, which borrows the `struct socket` of the connection it belongs to.
#[inline(always)]
pub fn file(sock: u64) -> Option<u64> {
    let socket = socket(sock)?;
    read::<u64>(socket, offsets().socket_sk).filter(|owner| *owner == sock)?;
    file_of(socket)
}

/// The inode number of the socket's network namespace.
#[inline(always)]
pub fn namespace(sock: u64) -> Option<u64> {
    let net = read::<u64>(sock, offsets().sock_net)?;
    read::<u32>(net, offsets().net_inum).map(u64::from)
}

#[inline(always)]
fn socket(sock: u64) -> Option<u64> {
    read::<u64>(sock, offsets().sock_socket).filter(|at| *at != 0)
}

#[inline(always)]
fn file_of(socket: u64) -> Option<u64> {
    read::<u64>(socket, offsets().socket_file).filter(|at| *at != 0)
}

/// Not accepted yet, or closed: nobody can read from it.
#[inline(always)]
pub fn has_no_owner(sock: u64) -> bool {
    read::<u64>(sock, offsets().sock_socket) == Some(0)
}

/// Whether a file is in non-blocking mode.
#[inline(always)]
pub fn is_nonblocking(file: u64) -> bool {
    read::<u32>(file, offsets().file_flags).is_some_and(|flags| flags & O_NONBLOCK != 0)
}

#[inline(always)]
pub fn is_nonblocking_socket(sock: u64) -> bool {
    file(sock).is_some_and(is_nonblocking)
}

/// Likewise a listener, which may be a subflow of MPTCP's.
#[inline(always)]
pub fn is_nonblocking_listener(sock: u64) -> bool {
    socket(sock).and_then(file_of).is_some_and(is_nonblocking)
}

/// Whether no more is to come to the reader: one of the two has shut down. See RCV_SHUTDOWN in
/// include/net/sock.h.
#[inline(always)]
pub fn is_shut(sock: u64) -> bool {
    let bits = offsets().sock_shutdown_bits;
    read::<u8>(sock, bits / 8).is_none_or(|byte| byte >> (bits % 8) & 1 != 0)
}

/// Whether SO_ZEROCOPY is set.
#[inline(always)]
pub fn wants_zerocopy(sock: u64) -> bool {
    let at = offsets();
    read::<u64>(sock, at.sock_flags).is_none_or(|flags| flags >> (at.sock_zerocopy & 63) & 1 == 1)
}

/// An error that the next call is told of.
#[inline(always)]
pub fn has_error(sock: u64) -> bool {
    read::<u32>(sock, offsets().sock_err) != Some(0)
}

/// Whether TCP has something for recv(2) to give: bytes, or the end.
#[inline(always)]
pub fn has_something(sock: u64) -> bool {
    let at = offsets();
    let next = read::<u32>(sock, at.tcp_rcv_nxt);
    next != read::<u32>(sock, at.tcp_copied_seq) || is_shut(sock) || has_error(sock)
}

/// A subflow of MPTCP, or a socket that SMC may take over.
#[inline(always)]
pub fn is_anothers(sock: u64) -> bool {
    let at = offsets();
    has_bit(sock, at.tcp_is_mptcp_bits) || has_bit(sock, at.tcp_syn_smc_bits)
}

#[inline(always)]
pub fn is_mptcp(sock: u64) -> bool {
    has_bit(sock, offsets().tcp_is_mptcp_bits)
}

/// Whether a sock_ops program, shunt's or another, asked for callbacks of the socket: no socket of an
/// attached pod is without.
#[inline(always)]
pub fn has_callbacks(sock: u64) -> bool {
    read::<u8>(sock, offsets().tcp_callback_flags).is_none_or(|flags| flags != 0)
}

#[inline(always)]
pub fn cookie(sock: u64) -> Option<u64> {
    read::<u64>(sock, offsets().sock_cookie).filter(|cookie| *cookie != 0)
}

#[inline(always)]
pub fn write_seq(sock: u64) -> Option<u32> {
    read(sock, offsets().tcp_write_seq)
}

/// The position is `u32::MAX` where this kernel has no such bit.
#[inline(always)]
fn has_bit(sock: u64, bits: u32) -> bool {
    bits != u32::MAX && read::<u8>(sock, bits / 8).is_some_and(|byte| byte >> (bits % 8) & 1 != 0)
}
