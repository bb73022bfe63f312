//! send(2) and what is like it.

use anyhow::Result;
use libc::{IPPROTO_TCP, MSG_EOR, MSG_MORE};
use nix::sys::{
    epoll::EpollFlags,
    signal::{SaFlags, SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, sendmsg, sendto},
    uio::writev,
};
use std::{io::IoSlice, net::Shutdown};

use super::{
    Row,
    end::{PATTERN, flags, seen, told},
    raw,
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("writev", writev_),
    ("sendmsg_of_1024_pieces", sendmsg_of_1024_pieces),
    ("sendmsg_of_too_many_pieces", sendmsg_of_too_many_pieces),
    ("sendmmsg", sendmmsg_),
    ("sendto_an_address", sendto_an_address),
    ("zero_length_write", zero_length_write),
    ("more_to_come", more_to_come),
    ("end_of_record", end_of_record),
    ("cork", cork),
    ("nodelay", nodelay),
    ("write_from_bad_address", write_from_bad_address),
    ("half_from_bad_address", half_from_bad_address),
    ("bad_control_message", bad_control_message),
    ("write_after_shutdown", write_after_shutdown),
    ("sigpipe", sigpipe),
    ("bytes_unsent", bytes_unsent),
    ("fill_and_drain", fill_and_drain),
    ("send_timestamps", send_timestamps),
];

fn writev_(s: Scene) -> Result<String> {
    let pieces = ["hel", "", "lo, ", "world"].map(|piece| IoSlice::new(piece.as_bytes()));
    let sent = told(writev(&s.a.socket, &pieces));
    s.a.arrived();
    seen![sent, s.b.recv(100)]
}

fn in_pieces(s: &Scene, pieces: usize, controls: &[ControlMessage]) -> String {
    let mut bytes = vec![0; pieces * 10];
    PATTERN.fill(0, &mut bytes);
    let pieces: Vec<_> = bytes.chunks(10).map(IoSlice::new).collect();
    told(sendmsg::<()>(s.a.fd(), &pieces, controls, MsgFlags::empty(), None))
}

fn sendmsg_of_1024_pieces(s: Scene) -> Result<String> {
    seen![in_pieces(&s, 1024, &[]), s.b.recv_exactly(10240)]
}

fn sendmsg_of_too_many_pieces(s: Scene) -> Result<String> {
    let sent = in_pieces(&s, 1025, &[]);
    s.a.deliver("hello");
    seen![sent, s.b.recv(100)]
}

fn sendmmsg_(s: Scene) -> Result<String> {
    let messages = ["hello", ", ", "world"].map(|it| [IoSlice::new(it.as_bytes())]);
    let mut headers = MultiHeaders::<()>::preallocate(3, None);
    let (nobody, flags) = ([None::<()>; 3], MsgFlags::empty());
    let sent = sendmmsg(s.a.fd(), &mut headers, &messages, nobody, [], flags);
    let sizes = sent.map(|sent| format!("{:?}", sent.map(|it| it.bytes).collect::<Vec<_>>()));
    s.a.arrived();
    seen![told(sizes), s.b.recv(100)]
}

/// TCP ignores it.
fn sendto_an_address(s: Scene) -> Result<String> {
    let nobody = SockaddrIn::new(203, 0, 113, 1, 9);
    let sent = told(sendto(s.a.fd(), b"hello", &nobody, MsgFlags::empty()));
    seen![sent, s.b.recv(100)]
}

fn zero_length_write(s: Scene) -> Result<String> {
    let sent = s.a.send("");
    let nothing = s.b.recv_now(10);
    s.a.deliver("hello");
    seen![sent, nothing, s.a.send(""), s.b.recv(10)]
}

fn more_to_come(s: Scene) -> Result<String> {
    let sent = s.a.send_with(b"hel", MSG_MORE);
    seen![sent, s.a.send("lo"), s.b.recv_exactly(5)]
}

fn end_of_record(s: Scene) -> Result<String> {
    let sent = s.a.send_with(b"hello", MSG_EOR);
    s.a.arrived();
    s.a.deliver(", world");
    seen![sent, s.b.recv(100)]
}

