//! How the bytes of one connection went, as the kernel's TCP has it: what it does not know of has taken
//! the short way.

use crate::{sockopt::tcp_bytes, traffic::Stream};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Read, Write},
    os::fd::AsRawFd,
};

/// What one end of a connection has sent and received, and how much of that TCP did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Leg {
    pub name: String,
    pub sent: u64,
    pub received: u64,
    pub sent_by_tcp: u64,
    pub received_by_tcp: u64,
}

impl Leg {
    /// # Errors
    /// Of getsockopt(2).
    pub fn of(name: &str, socket: &impl AsRawFd, (sent, received): (u64, u64)) -> io::Result<Self> {
        let (sent_by_tcp, received_by_tcp) = tcp_bytes(socket)?;
        Ok(Self { name: name.into(), sent, received, sent_by_tcp, received_by_tcp })
    }

    /// All of a name.
    pub fn sum<'a>(legs: impl IntoIterator<Item = &'a Leg>, name: &str) -> Self {
        let of_name = legs.into_iter().filter(|leg| leg.name == name);
        of_name.fold(Self { name: name.into(), ..Self::default() }, |sum, leg| Self {
            sent: sum.sent + leg.sent,
            received: sum.received + leg.received,
            sent_by_tcp: sum.sent_by_tcp + leg.sent_by_tcp,
            received_by_tcp: sum.received_by_tcp + leg.received_by_tcp,
            ..sum
        })
    }

    /// What share of the bytes took the short way: of those sent, and of those received.
    pub fn shares(&self) -> [f64; 2] {
        [(self.sent, self.sent_by_tcp), (self.received, self.received_by_tcp)]
            .map(|(all, by_tcp)| 1.0 - by_tcp as f64 / all as f64)
    }
}

/// A stream that counts.
pub struct Counted {
    stream: Stream,
    sent: u64,
    received: u64,
}

impl Counted {
    pub fn new(stream: Stream) -> Self {
        Self { stream, sent: 0, received: 0 }
    }

    /// # Errors
    /// Of getsockopt(2).
    pub fn leg(&self, name: &str) -> Result<Leg> {
        Ok(Leg::of(name, &self.stream.socket, (self.sent, self.received))?)
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.received += read as u64;
        Ok(read)
    }
}

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(buffer)?;
        self.sent += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
