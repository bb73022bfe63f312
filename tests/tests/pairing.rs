//! Which two sockets are one connection, whatever was rewritten on the way.

mod brief;
mod captured;
mod kept;
mod netkit;
mod services;

use crate::scale::scaled;
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use serde_json::json;
use shim::{
    cgroup::Cgroup,
    datapath::{Names, Wants},
    layout::{Attachment, Counters},
    place::Place,
};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::AsRawFd,
    process::Command,
    thread,
};
use tests::{
    link, mptcp, needs,
    node::Node,
    pod::{Pod, PodSpec},
    task::{Signal, Task},
    traffic::{self, Mode::NonBlocking, PORT, Pattern, Stream, converse, listen},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("pairing::addresses_of_all_kinds", addresses_of_all_kinds),
        trial("pairing::server_speaks_first", server_speaks_first),
        trial("pairing::redirect_out_and_in", captured::redirect_out_and_in),
        trial("pairing::capture_is_seen", captured::capture_is_seen),
        trial("pairing::captures_of_all_kinds", captured::captures_of_all_kinds),
        trial("pairing::nat_between_pods", nat_between_pods),
        trial("pairing::service_address_stays_tcp", services::service_address_stays_tcp),
        trial("pairing::service_cidrs_enter_on_trial", services::service_cidrs_enter_on_trial),
        trial("pairing::same_loopback_ports_in_two_pods", same_loopback_ports_in_two_pods),
        trial("pairing::one_source_port_to_two_destinations", one_source_port_to_two_destinations),
        trial("pairing::a_hundred_thousand_connections", a_hundred_thousand_connections),
        trial("pairing::brief_ones_are_left_alone", brief::are_left_alone),
        trial("pairing::brief_ones_are_looked_at_no_more", brief::are_looked_at_no_more),
        trial("pairing::a_socket_that_connects_again", a_socket_that_connects_again),
        trial("pairing::what_leaves_the_node_never_enters", what_leaves_the_node_never_enters),
        trial("pairing::kept_while_many_others_connect", kept::while_many_others_connect),
        trial("pairing::kept_by_another_on_a_port", kept::by_the_port_of_another_program),
        trial("pairing::excluded_ports_stay_tcp", excluded_ports_stay_tcp),
        trial("pairing::older_listeners_stay_tcp", older_listeners_stay_tcp),
        needs(
            trial("pairing::between_netkit_devices", netkit::between_netkit_devices),
            netkit::is_there(),
            "no netkit devices",
        ),
        needs(
            trial("pairing::mptcp_listeners", mptcp_listeners),
            mptcp::socket().is_ok(),
            "no MPTCP",
        ),
    ]
}

/// 100 exchanges of 1000 bytes, each answered with other bytes.
const EXCHANGES: u64 = 100;
const SIZE: usize = 1000;
const ASK: Pattern = Pattern { seed: 1 };
const ANSWER: Pattern = Pattern { seed: 2 };

pub fn ask(mut stream: Stream) -> Result<()> {
    exchange(&mut stream, ASK, ANSWER, true)
}

pub fn answer(mut stream: Stream) -> Result<()> {
    exchange(&mut stream, ANSWER, ASK, false)
}

fn exchange(stream: &mut Stream, mine: Pattern, other: Pattern, first: bool) -> Result<()> {
    traffic::exchange(stream, [mine, other], first, SIZE, EXCHANGES)
}

/// A server for one connection, when it listens; whom it has answered.
pub fn answering(pod: &Pod, at: IpAddr) -> Result<Task<IpAddr>> {
    let listening = Signal::new()?;
    let server = pod.spawn(|| {
        let listener = listen((at, PORT), NonBlocking)?;
        listening.raise()?;
        let stream = Stream::accept(&listener, NonBlocking)?;
        let from = stream.socket.peer_addr()?.ip();
        answer(stream)?;
        Ok(from)
    })?;
    listening.wait()?;
    Ok(server)
}

/// What a pod counted before some connections, to see what they add.
struct Count<'a> {
    node: &'a Node,
    pod: &'a Pod,
    before: Counters,
}

impl<'a> Count<'a> {
    fn start(node: &'a Node, pod: &'a Pod) -> Result<Self> {
        Ok(Self { node, pod, before: node.counters(pod)? })
    }

