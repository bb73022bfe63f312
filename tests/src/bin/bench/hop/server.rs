//! Takes what comes, and sends it back or not: one thread for all connections.

use super::{cell::Load, link::Link};
use anyhow::Result;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{SockFlag, accept4},
    },
    unistd::{read, write},
};
use std::{
    collections::HashMap,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    thread::sleep,
    time::Duration,
};
use tests::{
    pod::Pod,
    task::{Signal, Task},
};

/// Takes the largest message at once.
const BUFFER: usize = 1 << 20;
/// [`Load::Pauses`] does so for [`PAUSE`] after so many bytes of all connections, so that it pauses as
/// often whatever their number is.
const PAUSE_AFTER: usize = 16 << 20;
const PAUSE: Duration = Duration::from_millis(5);

struct Connection {
    fd: OwnedFd,
    load: Load,
    /// Still to be sent back.
    output: Vec<u8>,
    sent: usize,
    wanted: EpollFlags,
}

/// Listens when this returns, and ends on drop.
pub fn start(pod: &Pod, link: Link) -> Result<Task<()>> {
    let listening = Signal::new()?;
    let task = pod.spawn(|| {
        let listeners =
            Load::ALL.map(|load| link.listen(load)).into_iter().collect::<Result<Vec<_>>>()?;
        listening.raise()?;
        serve(&listeners)
    })?;
    listening.wait()?;
    Ok(task)
}

fn serve(listeners: &[OwnedFd]) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for listener in listeners {
        epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, listener.as_raw_fd() as u64))?;
    }
    let mut connections = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = [EpollEvent::empty(); 64];
    let mut until_pause = PAUSE_AFTER;
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            count => count?,
        };
        for event in &events[..count] {
            let fd = event.data() as i32;
            if let Some(at) = listeners.iter().position(|listener| listener.as_raw_fd() == fd) {
                let fd = accept4(fd, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
                // SAFETY: a new descriptor that nobody else owns.
                let owned = unsafe { OwnedFd::from_raw_fd(fd) };
                let load = Load::ALL[at];
                let wanted = match load {
                    // Only that it is reset.
                    Load::Beside => EpollFlags::empty(),
                    _ => EpollFlags::EPOLLIN,
                };
                epoll.add(&owned, EpollEvent::new(wanted, fd as u64))?;
                connections.insert(fd, Connection::new(owned, load));
            } else if let Some(connection) = connections.get_mut(&fd) {
                match connection.proceed(&mut buffer, &mut until_pause) {
                    Ok(wanted) if wanted == connection.wanted => {}
                    Ok(wanted) => {
                        connection.wanted = wanted;
                        epoll.modify(&connection.fd, &mut EpollEvent::new(wanted, fd as u64))?;
                    }
                    Err(_) => drop(connections.remove(&fd)),
                }
            }
        }
    }
}

impl Connection {
    fn new(fd: OwnedFd, load: Load) -> Self {
        Self { fd, load, output: Vec::new(), sent: 0, wanted: EpollFlags::EPOLLIN }
    }

    /// What to wait for next.
    fn proceed(&mut self, buffer: &mut [u8], until_pause: &mut usize) -> Result<EpollFlags, Errno> {
        if self.sent == self.output.len() {
            let read = read(self.fd.as_fd(), buffer)?;
            if read == 0 {
                return Err(Errno::EPIPE);
            }
            match self.load {
                Load::Echo | Load::Connect | Load::Reconnect => {
                    self.output.clear();
                    self.output.extend_from_slice(&buffer[..read]);
                    self.sent = 0;
                }
                Load::Stream | Load::SmallBuffers | Load::Beside => {}
                Load::Pauses if read < *until_pause => *until_pause -= read,
                Load::Pauses => {
                    *until_pause = PAUSE_AFTER;
                    sleep(PAUSE);
                }
            }
        }
        while self.sent < self.output.len() {
            match write(&self.fd, &self.output[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(Errno::EAGAIN) => return Ok(EpollFlags::EPOLLOUT),
                Err(errno) => return Err(errno),
            }
        }
        Ok(EpollFlags::EPOLLIN)
    }
}
