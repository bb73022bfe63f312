//! FIONREAD, by which many programs know how much to read, and some whether it is the end.

use anyhow::{Context as _, Result, ensure};
use libc::{FIONREAD, TIOCOUTQ};
use libtest_mimic::Trial;
use nix::{
    poll::PollFlags,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};
use tests::{
    task::Signal,
    traffic::{
        Mode::{Blocking, NonBlocking},
        PORT, Pattern, Stream, listen,
    },
    trial,
};

use super::{
    Pair,
    conversation::Program,
    patience, same,
    talk::{Does::Reads, Read, moment, readable},
};
use crate::semantics::raw;

pub const PROGRAMS: &[Program] = &[
    Program::new("fionread::sizes_of_reads", NonBlocking, NonBlocking, Reads(by_count)),
    Program::new("fionread::sizes_of_blocking_reads", Blocking, Blocking, Reads(by_count)),
    Program::new("fionread::available", Blocking, Blocking, Reads(when_available)),
    // Java connects so, where it has a timeout.
    Program::new(
        "fionread::available_if_made_nonblocking",
        NonBlocking,
        Blocking,
        Reads(when_available),
    ),
];

pub fn tests() -> Vec<Trial> {
    vec![
        trial("cases::fionread::counts", || same("counts", counts).map(drop)),
        trial("cases::fionread::all_that_was_sent", || same("all", all_that_was_sent).map(drop)),
        trial("cases::fionread::server", || {
            let answered = same("server", serve_many)?;
            ensure!(answered == CLIENTS * EACH, "{answered} answers");
            Ok(())
        }),
    ]
}

fn count(socket: &TcpStream) -> io::Result<usize> {
    Ok(raw::ioctl(socket, FIONREAD)?.try_into().unwrap_or(0))
}

/// What is there is read, and nothing there is the end.
fn by_count(socket: &TcpStream) -> Result<Read<'_>> {
    Ok(Box::new(|want| {
        readable(socket)?;
        let mut bytes = vec![0; count(socket)?.min(want)];
        (&mut &*socket).read_exact(&mut bytes)?;
        Ok(bytes)
    }))
}