    /// So many connection ends were paired, and this many messages or more took the short way,
    /// but for a few that were sent before their peer was accepted.
    fn shunted(self, paired: u64, messages: u64) -> Result<()> {
        let (Counters { paired: p, shunted: s, by_tcp: t, .. }, before) =
            (self.node.counters(self.pod)?, self.before);
        let (p, s, t) = (
            p - before.paired,
            s.messages - before.shunted.messages,
            t.messages - before.by_tcp.messages,
        );
        ensure!(
            p == paired && t <= 2 * paired && s + t >= messages,
            "{}: {p} of {paired} ends paired, {s} messages shunted, {t} by TCP of {messages}",
            self.pod.name
        );
        Ok(())
    }

    /// Nothing was paired, nothing passed the sk_msg program.
    fn untouched(self) -> Result<()> {
        let now = self.node.counters(self.pod)?;
        let same = (now.paired, now.shunted, now.by_tcp)
            == (self.before.paired, self.before.shunted, self.before.by_tcp);
        ensure!(same, "{}: {now:?}", self.pod.name);
        Ok(())
    }
}

fn addresses_of_all_kinds() -> Result<()> {
    let node = Node::new("kinds")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let v4 = IpAddr::from(b.ipv4);
    let mapped = IpAddr::from(b.ipv4.to_ipv6_mapped());
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let cases = [
        ("v4 to v4", v4, v4),
        ("v6 to v6", IpAddr::from(b.ipv6), IpAddr::from(b.ipv6)),
        ("v4-mapped to v4", v4, mapped),
        ("v4 to v6 any", any, v4),
        ("v4-mapped to v6 any", any, mapped),
        ("v6 to v6 any", any, b.ipv6.into()),
    ];
    for (case, listen, dial) in cases {
        let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
        between(&b, listen, &a, dial).context(case)?;
        for count in counts {
            count.shunted(1, EXCHANGES).context(case)?;
        }
    }
    // Loopback inside one pod.
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let count = Count::start(&node, &a)?;
        between(&a, ip, &a, ip)?;
        count.shunted(2, 2 * EXCHANGES)?;
    }
    Ok(())
}

/// As [`converse`], where the address listened at is not the one dialled.
fn between(server: &Pod, at: IpAddr, client: &Pod, dial: IpAddr) -> Result<()> {
    let server = answering(server, at)?;
    client.run(|| ask(Stream::connect((dial, PORT), NonBlocking)?)).context("client")?;
    server.join().map(drop).context("server")
}

fn server_speaks_first() -> Result<()> {
    let node = Node::new("first")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
    converse((&b, &a), b.ipv4.into(), NonBlocking, ask, answer)?;
    counts.into_iter().try_for_each(|count| count.shunted(1, EXCHANGES))?;
    Ok(())
}

/// SNAT at the client (another source than it has), DNAT at the server (another port).
fn nat_between_pods() -> Result<()> {
    let node = Node::new("nat")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let alias = Ipv4Addr::from_bits(a.ipv4.to_bits() + 100);
    a.run(|| link::add_address("eth0", IpAddr::from(alias).into()))?;
    let snat = format!("-t nat -A POSTROUTING -p tcp -d {} -j SNAT --to-source {alias}", b.ipv4);
    a.run(|| command("iptables", &snat))?;
    let dnat = format!(
        "-t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination {}:{PORT}",
        b.ipv4
    );
    b.run(|| command("iptables", &dnat))?;
    let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
    let server = answering(&b, b.ipv4.into())?;
    a.run(|| ask(Stream::connect((b.ipv4, 80), NonBlocking)?))?;
    assert_eq!(server.join()?, IpAddr::from(alias), "SNAT was at work");
    counts.into_iter().try_for_each(|count| count.shunted(1, EXCHANGES))
}

