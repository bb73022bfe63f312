//! Requests of 1 KiB on some connections: as many as can be, or so many a second whether the answers have
//! come or not.

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddrV4, TcpStream},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};
use tests::traffic::{Mode::NonBlocking, Stream};

/// Bytes.
pub const MESSAGE: usize = 1024;
/// Not measured: connections are made, programs become known.
const WARM_UP: Duration = Duration::from_millis(400);
/// A load that is left without an answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Answers a second.
    pub rate: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

struct Connection {
    stream: TcpStream,
    /// When each request that is under way was to be sent.
    due: VecDeque<Instant>,
    read: usize,
}

/// `per_second`: None, if each answer is followed by a request at once.
pub fn run(
    to: SocketAddrV4,
    connections: usize,
    per_second: Option<u32>,
    time: Duration,
) -> Result<Measured> {
    let mut all = (0..connections).map(|_| Connection::open(to)).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let window = begin + WARM_UP..begin + WARM_UP + time;
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut sent = 0;
    if per_second.is_none() {
        all.iter_mut().try_for_each(|one| one.send(begin))?;
    }
    loop {
        let now = Instant::now();
        if now >= window.end {
            break;
        }
        let next = per_second.map(|rate| begin + Duration::from_secs(1) * sent / rate);
        if let Some(due) = next
            && due <= now
        {
            all[sent as usize % connections].send(due)?;
            sent += 1;
            continue;
        }
        let wait = next.unwrap_or(now + PATIENCE) - now;
        let mut fds: Vec<_> =
            all.iter().map(|one| PollFd::new(one.stream.as_fd(), PollFlags::POLLIN)).collect();
        let ready = ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None)?;
        ensure!(ready > 0 || next.is_some(), "no answer for {PATIENCE:?}");
        let ready: Vec<_> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for (one, _) in all.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            while let Some(due) = one.answered()? {
                let now = Instant::now();
                if window.contains(&now) {
                    latencies.record((now - due).as_nanos() as u64)?;
                }
                if per_second.is_none() {
                    one.send(now)?;
                }
            }
        }
    }
    let micros = |nanos: f64| nanos / 1000.0;
    let at = |quantile| micros(latencies.value_at_quantile(quantile) as f64);
    Ok(Measured {
        rate: latencies.len() as f64 / time.as_secs_f64(),
        mean: micros(latencies.mean()),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
    })
}

impl Connection {
    fn open(to: SocketAddrV4) -> Result<Self> {
        let stream = Stream::connect(to, NonBlocking).context("connect")?.socket;
        stream.set_nodelay(true)?;
        Ok(Self { stream, due: VecDeque::new(), read: 0 })
    }

    fn send(&mut self, due: Instant) -> Result<()> {
        self.due.push_back(due);
        // It fits any send buffer, unless answers are missing for long.
        self.stream.write_all(&[b'?'; MESSAGE]).context("send")
    }

    /// The next answer that is complete, by when its request was due.
    fn answered(&mut self) -> Result<Option<Instant>> {
        let mut buffer = [0; MESSAGE];
        match self.stream.read(&mut buffer[..MESSAGE - self.read]) {
            Ok(0) => anyhow::bail!("the peer closed"),
            Ok(read) => self.read += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("receive"),
        }
        if self.read < MESSAGE {
            return Ok(None);
        }
        self.read = 0;
        Ok(self.due.pop_front())
    }
}
