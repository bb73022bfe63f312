//! One socket in several hands: processes, threads, descriptors.

use anyhow::{Result, bail};
use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use std::{
    io::{IoSlice, IoSliceMut},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::net::UnixStream,
    },
    thread,
};
use tests::task::Signal;

use super::{
    Row,
    end::{End, seen},
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("forked_writer", forked_writer),
    ("forked_reader", forked_reader),
    ("passed_to_a_process", passed_to_a_process),
    ("duplicated", duplicated),
    ("two_readers", two_readers),
    ("two_writers", two_writers),
    ("both_ways_by_two_threads", both_ways_by_two_threads),
];

/// The stream ends when the last of two processes has closed it.
fn forked_writer(s: Scene) -> Result<String> {
    let (sent, go) = (Signal::new()?, Signal::new()?);
    let child = s.at.client().spawn(|| {
        s.a.deliver("from the child");
        sent.raise()?;
        go.wait()
    })?;
    sent.wait()?;
    s.a.deliver(", and its parent");
    drop(s.a);
    let got = s.b.recv_exactly(30);
    let open = s.b.recv_now(10);
    go.raise()?;
    child.join()?;
    seen![got, open, s.b.recv(10)]
}

fn forked_reader(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let child = s.at.server().spawn(|| Ok(s.b.recv_exactly(3)))?.join()?;
    let rest = s.b.recv_exactly(2);
    s.a.deliver("more");
    seen![child, rest, s.b.recv(10)]
}

/// To a process in another pod, by AF_UNIX; with unread bytes, and more to come.
fn passed_to_a_process(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let (here, there) = UnixStream::pair()?;
    let child = s.at.client().spawn(|| {
        let end = receive(&there)?;
        let got = end.recv_exactly(10);
        end.deliver("back");
        Ok(got)
    })?;
    let (fds, bytes) = ([s.b.fd()], [IoSlice::new(b"!")]);
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(here.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None)?;
    s.a.deliver("world");
    seen![child.join()?, s.a.recv_exactly(4)]
}

fn receive(from: &UnixStream) -> Result<End> {
    let (mut byte, mut control) = ([0], cmsg_space!([i32; 1]));
    let mut into = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(from.as_raw_fd(), &mut into, Some(&mut control), flags)?;
    match message.cmsgs()?.next() {
        Some(ControlMessageOwned::ScmRights(fds)) => {
            // SAFETY: a new descriptor that nobody else owns.
            Ok(End { socket: unsafe { TcpStream::from_raw_fd(fds[0]) } })
        }
        other => bail!("{other:?} came"),
    }
}

fn duplicated(s: Scene) -> Result<String> {
    let twin = End { socket: s.a.socket.try_clone()? };
    s.a.deliver("hello");
    drop(s.a);
    let open = s.b.recv_exactly(5) + &s.b.recv_now(1);
    twin.deliver("more");
    s.b.deliver("back");
    let down = twin.shutdown(Shutdown::Write);
    seen![open, s.b.recv(10), twin.recv(10), down, s.b.recv(10)]
}

/// Each reads until there is no more: together they have all.
fn two_readers(s: Scene) -> Result<String> {
    const TOTAL: usize = 500_000;
    let read = || {
        let mut sum = 0;
        loop {
            match s.b.recv(1) {
                byte if byte == "x" => sum += 1,
                end => return (sum, end),
            }
        }
    };
    thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        for _ in 0..TOTAL / 10_000 {
            s.a.deliver("x".repeat(100));
        }
        s.a.shutdown(Shutdown::Write);
        let [(n, end), (m, other)] = readers.map(|reader| reader.join().expect("no panic"));
        seen![n + m, end, other]
    })
}

fn two_writers(s: Scene) -> Result<String> {
    const MESSAGES: usize = 2000;
    thread::scope(|scope| {
        for message in ["from one. ", "other one "] {
            let a = &s.a;
            scope.spawn(move || (0..MESSAGES).for_each(|_| drop(a.send(message))));
        }
        let mut whole = 0;
        for _ in 0..2 * MESSAGES {
            let got = s.b.recv_exactly(10);
            whole += usize::from(got == "from one. " || got == "other one ");
        }
        seen![whole, s.b.recv_now(1)]
    })
}

fn both_ways_by_two_threads(s: Scene) -> Result<String> {
    const TOTAL: usize = 1_000_000;
    thread::scope(|scope| {
        let writers = [&s.a, &s.b].map(|end| scope.spawn(|| end.send_pattern(TOTAL)));
        let reader = scope.spawn(|| s.a.recv_exactly(TOTAL));
        let got = s.b.recv_exactly(TOTAL);
        let sent = writers.map(|writer| writer.join().expect("no panic"));
        seen![sent.join(" "), got, reader.join().expect("no panic")]
    })
}
