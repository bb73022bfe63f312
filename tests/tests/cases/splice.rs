//! splice(2) from a socket: how proxies move bytes that they need not see.

use anyhow::{Context as _, Result, ensure};
use io_uring::{opcode, types::Fd};
use libtest_mimic::Trial;
use nix::{
    fcntl::{SpliceFFlags, splice, tee},
    unistd::pipe,
};
use std::{
    fs::File,
    io::{self, Read as _},
    net::{Shutdown, TcpStream},
    os::fd::AsRawFd as _,
    thread,
};
use tests::{
    ring::Ring,
    task::{Signal, Task},
    traffic::{
        Mode::{Blocking, NonBlocking},
        PORT, Pace, Pattern, Stream, listen, receive, send,
    },
    trial,
};

use super::{
    Pair,
    conversation::Program,
    patience, same, talk,
    talk::{Does::Reads, Read, readable},
};
use crate::guards::pump;

pub const PROGRAMS: &[Program] = &[
    Program::new("splice::from_the_first_byte", NonBlocking, NonBlocking, Reads(spliced)),
    Program::new("splice::blocks", Blocking, Blocking, Reads(spliced_blocking)),
    Program::new(
        "splice::blocks_if_made_nonblocking",
        NonBlocking,
        Blocking,
        Reads(spliced_blocking),
    ),
    Program::new("splice::and_recv_by_turns", NonBlocking, NonBlocking, Reads(by_turns)),
    Program::new("splice::after_messages_by_recv", NonBlocking, NonBlocking, Reads(later)),
    Program::new("splice::and_tee", NonBlocking, NonBlocking, Reads(teed)),
    Program::new("splice::by_uring", NonBlocking, Blocking, Reads(by_uring)),
];

pub fn tests() -> Vec<Trial> {
    vec![trial("cases::splice::proxy", || {
        let seen = same("proxy", proxy)?;
        ensure!(seen.iter().all(|seen| seen == RIGHT), "{seen:?}");
        Ok(())
    })]
}

/// What a pipe takes at once.
const PIPE: usize = 1 << 16;

fn some(socket: &TcpStream, into: &File, want: usize, flags: SpliceFFlags) -> io::Result<usize> {
    Ok(splice(socket, None, into, None, want.min(PIPE), flags)?)
}

fn take(from: &mut impl io::Read, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn files() -> Result<[File; 2]> {
    let (from, into) = pipe()?;
    Ok([from.into(), into.into()])
}

fn spliced(socket: &TcpStream) -> Result<Read<'_>> {
    let [mut from, into] = files()?;
    Ok(Box::new(move |want| {
        readable(socket)?;
        let n = some(socket, &into, want, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        take(&mut from, n)
    }))
}

fn spliced_blocking(socket: &TcpStream) -> Result<Read<'_>> {
    let [mut from, into] = files()?;
    Ok(Box::new(move |want| {
        let n = some(socket, &into, want, SpliceFFlags::SPLICE_F_MOVE)?;
        take(&mut from, n)
    }))
}

fn received(socket: &TcpStream, want: usize) -> io::Result<Vec<u8>> {
    readable(socket)?;
    talk::some(socket, want)
}

fn by_turns(socket: &TcpStream) -> Result<Read<'_>> {
    let (mut spliced, mut turn) = (spliced(socket)?, 0);
    Ok(Box::new(move |want| {
        turn += 1;
        if turn % 2 == 0 { received(socket, want) } else { spliced(want) }
    }))
}

/// From the fourth message on.
fn later(socket: &TcpStream) -> Result<Read<'_>> {
    let (mut spliced, mut read) = (spliced(socket)?, 0);
    Ok(Box::new(move |want| {
        let bytes = if read < 4797 { received(socket, want) } else { spliced(want) }?;
        read += bytes.len();
        Ok(bytes)
    }))
}

/// What came is doubled before it is read.
fn teed(socket: &TcpStream) -> Result<Read<'_>> {
    let ([mut from, into], [mut copy, copied]) = (files()?, files()?);
    Ok(Box::new(move |want| {
        readable(socket)?;
        let n = some(socket, &into, want, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let doubled = if n == 0 { 0 } else { tee(&from, &copied, n, SpliceFFlags::empty())? };
        let (bytes, copy) = (take(&mut from, n)?, take(&mut copy, doubled)?);
        if bytes == copy { Ok(bytes) } else { Err(io::Error::other("the copy differs")) }
    }))
}

fn by_uring(socket: &TcpStream) -> Result<Read<'_>> {
    let mut ring = Ring::new(patience()).context("io_uring")?;
    let [mut from, into] = files()?;
    Ok(Box::new(move |want| {
        let (socket, into) = (Fd(socket.as_raw_fd()), Fd(into.as_raw_fd()));
        let want = want.min(PIPE) as u32;
        let n = ring.run(&opcode::Splice::new(socket, -1, into, -1, want).build())?;
        take(&mut from, n)
    }))
}

const ASKED: Pattern = Pattern { seed: 43 };
const ANSWERED: Pattern = Pattern { seed: 44 };
const BODY: u64 = 2 << 20;
const RIGHT: &str = "asked 300, answered 2097152";

/// As Go's io.Copy between two connections, both ways: what each client has seen of it.
fn proxy(pair: &Pair) -> Result<Vec<String>> {
    const CLIENTS: usize = 4;
    const ANY: Pace = Pace { largest: 1 << 16, pause_every: 0 };
    let (listening, proxying) = (Signal::new()?, Signal::new()?);
    let (origin, proxy) = ((pair.client.ipv4, PORT), (pair.server.ipv4, PORT));
    let _origin: Task<()> = pair.client.spawn(|| {
        let listener = listen(origin, NonBlocking)?;
        listening.raise()?;
        loop {
            let mut stream = Stream::accept(&listener, NonBlocking)?;
            thread::spawn(move || -> Result<()> {
                receive(&mut (&mut stream).take(300), ASKED, ANY)?;
                send(&mut stream, ANSWERED, BODY, ANY)?;
                Ok(stream.shutdown(Shutdown::Write)?)
            });
        }
    })?;
    listening.wait()?;
    let _proxy: Task<()> = pair.server.spawn(|| {
        let listener = listen(proxy, NonBlocking)?;
        proxying.raise()?;
        loop {
            let down = Stream::accept(&listener, NonBlocking)?;
            thread::spawn(move || -> Result<()> {
                let up = Stream::connect(origin, NonBlocking)?;
                thread::scope(|scope| {
                    let there = scope.spawn(|| pump(&down, &up));
                    pump(&up, &down)?;
                    there.join().expect("no panic")
                })
            });
        }
    })?;
    proxying.wait()?;
    let ask = || -> Result<u64> {
        let mut stream = Stream::connect(proxy, NonBlocking)?;
        stream.patience = patience();
        send(&mut stream, ASKED, 300, ANY)?;
        let answered = receive(&mut stream, ANSWERED, ANY)?;
        stream.shutdown(Shutdown::Write)?;
        Ok(answered)
    };
    let seen = || match ask() {
        Ok(answered) => format!("asked 300, answered {answered}"),
        Err(error) => error.chain().last().map_or("?".into(), ToString::to_string),
    };
    pair.client.run(|| Ok((0..CLIENTS).map(|_| seen()).collect()))
}
