//! Calls that send on by themselves: sendmmsg(2) its next message, io_uring the rest of one.

use anyhow::Context as _;
use io_uring::{opcode, types::Fd};
use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{MsgFlags, MultiHeaders, sendmmsg},
};
use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::fd::AsRawFd as _,
    thread::sleep,
    time::Duration,
};
use tests::{
    ring::{Ring, memory},
    traffic::{Mode::NonBlocking, Pattern, Stream},
};

use super::{
    conversation::Program,
    patience,
    talk::{Does::Else, patient, ready},
};

pub const PROGRAMS: &[Program] = &[
    Program::new("batch::sendmmsg", NonBlocking, NonBlocking, Else(by_sendmmsg, reads_slowly)),
    Program::new("batch::uring_send", NonBlocking, NonBlocking, Else(by_ring, reads_slowly)),
];

const PATTERN: Pattern = Pattern { seed: 60 };
const MESSAGE: usize = 100_000;
/// More than a socket takes at once.
const MESSAGES: usize = 8;
const TOTAL: usize = 5 * MESSAGES * MESSAGE;

/// Until both are known.
fn talk(stream: &mut Stream, first: bool) -> io::Result<()> {
    for turn in 0..20 {
        if (turn % 2 == 0) == first {
            stream.write_all(b"!")?;
        } else {
            stream.read_exact(&mut [0])?;
        }
    }
    Ok(())
}

fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; TOTAL];
    PATTERN.fill(0, &mut bytes);
    bytes
}

/// Goes on behind the first message that was not sent whole.
fn by_sendmmsg(socket: &TcpStream) -> io::Result<String> {
    talk(&mut patient(socket)?, false)?;
    let bytes = bytes();
    let (mut at, mut gaps) = (0, 0);
    while at < TOTAL {
        let messages: Vec<[IoSlice; 1]> =
            bytes[at..].chunks(MESSAGE).take(MESSAGES).map(|part| [IoSlice::new(part)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(messages.len(), None);
        let none = vec![None; messages.len()];
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = match sendmmsg(socket.as_raw_fd(), &mut headers, &messages, none, [], flags) {
            Ok(sent) => sent.map(|one| one.bytes).collect::<Vec<_>>(),
            Err(Errno::EAGAIN) => {
                ready(socket, PollFlags::POLLOUT)?;
                continue;
            }
            Err(errno) => return Err(errno.into()),
        };
        let whole = |(sent, message): (&usize, &[IoSlice; 1])| *sent == message[0].len();
        let short = sent.iter().zip(&messages).position(|both| !whole(both));
        gaps += usize::from(short.is_some_and(|short| short + 1 < sent.len()));
        at += sent.iter().sum::<usize>();
    }
    finish(socket, gaps)
}

/// One request for each part: it completes when all of that is sent.
fn by_ring(socket: &TcpStream) -> io::Result<String> {
    talk(&mut patient(socket)?, false)?;
    let mut ring = Ring::new(patience() * 2).context("io_uring").map_err(io::Error::other)?;
    let mut short = 0;
    for part in bytes().chunks(3 * MESSAGE) {
        let copy = memory(part.len());
        copy.copy_from_slice(part);
        let send = opcode::Send::new(Fd(socket.as_raw_fd()), copy.as_ptr(), copy.len() as u32);
        let sent = ring.run(&send.flags(libc::MSG_WAITALL).build())?;
        short += usize::from(sent < part.len());
    }
    finish(socket, short)
}

fn finish(socket: &TcpStream, wrong: usize) -> io::Result<String> {
    socket.shutdown(Shutdown::Write)?;
    let mut told = String::new();
    patient(socket)?.read_to_string(&mut told)?;
    Ok(format!("{wrong} wrong, {told}"))
}

fn reads_slowly(mut stream: Stream) -> io::Result<String> {
    talk(&mut stream, true)?;
    let (mut at, mut right) = (0, true);
    let mut bytes = vec![0; 1 << 16];
    loop {
        let n = stream.read(&mut bytes)?;
        if n == 0 {
            break;
        }
        right &= PATTERN.check(at, &bytes[..n]).is_ok();
        at += n as u64;
        sleep(Duration::from_millis(1));
    }
    let told = format!("{at} of {TOTAL} came, {}", if right { "right" } else { "wrong" });
    stream.write_all(told.as_bytes())?;
    Ok(told)
}
