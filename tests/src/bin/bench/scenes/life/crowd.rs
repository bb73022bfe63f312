//! Very many connections that are open and say nothing, in as many processes as the limit of open files asks for.

use anyhow::{Result, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit},
    },
};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    thread::sleep,
    time::Duration,
};
use tests::{
    pod::Pod,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, Stream, listen},
};

const FIRST_PORT: u16 = 9100;
/// Descriptors of a process that are no connections.
const OTHERS: usize = 100;
/// To one port: connect(2) looks at even local ports first, of which ip_local_port_range has 14,000, and searches
/// all of them for each connection once they are in use.
const MOST: usize = 12_000;
/// What is open shows first that it carries bytes.
const REQUEST: &[u8; 64] = &[b'?'; 64];

/// Servers and clients, until it is dropped.
pub struct Crowd(Vec<Task<()>>);

/// How many connections a process can have.
pub fn most() -> Result<usize> {
    let (_, hard) = getrlimit(RLIMIT_NOFILE)?;
    Ok((hard as usize).saturating_sub(OTHERS).min(MOST))
}

impl Crowd {
    /// So many connections are open, and each has carried a request and an answer.
    ///
    /// # Errors
    /// One fails.
    pub fn open(server: &Pod, client: &Pod, connections: usize) -> Result<Self> {
        let most = most()?;
        let processes = connections.div_ceil(most);
        let mut crowd = Self(Vec::new());
        let mut all_open = Vec::new();
        for (number, port) in (0..processes).zip(FIRST_PORT..) {
            let [listening, open] = [Signal::new()?, Signal::new()?];
            let share = (connections - number * most).min(most);
            crowd.0.push(server.spawn(|| serve(port, &listening))?);
            listening.wait()?;
            let to = SocketAddrV4::new(server.ipv4, port);
            crowd.0.push(client.spawn(|| connect(to, share, &open))?);
            all_open.push(open);
        }
        if let Err(error) = all_open.iter().try_for_each(Signal::wait) {
            // Of one that has failed, if one has.
            for task in crowd.0 {
                if !task.runs_after(Duration::ZERO)? {
                    task.join()?;
                }
            }
            return Err(error.context("connections do not become open"));
        }
        Ok(crowd)
    }
}

fn raise_limit() -> Result<()> {
    let (_, hard) = getrlimit(RLIMIT_NOFILE)?;
    Ok(setrlimit(RLIMIT_NOFILE, hard, hard)?)
}

fn serve(port: u16, listening: &Signal) -> Result<()> {
    raise_limit()?;
    let listener = listen((Ipv4Addr::UNSPECIFIED, port), NonBlocking)?;
    listening.raise()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX))?;
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = [0; REQUEST.len()];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let Some(mut stream) = streams.get(event.data() as usize) else {
                let stream = Stream::accept(&listener, NonBlocking)?.socket;
                let number = streams.len() as u64;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
                streams.push(stream);
                continue;
            };
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Nobody is idle any more.
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) => stream.write_all(&buffer[..read])?,
            }
        }
    }
}

fn connect(to: SocketAddrV4, connections: usize, open: &Signal) -> Result<()> {
    raise_limit()?;
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = Stream::connect(to, NonBlocking)?.socket;
        stream.write_all(REQUEST)?;
        let mut answer = [0; REQUEST.len()];
        let mut read = 0;
        while read < answer.len() {
            let ready = poll(
                &mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)],
                PollTimeout::from(10_000_u16),
            )?;
            ensure!(ready > 0, "no answer on descriptor {}", stream.as_raw_fd());
            read += match stream.read(&mut answer[read..])? {
                0 => anyhow::bail!("the server closed"),
                read => read,
            };
        }
        ensure!(&answer == REQUEST, "a wrong byte");
        streams.push(stream);
    }
    open.raise()?;
    loop {
        sleep(Duration::from_secs(60));
    }
}
