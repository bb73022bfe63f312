//! Clients that talk on as many connections as they are told, check every byte, and tell what became of
//! each.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, SocketAddrV4},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};
use tests::{
    pod::Pod,
    task::{PATIENCE, Signal, Task},
    traffic::{Mode::NonBlocking, Pattern, Stream, listen},
};

/// As many small messages as large ones: the logarithm is even.
const LARGEST_BITS: u32 = 21;
/// What takes longer hangs.
const HANGS: Duration = Duration::from_secs(20);

/// How often each thing happened.
pub type Tally = BTreeMap<String, u64>;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Order {
    /// So many more connect.
    Grow(usize),
    /// Until so many have lost their connection.
    Lose(usize),
    /// Who has none tries once to connect.
    Connect,
    /// All end their connections.
    End,
    /// Until so many more messages have come back, if anybody has a connection.
    Talk(u64),
}

pub struct Crowd {
    _task: Task<()>,
    orders: UnixStream,
}

impl Crowd {
    pub fn start(pod: &Pod, to: SocketAddrV4) -> Result<Self> {
        let (orders, theirs) = UnixStream::pair()?;
        orders.set_read_timeout(Some(PATIENCE))?;
        let task = pod.spawn(|| obey(theirs, to.into()))?;
        Ok(Self { _task: task, orders })
    }

    /// What has happened when it is done.
    pub fn tell(&self, order: Order) -> Result<Tally> {
        writeln!(&self.orders, "{}", serde_json::to_string(&order)?)?;
        let mut line = String::new();
        BufReader::new(&self.orders).read_line(&mut line).with_context(|| format!("{order:?}"))?;
        serde_json::from_str(&line).with_context(|| format!("{order:?}: {line}"))
    }
}

/// Sends back what it gets, whole messages at a time.
pub fn echo(pod: &Pod, port: u16) -> Result<Task<()>> {
    let listening = Signal::new()?;
    let task = pod.spawn(|| {
        let listener = listen((pod.ipv4, port), NonBlocking)?;
        listening.raise()?;
        loop {
            // For long there may come nobody.
            let Ok(mut stream) = Stream::accept(&listener, NonBlocking) else { continue };
            thread::spawn(move || -> Result<()> {
                let mut message = Vec::new();
                loop {
                    let mut size = [0; 4];
                    if stream.read(&mut size[..1])? == 0 {
                        return Ok(stream.shutdown(Shutdown::Write)?);
                    }
                    stream.read_exact(&mut size[1..])?;
                    message.resize(u32::from_be_bytes(size) as usize, 0);
                    stream.read_exact(&mut message)?;
                    stream.write_all(&message)?;
                }
            });
        }
    })?;
    listening.wait()?;
    Ok(task)
}

struct Client {
    number: u64,
    to: SocketAddr,
    orders: Receiver<Order>,
    told: Sender<(usize, &'static str, bool)>,
    messages: Arc<AtomicU64>,
}

/// What a client tells: what happened, and whether it has a connection now.
fn obey(orders: UnixStream, to: SocketAddr) -> Result<()> {
    let (tells, told) = channel();
    let mut clients: Vec<(Sender<Order>, bool)> = Vec::new();
    let messages = Arc::<AtomicU64>::default();
    let mut lines = BufReader::new(&orders).lines();
    while let Some(line) = lines.next().transpose()? {
        let order: Order = serde_json::from_str(&line)?;
        let to_come = match order {
            Order::Grow(more) => {
                for number in clients.len()..clients.len() + more {
                    let (orders, mine) = channel();
                    let (told, messages) = (tells.clone(), messages.clone());
                    let client = Client { number: number as u64, to, orders: mine, told, messages };
                    thread::spawn(move || client.live());
                    orders.send(Order::Connect)?;
                    clients.push((orders, false));
                }
                more
            }
            Order::Lose(some) => some,
            Order::Connect => each(&clients, order, |is_connected| !is_connected)?,
            Order::End => each(&clients, order, |is_connected| is_connected)?,
            Order::Talk(more) => {
                let enough = messages.load(Relaxed) + more;
                let deadline = Instant::now() + PATIENCE;
                let talks = clients.iter().any(|(_, is_connected)| *is_connected);
                while talks && messages.load(Relaxed) < enough {
                    ensure!(Instant::now() < deadline, "fewer than {more} messages came back");
                    thread::sleep(Duration::from_millis(1));
                }
                0
            }
        };
        let mut tally = Tally::new();
        for _ in 0..to_come {
            let (number, what, is_connected) = told.recv_timeout(PATIENCE)?;
            *tally.entry(what.to_owned()).or_default() += 1;
            clients[number].1 = is_connected;
        }
        writeln!(&orders, "{}", serde_json::to_string(&tally)?)?;
    }
    Ok(())
}

fn each(clients: &[(Sender<Order>, bool)], order: Order, which: fn(bool) -> bool) -> Result<usize> {
    let chosen: Vec<_> = clients.iter().filter(|(_, is_connected)| which(*is_connected)).collect();
    chosen.iter().try_for_each(|(client, _)| client.send(order))?;
    Ok(chosen.len())
}

impl Client {
    fn live(self) {
        let mut random = fastrand::Rng::with_seed(self.number);
        while let Ok(Order::Connect) = self.orders.recv() {
            let mut stream = match self.connect() {
                Ok(stream) => {
                    self.tell("connected", true);
                    stream
                }
                Err(error) => {
                    self.tell(kind(&error), false);
                    continue;
                }
            };
            let lost = loop {
                match self.orders.try_recv() {
                    Err(TryRecvError::Empty) => (),
                    Ok(_) => break self.end(&mut stream),
                    Err(TryRecvError::Disconnected) => return,
                }
                if let Err(error) = message(&mut stream, &mut random) {
                    break Err(error);
                }
                self.messages.fetch_add(1, Relaxed);
            };
            self.tell(lost.as_ref().map_or_else(kind, |()| "ended"), false);
        }
    }

    fn tell(&self, what: &'static str, is_connected: bool) {
        let _ = self.told.send((self.number as usize, what, is_connected));
    }

    /// A proxy accepts for others, so only an answer tells.
    fn connect(&self) -> Result<Stream> {
        let mut stream = Stream::connect(self.to, NonBlocking)?;
        stream.patience = HANGS;
        message(&mut stream, &mut fastrand::Rng::with_seed(self.number))?;
        Ok(stream)
    }

    fn end(&self, stream: &mut Stream) -> Result<()> {
        stream.shutdown(Shutdown::Write)?;
        ensure!(stream.read(&mut [0])? == 0, "more than was asked for");
        Ok(())
    }
}

fn message(stream: &mut Stream, random: &mut fastrand::Rng) -> Result<()> {
    let bits = random.u32(0..=LARGEST_BITS);
    let size = random.usize(1..=1 << bits);
    let pattern = Pattern { seed: random.u64(..) };
    let mut message = vec![0; 4 + size];
    message[..4].copy_from_slice(&(size as u32).to_be_bytes());
    pattern.fill(0, &mut message[4..]);
    stream.write_all(&message)?;
    message.fill(0);
    stream.read_exact(&mut message[..size])?;
    pattern.check(0, &message[..size])
}

/// How a proxy's death shows (an end, a reset, a pipe that is broken) is chance, by TCP too.
fn kind(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            "lost"
        }
        Some(ErrorKind::ConnectionRefused) => "refused",
        Some(ErrorKind::TimedOut) => "hangs",
        Some(_) => "another error",
        None => "wrong bytes",
    }
}
