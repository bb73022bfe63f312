//! recv(2) and what is like it.

use anyhow::Result;
use libc::{MSG_PEEK, MSG_TRUNC, MSG_WAITALL, SOL_SOCKET};
use nix::sys::{
    socket::{MsgFlags, MultiHeaders, recv, recvmmsg, recvmsg},
    uio::readv,
};
use std::io::IoSliceMut;

use super::{
    Row,
    end::{End, seen, text, told},
    raw,
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("again_when_empty", again_when_empty),
    ("peek", peek),
    ("peek_across_sends", peek_across_sends),
    ("peek_offset", peek_offset),
    ("reads_smaller_than_sends", reads_smaller_than_sends),
    ("reads_larger_than_sends", reads_larger_than_sends),
    ("read_of_all_that_is_there", read_of_all_that_is_there),
    ("large_stream", large_stream),
    ("zero_length_read", zero_length_read),
    ("truncating_read", truncating_read),
    ("truncating_read_to_nowhere", truncating_read_to_nowhere),
    ("waitall", waitall),
    ("rcvlowat", rcvlowat),
    ("rcvlowat_with_unread_bytes", rcvlowat_with_unread_bytes),
    ("read_to_bad_address", read_to_bad_address),
    ("readv", readv_),
    ("recvmsg", recvmsg_),
    ("recvmmsg", recvmmsg_),
    ("empty_error_queue", empty_error_queue),
    ("bytes_waiting", bytes_waiting),
    ("many_bytes_waiting", many_bytes_waiting),
    ("receive_timestamps", receive_timestamps),
    ("tcp_inq", tcp_inq),
    ("zerocopy_receive", zerocopy_receive),
];

fn again_when_empty(s: Scene) -> Result<String> {
    let before = s.b.recv_now(10);
    s.a.deliver("hello");
    seen![before, s.b.recv_now(10), s.b.recv_now(10)]
}

fn peek(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![
        s.b.recv_with(3, MSG_PEEK),
        s.b.recv_with(10, MSG_PEEK),
        s.b.recv(2),
        s.b.recv_with(10, MSG_PEEK),
        s.b.recv(10),
        s.b.recv_now(10),
    ]
}

fn peek_across_sends(s: Scene) -> Result<String> {
    ["ab", "cd", "ef"].iter().for_each(|bytes| s.a.deliver(bytes));
    seen![s.b.recv_with(10, MSG_PEEK), s.b.recv(3), s.b.recv_with(10, MSG_PEEK), s.b.recv(10)]
}

fn peek_offset(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![
        s.b.set(SOL_SOCKET, libc::SO_PEEK_OFF, 0),
        s.b.recv_with(2, MSG_PEEK),
        s.b.recv_with(2, MSG_PEEK),
        s.b.recv(10),
    ]
}

fn reads_smaller_than_sends(s: Scene) -> Result<String> {
    s.a.deliver("hello, world");
    seen![s.b.recv(1), s.b.recv(2), s.b.recv(3), s.b.recv(1), s.b.recv(100)]
}

fn reads_larger_than_sends(s: Scene) -> Result<String> {
    (0..30).for_each(|n| drop(s.a.send(format!("{n} "))));
    s.a.arrived();
    seen![s.b.recv(999), s.b.recv_now(1)]
}

fn read_of_all_that_is_there(s: Scene) -> Result<String> {
    let sent = s.a.overflow();
    let mut buffer = vec![0; 2 * sent];
    seen![sent, recv(s.b.fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?]
}

fn large_stream(s: Scene) -> Result<String> {
    const TOTAL: usize = 3_000_000;
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| s.a.send_pattern(TOTAL));
        let got = s.b.recv_exactly(TOTAL);
        seen![sent.join().expect("no panic"), got]
    })
}

fn zero_length_read(s: Scene) -> Result<String> {
    let before = s.b.recv_now(0);
    s.a.deliver("hello");
    seen![before, s.b.recv_now(0), s.b.recv(10)]
}

fn truncating_read(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![s.b.recv_with(3, MSG_TRUNC), s.b.recv(10)]
}

fn truncating_read_to_nowhere(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![told(raw::recv_nowhere(&s.b.socket, 3, MSG_TRUNC)), s.b.recv(10)]
}

fn waitall(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let fewer = s.b.recv_with(10, MSG_WAITALL);
    ["he", "llo"].iter().for_each(|bytes| s.a.deliver(bytes));
    seen![fewer, s.b.recv_with(5, MSG_WAITALL)]
}

