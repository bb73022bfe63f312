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

/// getsockopt(2) at level IPPROTO_TCP of an int, or of the first four bytes of something longer.
///
/// # Errors
/// The kernel's.
pub fn get_tcp(socket: &impl AsRawFd, option: i32) -> io::Result<i32> {
    let (mut value, mut size) = (0_i32, size_of::<i32>() as libc::socklen_t);
    let at = (&raw mut value).cast();
    // SAFETY: the value outlives the call and is of that size.
    let ret = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, at, &raw mut size)
    };
    if ret == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