pub fn command(program: &str, args: &str) -> Result<()> {
    let out = Command::new(program).args(args.split(' ')).output()?;
    ensure!(
        out.status.success(),
        "{program} {args}: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(())
}

/// A connected socket that was bound to this source port first, as one of several.
fn connect_from(port: u16, to: (IpAddr, u16)) -> Result<Stream> {
    let (family, any) = match to.0 {
        IpAddr::V4(_) => (AddressFamily::Inet, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(_) => (AddressFamily::Inet6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, port)))?;
    Stream::connect_with(fd, to.into())
}

/// Servers and clients that are connected all at once, and only then talk.
fn at_once(servers: &[(&Pod, IpAddr)], clients: &[(&Pod, IpAddr)], source: u16) -> Result<()> {
    let (listening, connected, go) = (Signal::new()?, Signal::new()?, Signal::new()?);
    let mut tasks: Vec<Task<()>> = Vec::new();
    for (seed, (pod, ip)) in (0..).zip(servers) {
        tasks.push(pod.spawn(|| {
            let listener = listen((*ip, PORT), NonBlocking)?;
            listening.raise()?;
            let mut stream = Stream::accept(&listener, NonBlocking)?;
            exchange(&mut stream, Pattern { seed }, Pattern { seed: seed + 100 }, false)
        })?);
        listening.wait()?;
    }
    // One process for all clients in a pod, as only then can they share a source port.
    let mut left: Vec<(u64, &Pod, IpAddr)> =
        (0..).zip(clients).map(|(seed, (pod, ip))| (seed, *pod, *ip)).collect();
    let mut groups = 0;
    while let Some((_, pod, _)) = left.first().copied() {
        let (mine, others) = left.into_iter().partition(|(_, p, _)| std::ptr::eq(*p, pod));
        left = others;
        let mine: Vec<(u64, &Pod, IpAddr)> = mine;
        let (connected, go) = (&connected, &go);
        groups += 1;
        tasks.push(pod.spawn(move || {
            let streams: Vec<(u64, Stream)> = mine
                .iter()
                .map(|(seed, _, ip)| Ok((*seed, connect_from(source, (*ip, PORT))?)))
                .collect::<Result<_>>()?;
            connected.raise()?;
            go.wait()?;
            thread::scope(|scope| {
                let all: Vec<_> = streams
                    .into_iter()
                    .map(|(seed, mut stream)| {
                        let (mine, other) = (Pattern { seed: seed + 100 }, Pattern { seed });
                        scope.spawn(move || exchange(&mut stream, mine, other, true))
                    })
                    .collect();
                all.into_iter().try_for_each(|one| one.join().expect("no panic"))
            })
        })?);
    }
    for _ in 0..groups {
        connected.wait()?;
    }
    for _ in 0..groups {
        go.raise()?;
    }
    tasks.into_iter().try_for_each(Task::join)
}

fn same_loopback_ports_in_two_pods() -> Result<()> {
    let node = Node::new("loopback")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
        at_once(&[(&a, ip), (&b, ip)], &[(&a, ip), (&b, ip)], 40000)?;
        counts.into_iter().try_for_each(|count| count.shunted(2, 2 * EXCHANGES))?;
    }
    Ok(())
}

fn one_source_port_to_two_destinations() -> Result<()> {
    let node = Node::new("source")?;
    let (a, b, c) = (node.pod("a")?, node.pod("b")?, node.pod("c")?);
    let to = [(&b, IpAddr::from(b.ipv4)), (&c, IpAddr::from(c.ipv4))];
    let ends = [(&a, 2), (&b, 1), (&c, 1)];
    let counts: Result<Vec<_>> =
        ends.iter().map(|(pod, ends)| Ok((Count::start(&node, pod)?, *ends))).collect();
    let counts = counts?;
    at_once(&to, &to.map(|(_, ip)| (&a, ip)), 40001)?;
    for (count, ends) in counts {
        count.shunted(ends, ends * EXCHANGES)?;
    }
    Ok(())
}

