//! How connections come to be: names, errors, races, and sockets that are used again.

use anyhow::{Context as _, Result, ensure};
use libc::{IPPROTO_TCP, SOL_SOCKET};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect,
    getpeername, getsockname, listen, setsockopt, socket, sockopt,
};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    os::fd::{AsRawFd as _, OwnedFd},
};
use tests::{sockopt::set_tcp, traffic::Stream};

use super::{
    Row,
    end::{End, seen, told},
    raw,
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("names", names),
    ("connected_twice", connected_twice),
    ("refused", refused),
    ("sent_before_accept", sent_before_accept),
    ("closed_before_accept", closed_before_accept),
    ("reset_before_accept", reset_before_accept),
    ("many_at_once", many_at_once),
    ("reuseport", reuseport),
    ("inherited_options", inherited_options),
    ("inherited_oobinline", inherited_oobinline),
    ("within_one_pod", within_one_pod),
    ("to_itself", to_itself),
    ("used_again", used_again),
    ("used_again_with_unread_bytes", used_again_with_unread_bytes),
    ("used_again_to_listen", used_again_to_listen),
    ("used_again_after_the_end", |s| after(s, ended)),
    ("used_again_after_both_ends", |s| after(s, ended_by_both)),
    ("used_again_after_a_reset", |s| after(s, ended_by_reset)),
    ("disconnected_after_the_end", |s| disconnected(s, ended)),
    ("disconnected_after_both_ends", |s| disconnected(s, ended_by_both)),
    ("disconnected_after_a_reset", |s| disconnected(s, ended_by_reset)),
];

fn names(s: Scene) -> Result<String> {
    let own = |end: &End| getsockname::<SockaddrStorage>(end.fd());
    let peer = |end: &End| getpeername::<SockaddrStorage>(end.fd());
    seen![own(&s.a)? == peer(&s.b)?, own(&s.b)? == peer(&s.a)?, own(&s.a)? != own(&s.b)?]
}

fn connected_twice(s: Scene) -> Result<String> {
    let peer = getpeername::<SockaddrIn>(s.a.fd())?;
    let again = told(connect(s.a.fd(), &peer).map(|()| "connected"));
    let other = SockaddrIn::new(127, 0, 0, 1, 0);
    let bound = told(bind(s.a.fd(), &other).map(|()| "bound"));
    let listening = told(listen(&s.a.socket, Backlog::MAXCONN).map(|()| "listens"));
    seen![again, bound, listening, exchange(&s.a, &s.b)]
}

fn exchange(a: &End, b: &End) -> String {
    a.send("there");
    let there = b.recv_exactly(5);
    b.send("back");
    [there, a.recv_exactly(4)].join(" ")
}

fn refused(s: Scene) -> Result<String> {
    let nobody = s.at.listen()?.local_addr()?;
    let refused = s.at.dial(nobody).err().context("somebody was there")?;
    seen![refused]
}

fn sent_before_accept(s: Scene) -> Result<String> {
    let listener = s.at.listen()?;
    let client = s.at.dial(listener.local_addr()?)?;
    client.deliver("early");
    let server = s.at.accept(&listener)?;
    client.deliver("late");
    seen![server.recv_exactly(9), exchange(&server, &client), exchange(&client, &server)]
}

fn closed_before_accept(s: Scene) -> Result<String> {
    let listener = s.at.listen()?;
    let client = s.at.dial(listener.local_addr()?)?;
    client.deliver("early");
    drop(client);
    let server = s.at.accept(&listener)?;
    seen![server.recv(10), server.recv(10), server.events()]
}

fn reset_before_accept(s: Scene) -> Result<String> {
    let listener = s.at.listen()?;
    let client = s.at.dial(listener.local_addr()?)?;
    client.deliver("early");
    client.reset();
    let server = s.at.accept(&listener)?;
    seen![server.recv(10), server.recv(10), server.recv(10), server.send("late")]
}

