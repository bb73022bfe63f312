//! A reader that does not read: the sender is stopped as by TCP, and the node's memory stays.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{ErrorKind, Read, Write},
    path::Path,
    thread,
    time::Duration,
};
use tests::{
    needs,
    node::Node,
    pod::Pod,
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Pace, Pattern, Stream, listen, receive, send},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("pressure::memory_is_bounded", memory_is_bounded),
        needs(
            trial("pressure::scarce_memory_is_left_to_tcp", scarce_memory_is_left_to_tcp),
            env::var_os(TCP_MEM).is_some(),
            "a limit of the whole machine",
        ),
        trial("pressure::small_buffers_stay_small", small_buffers_stay_small),
        trial("pressure::tiny_messages_are_bounded", tiny_messages_are_bounded),
        trial("pressure::blocked_sender_wakes", blocked_sender_wakes),
    ]
}

const QUEUE_LIMIT: u64 = 2 << 20;
const PATTERN: Pattern = Pattern { seed: 21 };
/// What each connection does before, with bytes each.
const EXCHANGES: usize = 4;
const EXCHANGED: usize = 4 << 10;

/// Bytes of memory that all TCP sockets of the machine hold (`mem` in /proc/net/sockstat, pages).
fn tcp_memory() -> Result<u64> {
    let sockstat = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockstat.lines().find(|line| line.starts_with("TCP:")).context("no TCP line")?;
    let mem = tcp.split(' ').skip_while(|word| *word != "mem").nth(1).context("no mem")?;
    Ok(mem.parse::<u64>()? * 4096)
}

