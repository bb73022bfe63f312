//! Requests of 1 KiB on some connections: as many as can be, or so many a second whether the answers have
//! come or not.

use crate::part::{Bill, Meters, Part};
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        time::TimeSpec,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddrV4, TcpStream},
    os::fd::AsFd as _,
    path::Path,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub answers: u64,
    pub time: Duration,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub bill: Bill,
}

impl Measured {
    /// Latencies in nanoseconds.
    fn new(time: Duration, bill: Bill, latencies: &Histogram<u64>) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(at);
        Self { answers: latencies.len(), time, mean: latencies.mean() / 1e3, p50, p90, p99, bill }
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.time.as_secs_f64()
    }

    /// In microseconds.
    pub fn per_request(&self, spent: Duration) -> f64 {
        spent.as_secs_f64() * 1e6 / self.answers as f64
    }
}

struct Connection {
    stream: TcpStream,
    /// When each request that is under way was to be sent.
    due: VecDeque<Instant>,
    read: usize,
}

/// `per_second`: None, if each answer is followed by a request at once. The node's cgroup and its parts are there
/// to be metered.
///
/// # Errors
/// A connection fails, or no answer comes for 5 s or in all of `time`.
pub fn run(
    to: SocketAddrV4,
    connections: usize,
    per_second: Option<u32>,
    time: Duration,
    node: &Path,
    parts: &[Part],
) -> Result<Measured> {
    let mut all = (0..connections).map(|_| Connection::open(to)).collect::<Result<Vec<_>>>()?;
    // As programs do it, so that a call does not take longer the more connections there are.
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, one) in (0..).zip(&all) {
        epoll.add(&one.stream, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    }
    let mut events = [EpollEvent::empty(); 256];
    let begin = Instant::now();
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut measuring: Option<(Instant, Meters)> = None;
    let mut sent = 0;
    if per_second.is_none() {
        all.iter_mut().try_for_each(|one| one.send(begin))?;
    }
    loop {
        let now = Instant::now();
        match &measuring {
            None if now - begin >= WARM_UP => measuring = Some((now, Meters::start(node, parts)?)),
            Some((since, meters)) if now - *since >= time => {
                ensure!(!latencies.is_empty(), "no answer for {time:?}");
                return Ok(Measured::new(now - *since, meters.stop()?, &latencies));
            }
            _ => {}
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
        // epoll_wait(2) knows no less than a millisecond.
        let mut ready = [PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN)];
        let ready = ppoll(&mut ready, Some(TimeSpec::from_duration(wait)), None)?;
        ensure!(ready > 0 || next.is_some(), "no answer for {PATIENCE:?}");
        let count = epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..count] {
            let one = &mut all[event.data() as usize];
            while let Some(due) = one.answered()? {
                let now = Instant::now();
                if measuring.is_some() {
                    latencies.record((now - due).as_nanos() as u64)?;
                }
                if per_second.is_none() {
                    one.send(now)?;
                }
            }
        }
    }
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
