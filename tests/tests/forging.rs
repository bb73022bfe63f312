//! A pod that may do what it likes in its own network namespace, and knows the numbers of another
//! pod's connection, gets not one byte of it.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, Shutdown, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
        connect, listen, shutdown, socket,
    },
    unistd::read,
};
use shim::layout::{Counters, Pair, name};
use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
};
use tests::{
    bpftool::{self, bpftool},
    node::Node,
    pod::Pod,
    sockopt::{get_tcp, set_tcp},
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, Stream, converse},
    trial,
};

use crate::pairing::{answer, answering, ask, command};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("forging::active_end_before_a_pods", active_end_before_a_pods),
        trial(
            "forging::active_end_before_one_from_elsewhere",
            active_end_before_one_from_elsewhere,
        ),
        trial("forging::active_end_after_a_pods", active_end_after_a_pods),
        trial("forging::passive_end_for_a_waiting_pod", passive_end_for_a_waiting_pod),
        trial("forging::forged_ends_pair_with_each_other", forged_ends_pair_with_each_other),
        trial("forging::only_root_reads_the_maps", only_root_reads_the_maps),
    ]
}

/// The victim's client sends or gets no such packets until its handshake is let go on.
const NO_SYN_ACK: &str = "INPUT -p tcp --sport 8080 --tcp-flags SYN,ACK SYN,ACK -j DROP";
const NO_ACK: &str = "OUTPUT -p tcp --dport 8080 --tcp-flags SYN,ACK ACK -j DROP";

/// What was counted for each.
struct Outcome {
    server: Counters,
    client: Option<Counters>,
    forger: Counters,
}

/// A connection between a client and a server, an attack on it by somebody who knows its numbers,
/// and beside it a connection that nobody attacks. `forge` gives the forged ends, all established, in a pod of that
/// address.
fn attack(
    accelerated_client: bool,
    hold: Option<&str>,
    forge: fn(Pair, Ipv4Addr) -> Result<Vec<Stream>>,
) -> Result<Outcome> {
    let node = Node::new("forging")?;
    let (server, other, forger) = (node.pod("server")?, node.pod("other")?, node.pod("forger")?);
    let client = if accelerated_client { node.pod("client") } else { node.outside("client") }?;
    let rule = |verb: &str| match hold {
        Some(hold) => client.run(|| command("iptables", &format!("-{verb} {hold}"))),
        None => Ok(()),
    };
    rule("A")?;
    let served = answering(&server, server.ipv4.into())?;
    let numbers = sniff(&client)?;
    let (connected, go_on) = (Signal::new()?, Signal::new()?);
    let asking = client.spawn(|| {
        let stream = Stream::connect((server.ipv4, PORT), NonBlocking)?;
        connected.raise()?;
        go_on.wait()?;
        ask(stream)
    })?;
    let (active, passive) = numbers.join()?;
    let pair = Pair { active, passive };
    if hold != Some(NO_SYN_ACK) {
        connected.wait()?;
    }

    let (forged, inject, over) = (Signal::new()?, Signal::new()?, Signal::new()?);
    let forging = forger.spawn(|| {
        let mut ends = forge(pair, forger.ipv4)?;
        forged.raise()?;
        inject.wait()?;
        for end in &mut ends {
            end.socket.write_all(b"forged")?;
        }
        forged.raise()?;
        over.wait()?;
        for end in &mut ends {
            ensure!(is_established(end)?, "the forged end was closed");
            let mut read = Vec::new();
            let ended = end.socket.read_to_end(&mut read).map_err(|error| error.kind());
            ensure!(ended == Err(ErrorKind::WouldBlock), "the forged end's stream: {ended:?}");
            // From the other forged end, where there is one.
            ensure!(read.is_empty() || read == b"forged", "the forger read {read:?}");
        }
        Ok(())
    })?;
    forged.wait()?;
    let first = if hold == Some(NO_SYN_ACK) { &forger } else { &client };
    let waiting = ends(&node, pair)?;
    ensure!(waiting.0 == first.id()?, "{} left {waiting:?}", first.name);
    if hold.is_some() {
        assert_eq!(waiting.1, 0, "a forged passive end was taken");
        rule("D")?;
    }
    if hold == Some(NO_SYN_ACK) {
        connected.wait()?;
    }

    inject.raise()?;
    forged.wait()?;
    go_on.raise()?;
    served.join().context("the victim's server")?;
    asking.join().context("the victim's client")?;
    converse((&other, &server), other.ipv4.into(), NonBlocking, answer, ask)?;
    over.raise()?;
    forging.join().context("the forger")?;

    let others = node.counters(&other)?;
    ensure!(others.paired == 1 && others.shunted.messages > 0, "{others:?}");
    Ok(Outcome {
        server: node.counters(&server)?,
        client: accelerated_client.then(|| node.counters(&client)).transpose()?,
        forger: node.counters(&forger)?,
    })
}

