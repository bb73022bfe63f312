//! The application: it sends back what it gets.

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::fd::AsRawFd as _,
};
use tests::{
    pod::Pod,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, listen},
};

/// Runs until it is dropped.
pub fn start(pod: &Pod) -> Result<Task<()>> {
    let listening = Signal::new()?;
    let task = pod.spawn(|| serve(&listening))?;
    listening.wait()?;
    Ok(task)
}

fn serve(listening: &Signal) -> Result<()> {
    let listener = listen((Ipv4Addr::UNSPECIFIED, PORT), NonBlocking)?;
    listening.raise()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let Some(mut stream) = connections.get(&event.data()) else {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let number = stream.as_raw_fd() as u64;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
                connections.insert(number, stream);
                continue;
            };
            let answered = stream.read(&mut buffer).and_then(|read| match read {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                read => stream.write_all(&buffer[..read]),
            });
            if answered.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                connections.remove(&event.data());
            }
        }
    }
}
