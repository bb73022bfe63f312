//! Connections between pods whose every byte is checked.

use crate::{
    pod::Pod,
    task::{PATIENCE, Signal},
};
use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, accept4, connect, socket},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    thread::sleep,
    time::Duration,
};

/// The port that [`converse`] uses.
pub const PORT: u16 = 8080;
/// Large enough to take many of any message.
const BUFFER: usize = 1 << 20;

/// How a program uses its sockets. shunt accelerates those that do not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    NonBlocking,
    Blocking,
    /// The client does not block, the server does.
    BlockingServer,
}

/// A connected socket. In either mode reads and writes wait: in recv(2) and send(2), or in poll(2).
pub struct Stream {
    pub socket: TcpStream,
    /// How long a read or write may wait in non-blocking mode.
    pub patience: Duration,
}

impl Stream {
    /// In non-blocking mode from before connect(2) on, as event loops do.
    ///
    /// # Errors
    /// Of connect(2).
    pub fn connect(to: impl Into<SocketAddr>, mode: Mode) -> Result<Self> {
        let to = to.into();
        if mode == Mode::Blocking {
            return Ok(Self::from(TcpStream::connect(to)?));
        }
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Self::connect_with(socket(family, SockType::Stream, flags, None)?, to)
    }

    /// Connects a non-blocking socket that was prepared otherwise.
    ///
    /// # Errors
    /// Of connect(2).
    pub fn connect_with(fd: OwnedFd, to: SocketAddr) -> Result<Self> {
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => (),
            Err(error) => return Err(error.into()),
        }
        let stream = Self::from(TcpStream::from(fd));
        stream.wait(PollFlags::POLLOUT)?;
        match stream.socket.take_error()? {
            Some(error) => Err(error.into()),
            None => Ok(stream),
        }
    }

    /// Ends the connection as connect(2) to no address does: the socket can connect again.
    ///
    /// # Errors
    /// Of connect(2).
    pub fn disconnect(self) -> Result<OwnedFd> {
        // SAFETY: all zeroes is an address of family AF_UNSPEC, and outlives the call.
        let ret = unsafe {
            let none: libc::sockaddr = std::mem::zeroed();
            libc::connect(self.socket.as_raw_fd(), &raw const none, size_of_val(&none) as u32)
        };
        Errno::result(ret)?;
        Ok(self.socket.into())
    }

    /// # Errors
    /// Of accept4(2), or nobody came within [`PATIENCE`].
    pub fn accept(listener: &TcpListener, mode: Mode) -> Result<Self> {
        let flags = match mode {
            Mode::Blocking | Mode::BlockingServer => SockFlag::SOCK_CLOEXEC,
            Mode::NonBlocking => SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        };
        wait(listener.as_fd(), PollFlags::POLLIN, PATIENCE)?;
        let fd = accept4(listener.as_raw_fd(), flags)?;
        // SAFETY: accept4 gave a new descriptor that nobody else owns.
        Ok(Self::from(unsafe { TcpStream::from_raw_fd(fd) }))
    }

    /// # Errors
    /// Of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, patience: self.patience })
    }

    /// # Errors
    /// Of shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// # Errors
    /// None of these happens within [`Stream::patience`].
    pub fn wait(&self, events: PollFlags) -> io::Result<()> {
        wait(self.socket.as_fd(), events, self.patience)
    }

    fn patiently<T>(&self, events: PollFlags, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                // In blocking mode, EAGAIN is what the program sees.
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.is_nonblocking()? => {
                    self.wait(events)?
                }
                done => return done,
            }
        }
    }

    fn is_nonblocking(&self) -> io::Result<bool> {
        Ok(fcntl(&self.socket, FcntlArg::F_GETFL)? & libc::O_NONBLOCK != 0)
    }
}

