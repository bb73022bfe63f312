//! The TCP load: connections in a closed loop, every reply compared byte by byte.

use crate::{
    cpu::Meter,
    latency::Measured,
    traffic::{Mode, Stream},
};
use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Of the load and of each server, as the sidecars have.
pub const THREADS: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Bytes, 8 at least.
    pub message: usize,
    pub mode: Mode,
    /// Not measured: connections are made, buffers grow.
    pub warm_up: Duration,
    pub time: Duration,
}

impl Load {
    /// 64 connections with 1 KB.
    pub fn new(mode: Mode, time: Duration) -> Self {
        let warm_up = Duration::from_millis(500);
        Self { connections: 64, message: 1024, mode, warm_up, time }
    }

    /// The pods' cgroup is there to be metered.
    ///
    /// # Errors
    /// A wrong byte, a connection that failed, or no reply for 5 s.
    pub fn run(self, to: SocketAddr, cgroup: &Path) -> Result<Measured> {
        let start = Instant::now() + self.warm_up;
        let window = start..start + self.time;
        thread::scope(|scope| {
            let shares = (0..THREADS).map(|n| (n..self.connections).step_by(THREADS));
            let shares = shares.filter(|share| share.len() > 0);
            let threads = shares.map(|share| scope.spawn(|| self.drive(to, share, &window)));
            let threads: Vec<_> = threads.collect();
            thread::sleep(self.warm_up);
            let meter = Meter::start(cgroup)?;
            thread::sleep(self.time);
            let spent = meter.stop()?;
            let mut latencies = Histogram::<u64>::new(3)?;
            for thread in threads {
                latencies += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            }
            ensure!(!latencies.is_empty(), "no reply for {:?}", self.time);
            Ok(Measured::new(self.time, spent, &latencies))
        })
    }

    /// Some of the connections, until the window ends; the latencies of what was answered in it.
    fn drive(
        self,
        to: SocketAddr,
        numbers: impl Iterator<Item = usize>,
        window: &Range<Instant>,
    ) -> Result<Histogram<u64>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::new();
        for number in numbers {
            let mut connection = Connection::open(to, self, number)?;
            let event = EpollEvent::new(connection.wanted, connections.len() as u64);
            epoll.add(&connection.stream, event)?;
            connection.begin(Instant::now());
            connection.send()?;
            connections.push(connection);
        }
        let mut latencies = Histogram::new(3)?;
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = epoll.wait(&mut events, EpollTimeout::from(5000u16))?;
            ensure!(count > 0, "no reply for 5 s");
            for event in &events[..count] {
                let connection = &mut connections[event.data() as usize];
                connection.send()?;
                if connection.receive()? {
                    let now = Instant::now();
                    if now >= window.end {
                        return Ok(latencies);
                    }
                    if now >= window.start {
                        latencies.record((now - connection.begun).as_nanos() as u64)?;
                    }
                    connection.begin(now);
                    connection.send()?;
                }
                connection.wait_for_more(&epoll, event.data())?;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    message: Vec<u8>,
    sent: usize,
    reply: Vec<u8>,
    filled: usize,
    begun: Instant,
    messages: u64,
    wanted: EpollFlags,
}

impl Connection {
    fn open(to: SocketAddr, load: Load, number: usize) -> Result<Connection> {
        let stream = Stream::connect(to, load.mode).context("connect")?.socket;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            message: (0..load.message).map(|at| (at * 7 + number * 31) as u8).collect(),
            sent: 0,
            reply: vec![0; load.message],
            filled: 0,
            begun: Instant::now(),
            messages: 0,
            wanted: EpollFlags::EPOLLIN,
        })
    }

    /// A message that no other connection sends, nor this one twice.
    fn begin(&mut self, now: Instant) {
        self.message[..8].copy_from_slice(&self.messages.to_le_bytes());
        self.messages += 1;
        (self.sent, self.filled) = (0, 0);
        self.begun = now;
    }

    fn send(&mut self) -> Result<()> {
        while self.sent < self.message.len() {
            match self.stream.write(&self.message[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e).context("send"),
            }
        }
        Ok(())
    }

    /// Reads what there is; whether the reply is now complete.
    fn receive(&mut self) -> Result<bool> {
        match self.stream.read(&mut self.reply[self.filled..]) {
            Ok(0) => anyhow::bail!("the peer closed"),
            Ok(n) => self.filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e).context("receive"),
        }
        if self.filled < self.message.len() {
            return Ok(false);
        }
        ensure!(self.reply == self.message, "a reply has wrong bytes");
        Ok(true)
    }

    fn wait_for_more(&mut self, epoll: &Epoll, number: u64) -> Result<()> {
        let wanted = match self.sent == self.message.len() {
            true => EpollFlags::EPOLLIN,
            false => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        };
        if wanted != std::mem::replace(&mut self.wanted, wanted) {
            epoll.modify(&self.stream, &mut EpollEvent::new(wanted, number))?;
        }
        Ok(())
    }
}
