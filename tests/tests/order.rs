//! Not one byte lost, doubled or out of place, and every end of a connection as TCP ends it.

use crate::scale::scaled;
use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use nix::sys::{
    signal::Signal::SIGKILL,
    socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt},
};
use shim::layout::Counters;
use std::{
    fmt::Debug,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};
use tests::{
    node::Node,
    pod::Pod,
    sockopt::set_tcp,
    task::{Signal, Task},
    traffic::{
        Mode::{self, Blocking, BlockingServer, NonBlocking},
        PORT, Pace, Pattern, Stream, converse, listen, receive, send,
    },
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("order::both_ways_at_once", both_ways_at_once),
        trial("order::slow_readers", slow_readers),
        trial("order::half_close_each_way", half_close_each_way),
        trial("order::linger_zero", linger_zero),
        trial("order::reset_before_accept", reset_before_accept),
        trial("order::killed_ends", killed_ends),
        trial("order::killed_listener", killed_listener),
        trial("order::write_after_close", write_after_close),
        trial("order::defer_accept", defer_accept),
        trial("order::fast_open", fast_open),
        trial("order::thirty_seconds_under_load", thirty_seconds_under_load),
    ]
}

const THERE: Pattern = Pattern { seed: 11 };
const BACK: Pattern = Pattern { seed: 12 };
const QUICK: Pace = Pace { largest: 1 << 20, pause_every: 0 };

/// Two accelerated pods, and two that shunt never heard of.
struct Pods {
    shunted: [Pod; 2],
    plain: [Pod; 2],
    // Dropped last.
    node: Node,
}

impl Pods {
    fn new(name: &str) -> Result<Self> {
        Self::on(Node::new(name)?)
    }

    fn on(node: Node) -> Result<Self> {
        let shunted = [node.pod("a")?, node.pod("b")?];
        let plain = [node.outside("c")?, node.outside("d")?];
        Ok(Self { shunted, plain, node })
    }

    /// What a conversation shows must be the same by plain TCP and between accelerated pods, for
    /// programs that block and for those that do not.
    fn same<T: PartialEq + Debug>(
        &self,
        observe: impl Fn(&Pod, &Pod, Mode) -> Result<T>,
    ) -> Result<T> {
        let [a, b] = &self.plain;
        let plain = observe(a, b, NonBlocking).context("by plain TCP")?;
        let [a, b] = &self.shunted;
        for mode in [NonBlocking, Blocking, BlockingServer] {
            let shunted =
                observe(a, b, mode).with_context(|| format!("the short way, {mode:?}"))?;
            ensure!(plain == shunted, "plain TCP: {plain:?}, the short way, {mode:?}: {shunted:?}");
        }
        Ok(plain)
    }

    /// The programs that do not block were accelerated, the others not, so that "the same" says
    /// something.
    fn took_part(&self) -> Result<()> {
        for pod in &self.shunted {
            let counters = self.node.counters(pod)?;
            ensure!(
                counters.paired > 0 && counters.plain.total() > 0,
                "{}: {counters:?}",
                pod.name
            );
        }
        Ok(())
    }
}

/// Both sides send and receive at once; how many bytes each received.
fn duplex(
    mut stream: Stream,
    mine: Pattern,
    other: Pattern,
    total: u64,
    pace: Pace,
) -> Result<u64> {
    let mut writer = stream.try_clone()?;
    thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<()> {
            send(&mut writer, mine, total, pace)?;
            Ok(writer.shutdown(Shutdown::Write)?)
        });
        let received = receive(&mut stream, other, pace);
        sending.join().expect("no panic")?;
        received
    })
}

fn both_ways_at_once() -> Result<()> {
    let total = scaled(64 << 20).max(8 << 20);
    // Warm, as readers that are busy from the first byte on may never be level with TCP.
    let talk = |mut stream: Stream, [mine, other]: [Pattern; 2], first, pace| {
        warm_up(&mut stream, first)?;
        duplex(stream, mine, other, total, pace)
    };
    let pods = Pods::new("both")?;
    let [a, b] = &pods.shunted;
    for pace in [QUICK, Pace { largest: 1 << 16, pause_every: 50 }] {
        let got = converse(
            (b, a),
            b.ipv4.into(),
            NonBlocking,
            |stream| talk(stream, [BACK, THERE], false, pace),
            |stream| talk(stream, [THERE, BACK], true, pace),
        )?;
        assert_eq!(got, (total, total));
    }
    let counters = pods.node.counters(a)?;
    // More than it was warmed by.
    assert!(counters.shunted.bytes > 10_000, "{counters:?}");
    Ok(())
}