/// Eight threads, each with a server port of its own, as the client's ports would run out.
fn a_hundred_thousand_connections() -> Result<()> {
    const THREADS: u16 = 8;
    // With fewer, connections are left alone: see `brief`.
    const EXCHANGES: u64 = 16;
    let each = scaled(12_500);
    let node = Node::new("many")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let pattern = |port: u16, n: u64| Pattern { seed: u64::from(port) << 32 | n };
    let server = b.spawn(|| {
        let serve = |listener: TcpListener, port| -> Result<()> {
            let mut asked = [0; 24];
            for n in 0..each {
                let mut stream = Stream::accept(&listener, NonBlocking)?;
                for _ in 0..EXCHANGES {
                    stream.read_exact(&mut asked)?;
                    pattern(port, n).check(0, &asked)?;
                    pattern(port, n).fill(24, &mut asked);
                    stream.write_all(&asked)?;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let mut all = Vec::new();
            for port in PORT..PORT + THREADS {
                let listener = listen((b.ipv4, port), NonBlocking)?;
                all.push(scope.spawn(move || serve(listener, port)));
            }
            listening.raise()?;
            all.into_iter().try_for_each(|one| one.join().expect("no panic"))
        })
    })?;
    listening.wait()?;
    let client = a.spawn(|| {
        let drive = |port| -> Result<()> {
            let mut bytes = [0; 24];
            for n in 0..each {
                let mut stream = Stream::connect((b.ipv4, port), NonBlocking)?;
                for _ in 0..EXCHANGES {
                    pattern(port, n).fill(0, &mut bytes);
                    stream.write_all(&bytes)?;
                    stream.read_exact(&mut bytes)?;
                    pattern(port, n)
                        .check(24, &bytes)
                        .with_context(|| format!("connection {n}"))?;
                }
                ensure!(stream.read(&mut bytes)? == 0, "more than the answer");
            }
            Ok(())
        };
        thread::scope(|scope| {
            let all: Vec<_> =
                (PORT..PORT + THREADS).map(|port| scope.spawn(move || drive(port))).collect();
            all.into_iter().try_for_each(|one| one.join().expect("no panic"))
        })
    })?;
    let patience = std::time::Duration::from_secs(180);
    client.join_within(patience)?;
    server.join_within(patience)?;
    let total = u64::from(THREADS) * each;
    let messages = total * EXCHANGES;
    // A request that was sent before the accept goes by TCP, as chance has it; its answer need not.
    let shares = if node.is_watched()? { [0, 0] } else { [1, messages / 2] };
    for (pod, at_least) in [&a, &b].into_iter().zip(shares) {
        let Counters { paired, shunted, by_tcp, .. } = node.counters(pod)?;
        assert_eq!((paired, shunted.messages + by_tcp.messages), (total, messages), "{}", pod.name);
        assert!(shunted.messages >= at_least, "{}: {shunted:?}", pod.name);
    }
    assert_eq!(node.sockets()?.len(), 0, "sockets left in the sockhash");
    Ok(())
}

/// Nothing of its first connection is taken for the second one's. Linux 6.18 refuses to enter such a
/// socket again; it may.
fn a_socket_that_connects_again() -> Result<()> {
    let node = Node::new("again")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        // The first stays open.
        let first = Stream::accept(&listener, NonBlocking)?;
        answer(first.try_clone()?)?;
        answer(Stream::accept(&listener, NonBlocking)?)
    })?;
    listening.wait()?;
    a.run(|| {
        let first = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        ask(first.try_clone()?)?;
        ask(Stream::connect_with(first.disconnect()?, (b.ipv4, PORT).into())?)
    })?;
    server.join()?;
    let Counters { shunted, by_tcp, .. } = node.counters(&a)?;
    assert!(shunted.messages + by_tcp.messages >= EXCHANGES, "the first was accelerated");
    assert_eq!(node.sockets()?.len(), 0);
    Ok(())
}

/// Shown by the map while the connections are open, both ways.
fn what_leaves_the_node_never_enters() -> Result<()> {
    let node = Node::new("leaves")?;
    let (a, outside) = (node.pod("a")?, node.outside("outside")?);
    let ways = [(&a, &outside), (&outside, &a)];
    for (client, server) in ways {
        for ip in [IpAddr::from(server.ipv4), server.ipv6.into()] {
            let (open, seen) = (Signal::new()?, Signal::new()?);
            let task = answering(server, ip)?;
            let asking = client.spawn(|| {
                let stream = Stream::connect((ip, PORT), NonBlocking)?;
                open.raise()?;
                seen.wait()?;
                ask(stream)
            })?;
            open.wait()?;
            assert_eq!(node.sockets()?.len(), 0, "{} to {ip}", client.name);
            seen.raise()?;
            asking.join()?;
            task.join()?;
        }
    }
    let counters = node.counters(&a)?;
    assert_eq!(
        (counters.paired, counters.not_paired.remote, counters.not_paired.no_peer),
        (0, 2, 2)
    );
    loopback_elsewhere(&node, &a, &outside)?;
    assert_eq!((counters.shunted.bytes, counters.by_tcp.bytes), (0, 0));
    // The same, where the map is not empty: a connection that stays on the node enters.
    let b = node.pod("b")?;
    let inside = Signal::new()?;
    let held = Signal::new()?;
    let task = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        inside.raise()?;
        let stream = Stream::accept(&listener, NonBlocking)?;
        held.wait()?;
        drop(stream);
        Ok(())
    })?;
    inside.wait()?;
    let client = a.spawn(|| {
        let _stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        inside.raise()?;
        held.wait()
    })?;
    inside.wait()?;
    assert_eq!(node.sockets()?.len(), 2);
    held.raise()?;
    held.raise()?;
    client.join()?;
    task.join()?;
    Ok(())
}

