//! Sockets whose mode does not tell how they are read, or changes.

use anyhow::Result;
use std::{io::Read as _, net::TcpStream};
use tests::traffic::Mode::{Blocking, NonBlocking};

use super::{
    conversation::Program,
    talk::{Does::Reads, Read, readable, some},
};

/// As event loops.
pub const EVENTS: Program =
    Program::new("mode::nonblocking", NonBlocking, NonBlocking, Reads(after_poll));

pub const PROGRAMS: &[Program] = &[
    EVENTS,
    // As wget.
    Program::new("mode::blocking_after_poll", Blocking, Blocking, Reads(after_poll)),
    // As programs with select(2).
    Program::new(
        "mode::blocking_after_poll_if_made_nonblocking",
        NonBlocking,
        Blocking,
        Reads(after_poll),
    ),
    // As Tomcat and Jetty.
    Program::new(
        "mode::accepted_blocking_then_not",
        Blocking,
        Blocking,
        Reads(nonblocking_from_now_on),
    ),
    Program::new(
        "mode::nonblocking_of_a_blocking_listener",
        Blocking,
        NonBlocking,
        Reads(after_poll),
    ),
    // As the JDK's com.sun HttpServer.
    Program::new("mode::to_and_fro", Blocking, NonBlocking, Reads(to_and_fro)),
    Program::new(
        "mode::to_and_fro_if_made_nonblocking",
        NonBlocking,
        NonBlocking,
        Reads(to_and_fro),
    ),
    // As OkHttp.
    Program::new(
        "mode::nonblocking_with_the_first_read",
        NonBlocking,
        Blocking,
        Reads(nonblocking_from_now_on),
    ),
    // As Go.
    Program::new("mode::mptcp", NonBlocking, NonBlocking, Reads(after_poll)).mptcp(),
    Program::new("mode::mptcp_blocking", NonBlocking, Blocking, Reads(after_poll)).mptcp(),
];

fn after_poll(socket: &TcpStream) -> Result<Read<'_>> {
    Ok(Box::new(move |want| {
        readable(socket)?;
        some(socket, want)
    }))
}

fn nonblocking_from_now_on(socket: &TcpStream) -> Result<Read<'_>> {
    socket.set_nonblocking(true)?;
    after_poll(socket)
}

/// Waits for a request without blocking, and reads all of it blocking.
fn to_and_fro(socket: &TcpStream) -> Result<Read<'_>> {
    Ok(Box::new(move |want| {
        readable(socket)?;
        socket.set_nonblocking(false)?;
        let mut bytes = Vec::new();
        let read = (&mut &*socket).take(want as u64).read_to_end(&mut bytes);
        socket.set_nonblocking(true)?;
        read.map(|_| bytes)
    }))
}
