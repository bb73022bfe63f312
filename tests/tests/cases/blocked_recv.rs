//! Programs that sleep in recv(2): signals, acknowledgements of their own end, and room for what they
//! send wake them before anything has come.

use anyhow::Result;
use libc::MSG_WAITALL;
use nix::sys::{
    socket::{MsgFlags, recv, setsockopt, sockopt},
    time::{TimeVal, TimeValLike as _},
};
use std::{net::TcpStream, os::fd::AsRawFd as _};
use tests::traffic::Mode::{Blocking, NonBlocking};

use super::conversation::{Read, Reader};

pub const READERS: &[Reader] = &[
    Reader::new("blocked_recv::all", Blocking, Blocking, asleep),
    Reader::new("blocked_recv::if_made_nonblocking", NonBlocking, Blocking, asleep),
    Reader::new("blocked_recv::is_interrupted", Blocking, Blocking, asleep).interrupted(),
    // As gunicorn's workers.
    Reader::new("blocked_recv::is_interrupted_if_made_nonblocking", NonBlocking, Blocking, asleep)
        .interrupted(),
    Reader::new("blocked_recv::for_a_time", NonBlocking, Blocking, for_a_time).interrupted(),
    Reader::new("blocked_recv::for_all", Blocking, Blocking, for_all),
    Reader::new("blocked_recv::for_all_if_made_nonblocking", NonBlocking, Blocking, for_all),
    Reader::new("blocked_recv::for_all_interrupted", NonBlocking, Blocking, for_all).interrupted(),
];

fn asleep(socket: &TcpStream) -> Result<Read<'_>> {
    with(socket, 0)
}

fn for_all(socket: &TcpStream) -> Result<Read<'_>> {
    with(socket, MSG_WAITALL)
}

/// Longer than anything takes, as programs set it for the worst.
fn for_a_time(socket: &TcpStream) -> Result<Read<'_>> {
    setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::seconds(60))?;
    asleep(socket)
}

fn with(socket: &TcpStream, flags: i32) -> Result<Read<'_>> {
    Ok(Box::new(move |want| {
        let mut bytes = vec![0; want];
        let n = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::from_bits_retain(flags))?;
        bytes.truncate(n);
        Ok(bytes)
    }))
}
