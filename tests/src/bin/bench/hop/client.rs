//! Some connections in a closed loop, or sending all they can: one thread for all.

use super::{
    cell::{Cell, Load, Measured, STALLED},
    link::Link,
};
use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    unistd::{read, write},
};
use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{cpu::Meter, pod::Pod};

/// For each connection, and for 16 at least. Not measured: buffers grow, the first messages go by
/// TCP, bulk leaves.
const WARM_UP: Duration = Duration::from_millis(5);
/// One answer of so many is compared byte by byte, which costs all alike.
const COMPARED: u64 = 16;

struct Connection {
    fd: OwnedFd,
    /// Of the current message.
    sent: usize,
    received: usize,
    messages: u64,
    wanted: EpollFlags,
}

/// How long a cell is not measured.
pub fn warm_up(cell: Cell) -> Duration {
    WARM_UP * cell.connections.max(16) as u32
}

/// New connections in that pod, for that long.
///
/// # Errors
/// A connection fails, nothing happens for 10 s, or a wrong byte.
pub fn measure(
    pod: &Pod,
    link: Link,
    cell: Cell,
    window: Duration,
    cgroup: &Path,
) -> Result<Measured> {
    pod.run(|| drive(link, cell, window, cgroup)).with_context(|| cell.to_string())
}

fn drive(link: Link, cell: Cell, window: Duration, cgroup: &Path) -> Result<Measured> {
    let (load, _stalled) = match cell.load {
        Load::Beside => (Load::Echo, stall(link)?),
        load => (load, Vec::new()),
    };
    let cell = Cell { load, ..cell };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::new();
    for number in 0..cell.connections {
        connections.push(Connection::open(link, cell, &epoll, number as u64)?);
    }
    let message: Vec<u8> = (0..cell.size).map(|at| (at * 7) as u8).collect();
    let mut buffer = vec![0; cell.size];
    let mut events = [EpollEvent::empty(); 64];
    let start = Instant::now();
    // In messages.
    let (mut done, mut before) = (0.0, 0.0);
    let mut measuring: Option<(Instant, Meter)> = None;
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::from(10_000_u16)) {
            Err(Errno::EINTR) => continue,
            count => count?,
        };
        ensure!(count > 0, "nothing happens for 10 s");
        for event in &events[..count] {
            let connection = &mut connections[event.data() as usize];
            let part = connection.proceed(cell, &message, &mut buffer)?;
            done += part;
            if connection.messages == cell.load.messages() {
                *connection = Connection::open(link, cell, &epoll, event.data())?;
                continue;
            }
            let wanted = connection.waits_for(cell);
            if wanted != std::mem::replace(&mut connection.wanted, wanted) {
                epoll.modify(&connection.fd, &mut EpollEvent::new(wanted, event.data()))?;
            }
        }
        let now = Instant::now();
        match &measuring {
            None if now - start >= warm_up(cell) => {
                before = done;
                measuring = Some((now, Meter::start(cgroup)?));
            }
            Some((since, meter)) if now - *since >= window => {
                let spent = meter.stop()?;
                ensure!(done > before, "nothing was done in {window:?}");
                let rate = (done - before) / (now - *since).as_secs_f64();
                let each = spent.all.as_secs_f64() * 1e6 / (done - before);
                return Ok(Measured { rate, spent, each });
            }
            _ => {}
        }
    }
}

/// Connections that hold all that goes in, as nobody reads it.
fn stall(link: Link) -> Result<Vec<OwnedFd>> {
    let connect = |_| link.connect(Load::Beside);
    let connections = (0..STALLED).map(connect).collect::<Result<Vec<_>>>()?;
    let mut more = true;
    while std::mem::take(&mut more) {
        // What is on its way makes room.
        sleep(Duration::from_millis(10));
        for fd in &connections {
            loop {
                match write(fd, &[7; 64 << 10]) {
                    Ok(_) => more = true,
                    Err(Errno::EAGAIN) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
    }
    Ok(connections)
}

impl Connection {
    fn open(link: Link, cell: Cell, epoll: &Epoll, number: u64) -> Result<Self> {
        let fd = link.connect(cell.load)?;
        let wanted = EpollFlags::EPOLLOUT;
        epoll.add(&fd, EpollEvent::new(wanted, number))?;
        Ok(Self { fd, sent: 0, received: 0, messages: 0, wanted })
    }

    /// How many messages, or what part of one, were done.
    fn proceed(&mut self, cell: Cell, message: &[u8], buffer: &mut [u8]) -> Result<f64> {
        self.send(message)?;
        if !cell.load.is_answered() {
            // What is not sent of a message is not sent later.
            return Ok(std::mem::take(&mut self.sent) as f64 / cell.size as f64);
        }
        match read(self.fd.as_fd(), buffer) {
            Ok(0) => bail!("the server closed"),
            Ok(received) => {
                let sent = message.get(self.received..self.received + received);
                ensure!(sent.is_some(), "more came back than was sent");
                let is_compared = self.messages.is_multiple_of(COMPARED);
                ensure!(!is_compared || sent == Some(&buffer[..received]), "a wrong byte");
                self.received += received;
            }
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        if self.received < cell.size {
            return Ok(0.0);
        }
        (self.sent, self.received) = (0, 0);
        self.messages += 1;
        if self.messages < cell.load.messages() {
            self.send(message)?;
        }
        Ok(1.0)
    }

    fn send(&mut self, message: &[u8]) -> Result<()> {
        if self.sent == message.len() {
            return Ok(());
        }
        match write(&self.fd, &message[self.sent..]) {
            Ok(sent) => self.sent += sent,
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn waits_for(&self, cell: Cell) -> EpollFlags {
        match cell.load {
            load if !load.is_answered() => EpollFlags::EPOLLOUT,
            _ if self.sent == cell.size => EpollFlags::EPOLLIN,
            _ => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        }
    }
}
