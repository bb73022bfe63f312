//! Socket options that nix has no type for.

use std::{io, os::fd::AsRawFd};

/// setsockopt(2) at level IPPROTO_TCP with an int.
///
/// # Errors
/// The kernel's.
pub fn set_tcp(socket: &impl AsRawFd, option: i32, value: i32) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, option, value)
}

/// setsockopt(2) with an int.
///
/// # Errors
/// The kernel's.
pub fn set(socket: &impl AsRawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_bytes(socket, level, option, &value.to_ne_bytes())
}

/// setsockopt(2).
///
/// # Errors
/// The kernel's.
pub fn set_bytes(socket: &impl AsRawFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let (value, size) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
    // SAFETY: the value outlives the call and is of that size.
    let ret = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, size) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// getsockopt(2) of an int.
///
/// # Errors
/// The kernel's.
pub fn get(socket: &impl AsRawFd, level: i32, option: i32) -> io::Result<i32> {
    let mut value = [0; 4];
    get_bytes(socket, level, option, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// getsockopt(2); how many bytes of the value are the kernel's.
///
/// # Errors
/// The kernel's.
pub fn get_bytes(
    socket: &impl AsRawFd,
    level: i32,
    option: i32,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut size = value.len() as libc::socklen_t;
    let value = value.as_mut_ptr().cast();
    // SAFETY: the value outlives the call and is of that size.
    let ret = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut size) };
    if ret == 0 { Ok(size as usize) } else { Err(io::Error::last_os_error()) }
}
