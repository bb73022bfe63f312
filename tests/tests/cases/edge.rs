//! Edge-triggered readers that take a read of less than they asked for to mean that there is no more,
//! as tokio's and Netty's do, where so much is sent that not all of it finds room.

use anyhow::Result;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    socket::{setsockopt, sockopt},
};
use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};
use tests::traffic::{
    Mode::{Blocking, NonBlocking},
    Pattern, Stream,
};

use super::{
    conversation::Program,
    patience,
    talk::{
        Does::{Else, Reads},
        Read, some,
    },
};

pub const BURSTS: Program =
    Program::new("edge::bursts", NonBlocking, NonBlocking, Else(reads_bursts, sends_bursts));

pub const PROGRAMS: &[Program] = &[
    Program::new("edge::until_a_short_read", NonBlocking, NonBlocking, Reads(until_short)),
    Program::new("edge::of_a_blocking_listener", Blocking, NonBlocking, Reads(until_short)),
    BURSTS,
    Program::new("edge::one_read_more", NonBlocking, NonBlocking, Else(reads_one_more, answers))
        .since(6, 1),
];

/// Waits for an edge after each read that did not fill its buffer.
fn until_short(socket: &TcpStream) -> Result<Read<'_>> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    epoll.add(socket, EpollEvent::new(flags, 0))?;
    let mut may_have_more = false;
    Ok(Box::new(move |want| {
        loop {
            if !may_have_more {
                let timeout = EpollTimeout::try_from(patience()).unwrap_or(EpollTimeout::MAX);
                if epoll.wait(&mut [EpollEvent::empty()], timeout)? == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            match some(socket, want) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => may_have_more = false,
                read => {
                    // The end is told once.
                    may_have_more = read.as_ref().is_ok_and(|it| it.len() == want || it.is_empty());
                    return read;
                }
            }
        }
    }))
}

/// Among them some of little more than a queue takes, so that the rest waits in TCP's buffer, whole.
const BURSTS_OF: [usize; 10] = [
    40_000, 150_000, 300_000, 600_000, 1_100_000, 2_040_000, 2_060_000, 2_080_000, 2_130_000,
    4_000_000,
];
const PATTERN: Pattern = Pattern { seed: 49 };

/// Begins each when it has piled up.
fn reads_bursts(mut socket: &TcpStream) -> io::Result<String> {
    let mut read = until_short(socket).map_err(io::Error::other)?;
    for burst in BURSTS_OF {
        thread::sleep(Duration::from_millis(50));
        let mut at = 0;
        while at < burst {
            let bytes = match read((burst - at).max(100_000)) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(format!("{at} of {burst}, {:?}", error.kind())),
            };
            PATTERN.check(at as u64, &bytes).map_err(io::Error::other)?;
            at += bytes.len();
        }
        socket.write_all(b"!")?;
    }
    Ok("all".into())
}

fn sends_bursts(mut stream: Stream) -> io::Result<String> {
    for burst in BURSTS_OF {
        let mut bytes = vec![0; burst];
        PATTERN.fill(0, &mut bytes);
        bytes.chunks(10_000).try_for_each(|part| stream.write_all(part))?;
        stream.read_exact(&mut [0])?;
    }
    Ok("all".into())
}

const ROUNDS: u32 = 60;
/// At most so much is asked for in a round, in pieces, and read once more after a short read.
const ASKED: usize = 100_000;
const PIECE: usize = 40_000;
const ONCE_MORE: usize = 9000;

/// After the last read, which was short, it tries one small one, and waits although that was filled: with
/// TCP an edge has come meanwhile. Its receive buffer changes, so that little fits.
fn reads_one_more(mut socket: &TcpStream) -> io::Result<String> {
    let mut random = fastrand::Rng::with_seed(PATTERN.seed);
    let timeout = EpollTimeout::try_from(patience() * 2).unwrap_or(EpollTimeout::MAX);
    let mut buffer = vec![0; 1 << 20];
    for round in 0..ROUNDS {
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        setsockopt(socket, sockopt::RcvBuf, &random.usize(10_000..80_000))?;
        let size = random.usize(1..=ASKED);
        socket.write_all(&(size as u32).to_be_bytes())?;
        thread::sleep(Duration::from_micros(random.u64(..3000)));
        let mut at = 0;
        let mut read = |at: &mut usize, most: usize| -> io::Result<bool> {
            let n = match socket.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                read => read?,
            };
            PATTERN.check(*at as u64, &buffer[..n]).map_err(io::Error::other)?;
            *at += n;
            Ok(n == most)
        };
        while at < size {
            if epoll.wait(&mut [EpollEvent::empty()], timeout)? == 0 {
                return Ok(format!("asleep in round {round}, {at} of {size} read"));
            }
            while read(&mut at, 1 << 20)? {}
            if random.bool() {
                thread::sleep(Duration::from_micros(random.u64(..500)));
                read(&mut at, random.usize(1..=ONCE_MORE))?;
            }
        }
    }
    Ok("all".into())
}

fn answers(mut stream: Stream) -> io::Result<String> {
    let mut random = fastrand::Rng::with_seed(PATTERN.seed);
    for _ in 0..ROUNDS {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut bytes = vec![0; u32::from_be_bytes(size) as usize];
        PATTERN.fill(0, &mut bytes);
        let mut left = &bytes[..];
        while !left.is_empty() {
            let (piece, rest) = left.split_at(random.usize(1..=PIECE).min(left.len()));
            stream.write_all(piece)?;
            left = rest;
            if random.u8(..4) == 0 {
                thread::sleep(Duration::from_micros(random.u64(..300)));
            }
        }
    }
    Ok("all".into())
}
