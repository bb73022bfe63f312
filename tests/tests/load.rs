//! Traffic that must not notice what an operator does meanwhile: a request every 10 ms over old
//! connections and over new ones, and a stream in bulk, every byte of it checked.

use crate::scale::stretched;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};
use tests::{
    pod::Pod,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, Pace, Pattern, Stream, listen, receive},
};

const OLD_CONNECTIONS: u64 = 4;
const PERIOD: Duration = Duration::from_millis(10);
const REQUEST: usize = 4096;
/// Of a new connection: with fewer, the next would be left alone.
const REQUESTS: u32 = 16;

/// What came back right.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    pub requests: u64,
    pub connections: u64,
    pub bulk_bytes: u64,
}

/// From `client` to `server`, until [`Load::stop`].
pub struct Load {
    stop: Signal,
    client: Task<Done>,
    _server: Task<()>,
}

impl Load {
    pub fn start(server: &Pod, client: &Pod) -> Result<Self> {
        let (listening, connected, stop) = (Signal::new()?, Signal::new()?, Signal::new()?);
        let to = server.ipv4;
        let server = server.spawn(|| {
            let listener = listen((to, PORT), NonBlocking)?;
            listening.raise()?;
            while let Ok(stream) = Stream::accept(&listener, NonBlocking) {
                thread::spawn(|| echo(stream));
            }
            Ok(())
        })?;
        listening.wait()?;
        let connect = || Stream::connect((to, PORT), NonBlocking);
        let client = client.spawn(|| {
            let stopped = AtomicBool::new(false);
            let goes_on = || !stopped.load(Relaxed);
            let bulk = connect()?;
            thread::scope(|scope| {
                let old: Vec<_> = (0..OLD_CONNECTIONS)
                    .map(|seed| scope.spawn(move || requests(connect()?, seed, goes_on)))
                    .collect();
                let new = scope.spawn(|| connections(connect, goes_on));
                let bulk = scope.spawn(|| stream(bulk, goes_on));
                connected.raise()?;
                let waited = stop.wait();
                stopped.store(true, Relaxed);
                let requests =
                    old.into_iter().map(|one| one.join().expect("no panic")).sum::<Result<_>>();
                let connections = new.join().expect("no panic").context("new connections");
                let bulk_bytes = bulk.join().expect("no panic").context("bulk")?;
                waited?;
                Ok(Done {
                    requests: requests.context("old connections")?,
                    connections: connections?,
                    bulk_bytes,
                })
            })
        })?;
        connected.wait()?;
        Ok(Self { stop, client, _server: server })
    }

    /// # Errors
    /// Anything that went otherwise than by TCP alone.
    pub fn stop(self) -> Result<Done> {
        self.stop.raise()?;
        let done = self.client.join()?;
        ensure!(done.requests > 0 && done.connections > 0 && done.bulk_bytes > 0, "{done:?}");
        Ok(done)
    }
}

fn echo(mut stream: Stream) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(stream.shutdown(Shutdown::Write)?);
        }
        stream.write_all(&buffer[..read])?;
    }
}

fn requests(mut stream: Stream, seed: u64, goes_on: impl Fn() -> bool) -> Result<u64> {
    let (pattern, mut at, mut requests) = (Pattern { seed }, 0, 0);
    while goes_on() {
        at = request(&mut stream, pattern, at).with_context(|| format!("request {requests}"))?;
        requests += 1;
        thread::sleep(stretched(PERIOD));
    }
    Ok(requests)
}

fn request(stream: &mut Stream, pattern: Pattern, at: u64) -> Result<u64> {
    let mut buffer = [0; REQUEST];
    let size = fastrand::usize(1..=REQUEST);
    pattern.fill(at, &mut buffer[..size]);
    stream.write_all(&buffer[..size])?;
    buffer.fill(0);
    stream.read_exact(&mut buffer[..size])?;
    pattern.check(at, &buffer[..size])?;
    Ok(at + size as u64)
}

fn connections<C>(connect: C, goes_on: impl Fn() -> bool) -> Result<u64>
where
    C: Fn() -> Result<Stream>,
{
    let mut connections = 0;
    while goes_on() {
        let mut stream = connect().with_context(|| format!("connection {connections}"))?;
        let mut at = 0;
        for _ in 0..REQUESTS {
            at = request(&mut stream, Pattern { seed: connections }, at)?;
        }
        stream.shutdown(Shutdown::Write)?;
        ensure!(stream.read(&mut [0])? == 0, "no end of connection {connections}");
        connections += 1;
        thread::sleep(PERIOD);
    }
    Ok(connections)
}

fn stream(mut stream: Stream, goes_on: impl Fn() -> bool + Send) -> Result<u64> {
    const PATTERN: Pattern = Pattern { seed: 7 };
    let pace = Pace { largest: 256 << 10, pause_every: 100 };
    let mut writer = stream.try_clone()?;
    thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<u64> {
            let mut sent = 0;
            let mut buffer = vec![0; 64 << 10];
            while goes_on() {
                PATTERN.fill(sent, &mut buffer);
                writer.write_all(&buffer)?;
                sent += buffer.len() as u64;
                thread::sleep(stretched(PERIOD) - PERIOD);
            }
            writer.shutdown(Shutdown::Write)?;
            Ok(sent)
        });
        let received = receive(&mut stream, PATTERN, pace)?;
        let sent = sending.join().expect("no panic")?;
        ensure!(received == sent, "{received} of {sent} bytes");
        Ok(received)
    })
}
