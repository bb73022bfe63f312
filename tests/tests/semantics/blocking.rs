//! Sockets in blocking mode. shunt leaves them to TCP; one that was put into it after it was
//! accelerated is still in the sockhash.

use anyhow::Result;
use libc::{MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, SOL_SOCKET};
use nix::sys::{
    pthread::{pthread_kill, pthread_self},
    signal::{SaFlags, Signal},
    socket::{setsockopt, sockopt},
    time::TimeVal,
};
use std::{net::Shutdown, thread, time::Duration};

use super::{Row, end::seen, raw, scene::Scene};

pub const ROWS: &[Row] = &[
    ("blocked_recv", blocked_recv),
    ("blocked_recv_ends", blocked_recv_ends),
    ("blocked_recv_is_reset", blocked_recv_is_reset),
    ("blocked_recv_and_own_half_close", blocked_recv_and_own_half_close),
    ("blocked_recv_and_own_shutdown_rd", blocked_recv_and_own_shutdown_rd),
    ("blocked_recv_while_sending", blocked_recv_while_sending),
    ("blocked_recv_is_interrupted", blocked_recv_is_interrupted),
    ("blocked_recv_is_restarted", blocked_recv_is_restarted),
    ("blocked_peek", blocked_peek),
    ("blocked_waitall", blocked_waitall),
    ("blocked_waitall_with_unread_bytes", blocked_waitall_with_unread_bytes),
    ("blocked_rcvlowat", blocked_rcvlowat),
    ("blocked_send", blocked_send),
    ("blocked_send_is_reset", blocked_send_is_reset),
    ("blocked_stream", blocked_stream),
    ("blocked_second_exchange", blocked_second_exchange),
    ("receive_timeout", receive_timeout),
    ("send_timeout", send_timeout),
    ("do_not_wait", do_not_wait),
];

/// Long enough for another thread to be asleep in its call.
pub fn moment() {
    thread::sleep(Duration::from_millis(50));
}

/// What a thread that waits in `wait` sees when `then` happens.
fn while_it_waits(wait: impl FnOnce() -> String + Send, then: impl FnOnce()) -> Result<String> {
    Ok(thread::scope(|scope| {
        let waiting = scope.spawn(wait);
        moment();
        then();
        waiting.join().expect("no panic")
    }))
}

fn blocked_recv(s: Scene) -> Result<String> {
    seen![while_it_waits(|| s.b.recv(10), || s.a.deliver("hello"))?]
}

fn blocked_recv_ends(s: Scene) -> Result<String> {
    seen![while_it_waits(|| s.b.recv(10), || drop(s.a))?]
}

fn blocked_recv_is_reset(s: Scene) -> Result<String> {
    let (a, b) = (s.a, s.b);
    seen![while_it_waits(|| b.recv(10), || a.reset())?, b.recv(10)]
}

/// The peer's ACK of it is no answer.
fn blocked_recv_and_own_half_close(s: Scene) -> Result<String> {
    let then = || {
        s.b.shutdown(Shutdown::Write);
        s.b.arrived();
        moment();
        s.a.deliver("hello");
    };
    seen![while_it_waits(|| s.b.recv(10), then)?]
}

fn blocked_recv_and_own_shutdown_rd(s: Scene) -> Result<String> {
    let then = || drop(s.b.shutdown(Shutdown::Read));
    seen![while_it_waits(|| s.b.recv(10), then)?]
}

/// Another thread sends so much on the same socket that it has to wait for room.
fn blocked_recv_while_sending(s: Scene) -> Result<String> {
    const TOTAL: usize = 8_000_000;
    let then = || {
        thread::scope(|scope| {
            scope.spawn(|| s.b.send_pattern(TOTAL));
            s.a.recv_exactly(TOTAL);
        });
        s.a.deliver("hello");
    };
    seen![while_it_waits(|| s.b.recv(10), then)?]
}

fn interrupted(s: &Scene, flags: SaFlags) -> Result<String> {
    raw::let_interrupt(Signal::SIGUSR1, flags)?;
    let (tell, thread) = std::sync::mpsc::channel();
    let wait = || {
        let _ = tell.send(pthread_self());
        s.b.recv(10)
    };
    let then = || {
        if let Ok(thread) = thread.recv() {
            moment();
            let _ = pthread_kill(thread, Signal::SIGUSR1);
        }
        moment();
        s.a.deliver("hello");
    };
    while_it_waits(wait, then)
}

