//! poll(2), epoll(7), SIGIO: when a program is woken, and with what.

use anyhow::Result;
use libc::{IPPROTO_TCP, SOL_SOCKET};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    socket::{MsgFlags, recv, send},
};
use std::{net::Shutdown, time::Duration};

use super::{
    Row,
    end::{End, flags, patience, seen, told},
    raw,
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("poll_in", poll_in),
    ("poll_out", poll_out),
    ("poll_ends", poll_ends),
    ("poll_reset", poll_reset),
    ("epoll_level", epoll_level),
    ("epoll_edge", epoll_edge),
    ("epoll_edge_out", epoll_edge_out),
    ("epoll_edge_until_a_short_read", epoll_edge_until_a_short_read),
    ("epoll_edge_until_a_short_read_of_a_lot", epoll_edge_until_a_short_read_of_a_lot),
    ("epoll_edge_and_keepalive", epoll_edge_and_keepalive),
    ("epoll_edge_until_a_short_write", epoll_edge_until_a_short_write),
    ("epoll_oneshot", epoll_oneshot),
    ("epoll_ends", epoll_ends),
    ("epoll_two_sets", epoll_two_sets),
    ("sigio", sigio),
    ("notsent_lowat", notsent_lowat),
];

fn poll_in(s: Scene) -> Result<String> {
    let before = s.b.events();
    s.a.deliver("hello");
    let five = s.b.events();
    s.b.recv(3);
    let two = s.b.events();
    s.b.recv(3);
    seen![before, five, two, s.b.events()]
}

fn poll_out(s: Scene) -> Result<String> {
    let sent = s.a.fill()?;
    let full = s.a.events();
    s.b.recv_exactly(sent);
    seen![full, flags(s.a.wait(EpollFlags::EPOLLOUT))]
}

fn poll_ends(s: Scene) -> Result<String> {
    s.a.send("hello");
    s.a.shutdown(Shutdown::Write);
    s.a.arrived();
    let unread = s.b.events();
    s.b.recv(10);
    let read = [s.b.events(), s.a.events()].join(" and ");
    s.b.shutdown(Shutdown::Write);
    s.b.arrived();
    seen![unread, read, s.b.events(), s.a.events(), s.b.recv(10), s.a.recv(10)]
}

fn poll_reset(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    s.a.reset();
    let came = flags(s.b.wait(EpollFlags::EPOLLERR));
    seen![came, s.b.events(), s.b.recv(10), s.b.recv(10), s.b.recv(10), s.b.events()]
}

/// An epoll set with one socket.
struct Set(Epoll);

impl Set {
    fn new(end: &End, events: EpollFlags) -> Result<Self> {
        let set = Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        set.0.add(end, EpollEvent::new(events, 0))?;
        Ok(set)
    }

    /// What comes; where nothing is to come, that takes a moment.
    fn wait(&self) -> String {
        self.wait_for(Duration::from_millis(50))
    }

    fn wait_for(&self, time: Duration) -> String {
        let mut events = [EpollEvent::empty()];
        let time = EpollTimeout::try_from(time).expect("seconds");
        let came = self.0.wait(&mut events, time);
        told(came.map(|_| flags(events[0].events())))
    }
}

fn epoll_level(s: Scene) -> Result<String> {
    let set = Set::new(&s.b, EpollFlags::EPOLLIN)?;
    let before = set.wait();
    s.a.deliver("hello");
    let five = [set.wait(), set.wait()].join(" and ");
    s.b.recv(3);
    let two = set.wait();
    s.b.recv(3);
    seen![before, five, two, set.wait()]
}

fn epoll_edge(s: Scene) -> Result<String> {
    let edges = EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP;
    let set = Set::new(&s.b, edges | EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT)?;
    let mut seen = vec![set.wait(), set.wait()];
    // News once for each arrival, whether it was read or not, and none for what is left.
    for read in [0, 3, 20, 0] {
        s.a.deliver("hello");
        seen.extend([set.wait(), set.wait()]);
        if read > 0 {
            s.b.recv(read);
            seen.push(set.wait());
        }
    }
    // What it sends itself is no news.
    s.b.deliver("hello");
    seen.push(set.wait());
    s.a.recv(10);
    seen.push(set.wait());
    s.a.shutdown(Shutdown::Write);
    s.a.arrived();
    seen.extend([set.wait(), set.wait()]);
    seen![seen.join(" ")]
}

