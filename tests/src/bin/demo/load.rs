//! The TCP load: 64 connections in a closed loop, every reply compared byte by byte.

use crate::stats::Measured;
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
use tests::{
    cpu::Meter,
    traffic::{Mode, Stream},
};

pub const CONNECTIONS: usize = 64;
/// Of the load and of each server, as the sidecars have.
pub const THREADS: usize = 2;
/// Bytes.
pub const MESSAGE: usize = 1024;
/// Not measured: connections are made, buffers grow.
pub const WARM_UP: Duration = Duration::from_millis(500);

struct Connection {
    stream: TcpStream,
    message: [u8; MESSAGE],
    reply: [u8; MESSAGE],
    filled: usize,
    sent: Instant,
    messages: u64,
}

impl Connection {
    fn open(to: SocketAddr, mode: Mode, number: usize) -> Result<Connection> {
        let stream = Stream::connect(to, mode).context("connect")?.socket;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            message: std::array::from_fn(|at| (at * 7 + number * 31) as u8),
            reply: [0; MESSAGE],
            filled: 0,
            sent: Instant::now(),
            messages: 0,
        })
    }

    /// Sends a message that no other connection sends, nor this one twice.
    fn send(&mut self, now: Instant) -> Result<()> {
        self.message[..8].copy_from_slice(&self.messages.to_le_bytes());
        self.messages += 1;
        self.filled = 0;
        self.sent = now;
        // One message fits any send buffer.
        self.stream.write_all(&self.message).context("send")
    }

    /// Reads what there is; whether the reply is now complete.
    fn receive(&mut self) -> Result<bool> {
        match self.stream.read(&mut self.reply[self.filled..]) {
            Ok(0) => anyhow::bail!("the peer closed"),
            Ok(n) => self.filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e).context("receive"),
        }
        if self.filled < MESSAGE {
            return Ok(false);
        }
        ensure!(self.reply == self.message, "a reply has wrong bytes");
        Ok(true)
    }
}

/// Runs the load for that time after [`WARM_UP`]. The pods' cgroup is there to be metered.
///
/// # Errors
/// A wrong byte, a connection that failed, or no reply for 5 s.
pub fn run(to: SocketAddr, mode: Mode, time: Duration, cgroup: &Path) -> Result<Measured> {
    let start = Instant::now() + WARM_UP;
    let window = start..start + time;
    thread::scope(|scope| {
        let shares = (0..THREADS).map(|n| (n..CONNECTIONS).step_by(THREADS));
        let threads = shares.map(|share| scope.spawn(|| drive(to, mode, share, &window)));
        let threads: Vec<_> = threads.collect();
        thread::sleep(WARM_UP);
        let meter = Meter::start(cgroup)?;
        thread::sleep(time);
        let spent = meter.stop()?;
        let mut latencies = Histogram::<u64>::new(3)?;
        for thread in threads {
            latencies += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(Measured::new(time, spent, &latencies))
    })
}

/// Some of the connections, until the window ends; the latencies of what was answered in it.
fn drive(
    to: SocketAddr,
    mode: Mode,
    numbers: impl Iterator<Item = usize>,
    window: &Range<Instant>,
) -> Result<Histogram<u64>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::new();
    for number in numbers {
        let mut connection = Connection::open(to, mode, number)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, connections.len() as u64);
        epoll.add(&connection.stream, event)?;
        connection.send(Instant::now())?;
        connections.push(connection);
    }
    let mut latencies = Histogram::new(3)?;
    let mut events = [EpollEvent::empty(); CONNECTIONS];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::from(5000u16))?;
        ensure!(count > 0, "no reply for 5 s");
        for event in &events[..count] {
            let connection = &mut connections[event.data() as usize];
            if connection.receive()? {
                let now = Instant::now();
                if now >= window.end {
                    return Ok(latencies);
                }
                if now >= window.start {
                    latencies.record((now - connection.sent).as_nanos() as u64)?;
                }
                connection.send(now)?;
            }
        }
    }
}
