//! Multipath TCP, which nix has no protocol for.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
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
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}
