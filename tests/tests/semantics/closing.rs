//! Every end of a connection.

use anyhow::Result;
use libc::linger;
use nix::sys::{
    epoll::EpollFlags,
    socket::{setsockopt, sockopt},
};
use std::net::Shutdown;

use super::{
    Row,
    end::{End, flags, seen},
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("half_close", half_close),
    ("close_after_sending", close_after_sending),
    ("close_with_unread_bytes", close_with_unread_bytes),
    ("close_both_at_once", close_both_at_once),
    ("linger", linger_),
    ("reset", reset),
    ("reset_with_unread_bytes", reset_with_unread_bytes),
    ("reset_both_ways_unread", reset_both_ways_unread),
    ("write_after_close", write_after_close),
    ("write_after_reset", write_after_reset),
    ("error_is_told_once", error_is_told_once),
    ("shutdown_rd", shutdown_rd),
    ("shutdown_rd_with_unread_bytes", shutdown_rd_with_unread_bytes),
    ("shutdown_rd_of_the_reader_is_not_told", shutdown_rd_of_the_reader_is_not_told),
    ("shutdown_rdwr", shutdown_rdwr),
    ("end_is_told_again", end_is_told_again),
];

/// How the stream ends for a reader: what it reads until nothing more comes.
fn to_the_end(end: &End) -> String {
    let mut seen = Vec::new();
    loop {
        let read = end.recv(100);
        let last = read == "end" || read == "hangs" || read.starts_with('E');
        seen.push(read);
        if last {
            return seen.join(" ");
        }
    }
}

fn half_close(s: Scene) -> Result<String> {
    s.a.send("hello");
    let down = s.a.shutdown(Shutdown::Write);
    let there = to_the_end(&s.b);
    s.b.deliver("and");
    s.b.deliver(" back");
    s.b.shutdown(Shutdown::Write);
    seen![down, there, s.a.recv_exactly(8), to_the_end(&s.a), s.a.events()]
}

fn close_after_sending(s: Scene) -> Result<String> {
    s.a.send_pattern(50_000);
    drop(s.a);
    seen![s.b.recv_exactly(50_000), to_the_end(&s.b), s.b.error()]
}

fn close_with_unread_bytes(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    drop(s.b);
    let came = flags(s.a.wait(EpollFlags::EPOLLRDHUP));
    seen![came, to_the_end(&s.a), s.a.error(), s.a.events()]
}

fn close_both_at_once(s: Scene) -> Result<String> {
    s.a.send("hello");
    s.b.send("hello");
    s.a.shutdown(Shutdown::Write);
    s.b.shutdown(Shutdown::Write);
    seen![to_the_end(&s.a), to_the_end(&s.b), s.a.events(), s.b.events()]
}

/// close(2) waits until all was acknowledged.
fn linger_(s: Scene) -> Result<String> {
    let seconds = linger { l_onoff: 1, l_linger: 5 };
    setsockopt(&s.a.socket, sockopt::Linger, &seconds)?;
    s.a.send_pattern(50_000);
    drop(s.a);
    seen![s.b.recv_exactly(50_000), to_the_end(&s.b)]
}

fn reset(s: Scene) -> Result<String> {
    s.a.reset();
    let came = flags(s.b.wait(EpollFlags::EPOLLERR));
    seen![came, to_the_end(&s.b), s.b.send("more"), s.b.events()]
}

/// What had come before the reset can be read.
fn reset_with_unread_bytes(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    s.a.reset();
    let came = flags(s.b.wait(EpollFlags::EPOLLERR));
    seen![came, to_the_end(&s.b), to_the_end(&s.b)]
}

fn reset_both_ways_unread(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    s.b.deliver("hello");
    s.a.reset();
    s.b.wait(EpollFlags::EPOLLERR);
    seen![s.b.error(), to_the_end(&s.b), s.b.send("more")]
}

/// The first write after the peer has closed brings the reset, the second fails.
fn write_after_close(s: Scene) -> Result<String> {
    drop(s.b);
    let came = flags(s.a.wait(EpollFlags::EPOLLRDHUP));
    let first = s.a.send("more");
    let reset = flags(s.a.wait(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP));
    seen![came, first, reset, s.a.send("more"), s.a.recv(10), s.a.events()]
}

fn write_after_reset(s: Scene) -> Result<String> {
    s.b.reset();
    s.a.wait(EpollFlags::EPOLLERR);
    seen![s.a.send("more"), s.a.send("more"), s.a.recv(10)]
}

fn error_is_told_once(s: Scene) -> Result<String> {
    let before = s.b.error();
    s.a.reset();
    s.b.wait(EpollFlags::EPOLLERR);
    seen![before, s.b.error(), s.b.error(), s.b.recv(10), s.b.send("more")]
}

/// The reader reads the end, until something comes all the same.
fn shutdown_rd(s: Scene) -> Result<String> {
    let down = s.b.shutdown(Shutdown::Read);
    let (end, events) = (s.b.recv_now(10), s.b.events());
    s.a.deliver("hello");
    seen![down, end, events, s.b.events(), s.b.recv_now(10), s.b.recv_now(10)]
}

fn shutdown_rd_with_unread_bytes(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let down = s.b.shutdown(Shutdown::Read);
    seen![down, s.b.events(), s.b.recv_now(3), s.b.recv_now(10), s.b.recv_now(10)]
}

fn shutdown_rd_of_the_reader_is_not_told(s: Scene) -> Result<String> {
    s.b.shutdown(Shutdown::Read);
    let sent = s.a.send("hello");
    s.a.arrived();
    let again = s.a.send("hello");
    s.b.deliver("back");
    seen![sent, again, s.a.events(), s.a.recv(10)]
}

fn shutdown_rdwr(s: Scene) -> Result<String> {
    s.b.send("hello");
    let down = s.b.shutdown(Shutdown::Both);
    s.b.arrived();
    let own = [s.b.recv(10), s.b.send("more"), s.b.events()].join(" ");
    let others = [s.a.recv(10), s.a.recv(10), s.a.events(), s.a.send("late")].join(" ");
    s.a.arrived();
    seen![down, own, others, s.b.recv_now(10)]
}

fn end_is_told_again(s: Scene) -> Result<String> {
    s.a.shutdown(Shutdown::Write);
    seen![
        s.b.recv(10),
        s.b.recv(10),
        s.b.recv_now(0),
        s.b.recv_with(10, libc::MSG_PEEK),
        s.b.recv(1)
    ]
}
