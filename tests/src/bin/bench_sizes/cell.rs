//! What is measured: how many connections do what, with messages of which size.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

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
}

#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub load: Load,
    /// Bytes.
    pub size: usize,
    pub connections: usize,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Messages per second.
    pub rate: f64,
    /// CPU time of the whole machine.
    pub cpu: Duration,
}

pub const CONNECTIONS: [usize; 4] = [1, 4, 8, 64];
pub const SIZES: [usize; 6] = [64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

pub const STALLED: usize = 100;

const LOADS: [(Load, &[usize]); 5] = [
    (Load::Echo, &SIZES),
    (Load::Beside, &[1 << 10]),
    (Load::Stream, &SIZES),
    // Just above what may be queued at first on kernels that charge the reader, too.
    (Load::Pauses, &[64 << 10, (64 << 10) + 1, (2 << 20) + 1]),
    (Load::SmallBuffers, &[1 << 10, 16 << 10, 64 << 10]),
];

pub fn all() -> impl Iterator<Item = Cell> {
    let sizes = LOADS.into_iter().flat_map(|(load, all)| all.iter().map(move |&size| (load, size)));
    sizes.flat_map(|(load, size)| CONNECTIONS.map(|connections| Cell { load, size, connections }))
}

impl Cell {
    /// What the short way must reach of plain TCP; `None`: the slower of that and AF_UNIX.
    pub fn least(&self) -> Option<f64> {
        match self {
            Cell { load: Load::Echo, size: 1024, connections: 64 } => Some(2.0),
            Cell { load: Load::Echo | Load::Beside, size: ..16384, .. } => None,
            _ => Some(1.0),
        }
    }

    /// Messages per second, or bytes for a stream.
    pub fn amount(&self, rate: f64) -> String {
        match self.load {
            Load::Echo | Load::Beside => format!("{rate:.0}/s"),
            _ => format!("{:.0} MB/s", rate * self.size as f64 / 1e6),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let load = match self.load {
            Load::Echo => "echo",
            Load::Stream => "stream",
            Load::Pauses => "stream, reader pauses",
            Load::SmallBuffers => "stream, small buffers",
            Load::Beside => "echo, others stalled",
        };
        write!(f, "{load} {} x{}", size(self.size), self.connections)
    }
}

pub fn size(bytes: usize) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MB", bytes >> 20),
        _ if bytes.is_multiple_of(1024) => format!("{} KB", bytes >> 10),
        _ => format!("{} KB + {}", bytes >> 10, bytes % 1024),
    }
}
