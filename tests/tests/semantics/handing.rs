//! Bytes that a program hands over without looking at them: from files and pipes, and to pipes.

use anyhow::Result;
use libc::{MSG_ZEROCOPY, SOL_SOCKET};
use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, splice},
    sys::{
        epoll::EpollFlags,
        memfd::{MFdFlags, memfd_create},
        sendfile::sendfile,
        socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
    },
    unistd::pipe,
};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::fd::AsFd,
    thread,
};

use super::{
    Row,
    end::{End, PATTERN, seen, text, told},
    scene::{Scene, Setting, Way},
};

pub const ROWS: &[Row] = &[
    ("sendfile", sendfile_),
    ("sendfile_large", sendfile_large),
    ("splice_to_socket", splice_to_socket),
    ("splice_from_socket", splice_from_socket),
    ("splice_from_socket_after_reading", splice_from_socket_after_reading),
    ("splice_from_empty_socket", splice_from_empty_socket),
    ("splice_proxy", splice_proxy),
    ("zerocopy", zerocopy),
    ("zerocopy_with_fallback", zerocopy_with_fallback),
];

fn file(bytes: &[u8]) -> Result<File> {
    let mut file = File::from(memfd_create("file", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

fn sendfile_(s: Scene) -> Result<String> {
    let file = file(b"hello, world")?;
    let mut offset = 3;
    let sent = told(sendfile(&s.a.socket, &file, Some(&mut offset), 5));
    s.a.arrived();
    seen![sent, offset, s.b.recv(100)]
}

fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    PATTERN.fill(0, &mut bytes);
    bytes
}

fn sendfile_large(s: Scene) -> Result<String> {
    const TOTAL: usize = 3_000_000;
    let file = file(&pattern(TOTAL))?;
    thread::scope(|scope| {
        let reader = scope.spawn(|| s.b.recv_exactly(TOTAL));
        let mut offset = 0;
        while (offset as usize) < TOTAL {
            let left = TOTAL - offset as usize;
            let offset = &mut offset;
            let act = || sendfile(&s.a.socket, &file, Some(offset), left);
            s.a.patiently(EpollFlags::EPOLLOUT, act)?;
        }
        seen![offset, reader.join().expect("no panic")]
    })
}

fn splice_some(from: impl AsFd, to: impl AsFd, len: usize) -> nix::Result<usize> {
    splice(from, None, to, None, len, SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE)
}

fn splice_to_socket(s: Scene) -> Result<String> {
    let (from, to) = pipe()?;
    File::from(to).write_all(b"hello, world")?;
    let sent = told(splice_some(&from, &s.a.socket, 5));
    let rest = told(splice_some(&from, &s.a.socket, 100));
    s.a.arrived();
    seen![sent, rest, s.b.recv_exactly(12)]
}

/// From the socket to a pipe, and what is in there then.
fn splice_out(end: &End, len: usize) -> Result<String> {
    let (from, to) = pipe()?;
    let got = splice_some(&end.socket, &to, len);
    drop(to);
    let mut bytes = Vec::new();
    File::from(from).read_to_end(&mut bytes)?;
    Ok(format!("{} {}", told(got), text(&bytes)))
}

fn splice_from_socket(s: Scene) -> Result<String> {
    s.a.deliver("hello, world");
    let (five, rest) = (splice_out(&s.b, 5)?, splice_out(&s.b, 100)?);
    s.a.shutdown(Shutdown::Write);
    s.a.arrived();
    seen![five, rest, splice_out(&s.b, 100)?]
}

fn splice_from_socket_after_reading(s: Scene) -> Result<String> {
    s.a.deliver("hello");
    let read = s.b.recv(10);
    s.a.deliver("world");
    seen![read, splice_out(&s.b, 100)?, s.b.recv_now(10)]
}

fn splice_from_empty_socket(s: Scene) -> Result<String> {
    let (_from, to) = pipe()?;
    seen![told(splice_some(&s.b.socket, &to, 100))]
}

/// As Go's io.Copy does between two connections: through a pipe, from the first byte on.
fn splice_proxy(s: Scene) -> Result<String> {
    const TOTAL: usize = 1_000_000;
    let way = if s.at.way == Way::Warm { Way::Fresh } else { s.at.way };
    let at = Setting { way, ..s.at };
    let ([first, inward], [onward, last]) = (at.connect()?, at.connect()?);
    let (from, to) = pipe()?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sent = [first.send("hello"), first.send_pattern(TOTAL)];
            first.shutdown(Shutdown::Write);
            sent.join(" ")
        });
        let reader = scope.spawn(|| last.recv_exactly(5) + " " + &last.recv_exactly(TOTAL));
        let proxy = || -> nix::Result<usize> {
            let mut moved = 0;
            loop {
                let into = || splice_some(&inward.socket, &to, 1 << 16);
                let mut held = inward.patiently(EpollFlags::EPOLLIN, into)?;
                if held == 0 {
                    return Ok(moved);
                }
                while held > 0 {
                    let out = || splice_some(&from, &onward.socket, held);
                    let n = onward.patiently(EpollFlags::EPOLLOUT, out)?;
                    (held, moved) = (held - n, moved + n);
                }
            }
        };
        let moved = told(proxy());
        onward.shutdown(Shutdown::Write);
        seen![moved, sender.join().expect("no panic"), reader.join().expect("no panic")]
    })
}

/// Waits until the kernel has let go of so many sends.
fn complete(end: &End, sends: u32) -> nix::Result<u32> {
    let mut completed = 0;
    while completed < sends {
        let mut control = [0; 200];
        let mut into = [];
        let receive = || {
            let flags = MsgFlags::MSG_ERRQUEUE;
            let message =
                recvmsg::<SockaddrStorage>(end.fd(), &mut into, Some(&mut control), flags)?;
            Ok(message.cmsgs()?.next())
        };
        // POLLERR is always asked for.
        match end.patiently(EpollFlags::empty(), receive)? {
            Some(ControlMessageOwned::Ipv4RecvErr(error, _)) => {
                completed += error.ee_data - error.ee_info + 1;
            }
            _ => return Err(Errno::EPROTO),
        }
    }
    Ok(completed)
}

fn zerocopy(s: Scene) -> Result<String> {
    let set = s.a.set(SOL_SOCKET, libc::SO_ZEROCOPY, 1);
    let bytes = pattern(20_000);
    let sent = [0, 1, 2].map(|_| s.a.send_with(&bytes, MSG_ZEROCOPY));
    let read = [0, 1, 2].map(|_| s.b.recv_exactly(20_000));
    seen![set, sent.join(" "), read.join(" "), told(complete(&s.a, 3))]
}

/// A real program's sender: it copies where the kernel refuses, and else waits for completions
/// before it uses its buffer again.
fn zerocopy_with_fallback(s: Scene) -> Result<String> {
    let may = s.a.set(SOL_SOCKET, libc::SO_ZEROCOPY, 1) == "set";
    let mut got = Vec::new();
    for byte in ["a", "b", "c"] {
        let bytes = byte.repeat(20);
        let flags = if may { MSG_ZEROCOPY } else { 0 };
        let sent = s.a.send_with(bytes.as_bytes(), flags);
        if may && sent == "20" {
            let completed = complete(&s.a, 1);
            if completed != Ok(1) {
                return seen![told(completed)];
            }
        }
        got.push(s.b.recv_exactly(20));
    }
    seen![got.join(" ")]
}
