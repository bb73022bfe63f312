//! Socket options, and what they promise.

use anyhow::{Context as _, Result};
use libc::{IPPROTO_TCP, SOL_SOCKET};
use nix::{
    errno::Errno, sys::epoll::EpollFlags, sys::socket::SockaddrIn, sys::socket::getsockname,
};
use std::{fs, thread, time::Duration};
use tests::sockopt::set_raw;

use super::{
    LACKS, Row,
    end::{End, errno, flags, seen, told},
    raw,
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("small_buffers", small_buffers),
    ("large_buffers", large_buffers),
    ("quickack", quickack),
    ("busy_poll", busy_poll),
    ("congestion_control", congestion_control),
    ("pacing", pacing),
    ("keepalive", keepalive),
    ("keepalive_without_network", keepalive_without_network),
    ("unread_without_network", unread_without_network),
    ("user_timeout_without_network", user_timeout_without_network),
    ("socket_filter", socket_filter),
    ("tcp_info", tcp_info),
    ("proc_net_tcp", proc_net_tcp),
    ("checkpoint", checkpoint),
    ("ktls", ktls),
    ("ktls_with_fallback", ktls_with_fallback),
];

/// A stream both ways at once, much larger than any buffer.
fn stream(s: &Scene) -> String {
    const TOTAL: usize = 500_000;
    thread::scope(|scope| {
        let sender = scope.spawn(|| s.a.send_pattern(TOTAL));
        let got = s.b.recv_exactly(TOTAL);
        [sender.join().expect("no panic"), got].join(" ")
    })
}

fn with_buffers(s: &Scene, size: i32) -> Result<String> {
    let set = [&s.a, &s.b].map(|end| {
        [libc::SO_SNDBUF, libc::SO_RCVBUF]
            .map(|buffer| end.set(SOL_SOCKET, buffer, size) + " " + &end.get(SOL_SOCKET, buffer))
            .join(" ")
    });
    let filled = s.a.fill()?;
    let drained = s.b.recv_exactly(filled) == format!("{filled} bytes");
    seen![set.join(" "), filled < 64 << 20, drained, stream(s)]
}

fn small_buffers(s: Scene) -> Result<String> {
    with_buffers(&s, 1)
}

fn large_buffers(s: Scene) -> Result<String> {
    with_buffers(&s, 8 << 20)
}

fn hello(s: &Scene) -> String {
    s.a.deliver("hello");
    s.b.recv_exactly(5)
}

fn quickack(s: Scene) -> Result<String> {
    let off = s.b.set(IPPROTO_TCP, libc::TCP_QUICKACK, 0);
    let without = hello(&s);
    seen![off, without, s.b.set(IPPROTO_TCP, libc::TCP_QUICKACK, 1), hello(&s)]
}

fn busy_poll(s: Scene) -> Result<String> {
    let set = s.b.set(SOL_SOCKET, libc::SO_BUSY_POLL, 50);
    seen![set, s.b.recv_now(10), hello(&s), s.b.get(SOL_SOCKET, libc::SO_BUSY_POLL)]
}

fn congestion_control(s: Scene) -> Result<String> {
    let set = set_raw(&s.a.socket, IPPROTO_TCP, libc::TCP_CONGESTION, b"reno");
    seen![told(set.map(|()| "set").map_err(errno)), stream(&s)]
}

fn pacing(s: Scene) -> Result<String> {
    seen![s.a.set(SOL_SOCKET, libc::SO_MAX_PACING_RATE, 100_000_000), stream(&s)]
}

fn keep_alive(end: &End) -> String {
    let options = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT];
    let set = options.map(|option| end.set(IPPROTO_TCP, option, 1));
    end.set(SOL_SOCKET, libc::SO_KEEPALIVE, 1) + &set.concat()
}

fn keepalive(s: Scene) -> Result<String> {
    let set = keep_alive(&s.a);
    thread::sleep(Duration::from_millis(1500));
    seen![set, s.a.events(), hello(&s)]
}

/// A filter on its socket keeps all packets from the peer, so the network is as if it were cut.
fn keepalive_without_network(s: Scene) -> Result<String> {
    raw::filter_all(&s.b.socket)?;
    let set = keep_alive(&s.a);
    let mut came = EpollFlags::empty();
    for _ in 0..5 {
        if came.is_empty() {
            came = s.a.wait(EpollFlags::EPOLLIN);
        }
    }
    seen![set, flags(came), s.a.recv_now(10)]
}

