//! TCP options that nix has no type for.

use std::{io, os::fd::AsRawFd};

/// setsockopt(2) at level IPPROTO_TCP with an int.
///
/// # Errors
/// The kernel's.
pub fn set_tcp(socket: &impl AsRawFd, option: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: the value outlives the call and is of that size.
    let ret =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value, size) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
