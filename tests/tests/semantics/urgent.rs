//! Urgent data.

use anyhow::Result;
use libc::{MSG_OOB, SOL_SOCKET};
use nix::sys::socket::{MsgFlags, recv};

use super::{
    Row,
    end::{End, seen, text, told},
    raw,
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("urgent_byte", urgent_byte),
    ("urgent_byte_alone", urgent_byte_alone),
    ("urgent_byte_inline", urgent_byte_inline),
    ("urgent_byte_after_unread_bytes", urgent_byte_after_unread_bytes),
    ("urgent_byte_before_unread_bytes", urgent_byte_before_unread_bytes),
    ("urgent_byte_ignored", urgent_byte_ignored),
    ("urgent_read_of_none", urgent_read_of_none),
];

/// asm-generic/sockios.h
const SIOCATMARK: libc::Ioctl = 0x8905;

fn at_mark(end: &End) -> String {
    format!("at mark {}", told(raw::ioctl(&end.socket, SIOCATMARK)))
}

fn recv_urgent(end: &End) -> String {
    let mut byte = [0; 10];
    let flags = MsgFlags::MSG_OOB | MsgFlags::MSG_DONTWAIT;
    told(recv(end.fd(), &mut byte, flags).map(|n| text(&byte[..n])))
}

fn send_urgent(s: &Scene) -> String {
    let sent = s.a.send_with(b"two!", MSG_OOB);
    s.a.arrived();
    s.a.deliver("three");
    sent
}

fn urgent_byte(s: Scene) -> Result<String> {
    let sent = send_urgent(&s);
    let woken = s.b.events();
    let (before, mark) = (s.b.recv_now(100), at_mark(&s.b));
    seen![sent, woken, before, mark, recv_urgent(&s.b), s.b.recv_now(100)]
}

fn urgent_byte_alone(s: Scene) -> Result<String> {
    let sent = s.a.send_with(b"!", MSG_OOB);
    s.a.arrived();
    seen![sent, s.b.events(), recv_urgent(&s.b), s.b.events()]
}

fn urgent_byte_inline(s: Scene) -> Result<String> {
    let set = s.b.set(SOL_SOCKET, libc::SO_OOBINLINE, 1);
    let sent = send_urgent(&s);
    let (before, mark) = (s.b.recv_now(100), at_mark(&s.b));
    seen![set, sent, before, mark, s.b.recv_now(100)]
}

fn urgent_byte_after_unread_bytes(s: Scene) -> Result<String> {
    s.a.deliver("one");
    send_urgent(&s);
    let (before, mark) = (s.b.recv_now(100), at_mark(&s.b));
    seen![before, mark, recv_urgent(&s.b), s.b.recv_now(100)]
}

/// Read first, as by who is told of it by select(2).
fn urgent_byte_before_unread_bytes(s: Scene) -> Result<String> {
    s.a.deliver("one");
    send_urgent(&s);
    seen![recv_urgent(&s.b), s.b.recv_now(100), s.b.recv_now(100)]
}

/// A reader that knows nothing of it never sees it.
fn urgent_byte_ignored(s: Scene) -> Result<String> {
    send_urgent(&s);
    seen![s.b.recv_now(100), s.b.recv_now(100)]
}

fn urgent_read_of_none(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![recv_urgent(&s.b), at_mark(&s.b), s.b.recv_now(10)]
}