/// Who asks for no keepalive does not learn of it, however long bytes wait to be read.
fn unread_without_network(s: Scene) -> Result<String> {
    let sent = s.a.overflow();
    raw::filter_all(&s.b.socket)?;
    thread::sleep(Duration::from_secs(4));
    let keepalive = s.b.get(SOL_SOCKET, libc::SO_KEEPALIVE);
    seen![keepalive, s.b.events(), s.b.recv_exactly(sent)]
}

fn user_timeout_without_network(s: Scene) -> Result<String> {
    let set = s.a.set(IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 300);
    raw::filter_all(&s.b.socket)?;
    let sent = s.a.send("hello");
    seen![set, sent, flags(s.a.wait(EpollFlags::EPOLLIN)), s.a.recv_now(10)]
}

fn socket_filter(s: Scene) -> Result<String> {
    raw::filter_all(&s.b.socket)?;
    s.a.send("hello");
    seen![s.b.recv_now(10)]
}

fn tcp_info(s: Scene) -> Result<String> {
    // In linux/tcp.h's struct tcp_info: tcpi_state and tcpi_bytes_received.
    let info = |end: &End| -> Result<(u8, u64)> {
        let info: [u8; 136] = raw::option(&end.socket, IPPROTO_TCP, libc::TCP_INFO)?;
        Ok((info[0], u64::from_ne_bytes(info[128..136].try_into()?)))
    };
    let before = info(&s.b)?;
    hello(&s);
    let after = info(&s.b)?;
    seen![format!("state {}", after.0), format!("{} bytes received", after.1 - before.1)]
}

/// What ss(8) of old and netstat(8) show.
fn proc_net_tcp(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let server = if s.at.client_acts { s.at.server() } else { s.at.client() };
    server.enter()?;
    let names =
        [getsockname::<SockaddrIn>(s.b.fd())?.port(), getsockname::<SockaddrIn>(s.a.fd())?.port()];
    let [own, peer] = names.map(|port| format!(":{port:04X} "));
    let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let line = table
        .lines()
        .find(|line| line.find(&own).zip(line.find(&peer)).is_some_and(|(own, peer)| own < peer));
    let fields: Vec<_> = line.context("no line")?.split_whitespace().collect();
    seen![fields[3], fields[4]]
}

/// As CRIU reads what a socket holds.
fn checkpoint(s: Scene) -> Result<String> {
    // linux/tcp.h
    const TCP_RECV_QUEUE: i32 = 1;
    s.a.deliver("hello");
    let set = s.b.set(IPPROTO_TCP, libc::TCP_REPAIR, 1);
    let queue = s.b.set(IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
    let held = s.b.recv_with(10, libc::MSG_PEEK);
    let done = s.b.set(IPPROTO_TCP, libc::TCP_REPAIR, 0);
    seen![set, queue, held, done, s.b.recv(10)]
}

/// Hands both ends to kernel TLS with keys that they know, as after a handshake.
fn to_ktls(end: &End, send: u8, receive: u8) -> nix::Result<()> {
    // linux/tls.h: TLS 1.2, AES-GCM-128: version, cipher, iv, key, salt, rec_seq.
    const SOL_TLS: i32 = 282;
    const TLS_TX: i32 = 1;
    const TLS_RX: i32 = 2;
    let keys =
        |seed: u8| [&[3, 3, 51, 0], &[seed; 8][..], &[seed; 16], &[seed; 4], &[0; 8]].concat();
    let set =
        |level, option, value: &[u8]| set_raw(&end.socket, level, option, value).map_err(errno);
    set(IPPROTO_TCP, libc::TCP_ULP, b"tls")?;
    set(SOL_TLS, TLS_TX, &keys(send))?;
    set(SOL_TLS, TLS_RX, &keys(receive))
}

fn ktls(s: Scene) -> Result<String> {
    let set = [to_ktls(&s.a, 1, 2), to_ktls(&s.b, 2, 1)];
    if set[0] == Err(Errno::ENOENT) {
        return Ok(format!("{LACKS}kernel TLS"));
    }
    let set = set.map(|set| told(set.map(|()| "set")));
    seen![set.join(" "), hello(&s), {
        s.b.send("back");
        s.a.recv_exactly(4)
    }]
}

/// A program that has TLS of its own, too; here, none.
fn ktls_with_fallback(s: Scene) -> Result<String> {
    match (to_ktls(&s.a, 1, 2), to_ktls(&s.b, 2, 1)) {
        (Err(Errno::ENOENT), _) => Ok(format!("{LACKS}kernel TLS")),
        (a, b) if a.is_ok() != b.is_ok() => seen![format!("{a:?} {b:?}")],
        _ => seen![hello(&s), stream(&s)],
    }
}
