//! What is measured: how many connections do what, with messages of which size.

use serde::{Deserialize, Serialize};
use std::fmt;
use tests::cpu::Spent;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A message goes, the same comes back, then the next.
    Echo,
    /// Messages go one way, as fast as they are taken.
    Stream,
    /// As that, to a reader that pauses now and then.
    Pauses,
    /// As that, with buffers that the application has set.
    SmallBuffers,
    /// As [`Load::Echo`], beside [`STALLED`] connections whose reader never reads.
    Beside,
    /// As [`Load::Echo`], each message on a connection of its own.
    Connect,
    /// As that, with more messages on each.
    Reconnect,
}

#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub load: Load,
    /// Bytes.
    pub size: usize,
    pub connections: usize,
}

/// One measurement.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    /// Messages per second.
    pub rate: f64,
    /// Meanwhile, and in microseconds for each message, by the whole machine.
    pub spent: Spent,
    pub each: f64,
}

pub const STALLED: usize = 100;

impl Load {
    pub const ALL: [Load; 7] = [
        Load::Echo,
        Load::Stream,
        Load::Pauses,
        Load::SmallBuffers,
        Load::Beside,
        Load::Connect,
        Load::Reconnect,
    ];

    /// Whether the reader's answer is waited for.
    pub fn is_answered(self) -> bool {
        matches!(self, Load::Echo | Load::Beside | Load::Connect | Load::Reconnect)
    }

    /// After which a connection ends, and the next begins.
    pub fn messages(self) -> u64 {
        match self {
            Load::Connect => 1,
            Load::Reconnect => 16,
            _ => u64::MAX,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let load = match self.load {
            Load::Echo => "echo",
            Load::Stream => "one-way",
            Load::Pauses => "one-way, reader pauses",
            Load::SmallBuffers => "one-way, small buffers",
            Load::Beside => "echo, others stalled",
            Load::Connect => "connect, echo, close",
            Load::Reconnect => "connect, 16 echoes, close",
        };
        write!(f, "{load} {} x{}", size(self.size), self.connections)
    }
}

/// As a person says it.
pub fn size(bytes: usize) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MB", bytes >> 20),
        _ if bytes.is_multiple_of(1024) => format!("{} KB", bytes >> 10),
        _ => format!("{} KB + {}", bytes >> 10, bytes % 1024),
    }
}