/// Accepted while more come, each with bytes sent as soon as it was made.
fn many_at_once(s: Scene) -> Result<String> {
    const CLIENTS: usize = 100;
    let listener = s.at.listen()?;
    let to = listener.local_addr()?;
    s.at.client().enter()?;
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| {
            let answer = |_| -> Result<bool> {
                let server = s.at.accept(&listener)?;
                let name = server.recv_exactly(3);
                Ok(server.send(&name) == "3")
            };
            (0..CLIENTS).map(answer).collect::<Result<Vec<_>>>()
        });
        let connect = |n: usize| -> Result<(End, String)> {
            let client = End { socket: Stream::connect(to, s.at.mode())?.socket };
            let name = format!("{n:03}");
            client.send(&name);
            Ok((client, name))
        };
        let clients = (0..CLIENTS).map(connect).collect::<Result<Vec<_>>>()?;
        let answered = clients.iter().filter(|(client, name)| client.recv_exactly(3) == *name);
        let answered = answered.count();
        let all = accepting.join().expect("no panic")?.iter().all(|sent| *sent);
        seen![answered, all]
    })
}

fn tcp_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}

fn reuseport(s: Scene) -> Result<String> {
    s.at.server().enter()?;
    let mut at = SocketAddrV4::new(s.at.server().ipv4, 0);
    let mut listeners = Vec::new();
    for _ in 0..4 {
        let fd = tcp_socket()?;
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(at))?;
        listen(&fd, Backlog::new(100)?)?;
        at.set_port(getsockname::<SockaddrIn>(fd.as_raw_fd())?.port());
        listeners.push(TcpListener::from(fd));
    }
    let (mut served, mut right) = ([0; 4], 0);
    for n in 0..40 {
        let client = s.at.dial(at.into())?;
        client.deliver(format!("{n:03}"));
        for (listener, served) in listeners.iter().zip(&mut served) {
            if let Ok((socket, _)) = listener.accept() {
                *served += 1;
                socket.set_nonblocking(true)?;
                let server = End { socket };
                right += usize::from(server.recv_exactly(3) == format!("{n:03}"));
                right += usize::from(exchange(&server, &client) == "there back");
            }
        }
    }
    seen![served.iter().sum::<usize>(), served.iter().all(|n| *n > 0), right]
}

fn inherited_options(s: Scene) -> Result<String> {
    let listener = s.at.listen()?;
    set_tcp(&listener, libc::TCP_NODELAY, 1)?;
    set_tcp(&listener, libc::TCP_KEEPIDLE, 77)?;
    setsockopt(&listener, sockopt::RcvBuf, &20_000)?;
    let client = s.at.dial(listener.local_addr()?)?;
    let server = s.at.accept(&listener)?;
    seen![
        server.get(IPPROTO_TCP, libc::TCP_NODELAY),
        server.get(IPPROTO_TCP, libc::TCP_KEEPIDLE),
        server.get(SOL_SOCKET, libc::SO_RCVBUF),
        exchange(&client, &server),
    ]
}

fn inherited_oobinline(s: Scene) -> Result<String> {
    let listener = s.at.listen()?;
    setsockopt(&listener, sockopt::OobInline, &true)?;
    let client = s.at.dial(listener.local_addr()?)?;
    let server = s.at.accept(&listener)?;
    let inline = server.get(SOL_SOCKET, libc::SO_OOBINLINE);
    seen![inline, exchange(&client, &server)]
}

/// By loopback, as between a sidecar and its application.
fn within_one_pod(s: Scene) -> Result<String> {
    s.at.client().enter()?;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = tests::traffic::listen(at, s.at.mode())?;
    let client = s.at.dial(listener.local_addr()?)?;
    let server = s.at.accept(&listener)?;
    let mut seen = vec![exchange(&client, &server), exchange(&server, &client)];
    client.deliver("bye");
    drop(client);
    seen.extend([server.recv_exactly(10), server.events()]);
    seen![seen.join(" ")]
}