/// The forged end waits for the victim's passive end, which finds it.
fn active_end_before_a_pods() -> Result<()> {
    let Outcome { server, client, forger } = attack(true, Some(NO_SYN_ACK), active_end)?;
    assert_eq!((server.paired, server.not_paired.unproven), (1, 1), "{server:?}");
    assert_eq!((forger.paired, forger.shunted.bytes), (0, 0), "{forger:?}");
    assert_eq!(client.map(|client| client.paired), Some(0));
    Ok(())
}

/// As before, and no other active end on this node has the numbers.
fn active_end_before_one_from_elsewhere() -> Result<()> {
    let Outcome { server, forger, .. } = attack(false, Some(NO_SYN_ACK), active_end)?;
    assert_eq!((server.paired, server.not_paired.unproven), (1, 1), "{server:?}");
    assert_eq!((forger.paired, forger.shunted.bytes), (0, 0), "{forger:?}");
    Ok(())
}

/// The victim's passive end is known, and its active end has not met it yet.
fn active_end_after_a_pods() -> Result<()> {
    let Outcome { server, client, forger } = attack(true, None, active_end)?;
    assert_eq!((server.paired, server.not_paired.unproven), (2, 0), "{server:?}");
    assert_eq!((forger.paired, forger.shunted.bytes), (0, 0), "{forger:?}");
    let client = client.context("no client")?;
    ensure!(client.paired == 1 && client.shunted.messages > 0, "{client:?}");
    Ok(())
}

/// The victim's active end waits for its passive end.
fn passive_end_for_a_waiting_pod() -> Result<()> {
    let Outcome { server, client, forger } = attack(true, Some(NO_ACK), both_ends)?;
    assert_eq!((server.paired, server.not_paired.unproven), (2, 0), "{server:?}");
    assert_eq!((forger.paired, forger.not_paired.unproven), (0, 1), "{forger:?}");
    assert_eq!(forger.shunted.bytes, 0, "{forger:?}");
    let client = client.context("no client")?;
    ensure!(client.paired == 1 && client.shunted.messages > 0, "{client:?}");
    Ok(())
}

/// With numbers that are nobody's, the same forged ends pair: only the proof kept them out.
fn forged_ends_pair_with_each_other() -> Result<()> {
    let node = Node::new("forged")?;
    let forger = node.pod("forger")?;
    forger.run(|| both_ends(Pair { active: 1000, passive: 2000 }, forger.ipv4).map(drop))?;
    assert_eq!(node.counters(&forger)?.paired, 2);
    Ok(())
}

/// An active end with these numbers and no peer: in repair mode connect(2) sends nothing.
/// It enters, as what it is connected to is a pod's address.
fn active_end(numbers: Pair, own: Ipv4Addr) -> Result<Vec<Stream>> {
    // What it sends later vanishes, so that nothing closes it.
    command("iptables", "-A INPUT -i lo -p tcp --dport 9 -j DROP")?;
    let socket = new_socket()?;
    set_numbers(&socket, numbers.active, Some(numbers.passive))?;
    connect(socket.as_raw_fd(), &at(own, 9))?;
    established(socket, numbers.active, numbers.passive).map(|end| vec![end])
}

/// Two ends of one connection with these numbers: connect(2) takes a first number that it finds,
/// and where both connect to each other one of them is the passive end. As that one has listened
/// before, it passes for an accepted socket.
fn both_ends(numbers: Pair, own: Ipv4Addr) -> Result<Vec<Stream>> {
    command("iptables", "-A INPUT -i lo -p tcp --dport 9001 --syn -j DROP")?;
    let passive = new_socket()?;
    bind(passive.as_raw_fd(), &at(own, 9002))?;
    listen(&passive, Backlog::new(1)?)?;
    shutdown(passive.as_raw_fd(), Shutdown::Read)?;
    set_numbers(&passive, numbers.passive.wrapping_sub(1), None)?;
    ensure!(connect(passive.as_raw_fd(), &at(own, 9001)) == Err(Errno::EINPROGRESS), "no SYN sent");
    let active = new_socket()?;
    bind(active.as_raw_fd(), &at(own, 9001))?;
    set_numbers(&active, numbers.active.wrapping_sub(1), None)?;
    let active = Stream::connect_with(active, (own, 9002).into())?;
    Ok(vec![
        established(active.socket.into(), numbers.active, numbers.passive)?,
        established(passive, numbers.passive, numbers.active)?,
    ])
}

fn new_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}

fn at(own: Ipv4Addr, port: u16) -> SockaddrStorage {
    SocketAddr::from((own, port)).into()
}

/// TCP_REPAIR_OFF_NO_WP, TCP_RECV_QUEUE, TCP_SEND_QUEUE of linux/tcp.h.
const NO_PROBE: i32 = -1;
const RECV_QUEUE: i32 = 1;
const SEND_QUEUE: i32 = 2;

