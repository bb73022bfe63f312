//! What else wakes a recv(2) that sleeps: an acknowledgement of one's own end, a reset, room for what
//! another thread sends, another reader.

use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};
use tests::traffic::{
    Mode::{Blocking, NonBlocking},
    Pattern, Stream,
};

use super::{
    conversation::Program,
    talk::{Does::Else, moment, some, told},
};

macro_rules! programs {
    ($($name:literal: $act:expr, $peer:expr;)+) => {
        pub const PROGRAMS: &[Program] = &[$(
            Program::new(concat!("sleep::", $name), Blocking, Blocking, Else($act, $peer)),
            Program::new(
                concat!("sleep::", $name, "_if_made_nonblocking"),
                NonBlocking,
                Blocking,
                Else($act, $peer),
            ),
        )+];
    };
}
programs! {
    "own_half_close": half_closes, answers_at_the_end;
    "own_shutdown_rd": stops_reading, says_nothing;
    "reset": reads, resets;
    "other_thread_sends": sends_meanwhile, answers_at_the_end;
    "two_readers": two_read, says_two_things;
}

/// What a thread reads to the end that sleeps when the rest happens.
fn while_it_sleeps(
    socket: &TcpStream,
    then: impl FnOnce() -> io::Result<()>,
) -> io::Result<String> {
    thread::scope(|scope| {
        let reader = scope.spawn(|| io::read_to_string(socket));
        moment();
        then()?;
        reader.join().expect("no panic")
    })
}

/// As `nc -N` does.
fn half_closes(mut socket: &TcpStream) -> io::Result<String> {
    while_it_sleeps(socket, || {
        socket.write_all(b"ask")?;
        socket.shutdown(Shutdown::Write)
    })
}

fn answers_at_the_end(mut stream: Stream) -> io::Result<String> {
    let asked = io::copy(&mut stream, &mut io::sink())?;
    moment();
    stream.write_all(b"answer")?;
    Ok(asked.to_string())
}

fn stops_reading(socket: &TcpStream) -> io::Result<String> {
    while_it_sleeps(socket, || socket.shutdown(Shutdown::Read))
}

fn says_nothing(mut stream: Stream) -> io::Result<String> {
    stream.read(&mut [0]).map(|n| n.to_string())
}

fn reads(socket: &TcpStream) -> io::Result<String> {
    some(socket, 10).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn resets(stream: Stream) -> io::Result<String> {
    moment();
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.socket, sockopt::Linger, &at_once)?;
    Ok("reset".into())
}

/// So much that it has to wait for room.
fn sends_meanwhile(mut socket: &TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; 8_000_000];
    Pattern { seed: 47 }.fill(0, &mut bytes);
    while_it_sleeps(socket, || {
        socket.write_all(&bytes)?;
        socket.shutdown(Shutdown::Write)
    })
}

/// Each of them gets one of two messages, whichever it is.
fn two_read(socket: &TcpStream) -> io::Result<String> {
    let mut seen = thread::scope(|scope| {
        [scope.spawn(|| told(reads(socket))), scope.spawn(|| told(reads(socket)))]
            .map(|reader| reader.join().expect("no panic"))
    });
    seen.sort();
    Ok(seen.join(" "))
}

fn says_two_things(mut stream: Stream) -> io::Result<String> {
    moment();
    stream.write_all(b"first")?;
    moment();
    stream.write_all(b"second")?;
    says_nothing(stream)
}
