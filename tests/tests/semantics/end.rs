//! One end of a connection. What a program sees of it is told as text that knows no time.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        epoll::EpollFlags,
        socket::{MsgFlags, recv, send},
    },
};
use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{sockopt::set_raw, traffic::Pattern};

use super::raw;

/// What no call gives: it has not ended within [`patience`].
const HANGS: Errno = Errno::ETIME;
pub const PATTERN: Pattern = Pattern { seed: 31 };

pub struct End {
    pub socket: TcpStream,
}

/// How long a call may wait before it "hangs". More on emulated kernels, but not by their whole
/// factor: most is spent where nothing is to come.
pub fn patience() -> Duration {
    Duration::from_secs(if std::env::var_os("SHUNT_TEST_SCALE").is_some() { 5 } else { 2 })
}

/// A result as text: the value, or the name of the error.
pub fn told<T: ToString>(result: nix::Result<T>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(HANGS) => "hangs".into(),
        Err(errno) => format!("{errno:?}"),
    }
}

pub fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Bytes as text: they themselves, or how many and whether they are [`PATTERN`]'s.
pub fn text(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "end".into(),
        1..=40 => String::from_utf8_lossy(bytes).into(),
        n if PATTERN.check(0, bytes).is_ok() => format!("{n} bytes"),
        n => format!("{n} bytes, wrong"),
    }
}

/// The observation: all its parts.
macro_rules! seen {
    ($($part:expr),+ $(,)?) => { Ok([$($part.to_string()),+].join(", ")) };
}
pub(crate) use seen;

impl End {
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub fn is_nonblocking(&self) -> bool {
        fcntl(&self.socket, FcntlArg::F_GETFL)
            .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
    }

    /// In blocking mode, the call; else the call and poll(2) as often as it takes.
    pub fn patiently<T>(
        &self,
        events: EpollFlags,
        mut act: impl FnMut() -> nix::Result<T>,
    ) -> nix::Result<T> {
        let deadline = Instant::now() + patience();
        loop {
            match act() {
                Err(Errno::EAGAIN) if self.is_nonblocking() && Instant::now() < deadline => {
                    // Where the event is there, and yet nothing happens: not too often.
                    if !self.wait(events).is_empty() {
                        sleep(Duration::from_micros(100));
                    }
                }
                Err(Errno::EAGAIN) if self.is_nonblocking() => return Err(HANGS),
                done => return done,
            }
        }
    }

    pub fn send_with(&self, bytes: &[u8], flags: i32) -> String {
        let flags = MsgFlags::from_bits_retain(flags);
        told(self.patiently(EpollFlags::EPOLLOUT, || send(self.fd(), bytes, flags)))
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        self.send_with(bytes.as_ref(), 0)
    }

    pub fn recv_with(&self, len: usize, flags: i32) -> String {
        let mut buffer = vec![b'-'; len];
        let flags = MsgFlags::from_bits_retain(flags);
        let read = self.patiently(EpollFlags::EPOLLIN, || recv(self.fd(), &mut buffer, flags));
        told(read.map(|n| text(&buffer[..n.min(len)])))
    }

    pub fn recv(&self, len: usize) -> String {
        self.recv_with(len, 0)
    }

    /// One call, that does not wait.
    pub fn recv_now(&self, len: usize) -> String {
        let mut buffer = vec![b'-'; len];
        told(recv(self.fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).map(|n| text(&buffer[..n])))
    }

    /// Exactly so many bytes, by as many calls as it takes; fewer at the end of the stream.
    pub fn recv_exactly(&self, len: usize) -> String {
        let mut buffer = vec![b'-'; len];
        let mut at = 0;
        while at < len {
            let into = &mut buffer[at..];
            let read =
                self.patiently(EpollFlags::EPOLLIN, || recv(self.fd(), into, MsgFlags::empty()));
            match read {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(errno) => {
                    return format!("{}, {}", text(&buffer[..at]), told::<u8>(Err(errno)));
                }
            }
        }
        text(&buffer[..at])
    }

