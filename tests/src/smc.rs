//! Shared Memory Communications, which nix has no family for: its sockets are TCP's at heart.

use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen as listen_on};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, OwnedFd},
};

/// AF_SMC of linux/socket.h.
const AF_SMC: AddressFamily = AddressFamily::from_raw(43);

/// A socket over IPv4, non-blocking once it is connected or listens: SMC's own handshake is not.
///
/// # Errors
/// The kernel has no SMC.
pub fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AF_SMC, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A non-blocking listener at an address of IPv4.
///
/// # Errors
/// As [`socket`], and of bind(2).
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = socket()?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen_on(&listener, Backlog::new(8)?)?;
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