/// A reader that falls behind: the queue fills and the flow goes by TCP. When it has caught up,
/// the next burst takes the short way again.
fn slow_readers() -> Result<()> {
    const BURST: u64 = 4 << 20;
    const BURSTS: u64 = 5;
    // More, or larger messages, would be bulk.
    const PACE: Pace = Pace { largest: 1 << 15, ..QUICK };
    let mut node = Node::new("slow")?;
    // Less than a burst.
    node.conf.insert("queueLimit".into(), (1 << 20).into());
    let pods = Pods::on(node)?;
    let [a, b] = &pods.shunted;
    let slow = Pace { largest: 1 << 16, pause_every: 8 };
    let read = |mut stream: Stream| {
        for _ in 0..BURSTS {
            let received = receive(&mut (&mut stream).take(BURST), THERE, slow)?;
            ensure!(received == BURST, "{received} bytes");
            stream.write_all(b"!")?;
        }
        Ok(())
    };
    let write = |mut stream: Stream| {
        for _ in 0..BURSTS {
            send(&mut stream, THERE, BURST, PACE)?;
            stream.read_exact(&mut [0])?;
        }
        Ok(())
    };
    converse((b, a), b.ipv4.into(), NonBlocking, read, write)?;
    let Counters { to_tcp, to_shunt, .. } = pods.node.counters(a)?;
    ensure!(to_tcp.queue_full >= 3 && to_shunt >= 3, "{to_tcp:?}, to_shunt {to_shunt}");
    Ok(())
}

fn half_close_each_way() -> Result<()> {
    let pods = Pods::new("half")?;
    const TOTAL: u64 = 1 << 20;
    let talk = |mut stream: Stream, first: bool| -> Result<u64> {
        if first {
            send(&mut stream, THERE, TOTAL, QUICK)?;
            stream.shutdown(Shutdown::Write)?;
            receive(&mut stream, BACK, QUICK)
        } else {
            let received = receive(&mut stream, THERE, QUICK)?;
            send(&mut stream, BACK, TOTAL, QUICK)?;
            Ok(received)
        }
    };
    for client_first in [true, false] {
        let seen = pods.same(|a, b, mode| {
            converse(
                (b, a),
                b.ipv4.into(),
                mode,
                |s| talk(s, !client_first),
                |s| talk(s, client_first),
            )
        })?;
        assert_eq!(seen, (TOTAL, TOTAL));
    }
    pods.took_part()?;
    Ok(())
}

/// A few exchanges, so that the connection is warm in both directions.
fn warm_up(stream: &mut Stream, first: bool) -> Result<()> {
    let mut buffer = [0; 100];
    for turn in 0..20 {
        if (turn % 2 == 0) == first {
            stream.write_all(&[turn; 100])?;
        } else {
            stream.read_exact(&mut buffer)?;
            ensure!(buffer == [turn; 100]);
        }
    }
    Ok(())
}

/// What a reader gets until the stream ends: bytes, and how it ended.
fn read_out(stream: &mut Stream) -> Result<(usize, String)> {
    stream.patience = Duration::from_secs(10);
    let mut all = Vec::new();
    let end = match stream.read_to_end(&mut all) {
        Ok(_) => "end of stream".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    };
    Ok((all.len(), end))
}

fn linger_zero() -> Result<()> {
    let pods = Pods::new("linger")?;
    for client_resets in [true, false] {
        let talk = move |mut stream: Stream, client: bool| {
            warm_up(&mut stream, client)?;
            if client == client_resets {
                let off = libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream.socket, sockopt::Linger, &off)?;
                return Ok((0, String::new()));
            }
            read_out(&mut stream)
        };
        let seen = pods.same(|a, b, mode| {
            converse((b, a), b.ipv4.into(), mode, |s| talk(s, false), |s| talk(s, true))
        })?;
        let (server, client) = seen;
        let reader = if client_resets { server } else { client };
        assert_eq!(reader, (0, "ConnectionReset".to_owned()));
    }
    pods.took_part()?;
    Ok(())
}

