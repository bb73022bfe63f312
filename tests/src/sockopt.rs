//! Socket options and flags that nix has no type for.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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

/// TCP_ULP, as TLS libraries set it.
///
/// # Errors
/// The kernel's: ENOENT where it has no such protocol.
pub fn set_ulp(socket: &impl AsRawFd, name: &str) -> io::Result<()> {
    set_raw(socket, libc::IPPROTO_TCP, libc::TCP_ULP, name.as_bytes())
}

/// # Errors
/// The kernel's.
pub fn set_zerocopy(socket: &impl AsRawFd) -> io::Result<()> {
    set_raw(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1_i32.to_ne_bytes())
}

/// send(2) of all with MSG_ZEROCOPY.
///
/// # Errors
/// The kernel's, or it took only a part.
pub fn send_zerocopy(socket: &impl AsRawFd, message: &[u8]) -> io::Result<()> {
    let (data, size, flags) = (message.as_ptr().cast(), message.len(), libc::MSG_ZEROCOPY);
    // SAFETY: the kernel may read the message until its completion comes: the caller keeps it.
    match unsafe { libc::send(socket.as_raw_fd(), data, size, flags) } {
        n if n == size as isize => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        n => Err(io::Error::other(format!("{n} of {size} bytes sent"))),
    }
}

/// Waits for a message on the error queue (Documentation/networking/msg_zerocopy.rst); how many
/// sends it completes.
///
/// # Errors
/// None came in that time.
pub fn wait_for_completion(socket: &(impl AsRawFd + AsFd), time: Duration) -> io::Result<u32> {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::empty())], timeout)?;
    let mut control = [0_u64; 16];
    // SAFETY: all zeroes is a message without anything; the control buffer outlives the call, and
    // the kernel leaves a whole sock_extended_err behind the first header.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        if libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE) < 0 {
            return Err(io::Error::last_os_error());
        }
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if first.is_null() {
            return Err(io::Error::other("an error without its origin"));
        }
        let error = libc::CMSG_DATA(first).cast::<libc::sock_extended_err>().read_unaligned();
        Ok(error.ee_data - error.ee_info + 1)
    }
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

/// TCP_INFO: bytes of the stream that TCP has sent and that were acknowledged, and that TCP has received
/// (`tcpi_bytes_acked` and `tcpi_bytes_received` of linux/tcp.h).
///
/// # Errors
/// The kernel's.
pub fn tcp_bytes(socket: &impl AsRawFd) -> io::Result<(u64, u64)> {
    const BYTES_ACKED: usize = 120 / 8;
    let mut info = [0_u64; BYTES_ACKED + 2];
    let mut size = size_of_val(&info) as libc::socklen_t;
    let (level, at) = (libc::IPPROTO_TCP, info.as_mut_ptr().cast());
    // SAFETY: the value outlives the call and is of that size.
    let ret =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, libc::TCP_INFO, at, &raw mut size) };
    if ret == 0 {
        Ok((info[BYTES_ACKED], info[BYTES_ACKED + 1]))
    } else {
        Err(io::Error::last_os_error())
    }
}
