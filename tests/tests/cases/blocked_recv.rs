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

use super::{
    conversation::Program,
    talk::{Does::Reads, Read},
};

/// As gunicorn's workers, which have handlers for signals.
pub const GUNICORN: Program = Program::new(
    "blocked_recv::is_interrupted_if_made_nonblocking",
    NonBlocking,
    Blocking,
    Reads(asleep),
)
.interrupted();

pub const PROGRAMS: &[Program] = &[
    Program::new("blocked_recv::all", Blocking, Blocking, Reads(asleep)),
    Program::new("blocked_recv::if_made_nonblocking", NonBlocking, Blocking, Reads(asleep)),
    Program::new("blocked_recv::is_interrupted", Blocking, Blocking, Reads(asleep)).interrupted(),
    GUNICORN,
    Program::new("blocked_recv::for_a_time", NonBlocking, Blocking, Reads(for_a_time))
        .interrupted(),
    Program::new("blocked_recv::for_all", Blocking, Blocking, Reads(for_all)),
    Program::new(
        "blocked_recv::for_all_if_made_nonblocking",
        NonBlocking,
        Blocking,
        Reads(for_all),
    ),
    Program::new("blocked_recv::for_all_interrupted", NonBlocking, Blocking, Reads(for_all))
        .interrupted(),
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
