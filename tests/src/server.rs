//! The application: a few threads that answer many connections.

use crate::{
    load::THREADS,
    pod::Pod,
    task::{Signal, Task},
    traffic::{Mode, Stream, listen},
};
use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
};

/// Takes complete requests out of what has come, and adds the answers to what is to be sent.
pub type Protocol = fn(&mut Vec<u8>, &mut Vec<u8>);

/// Sends back what comes.
pub fn echo(input: &mut Vec<u8>, output: &mut Vec<u8>) {
    output.append(input);
}

/// What listens where, and how.
#[derive(Clone, Copy)]
pub struct Server {
    pub port: u16,
    /// Of what it accepts, which is always waited for in epoll.
    pub mode: Mode,
    pub protocol: Protocol,
    pub threads: usize,
}

impl Server {
    /// An echo in non-blocking mode.
    pub fn echo(port: u16) -> Self {
        Self { port, mode: Mode::NonBlocking, protocol: echo, threads: THREADS }
    }

    /// In that pod as that user; listens when this returns, and ends on drop.
    ///
    /// # Errors
    /// As [`Pod::spawn_as`], or it cannot listen.
    pub fn start(self, pod: &Pod, uid: u32) -> Result<Task<()>> {
        let listening = Signal::new()?;
        let task = pod.spawn_as(uid, || {
            let listener = listen((Ipv4Addr::UNSPECIFIED, self.port), self.mode)?;
            listening.raise()?;
            self.serve(&listener)
        })?;
        listening.wait()?;
        Ok(task)
    }

    /// For ever. What happens on a connection ends only that.
    fn serve(self, listener: &TcpListener) -> Result<()> {
        let Self { mode, protocol, .. } = self;
        thread::scope(|scope| {
            let others = (1..self.threads).map(|_| scope.spawn(|| run(listener, mode, protocol)));
            let _others: Vec<_> = others.collect();
            run(listener, mode, protocol)
        })
    }
}

fn run(listener: &TcpListener, mode: Mode, protocol: Protocol) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let listening = listener.as_raw_fd();
    let exclusive = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
    epoll.add(listener, event(exclusive, listening))?;
    let mut connections = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = [0; 64 << 10];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for happened in &events[..count] {
            let fd = happened.data() as i32;
            if fd == listening {
                // Another thread may have been faster.
                let Ok(Stream { socket: stream, .. }) = Stream::accept(listener, mode) else {
                    continue;
                };
                stream.set_nodelay(true)?;
                epoll.add(&stream, event(EpollFlags::EPOLLIN, stream.as_raw_fd()))?;
                connections.insert(stream.as_raw_fd(), Connection::new(stream));
            } else if let Some(connection) = connections.get_mut(&fd) {
                match connection.proceed(protocol, &mut buffer) {
                    Ok(Next::Wait) => {}
                    Ok(Next::WaitFor(flags)) => {
                        epoll.modify(&connection.stream, &mut event(flags, fd))?;
                    }
                    Ok(Next::Close) | Err(_) => drop(connections.remove(&fd)),
                }
            }
        }
    }
}

fn event(flags: EpollFlags, fd: i32) -> EpollEvent {
    EpollEvent::new(flags, fd as u64)
}

enum Next {
    Wait,
    WaitFor(EpollFlags),
    Close,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    blocked: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Connection { stream, input: Vec::new(), output: Vec::new(), blocked: false }
    }

    fn proceed(&mut self, protocol: Protocol, buffer: &mut [u8]) -> std::io::Result<Next> {
        if !self.blocked {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(e) => return Err(e),
            }
            protocol(&mut self.input, &mut self.output);
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        // Who does not read its answers is not read from.
        let blocked = !self.output.is_empty();
        if blocked == std::mem::replace(&mut self.blocked, blocked) {
            return Ok(Next::Wait);
        }
        Ok(Next::WaitFor(match blocked {
            true => EpollFlags::EPOLLOUT,
            false => EpollFlags::EPOLLIN,
        }))
    }
}