/// Before the server accepts: it reads what TCP would have given, from the first byte on.
fn reset_before_accept() -> Result<()> {
    const SENT: usize = 30_000;
    let mut node = Node::new("early")?;
    node.poll_in_blocking_mode();
    let pods = Pods::on(node)?;
    // What is more than TCP's buffers hold does not all arrive.
    for total in [SENT, 300_000] {
        let read = pods.same(|a, b, mode| {
            let (listening, gone) = (Signal::new()?, Signal::new()?);
            let server = b.spawn(|| {
                let listener = listen((b.ipv4, PORT), mode)?;
                listening.raise()?;
                gone.wait()?;
                let mut stream = Stream::accept(&listener, mode)?;
                stream.patience = Duration::from_secs(10);
                let mut all = Vec::new();
                let end =
                    stream.read_to_end(&mut all).map_err(|error| format!("{:?}", error.kind()));
                THERE.check(0, &all)?;
                Ok((all.len() == SENT, all.is_empty(), end.err()))
            })?;
            listening.wait()?;
            a.run(|| {
                let stream = Stream::connect((b.ipv4, PORT), mode)?;
                let off = libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream.socket, sockopt::Linger, &off)?;
                stream.socket.set_nonblocking(true)?;
                let mut bytes = vec![0; total];
                THERE.fill(0, &mut bytes);
                let mut sent = 0;
                while let Ok(more @ 1..) =
                    (&stream.socket).write(&bytes[sent..total.min(sent + 10_000)])
                {
                    sent += more;
                }
                thread::sleep(Duration::from_millis(200));
                Ok(())
            })?;
            gone.raise()?;
            server.join()
        })?;
        let reset = Some("ConnectionReset".to_owned());
        ensure!(read == (total == SENT, false, reset), "{total}: {read:?}");
    }
    Ok(())
}

/// kill -9 of either end while it writes: the other end reads whole what had been written.
fn killed_ends() -> Result<()> {
    let pods = Pods::new("killed")?;
    for kill_client in [true, false] {
        let seen = pods.same(|a, b, mode| {
            let (listening, written) = (Signal::new()?, Signal::new()?);
            let victim = |stream: &mut Stream, first| -> Result<()> {
                warm_up(stream, first)?;
                send(stream, THERE, 100_000, QUICK)?;
                written.raise()?;
                thread::sleep(Duration::from_secs(60));
                Ok(())
            };
            let witness = |stream: &mut Stream, first| -> Result<u64> {
                warm_up(stream, first)?;
                receive(stream, THERE, QUICK)
            };
            let server = b.spawn(|| {
                let listener = listen((b.ipv4, PORT), mode)?;
                listening.raise()?;
                let mut stream = Stream::accept(&listener, mode)?;
                if kill_client {
                    witness(&mut stream, false)
                } else {
                    victim(&mut stream, false).map(|()| 0)
                }
            })?;
            listening.wait()?;
            let client = a.spawn(|| {
                let mut stream = Stream::connect((b.ipv4, PORT), mode)?;
                if kill_client {
                    victim(&mut stream, true).map(|()| 0)
                } else {
                    witness(&mut stream, true)
                }
            })?;
            written.wait()?;
            let (victim, witness) = if kill_client { (client, server) } else { (server, client) };
            victim.kill(SIGKILL)?;
            let received = witness.join()?;
            ensure!(victim.join().is_err(), "the victim lives");
            Ok(received)
        })?;
        assert_eq!(seen, 100_000);
    }
    pods.took_part()?;
    Ok(())
}