fn cork(s: Scene) -> Result<String> {
    let set = s.a.set(IPPROTO_TCP, libc::TCP_CORK, 1);
    let sent = [s.a.send("hel"), s.a.send("lo")].concat();
    seen![set, sent, s.a.set(IPPROTO_TCP, libc::TCP_CORK, 0), s.b.recv_exactly(5)]
}

fn nodelay(s: Scene) -> Result<String> {
    let set = s.a.set(IPPROTO_TCP, libc::TCP_NODELAY, 1);
    let sent = [s.a.send("hel"), s.a.send("lo")].concat();
    seen![set, sent, s.b.recv_exactly(5), s.a.get(IPPROTO_TCP, libc::TCP_NODELAY)]
}

fn write_from_bad_address(s: Scene) -> Result<String> {
    let sent = told(raw::send_from_nowhere(&s.a.socket, 5));
    s.a.deliver("hello");
    seen![sent, s.b.recv(10)]
}

fn half_from_bad_address(s: Scene) -> Result<String> {
    let sent = told(raw::send_half_from_nowhere(&s.a.socket, b"hello"));
    s.a.deliver(", world");
    seen![sent, s.b.recv(100)]
}

/// SCM_TXTIME is for sockets that have SO_TXTIME.
fn bad_control_message(s: Scene) -> Result<String> {
    let sent = in_pieces(&s, 1, &[ControlMessage::TxTime(&1)]);
    s.a.deliver("hello");
    seen![sent, s.b.recv_now(100)]
}

fn write_after_shutdown(s: Scene) -> Result<String> {
    s.a.send("hello");
    let down = s.a.shutdown(Shutdown::Write);
    s.a.arrived();
    seen![down, s.a.send("more"), s.a.send(""), s.a.error(), s.b.recv(10), s.b.recv(10)]
}

/// With a write after the end comes the signal, unless it is declined.
fn sigpipe(s: Scene) -> Result<String> {
    let mut pipe = SigSet::empty();
    pipe.add(Signal::SIGPIPE);
    pipe.thread_block()?;
    // Rust ignores it, and an ignored signal never comes.
    raw::let_interrupt(Signal::SIGPIPE, SaFlags::empty())?;
    let signals = SignalFd::with_flags(&pipe, SfdFlags::SFD_NONBLOCK)?;
    let came = || told(signals.read_signal().map(|it| it.map_or("no signal", |_| "SIGPIPE")));
    s.a.shutdown(Shutdown::Write);
    let first = s.a.send("more");
    seen![first, came(), s.a.send_with(b"more", libc::MSG_NOSIGNAL), came()]
}

/// What the peer's kernel has not acknowledged, and what was not sent at all.
fn bytes_unsent(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let none = s.a.ioctl(libc::TIOCOUTQ);
    s.a.fill()?;
    seen![none, s.a.ioctl(libc::TIOCOUTQ) != "0", s.a.ioctl(SIOCOUTQNSD) != "0"]
}

/// linux/sockios.h
const SIOCOUTQNSD: libc::Ioctl = 0x894B;

/// A reader that pauses until nothing goes in any more.
fn fill_and_drain(s: Scene) -> Result<String> {
    let sent = s.a.fill()?;
    let full = (sent < 64 << 20, s.a.events());
    let got = s.b.recv_exactly(sent) == format!("{sent} bytes");
    let writable = s.a.wait(EpollFlags::EPOLLOUT);
    s.a.deliver("more");
    seen![format!("{full:?}"), got, flags(writable), s.b.recv(10)]
}

/// When the peer has acknowledged a message, its error queue gets a time.
fn send_timestamps(s: Scene) -> Result<String> {
    let kinds = libc::SOF_TIMESTAMPING_TX_ACK | libc::SOF_TIMESTAMPING_SOFTWARE;
    let set = s.a.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, kinds as i32);
    s.a.deliver("hello");
    seen![set, s.a.events(), s.b.recv(10)]
}
