//! Who listens in blocking mode where another program did is not trusted for that one's sake.

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, setsockopt,
        socket, sockopt,
    },
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    thread::{self, sleep},
    time::Duration,
};
use tests::{
    node::Node,
    pod::Pod,
    task::{PATIENCE, Signal},
    traffic::{Mode::Blocking, PORT, Stream, listen},
};

use super::{ROUNDS, SIZE, polled, short};

const MANY: usize = 20;
const SOON: u8 = 200;

/// Two connections to one listener in blocking mode, whose program polls first. How many messages have taken the
/// short way after the first, and after both.
pub fn accepts(node: &Node, (server, client): (&Pod, &Pod)) -> Result<[u64; 2]> {
    let listening = Signal::new()?;
    let serves = server.spawn(|| {
        let listener = listen((server.ipv4, PORT), Blocking)?;
        listening.raise()?;
        let mut message = [0; SIZE];
        for _ in 0..2 {
            let mut stream = Stream::accept(&listener, Blocking)?;
            for _ in 0..ROUNDS {
                polled(&mut stream, &mut message)?;
                stream.write_all(&message)?;
            }
        }
        Ok(())
    })?;
    listening.wait()?;
    let mut taken = [0; 2];
    for taken in &mut taken {
        client.run(|| {
            let mut stream = Stream::connect((server.ipv4, PORT), Blocking)?;
            for round in 0..ROUNDS {
                let message = [round as u8; SIZE];
                stream.write_all(&message)?;
                let mut answer = [0; SIZE];
                polled(&mut stream, &mut answer)?;
                ensure!(answer == message, "round {round}");
            }
            Ok(())
        })?;
        *taken = short(node, [server, client])?;
    }
    serves.join()?;
    Ok(taken)
}

/// A reset that finds it asleep in recv(2) is told as one: in the sockhash that would be EAGAIN.
pub fn sleeps() -> Result<()> {
    resets_are_told("next", |_, _| Ok(()))
}

/// Beside one that never blocks, with SO_REUSEPORT.
pub fn sleeps_beside() -> Result<()> {
    let mut stays = None;
    resets_are_told("beside", |a, b| {
        let listening = Signal::new()?;
        stays = Some(b.spawn(|| {
            let listener = listen_beside(b)?;
            listener.set_nonblocking(true)?;
            listening.raise()?;
            // Whoever comes to it is left waiting.
            sleep(PATIENCE);
            drop(listener);
            Ok(())
        })?);
        listening.wait()?;
        a.run(|| {
            Stream::connect((b.ipv4, PORT), Blocking)?;
            Ok(())
        })
    })
}

fn resets_are_told(name: &str, before: impl FnOnce(&Pod, &Pod) -> Result<()>) -> Result<()> {
    let node = Node::learning(name)?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let [first, second] = accepts(&node, (&b, &a))?;
    ensure!(second > first, "the program before is not accelerated");
    before(&a, &b)?;
    let [listening, connected, asleep] = [Signal::new()?, Signal::new()?, Signal::new()?];
    let server = b.spawn(|| {
        let listener = listen_beside(&b)?;
        listening.raise()?;
        connected.wait()?;
        let mut streams = Vec::new();
        while poll(
            &mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(SOON),
        )? > 0
        {
            streams.push(listener.accept()?.0);
        }
        thread::scope(|scope| {
            let read = |mut stream: &TcpStream| {
                stream.read(&mut [0]).map_err(|error| error.raw_os_error())
            };
            let readers: Vec<_> =
                streams.iter().map(|stream| scope.spawn(move || read(stream))).collect();
            sleep(Duration::from_millis(300));
            asleep.raise()?;
            let reset = Err(Some(Errno::ECONNRESET as i32));
            let told: Vec<_> =
                readers.into_iter().map(|reader| reader.join().expect("no panic")).collect();
            ensure!(!told.is_empty() && told.iter().all(|it| *it == reset), "{told:?}");
            Ok(())
        })
    })?;
    listening.wait()?;
    a.run(|| {
        let connect = |_| Ok(Stream::connect((b.ipv4, PORT), Blocking)?.socket);
        let streams = (0..MANY).map(connect).collect::<Result<Vec<_>>>()?;
        connected.raise()?;
        asleep.wait()?;
        for stream in streams {
            setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        }
        Ok(())
    })?;
    server.join()
}

fn listen_beside(pod: &Pod) -> Result<TcpListener> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((pod.ipv4, PORT))))?;
    socket::listen(&socket, Backlog::new(100)?)?;
    Ok(socket.into())
}