/// Connections that nobody accepted end as by TCP when their listener dies, and leave nothing.
fn killed_listener() -> Result<()> {
    const CLIENTS: usize = 20;
    let pods = Pods::new("listener")?;
    let seen = pods.same(|a, b, mode| {
        let (listening, sent) = (Signal::new()?, Signal::new()?);
        let server = b.spawn(|| {
            let _listener = listen((b.ipv4, PORT), mode)?;
            listening.raise()?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        })?;
        listening.wait()?;
        let client = a.spawn(|| {
            let mut streams = (0..CLIENTS)
                .map(|_| {
                    let mut stream = Stream::connect((b.ipv4, PORT), mode)?;
                    stream.write_all(b"is anybody there?")?;
                    Ok(stream)
                })
                .collect::<Result<Vec<_>>>()?;
            sent.raise()?;
            streams.iter_mut().map(|stream| Ok(read_out(stream)?.1)).collect::<Result<Vec<_>>>()
        })?;
        sent.wait()?;
        server.kill(SIGKILL)?;
        ensure!(server.join().is_err(), "the server lives");
        client.join()
    })?;
    assert_eq!(seen, vec!["ConnectionReset".to_owned(); CLIENTS]);
    pods.took_part()?;
    assert_eq!(pods.node.sockets()?.len(), 0, "dead sockets in the sockhash");
    Ok(())
}

/// After one's own shutdown, and after the peer has closed: the errors that TCP gives.
fn write_after_close() -> Result<()> {
    let pods = Pods::new("write")?;
    let seen = pods.same(|a, b, mode| {
        let own = |mut stream: Stream, first| {
            warm_up(&mut stream, first)?;
            stream.shutdown(Shutdown::Write)?;
            Ok(format!("{:?}", stream.write(b"more").map_err(|error| error.kind())))
        };
        converse((b, a), b.ipv4.into(), mode, |s| own(s, false), |s| own(s, true))
    })?;
    assert_eq!(seen.0, "Err(BrokenPipe)");
    let seen = pods.same(|a, b, mode| {
        let close = |mut stream: Stream| warm_up(&mut stream, false);
        let write = |mut stream: Stream| {
            warm_up(&mut stream, true)?;
            ensure!(stream.read(&mut [0])? == 0);
            let first = stream.write(b"more").map_err(|error| error.kind());
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                if let Err(error) = stream.write(b"more") {
                    return Ok(format!("{first:?}, then {:?}", error.kind()));
                }
                ensure!(Instant::now() < deadline, "still no error");
                thread::sleep(Duration::from_millis(1));
            }
        };
        converse((b, a), b.ipv4.into(), mode, close, write)
    })?;
    assert_eq!(seen.1, "Ok(4), then BrokenPipe");
    pods.took_part()?;
    Ok(())
}

/// The server's kernel drops the handshake's last ACK: the first bytes come before the pairing.
fn defer_accept() -> Result<()> {
    const TOTAL: u64 = 4 << 20;
    let pods = Pods::new("defer")?;
    let seen = pods.same(|a, b, mode| {
        let listening = Signal::new()?;
        let server = b.spawn(|| {
            let listener = listen((b.ipv4, PORT), mode)?;
            set_tcp(&listener, libc::TCP_DEFER_ACCEPT, 5)?;
            listening.raise()?;
            duplex(Stream::accept(&listener, mode)?, BACK, THERE, TOTAL, QUICK)
        })?;
        listening.wait()?;
        let client = a.run(|| {
            let stream = Stream::connect((b.ipv4, PORT), mode)?;
            duplex(stream, THERE, BACK, TOTAL, QUICK)
        });
        // The first to fail tells why.
        Ok((server.join().context("the server")?, client?))
    })?;
    assert_eq!(seen, (TOTAL, TOTAL));
    pods.took_part()?;
    Ok(())
}

/// Data in the SYN: the second connection has it, as the first one fetches the cookie.
fn fast_open() -> Result<()> {
    let pods = Pods::new("fastopen")?;
    let seen = pods.same(|a, b, mode| {
        for pod in [a, b] {
            pod.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3")?))?;
        }
        let listening = Signal::new()?;
        let server = b.spawn(|| {
            let listener = listen((b.ipv4, PORT), mode)?;
            set_tcp(&listener, libc::TCP_FASTOPEN, 16)?;
            listening.raise()?;
            (0..3)
                .map(|_| duplex(Stream::accept(&listener, mode)?, BACK, THERE, 1 << 20, QUICK))
                .collect()
        })?;
        listening.wait()?;
        let client: Vec<u64> = a.run(|| {
            (0..3)
                .map(|_| {
                    let flags = match mode {
                        Blocking => SockFlag::SOCK_CLOEXEC,
                        NonBlocking | BlockingServer => SockFlag::SOCK_NONBLOCK,
                    };
                    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
                    set_tcp(&fd, libc::TCP_FASTOPEN_CONNECT, 1)?;
                    let mut stream = Stream::connect_with(fd, (b.ipv4, PORT).into())?;
                    send(&mut stream, THERE, 1 << 20, QUICK)?;
                    stream.shutdown(Shutdown::Write)?;
                    receive(&mut stream, BACK, QUICK)
                })
                .collect()
        })?;
        Ok((server.join()?, client))
    })?;
    assert_eq!(seen, (vec![1 << 20; 3], vec![1 << 20; 3]));
    Ok(())
}

