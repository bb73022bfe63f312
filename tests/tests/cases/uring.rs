//! io_uring's way to receive: one request for each read, and one for all.

use anyhow::{Context as _, Result};
use io_uring::{cqueue, opcode, types::Fd};
use std::{io, net::TcpStream, os::fd::AsRawFd as _};
use tests::{
    ring::{Ring, memory, result},
    traffic::Mode::{Blocking, NonBlocking},
};

use super::{
    conversation::Program,
    patience,
    talk::{Does::Reads, Read},
};

pub const PROGRAMS: &[Program] = &[
    Program::new("uring::recv", Blocking, Blocking, Reads(one_by_one)),
    Program::new("uring::recv_if_made_nonblocking", NonBlocking, Blocking, Reads(one_by_one)),
    Program::new("uring::recv_multishot", Blocking, Blocking, Reads(multishot)).since(6, 0),
    Program::new("uring::multishot_if_made_nonblocking", NonBlocking, Blocking, Reads(multishot))
        .since(6, 0),
];

fn one_by_one(socket: &TcpStream) -> Result<Read<'_>> {
    let mut ring = Ring::new(patience()).context("io_uring")?;
    Ok(Box::new(move |want| {
        let into = memory(want);
        let fd = Fd(socket.as_raw_fd());
        let n = ring.run(&opcode::Recv::new(fd, into.as_mut_ptr(), want as u32).build())?;
        Ok(into[..n].to_vec())
    }))
}

/// Buffers that the kernel chooses from: no more than the ring has room for completions.
const BUFFERS: u16 = 8;
const SIZE: usize = 4096;
const GROUP: u16 = 1;

/// One request, that completes with each piece that comes, for as long as there are buffers.
fn multishot(socket: &TcpStream) -> Result<Read<'_>> {
    const RECEIVED: u64 = 1;
    let mut ring = Ring::new(patience()).context("io_uring")?;
    let buffers = memory(usize::from(BUFFERS) * SIZE);
    let at = buffers.as_mut_ptr();
    let provide = opcode::ProvideBuffers::new(at, SIZE as i32, BUFFERS, GROUP, 0).build();
    let receive = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
    let ask = [provide, receive.user_data(RECEIVED)];
    ask.iter().try_for_each(|entry| ring.submit(entry))?;
    let mut left = Vec::new();
    Ok(Box::new(move |want| {
        while left.is_empty() {
            let done = ring.completion().ok_or(io::ErrorKind::TimedOut)?;
            if done.user_data() != RECEIVED {
                continue;
            }
            match result(&done) {
                Ok(0) => return Ok(Vec::new()),
                Ok(n) => {
                    let buffer = cqueue::buffer_select(done.flags());
                    let at = usize::from(buffer.ok_or(io::ErrorKind::InvalidData)?) * SIZE;
                    left.extend_from_slice(&buffers[at..at + n]);
                }
                // All have been copied.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    ring.submit(&ask[0])?;
                }
                Err(error) => return Err(error),
            }
            if !cqueue::more(done.flags()) {
                ring.submit(&ask[1])?;
            }
        }
        Ok(left.drain(..want.min(left.len())).collect())
    }))
}
