//! Some connections in a closed loop, or sending all they can: one thread for all.

use crate::{
    cell::{Cell, Load, Measured, STALLED},
    transport::Transport,
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

struct Connection {
    fd: OwnedFd,
    /// Of the current message.
    sent: usize,
    received: usize,
    wanted: EpollFlags,
}

/// New connections in that pod, for that long.
///
/// # Errors
/// A connection fails.
pub fn measure(
    pod: &Pod,
    transport: Transport,
    cell: Cell,
    window: Duration,
    cgroup: &Path,
) -> Result<Measured> {
    pod.run(|| drive(transport, cell, window, cgroup)).with_context(|| cell.to_string())
}

fn drive(transport: Transport, cell: Cell, window: Duration, cgroup: &Path) -> Result<Measured> {
    let (load, _stalled) = match cell.load {
        Load::Beside => (Load::Echo, stall(transport)?),
        load => (load, Vec::new()),
    };
    let cell = Cell { load, ..cell };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::new();
    for number in 0..cell.connections {
        let fd = transport.connect(cell.load)?;
        let wanted = EpollFlags::EPOLLOUT;
        epoll.add(&fd, EpollEvent::new(wanted, number as u64))?;
        connections.push(Connection { fd, sent: 0, received: 0, wanted });
    }
    let message = vec![7; cell.size];
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
            done += connection.proceed(cell, &message, &mut buffer)?;
            let wanted = connection.waits_for(cell);
            if wanted != std::mem::replace(&mut connection.wanted, wanted) {
                epoll.modify(&connection.fd, &mut EpollEvent::new(wanted, event.data()))?;
            }
        }
        let now = Instant::now();
        match &measuring {
            None if now - start >= WARM_UP * cell.connections.max(16) as u32 => {
                before = done;
                measuring = Some((now, Meter::start(cgroup)?));
            }
            Some((since, meter)) if now - *since >= window => {
                let rate = (done - before) / (now - *since).as_secs_f64();
                return Ok(Measured { rate, cpu: meter.stop()?.all });
            }
            _ => {}
        }
    }
}

/// Connections that hold all that goes in, as nobody reads it.
fn stall(transport: Transport) -> Result<Vec<OwnedFd>> {
    let connect = |_| transport.connect(Load::Beside);
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
    /// How many messages, or what part of one, were done.
    fn proceed(&mut self, cell: Cell, message: &[u8], buffer: &mut [u8]) -> Result<f64> {
        self.send(message)?;
        if cell.load != Load::Echo {
            // What is not sent of a message is not sent later.
            return Ok(std::mem::take(&mut self.sent) as f64 / cell.size as f64);
        }
        match read(self.fd.as_fd(), buffer) {
            Ok(0) => bail!("the server closed"),
            Ok(received) => self.received += received,
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        if self.received < cell.size {
            return Ok(0.0);
        }
        (self.sent, self.received) = (0, 0);
        self.send(message)?;
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
            Load::Echo if self.sent == cell.size => EpollFlags::EPOLLIN,
            Load::Echo => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLOUT,
        }
    }
}