/// Of a socket that is not connected yet. With both it stays in repair mode.
fn set_numbers(socket: &OwnedFd, own: u32, peers: Option<u32>) -> Result<()> {
    set_tcp(socket, libc::TCP_REPAIR, 1).context("TCP_REPAIR")?;
    set_tcp(socket, libc::TCP_REPAIR_QUEUE, SEND_QUEUE)?;
    set_tcp(socket, libc::TCP_QUEUE_SEQ, own as i32)?;
    if let Some(peers) = peers {
        set_tcp(socket, libc::TCP_REPAIR_QUEUE, RECV_QUEUE)?;
        return Ok(set_tcp(socket, libc::TCP_QUEUE_SEQ, peers as i32)?);
    }
    Ok(set_tcp(socket, libc::TCP_REPAIR, NO_PROBE)?)
}

/// The forging has worked: the kernel has an established socket with the numbers it should have.
fn established(socket: OwnedFd, own: u32, peers: u32) -> Result<Stream> {
    let end = Stream::from(TcpStream::from(socket));
    set_tcp(&end.socket, libc::TCP_REPAIR, 1)?;
    let number = |queue| -> Result<u32> {
        set_tcp(&end.socket, libc::TCP_REPAIR_QUEUE, queue)?;
        Ok(get_tcp(&end.socket, libc::TCP_QUEUE_SEQ)? as u32)
    };
    let numbers = (number(SEND_QUEUE)?, number(RECV_QUEUE)?);
    set_tcp(&end.socket, libc::TCP_REPAIR, NO_PROBE)?;
    ensure!(numbers == (own, peers), "its numbers are {numbers:?}, not {:?}", (own, peers));
    ensure!(is_established(&end)?, "it is not established");
    Ok(end)
}

/// By the first byte of tcp_info.
fn is_established(end: &Stream) -> Result<bool> {
    Ok(get_tcp(&end.socket, libc::TCP_INFO)? & 0xff == 1)
}

/// The numbers (active, passive) of the next connection to the server, from its SYN-ACK as it
/// reaches the client's pod.
fn sniff(client: &Pod) -> Result<Task<(u32, u32)>> {
    let sniffing = Signal::new()?;
    let task = client.spawn(|| {
        let none = SockFlag::empty();
        let all = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Datagram, none, all)?;
        sniffing.raise()?;
        let mut packet = [0; 2048];
        loop {
            let size = read(&socket, &mut packet)?;
            if let Some(numbers) = syn_ack(&packet[..size]) {
                return Ok(numbers);
            }
        }
    })?;
    sniffing.wait()?;
    Ok(task)
}

/// The numbers in an IPv4 packet, if it is a SYN-ACK from the server's port.
fn syn_ack(packet: &[u8]) -> Option<(u32, u32)> {
    let tcp = packet.get(usize::from(packet[0] & 15) * 4..)?;
    let word = |at| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
    let is_it = packet[0] >> 4 == 4
        && i32::from(packet[9]) == libc::IPPROTO_TCP
        && word(0)? >> 16 == u32::from(PORT)
        && tcp.get(13)? & 0x3f == 0x12;
    is_it.then_some((word(8)?, word(4)?.wrapping_add(1)))
}

/// Whose ends (active, passive) `pairs` has under these numbers; 0: nobody's.
fn ends(node: &Node, pair: Pair) -> Result<(u64, u64)> {
    let pin = node.pin(name::PAIRS);
    let all = bpftool(["map".as_ref(), "dump".as_ref(), "pinned".as_ref(), pin.as_os_str()])?;
    let all = all.as_array().context("no list")?.iter().map(|entry| &entry["formatted"]);
    let found = all.clone().find(|entry| {
        entry["key"]["active"] == pair.active && entry["key"]["passive"] == pair.passive
    });
    let pod = |end| found.and_then(|entry| entry["value"][end]["pod"].as_u64()).unwrap_or(0);
    Ok((pod("active"), pod("passive")))
}

/// They have addresses of the kernel's memory.
fn only_root_reads_the_maps() -> Result<()> {
    let node = Node::new("modes")?;
    let pod = node.pod("a")?;
    let mut folders = vec![node.pins.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(fs::metadata(&folder)?.permissions().mode() & 0o777, 0o700, "{folder:?}");
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            assert_eq!(entry.metadata()?.permissions().mode() & 0o777, 0o600, "{entry:?}");
            files += 1;
        }
    }
    // The maps, the two programs and the pod's link.
    assert!(files >= name::MAPS.len() + 3, "{files} pins");
    for map in name::MAPS {
        let pin = node.pin(map).display().to_string();
        let id = bpftool(["map", "show", "pinned", &pin])?["id"].to_string();
        for by in [["pinned", &pin], ["id", &id]] {
            let show = || bpftool::text([["map", "show"], by].concat());
            show()?;
            let refused = pod.spawn_as(1337, || Ok(show().err().map(|e| e.to_string())))?.join()?;
            let refused = refused.with_context(|| format!("uid 1337 opens {map} by {}", by[0]))?;
            // The last is what bpftool makes of EACCES where it may not look at the folder either.
            let refusals = ["not permitted", "denied", "not in bpf file system"];
            ensure!(refusals.iter().any(|text| refused.contains(text)), "{refused}");
        }
    }
    Ok(())
}
