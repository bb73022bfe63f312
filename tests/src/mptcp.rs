//! Multipath TCP, which nix has no protocol for.

use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen as listen_on};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// A non-blocking MPTCP socket over IPv4.
///
/// # Errors
/// The kernel has no MPTCP.
pub fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel gives a new descriptor, or -1.
    match unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_MPTCP) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: it is new, and nobody else has it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// A non-blocking listener at an address of IPv4.
///
/// # Errors
/// As [`socket`], and of bind(2).
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = socket()?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen_on(&listener, Backlog::new(8)?)?;
    Ok(listener.into())
}
