//! What is said on a connection: messages of several sizes one way, each of them answered, and the end.

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};
use tests::traffic::{Pattern, Stream};

use super::patience;

/// Reads at most so many bytes, and at least one; none at the end.
pub type Read<'a> = Box<dyn FnMut(usize) -> io::Result<Vec<u8>> + 'a>;
/// Writes all.
pub type Write<'a> = Box<dyn FnMut(&[u8]) -> io::Result<()> + 'a>;

/// What a program does in its own way, on a connected socket.
#[derive(Clone, Copy)]
pub enum Does {
    Reads(for<'a> fn(&'a TcpStream) -> Result<Read<'a>>),
    Writes(for<'a> fn(&'a TcpStream) -> Result<Write<'a>>),
    /// Something else, with a peer that suits it.
    Else(fn(&TcpStream) -> io::Result<String>, fn(Stream) -> io::Result<String>),
}

/// Sizes of the messages: each comes in two parts.
const SIZES: [usize; 6] = [700, 1, 4096, 65_536, 300_000, 5];
const PATTERN: Pattern = Pattern { seed: 41 };

/// Writes the messages; what became of each.
pub fn writes(socket: &TcpStream, mut write: Write) -> String {
    let mut answered = 0;
    let mut talk = || -> io::Result<String> {
        for size in SIZES {
            let mut message = vec![0; size];
            PATTERN.fill(0, &mut message);
            let (first, rest) = message.split_at(size / 2);
            write(first)?;
            moment();
            write(rest)?;
            patient(socket)?.read_exact(&mut [0; 2])?;
            answered += 1;
            moment();
        }
        socket.shutdown(Shutdown::Write)?;
        io::read_to_string(patient(socket)?)
    };
    let end = told(talk());
    format!("{answered} answers, {end}")
}

/// Reads the messages; what came of each.
pub fn reads(socket: &TcpStream, mut read: Read) -> String {
    let mut seen = String::new();
    let mut some = |want| loop {
        match read(want) {
            // As any program does whose handlers restart no call.
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            done => break done,
        }
    };
    let mut talk = || -> io::Result<String> {
        for size in SIZES {
            let mut message = Vec::new();
            while message.len() < size {
                let bytes = some(size - message.len())?;
                if bytes.is_empty() {
                    return Ok(format!("end at {} of {size}", message.len()));
                }
                message.extend(bytes);
            }
            let right = PATTERN.check(0, &message).is_ok();
            seen += &format!("{size}{}, ", if right { "" } else { " wrong" });
            patient(socket)?.write_all(b"ok")?;
        }
        let end = some(1)?;
        patient(socket)?.write_all(b"bye")?;
        Ok(format!("{} more", end.len()))
    };
    let end = told(talk());
    seen + &end
}

/// The value, or the error's name.
pub fn told(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| match error.kind() {
        ErrorKind::TimedOut => "hangs".into(),
        ErrorKind::Other => error.to_string(),
        kind => format!("{kind:?}"),
    })
}

/// Waits in poll(2), where the socket does not block.
pub fn patient(socket: &TcpStream) -> io::Result<Stream> {
    Ok(Stream { socket: socket.try_clone()?, patience: patience() })
}

/// What one read gives.
pub fn some(mut from: impl io::Read, want: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; want];
    let n = from.read(&mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Long enough for a reader to be asleep.
pub fn moment() {
    thread::sleep(Duration::from_millis(20));
}

/// poll(2) until bytes or the end are there.
pub fn readable(socket: &TcpStream) -> io::Result<()> {
    ready(socket, PollFlags::POLLIN)
}

/// poll(2) for one of these.
pub fn ready(socket: &TcpStream, events: PollFlags) -> io::Result<()> {
    let timeout = PollTimeout::try_from(patience()).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), events)], timeout)? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
