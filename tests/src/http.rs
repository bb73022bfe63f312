//! HTTP/1.1 as the application speaks it, and a client that looks at every byte.

use crate::traffic::{Mode, Stream};
use anyhow::{Context, Result, ensure};
use std::{
    io::{Read, Write},
    net::SocketAddr,
};

/// Bytes, where the path does not say how many.
const BODY: usize = 1024;

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 23) as u8).collect()
}

/// `GET /4096 HTTP/1.1`: what the path says.
fn size(request: &[u8]) -> usize {
    let path =
        request.split(|byte| *byte == b' ').nth(1).and_then(|path| str::from_utf8(path).ok());
    path.and_then(|path| path.trim_start_matches('/').parse().ok()).unwrap_or(BODY)
}

/// Answers every request that has come in whole with a body of so many bytes as its path says and keeps the
/// connection. Requests must be without body.
pub fn answer(input: &mut Vec<u8>, output: &mut Vec<u8>) {
    const END: &[u8] = b"\r\n\r\n";
    while let Some(at) = input.windows(END.len()).position(|window| window == END) {
        let size = size(&input[..at]);
        input.drain(..at + END.len());
        output.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n");
        output.extend_from_slice(format!("Content-Length: {size}\r\n\r\n").as_bytes());
        output.extend_from_slice(&body(size));
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
        ensure!(reply.ends_with(&body(BODY)), "a reply has wrong bytes: {text}");
    }
    Ok(())
}
