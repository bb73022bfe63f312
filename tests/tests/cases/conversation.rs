//! Connections one after the other, on each of which one end reads messages in a way of its own and
//! answers them. Its peer is an event loop.

use anyhow::Result;
use libtest_mimic::Trial;
use nix::sys::{
    pthread::{pthread_kill, pthread_self},
    signal::{SaFlags, Signal::SIGUSR1},
};
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tests::{
    mptcp,
    task::{Signal, Task},
    traffic::{
        Mode::{self, NonBlocking},
        PORT, Pattern, Stream, listen,
    },
};

use super::{Pair, patience, same};
use crate::semantics::raw;

/// Reads at most so many bytes, and at least one; none at the end.
pub type Read<'a> = Box<dyn FnMut(usize) -> io::Result<Vec<u8>> + 'a>;

/// How a program reads.
pub struct Reader {
    name: &'static str,
    /// Of its listener, or of its socket while it connects.
    made: Mode,
    /// Of its connected or accepted socket.
    then: Mode,
    open: for<'a> fn(&'a TcpStream) -> Result<Read<'a>>,
    interrupted: bool,
    mptcp: bool,
}

impl Reader {
    pub const fn new(
        name: &'static str,
        made: Mode,
        then: Mode,
        open: for<'a> fn(&'a TcpStream) -> Result<Read<'a>>,
    ) -> Self {
        Self { name, made, then, open, interrupted: false, mptcp: false }
    }

    /// Gets a signal each 10 ms, whose handler does nothing and restarts no call.
    pub const fn interrupted(self) -> Self {
        Self { interrupted: true, ..self }
    }

    /// Listens and connects by MPTCP, as Go does.
    pub const fn mptcp(self) -> Self {
        Self { mptcp: true, ..self }
    }

    fn listen(&self, at: SocketAddr) -> Result<TcpListener> {
        Ok(if self.mptcp { mptcp::listen(at)? } else { listen(at, self.made)? })
    }

    fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let stream = if self.mptcp {
            Stream::connect_with(mptcp::socket()?, to)?
        } else {
            Stream::connect(to, self.made)?
        };
        stream.socket.set_nonblocking(self.then == NonBlocking)?;
        Ok(stream.socket)
    }
}

/// Sizes of the messages: each comes in two parts, but for single bytes.
const SIZES: [usize; 6] = [700, 1, 4096, 70_000, 300_000, 5];
const CONNECTIONS: usize = 3;
const PATTERN: Pattern = Pattern { seed: 41 };

pub fn trial(reader: &'static Reader) -> Trial {
    let trial = tests::trial(&format!("cases::{}", reader.name), || compare(reader));
    tests::needs(trial, !reader.mptcp || mptcp::socket().is_ok(), "no MPTCP")
}

/// The reader as server, and as client: what either end has seen of each connection.
fn compare(reader: &Reader) -> Result<()> {
    same("reader", |pair| Ok([serves(reader, pair)?, connects(reader, pair)?])).map(drop)
}

type Seen = [Vec<String>; 2];

fn serves(reader: &Reader, pair: &Pair) -> Result<Seen> {
    let (listening, at) = (Signal::new()?, SocketAddr::from((pair.server.ipv4, PORT)));
    let server = pair.server.spawn(|| {
        let listener = reader.listen(at)?;
        listening.raise()?;
        let accept = |late| {
            if late {
                moment();
            }
            Stream::accept(&listener, reader.then)
        };
        (0..CONNECTIONS).map(|n| Ok(read(reader, &accept(n % 2 == 0)?.socket))).collect()
    })?;
    listening.wait()?;
    let client = pair.client.spawn(|| {
        (0..CONNECTIONS).map(|n| Ok(write(Stream::connect(at, NonBlocking)?, n % 2 == 0))).collect()
    })?;
    Ok([ended(server)?, ended(client)?])
}

fn connects(reader: &Reader, pair: &Pair) -> Result<Seen> {
    let (listening, at) = (Signal::new()?, SocketAddr::from((pair.server.ipv4, PORT + 1)));
    let server = pair.server.spawn(|| {
        let listener = listen(at, NonBlocking)?;
        listening.raise()?;
        let accept = || Stream::accept(&listener, NonBlocking);
        (0..CONNECTIONS).map(|n| Ok(write(accept()?, n % 2 == 0))).collect()
    })?;
    listening.wait()?;
    let client = pair
        .client
        .spawn(|| (0..CONNECTIONS).map(|_| Ok(read(reader, &reader.connect(at)?))).collect())?;
    Ok([ended(client)?, ended(server)?])
}

/// What a task has seen; one that does not end is killed.
fn ended(task: Task<Vec<String>>) -> Result<Vec<String>> {
    let hangs = task.runs_after(patience() * 2 * CONNECTIONS as u32)?;
    if hangs { Ok(vec!["hangs".into()]) } else { task.join() }
}

/// The peer's part: it begins before it was accepted, or when its reader waits.
fn write(mut stream: Stream, at_once: bool) -> String {
    stream.patience = patience();
    if !at_once {
        moment();
        moment();
    }
    let mut answered = 0;
    let mut talk = || -> io::Result<Vec<u8>> {
        for size in SIZES {
            let mut message = vec![0; size];
            PATTERN.fill(0, &mut message);
            let (first, rest) = message.split_at(size / 2);
            stream.write_all(first)?;
            moment();
            stream.write_all(rest)?;
            stream.read_exact(&mut [0; 2])?;
            answered += 1;
            moment();
        }
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        Ok(rest)
    };
    let end = told(talk().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    format!("{answered} answers, {end}")
}

/// Long enough for a reader to be asleep.
pub fn moment() {
    thread::sleep(Duration::from_millis(20));
}

/// The value, or the error's name.
pub fn told(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| match error.kind() {
        ErrorKind::TimedOut => "hangs".into(),
        kind => format!("{kind:?}"),
    })
}

fn read(reader: &Reader, socket: &TcpStream) -> String {
    let ended = AtomicBool::new(false);
    let by = pthread_self();
    thread::scope(|scope| {
        if reader.interrupted && raw::let_interrupt(SIGUSR1, SaFlags::empty()).is_ok() {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let _ = pthread_kill(by, SIGUSR1);
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let mut seen = String::new();
        let end = read_all(reader, socket, &mut seen).unwrap_or_else(|error| {
            error.downcast().map_or_else(|error| format!("{error:#}"), |error| told(Err(error)))
        });
        ended.store(true, Ordering::Relaxed);
        seen + &end
    })
}

fn read_all(reader: &Reader, socket: &TcpStream, seen: &mut String) -> Result<String> {
    let mut read = (reader.open)(socket)?;
    let mut some = |want| loop {
        match read(want) {
            // As any program does whose handlers restart no call.
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            done => break done,
        }
    };
    for size in SIZES {
        let mut message = Vec::new();
        while message.len() < size {
            let bytes = some(size - message.len())?;
            if bytes.is_empty() {
                return Ok(format!("end at {} of {size}", message.len()));
            }
            message.extend(bytes);
        }
        let right = PATTERN.check(0, &message).is_ok();
        *seen += &format!("{size}{}, ", if right { "" } else { " wrong" });
        send(socket, b"ok")?;
    }
    let end = some(1)?;
    send(socket, b"bye")?;
    Ok(format!("{} more", end.len()))
}

fn send(socket: &TcpStream, bytes: &[u8]) -> Result<()> {
    Ok(Stream::from(socket.try_clone()?).write_all(bytes)?)
}

/// poll(2) until bytes or the end are there.
pub fn readable(socket: &TcpStream) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let timeout = PollTimeout::try_from(patience()).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout)? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
