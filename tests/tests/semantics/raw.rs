//! System calls for which nix has no form, or none that may fail.

use nix::{
    errno::Errno,
    libc,
    sys::{
        epoll::EpollFlags,
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    },
};
use std::{os::fd::AsRawFd, time::Duration};

/// ioctl(2) that gives an int.
pub fn ioctl(socket: &impl AsRawFd, request: libc::Ioctl) -> nix::Result<i32> {
    let mut value = 0;
    // SAFETY: such requests write one int.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut value) })?;
    Ok(value)
}

/// getsockopt(2) of as many bytes.
pub fn option<const SIZE: usize>(
    socket: &impl AsRawFd,
    level: i32,
    option: i32,
) -> nix::Result<[u8; SIZE]> {
    let (mut value, mut size) = ([0; SIZE], SIZE as libc::socklen_t);
    let at = value.as_mut_ptr().cast();
    // SAFETY: the value outlives the call and is of that size.
    let ret = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, at, &raw mut size) };
    Errno::result(ret).map(|_| value)
}

/// poll(2) for epoll's events, which have the same values, and some that nix does not know.
pub fn poll(socket: &impl AsRawFd, events: EpollFlags, time: Duration) -> EpollFlags {
    let (fd, events) = (socket.as_raw_fd(), events.bits() as i16);
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one structure, that outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, time.as_millis() as i32) };
    EpollFlags::from_bits_retain(poll.revents.into())
}

/// recv(2) to address 0.
pub fn recv_nowhere(socket: &impl AsRawFd, len: usize, flags: i32) -> nix::Result<isize> {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes nothing there.
    Errno::result(unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), len, flags) })
}

/// send(2) from address 0.
pub fn send_from_nowhere(socket: &impl AsRawFd, len: usize) -> nix::Result<isize> {
    // SAFETY: the kernel finds nothing to read there.
    Errno::result(unsafe { libc::send(socket.as_raw_fd(), std::ptr::null(), len, 0) })
}

/// writev(2) of some bytes and then of some from address 0.
pub fn send_half_from_nowhere(socket: &impl AsRawFd, bytes: &[u8]) -> nix::Result<isize> {
    let good = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let bad = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: bytes.len() };
    // SAFETY: the kernel only reads the bytes, and cannot read the others.
    Errno::result(unsafe { libc::writev(socket.as_raw_fd(), [good, bad].as_ptr(), 2) })
}

/// Has SIGIO sent to this process when something happens.
pub fn set_owner(socket: &impl AsRawFd) -> nix::Result<()> {
    // SAFETY: no pointers.
    let own = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, libc::getpid()) };
    Errno::result(own).map(drop)
}

/// connect(2) to nowhere: the connection is ended, and the socket may connect again.
pub fn disconnect(socket: &impl AsRawFd) -> nix::Result<()> {
    let unspecified = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    let size = size_of_val(&unspecified) as libc::socklen_t;
    // SAFETY: the address outlives the call and is of that size.
    let ret = unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, size) };
    Errno::result(ret).map(drop)
}

/// A handler that does nothing, so that the signal only interrupts.
pub fn let_interrupt(signal: Signal, flags: SaFlags) -> nix::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), flags, SigSet::empty());
    // SAFETY: the handler touches nothing.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// A filter that lets nothing through.
pub fn filter_all(socket: &impl AsRawFd) -> nix::Result<()> {
    let mut drop_all =
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut drop_all };
    let size = size_of_val(&program) as libc::socklen_t;
    let program = (&raw const program).cast();
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: the kernel copies the program.
    let ret = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, program, size) };
    Errno::result(ret).map(drop)
}

/// SIGIO mode, beside the other flags.
pub fn set_async(socket: &impl AsRawFd) -> nix::Result<()> {
    let fd = socket.as_raw_fd();
    // SAFETY: no pointers.
    Errno::result(unsafe {
        libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) | libc::O_ASYNC)
    })
    .map(drop)
}