fn wait(fd: BorrowedFd, events: PollFlags, patience: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, events)], timeout) {
        Ok(0) => Err(ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A listener in the mode of what it will accept, as event loops have it.
///
/// # Errors
/// Of bind(2) and listen(2).
pub fn listen(at: impl Into<SocketAddr>, mode: Mode) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at.into())?;
    listener.set_nonblocking(mode == Mode::NonBlocking)?;
    Ok(listener)
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket, patience: PATIENCE }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let buffer = std::cell::RefCell::new(buffer);
        self.patiently(PollFlags::POLLIN, || (&self.socket).read(&mut buffer.borrow_mut()))
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.patiently(PollFlags::POLLOUT, || (&self.socket).write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection from `client` to `server` at this address: what each side makes of it.
///
/// # Errors
/// Of either side.
pub fn converse<S, C>(
    (server, client): (&Pod, &Pod),
    to: IpAddr,
    mode: Mode,
    serve: impl FnOnce(Stream) -> Result<S>,
    drive: impl FnOnce(Stream) -> Result<C>,
) -> Result<(S, C)>
where
    S: Serialize + DeserializeOwned,
    C: Serialize + DeserializeOwned,
{
    let listening = Signal::new()?;
    let server = server.spawn(|| {
        let listener = listen((to, PORT), mode)?;
        listening.raise()?;
        let stream = Stream::accept(&listener, mode)?;
        drop(listener);
        serve(stream)
    })?;
    listening.wait()?;
    let client = client.spawn(|| drive(Stream::connect((to, PORT), mode)?))?;
    // The server's error says more where both fail.
    let served = server.join().context("server")?;
    Ok((served, client.join().context("client")?))
}

/// A stream of bytes known at every position: no two of different seeds are alike, and a byte
/// that is lost, doubled or out of place shows.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    pub seed: u64,
}

impl Pattern {
    fn word(self, index: u64) -> u64 {
        // splitmix64's finalizer
        let mut z = self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The bytes from this position on.
    pub fn fill(self, at: u64, buffer: &mut [u8]) {
        let mut word = self.word(at / 8).to_le_bytes();
        for (byte, at) in buffer.iter_mut().zip(at..) {
            if at % 8 == 0 {
                word = self.word(at / 8).to_le_bytes();
            }
            *byte = word[at as usize % 8];
        }
    }

    /// # Errors
    /// Names the first position where the bytes are not the pattern's.
    pub fn check(self, at: u64, bytes: &[u8]) -> Result<()> {
        let mut expected = vec![0; bytes.len()];
        self.fill(at, &mut expected);
        let wrong = bytes.iter().zip(&expected).position(|(a, b)| a != b);
        ensure!(wrong.is_none(), "byte {} is wrong", at + wrong.unwrap_or(0) as u64);
        Ok(())
    }
}

/// How a side of a stream behaves.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub largest: usize,
    /// One of so many reads or writes is followed by a pause; 0: none.
    pub pause_every: u32,
}

/// Writes `total` bytes of a pattern in messages of random sizes with random pauses.
///
/// # Errors
/// Of write(2).
pub fn send(stream: &mut impl Write, pattern: Pattern, total: u64, pace: Pace) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(pattern.seed);
    let mut buffer = vec![0; pace.largest];
    let mut at = 0;
    while at < total {
        let size = random_size(&mut random, pace.largest).min((total - at) as usize);
        pattern.fill(at, &mut buffer[..size]);
        stream.write_all(&buffer[..size]).with_context(|| format!("write at {at}"))?;
        at += size as u64;
        pause(&mut random, pace);
    }
    Ok(())
}

/// Reads a pattern to the end of the stream with reads of random sizes and random pauses; how
/// many bytes it was.
///
/// # Errors
/// Of read(2), or a wrong byte.
pub fn receive(stream: &mut impl Read, pattern: Pattern, pace: Pace) -> Result<u64> {
    let mut random = fastrand::Rng::with_seed(!pattern.seed);
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    loop {
        let size = random_size(&mut random, pace.largest);
        let read = stream.read(&mut buffer[..size]).with_context(|| format!("read at {at}"))?;
        if read == 0 {
            return Ok(at);
        }
        pattern.check(at, &buffer[..read])?;
        at += read as u64;
        pause(&mut random, pace);
    }
}

/// So many messages of that size go each way in turn, of a pattern each. Who is first sends first.
///
/// # Errors
/// Of read(2) or write(2), or a wrong byte.
pub fn exchange(
    stream: &mut (impl Read + Write),
    [mine, other]: [Pattern; 2],
    is_first: bool,
    size: usize,
    times: u64,
) -> Result<()> {
    let mut buffer = vec![0; size];
    for turn in 0..2 * times {
        let at = turn / 2 * size as u64;
        if (turn % 2 == 0) == is_first {
            mine.fill(at, &mut buffer);
            stream.write_all(&buffer)?;
        } else {
            stream.read_exact(&mut buffer)?;
            other.check(at, &buffer)?;
        }
    }
    Ok(())
}

/// As many small ones as large ones: the logarithm is even.
fn random_size(random: &mut fastrand::Rng, largest: usize) -> usize {
    let bits = random.u32(0..=largest.min(BUFFER).ilog2());
    random.usize(1..=1 << bits)
}

fn pause(random: &mut fastrand::Rng, pace: Pace) {
    if pace.pause_every > 0 && random.u32(0..pace.pause_every) == 0 {
        sleep(Duration::from_micros(random.u64(1..3000)));
    }
}