/// As Java's `while (in.available() == 0) sleep(1)`, with a look at the end.
fn when_available(socket: &TcpStream) -> Result<Read<'_>> {
    Ok(Box::new(|want| {
        let end = EpollFlags::EPOLLRDHUP;
        for _ in 0..patience().as_millis() {
            let n = count(socket)?;
            if n > 0 || raw::poll(socket, end, Duration::ZERO).contains(end) {
                let mut bytes = vec![0; n.min(want)];
                (&mut &*socket).read_exact(&mut bytes)?;
                return Ok(bytes);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(io::ErrorKind::TimedOut.into())
    }))
}

/// Waits until the peer's kernel has all that was sent.
fn arrived(socket: &TcpStream) -> Result<()> {
    for _ in 0..patience().as_millis() {
        if raw::ioctl(socket, TIOCOUTQ)? == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("not all has arrived")
}

/// What becomes of three connections, both ends of which one process holds, each in its own pod.
fn observe<T: Serialize + DeserializeOwned>(
    pair: &Pair,
    of_one: impl Fn([Stream; 2]) -> Result<T>,
) -> Result<Vec<T>> {
    let task = pair.client.spawn(|| {
        pair.server.enter()?;
        let listener = listen((pair.server.ipv4, PORT), NonBlocking)?;
        pair.client.enter()?;
        let connection = || -> Result<T> {
            let mut client = Stream::connect(listener.local_addr()?, NonBlocking)?;
            client.write_all(&[b'-'; 700])?;
            arrived(&client.socket)?;
            of_one([client, Stream::accept(&listener, NonBlocking)?])
        };
        (0..3).map(|_| connection()).collect()
    })?;
    task.join()
}

/// Before it is accepted, after some was read, with more there, after exchanges, and at the end.
fn counts(pair: &Pair) -> Result<Vec<Vec<usize>>> {
    let of_one = |ends: [Stream; 2]| {
        let [client, server] = ends.each_ref().map(|end| &end.socket);
        let mut seen = vec![count(server)?];
        for turn in 0..8 {
            let (mut from, mut to) =
                if turn % 2 == 0 { (client, server) } else { (server, client) };
            for part in [150 * turn, 50] {
                from.write_all(&vec![b'-'; part])?;
                arrived(from)?;
                seen.push(count(to)?);
            }
            to.read_exact(&mut [0; 30])?;
            seen.push(count(to)?);
            while let Ok(1..) = to.read(&mut [0; 1000]) {}
            seen.push(count(to)?);
        }
        (&mut &*client).write_all(b"last")?;
        client.shutdown(Shutdown::Write)?;
        moment();
        seen.push(count(server)?);
        (&mut &*server).read_exact(&mut [0; 4])?;
        seen.push(count(server)?);
        Ok(seen)
    };
    observe(pair, of_one)
}

/// More than fits anywhere, so that some of it goes by TCP, read by FIONREAD until it says 0.
fn all_that_was_sent(pair: &Pair) -> Result<Vec<String>> {
    const PATTERN: Pattern = Pattern { seed: 42 };
    let of_one = |[mut client, mut server]: [Stream; 2]| {
        server.read_exact(&mut [0; 700])?;
        for _ in 0..10 {
            client.write_all(b"ask")?;
            server.read_exact(&mut [0; 3])?;
            server.write_all(b"answer")?;
            client.read_exact(&mut [0; 6])?;
        }
        let (mut sent, mut read) = (0, 0);
        let mut bytes = vec![0; 10_000];
        loop {
            PATTERN.fill(sent, &mut bytes);
            match client.socket.write(&bytes) {
                Ok(n) => sent += n as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        // What waits at the sender comes when there is room.
        server.patience = patience();
        while read < sent {
            server.wait(PollFlags::POLLIN)?;
            let n = count(&server.socket)?;
            if n == 0 {
                return Ok("0, and there is more".to_owned());
            }
            let mut bytes = vec![0; n];
            server.read_exact(&mut bytes)?;
            PATTERN.check(read, &bytes)?;
            read += n as u64;
        }
        Ok("all".to_owned())
    };
    observe(pair, of_one)
}

const CLIENTS: usize = 20;
const EACH: usize = 10;
const REQUEST: usize = 504;

/// A server that takes 0 for the end, and clients that send right after they are connected; how
/// many were answered.
fn serve_many(pair: &Pair) -> Result<usize> {
    let listening = Signal::new()?;
    let _server =
        pair.server.spawn(|| serve(listen((pair.server.ipv4, PORT), NonBlocking)?, &listening))?;
    listening.wait()?;
    pair.client.run(|| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| (0..EACH).filter(|_| ask(pair).is_ok()).count()))
                .collect();
            Ok(clients.into_iter().map(|client| client.join().unwrap_or(0)).sum())
        })
    })
}

fn ask(pair: &Pair) -> Result<()> {
    let mut stream = Stream::connect((pair.server.ipv4, PORT), NonBlocking)?;
    stream.patience = patience();
    stream.write_all(&[b'?'; REQUEST])?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer == [b'!'; REQUEST]);
    Ok(())
}

fn serve(listener: TcpListener, listening: &Signal) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let add = |fd: &_, key| epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, key));
    add(&listener, 0)?;
    listening.raise()?;
    let mut connections: HashMap<u64, (TcpStream, usize)> = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let n = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..n] {
            let key = event.data();
            if key == 0 {
                let socket = Stream::accept(&listener, NonBlocking)?.socket;
                let key = socket.as_raw_fd() as u64;
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
                connections.insert(key, (socket, 0));
                continue;
            }
            let (socket, got) = connections.get_mut(&key).context("known")?;
            let n = count(socket)?;
            let ended = n == 0 || socket.read(&mut vec![0; n]).is_err();
            *got += n;
            if *got >= REQUEST {
                socket.write_all(&[b'!'; REQUEST])?;
            }
            if ended || *got >= REQUEST {
                connections.remove(&key);
            }
        }
    }
}