fn rcvlowat(s: Scene) -> Result<String> {
    let set = s.b.set(SOL_SOCKET, libc::SO_RCVLOWAT, 8);
    s.a.deliver("hello");
    let five = s.b.events();
    s.a.deliver("world");
    seen![set, five, s.b.events(), s.b.recv(10), s.b.recv_now(10)]
}

fn rcvlowat_with_unread_bytes(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let set = s.b.set(SOL_SOCKET, libc::SO_RCVLOWAT, 8);
    let five = s.b.events();
    s.a.deliver("world");
    seen![set, five, s.b.events(), s.b.recv_exactly(10)]
}

fn read_to_bad_address(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![told(raw::recv_nowhere(&s.b.socket, 5, 0)), s.b.recv(10)]
}

fn readv_(s: Scene) -> Result<String> {
    s.a.deliver("hello, world");
    let (mut x, mut y, mut z) = ([0; 2], [0; 5], [0; 50]);
    let mut all = [&mut x[..], &mut y, &mut z].map(IoSliceMut::new);
    let read = told(readv(&s.b.socket, &mut all));
    seen![read, text(&x), text(&y), text(&z[..5])]
}

fn recvmsg_(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    seen![message(&s.b), s.b.recv_now(10)]
}

/// What comes with a message of five bytes: flags and control messages.
fn message(end: &End) -> String {
    let (mut bytes, mut control) = ([0; 5], [0; 200]);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(end.fd(), &mut into, Some(&mut control), flags);
    told(message.map(|it| {
        let control = it.cmsgs().map_or(99, Iterator::count);
        format!("{} bytes, {:?}, {control} control messages", it.bytes, it.flags)
    }))
}

fn recvmmsg_(s: Scene) -> Result<String> {
    s.a.deliver("hello, world");
    let mut buffers = [[0; 5]; 4];
    let mut into: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let mut headers = MultiHeaders::<()>::preallocate(4, None);
    let flags = MsgFlags::MSG_DONTWAIT;
    let messages = recvmmsg(s.b.fd(), &mut headers, into.iter_mut(), flags, None);
    let sizes =
        messages.map(|messages| format!("{:?}", messages.map(|it| it.bytes).collect::<Vec<_>>()));
    seen![told(sizes), text(&buffers.concat())]
}

fn empty_error_queue(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let errors = recv(s.b.fd(), &mut [0; 10], MsgFlags::MSG_ERRQUEUE);
    seen![told(errors), s.b.recv(10)]
}

fn bytes_waiting(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let all = s.b.ioctl(libc::FIONREAD);
    s.b.recv(2);
    let rest = s.b.ioctl(libc::FIONREAD);
    s.b.recv(10);
    seen![all, rest, s.b.ioctl(libc::FIONREAD)]
}

fn many_bytes_waiting(s: Scene) -> Result<String> {
    let sent = s.a.overflow();
    seen![sent, s.b.ioctl(libc::FIONREAD)]
}

/// The kernel begins to take the times of packets some moments after it was asked to.
fn receive_timestamps(s: Scene) -> Result<String> {
    let set = s.b.set(SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    let mut seen = String::new();
    for _ in 0..20 {
        if !seen.contains("1 control") {
            std::thread::sleep(std::time::Duration::from_millis(10));
            s.a.deliver("hello");
            seen = message(&s.b);
        }
    }
    seen![set, seen]
}

/// The kernel tells with each message how much more there is.
fn tcp_inq(s: Scene) -> Result<String> {
    let set = s.b.set(libc::IPPROTO_TCP, libc::TCP_INQ, 1);
    s.a.deliver("hello, world");
    seen![set, message(&s.b)]
}

/// To a receiver that maps its socket: too little to map, so it is told to read so many bytes.
fn zerocopy_receive(s: Scene) -> Result<String> {
    // linux/tcp.h
    const TCP_ZEROCOPY_RECEIVE: i32 = 35;
    const RECV_SKIP_HINT: std::ops::Range<usize> = 12..16;
    s.a.deliver("hello");
    let value = raw::option::<16>(&s.b.socket, libc::IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE);
    let hint = value.map(|value| format!("{:?}", &value[RECV_SKIP_HINT]));
    seen![told(hint), s.b.recv(10)]
}