/// Streams of all paces both ways, beside connections that come and go, some killed by reset.
fn thirty_seconds_under_load() -> Result<()> {
    const TIME: Duration = Duration::from_secs(30);
    let workers = scaled(12).max(3);
    let pods = Pods::new("load")?;
    let [a, b] = &pods.shunted;
    let listening = Signal::new()?;
    let server: Task<u64> = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        thread::scope(|scope| {
            let mut all = Vec::new();
            loop {
                let mut stream = Stream::accept(&listener, NonBlocking)?;
                let mut seed = [0; 8];
                stream.read_exact(&mut seed)?;
                let seed = u64::from_le_bytes(seed);
                if seed == 0 {
                    break;
                }
                all.push(scope.spawn(move || conversation(stream, seed, false)));
            }
            all.into_iter().map(|one| one.join().expect("no panic")).sum()
        })
    })?;
    listening.wait()?;
    let client: Task<u64> = a.spawn(|| {
        let start = Instant::now();
        let all = thread::scope(|scope| {
            let drive = |worker: u64| -> Result<u64> {
                let mut bytes = 0;
                for turn in 0.. {
                    if start.elapsed() > TIME {
                        break;
                    }
                    let seed = worker << 32 | (turn << 8) | (worker & 0xff) | 1 << 60;
                    let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
                    stream.write_all(&seed.to_le_bytes())?;
                    bytes += conversation(stream, seed, true)
                        .with_context(|| format!("worker {worker}, turn {turn}"))?;
                }
                Ok(bytes)
            };
            let workers: Vec<_> =
                (1..=workers).map(|worker| scope.spawn(move || drive(worker))).collect();
            workers.into_iter().map(|one| one.join().expect("no panic")).sum::<Result<u64>>()
        });
        Stream::connect((b.ipv4, PORT), NonBlocking)?.write_all(&[0; 8])?;
        all
    })?;
    let patience = TIME + Duration::from_secs(90);
    let received = client.join_within(patience)?;
    let at_server = server.join_within(patience)?;
    assert!(received > 0 && at_server > 0);
    let counters = pods.node.counters(a)?;
    assert!(counters.shunted.bytes > 0 && counters.to_tcp.queue_full > 0, "{counters:?}");
    assert_eq!(pods.node.sockets()?.len(), 0, "dead sockets in the sockhash");
    Ok(())
}

/// One of the load's connections; its seed says how it goes. Gives the bytes received.
fn conversation(mut stream: Stream, seed: u64, client: bool) -> Result<u64> {
    let (mine, other) = if client { (seed, !seed) } else { (!seed, seed) };
    let (mine, other) = (Pattern { seed: mine }, Pattern { seed: other });
    let mut random = fastrand::Rng::with_seed(seed);
    let pace =
        Pace { largest: 1 << random.u32(6..=20), pause_every: [0, 0, 3, 100][random.usize(0..4)] };
    let total = random.u64(1..4 << 20).min(pace.largest as u64 * 2000);
    let resets = random.u32(0..20) == 0;
    if resets {
        // The client resets in the middle; what the server had by then must be right.
        if client {
            send(&mut stream, mine, total / 2, pace)?;
            setsockopt(&stream.socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
            return Ok(0);
        }
        return match receive(&mut stream, other, pace) {
            Ok(_) => bail!("no reset came"),
            Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(ErrorKind::ConnectionReset) => Ok(0),
                _ => Err(error),
            },
        };
    }
    let received = duplex(stream, mine, other, total, pace)?;
    ensure!(received == total, "{received} of {total} bytes");
    Ok(received)
}