fn blocked_recv_is_interrupted(s: Scene) -> Result<String> {
    seen![interrupted(&s, SaFlags::empty())?, s.b.recv(10)]
}

fn blocked_recv_is_restarted(s: Scene) -> Result<String> {
    seen![interrupted(&s, SaFlags::SA_RESTART)?]
}

fn blocked_peek(s: Scene) -> Result<String> {
    seen![while_it_waits(|| s.b.recv_with(10, MSG_PEEK), || s.a.deliver("hello"))?, s.b.recv(10)]
}

pub fn in_two_parts(s: &Scene) {
    s.a.deliver("hello");
    moment();
    s.a.deliver("world");
}

fn blocked_waitall(s: Scene) -> Result<String> {
    seen![while_it_waits(|| s.b.recv_with(10, MSG_WAITALL), || in_two_parts(&s))?]
}

/// They came before the socket was put into blocking mode.
fn blocked_waitall_with_unread_bytes(s: Scene) -> Result<String> {
    s.b.socket.set_nonblocking(true)?;
    s.a.deliver("hello");
    s.b.socket.set_nonblocking(false)?;
    let then = || s.a.deliver("world");
    seen![while_it_waits(|| s.b.recv_with(10, MSG_WAITALL), then)?]
}

fn blocked_rcvlowat(s: Scene) -> Result<String> {
    let set = s.b.set(SOL_SOCKET, libc::SO_RCVLOWAT, 8);
    seen![set, while_it_waits(|| s.b.recv(10), || in_two_parts(&s))?]
}

/// One send of more than any buffer holds, to a reader that comes late.
fn blocked_send(s: Scene) -> Result<String> {
    const TOTAL: usize = 16_000_000;
    let bytes = vec![b'x'; TOTAL];
    let then = || drop(s.b.recv_exactly(TOTAL));
    seen![while_it_waits(|| s.a.send(&bytes), then)?]
}

/// Its peer closes with bytes unread. A write without SIGPIPE, as the name of the error is enough.
fn blocked_send_is_reset(s: Scene) -> Result<String> {
    let (a, b) = (s.a, s.b);
    let bytes = vec![b'x'; 16_000_000];
    let fails = || loop {
        let sent = a.send_with(&bytes, libc::MSG_NOSIGNAL);
        if sent.parse::<usize>().is_err() {
            return sent;
        }
    };
    seen![while_it_waits(fails, || drop(b))?]
}

fn blocked_stream(s: Scene) -> Result<String> {
    const TOTAL: usize = 8_000_000;
    seen![while_it_waits(|| s.b.recv_exactly(TOTAL), || drop(s.a.send_pattern(TOTAL)))?]
}

fn blocked_second_exchange(s: Scene) -> Result<String> {
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(while_it_waits(|| s.b.recv(10), || drop(s.a.send("there")))?);
        seen.push(while_it_waits(|| s.a.recv(10), || drop(s.b.send("back")))?);
    }
    seen![seen.join(" ")]
}

fn receive_timeout(s: Scene) -> Result<String> {
    setsockopt(&s.b.socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))?;
    let late = s.b.recv(10);
    s.a.deliver("hello");
    seen![late, s.b.recv(10), s.b.recv(10)]
}

fn send_timeout(s: Scene) -> Result<String> {
    setsockopt(&s.a.socket, sockopt::SendTimeout, &TimeVal::new(0, 100_000))?;
    let sent = s.a.fill()?;
    let late = s.a.send("more");
    s.b.recv_exactly(sent);
    seen![late, s.a.send("more"), s.b.recv(10)]
}

fn do_not_wait(s: Scene) -> Result<String> {
    let nothing = s.b.recv_with(10, MSG_DONTWAIT);
    s.a.deliver("hello");
    seen![nothing, s.b.recv_with(10, MSG_DONTWAIT), s.b.recv_with(10, MSG_DONTWAIT)]
}
