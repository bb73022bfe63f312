//! Readers that look with MSG_PEEK whether all of a message is there, and read it only then.

use anyhow::Result;
use libtest_mimic::Trial;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};
use tests::{
    node::Node,
    traffic::{Mode::NonBlocking, Pattern, Stream},
    trial,
};

use super::{
    conversation::{self, Program},
    patience, same_on,
    talk::{Does::Else, patient},
};

pub const PROGRAMS: &[Program] = &[
    Program::new("peek::byte_by_byte", NonBlocking, NonBlocking, Else(peeks::<1>, sends::<1>)),
    Program::new("peek::in_pieces", NonBlocking, NonBlocking, Else(peeks::<1000>, sends::<1000>)),
];

const PAUSES: Program =
    Program::new("peek::pauses", NonBlocking, NonBlocking, Else(peeks::<0>, sends::<0>));

pub fn tests() -> Vec<Trial> {
    vec![trial("cases::peek::between_heartbeats", between_heartbeats)]
}

const PATTERN: Pattern = Pattern { seed: 52 };
/// The first make it known how the program reads.
const KNOWN: u32 = 12;

/// What is sent in a round, in pieces of so many bytes (0: half, and after a heartbeat half).
const fn size(piece: usize, round: u32) -> usize {
    match (piece, round < KNOWN) {
        (_, true) => 40,
        (0, false) => 33,
        (1, false) => 60 + 40 * (round - KNOWN) as usize,
        (_, false) => 4000 + 4000 * (round - KNOWN) as usize,
    }
}

const fn rounds(piece: usize) -> u32 {
    KNOWN + if piece == 0 { 2 } else { 10 }
}

/// Level-triggered: awake as long as there is anything, and sure of nothing before all is there.
fn peeks<const PIECE: usize>(mut socket: &TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; 1 << 20];
    for round in 0..rounds(PIECE) {
        if PIECE > 1 && round >= KNOWN && round % 2 == 1 {
            setsockopt(&socket, sockopt::RcvBuf, &(size(PIECE, round) * 4))?;
        }
        let size = size(PIECE, round);
        let deadline = Instant::now() + patience();
        let mut there = 0;
        while there < size {
            if Instant::now() > deadline {
                return Ok(format!("{there} of {size} are seen in round {round}"));
            }
            patient(socket)?;
            there = match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK) {
                Err(nix::errno::Errno::EAGAIN) => 0,
                seen => seen?,
            };
        }
        socket.read_exact(&mut bytes[..size])?;
        PATTERN.check(0, &bytes[..size]).map_err(io::Error::other)?;
        socket.write_all(b"!")?;
    }
    Ok("all".into())
}

fn sends<const PIECE: usize>(mut stream: Stream) -> io::Result<String> {
    for round in 0..rounds(PIECE) {
        let mut bytes = vec![0; size(PIECE, round)];
        PATTERN.fill(0, &mut bytes);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        if PIECE == 0 {
            stream.write_all(first)?;
            if round >= KNOWN {
                thread::sleep(Duration::from_millis(1300));
            }
            stream.write_all(rest)?;
        } else {
            bytes.chunks(PIECE).try_for_each(|piece| stream.write_all(piece))?;
        }
        stream.read_exact(&mut [0])?;
    }
    Ok("all".into())
}

fn between_heartbeats() -> Result<()> {
    for role in conversation::ROLES {
        let mut node = Node::learning("peek")?;
        node.conf.insert("heartbeat".into(), 1.into());
        same_on(&node, |pair| role(&PAUSES, pair))?;
    }
    Ok(())
}
