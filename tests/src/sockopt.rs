//! Socket options that nix has no type for.

use std::{io, os::fd::AsRawFd};

/// setsockopt(2) with these bytes.
///
/// # Errors
/// The kernel's.
pub fn set_raw(socket: &impl AsRawFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let (data, size) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
    // SAFETY: the value outlives the call and is of that size.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, data, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// setsockopt(2) at level IPPROTO_TCP with an int.
///
/// # Errors
/// The kernel's.
pub fn set_tcp(socket: &impl AsRawFd, option: i32, value: i32) -> io::Result<()> {
    set_raw(socket, libc::IPPROTO_TCP, option, &value.to_ne_bytes())
}