/// NAT in the pod sends what is dialled on loopback to another host.
fn loopback_elsewhere(node: &Node, pod: &Pod, outside: &Pod) -> Result<()> {
    let task = answering(outside, outside.ipv4.into())?;
    pod.run(|| {
        for device in ["all", "eth0"] {
            fs::write(format!("/proc/sys/net/ipv4/conf/{device}/route_localnet"), "1")?;
        }
        let to = outside.ipv4;
        for rule in [
            format!("OUTPUT -d 127.0.0.1 -p tcp --dport {PORT} -j DNAT --to {to}"),
            format!("POSTROUTING -d {to} -j MASQUERADE"),
        ] {
            command("iptables", &format!("-t nat -A {rule}"))?;
        }
        let stream = Stream::connect((Ipv4Addr::LOCALHOST, PORT), NonBlocking)?;
        assert_eq!(node.sockets()?.len(), 0, "loopback by NAT");
        ask(stream)
    })?;
    task.join().map(drop)
}

fn excluded_ports_stay_tcp() -> Result<()> {
    let node = Node::new("excluded")?;
    let mut spec = PodSpec::new("b");
    spec.conf.insert("excludedPorts".into(), json!([PORT]));
    let (a, b) = (node.pod("a")?, node.pod_with(spec)?);
    let count = Count::start(&node, &b)?;
    converse((&b, &a), b.ipv4.into(), NonBlocking, answer, ask)?;
    assert_eq!(node.counters(&b)?.not_paired.excluded_port, 1);
    converse((&a, &b), a.ipv4.into(), NonBlocking, answer, ask)?;
    assert_eq!(node.counters(&b)?.not_paired.excluded_port, 2);
    count.untouched()?;
    // The client's own port.
    let server = answering(&a, a.ipv4.into())?;
    b.run(|| {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
        let own = SockaddrStorage::from(SocketAddr::from((b.ipv4, PORT)));
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &own)?;
        ask(Stream::connect_with(fd, (a.ipv4, PORT).into())?)
    })?;
    server.join()?;
    assert_eq!(node.counters(&b)?.not_paired.excluded_port, 3);
    Ok(())
}

/// A listener that listened before the pod was attached: nothing is known of it.
fn older_listeners_stay_tcp() -> Result<()> {
    let node = Node::new("older")?;
    let (a, b) = (node.pod("a")?, node.outside("b")?);
    let (listening, go) = (Signal::new()?, Signal::new()?);
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        go.wait()?;
        answer(Stream::accept(&listener, NonBlocking)?)
    })?;
    listening.wait()?;
    let mut datapath = node.datapath()?;
    let policy = datapath.pods()?[0].1.policy;
    let attachment = Attachment::new(&b.container_id, "eth0").context("too long")?;
    let place = Place::Cgroup(Cgroup::open(&b.cgroup)?);
    let wants = Wants { policy, trusted: Vec::new() };
    datapath.add(&attachment, Names::default(), &place, &[b.ipv4.into()], &wants)?;
    go.raise()?;
    a.run(|| ask(Stream::connect((b.ipv4, PORT), NonBlocking)?))?;
    server.join()?;
    let counters = datapath.pod(place.id())?.context("not accelerated")?.counters;
    assert_eq!((counters.paired, counters.plain.listener), (0, 1), "{counters:?}");
    Ok(())
}

/// To accept a sockmap socket through MPTCP is an oops in kernels before the end of 2025. Skipped where the
/// kernel has no MPTCP.
fn mptcp_listeners() -> Result<()> {
    let node = Node::new("mptcp")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let server = b.spawn(|| {
        let listener = mptcp::listen((b.ipv4, PORT).into())?;
        listening.raise()?;
        answer(Stream::accept(&listener, NonBlocking)?)
    })?;
    listening.wait()?;
    a.run(|| ask(Stream::connect((b.ipv4, PORT), NonBlocking)?))?;
    server.join()?;
    let counters = node.counters(&b)?;
    let expected = if shim::mptcp::is_safe() { (1, 0) } else { (0, 1) };
    assert_eq!((counters.paired, counters.plain.listener), expected, "{counters:?}");
    Ok(())
}