/// A socket that meets itself: both directions are one.
fn to_itself(s: Scene) -> Result<String> {
    s.at.client().enter()?;
    let fd = tcp_socket()?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let own = getsockname::<SockaddrIn>(fd.as_raw_fd())?;
    let socket = Stream::connect_with(fd, SocketAddrV4::from(own).into())?.socket;
    let end = End { socket };
    let mut seen = Vec::new();
    for _ in 0..3 {
        end.deliver("hello");
        seen.extend([end.recv_exactly(5), end.recv_now(1)]);
    }
    end.deliver("bye");
    end.shutdown(std::net::Shutdown::Write);
    seen.extend([end.recv_exactly(10), end.events()]);
    seen![seen.join(" ")]
}

/// A connected socket is taken back, and connected to another.
fn again(s: Scene) -> Result<String> {
    let listener = s.at.listen()?;
    s.at.client().enter()?;
    let ended = told(raw::disconnect(&s.a.socket).map(|()| "disconnected"));
    let (events, lost) = (s.b.events(), s.b.recv(10));
    let nothing = s.a.recv_now(10);
    let to = listener.local_addr()?;
    let first = Stream::connect_with(s.a.socket.into(), to)?;
    let (a, b) = (End { socket: first.socket }, s.at.accept(&listener)?);
    let unread = a.recv_now(10);
    let exchanged = [exchange(&a, &b), exchange(&b, &a), exchange(&a, &b)].join(" ");
    a.deliver("bye");
    drop(a);
    seen![ended, events, lost, nothing, unread, exchanged, b.recv_exactly(10), b.events()]
}

fn used_again(s: Scene) -> Result<String> {
    again(s)
}

fn used_again_with_unread_bytes(s: Scene) -> Result<String> {
    s.b.deliver("from before");
    again(s)
}

/// The peer ends the connection while what it sent is unread.
fn ended(a: &End, b: End) -> Result<()> {
    b.deliver("from before");
    drop(b);
    ensure!(!a.wait(EpollFlags::EPOLLRDHUP).is_empty(), "no end");
    Ok(())
}

fn ended_by_both(a: &End, b: End) -> Result<()> {
    a.shutdown(std::net::Shutdown::Write);
    ensure!(b.recv(10) == "end", "no end");
    ended(a, b)
}

fn ended_by_reset(a: &End, b: End) -> Result<()> {
    b.deliver("from before");
    b.reset();
    ensure!(!a.wait(EpollFlags::EPOLLERR).is_empty(), "no reset");
    Ok(())
}

/// Connected to another afterwards, without a look in between.
fn after(s: Scene, end: fn(&End, End) -> Result<()>) -> Result<String> {
    end(&s.a, s.b)?;
    let listener = s.at.listen()?;
    s.at.client().enter()?;
    raw::disconnect(&s.a.socket)?;
    let first = Stream::connect_with(s.a.socket.into(), listener.local_addr()?)?;
    let (a, b) = (End { socket: first.socket }, s.at.accept(&listener)?);
    seen![a.recv_now(20), exchange(&b, &a), exchange(&a, &b), a.recv_now(20)]
}

fn disconnected(s: Scene, end: fn(&End, End) -> Result<()>) -> Result<String> {
    end(&s.a, s.b)?;
    raw::disconnect(&s.a.socket)?;
    seen![s.a.events(), s.a.recv_now(20), s.a.recv_now(20)]
}

fn used_again_to_listen(s: Scene) -> Result<String> {
    s.at.client().enter()?;
    let ended = told(raw::disconnect(&s.a.socket).map(|()| "disconnected"));
    let own = if s.at.client_acts { s.at.client() } else { s.at.server() };
    own.enter()?;
    let listener = TcpListener::from(OwnedFd::from(s.a.socket));
    listen(&listener, Backlog::new(10)?)?;
    let client = s.at.dial((own.ipv4, listener.local_addr()?.port()).into())?;
    let server = s.at.accept(&listener)?;
    seen![ended, exchange(&client, &server), exchange(&server, &client)]
}