/// What a sender put into each of some connections whose reader never reads until it got EAGAIN,
/// and by how much what is held had grown then. In bytes. `cgroup`: one of version 1 that the reader joins.
pub fn fill(
    from: &Pod,
    to: &Pod,
    connections: usize,
    message: usize,
    buffers: Option<usize>,
    cgroup: Option<&Path>,
    held: impl Fn() -> Result<u64>,
) -> Result<(u64, u64)> {
    let (listening, accepted, done) = (Signal::new()?, Signal::new()?, Signal::new()?);
    let reader = to.spawn(|| {
        if let Some(cgroup) = cgroup {
            fs::write(cgroup.join("cgroup.procs"), "0")?;
        }
        let listener = listen((to.ipv4, PORT), NonBlocking)?;
        if let Some(size) = buffers {
            setsockopt(&listener, sockopt::RcvBuf, &size)?;
        }
        listening.raise()?;
        let mut streams: Vec<Stream> = (0..connections)
            .map(|_| Stream::accept(&listener, NonBlocking))
            .collect::<Result<_>>()?;
        streams.iter_mut().try_for_each(|stream| stream.read_exact(&mut [0]))?;
        accepted.raise()?;
        // Shows how it reads, and then reads no more.
        for stream in &mut streams {
            for _ in 0..EXCHANGES {
                stream.read_exact(&mut [0; EXCHANGED])?;
                stream.write_all(b"!")?;
            }
        }
        done.wait()?;
        // All that was taken from the sender must come, in order. From all at once, as event loops
        // read: the timers of those that Linux 6.18.15 stalls back off while others are read.
        let pace = Pace { largest: 1 << 16, pause_every: 0 };
        let read = |mut stream: Stream| receive(&mut stream, PATTERN, pace);
        let total = thread::scope(|scope| {
            let all: Vec<_> =
                streams.into_iter().map(|stream| scope.spawn(move || read(stream))).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).sum::<Result<u64>>()
        })?;
        Ok(total)
    })?;
    listening.wait()?;
    let before = held()?;
    let (filled, release) = (Signal::new()?, Signal::new()?);
    let writer = from.spawn(|| {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let mut stream = Stream::connect((to.ipv4, PORT), NonBlocking)?;
            if let Some(size) = buffers {
                setsockopt(&stream.socket, sockopt::SndBuf, &size)?;
            }
            stream.write_all(b"?")?;
            streams.push((stream, 0_u64));
        }
        // What is sent before goes by TCP, and then all that follows until it is read.
        accepted.wait()?;
        for (stream, _) in &mut streams {
            for _ in 0..EXCHANGES {
                stream.write_all(&[b'?'; EXCHANGED])?;
                stream.read_exact(&mut [0])?;
            }
        }
        let mut bytes = vec![0; message];
        // Until nothing goes into any of them for a while: TCP's own buffers grow as it goes.
        let mut quiet = 0;
        while quiet < 20 {
            quiet += 1;
            for (stream, sent) in &mut streams {
                loop {
                    PATTERN.fill(*sent, &mut bytes);
                    match stream.socket.write(&bytes) {
                        Ok(n) => {
                            *sent += n as u64;
                            quiet = 0;
                            ensure!(*sent < 64 << 20, "64 MiB and no EAGAIN");
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
        filled.raise()?;
        release.wait()?;
        Ok(streams.iter().map(|(_, sent)| *sent).max())
    })?;
    if let Err(late) = filled.wait() {
        // Its own reason says more.
        return Err(writer.join_within(Duration::ZERO).err().unwrap_or(late));
    }
    let grown = held()?.saturating_sub(before);
    release.raise()?;
    let sent = writer.join()?.context("no connection")?;
    done.raise()?;
    let received = reader.join()?;
    ensure!(received >= sent, "{received} bytes received of {sent} sent");
    Ok((sent, grown))
}

#[derive(Debug)]
struct Filled {
    plain: (u64, u64),
    shunted: (u64, u64),
}

fn compare(
    name: &str,
    connections: usize,
    message: usize,
    buffers: Option<usize>,
) -> Result<Filled> {
    let node = Node::new(name)?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let (c, d) = (node.outside("c")?, node.outside("d")?);
    let plain =
        fill(&c, &d, connections, message, buffers, None, tcp_memory).context("plain TCP")?;
    let shunted =
        fill(&a, &b, connections, message, buffers, None, tcp_memory).context("shunted")?;
    let counters = node.counters(&a)?;
    ensure!(counters.shunted.bytes > 0, "{counters:?}");
    println!(
        "{connections} connections, {message}-byte messages: sent before EAGAIN plain {} shunted {}, TCP memory plain {} shunted {}",
        plain.0, shunted.0, plain.1, shunted.1
    );
    Ok(Filled { plain, shunted })
}

/// EAGAIN before 8 MB, and no more memory than TCP's own plus the queue limit, per connection.
fn memory_is_bounded() -> Result<()> {
    const CONNECTIONS: usize = 100;
    let filled = compare("memory", CONNECTIONS, 16 << 10, None)?;
    assert!(filled.shunted.0 < 8 << 20, "{} bytes before EAGAIN", filled.shunted.0);
    let bound = filled.plain.1 + CONNECTIONS as u64 * QUEUE_LIMIT;
    assert!(filled.shunted.1 <= bound, "{} bytes of TCP memory, not {bound}", filled.shunted.1);
    Ok(())
}

/// Where `net.ipv4.tcp_mem` may be changed: the file, in a machine that is the test's own.
const TCP_MEM: &str = "SHUNT_TEST_TCP_MEM";

struct TcpMem {
    file: OsString,
    before: String,
}

impl TcpMem {
    /// Pages from which on memory is scarce.
    fn scarce_from(pages: u64) -> Result<Self> {
        let file = env::var_os(TCP_MEM).context(TCP_MEM)?;
        let before = fs::read_to_string(&file)?;
        let most = before.split_whitespace().next_back().context("tcp_mem")?;
        fs::write(&file, format!("{pages} {pages} {most}"))?;
        Ok(Self { file, before })
    }
}

impl Drop for TcpMem {
    fn drop(&mut self) {
        let _ = fs::write(&self.file, &self.before);
    }
}

/// The bound for the node as a whole: beyond it only TCP takes more, by its own rules.
fn scarce_memory_is_left_to_tcp() -> Result<()> {
    const CONNECTIONS: u64 = 10;
    const SCARCE: u64 = 4 << 20;
    let tcp_mem = TcpMem::scarce_from(SCARCE / 4096)?;
    let filled = compare("scarce", CONNECTIONS as usize, 16 << 10, None)?;
    // Each looks once in 64 KiB, and the kernel rounds up to pages.
    let bound = filled.plain.1 + SCARCE + CONNECTIONS * (128 << 10);
    assert!(bound < filled.plain.1 + CONNECTIONS * QUEUE_LIMIT);
    assert!(filled.shunted.1 <= bound, "{} bytes of TCP memory, not {bound}", filled.shunted.1);
    drop(tcp_mem);
    // The node is as before.
    let filled = compare("plenty", 1, 16 << 10, None)?;
    assert!(filled.shunted.0 > filled.plain.0, "{filled:?}");
    Ok(())
}

/// Where the application chose small buffers, it gets what it chose: plain TCP's plus 10 %. On
/// many connections, as every CPU keeps up to 1 MiB in reserve that the kernel counts as well
/// (SK_MEMORY_PCPU_RESERVE in include/net/sock.h).
fn small_buffers_stay_small() -> Result<()> {
    let filled = compare("small", 200, 1 << 10, Some(64 << 10))?;
    let bound = filled.plain.1 + filled.plain.1 / 10;
    assert!(filled.shunted.1 <= bound, "{} bytes of TCP memory, not {bound}", filled.shunted.1);
    Ok(())
}

/// A message of one byte costs the kernel a structure of hundreds: those count too.
fn tiny_messages_are_bounded() -> Result<()> {
    let before = unreclaimable_slab()?;
    let node = Node::new("tiny")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let held = Signal::new()?;
    let listening = Signal::new()?;
    let reader = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        stream.read_exact(&mut [0])?;
        stream.write_all(b"!")?;
        held.wait()?;
        receive(&mut stream, PATTERN, Pace { largest: 1 << 16, pause_every: 0 })
    })?;
    listening.wait()?;
    let sent = a.run(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        // What comes before the accept goes by TCP, and keeps it there until it is read.
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
        let mut byte = [0];
        // Enough to put 100,000 into a queue that counts bytes only.
        for sent in 0..100_000 {
            PATTERN.fill(sent, &mut byte);
            match stream.socket.write(&byte) {
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(100_000)
    })?;
    let shunted = node.counters(&a)?.shunted.messages;
    let grown = unreclaimable_slab()?.saturating_sub(before);
    held.raise()?;
    assert_eq!(reader.join()?, sent);
    println!("{shunted} of {sent} one-byte messages queued, slab grew by {grown} bytes");
    assert!(shunted > 0 && shunted * 512 <= QUEUE_LIMIT, "{shunted} one-byte messages queued");
    Ok(())
}

fn unreclaimable_slab() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find(|line| line.starts_with("SUnreclaim:")).context("meminfo")?;
    let kib: u64 = line.split_whitespace().nth(1).context("meminfo")?.parse()?;
    Ok(kib << 10)
}

/// A sender on the short way that blocks is stopped, and goes on when the reader does.
fn blocked_sender_wakes() -> Result<()> {
    const TOTAL: u64 = 32 << 20;
    let node = Node::new("blocked")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let (listening, go) = (Signal::new()?, Signal::new()?);
    let reader = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        for _ in 0..2 {
            stream.read_exact(&mut [0])?;
            stream.write_all(b"!")?;
        }
        go.wait()?;
        let received = receive(&mut stream, PATTERN, Pace { largest: 1 << 20, pause_every: 0 })?;
        ensure!(stream.read(&mut [0])? == 0);
        Ok(received)
    })?;
    listening.wait()?;
    let writer = a.spawn(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        for _ in 0..2 {
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
        }
        // It has a place in the sockhash now, and keeps it.
        stream.socket.set_nonblocking(false)?;
        send(&mut stream, PATTERN, TOTAL, Pace { largest: 1 << 13, pause_every: 0 })
    })?;
    assert!(writer.runs_after(Duration::from_secs(1))?, "32 MiB went to nobody");
    go.raise()?;
    writer.join()?;
    assert_eq!(reader.join()?, TOTAL);
    let counters = node.counters(&a)?;
    assert!(counters.shunted.bytes > 1 << 14 && counters.to_tcp.queue_full > 0, "{counters:?}");
    Ok(())
}
