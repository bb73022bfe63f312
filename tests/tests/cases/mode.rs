//! Sockets whose mode does not tell how they are read, or changes.

use anyhow::Result;
use std::{io::Read as _, net::TcpStream};
use tests::traffic::Mode::{Blocking, NonBlocking};

use super::conversation::{Read, Reader, readable};

pub const READERS: &[Reader] = &[
    Reader::new("mode::nonblocking", NonBlocking, NonBlocking, after_poll),
    // As wget.
    Reader::new("mode::blocking_after_poll", Blocking, Blocking, after_poll),
    // As CPython's sockets with a timeout are not, and C programs with select are.
    Reader::new("mode::blocking_after_poll_if_made_nonblocking", NonBlocking, Blocking, after_poll),
    // As Tomcat and Jetty.
    Reader::new("mode::accepted_blocking_then_not", Blocking, Blocking, nonblocking_from_now_on),
    Reader::new("mode::nonblocking_of_a_blocking_listener", Blocking, NonBlocking, after_poll),
    // As the JDK's com.sun HttpServer.
    Reader::new("mode::to_and_fro", Blocking, NonBlocking, to_and_fro),
    Reader::new("mode::to_and_fro_if_made_nonblocking", NonBlocking, NonBlocking, to_and_fro),
    // As OkHttp.
    Reader::new(
        "mode::nonblocking_with_the_first_read",
        NonBlocking,
        Blocking,
        nonblocking_from_now_on,
    ),
    // As Go.
    Reader::new("mode::mptcp", NonBlocking, NonBlocking, after_poll).mptcp(),
    Reader::new("mode::mptcp_blocking", NonBlocking, Blocking, after_poll).mptcp(),
];

fn after_poll(socket: &TcpStream) -> Result<Read<'_>> {
    Ok(Box::new(|want| {
        readable(socket)?;
        let mut bytes = vec![0; want];
        let n = (&mut &*socket).read(&mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
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