/// A reader that takes a read of less than it asked for to mean that there is no more, and waits for
/// news then, as epoll(7) allows and tokio does. It comes late, when all is there.
fn epoll_edge_until_a_short_read(s: Scene) -> Result<String> {
    let set = Set::new(&s.b, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
    read_by_edges(&s, &set, s.a.overflow())
}

/// Likewise, of all that the sender's kernel takes.
fn epoll_edge_until_a_short_read_of_a_lot(s: Scene) -> Result<String> {
    let set = Set::new(&s.b, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
    let sent = s.a.fill()?;
    let seen = read_by_edges(&s, &set, sent)?;
    Ok(seen.replace(&sent.to_string(), "all"))
}

fn read_by_edges(s: &Scene, set: &Set, sent: usize) -> Result<String> {
    let (mut got, mut buffer) = (0, vec![0; 2 * sent]);
    while got < sent && set.wait_for(patience()) != "no event" {
        got += recv(s.b.fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
    }
    seen![sent, got]
}

/// Likewise, with keepalive of its own, which it sets before, between and after.
fn epoll_edge_and_keepalive(s: Scene) -> Result<String> {
    let option = |name| (IPPROTO_TCP, name);
    let [idle, interval] = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL].map(option);
    let on = (SOL_SOCKET, libc::SO_KEEPALIVE);
    let set = |(level, name), value| s.b.set(level, name, value);
    let all = || [on, idle, interval].map(|(level, name)| s.b.get(level, name)).join(" ");
    set(idle, 700);
    let news = Set::new(&s.b, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
    let sent = s.a.overflow();
    set(interval, 70);
    set(on, 1);
    let between = all();
    s.a.send("x");
    let read = read_by_edges(&s, &news, sent + 1)?;
    news.wait_for(patience());
    s.b.deliver("hello");
    seen![between, read, all()]
}

/// Likewise a writer, whose reader comes late each time.
fn epoll_edge_until_a_short_write(s: Scene) -> Result<String> {
    const TOTAL: usize = 8_000_000;
    let set = Set::new(&s.a, EpollFlags::EPOLLOUT | EpollFlags::EPOLLET)?;
    let (mut sent, mut got, mut buffer) = (0, 0, vec![0; TOTAL]);
    while sent < TOTAL && set.wait() != "no event" {
        let rest = &buffer[sent..];
        sent += send(s.a.fd(), rest, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
        while got < sent && !s.b.wait(EpollFlags::EPOLLIN).is_empty() {
            got += recv(s.b.fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
        }
    }
    seen![sent, got]
}

/// Room is news after it was asked for in vain.
fn epoll_edge_out(s: Scene) -> Result<String> {
    let set = Set::new(&s.a, EpollFlags::EPOLLET | EpollFlags::EPOLLOUT)?;
    let mut seen = vec![set.wait(), set.wait()];
    let sent = s.a.fill()?;
    // News in between, while buffers grew.
    while set.wait() != "no event" {}
    s.b.recv_exactly(sent);
    seen.push(set.wait());
    seen![seen.join(" ")]
}

fn epoll_oneshot(s: Scene) -> Result<String> {
    let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
    let set = Set::new(&s.b, once)?;
    s.a.deliver("hello");
    let first = [set.wait(), set.wait()].join(" and ");
    s.a.deliver("hello");
    let spent = set.wait();
    set.0.modify(&s.b, &mut EpollEvent::new(once, 0))?;
    let again = set.wait();
    s.b.recv_exactly(10);
    set.0.modify(&s.b, &mut EpollEvent::new(once, 0))?;
    seen![first, spent, again, set.wait()]
}

fn epoll_ends(s: Scene) -> Result<String> {
    let all = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    let set = Set::new(&s.b, all)?;
    s.a.deliver("hello");
    let five = set.wait();
    s.a.shutdown(Shutdown::Write);
    s.a.arrived();
    let end = set.wait();
    s.b.recv(10);
    let read = set.wait();
    s.b.shutdown(Shutdown::Write);
    s.b.arrived();
    seen![five, end, read, set.wait()]
}

fn epoll_two_sets(s: Scene) -> Result<String> {
    let edge = Set::new(&s.b, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
    let level = Set::new(&s.b, EpollFlags::EPOLLIN)?;
    s.a.deliver("hello");
    let both = [edge.wait(), level.wait(), edge.wait(), level.wait()].join(" and ");
    s.b.recv(10);
    seen![both, edge.wait(), level.wait()]
}

fn sigio(s: Scene) -> Result<String> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGIO);
    set.thread_block()?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK)?;
    let came = || told(signals.read_signal().map(|it| it.map_or("no signal", |_| "SIGIO")));
    raw::set_owner(&s.b.socket)?;
    raw::set_async(&s.b.socket)?;
    let before = came();
    s.a.deliver("hello");
    let five = [came(), came()].join(" and ");
    s.a.shutdown(Shutdown::Write);
    s.a.arrived();
    seen![before, five, came(), s.b.recv(10)]
}

fn notsent_lowat(s: Scene) -> Result<String> {
    let set = s.a.set(IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, 1000);
    let before = s.a.events();
    let sent = s.a.fill()?;
    let full = s.a.events();
    s.b.recv_exactly(sent);
    let room = s.a.wait(EpollFlags::EPOLLOUT);
    seen![set, before, full, flags(room), s.a.get(SOL_SOCKET, libc::SO_ERROR)]
}
