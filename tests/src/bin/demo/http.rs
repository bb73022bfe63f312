//! HTTP/1.1 as the application speaks it, and a client that looks at every byte.

use anyhow::{Context, Result, ensure};
use std::{
    io::{Read, Write},
    net::SocketAddr,
};
use tests::traffic::{Mode, Stream};

/// Bytes.
const BODY: usize = 1024;

fn body() -> [u8; BODY] {
    std::array::from_fn(|at| b'a' + (at % 23) as u8)
}

/// Answers every request that has come in whole with the same body and keeps the connection.
/// Requests must be without body.
pub fn answer(input: &mut Vec<u8>, output: &mut Vec<u8>) {
    const END: &[u8] = b"\r\n\r\n";
    while let Some(at) = input.windows(END.len()).position(|window| window == END) {
        input.drain(..at + END.len());
        output.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n");
        output.extend_from_slice(format!("Content-Length: {BODY}\r\n\r\n").as_bytes());
        output.extend_from_slice(&body());
    }
}

/// Asks some times on new connections and compares the body, which wrk does not.
///
/// # Errors
/// Of the connection, or a wrong byte.
pub fn check(to: SocketAddr) -> Result<()> {
    for _ in 0..16 {
        let mut stream = Stream::connect(to, Mode::NonBlocking).context("connect")?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        let text = String::from_utf8_lossy(&reply);
        ensure!(reply.starts_with(b"HTTP/1.1 200 OK"), "no success: {text}");
        ensure!(reply.ends_with(&body()), "a reply has wrong bytes: {text}");
    }
    Ok(())
}