    /// Exactly so many bytes of [`PATTERN`], by as many calls as it takes.
    pub fn send_pattern(&self, len: usize) -> String {
        let mut buffer = vec![0; len];
        PATTERN.fill(0, &mut buffer);
        let mut at = 0;
        while at < len {
            let flags = MsgFlags::empty();
            match self.patiently(EpollFlags::EPOLLOUT, || send(self.fd(), &buffer[at..], flags)) {
                Ok(n) => at += n,
                Err(errno) => return format!("{at}, {}", told::<u8>(Err(errno))),
            }
        }
        at.to_string()
    }

    /// Sends [`PATTERN`] until nothing goes in any more; how much it was.
    pub fn fill(&self) -> nix::Result<usize> {
        let mut sent = 0;
        let mut quiet = 0;
        let mut buffer = vec![0; 10_000];
        while quiet < 20 && sent < 64 << 20 {
            PATTERN.fill(sent as u64, &mut buffer);
            match send(self.fd(), &buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => (sent, quiet) = (sent + n, 0),
                // TCP's buffers grow as it goes.
                Err(Errno::EAGAIN) => {
                    quiet += 1;
                    sleep(Duration::from_millis(10));
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(sent)
    }

    /// More messages of a byte than a queue takes, so that the rest goes by TCP; how many. They fit
    /// into any window.
    pub fn overflow(&self) -> usize {
        const MESSAGES: usize = 10_000;
        (0..MESSAGES).for_each(|_| drop(self.send("x")));
        self.arrived();
        MESSAGES
    }

    /// Waits until the peer's kernel has all that was sent, FIN included.
    pub fn arrived(&self) {
        let deadline = Instant::now() + patience();
        while raw::ioctl(&self.socket, libc::TIOCOUTQ)
            .is_ok_and(|unacknowledged| unacknowledged > 0)
            && Instant::now() < deadline
        {
            sleep(Duration::from_micros(100));
        }
    }

    /// Sends, and waits until it is there.
    pub fn deliver(&self, bytes: impl AsRef<[u8]>) {
        self.send(bytes);
        self.arrived();
    }

    /// poll(2) for some events: what came of them within [`patience`].
    pub fn wait(&self, events: EpollFlags) -> EpollFlags {
        raw::poll(&self.socket, events, patience())
    }

    /// All that poll(2) says now.
    pub fn events(&self) -> String {
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI | EpollFlags::EPOLLOUT;
        flags(raw::poll(&self.socket, events | EpollFlags::EPOLLRDHUP, Duration::ZERO))
    }

    pub fn shutdown(&self, how: Shutdown) -> String {
        told(self.socket.shutdown(how).map(|()| "done").map_err(errno))
    }

    pub fn set(&self, level: i32, option: i32, value: i32) -> String {
        let set = set_raw(&self.socket, level, option, &value.to_ne_bytes());
        told(set.map(|()| "set").map_err(errno))
    }

    pub fn get(&self, level: i32, option: i32) -> String {
        told(raw::option(&self.socket, level, option).map(i32::from_ne_bytes))
    }

    /// SO_ERROR, which it clears.
    pub fn error(&self) -> String {
        let error = raw::option(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR);
        match error.map(i32::from_ne_bytes) {
            Ok(0) => "no error".into(),
            Ok(errno) => format!("SO_ERROR {:?}", Errno::from_raw(errno)),
            Err(errno) => errno.to_string(),
        }
    }

    pub fn ioctl(&self, request: libc::Ioctl) -> String {
        told(raw::ioctl(&self.socket, request))
    }

    /// Ends the connection by RST.
    pub fn reset(self) {
        let off = libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = nix::sys::socket::setsockopt(&self.socket, nix::sys::socket::sockopt::Linger, &off);
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// As text, without EPOLL.
pub fn flags(flags: EpollFlags) -> String {
    if flags.is_empty() {
        return "no event".into();
    }
    flags
        .iter_names()
        .map(|(name, _)| name.trim_start_matches("EPOLL"))
        .collect::<Vec<_>>()
        .join("|")
}
